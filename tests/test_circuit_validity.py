"""Stated ranges: what is said when a component leaves its own, and the survey's converter below four bits."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pimjax.circuit import ADC_KINDS, CATALOGUE, TileParameters, adc_survey, hermes_tile
from pimjax.circuit.validity import outside_validity

SURVEY = TileParameters(adc_kind=0.0, cycle_bits=1.0, adc_rate_gsps=0.1)


def test_a_tile_inside_every_range_has_nothing_to_say() -> None:
    assert outside_validity(SURVEY) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"adc_bits": 3.0}, "adc_survey: 3 bit is outside 4 to 17 bit; costs are those of 4 bits"),
        ({"adc_kind": 1.0, "adc_bits": 12.0}, "adc_zigzag: 12 bit"),
        ({"adc_kind": 1.0, "active_rows": 16.0}, "adc_zigzag: 16 rows"),
        ({"adc_kind": 2.0, "adc_bits": 4.0, "cycle_bits": 8.0}, "adc_hermes_cco: 4 bit"),
        ({"cycle_bits": 4.0}, "dac_zigzag: 14 nm is outside 22 to 28 nm; extrapolated"),
        ({"cycle_bits": 12.0, "input_kind": 1.0}, "pulse_generator: 12 bit"),
        ({"vdd_v": 1.8}, "flip_flop: 1.8 V"),
        ({"columns_per_adc": 128.0}, "analog_mux: 128 ways"),
        ({"rows": 16.0, "active_rows": 16.0}, "cell: 16 rows"),
        ({"input_bits": 32.0, "adc_bits": 17.0}, "shift_add: 49 bit"),
        ({"adc_kind": 4.0, "node_nm": 22.0}, "adc_table: isaac_8b_32nm is a converter of 32 nm, used for 22 nm"),
    ],
)
def test_each_range_is_named_when_it_is_left(changes: dict[str, float], words: str) -> None:
    sentences = outside_validity(dataclasses.replace(SURVEY, **changes))
    assert any(sentence.startswith(words) for sentence in sentences), sentences


def test_every_converter_kind_is_checked_and_ranges_belong_to_components() -> None:
    for index in range(len(ADC_KINDS)):
        outside_validity(dataclasses.replace(hermes_tile(), adc_kind=float(index)))
    assert all(low < high for info in CATALOGUE.values() for low, high in info.ranges.values())


def test_below_four_bits_the_survey_charges_four_bits() -> None:
    with jax.enable_x64(True):
        four = adc_survey(4.0, rate_gsps=0.1, node_nm=22.0, exact=True)
        for bits in (1.0, 3.0, 3.5):
            fewer = adc_survey(bits, rate_gsps=0.1, node_nm=22.0, exact=True)
            assert float(fewer.energy_nj) == float(four.energy_nj)
            assert float(fewer.area_mm2) == float(four.area_mm2)
        bits = jnp.linspace(1.0, 12.0, 300)
        smooth = adc_survey(bits, rate_gsps=0.1, node_nm=22.0)
        assert np.all(np.asarray(smooth.energy_nj[bits < 3.5]) == pytest.approx(float(four.energy_nj), rel=1e-4))
        at_four = adc_survey(jnp.asarray([4.0]), rate_gsps=0.1, node_nm=22.0).energy_nj[0]
        assert float(at_four) == pytest.approx(float(four.energy_nj), rel=0.003)


@pytest.mark.parametrize("bits", [2.0, 3.9, 4.0, 4.1, 5.0, 7.0, 8.0])
def test_the_survey_is_differentiable_at_whole_bits_and_at_the_edge_of_its_range(bits: float) -> None:
    with jax.enable_x64(True):

        def costs(b: jax.Array) -> jax.Array:
            unit = adc_survey(b, rate_gsps=0.1, node_nm=22.0, vdd_v=0.8)
            return jnp.stack([jnp.log(unit.energy_nj), jnp.log(unit.area_mm2)])

        at, step = jnp.float64(bits), 1e-6
        slope = (costs(at + step) - costs(at - step)) / (2 * step)
        np.testing.assert_allclose(jax.jacfwd(costs)(at), slope, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(jax.jacrev(costs)(at), slope, rtol=1e-6, atol=1e-9)
