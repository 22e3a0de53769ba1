"""Statistics of programming noise, drift, read noise, faults and converters; sharing and calibration."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimjax.errors import NumericsError
from pimjax.numerics import Crossbar, crossbar_mvm, program, read
from pimjax.numerics.calibrate import analog_sums, calibrate_adc_range
from pimjax.numerics.device import (
    DEVICE_PRESETS,
    Device,
    analog_foundation_models,
    hermes_one_device,
    hermes_two_device,
    pcm_device,
)
from pimjax.numerics.faults import stuck
from pimjax.numerics.noise import drift_exponent, drifted, programmed, programming_deviation, read_deviation
from pimjax.numerics.settings import as_arrays
from pimjax.numerics.sharing import draw_converters, draw_shared_converters

GOLDEN = Path(__file__).parent / "golden"

COUNT = 40_000


@pytest.mark.parametrize(
    ("device", "expected_us"),
    [
        (pcm_device(), lambda r: 0.26348 + 1.9650 * r - 1.1731 * r**2),
        (
            hermes_two_device(),
            lambda r: 0.16603222 + 4.71806468 * r - 8.48101252 * r**2 + 4.68961419 * r**3,
        ),
        (
            hermes_one_device(),
            lambda r: 0.15781817 + 2.32443916 * r - 2.16310839 * r**2 + 0.68841818 * r**3,
        ),
    ],
)
def test_programming_noise_statistics(device, expected_us):
    for level in (0.3, 0.7, 1.0):
        target = jnp.full(COUNT, level)
        written = np.asarray(programmed(target, device, draw=jax.random.normal(jax.random.key(1), (COUNT,))))
        expected = expected_us(level) / float(device.g_max_us)
        np.testing.assert_allclose(programming_deviation(jnp.float32(level), device), expected, rtol=1e-5)
        np.testing.assert_allclose(written.mean(), level, atol=4 * expected / np.sqrt(COUNT))
        np.testing.assert_allclose(written.std(), expected, rtol=4 / np.sqrt(2 * COUNT))
    assert (
        np.asarray(programmed(jnp.zeros(COUNT), device, draw=jax.random.normal(jax.random.key(0), (COUNT,)))) >= 0
    ).all()


def test_drift_follows_the_power_law():
    device = pcm_device(drift_time_s=2e5)
    target = jnp.array([1e-4, 0.05, 0.5, 1.0])
    exponent = np.clip(-0.0155 * np.log(np.asarray(target)) + 0.0244, 0.049, 0.1)
    np.testing.assert_allclose(drift_exponent(target, device, draw=None), exponent, rtol=1e-5)
    np.testing.assert_allclose(
        drifted(target, device, target=target, draw=None), np.asarray(target) * 1e4**-exponent, rtol=1e-5
    )
    sample = np.asarray(
        drift_exponent(jnp.full(COUNT, 0.05), device, draw=jax.random.normal(jax.random.key(3), (COUNT,)))
    )
    deviation = np.clip(-0.0125 * np.log(0.05) - 0.0059, 0.008, 0.045)
    np.testing.assert_allclose(sample.std(), deviation, rtol=0.06)  # clipped at 0: a little narrower
    early = pcm_device(drift_time_s=19.0)
    np.testing.assert_array_equal(drifted(target, early, target=target, draw=None), target)


def test_drift_compensation_restores_the_mean():
    rng = np.random.default_rng(8)
    weights, inputs = jnp.float32(rng.uniform(-1, 1, (16, 32))), jnp.float32(rng.uniform(-1, 1, (32, 8)))
    exact = np.asarray(weights @ inputs)

    def slope(flag):
        device = pcm_device(drift_time_s=1e6, drift_compensation=flag)
        result = np.asarray(crossbar_mvm(weights, inputs, Crossbar.create(rows=32, adc_ideal=True, device=device)))
        return np.sum(result * exact) / np.sum(exact**2)

    assert slope(0) < 0.65
    np.testing.assert_allclose(slope(1), 1, atol=0.03)


def test_read_noise_formula_and_sum():
    device = pcm_device(drift_time_s=3600.0)
    level = 0.4
    expected = level * min(0.0088 / level**0.65, 0.2) * np.sqrt(np.log((3600 + 250e-9) / 500e-9))
    np.testing.assert_allclose(
        read_deviation(jnp.float32(level), device, target=jnp.float32(level)), expected, rtol=1e-5
    )
    low = read_deviation(jnp.float32(1e-4), device, target=jnp.float32(1e-4))
    np.testing.assert_allclose(low, 1e-4 * 0.2 * np.sqrt(np.log((3600 + 250e-9) / 500e-9)), rtol=1e-5)
    # One conversion carries the root of the summed squares of its cells, scaled by the drive.
    quiet = dataclasses.replace(device, programming_scale=0.0, drift_scale=0.0)
    crossbar = Crossbar.create(rows=8, adc_ideal=True, device=quiet)
    weights, inputs = jnp.full((1, 8), 0.4), jnp.full((8, COUNT), 0.5)
    output = np.asarray(crossbar_mvm(weights, inputs, crossbar, jax.random.key(0)))
    stored, driven = round(0.4 * 127) / 127, round(0.5 * 127) / 127
    single = stored * min(0.0088 / stored**0.65, 0.2) * np.sqrt(np.log((3600 + 250e-9) / 500e-9))
    np.testing.assert_allclose(output.std(), np.sqrt(8) * single * driven, rtol=4 / np.sqrt(2 * COUNT))
    np.testing.assert_allclose(output.mean(), 8 * stored * driven, atol=4 * output.std() / np.sqrt(COUNT))


@given(on=st.floats(0, 0.4), off=st.floats(0, 0.4))
def test_stuck_cells_have_their_shares(on, off):
    device = Device(stuck_on=on, stuck_off=off, on_off_ratio=20.0)
    cells = np.asarray(stuck(jnp.full(COUNT, 0.5), device, draw=jax.random.uniform(jax.random.key(0), (COUNT,))))
    for value, share in ((1.0, on), (0.05, off)):
        measured = np.isclose(cells, value).mean()
        assert abs(measured - share) < 5 * np.sqrt(max(share, 1e-4) / COUNT)


def test_programming_is_once_and_reads_are_fresh():
    rng = np.random.default_rng(0)
    weights, inputs = jnp.float32(rng.uniform(-1, 1, (6, 10))), jnp.float32(rng.uniform(-1, 1, (10, 3)))
    crossbar = Crossbar.create(rows=4, device=pcm_device(), adc_ideal=True)
    stored = program(weights, crossbar, key=jax.random.key(0))
    again = program(weights, crossbar, key=jax.random.key(0))
    np.testing.assert_array_equal(stored.cells, again.cells)
    assert not np.array_equal(stored.cells, program(weights, crossbar, key=jax.random.key(1)).cells)
    first = read(stored, inputs, crossbar, key=jax.random.key(2))
    np.testing.assert_array_equal(first, read(stored, inputs, crossbar, key=jax.random.key(2)))
    assert not np.array_equal(first, read(stored, inputs, crossbar, key=jax.random.key(3)))
    assert np.abs(first - read(stored, inputs, crossbar)).max() < 0.3  # without a key: programmed, not noisy


def test_output_noise_is_a_fraction_of_the_range():
    crossbar = Crossbar.create(rows=4, adc_range=2.0, adc_bits=14, output_noise=0.0194)
    output = np.asarray(crossbar_mvm(jnp.zeros((1, 4)), jnp.zeros((4, COUNT)), crossbar, jax.random.key(0)))
    np.testing.assert_allclose(output.std(), 2.0 * 0.0194, rtol=4 / np.sqrt(2 * COUNT))


def test_columns_behind_one_converter_share_its_errors():
    crossbar = Crossbar.create(cols=6, columns_per_adc=4, adc_gain_spread=0.1, adc_offset_spread=1.0)
    converters = draw_converters(crossbar, (2, 3, 13), key=jax.random.key(0))
    gain = np.asarray(converters.gain)
    for columns in ((0, 1, 2, 3), (4, 5), (6, 7, 8, 9), (10, 11), (12,)):
        assert (gain[..., columns] == gain[..., columns[:1]]).all()
    assert len(np.unique(gain)) == 2 * 3 * 5
    np.testing.assert_array_equal(converters.known_gain, 1)


@pytest.mark.parametrize("group_size", [1, 2, 4])
def test_calibration_of_shared_converters(group_size):
    """Per converter: the spread between paths of a group stays, sigma sqrt(1 - 1/g). Per crossbar: nothing stays."""
    groups = 64
    group_of = jnp.repeat(jnp.arange(groups), group_size)
    base = Crossbar.create(adc_gain_spread=0.0709, path_gain_spread=0.05)

    def residual(mode):
        crossbar = dataclasses.replace(base, adc_calibration=jnp.float32(mode))
        drawn = draw_shared_converters(crossbar, (1, 2, 64), group_of, num_groups=groups, key=jax.random.key(4))
        return np.asarray(drawn.gain / drawn.known_gain).std()

    np.testing.assert_allclose(residual(2), 0, atol=1e-6)
    np.testing.assert_allclose(residual(1), 0.05 * np.sqrt(1 - 1 / group_size), rtol=0.05, atol=1e-6)
    np.testing.assert_allclose(residual(0), np.hypot(0.0709, 0.05), rtol=0.05)
    drawn = draw_shared_converters(
        dataclasses.replace(base, path_gain_spread=jnp.float32(0)), (1, 1, 8), group_of, num_groups=groups,
        key=jax.random.key(0),
    )  # fmt: skip
    gain = np.asarray(drawn.gain).reshape(groups, group_size, -1)
    assert (gain == gain[:, :1]).all()


def test_calibrated_gain_reaches_the_result():
    rng = np.random.default_rng(5)
    weights, inputs = jnp.float32(rng.uniform(-1, 1, (16, 32))), jnp.float32(rng.uniform(-1, 1, (32, 64)))
    exact = np.asarray(weights @ inputs)

    def error(mode):
        crossbar = Crossbar.create(rows=16, adc_bits=12, adc_gain_spread=0.07, adc_calibration=mode)
        return np.std(np.asarray(crossbar_mvm(weights, inputs, crossbar, jax.random.key(0))) - exact)

    assert error(2) < 0.1 * error(0)


@pytest.mark.parametrize("scope", ["slice", "column", "column_and_block"])
def test_calibrated_ranges(scope):
    rng = np.random.default_rng(6)
    weights, inputs = jnp.float32(rng.normal(0, 0.3, (5, 20))), jnp.float32(rng.normal(0, 0.3, (20, 40)))
    crossbar = Crossbar.create(rows=8, max_slices=4, max_cycles=7, cell_bits=2, cycle_bits=1, adc_bits=5)
    sums = np.abs(np.asarray(analog_sums(program(weights, crossbar), inputs, crossbar)))
    axes = {"slice": (1, 2, 3, 4), "column": (1, 2, 4), "column_and_block": (1, 4)}[scope]
    top = calibrate_adc_range(weights, inputs, crossbar, method="max", scope=scope)
    expected = sums.max(axes)
    np.testing.assert_allclose(top.adc_range, np.where(expected > 0, expected, 1.0), rtol=1e-6)
    most = calibrate_adc_range(weights, inputs, crossbar, method="percentile", percentile=99, scope=scope)
    assert (np.asarray(most.adc_range) <= np.asarray(top.adc_range)).all()
    best = calibrate_adc_range(weights, inputs, crossbar, method="mse", scope=scope)
    exact = np.asarray(crossbar_mvm(weights, inputs, dataclasses.replace(crossbar, adc_ideal=jnp.float32(1))))

    def loss(calibrated):
        return np.mean((np.asarray(crossbar_mvm(weights, inputs, calibrated)) - exact) ** 2)

    assert loss(best) <= loss(top)


def test_bad_calibration_names():
    weights, inputs, crossbar = jnp.ones((1, 2)), jnp.ones((2, 1)), Crossbar.create(rows=2)
    for options, words in (
        ({"method": "best"}, "method"), ({"scope": "tile"}, "scope"), ({"percentile": 0}, "percentile")
    ):  # fmt: skip
        with pytest.raises(NumericsError, match=words):
            calibrate_adc_range(weights, inputs, crossbar, **options)


AIHWKIT = json.loads((GOLDEN / "aihwkit_pcm.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("preset", list(AIHWKIT["weights_by_time_s"]))
def test_cells_are_those_of_aihwkit_with_the_same_draws(preset, monkeypatch):
    """Recorded from AIHWKit (and the published script of the foundation models) by benchmarks/validation/aihwkit_devices.py.

    The one difference by formula: an exponent that the draw makes negative is 0 here and its magnitude there.
    """
    weights = np.array(AIHWKIT["levels"], np.float32) / 127
    draws = np.random.default_rng(AIHWKIT["seed"]).standard_normal((3, 2, *weights.shape)).astype(np.float32)
    same = jnp.asarray(draws[:2][:, :, None])
    monkeypatch.setattr("pimjax.numerics.programming.standard_normal", lambda key, shape, dtype: same.astype(dtype))
    for seconds, expected in AIHWKIT["weights_by_time_s"][preset].items():
        device = DEVICE_PRESETS[preset]().replace(drift_time_s=float(seconds))
        crossbar = as_arrays(Crossbar.create(rows=weights.shape[1], device=device), jnp.float32)
        cells = np.asarray(program(jnp.asarray(weights), crossbar, key=jax.random.key(0)).cells[0, 0]) / 127
        targets = np.stack([np.maximum(weights, 0), np.maximum(-weights, 0)])
        raw = device.replace(drift_scale=1.0)
        mean = np.asarray(drift_exponent(jnp.asarray(targets), raw, draw=None))
        deviation = np.asarray(drift_exponent(jnp.asarray(targets), raw, draw=jnp.ones(targets.shape))) - mean
        positive = (mean + deviation * draws[1] > 0).all(axis=0)
        assert positive.mean() > 0.9
        np.testing.assert_allclose(
            cells[positive], np.array(expected)[positive], atol=3e-4 if preset.startswith("analog") else 2e-6
        )


def test_weights_of_the_foundation_models_may_change_their_sign_and_zeros_are_silent():
    device = analog_foundation_models()
    draw = jax.random.normal(jax.random.key(2), (COUNT,))
    small = np.asarray(programmed(jnp.full(COUNT, 1 / 127), device, draw=draw))
    assert 0.3 < (small < 0).mean() < 0.4  # sigma 2.8 of 180 at 1.4 of 180: a half of a deviation
    np.testing.assert_array_equal(programmed(jnp.zeros(COUNT), device, draw=draw), 0)
    for level, published in ((0.25, (2.5797410660159494, 0.22419685954327148, -0.00371581208142707, 2.939751381126213e-05)),
                             (0.8, (2.110295720240385, 0.2453487119885723, -0.003054993405157235, 1.2329755395573392e-05))):  # fmt: skip
        expected = np.polyval(published[::-1], 180 * level) / 180
        np.testing.assert_allclose(programming_deviation(jnp.float32(level), device), expected, rtol=1e-5)
    crossbar = Crossbar.create(rows=4, adc_ideal=True, device=device)
    stored = program(jnp.zeros((3, 4)), as_arrays(crossbar, jnp.float32), key=jax.random.key(0))
    np.testing.assert_array_equal(stored.cells, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("programming_floor", -1.0), ("programming_split", np.nan), ("programming_signed", 0.5), ("read_split", -1.0)],
)
def test_settings_of_programming_are_checked(name, value):
    with pytest.raises(NumericsError, match=name):
        Crossbar.create(device=Device(**{name: value}))


def test_cells_of_the_hermes_core_are_read_by_their_own_curves():
    """AIHWKit 1.1, `HermesNoiseModel`: a line in ln r below the split, a polynomial above, reads of 512 ns."""
    device = hermes_two_device(drift_time_s=3600.0)
    accumulated = np.sqrt(np.log((3600 + 512e-9) / (2 * 512e-9)))
    for level, quality in (
        (0.01, 0.04),
        (0.05, -0.0117 * np.log(0.05) - 0.0069),
        (0.6, 0.0123 + 0.0211 * 0.6 - 0.0280 * 0.6**2 + 0.0069 * 0.6**3),
    ):
        found = read_deviation(jnp.float32(level), device, target=jnp.float32(level))
        np.testing.assert_allclose(found, level * quality * accumulated, rtol=1e-4)
    levels = jnp.array([0.05, 0.5])
    expected = [-0.0387 * np.log(0.05) - 0.0182, 0.0736 - 0.0126 * 0.5 - 0.0436 * 0.25]
    np.testing.assert_allclose(drift_exponent(levels, device, draw=None), expected, rtol=1e-4)
    above = drift_exponent(levels, device, draw=jnp.ones(2)) - drift_exponent(levels, device, draw=None)
    np.testing.assert_allclose(
        above, [-0.0117 * np.log(0.05) - 0.0057, 0.0073 + 0.0093 * 0.5 - 0.0118 * 0.25], rtol=1e-3
    )
