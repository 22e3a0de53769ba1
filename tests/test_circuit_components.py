"""Circuit components: published check values, exact against smooth forms, scaling, register, constants."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pimjax.circuit import (
    CATALOGUE,
    CONSTANTS,
    PUBLISHED_ADCS,
    accumulator_strip,
    adc_hermes_cco,
    adc_survey,
    adc_table,
    adc_zigzag,
    analog_mux,
    catalogue_markdown,
    column_accumulation_ns,
    crossbar_write,
    dac_zigzag,
    expert_swap,
    model_load,
    sample_hold,
)
from pimjax.circuit.constants import sourced
from pimjax.circuit.scaling import analog_area_factor, digital_area_factor, digital_energy_factor


@pytest.mark.parametrize(
    ("bits", "rate", "node", "picojoule", "square_um"),
    [
        (4.0, 7.7e-3, 14.0, 0.195, 569.0),
        (6.0, 7.7e-3, 14.0, 0.225, 594.0),
        (8.0, 7.7e-3, 14.0, 0.362, 685.0),
        (10.0, 7.7e-3, 14.0, 0.700, 834.0),
        (8.0, 1.2, 32.0, 1.85, 6313.0),
    ],
)
def test_survey_reproduces_its_check_values(
    bits: float, rate: float, node: float, picojoule: float, square_um: float
) -> None:
    unit = adc_survey(bits, rate_gsps=rate, node_nm=node, exact=True)
    assert float(unit.energy_nj) * 1e3 == pytest.approx(picojoule, rel=2e-3)
    assert float(unit.area_mm2) * 1e6 == pytest.approx(square_um, rel=1e-3)
    smooth = adc_survey(bits, rate_gsps=rate, node_nm=node)
    assert float(smooth.energy_nj) == pytest.approx(float(unit.energy_nj), rel=0.045)


def test_survey_smooth_form_stays_near_the_exact_one_through_the_corner_and_is_differentiable_there() -> None:
    with jax.enable_x64(True):
        rates = jnp.geomspace(1e-3, 30.0, 200)
        smooth = adc_survey(8.0, rate_gsps=rates, node_nm=14.0)
        exact = adc_survey(8.0, rate_gsps=rates, node_nm=14.0, exact=True)
        ratio = np.asarray(smooth.energy_nj / exact.energy_nj)
        assert ratio.min() >= 1.0 - 1e-12
        assert ratio.max() <= 10 ** (0.25 * np.log(2) / 10) + 1e-9

        def energy(bits: jax.Array) -> jax.Array:
            return adc_survey(bits, rate_gsps=1.08, node_nm=14.0).energy_nj

        at, step = jnp.float64(7.3), 1e-6
        slope = (energy(at + step) - energy(at - step)) / (2 * step)
        assert float(jax.grad(energy)(at)) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.parametrize(("bits", "um2", "pj", "ns"), [(8.0, 2085.0, 0.701, 18.5), (6.0, 618.0, 0.489, 13.9)])
def test_zigzag_adc_check_values(bits: float, um2: float, pj: float, ns: float) -> None:
    unit = adc_zigzag(bits, rows=256.0, vdd_v=0.9)
    assert float(unit.area_mm2) * 1e6 == pytest.approx(um2, rel=1e-3)
    assert float(unit.energy_nj) * 1e3 == pytest.approx(pj, rel=1e-3)
    assert float(unit.latency_ns) == pytest.approx(ns, rel=4e-3)


def test_dac_step_is_smooth_and_near_the_exact_form() -> None:
    for bits, tolerance in ((1.0, 0.0), (2.0, 0.032), (3.0, 0.005), (8.0, 1e-4)):
        exact = float(dac_zigzag(bits, vdd_v=0.9, exact=True).energy_nj)
        smooth = float(dac_zigzag(bits, vdd_v=0.9).energy_nj)
        assert smooth == pytest.approx(exact, rel=tolerance, abs=1e-12)


def test_hermes_converter_is_the_measured_one_and_grows_with_levels() -> None:
    unit = adc_hermes_cco(8.0, input_bits=8.0, exact=True)
    assert float(unit.latency_ns) == pytest.approx(130.0)
    assert 256 * float(unit.energy_nj) / 12.48 == pytest.approx(0.65, rel=1e-3)
    nine = adc_hermes_cco(9.0, input_bits=8.0, exact=True)
    assert float(nine.latency_ns) == pytest.approx(512 * 0.3 + 2)
    assert float(nine.energy_nj) == pytest.approx(2 * float(unit.energy_nj))


def test_table_returns_each_published_converter_unchanged() -> None:
    for index, published in enumerate(PUBLISHED_ADCS):
        unit = adc_table(float(index))
        assert float(unit.area_mm2) == pytest.approx(published.area_um2 * 1e-6)
        assert float(unit.energy_nj) == pytest.approx(published.energy_pj * 1e-3)
        assert float(unit.latency_ns) == pytest.approx((published.bits + 2) / published.rate_gsps)


@pytest.mark.parametrize(
    ("source", "factor"), [(130, 0.027), (65, 0.12), (45, 0.17), (32, 0.38), (20, 0.82), (16, 0.91)]
)
def test_digital_area_scaling_table(source: float, factor: float) -> None:
    assert float(digital_area_factor(14.0, float(source))) == pytest.approx(factor, rel=0.06)


def test_energy_scaling_is_the_ratio_of_the_polynomials_and_one_at_the_source() -> None:
    at_45 = 1.103 * 0.9**2 - 0.362 * 0.9 + 0.2767
    at_14 = 0.2363 * 0.8**2 - 0.09675 * 0.8 + 0.02239
    got = digital_energy_factor(14.0, 0.8, from_nm=45.0, from_vdd_v=0.9)
    assert float(got) == pytest.approx(at_14 / at_45, rel=1e-5)
    assert float(digital_energy_factor(22.0, 0.7, from_nm=22.0, from_vdd_v=0.7)) == pytest.approx(1.0)


def test_analog_area_moves_only_by_its_own_exponent_and_energy_not_at_all() -> None:
    assert float(analog_area_factor(7.0, 14.0)) == pytest.approx(0.5)
    assert float(analog_area_factor(7.0, 14.0, {"scaling.analog_area_exponent": 0.0})) == pytest.approx(1.0)
    here, there = (adc_hermes_cco(8.0, input_bits=8.0, node_nm=node) for node in (14.0, 7.0))
    assert float(here.energy_nj) == float(there.energy_nj)


def test_values_of_the_chip_model() -> None:
    assert float(analog_mux(2.0, adc_bits=8.0).latency_ns) == pytest.approx(1.622, abs=1e-3)
    assert float(analog_mux(1.0, adc_bits=8.0).latency_ns) == 0.0
    assert float(accumulator_strip().area_mm2) == pytest.approx(64 * 278e-6 * 0.17, rel=3e-3)
    assert float(column_accumulation_ns(16.0, 256.0)) == 64.0
    write = crossbar_write()
    assert float(write.latency_ns) == pytest.approx(256 * 10 * 25 * 130)
    assert float(write.energy_nj) == pytest.approx(65536 * 4 * 10 * 0.010)


def test_sampling_capacitor_is_thermal_at_high_resolution_and_minimal_below() -> None:
    high = sample_hold(12.0, vdd_v=0.8, exact=True)
    thermal = 12 * 1.380649e-23 * 300 * 4**12  # C V^2 of a kT/C-limited sampler does not depend on V
    assert float(high.energy_nj) == pytest.approx(thermal * 1e9, rel=1e-5)
    assert float(sample_hold(4.0, vdd_v=1.0, exact=True).energy_nj) == pytest.approx(10e-6)
    for bits in (4.0, 8.0, 8.6, 12.0):
        exact = float(sample_hold(bits, vdd_v=0.8, exact=True).energy_nj)
        assert exact <= float(sample_hold(bits, vdd_v=0.8).energy_nj) <= exact + 0.7 * 0.64e-6


def test_swapping_experts_waits_for_the_slower_of_programming_and_fetching() -> None:
    write = crossbar_write()
    one = expert_swap(1.0, 96.0, write, weight_bytes=96 * 65536.0)
    assert float(one.time_ns) == pytest.approx(float(write.latency_ns))
    assert float(expert_swap(3.0, 96.0, write).time_ns) == pytest.approx(3 * float(write.latency_ns))
    serial = expert_swap(1.0, 96.0, write, parallel_crossbars=24.0)
    assert float(serial.time_ns) == pytest.approx(4 * float(write.latency_ns))
    slow = expert_swap(1.0, 1.0, write, weight_bytes=1e9, dram_bytes_per_ns=1.0)
    assert float(slow.time_ns) == pytest.approx(1e9)
    assert float(slow.energy_nj) == pytest.approx(float(write.energy_nj) + 1e9 * 0.0462678)
    load = model_load(960.0, write, parallel_crossbars=96.0, weight_bytes=1.0)
    assert float(load.time_ns) == pytest.approx(10 * float(write.latency_ns))


def test_every_component_and_constant_is_documented_and_the_ranges_are_sane() -> None:
    assert len(CATALOGUE) >= 16
    for info in CATALOGUE.values():
        assert info.action
        assert info.validity
        assert info.node
        assert info.source
        assert set(info.constants) <= set(CONSTANTS)
    for item in CONSTANTS.values():
        assert item.low <= item.value <= item.high
        assert item.source
        assert item.unit
        if item.quality == "U" and item.name != "dram.access_ns":
            assert item.high / item.low >= 1.5, item.name
    text = catalogue_markdown()
    assert all(name in text for name in (*CATALOGUE, *CONSTANTS))
    widths = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert set(widths) == {7}


def test_a_constant_is_declared_once_and_inside_its_range() -> None:
    name = "digital.nand2_area_um2"
    with pytest.raises(ValueError, match="twice"):
        sourced(name, 1.0, "um2", low=0.5, high=2.0, source="test", quality="U")
    with pytest.raises(ValueError, match="outside its range"):
        sourced("test.value", 3.0, "1", low=0.5, high=2.0, source="test", quality="U")
    assert "test.value" not in CONSTANTS


def test_overriding_a_constant_moves_the_result_and_components_take_constants() -> None:
    base = float(crossbar_write().energy_nj)
    doubled = crossbar_write(constants={"programming.pulse_energy_pj": 20.0})
    assert float(doubled.energy_nj) == pytest.approx(2 * base)
    assert "constants" in inspect.signature(adc_zigzag).parameters


def test_components_keep_single_precision_under_x64() -> None:
    with jax.enable_x64(True):
        node, vdd = jnp.float32(18.0), jnp.float32(0.8)
        bits = jnp.float32(7.0)
        for unit in (
            adc_survey(bits, rate_gsps=jnp.float32(0.1), node_nm=node, vdd_v=vdd),
            adc_zigzag(bits, rows=jnp.float32(128.0), vdd_v=vdd),
            adc_hermes_cco(bits, input_bits=bits, vdd_v=vdd, node_nm=node),
            sample_hold(bits, vdd_v=vdd),
        ):
            assert jnp.asarray(unit.energy_nj).dtype == jnp.float32
            assert jnp.asarray(unit.area_mm2).dtype == jnp.float32
