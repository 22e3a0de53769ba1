"""The parametric and the calibrated tile: oracle, gradients, dtype, landing on HERMES, refusal of nonsense."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimjax.circuit import (
    ADC_KINDS,
    CELL_KINDS,
    PARTS,
    TileParameters,
    calibrated_tile,
    checked_tile,
    explain_tile,
    hermes_scales,
    hermes_tile,
    parametric_tile,
    refuse_impossible,
    tile_violations,
)
from pimjax.errors import ConfigError

sys.path.insert(0, str(Path(__file__).parent / "oracles"))
import circuit_tile as oracle

NAMES = tuple(field.name for field in dataclasses.fields(TileParameters) if field.metadata.get("pytree_node", True))
EXACT = jax.jit(parametric_tile, static_argnames="exact")


def _array(parameters: TileParameters) -> jax.Array:
    return jnp.asarray([jnp.asarray(getattr(parameters, name)) for name in NAMES])


def _metrics(vector: jax.Array) -> jax.Array:
    cost = parametric_tile(TileParameters(*vector))
    return jnp.stack(
        [
            cost.mvm_latency_ns,
            cost.mvm_energy_nj,
            cost.core_area_mm2,
            cost.shareable_fraction,
            cost.crossbar_area_mm2,
        ]
    )


FORWARD, REVERSE = jax.jit(jax.jacfwd(_metrics)), jax.jit(jax.jacrev(_metrics))
BATCHED = jax.jit(jax.vmap(_metrics))

designs = st.fixed_dictionaries(
    {
        "rows": st.sampled_from([32.0, 64.0, 256.0, 1152.0]),
        "cols": st.sampled_from([32.0, 128.0, 256.0]),
        "row_groups": st.sampled_from([1.0, 3.0, 8.0]),
        "input_bits": st.sampled_from([1.0, 4.0, 7.0, 8.0]),
        "cycle_bits": st.sampled_from([1.0, 2.0, 4.0]),
        "input_kind": st.sampled_from([0.0, 1.0, 2.0]),
        "cell_bits": st.sampled_from([1.0, 2.0, 8.0]),
        "cell_group": st.sampled_from([1.0, 8.0, 32.0]),
        "cell_kind": st.sampled_from([float(i) for i in range(len(CELL_KINDS))]),
        "adc_bits": st.sampled_from([4.0, 6.0, 8.0, 10.0]),
        "columns_per_adc": st.sampled_from([1.0, 2.0, 16.0]),
        "adc_rate_gsps": st.sampled_from([0.0077, 0.1, 3.0]),
        "adc_kind": st.sampled_from([0.0, 1.0, 2.0]),
        "node_nm": st.sampled_from([7.0, 14.0, 18.0, 28.0, 65.0, 130.0]),
        "vdd_v": st.sampled_from([0.6, 0.8, 1.2]),
        "input_activity": st.sampled_from([0.1, 0.5, 1.0]),
    }
)


@settings(max_examples=60)
@given(designs)
def test_exact_form_equals_the_plain_python_oracle(design: dict[str, float]) -> None:
    design["active_rows"] = float(np.ceil(design["rows"] / design.pop("row_groups")))
    design["cycle_bits"] = min(design["cycle_bits"], design["input_bits"])
    expected = oracle.tile(design)
    with jax.enable_x64(True):
        cost = EXACT(TileParameters(**design), exact=True)
        got = {
            "latency": float(cost.mvm_latency_ns),
            "energy": float(cost.mvm_energy_nj),
            "area": float(cost.core_area_mm2),
            "shareable": float(cost.shareable_fraction),
        }
        sums = [float(jnp.sum(x)) for x in (cost.part_latency_ns, cost.part_energy_nj, cost.part_area_mm2)]
    for name, reference in expected.items():
        assert got[name] == pytest.approx(reference, rel=1e-9), name
    assert sums == pytest.approx([got["latency"], got["energy"], got["area"]], rel=1e-12)


def test_hermes_lands_on_the_measured_core_for_every_shareable_fraction() -> None:
    measured = calibrated_tile()
    with jax.enable_x64(True):
        for shareable in (0.4, 0.6, 0.8):
            cost = EXACT(hermes_tile(shareable))
            assert float(cost.mvm_latency_ns) == pytest.approx(measured.mvm_latency_ns, rel=1e-9)
            assert float(cost.mvm_energy_nj) == pytest.approx(measured.mvm_energy_nj, rel=1e-9)
            assert float(cost.core_area_mm2) == pytest.approx(measured.core_area_mm2, rel=1e-9)
            assert float(cost.shareable_fraction) == pytest.approx(shareable, rel=1e-9)
            pair = EXACT(dataclasses.replace(hermes_tile(shareable), group_size=2.0))
            shared = 0.634 * (1 - shareable / 2)
            assert float(pair.crossbar_area_mm2) == pytest.approx(shared + 512 * 2e-6, rel=1e-9)
            assert float(pair.mux_latency_ns) == pytest.approx(np.log(2) * 9 * 0.26, rel=1e-9)
            assert float(pair.mvm_latency_ns) == pytest.approx(130.0)


def test_scales_are_moderate_where_the_part_is_counted_and_every_scale_has_a_reason() -> None:
    scales = {scale.field: scale for scale in hermes_scales()}
    for field in ("cell_area_scale", "adc_area_scale", "adc_energy_scale", "latency_scale"):
        assert scales[field].factor == pytest.approx(1.0, abs=0.01)
    assert 0.5 < scales["cell_energy_scale"].factor < 2.0
    assert all(len(scale.reason) > 20 for scale in scales.values())
    assert {scale.field for scale in hermes_scales()} <= set(NAMES)


@pytest.mark.parametrize("adc_kind", [0.0, 1.0, 2.0, 4.0])
def test_gradients_match_finite_differences(adc_kind: float) -> None:
    kinds = {"cell_kind", "adc_kind", "input_kind"}
    with jax.enable_x64(True):
        base = TileParameters(
            active_rows=100.0,
            cycle_bits=2.6,
            input_kind=float(adc_kind == 1.0),
            cell_bits=1.7,
            cell_kind=4.0,
            cell_group=3.2,
            adc_bits=6.4,
            columns_per_adc=7.3,
            adc_rate_gsps=0.11,
            adc_kind=adc_kind,
            node_nm=24.0,
            vdd_v=0.83,
            group_size=2.4,
            other_area_scale=1.3,
        )
        vector = _array(base).astype(jnp.float64)
        forward, reverse = FORWARD(vector), REVERSE(vector)
        step = 1e-6 * jnp.diag(jnp.maximum(jnp.abs(vector), 1.0))
        above, below = BATCHED(vector[None] + step), BATCHED(vector[None] - step)
        numeric = (above - below).T / (2 * jnp.diag(step))[None]
        np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-12)
        for column, name in enumerate(NAMES):
            if name in kinds:
                assert not np.any(forward[:, column])
            else:
                noise = 3e-9 * np.abs(np.asarray(BATCHED(vector[None])[0]))  # rounding of the quotient
                error = np.abs(np.asarray(forward[:, column] - numeric[:, column]))
                assert np.all(error <= noise + 2e-6 * np.abs(np.asarray(numeric[:, column]))), name


def test_kernel_is_vmappable_with_mixed_kinds_in_one_program_and_keeps_the_dtype() -> None:
    compiles = 0

    def counted(parameters: TileParameters) -> jax.Array:
        nonlocal compiles
        compiles += 1
        return parametric_tile(parameters).mvm_energy_nj

    batch = jax.jit(jax.vmap(counted, in_axes=(TileParameters(*([None] * len(NAMES))).replace(adc_kind=0),)))
    kinds = jnp.arange(len(ADC_KINDS), dtype=jnp.float32)
    mixed = batch(TileParameters().replace(adc_kind=kinds))
    assert mixed.dtype == jnp.float32
    assert len(set(np.asarray(mixed).tolist())) == len(ADC_KINDS)
    alone = float(EXACT(TileParameters(adc_kind=1.0)).mvm_energy_nj)
    assert float(mixed[1]) == pytest.approx(alone, rel=1e-6)
    batch(TileParameters().replace(adc_kind=kinds[::-1]))
    assert compiles == 1
    with jax.enable_x64(True):
        low = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), TileParameters())
        cost = EXACT(low)
        assert {leaf.dtype for leaf in jax.tree.leaves(cost)} == {jnp.dtype(jnp.float32)}


def test_directions_that_an_architect_expects() -> None:
    def metrics(**changes: float) -> tuple[float, float, float]:
        cost = EXACT(TileParameters(adc_kind=0.0, cell_kind=2.0, cycle_bits=1.0, **changes))
        return float(cost.mvm_latency_ns), float(cost.mvm_energy_nj), float(cost.core_area_mm2)

    base = metrics()
    more_bits, shared, low_supply, small = (
        metrics(adc_bits=10.0),
        metrics(columns_per_adc=8.0),
        metrics(vdd_v=0.6),
        metrics(node_nm=10.0),
    )
    assert more_bits[1] > base[1]
    assert more_bits[2] > base[2]
    assert shared[0] > base[0]
    assert shared[2] < base[2]
    assert low_supply[1] < base[1]
    assert small[2] < base[2]


def test_cells_that_take_turns_cost_area_and_nothing_per_product() -> None:
    one, eight = (EXACT(TileParameters(cell_group=count)) for count in (1.0, 8.0))
    assert float(eight.part_area_mm2[0]) == pytest.approx(8.0 * float(one.part_area_mm2[0]))
    assert float(eight.part_count[0]) == 8.0 * 65536.0
    assert float(eight.mvm_energy_nj) == float(one.mvm_energy_nj)
    assert float(eight.mvm_latency_ns) == float(one.mvm_latency_ns)
    assert float(eight.shareable_fraction) < float(one.shareable_fraction)


def test_explanation_adds_up_and_names_sources_and_assumptions() -> None:
    rows = explain_tile(hermes_tile())
    assert [row.part for row in rows] == list(PARTS)
    assert sum(row.area_mm2 for row in rows) == pytest.approx(0.634)
    assert sum(row.energy_nj for row in rows) == pytest.approx(12.48)
    assert sum(row.latency_share for row in rows) == pytest.approx(1.0)
    assert all(row.source for row in rows)
    assert "cell_array.read_voltage_v" in rows[0].unverified
    assert rows[4].area_mm2 == pytest.approx(rows[4].count * rows[4].unit_area_mm2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vdd_v": -0.8}, "vdd_v = -0.8"),
        ({"node_nm": 3.0}, "node_nm = 3"),
        ({"columns_per_adc": 512.0}, "columns_per_adc = 512 must not exceed cols"),
        ({"adc_kind": 99.0}, "adc_kind = 99"),
        ({"cell_group": 0.5}, "cell_group = 0.5"),
        ({"cell_area_scale": 0.0}, "cell_area_scale = 0 must be positive"),
        ({"adc_bits": float("nan")}, "adc_bits = nan"),
        ({"adc_energy_scale": 1e-12, "cell_energy_scale": 1e-12, "other_energy_scale": 1e-12}, "kT ln 2"),
        ({"cell_area_scale": 1e-6, "adc_area_scale": 1e-6, "other_area_scale": 1e-6}, "4 F^2"),
        ({"latency_scale": 1e-6}, "gate delay"),
    ],
)
def test_impossible_tiles_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match="(?s)" + words.replace("^", r"\^")):
        checked_tile(TileParameters(**changes))


def test_violations_are_bits_under_vmap_and_a_broken_breakdown_is_noticed() -> None:
    good = EXACT(TileParameters())
    assert not np.any(tile_violations(TileParameters(), good))
    for broken in (
        good.replace(mvm_energy_nj=jnp.float32(jnp.nan)),
        good.replace(mvm_latency_ns=jnp.float32(0.0)),
        good.replace(part_area_mm2=-good.part_area_mm2),
    ):
        with pytest.raises(ConfigError):
            refuse_impossible(TileParameters(), broken)
