"""The multiplexed chip with dies, wires and links around it: limits, counts against loops, fidelities, gradients, batches."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from oracles import system as oracle

import pimjax
from pimjax.batch.tile import compile_count
from pimjax.chips.multiplexed import multiplexed_cost
from pimjax.chips.run_cost import COMPONENT_INDEX, COMPONENTS
from pimjax.config.system import CHIP_NUMBERS, SystemSection
from pimjax.runs.reach import BACK_RATIOS, SLOT_RATIOS, leads_of, reach_of
from pimjax.runs.windows import layer_windows
from pimjax.system import lay_out, make_links
from pimjax.system.layer_dies import layer_dies
from pimjax.system.layer_links import messages
from pimjax.trace.routing import RoutingTrace

SMALL = {
    "model.d_model": 512, "model.d_ff": 300, "model.num_heads": 4, "model.num_layers": 3, "model.vocab_size": 1000,
    "model.num_experts": 8, "model.top_k": 2, "workload.prompt_tokens": 12, "workload.trace.kind": "zipf",
    "plan.grouping": "uniform",
}  # fmt: skip
DIES = {"system": "dies", "system.die_area_mm2": 14.0, "system.dies_per_package": 4}
CACHED = {"workload.kv_cache": True, "workload.generated_tokens": 4, "workload.batch_size": 2}
COSTS = (
    "wire_energy_pj_per_bit_mm", "router_energy_pj_per_bit", "wire_latency_ns_per_mm", "router_latency_ns",
    "die_link_energy_pj_per_bit", "die_link_latency_ns", "package_link_energy_pj_per_bit", "package_link_latency_ns",
)  # fmt: skip
RATES = ("injection_bandwidth_gb_per_s", "package_link_bandwidth_gb_per_s", "die_link_bandwidth_gb_per_s_per_mm")
FREE = {**{f"system.{name}": 0 for name in COSTS}, **{f"system.{name}": 1e8 for name in RATES}}


def config_of(*parts, **more):
    merged = {}
    for part in (SMALL, *parts, more):
        merged |= part
    return pimjax.load_config("paper_crossbars", merged)


def value(result, name):
    return float(np.asarray(getattr(result, name)))


@pytest.mark.parametrize("fidelity", ["event", "fluid", "closed"])
@pytest.mark.parametrize(
    "case",
    [{}, CACHED, {"plan.accumulate": "digital"}, {"plan.combine": "inline", "plan.policy": "compact"}, {"plan.barrier": False, "plan.policy": "token_wise"}],
)  # fmt: skip
def test_a_network_that_costs_nothing_is_the_chip_alone(case, fidelity) -> None:
    alone = pimjax.estimate(config_of(case), fidelity=fidelity)
    free = pimjax.estimate(config_of(case, DIES, FREE), fidelity=fidelity)
    assert value(free, "dies") > 4
    assert value(free, "packages") > 1
    assert value(free, "die_crossings_per_token") > 0
    for name in ("latency_ns", "energy_nj", "moe_latency_ns", "pipeline_interval_ns"):
        assert value(free, name) == pytest.approx(value(alone, name), rel=1e-7), name
    area = np.asarray(free.component_area_mm2).copy()
    assert area[COMPONENT_INDEX["d2d"]] > 0
    area[COMPONENT_INDEX["d2d"]] = 0
    np.testing.assert_array_equal(area, np.asarray(alone.component_area_mm2))
    assert value(free, "network_energy_nj") == 0


def test_one_die_has_wires_and_no_links() -> None:
    alone, one = config_of(), config_of({"system": "dies"})
    for fidelity in ("event", "fluid", "closed"):
        bare, wired = pimjax.estimate(alone, fidelity=fidelity), pimjax.estimate(one, fidelity=fidelity)
        assert (value(wired, "dies"), value(wired, "packages")) == (1, 1)
        assert value(wired, "die_crossings_per_token") == 0
        assert value(wired, "area_mm2") == value(bare, "area_mm2")
        parts = dict(zip(COMPONENTS, np.asarray(wired.component_energy_nj), strict=True))
        assert parts["d2d"] == 0 < parts["noc"]
        assert value(wired, "network_energy_nj") == pytest.approx(parts["noc"], rel=1e-12)
        assert value(wired, "latency_ns") > value(bare, "latency_ns")
    yielded = (1 + 858 * 0.01 * 0.1 / 3) ** 3
    assert value(wired, "silicon_area_mm2") == pytest.approx(858 * yielded, rel=1e-9)


def test_faster_links_are_never_slower_and_end_where_only_their_latency_is_left() -> None:
    slow, limit = {"system.die_link_latency_ns": 5}, []
    for rate in (0.05, 0.5, 5.0, 1e8):
        rates = {"system.die_link_bandwidth_gb_per_s_per_mm": rate, "system.package_link_bandwidth_gb_per_s": rate}
        limit.append([value(pimjax.estimate(config_of(DIES, slow, rates), fidelity=f), "latency_ns") for f in ("event", "fluid", "closed")])  # fmt: skip
    limit = np.array(limit)
    assert np.all(np.diff(limit, axis=0)[:, 1:] <= 1e-9)
    assert np.all(limit[0] > limit[-1])
    assert limit[-1, 0] == pytest.approx(limit[-1, 1], rel=0.02)


def _trace(sets):
    return RoutingTrace.from_expert_ids(sets, 8)


ONE = {**SMALL, "model.num_layers": 1, "plan.group_size": 1, "plan.share": "none", "workload.prompt_tokens": 8}


def test_equal_loads_and_other_sets_cross_other_links() -> None:
    near = _trace([[0, 1], [2, 3], [4, 5], [6, 7]] * 2)
    far = _trace([[0, 4], [1, 5], [2, 6], [3, 7]] * 2)
    config = config_of(ONE, DIES)
    found = [pimjax.estimate(config, trace, fidelity="closed") for trace in (near, far)]
    loads = [np.asarray(trace.choices).sum(axis=-2).ravel().tolist() for trace in (near, far)]
    assert loads[0] == loads[1]
    assert value(found[0], "die_crossings_per_token") != value(found[1], "die_crossings_per_token")
    link = COMPONENT_INDEX["d2d"]
    assert np.asarray(found[0].component_energy_nj)[link] != np.asarray(found[1].component_energy_nj)[link]


def test_a_slower_link_changes_only_what_crosses_it() -> None:
    home = _trace([[0, 1]] * 8)
    away = _trace([[0, 7]] * 8)
    slow = {"system.package_link_bandwidth_gb_per_s": 0.5}
    more = {"system.dies_per_package": 1, "system.die_area_mm2": 70.0}
    for fidelity in ("event", "fluid", "closed"):
        stays, crosses = (
            [pimjax.estimate(config_of(ONE, DIES, more, way), trace, fidelity=fidelity) for way in ({}, slow)]
            for trace in (home, away)
        )
        assert value(stays[0], "latency_ns") == value(stays[1], "latency_ns")
        assert value(crosses[0], "latency_ns") < value(crosses[1], "latency_ns")
        assert value(stays[0], "die_crossings_per_token") == 0 < value(crosses[0], "die_crossings_per_token")


# --- counts against loops --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_reach_counts_tokens_of_every_stretch(seed) -> None:
    rng = np.random.default_rng(seed)
    experts, groups = 6, 3
    choices = rng.random((2, 5, experts)) < 0.3
    group = np.stack([rng.permutation(np.repeat(np.arange(groups), 2)) for _ in range(2)])
    place = np.stack([rng.permutation(groups) for _ in range(2)])
    table = reach_of([choices], group, place, 4)
    for layer in range(2):
        for begin in range(5):
            for end in range(5):
                inside = [e for e in range(experts) if begin <= place[layer, group[layer, e]] < end]
                assert table[layer, begin, end] == choices[layer][:, inside].any(axis=1).sum()


@pytest.mark.parametrize("seed", range(8))
def test_leads_are_those_of_the_hardest_slots(seed) -> None:
    rng = np.random.default_rng(seed)
    choices, groups = rng.random((9, 6)) < 0.4, np.repeat(np.arange(3), 2)
    table = layer_windows(choices, groups, policy="compact", num_groups=3)
    if not len(table.token):
        return
    lines, slots = leads_of(table), len(table.token)
    passes = [int((row >= 0).sum()) for row in table.token]

    def last_back(token: float, slot: float, sums: float) -> float:
        remaining = [max(sum(passes[s:]) - 1, 0) / max(sum(passes) - 1, 1) for s in range(slots)]
        return max(
            token * table.token[first].max() + slot * (last - first) + sums * remaining[last]
            for last in range(slots)
            for first in range(last + 1)
        )

    for ratio in SLOT_RATIOS:
        for sums in BACK_RATIOS:
            at = (1 / 8, ratio / max(slots - 1, 1), sums)
            assert max(np.array(at) @ lines) == pytest.approx(last_back(*at))
    for at in np.exp(rng.uniform(-6, 3, (20, 3))):
        assert max(at @ lines) <= last_back(*at) * (1 + 1e-9)
        assert max(at @ lines) >= 0.8 * last_back(*at)


@pytest.mark.parametrize("seed", range(12))
def test_dies_of_layers_and_their_messages_are_those_of_loops(seed) -> None:
    rng = np.random.default_rng(seed)
    groups, layers, size = int(rng.integers(1, 6)), 3, int(rng.integers(1, 7))
    usable, each, dense = 100.0, float(rng.uniform(15, 160)), float(rng.uniform(1, 130))
    made = lay_out(
        np.tile(np.arange(groups), (layers, 1)), dense_area_mm2=dense, group_area_mm2=each, usable_mm2=usable
    )
    laid = layer_dies(
        np.full(layers, float(groups)), np.ones(layers, bool), dense_mm2=dense, group_mm2=each, usable_mm2=usable,
        dies_per_package=float(size), most_dies=16,
    )  # fmt: skip
    home = np.asarray(laid.home, int)
    assert home.tolist() == made.homes.tolist()
    choices = rng.random((layers, 7, groups)) < 0.5
    place = np.tile(np.arange(groups), (layers, 1))
    sent = messages(reach_of([choices], place, place, groups), laid)
    total = -(-made.holds.shape[-1] // size) * size
    links = make_links(total, SystemSection(dies_per_package=size))
    holds = np.pad(made.holds, ((0, 0), (0, 0), (0, total - made.holds.shape[-1])))
    for layer in range(layers):
        for die in range(made.holds.shape[-1]):
            k = die - home[layer]
            own = [g for g in range(groups) if 0 <= k < 16 and laid.first[layer, k] <= g < laid.past[layer, k]]
            assert own == np.flatnonzero(made.holds[layer, :, die]).tolist()
        dies = oracle.visits(choices[layer], holds[layer])
        pairs = [(home[layer], die) for token in dies for die in token - {home[layer]}]
        there, back = np.zeros(links.num_links), np.zeros(links.num_links)
        hops, away = 0, 0
        for start, stop in pairs:
            for way, count in ((links.path[start, stop], there), (links.path[stop, start], back)):
                np.add.at(count, way[way >= 0], 1)
            same = start // size == stop // size
            hops += int((links.path[start, stop] >= 0).sum()) if same else 0
            away += not same
        inner = ~links.between_packages
        assert float(sent.crossings[layer]) == len(pairs)
        assert float(sent.die_hops[layer]) == hops
        assert float(sent.package_messages[layer]) == away
        assert float(sent.busiest[layer, 0]) == there[inner].max(initial=0)
        assert float(sent.busiest[layer, 1]) == back[inner].max(initial=0)
        if layer + 1 < layers and home[layer + 1] != home[layer]:
            first = links.path[home[layer], home[layer + 1], 0]
            assert float(sent.on_move[layer, 0]) == there[first] * inner[first]
            assert float(sent.on_move[layer, 1]) == there[first] * (not inner[first])
        else:
            assert not sent.on_move[layer].any()


@pytest.mark.parametrize("placement", ["contiguous", "coactivation", (1, 1, 0, 0, 1, 1, 0, 0)])
def test_crossings_of_a_run_are_those_of_its_choices(placement) -> None:
    from pimjax.chips.multiplexed.event import simulate
    from pimjax.chips.multiplexed.graph_parts import KINDS
    from pimjax.estimation.routing import resolve

    config, trace = resolve(config_of(DIES, {"system.placement": placement, "system.dies_per_package": 2}), None)
    result = pimjax.estimate(config, trace, fidelity="closed")
    run = simulate(config, trace, keep_logs=True)
    crossings = value(result, "die_crossings_per_token") * 12
    assert crossings > 0
    assert float(run.cost.system.die_crossings) == pytest.approx(crossings)
    # messages of the exact run on all their links, and the busy time that the counts give them
    log = run.passes[0].log
    is_message = np.asarray(log.jobs.kind) == KINDS.index("message")
    busy = float(np.asarray(log.jobs.duration)[is_message].sum())
    assert value_of(result.busy_ns, "d2d") == pytest.approx(busy, rel=1e-9)


def value_of(values, component):
    return float(np.asarray(values)[COMPONENT_INDEX[component]])


# --- fidelities, gradients, batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_fast_fidelities_follow_the_exact_one(seed) -> None:
    rng = np.random.default_rng(seed)
    drawn = {
        "system.die_area_mm2": float(rng.uniform(10, 80)), "system.dies_per_package": int(rng.integers(1, 6)),
        "system.die_link_bandwidth_gb_per_s_per_mm": float(rng.uniform(0.5, 50)),
        "system.package_link_bandwidth_gb_per_s": float(rng.uniform(2, 200)),
        "system.package_link_latency_ns": float(rng.uniform(50, 500)),
    }  # fmt: skip
    config = config_of(DIES, drawn, {"workload.trace.seed": seed})
    exact, fluid, closed = (pimjax.estimate(config, fidelity=f) for f in ("event", "fluid", "closed"))
    for fast in (fluid, closed):
        assert value(fast, "latency_ns") == pytest.approx(value(exact, "latency_ns"), rel=0.08)
        for name in ("network_energy_nj", "die_crossings_per_token", "dies", "packages", "silicon_area_mm2"):
            assert value(fast, name) == pytest.approx(value(exact, name), rel=1e-12), name
        np.testing.assert_allclose(fast.critical_ns.sum(), fast.latency_ns, rtol=1e-9)
    np.testing.assert_allclose(exact.critical_ns.sum(), exact.latency_ns, rtol=1e-9)


def test_gradients_equal_finite_differences() -> None:
    config = config_of(DIES, {"system.package_link_bandwidth_gb_per_s": 3.0, "system.die_link_bandwidth_gb_per_s_per_mm": 1.0})  # fmt: skip
    from pimjax.estimation.routing import resolve

    config, trace = resolve(config, None)
    design, capacity = pimjax.build(config)
    schedule = pimjax.schedule_inputs(config, trace, fidelity="closed", capacity=capacity)
    names = [
        name
        for name in CHIP_NUMBERS
        if not name.endswith(("die_area_mm2", "dies_per_package", "by_area", "edge_share", "depth_mm", "bond_area_mm2"))
        and "sram_" not in name
        and "pcm_" not in name
    ]

    def objective(values):
        hardware = design.hardware.replace(**dict(zip(names, values, strict=True)))
        cost = multiplexed_cost(
            design.replace(hardware=hardware), schedule, capacity=capacity, fidelity="closed", critical=False
        )
        return cost.latency_ns + cost.component_energy_nj.sum() + cost.system.silicon_area_mm2

    with jax.enable_x64(True):
        values = np.array([float(getattr(design.hardware, name)) for name in names])
        gradient = np.asarray(jax.jit(jax.grad(objective))(values))
        steps = 1e-5 * np.diag(values)
        many = jax.jit(jax.vmap(objective))
        numeric = (np.asarray(many(values + steps)) - np.asarray(many(values - steps))) / (2e-5 * values)
    assert np.all(np.isfinite(gradient))
    assert gradient == pytest.approx(numeric, rel=1e-4, abs=1e-4)
    moved = dict(zip(names, gradient != 0, strict=True))
    assert sum(moved.values()) >= len(names) - 2, moved  # the injection bandwidth need not bound a load


def test_a_mixed_batch_is_one_program_and_equals_its_parts() -> None:
    systems = [
        {},
        DIES,
        {**DIES, "system.die_link": "bonded_3d", "system.dies_per_package": 1},
        {**DIES, "system.die_link": "ucie_standard", "system.die_area_mm2": 60.0, "system.placement": "coactivation"},
    ]
    configs = [config_of(one) for one in systems]
    fields = ["latency_ns", "energy_nj", "area_mm2", "dies", "packages", "network_energy_nj", "die_crossings_per_token"]
    before = compile_count()
    found = pimjax.estimate_batch(pimjax.build(configs)[0], fields=fields)
    assert compile_count() - before <= 1
    for index, config in enumerate(configs):
        alone = pimjax.estimate(config, fidelity="closed")
        for name in fields:
            got = np.asarray(getattr(found, name)).reshape(-1)[index]
            np.testing.assert_allclose(got, value(alone, name), rtol=3e-5, atol=1e-6, err_msg=f"{index} {name}")


def test_recomputed_passes_cross_links_too() -> None:
    again = {"model.routing": "expert_choice", "workload.generated_tokens": 4, "system.die_area_mm2": 30.0}
    config = config_of(DIES, again)
    exact, closed = (pimjax.estimate(config, fidelity=f) for f in ("event", "closed"))
    assert value(closed, "die_crossings_per_token") == pytest.approx(value(exact, "die_crossings_per_token"), rel=1e-12)
    assert value(closed, "latency_ns") == pytest.approx(value(exact, "latency_ns"), rel=0.05)
    batch = pimjax.estimate_batch([config], fields=["latency_ns"])
    assert float(np.ravel(batch.latency_ns)[0]) == pytest.approx(value(closed, "latency_ns"), rel=3e-5)


def test_numbers_of_a_system_are_axes_of_a_sweep() -> None:
    from pimjax.batch.points import space_of
    from pimjax.batch.sweep_config import load_sweep

    sweep = load_sweep({
        "base": "paper_crossbars",
        "set": {**SMALL, **DIES},
        "axes": [
            {"field": "system.die_area_mm2", "values": [14, 30]},
            {"sample": "sobol", "count": 4, "ranges": {"system.package_link_latency_ns": {"low": 50, "high": 500}}},
            {"field": "system.placement", "values": ["contiguous", "coactivation"]},
            {"field": "system.die_link", "values": ["ucie_standard", "bonded_3d"]},
        ],
    })  # fmt: skip
    space = space_of(sweep)
    assert (len(space.variants), space.num_lanes) == (4, 8)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"system": "two"}, ("two", "dies", "none")),
        ({"system": {"dice": 2}}, ("system.dice", "unknown key")),
        ({"system": {"die_area_mm2": 900}}, ("system_die_area_mm2", "858")),
        ({"system": {"network": "mesh"}}, ("system.network", "'none' or 'dies'")),
        ({"system": {"placement": [0, 2]}}, ("system.placement", "without gaps")),
        ({"system": {"placement": [0, 1]}}, ("system.placement", "one per expert")),
    ],
)
def test_what_no_system_is_says_so(wrong, words) -> None:
    with pytest.raises(pimjax.ConfigError) as error:
        pimjax.load_config(wrong)
    for word in words:
        assert word in str(error.value)


def test_a_system_is_read_back_from_what_is_written() -> None:
    from pimjax.config.template import render_yaml
    from pimjax.config.yaml_reader import parse_yaml

    for config in (config_of(DIES), config_of({"system": {"die_link": "bonded_3d", "dies_per_package": 2}})):
        assert pimjax.load_config(config.model_dump()) == config
        assert pimjax.load_config(parse_yaml(render_yaml(config))[0]).hardware == config.hardware
