"""Experts and dense parts on digital macros: the map, its limits, exact counts, fidelities together, derivatives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pimjax
from pimjax.chips.run_cost import COMPONENT_INDEX
from pimjax.config.build import build
from pimjax.config.digital_map import digital_experts
from pimjax.config.plan import DENSE_PARTS

#: without wires: what is compared are tiles, and the number of dies is rounded (with a derivative that passes through)
SMALL = {
    "system": "none",
    "model.num_layers": 3, "model.first_dense_layers": 1, "model.num_experts": 8, "model.top_k": 2,
    "model.d_model": 512, "model.d_ff": 320, "model.num_heads": 4, "model.vocab_size": 900,
    "workload.prompt_tokens": 10, "workload.generated_tokens": 3, "workload.trace.kind": "zipf",
}  # fmt: skip
SCALARS = ("latency_ns", "energy_nj", "area_mm2", "crossbars", "moe_latency_ns", "moe_area_mm2")


def _config(overrides: dict[str, Any] | None = None) -> pimjax.Config:
    return pimjax.load_config("paper_multiplexed", {**SMALL, **(overrides or {})})


def _same(one: Any, other: Any, names: tuple[str, ...] = SCALARS, rel: float = 1e-12) -> None:
    for name in names:
        assert float(getattr(one, name)) == pytest.approx(float(getattr(other, name)), rel=rel), name


@pytest.mark.parametrize("fidelity", ["event", "fluid", "closed"])
def test_a_mixed_chip_without_digital_experts_is_the_chip_without_macros(fidelity: str) -> None:
    plain = pimjax.estimate(_config(), fidelity=fidelity)
    mixed = _config({"plan.expert_tile": "mixed", "plan.digital_experts": 0.0})
    assert build(mixed)[1].digital_parts
    _same(plain, pimjax.estimate(mixed, fidelity=fidelity))


@pytest.mark.parametrize("fidelity", ["event", "fluid", "closed"])
@pytest.mark.parametrize("numerics", [{}, {"numerics.weight_encoding": "sliced", "numerics.cell_bits": 2}])
def test_everything_on_macros_is_the_digital_chip(fidelity: str, numerics: dict[str, Any]) -> None:
    whole = pimjax.estimate(_config({"plan.tile": "digital_sram", **numerics}), fidelity=fidelity)
    for experts in ({"plan.expert_tile": "digital"}, {"plan.expert_tile": "mixed", "plan.digital_experts": 1.0}):
        parts = _config({**experts, **numerics, "plan.digital_dense": list(DENSE_PARTS)})
        _same(whole, pimjax.estimate(parts, fidelity=fidelity), rel=1e-9)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(0, 7), max_size=8),
    st.sets(st.sampled_from(DENSE_PARTS)),
    st.sampled_from(["position", "pair", "none"]),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
)
def test_counts_energy_and_area_follow_the_map(
    experts: list[int], dense: set[str], share: str, group: int, cached: bool
) -> None:
    """Crossbars, products and area summed part by part from the map and the trace; products cost what their kind says."""
    keys = {"plan.share": share, "plan.group_size": group, "workload.kv_cache": cached, "plan.grouping": "uniform"}
    config = _config(
        {**keys, "plan.expert_tile": "mixed", "plan.digital_experts": experts, "plan.digital_dense": sorted(dense)}
    )
    on_macros, digital = digital_experts(config), pimjax.estimate(config, fidelity="closed")
    assert on_macros.sum() == 2 * len(set(experts))
    from pimjax.chips.multiplexed.core import core, digital_core
    from pimjax.chips.multiplexed.geometry import geometry
    from pimjax.runs.passes import run_passes
    from pimjax.runs.point import Point
    from pimjax.runs.requests import resolve
    from pimjax.runs.routing import run_routing

    config, requests = resolve(config, None)
    point = Point(build(config)[0])
    analog, macro = core(point), digital_core(point)
    shape = geometry(point)
    routing = run_routing(config, requests)
    # passes of each kind: prompt, then the last token of every step with caches, the whole prefix without
    passes = np.zeros(2)
    spans = [routing.prompt[0]]
    length = config.workload.num_prompt_tokens
    for step in range(2):
        spans.append(routing.steps[0][:, step : step + 1] if cached else routing.prefix(0, length + 1 + step))
    for choices in spans:
        for layer, row in enumerate(choices):
            passes += [row[:, ~on_macros[layer]].sum(), row[:, on_macros[layer]].sum()]
    assert run_passes(config, routing).all
    tokens = length + (2 if cached else 2 * length + 3)
    uses = {
        "attention": tokens * 3 * float(shape.qkv.tiles[0] + shape.expand.tiles[0] + shape.output.tiles[0])
        if np.ndim(shape.qkv.tiles)
        else tokens * 3 * float(shape.qkv.tiles + shape.expand.tiles + shape.output.tiles),
        "router": tokens * 2 * float(shape.router.tiles),
        "shared": 0.0,
        "dense": tokens * float(shape.dense_up.tiles + shape.dense_down.tiles),
        "head": 3 * float(shape.head.tiles),
        "embedding": 0.0,
    }
    products = np.array(
        [sum(count for part, count in uses.items() if (part in dense) == kind) for kind in (False, True)]
    ) + passes * float(shape.expert_tiles)
    each = np.array([float(analog.mvm_energy_nj), float(macro.mvm_energy_nj)])
    found = float(np.asarray(digital.component_energy_nj)[COMPONENT_INDEX["tier_linear"]])
    assert found == pytest.approx(float(products @ each), rel=1e-9)
    # area of the experts: one set of peripherals for each kind in a group
    sets = float(max(shape.expert_up.tiles, shape.expert_down.tiles)) if share == "pair" else float(shape.expert_tiles)
    area = 0.0
    for layer in range(2):
        groups = routing.group_of_expert[layer]
        for kind, tile in ((False, analog), (True, macro)):
            mine = groups[on_macros[layer] == kind]
            s, core_mm2 = float(tile.shareable_fraction), float(tile.area_mm2)
            area += core_mm2 * ((1 - s) * float(shape.expert_tiles) * len(mine) + s * sets * len(set(mine)))
            sizes = np.bincount(mine) if len(mine) else np.zeros(0)
            area += 512 * 2e-6 * float(shape.expert_tiles) * sizes[sizes > 1].sum()
        adders = 64 * 278 * 0.17 * 1e-6 * float(shape.expert_up.strips + shape.expert_down.strips)
        area += adders * len(set(groups))
    assert float(digital.moe_area_mm2) == pytest.approx(area, rel=1e-9)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=8), st.sets(st.sampled_from(DENSE_PARTS)), st.integers(0, 3))
def test_fidelities_agree_on_mixed_chips_as_on_analog_ones(experts: list[int], dense: set[str], seed: int) -> None:
    keys = {"plan.expert_tile": "mixed", "plan.digital_experts": experts, "plan.digital_dense": sorted(dense)}
    keys |= {"workload.trace.seed": seed, "workload.generated_tokens": 1}
    exact, fluid, closed = (pimjax.estimate(_config(keys), fidelity=name) for name in ("event", "fluid", "closed"))
    assert float(fluid.latency_ns) == pytest.approx(float(exact.latency_ns), rel=0.05)
    assert float(closed.latency_ns) == pytest.approx(float(exact.latency_ns), rel=0.15)
    for name in ("area_mm2", "crossbars"):
        assert float(getattr(fluid, name)) == pytest.approx(float(getattr(exact, name)), rel=1e-12)
    products = COMPONENT_INDEX["tier_linear"]
    energies = [float(np.asarray(one.component_energy_nj)[products]) for one in (exact, fluid, closed)]
    assert energies == pytest.approx([energies[0]] * 3, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)), st.integers(1, 8), st.sampled_from(["uniform", "sorted", "balanced"])
)  # fmt: skip
def test_groups_are_of_one_kind_of_tile_where_that_takes_no_more_groups(
    first: set[int], second: set[int], size: int, grouping: str
) -> None:
    from pimjax.runs.requests import resolve
    from pimjax.runs.routing import run_routing

    keys = {"plan.group_size": size, "plan.grouping": grouping}
    maps = {"plan.expert_tile": "mixed", "plan.digital_experts": [sorted(first), sorted(second)]}
    found, plain = (run_routing(*resolve(_config({**keys, **more}), None)) for more in (maps, {}))
    assert found.num_groups == plain.num_groups == -(-8 // size)
    for layer, digital in enumerate((first, second)):
        members = [set(np.flatnonzero(found.group_of_expert[layer] == group)) for group in range(found.num_groups)]
        assert all(1 <= len(mine) <= size for mine in members)
        assert set().union(*members) == set(range(8))
        analog = set(range(8)) - digital
        if -(-len(digital) // size) - (-len(analog) // size) == found.num_groups:
            assert all(mine <= digital or mine <= analog for mine in members)
        else:
            assert found.group_of_expert[layer].tolist() == plain.group_of_expert[layer].tolist()


def test_a_group_of_both_kinds_has_both_sets_of_peripherals() -> None:
    """What a map of groups that mixes kinds costs beside the groups that the chip makes: a set for each of them."""
    keys = {
        "plan.expert_tile": "mixed",
        "plan.digital_experts": [0, 2, 4, 6],
        "plan.group_size": 2,
        "plan.grouping": "uniform",
    }
    apart, mixed = (
        pimjax.estimate(_config({**keys, **more}), fidelity="closed")
        for more in ({}, {"plan.group_of_expert": [0, 0, 1, 1, 2, 2, 3, 3]})
    )
    own = pimjax.estimate(_config({**keys, "plan.group_of_expert": [0, 2, 0, 2, 1, 3, 1, 3]}), fidelity="closed")
    _same(apart, own, names=("area_mm2", "crossbars"))
    assert float(mixed.moe_area_mm2) > 1.2 * float(apart.moe_area_mm2)
    _same(apart, mixed, names=("crossbars",))


def test_a_slot_is_as_long_as_the_slower_kind() -> None:
    from pimjax.chips.multiplexed.digital_parts import digital_parts
    from pimjax.chips.multiplexed.durations import durations
    from pimjax.runs.point import Point

    def stage(keys: dict[str, Any]) -> float:
        point = Point(build(_config(keys))[0])
        return float(durations(point, 2.0, beside=digital_parts(point)).stage)

    slow = {"hardware.digital_active_rows": 16, "hardware.digital_cycle_bits": 1}
    assert stage({"plan.expert_tile": "mixed"}) == stage({})  # a macro is faster than the measured core
    assert stage({"plan.expert_tile": "mixed", **slow}) == stage({"plan.expert_tile": "digital", **slow}) > stage({})
    assert stage({"plan.expert_tile": "digital"}) < stage({})


def test_one_program_for_a_list_of_maps_and_the_same_numbers() -> None:
    maps: list[dict[str, Any]] = [
        {"plan.digital_experts": 0.25},
        {"plan.digital_experts": [1, 2, 5]},
        {"plan.digital_dense": ["attention", "head"]},
        {"plan.digital_experts": 0.5, "plan.digital_order": [7, 6, 5, 4, 3, 2, 1, 0]},
    ]
    configs = [_config({"plan.expert_tile": "mixed", "workload.generated_tokens": 1, **one}) for one in maps]
    made = pimjax.estimate_batch(build(configs)[0], fidelity="closed")
    for index, config in enumerate(configs):
        alone = pimjax.estimate(config, fidelity="closed")
        for name in ("latency_ns", "energy_nj", "area_mm2"):
            assert float(np.asarray(getattr(made, name)).reshape(-1)[index]) == pytest.approx(
                float(getattr(alone, name)), rel=1e-4
            )


@pytest.mark.parametrize("name", ["digital_active_rows", "node_nm", "supply_v", "mvm_energy_nj", "tier_area_overhead"])
def test_derivatives_are_those_of_finite_differences(name: str) -> None:
    keys = {"plan.expert_tile": "mixed", "plan.digital_dense": ["attention"], "plan.group_size": 4, "hardware.tiers": 2}
    config = _config({**keys, "workload.generated_tokens": 1})
    with jax.enable_x64(True):
        design, capacity = build(config)
        design = jax.tree.map(jnp.asarray, design)
        inputs = pimjax.schedule_inputs(config, _request(config), fidelity="closed", capacity=capacity)
        inputs = jax.tree.map(jnp.asarray, inputs)
        from pimjax.chips import CHIPS

        def objective(value: Any) -> Any:
            moved = design.set({f"hardware.{name}": value})
            cost = CHIPS["multiplexed"].cost(moved, inputs, capacity=capacity, fidelity="closed", critical=False)
            return cost.latency_ns * cost.component_energy_nj.sum() * cost.component_area_mm2.sum()

        at = jnp.asarray(float(getattr(design.hardware, name)) * 1.01)
        step = 1e-6 * at
        run = jax.jit(objective)
        slope = float((run(at + step) - run(at - step)) / (2 * step))
        assert float(jax.jit(jax.grad(objective))(at)) == pytest.approx(slope, rel=1e-4)


def _request(config: pimjax.Config) -> Any:
    from pimjax.runs.requests import resolve

    return resolve(config, None)[1]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"plan.expert_tile": "mixed", "plan.digital_experts": [9]}, "names expert 9: the model has experts 0 to 7"),
        ({"plan.expert_tile": "mixed", "plan.digital_experts": [[1]]}, "has 1 lists but the model has 2 layers"),
        ({"plan.expert_tile": "mixed", "plan.digital_order": [0, 1]}, "an order names every expert once, 0 to 7"),
        ({"plan.digital_experts": 1.5}, "is no share of the experts"),
        ({"plan.digital_experts": "most"}, "it must be a share from 0 to 1, a list"),
        ({"plan.digital_order": [[1.5]]}, "it must be a list of experts' numbers"),
        ({"plan.tile": "digital_sram", "plan.expert_tile": "mixed"}, "everything lies there"),
        ({"plan.tile": "digital_sram", "plan.digital_dense": ["head"]}, r"plan\.digital_dense puts a part"),
    ],
)
def test_maps_that_mean_nothing_are_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(pimjax.ConfigError, match=words):
        _config(keys)


def test_a_program_without_macros_says_so_of_designs_that_have_them() -> None:
    import dataclasses

    from pimjax import status
    from pimjax.chips import CHIPS

    config = _config({"plan.expert_tile": "mixed", "workload.generated_tokens": 1})
    design, capacity = build(config)
    blind = dataclasses.replace(capacity, digital_parts=False)
    inputs = pimjax.schedule_inputs(config, _request(config), fidelity="closed", capacity=blind)
    cost = CHIPS["multiplexed"].cost(design, inputs, capacity=blind, fidelity="closed", critical=False)
    assert int(cost.status) & status.CAPACITY_EXCEEDED


def test_explain_shows_the_macro_and_what_writing_it_takes() -> None:
    from pimjax.estimation.explain import explain

    sliced = {"numerics.weight_encoding": "sliced", "numerics.cell_bits": 2}
    config = _config({"plan.expert_tile": "mixed", "plan.digital_experts": [0, 1], **sliced})
    result = pimjax.estimate(config, fidelity="closed")
    report = explain(config, result)
    assert report["digital_tile"]["kind"] == "digital_sram"
    assert sum(row["area_share"] for row in report["digital_tile"]["parts"]) == pytest.approx(1.0)
    assert report["weights"]["digital_expert_swap"]["time_ns"] < 0.1 * report["weights"]["expert_swap"]["time_ns"]
    counts = {row["plain"]: row["count"] for row in report["area_mm2"]}
    analog = _config({"plan.expert_tile": "mixed", "plan.digital_experts": 0.0, **sliced})
    whole = {
        row["plain"]: row["count"] for row in explain(analog, pimjax.estimate(analog, fidelity="closed"))["area_mm2"]
    }
    # an expert of the eight in two layers takes 4 slices of every block, on macros one
    assert counts["experts' crossbars"] == pytest.approx(whole["experts' crossbars"] * (6 + 2 / 4) / 8)
    assert counts["other crossbars"] == pytest.approx(whole["other crossbars"])
