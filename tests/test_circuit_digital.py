"""The digital SRAM macro: against ZigZag-IMC's digital array, limits, derivatives, and what a digital tile lacks."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimjax.circuit import DIGITAL_PARTS, TileParameters, explain_tile, outside_validity, parametric_tile
from pimjax.circuit.sanity import checked_tile
from pimjax.circuit.tile import compiled_tile
from pimjax.circuit.zigzag_array import ZigzagArray, zigzag_array
from pimjax.errors import ConfigError

#: ZigZag counts every adder and flip-flop as switching at peak; with half ones ours then switch as often
PEAK = {"digital.adder_activity": 1.0, "digital.flip_flop_activity": 1.0}


def _tile(**changes: Any) -> TileParameters:
    base = TileParameters(cycle_bits=1.0, cell_bits=8.0, cell_kind=2.0, node_nm=28.0, vdd_v=0.9, compute="digital")
    return dataclasses.replace(base, **changes)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([16, 32, 64, 256]),
    st.sampled_from([4, 8, 48]),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([4, 8]),
)
def test_parts_are_those_of_zigzags_digital_array(inputs: int, outputs: int, cycle_bits: int, weight_bits: int) -> None:
    array = ZigzagArray(False, outputs, inputs, 0, cycle_bits, 8, weight_bits, 0.0)
    wanted = zigzag_array(array)
    tile = _tile(
        rows=float(inputs),
        active_rows=float(inputs),
        cols=float(outputs),
        cycle_bits=float(cycle_bits),
        cell_bits=float(weight_bits),
    )
    with jax.enable_x64(True):
        cost = compiled_tile(tile, exact=True, constants=PEAK)
    figures = zip(cost.part_area_mm2, cost.part_energy_nj, cost.part_latency_ns, strict=True)
    area, energy, time = (
        dict(zip(DIGITAL_PARTS, map(float, column), strict=True)) for column in zip(*figures, strict=True)
    )
    cycles = 8 / cycle_bits
    trees = ("adders_regular", "adders_pv")
    assert area["multipliers"] == pytest.approx(wanted.area_mm2["mults"], rel=1e-9)
    assert area["adder_trees"] == pytest.approx(sum(wanted.area_mm2[name] for name in trees), rel=1e-9)
    assert area["accumulators"] == pytest.approx(wanted.area_mm2["accumulators"], rel=1e-9)
    per_cycle = {name: energy[name] / cycles * 1e3 for name in energy}
    assert per_cycle["multipliers"] == pytest.approx(wanted.energy_pj["mults"] / 2, rel=1e-9)  # half of peak
    assert per_cycle["adder_trees"] == pytest.approx(sum(wanted.energy_pj[name] for name in trees), rel=1e-9)
    assert per_cycle["accumulators"] == pytest.approx(wanted.energy_pj["accumulators"], rel=1e-9)
    for name, parts in (("multipliers", ("mults",)), ("adder_trees", trees), ("accumulators", ("accumulators",))):
        assert time[name] / cycles == pytest.approx(sum(wanted.clock_ns[part] for part in parts), rel=1e-9)


def test_rows_that_take_turns_save_area_and_cost_time() -> None:
    with jax.enable_x64(True):
        whole, turns = (compiled_tile(_tile(active_rows=rows)) for rows in (256.0, 32.0))
    assert float(turns.core_area_mm2) < 0.3 * float(whole.core_area_mm2)
    assert float(turns.mvm_latency_ns) > 4 * float(whole.mvm_latency_ns)


def test_booth_recoding_halves_the_trees() -> None:
    with jax.enable_x64(True):
        plain, booth = (compiled_tile(_tile(cycle_bits=2.0, product_bits=bits)) for bits in (1.0, 2.0))
    trees = DIGITAL_PARTS.index("adder_trees")
    assert 0.45 < float(booth.part_area_mm2[trees] / plain.part_area_mm2[trees]) < 0.5


def test_nothing_of_a_converter_is_read() -> None:
    with jax.enable_x64(True):
        one = compiled_tile(_tile())
        other = compiled_tile(_tile(adc_bits=5.0, adc_kind=0.0, columns_per_adc=8.0, adc_rate_gsps=1.0))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["rows", "cols", "active_rows", "input_bits", "cell_bits", "node_nm", "vdd_v"])
def test_derivatives_are_those_of_finite_differences(name: str) -> None:
    with jax.enable_x64(True):
        tile = _tile(rows=250.0, active_rows=60.0, node_nm=25.0, input_bits=7.5)
        tile = jax.tree.map(jnp.float64, tile)

        def product(value: Any) -> Any:
            cost = parametric_tile(dataclasses.replace(tile, **{name: value}))
            return cost.mvm_latency_ns * cost.mvm_energy_nj * cost.core_area_mm2

        at = getattr(tile, name)
        step = 1e-6 * at
        slope = float(product(at + step) - product(at - step)) / float(2 * step)
        assert float(jax.grad(product)(at)) == pytest.approx(slope, rel=1e-5)


def test_explained_checked_and_refused() -> None:
    assert [row.part for row in explain_tile(_tile())] == list(DIGITAL_PARTS)
    assert outside_validity(_tile()) == ()
    assert outside_validity(_tile(vdd_v=0.4))[0].startswith("flip_flop: 0.4 V is outside")
    assert float(checked_tile(_tile()).core_area_mm2) > 0
    with pytest.raises(ConfigError, match="compute is 'quantum'; it must be one of analog, digital"):
        parametric_tile(_tile(compute="quantum"))
