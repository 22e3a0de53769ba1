"""Monte Carlo over constants: the right constants, known intervals, known influence, repeatable."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

from pimjax.circuit import CONSTANTS, hermes_tile, parametric_tile, propagate_uncertainty
from pimjax.circuit.constants import Constants, Real, value
from pimjax.circuit.uncertainty import sample_constants, squared_rank_correlation, used_constants

PULSES = CONSTANTS["programming.verify_passes"]
ENERGY = CONSTANTS["programming.pulse_energy_pj"]


def _product(constants: Constants) -> dict[str, Real]:
    return {"product": value(PULSES, constants) * value(ENERGY, constants), "one": value(PULSES, constants)}


def test_only_the_constants_that_are_read_are_sampled() -> None:
    assert used_constants(_product) == (ENERGY.name, PULSES.name)


def test_draws_keep_the_range_and_have_the_nominal_value_as_median() -> None:
    names = (PULSES.name, "programming.pulse_energy_pj", "scaling.analog_area_exponent")
    draws = sample_constants(names, key=jax.random.key(1), num_samples=4001)
    for name, drawn in draws.items():
        item = CONSTANTS[name]
        assert np.min(drawn) >= item.low * 0.9999
        assert np.max(drawn) <= item.high * 1.0001
        below = np.mean(np.asarray(drawn) <= item.value)
        if item.low < item.value < item.high:
            assert below == pytest.approx(0.5, abs=0.03)


def test_interval_and_influence_of_a_product_are_the_ones_of_the_draws() -> None:
    result = propagate_uncertainty(_product, key=jax.random.key(2), num_samples=3000)
    assert result.failed == 0
    assert result.nominal["product"] == pytest.approx(PULSES.value * ENERGY.value)
    assert result.median["product"] == pytest.approx(100.0, rel=0.12)
    # the passes alone: 5 and 95 % of a two-sided log-uniform law on 3..10..30
    assert result.low["one"] == pytest.approx(3 * (10 / 3) ** 0.1, rel=0.05)
    assert result.high["one"] == pytest.approx(10 * 3**0.9, rel=0.05)
    assert result.influence["one"][0][0] == PULSES.name
    assert result.influence["one"][0][1] == pytest.approx(1.0)
    assert result.influence["one"][1][1] < 0.01
    names = [name for name, _ in result.influence["product"]]
    assert names == [ENERGY.name, PULSES.name]  # the wider range moves the product more
    again = propagate_uncertainty(_product, key=jax.random.key(2), num_samples=3000)
    assert again.high == result.high


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    first, noise = rng.normal(size=200), rng.normal(size=200)
    second = np.exp(first) + noise
    expected = stats.spearmanr(first, second).statistic ** 2
    assert squared_rank_correlation(first, second) == pytest.approx(expected)
    assert squared_rank_correlation(first, np.ones(200)) == 0.0


def test_failed_draws_are_counted_and_left_out() -> None:
    def fragile(constants: Constants) -> dict[str, Real]:
        import jax.numpy as jnp

        passes = jnp.asarray(value(PULSES, constants))
        return {"root": jnp.sqrt(passes - 5.0)}

    result = propagate_uncertainty(fragile, key=jax.random.key(3), num_samples=500)
    assert 0 < result.failed < 500
    assert np.isfinite(result.low["root"])


def test_hermes_tile_has_an_interval_and_its_converter_moves_it_most() -> None:
    def tile(constants: Constants) -> dict[str, Real]:
        cost = parametric_tile(hermes_tile(), constants=constants)
        return {"energy_nj": cost.mvm_energy_nj, "latency_ns": cost.mvm_latency_ns, "area_mm2": cost.core_area_mm2}

    result = propagate_uncertainty(tile, key=jax.random.key(4), num_samples=1000)
    assert result.nominal["energy_nj"] == pytest.approx(12.48)
    for name, nominal in result.nominal.items():
        assert result.low[name] <= nominal * (1 + 1e-9)
        assert result.high[name] >= nominal * (1 - 1e-9)
    assert result.influence["latency_ns"][0][0] in {"adc_hermes.readout_ns", "adc_hermes.pulse_clock_ghz"}
    unused = {"adc_zigzag.energy_factor"}
    shares = dict(result.influence["energy_nj"])
    assert all(shares.get(name, 0.0) < 0.02 for name in unused)
