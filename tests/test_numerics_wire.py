"""Wire resistance: CrossSim's golden, an independent nodal solver, badcrossbar, and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from oracles import crossbar as oracle

from pimjax.numerics import Crossbar, crossbar_mvm
from pimjax.numerics.wire import device_currents, effective_conductance


def test_golden_wire_resistance(golden_folder):
    data = np.load(golden_folder / "crosssim_irdrop_golden_small.npz")
    with jax.enable_x64(True):
        weights, inputs = jnp.asarray(data["W_int"] / 127), jnp.asarray(data["X_int"] / 127)
        common = dict(rows=64, cols=64, wire_row=2e-4, wire_col=2e-4)
        analog = crossbar_mvm(weights, inputs, Crossbar.create(adc_ideal=True, **common))
        np.testing.assert_allclose(analog, data["y_noadc"], atol=1e-6, rtol=0)
        converted = crossbar_mvm(weights, inputs, Crossbar.create(adc_range=2.4173228346456694, **common))
        np.testing.assert_allclose(converted, data["y_adc"], atol=1e-6, rtol=0)
        # The wires matter: without them the golden is missed by far.
        ideal = crossbar_mvm(weights, inputs, Crossbar.create(adc_ideal=True, rows=64))
        assert np.abs(np.asarray(ideal) - data["y_noadc"]).max() > 0.01


def test_golden_in_float32(golden_folder):
    data = np.load(golden_folder / "crosssim_irdrop_golden_small.npz")
    crossbar = Crossbar.create(rows=64, cols=64, wire_row=2e-4, wire_col=2e-4, adc_ideal=True)
    result = crossbar_mvm(jnp.float32(data["W_int"] / 127), jnp.float32(data["X_int"] / 127), crossbar)
    np.testing.assert_allclose(result, data["y_noadc"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("cols", "rows", "row", "col"), [(3, 5, 0.1, 0.02), (6, 4, 1e-4, 0.5), (1, 1, 1.0, 2.0)])
def test_equals_nodal_solution(cols, rows, row, col):
    rng = np.random.default_rng(cols)
    conductance = rng.uniform(0, 1, (cols, rows)) * rng.integers(0, 2, (cols, rows))
    voltages = rng.uniform(-1, 1, (rows, 3))
    expected = oracle.wire_currents(conductance, voltages, row, col)
    with jax.enable_x64(True):
        currents = device_currents(jnp.asarray(conductance), jnp.asarray(voltages), wire_row=row, wire_col=col)
        np.testing.assert_allclose(currents.sum(1), expected, atol=1e-12)
        effective = effective_conductance(jnp.asarray(conductance), wire_row=row, wire_col=col)
        np.testing.assert_allclose(effective @ voltages, expected, atol=1e-12)


def test_equals_badcrossbar():
    badcrossbar = pytest.importorskip("badcrossbar.compute", reason="badcrossbar (PyPI) is not installed")
    rng = np.random.default_rng(0)
    conductance, voltages = rng.uniform(0.01, 1, (12, 9)), rng.uniform(0, 1, (9, 4))
    solution = badcrossbar.compute(voltages, 1 / conductance.T, r_i_word_line=0.01, r_i_bit_line=0.03)
    with jax.enable_x64(True):
        currents = device_currents(jnp.asarray(conductance), jnp.asarray(voltages), wire_row=0.01, wire_col=0.03)
        np.testing.assert_allclose(currents.sum(1).T, solution.currents.output, rtol=1e-9)


def test_strong_wires_converge_where_plain_iteration_diverges():
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        conductance = jnp.asarray(rng.uniform(0, 1, (96, 96)))
        voltages = jnp.asarray(rng.uniform(0, 1, (96, 1)))
        resistance = 5e-3  # the fixed point's contraction factor is far above 1 here
        currents = device_currents(conductance, voltages, wire_row=resistance, wire_col=resistance)
        expected = oracle.wire_currents(np.asarray(conductance), np.asarray(voltages), resistance, resistance)
        np.testing.assert_allclose(currents.sum(1), expected, rtol=1e-9)


def test_unsolved_lanes_are_nan():
    currents = device_currents(jnp.ones((8, 8)), jnp.ones((8, 1)), wire_row=0.5, wire_col=0.5, max_iterations=2)
    assert jnp.isnan(currents).any()


def test_gradients_match_finite_differences():
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        conductance = jnp.asarray(rng.uniform(0.1, 1, (3, 4)))
        voltages = jnp.asarray(rng.uniform(-1, 1, (4, 2)))

        def output(conductance, voltages, row, col):
            return device_currents(conductance, voltages, wire_row=row, wire_col=col).sum(1)

        check_grads(output, (conductance, voltages, jnp.asarray(0.05), jnp.asarray(0.1)), order=1, eps=1e-5)
        at_zero = jax.grad(lambda g: output(g, voltages, 0.05, 0.1).sum())(conductance.at[0, 0].set(0.0))
        step = 1e-6
        difference = (
            output(conductance.at[0, 0].set(step), voltages, 0.05, 0.1).sum()
            - output(conductance.at[0, 0].set(0.0), voltages, 0.05, 0.1).sum()
        ) / step
        np.testing.assert_allclose(at_zero[0, 0], difference, rtol=1e-4)
