"""Gradient policies: straight-through rounding, exact saturation, learned step size, device levels."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pimjax.numerics import Crossbar, crossbar_mvm
from pimjax.numerics.adc import quantise
from pimjax.numerics.device import pcm_device
from pimjax.numerics.encode import code_of, cut, to_integers
from pimjax.numerics.relax import power_of_two, round_straight_through, safe_sqrt


def central(function, value, step):
    return (function(value + step) - function(value - step)) / (2 * step)


def test_rounding_is_straight_through_in_both_modes():
    value = jnp.float32(1.3)
    assert jax.grad(round_straight_through)(value) == 1
    assert jax.jvp(round_straight_through, (value,), (jnp.float32(2),))[1] == 2
    assert jax.vmap(round_straight_through)(jnp.array([0.5, 1.5, 2.5])).tolist() == [0, 2, 2]


def test_safe_functions_stay_finite():
    assert jax.grad(safe_sqrt)(0.0) == 0
    np.testing.assert_allclose(jax.grad(safe_sqrt)(4.0), 0.25)
    np.testing.assert_allclose(jax.grad(power_of_two)(3.0), 8 * np.log(2), rtol=1e-6)


def test_signal_gradient_is_one_inside_and_zero_outside():
    signal = jnp.array([-5.0, -0.4, 0.0, 0.7, 5.0])
    gradient = jax.grad(lambda s: quantise(s, jnp.float32(2.0), 6).sum())(signal)
    assert gradient.tolist() == [0, 1, 1, 1, 0]


def test_range_gradient_is_exact_where_the_signal_saturates():
    with jax.enable_x64(True):
        signal = jnp.array([-5.0, 4.0, 9.0])
        for index in range(3):

            def output(limit, index=index):
                return quantise(signal[index : index + 1], limit, 6)[0]

            np.testing.assert_allclose(jax.grad(output)(jnp.float64(2.0)), central(output, 2.0, 1e-6), atol=1e-9)


def test_range_gradient_is_that_of_the_expected_error():
    """Inside the range a converter is a staircase: its learned-step-size gradient is right on average.

    d/dlimit E[(q(s) - s)^2] for a Gaussian signal, by finite differences, against the mean of the gradients.
    """
    with jax.enable_x64(True):
        grid = jnp.linspace(-6.0, 6.0, 400_001)
        density = jnp.exp(-(grid**2) / 2)
        signal, density = grid, density / density.sum()

        def loss(limit):
            return jnp.sum(density * (quantise(signal, limit, 4) - signal) ** 2)

        for limit in (4.0, 4.7, 5.5):
            difference = central(loss, jnp.float64(limit), 1e-3)
            np.testing.assert_allclose(jax.grad(loss)(jnp.float64(limit)), difference, rtol=2e-2)


def test_learned_step_size_formula():
    signal, limit = jnp.array([0.34, -1.1, 2.5]), jnp.float32(2.0)
    step = limit / 7
    per_signal = jax.jacobian(lambda r: quantise(signal, r, 4))(limit)
    codes = np.rint(np.clip(np.asarray(signal / step), -7, 7))
    expected = np.where(np.abs(signal) > 2, codes, codes - np.asarray(signal / step)) / 7
    np.testing.assert_allclose(per_signal, expected, rtol=1e-5)


def test_pieces_pass_the_gradient_of_their_number():
    code = code_of(jnp.float32(8), jnp.float32(2), jnp.float32(0))
    places = jnp.array([1.0, 4.0, 16.0, 64.0, 0.0])

    def rebuilt(values):
        return jnp.sum(places[:, None] * cut(to_integers(values, code), code, 5))

    np.testing.assert_allclose(jax.grad(rebuilt)(jnp.array([0.3, -0.9, 1.5])), [127.0, 127.0, 0.0], rtol=1e-6)


@pytest.mark.parametrize("sliced", [False, True])
def test_product_gradients_are_those_of_the_plain_product(sliced):
    """Without saturation the straight-through gradient of the crossbar is that of weights @ inputs."""
    rng = np.random.default_rng(0)
    weights, inputs = jnp.float32(rng.uniform(-0.9, 0.9, (4, 10))), jnp.float32(rng.uniform(-0.9, 0.9, (10, 3)))
    cotangent = jnp.float32(rng.normal(size=(4, 3)))
    pieces = dict(max_slices=4, max_cycles=7, cell_bits=2, cycle_bits=1) if sliced else {}
    crossbar = Crossbar.create(rows=4, adc_range=4.0, adc_bits=12, **pieces)
    grads = jax.grad(lambda w, x: jnp.sum(cotangent * crossbar_mvm(w, x, crossbar)), argnums=(0, 1))(weights, inputs)
    quantised = np.rint(np.asarray(inputs) * 127) / 127, np.rint(np.asarray(weights) * 127) / 127
    np.testing.assert_allclose(grads[0], np.asarray(cotangent) @ quantised[0].T, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(grads[1], quantised[1].T @ np.asarray(cotangent), rtol=0.02, atol=0.02)


def test_settings_have_finite_gradients():
    rng = np.random.default_rng(1)
    weights, inputs = jnp.float32(rng.uniform(-1, 1, (3, 6))), jnp.float32(rng.uniform(-1, 1, (6, 2)))
    weights = weights.at[0, 0].set(0.0)
    crossbar = Crossbar.create(
        rows=4, device=pcm_device(drift_time_s=1e4, on_off_ratio=50.0), adc_gain_spread=0.05, output_noise=0.01
    )

    def energy(crossbar):
        return jnp.sum(crossbar_mvm(weights, inputs, crossbar, jax.random.key(0)) ** 2)

    gradient = jax.grad(energy)(crossbar)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))
    assert float(gradient.adc_range[0]) != 0
    assert float(gradient.device.drift_time_s) != 0


def test_drift_time_gradient_matches_finite_differences():
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        weights, inputs = jnp.asarray(rng.uniform(-1, 1, (3, 6))), jnp.asarray(rng.uniform(-1, 1, (6, 2)))
        base = Crossbar.create(rows=4, device=pcm_device(), adc_ideal=True)

        def energy(time):
            device = dataclasses.replace(base.device, drift_time_s=time)
            return jnp.sum(crossbar_mvm(weights, inputs, dataclasses.replace(base, device=device)) ** 2)

        time = jnp.float64(5e3)
        np.testing.assert_allclose(jax.grad(energy)(time), central(energy, time, 1.0), rtol=1e-6)
