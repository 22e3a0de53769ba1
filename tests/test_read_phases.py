"""Reads of one and of four phases: against a plain NumPy model, their limits, their noise, their cost."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pimjax
from pimjax.errors import NumericsError
from pimjax.estimation.accuracy import measure_accuracy
from pimjax.numerics.calibrate import calibrate_adc_range
from pimjax.numerics.from_config import crossbar_from_config
from pimjax.numerics.mvm import crossbar_mvm
from pimjax.numerics.settings import Crossbar


def _data(seed: int, out: int = 5, depth: int = 24, batch: int = 7) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.uniform(-1, 1, (out, depth)).astype(np.float32), draw.uniform(-1, 1, (depth, batch)).astype(np.float32)


def _plain_four_phases(weights: np.ndarray, inputs: np.ndarray, rows: int, bits: int, limit: float) -> np.ndarray:
    """Every sign of input on every sign of cell, block by block, converted by 2^b - 1 steps from 0 to `limit`."""
    cells, drive = np.round(weights.astype(float) * 127) / 127, np.round(inputs.astype(float) * 127) / 127
    step, total = limit / (2**bits - 1), 0.0
    for begin in range(0, cells.shape[1], rows):
        w, x = cells[:, begin : begin + rows], drive[begin : begin + rows]
        for cell_sign in (1, -1):
            for input_sign in (1, -1):
                signal = np.maximum(cell_sign * w, 0) @ np.maximum(input_sign * x, 0)
                total = total + cell_sign * input_sign * np.round(np.clip(signal / step, 0, 2**bits - 1)) * step
    return total


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([4, 6, 8]), st.sampled_from([8, 24]), st.floats(0.5, 6))
def test_four_phases_equal_the_plain_model(seed: int, bits: int, rows: int, limit: float) -> None:
    weights, inputs = _data(seed)
    crossbar = Crossbar.create(rows=rows, adc_bits=bits, adc_range=limit, read_phases=4)
    made = np.asarray(crossbar_mvm(jnp.asarray(weights), jnp.asarray(inputs), crossbar))
    wanted = _plain_four_phases(weights, inputs, rows, bits, float(np.float32(limit)))
    # a signal between two levels, within the rounding of float32, may go to either: then whole steps apart, and few
    step = limit / (2**bits - 1)
    far = np.abs(made - wanted) > 1e-3 * step
    assert far.mean() <= 0.02
    assert np.abs(made - wanted).max() <= 1.01 * step


def test_an_ideal_converter_sees_no_phases() -> None:
    weights, inputs = _data(3)
    one, four = (Crossbar.create(rows=8, adc_ideal=True, read_phases=phases) for phases in (1, 4))
    products = [np.asarray(crossbar_mvm(jnp.asarray(weights), jnp.asarray(inputs), c)) for c in (one, four)]
    np.testing.assert_allclose(products[0], products[1], rtol=1e-5, atol=1e-6)


def test_calibration_covers_the_sums_of_every_phase() -> None:
    weights, inputs = _data(4)
    crossbar = Crossbar.create(rows=24, read_phases=4)
    limit = float(calibrate_adc_range(weights, inputs, crossbar, method="max").adc_range[0])
    cells, drive = np.round(weights * 127) / 127, np.round(inputs * 127) / 127
    sums = [np.maximum(a * cells, 0) @ np.maximum(b * drive, 0) for a in (1, -1) for b in (1, -1)]
    assert limit == pytest.approx(np.max(sums), rel=1e-5)


@pytest.mark.parametrize("phases", [1, 4])
def test_polarity_spreads_half_of_the_products_in_one_phase_and_none_in_four(phases: int) -> None:
    weights, inputs = _data(5, out=1, depth=16, batch=1)
    crossbar = Crossbar.create(rows=16, adc_ideal=True, read_phases=phases, device="ideal")
    crossbar = dataclasses.replace(crossbar, device=dataclasses.replace(crossbar.device, polarity_spread=0.1))

    def product(key: jax.Array) -> jax.Array:
        return crossbar_mvm(jnp.asarray(weights), jnp.asarray(inputs), crossbar, key)[0, 0]

    with jax.enable_x64(False):
        drawn = np.asarray(jax.vmap(product)(jax.random.split(jax.random.key(0), 4000)))
    wanted = 0.1 * np.sqrt(0.5 * np.sum((weights[0] * inputs[:, 0]) ** 2)) if phases == 1 else 0.0
    assert drawn.std() == pytest.approx(wanted, rel=0.05, abs=1e-6)


def test_one_key_decides_cost_and_accuracy() -> None:
    chips = [
        pimjax.load_config({"hardware": f"hermes_64_{name}_phase", "numerics": "hermes_64"}) for name in ("one", "four")
    ]
    assert [crossbar_from_config(chip).read_phases for chip in chips] == [1, 4]
    one, four = (pimjax.estimate(chip, fidelity="closed") for chip in chips)
    assert float(four.energy_nj) > 3 * float(one.energy_nj)
    quality = [float(measure_accuracy(chip)["sqnr_db"]) for chip in chips]
    assert quality[1] > quality[0]


def test_other_numbers_of_phases_are_refused() -> None:
    with pytest.raises(NumericsError, match="read_phases is 2; it must be 1"):
        Crossbar.create(rows=8, read_phases=2)
    with pytest.raises(pimjax.ConfigError, match=r"hardware\.read_phases is 3: it must be 1"):
        pimjax.load_config("paper_multiplexed", {"hardware.read_phases": 3})
