"""Chips that hold a part of their experts: places against a plain stack, costs by hand, limits at every fidelity."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import system as oracle

import pimjax
from pimjax.batch.tile import compile_count
from pimjax.chips.multiplexed import multiplexed_cost, schedule_inputs
from pimjax.chips.multiplexed.event import simulate
from pimjax.chips.run_cost import COMPONENT_INDEX
from pimjax.errors import CapacityError, ConfigError, ServingError, TraceError
from pimjax.runs.residency import expert_places, resident_experts
from pimjax.runs.routing import run_routing
from pimjax.system import residency_curve
from pimjax.trace.routing import RoutingTrace

SMALL = {
    "model.d_model": 512, "model.d_ff": 300, "model.num_heads": 4, "model.num_layers": 3, "model.vocab_size": 1000,
    "model.num_experts": 8, "model.top_k": 2, "workload.prompt_tokens": 12, "workload.generated_tokens": 4,
    "workload.kv_cache": True, "workload.trace.kind": "zipf", "plan.grouping": "uniform",
}  # fmt: skip
SWAP = {"system.residency": "swap", "system.network": "none"}
SWAPPED = COMPONENT_INDEX["expert_swap"]
#: of one expert: 2 x 512 x 300 weights of 8 bits in 2 x 2 x 2 crossbars
BYTES, CROSSBARS, ROWS = 2 * 512 * 300, 8, 256
FIDELITIES = ("event", "fluid", "closed")


def config_of(*parts: dict[str, Any], **more: Any) -> pimjax.Config:
    merged: dict[str, Any] = {}
    for part in (SMALL, *parts, more):
        merged |= part
    return pimjax.load_config("paper_crossbars", merged)


def value(result: Any, name: str) -> float:
    return float(np.asarray(getattr(result, name)))


def held(count: int, **more: Any) -> dict[str, Any]:
    return {**SWAP, "system.resident_experts": count, **more}


def written(result: Any, config: pimjax.Config) -> float:
    """Experts that a run writes."""
    return (1 - value(result, "expert_hit_rate")) * result.to_dict()["op_counts"]["expert_pass"]


# --- which experts are there ------------------------------------------------------------------------------------------

TOKENS = st.integers(1, 3).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 6), min_size=k, max_size=k, unique=True), min_size=1, max_size=30)
)


@settings(max_examples=150, deadline=None)
@given(TOKENS, st.integers(3, 7), st.sampled_from(["lru", "lfu"]))
def test_places_against_a_plain_stack(tokens, places, replacement) -> None:
    found, token, place = expert_places(np.array(tokens), places, replacement)
    want = oracle.swapped_experts(tokens, places, replacement)
    assert token.tolist() == [at for at, row in enumerate(want) for _ in row]
    content = dict(enumerate(range(places)))  # expert in each place
    for at, (row, missing) in enumerate(zip(tokens, want, strict=True)):
        for one, where in zip(row, found[at], strict=True):
            if one in missing:
                content[int(where)] = one
        assert [content[int(where)] for where in found[at]] == row
        assert len(set(found[at].tolist())) == len(row)
    assert len(place) == len(token)


@settings(max_examples=100, deadline=None)
@given(TOKENS)
def test_more_places_never_write_more_under_lru(tokens) -> None:
    writes = [len(expert_places(np.array(tokens), places)[1]) for places in range(3, 8)]
    assert writes == sorted(writes, reverse=True)
    assert writes[-1] == 0  # all of them


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=30, max_size=30), st.integers(1, 7))
def test_tokens_of_one_expert_are_a_stream_through_the_hierarchys_scan(stream, places) -> None:
    loaded = list(reversed(range(places)))  # the first experts, the last of them least recently used
    filled = [-1] * (7 - places)
    curve = residency_curve(np.array([[*filled, *loaded, *stream]]), [places])
    assert len(expert_places(np.array(stream)[:, None], places)[1]) == len(stream) - int(curve.hits[0, 0])


def test_a_token_needs_its_experts_together() -> None:
    with pytest.raises(ConfigError, match="places is 1 but a token has 2 experts"):
        expert_places(np.array([[0, 1]]), 1)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(2, 8),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from(["lru", "lfu"]),
    st.booleans(),
    st.integers(0, 9),
)
def test_a_runs_writes_against_one_stack_for_each_layer(places, batch, caches, replacement, prefill, seed) -> None:
    """State goes from prompts to decode steps; steps without caches ask for the experts of their whole prefix."""
    config = config_of(
        held(places, **{"plan.group_size": 1}),
        {"workload.batch_size": batch, "workload.kv_cache": caches, "system.replacement": replacement,
         "workload.prefill": prefill, "workload.trace.seed": seed},
    )  # fmt: skip
    trace = pimjax.runs.requests.workload_trace(config)
    config = pimjax.runs.requests.with_prompt(config, trace)
    plain = run_routing(config_of({"workload.batch_size": batch, "workload.trace.seed": seed}), trace)
    routing = run_routing(config, trace)
    assert routing.writes is not None
    total = 0
    for layer in range(3):
        every = np.concatenate([plain.prompt[:, layer], plain.steps[:, layer]], axis=1)  # [B, T, E]
        order = [(b, t) for b in range(batch) for t in range(12)]
        counted = [prefill] * len(order)
        for step in range(3):
            for b in range(batch):
                tokens = range(12 + step + 1) if not caches else [12 + step]
                order += [(b, t) for t in tokens]
                counted += [True] * len(tokens)
        stream = [np.flatnonzero(every[b, t]).tolist() for b, t in order]
        want = oracle.swapped_experts(stream, places, replacement)
        total += sum(len(row) for row, counts in zip(want, counted, strict=True) if counts)
    first = 0 if prefill else batch
    assert routing.writes.of_turns(first, batch * 4).sum() == total
    for fidelity in ("closed", "event"):
        assert written(pimjax.estimate(config, trace, fidelity=fidelity), config) == pytest.approx(total, abs=1e-6)


# --- limits -----------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([1, 2, 4]), st.booleans(), st.integers(1, 2), st.sampled_from(["none", "dies"]),
    st.sampled_from(["calibrated", "digital_sram"]), st.sampled_from(["uniform", "sorted", "balanced"]), st.sampled_from(FIDELITIES),
    st.sampled_from(["lru", "lfu"]), st.sampled_from(["cached", "always"]),
)  # fmt: skip
def test_swapping_with_room_for_all_is_holding_all_to_the_digit(
    size, caches, batch, network, tile, grouping, fidelity, replacement, idle
) -> None:
    case = {
        "plan.group_size": size, "workload.kv_cache": caches, "workload.batch_size": batch, "system.network": network,
        "plan.tile": tile, "plan.grouping": grouping, "plan.memory_idle": idle,
    }  # fmt: skip
    more = {"system.residency": "swap", "system.replacement": replacement}
    alone = pimjax.estimate(config_of(case), fidelity=fidelity)
    for count in ({}, {"system.resident_experts": 8}):
        swapping = pimjax.estimate(config_of(case, more, count), fidelity=fidelity)
        assert swapping.to_dict() == alone.to_dict()
    assert value(alone, "expert_hit_rate") == 1
    assert value(alone, "lifetime_years") == np.inf


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("caches", [True, False])
def test_the_stall_is_the_writes_times_what_one_takes_at_every_fidelity(fidelity, batch, caches) -> None:
    case = {"workload.kv_cache": caches, "workload.batch_size": batch}
    config = config_of(held(4, **case))
    result = pimjax.estimate(config, fidelity=fidelity)
    stall = written(result, config) * 256 * 10 * 25 * 130.0
    assert stall > 0
    assert float(result.critical_ns[SWAPPED]) == pytest.approx(stall, rel=1e-9)
    assert float(result.busy_ns[SWAPPED]) == pytest.approx(stall, rel=1e-9)
    free = {"memory.bandwidth_gb_per_s": 1e8, "hardware.program_pulse_mvms": 1e-9}
    rest = pimjax.estimate(config_of(held(4, **case, **free)), fidelity=fidelity)
    base = pimjax.estimate(config, fidelity=fidelity)
    # what is left moves with the memory's bandwidth alone
    plain = pimjax.estimate(config_of(held(4, **case, **{"hardware.program_pulse_mvms": 1e-9})), fidelity=fidelity)
    assert value(base, "latency_ns") - stall == pytest.approx(
        value(plain, "latency_ns") - float(plain.critical_ns[SWAPPED]), rel=1e-6
    )
    assert value(rest, "latency_ns") <= value(plain, "latency_ns")


@settings(max_examples=10, deadline=None)
@given(
    st.integers(2, 8),
    st.floats(0.1, 1e3),
    st.floats(1.0, 10.0),
    st.sampled_from(["calibrated", "digital_sram"]),
    st.sampled_from(["fluid", "closed"]),
)
def test_more_bandwidth_or_more_places_are_never_slower(places, bandwidth, factor, tile, fidelity) -> None:
    def latency(count: int, rate: float) -> float:
        keys = {"memory.bandwidth_gb_per_s": rate, "plan.tile": tile, "plan.group_size": 1}
        return value(pimjax.estimate(config_of(held(count, **keys)), fidelity=fidelity), "latency_ns")

    before = latency(places, bandwidth)
    assert latency(places, bandwidth * factor) <= before * (1 + 1e-12)
    swaps = [
        float(pimjax.estimate(config_of(held(count, **{"plan.group_size": 1})), fidelity="closed").critical_ns[SWAPPED])
        for count in range(places, 9)
    ]
    assert swaps == sorted(swaps, reverse=True)


# --- costs by hand ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("keys", [{}, {"plan.tile": "digital_sram"}, {"plan.expert_tile": "digital"}])
def test_time_energy_and_wear_of_a_write_by_hand(keys, fidelity) -> None:
    config = config_of(held(4, **keys, **{"memory": "hbm3"}))
    result = pimjax.estimate(config, fidelity=fidelity)
    writes = written(result, config)
    fetch_ns, fetch_nj = BYTES / 819, BYTES * 8 * config.hardware.memory_energy_pj_per_bit * 1e-3
    if keys:
        write_ns, write_nj = ROWS * 1.0, BYTES * 8 * 0.0145 * 1e-3
        assert value(result, "lifetime_years") == np.inf
    else:
        write_ns, write_nj = ROWS * 10 * 25 * 130.0, CROSSBARS * 256 * 256 * 4 * 10 * 10 * 1e-3
        trace = pimjax.runs.requests.workload_trace(config)
        made = run_routing(pimjax.runs.requests.with_prompt(config, trace), trace).writes
        places = [layer * 4 + place for layer, place in zip(made.layer, made.place, strict=True)]
        most = max(np.bincount(places))
        years = 1e7 / (most * 10) * value(result, "latency_ns") * 1e-9 / (365.25 * 86_400)
        assert value(result, "lifetime_years") == pytest.approx(years, rel=1e-9)
    assert writes > 0
    assert float(result.component_energy_nj[SWAPPED]) == pytest.approx(writes * (fetch_nj + write_nj), rel=1e-9)
    assert float(result.busy_ns[SWAPPED]) == pytest.approx(writes * max(fetch_ns, write_ns), rel=1e-9)


def test_a_chip_with_fewer_experts_has_their_crossbars_alone() -> None:
    whole, half = (pimjax.estimate(config_of(one), fidelity="closed") for one in ({}, held(4)))
    assert value(whole, "crossbars") - value(half, "crossbars") == 3 * 4 * CROSSBARS
    assert value(whole, "moe_area_mm2") == pytest.approx(2 * value(half, "moe_area_mm2"))
    dies = {"system.network": "dies", "system.die_area_mm2": 25.0}
    whole, half = (pimjax.estimate(config_of(one, dies), fidelity="closed") for one in ({}, held(4)))
    assert value(whole, "dies") > value(half, "dies")


def test_the_memory_must_hold_all_experts() -> None:
    enough = 3 * 8 * BYTES * 1e-9
    for fidelity in FIDELITIES:
        for size, fits in ((enough * 1.2, True), (enough * 0.99, False)):
            keys = {"memory.capacity_gb": size, "workload.kv_cache": False, "workload.generated_tokens": 1}
            result = pimjax.estimate(config_of(held(4, **keys)), fidelity=fidelity)
            assert (int(result.status) & pimjax.status.DOES_NOT_FIT == 0) == fits
            whole = pimjax.estimate(config_of(held(8, **keys)), fidelity=fidelity)
            assert int(whole.status) & pimjax.status.DOES_NOT_FIT == 0


def test_the_exact_run_stands_still_where_it_writes() -> None:
    config = config_of(held(4))
    trace = pimjax.runs.requests.workload_trace(config)
    run = simulate(config, trace.request(0))
    routing = run_routing(config, trace.request(0))
    assert routing.writes is not None
    each = 256 * 10 * 25 * 130.0
    for index, one in enumerate(run.passes):
        stalls = routing.writes.of_turns(index, index + 1) * each
        assert (one.layer_ns >= stalls).all()
        assert one.latency_ns - stalls.sum() < each  # the rest of a pass is microseconds
        assert one.layer_ns.sum() <= one.latency_ns
    assert (np.diff([run.first_token_ns, *run.token_ns]) > 0).all()
    assert run.token_ns[-1] == pytest.approx(float(run.cost.latency_ns), rel=1e-6)


def test_idle_energy_of_the_exact_run_is_that_of_the_closed_form() -> None:
    """Groups that wait for milliseconds are switched off, whatever the engine saw of the pass."""
    keys = held(4, **{"hardware.wake_latency_ns": 1000.0})
    event, closed = (pimjax.estimate(config_of(keys), fidelity=fidelity) for fidelity in ("event", "closed"))
    for name in ("leakage_idle", "leakage_gated"):
        one, other = (float(each.component_energy_nj[COMPONENT_INDEX[name]]) for each in (event, closed))
        assert one == pytest.approx(other, rel=0.02), name


# --- parts, batches, sweeps, tuning, gradients --------------------------------------------------------------------------


@pytest.mark.parametrize("caches", [True, False])
def test_pieces_of_a_run_add_up(caches) -> None:
    config = config_of(held(4, **{"workload.kv_cache": caches, "workload.generated_tokens": 7}))
    [case] = pimjax.estimate_generation(config, caches=["kv" if caches else "none"], fidelity="closed", pieces=3)
    assert case.first_token_ns + (case.token_ns * case.steps).sum() == pytest.approx(case.latency_ns, rel=1e-9)
    assert case.latency_ns == pytest.approx(value(pimjax.estimate(config, fidelity="closed"), "latency_ns"), rel=1e-9)


def test_capacities_and_chips_that_hold_all_are_one_program() -> None:
    cases = [
        {},
        held(8),
        held(6),
        held(4),
        held(2),
        held(4, **{"system.replacement": "lfu"}),
        held(4, **{"system.network": "dies"}),
    ]
    configs = [config_of(case) for case in cases]
    fields = ["latency_ns", "energy_nj", "area_mm2", "expert_hit_rate", "lifetime_years", "crossbars"]
    before = compile_count()
    trace = pimjax.runs.requests.workload_trace(configs[0]).request(0)
    found = pimjax.estimate_batch(pimjax.build(configs)[0], trace, fields=fields, precision="float64")
    assert compile_count() - before <= 1
    for index, config in enumerate(configs):
        alone = pimjax.estimate(config, trace, fidelity="closed")
        for name in fields:
            got = np.asarray(getattr(found, name)).reshape(-1)[index]
            np.testing.assert_allclose(got, value(alone, name), rtol=1e-9, err_msg=f"{index} {name}")


def test_resident_experts_are_an_axis_of_a_sweep(tmp_path) -> None:
    from pimjax.batch.store import Store
    from pimjax.batch.sweep import run_sweep
    from pimjax.batch.sweep_config import load_sweep

    columns = ["latency_ns", "expert_hit_rate", "lifetime_years"]
    sweep = load_sweep(
        {
            "base": "paper_crossbars",
            "set": {**SMALL, **SWAP},
            "axes": [
                {"field": "system.resident_experts", "values": [2, 4, 8]},
                {"field": "memory.bandwidth_gb_per_s", "values": [10.0, 100.0]},
            ],
            "columns": columns,
            "format": "csv",
        }
    )
    outcome = run_sweep(sweep, tmp_path / "out")
    results = Store(outcome.folder, "csv")
    parts = [results.read(results.part("points", chunk))[0] for chunk in sorted(results.done("points"))]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    assert sorted(set(rows["system.resident_experts"].tolist())) == [2, 4, 8]
    for index in range(6):
        keys = held(
            int(rows["system.resident_experts"][index]),
            **{"memory.bandwidth_gb_per_s": rows["memory.bandwidth_gb_per_s"][index]},
        )
        alone = pimjax.estimate(config_of(keys), fidelity="closed")
        for name in columns:
            read = rows[name][index]  # a file has no infinity
            assert (np.inf if read is None else float(read)) == pytest.approx(value(alone, name), rel=1e-4), name


def test_resident_experts_are_a_choice_of_tuning() -> None:
    from pimjax.tuning.evaluate import evaluate
    from pimjax.tuning.problem import make_problem
    from pimjax.tuning.tune_config import load_tune_config

    run = {
        "base": "paper_crossbars",
        "set": {**SMALL, **SWAP},
        "parameters": {
            "system.resident_experts": {"kind": "categorical", "choices": [2, 4, 8]},
            "memory.bandwidth_gb_per_s": {"low": 10.0, "high": 100.0},
        },
        "objective": {"latency_ns": 1},
    }
    problem = make_problem(load_tune_config(run))
    assert [choice["system.resident_experts"] for choice in problem.choices] == [2, 4, 8]
    found = evaluate(problem, np.repeat(problem.start[None], 3, axis=0), np.arange(3), once=True)
    for variant, objective in enumerate(found.objective):
        alone = pimjax.estimate(problem.configuration(problem.start, variant), fidelity="closed")
        assert objective == pytest.approx(np.log(value(alone, "latency_ns")), rel=1e-9)
    assert np.argmin(found.objective) == 2


@pytest.mark.parametrize("tile", ["calibrated", "digital_sram"])
def test_gradients_against_finite_differences(tile) -> None:
    config = config_of(
        held(4, **{"plan.tile": tile, "memory.bandwidth_gb_per_s": 2000.0 if tile == "calibrated" else 20.0})
    )
    trace = pimjax.runs.requests.workload_trace(config).request(0)
    design, capacity = pimjax.build(config)
    schedule = schedule_inputs(config, trace, fidelity="closed", capacity=capacity)
    names = ("memory_bandwidth_gb_per_s", "program_pulse_mvms", "program_verify_passes", "program_pulse_energy_pj",
             "memory_energy_pj_per_bit", "system_sram_write_energy_pj_per_bit", "system_pcm_endurance_cycles")  # fmt: skip
    base = np.array([float(getattr(design.hardware, name)) for name in names])

    def costs(factors: Any) -> Any:
        hardware = design.hardware.replace(**{n: f * b for n, f, b in zip(names, factors, base, strict=True)})
        cost = multiplexed_cost(
            design.replace(hardware=hardware), schedule, capacity=capacity, fidelity="closed", critical=False
        )
        years = cost.lifetime_years if tile == "calibrated" else cost.latency_ns
        return jax.numpy.stack([jax.numpy.log(one) for one in (cost.latency_ns, cost.component_energy_nj.sum(), years)])

    with jax.enable_x64(True):
        at = jax.numpy.ones(len(names))
        gradient = np.asarray(jax.jit(jax.jacobian(costs))(at))
        run, step = jax.jit(costs), 1e-5
        numeric = np.stack(
            [
                (np.asarray(run(at.at[i].add(step))) - np.asarray(run(at.at[i].add(-step)))) / (2 * step)
                for i in range(len(names))
            ],
            axis=1,
        )
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7)
    assert (np.abs(gradient).max(axis=0) > 0).sum() >= 3


# --- what is refused, and what is said ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"system.resident_experts": 9}, "system.resident_experts is 9: it must be from 2 .* to 8"),
        ({"system.resident_experts": 1}, "system.resident_experts is 1: it must be from 2"),
        ({"system.resident_experts": 4, "plan.group_size": 8}, "plan.group_size is 8 but system.resident_experts is 4"),
        ({"plan.copies": 1}, "plan.copies does not go with system.residency 'swap'"),
        ({"plan.group_of_expert": [0, 0, 0, 0, 1, 1, 1, 1]}, "plan.group_of_expert does not go"),
        ({"plan.expert_tile": "mixed"}, "plan.expert_tile does not go"),
        ({"model.routing": "expert_choice"}, "model.routing does not go"),
        ({"system.placement": [0, 0, 0, 0, 1, 1, 1, 1]}, "system.placement does not go"),
        ({"system.replacement": "random"}, "lru"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_swapping(keys, words) -> None:
    with pytest.raises(ConfigError, match=words):
        config_of(SWAP, keys)


def test_serving_and_too_long_prefixes_are_refused() -> None:
    from pimjax.serving.chip_steps import ChipSteps

    with pytest.raises(ServingError, match="serve a chip that holds them all"):
        ChipSteps(config_of(held(4)), longest_context=64)
    long = {"workload.kv_cache": False, "workload.prompt_tokens": 4000, "workload.generated_tokens": 3000}
    with pytest.raises(CapacityError, match=r"set workload\.kv_cache: true"):
        pimjax.estimate(config_of(held(4, **long)), fidelity="closed")


def test_other_chips_hold_every_expert() -> None:
    for preset in ("paper_reference", "h100"):
        config = pimjax.load_config(preset, {"system.residency": "swap", "system.resident_experts": 2})
        assert resident_experts(config) is None
    one, other = (
        pimjax.estimate(pimjax.load_config("h100", {"workload.prompt_tokens": 4, **more}), fidelity="closed")
        for more in ({}, {"system.residency": "swap"})
    )
    assert one.to_dict() == other.to_dict()


def test_a_trace_of_too_many_experts_per_token() -> None:
    config = config_of(held(2))
    trace = RoutingTrace.from_expert_ids([[[0, 1, 2]]], 8)
    with pytest.raises((TraceError, ConfigError)):
        pimjax.estimate(config, trace, fidelity="closed")


@functools.cache
def _explained() -> dict[str, Any]:
    from pimjax.estimation.explain import explain

    config = config_of(held(4))
    return explain(config, pimjax.estimate(config, fidelity="closed"))


def test_sizing_names_groups_that_the_chip_has_places_for() -> None:
    from pimjax.chips.multiplexed.sizes import sizes_of

    groups = {
        size: next(one.choices for one in sizes_of(config_of(held(size))) if one.key == "plan.group_size")
        for size in (4, 6, 8)
    }
    assert groups == {4: (1, 2, 4), 6: (1, 2), 8: (1, 2, 4, 8)}


def test_explanations_name_the_writes() -> None:
    report = _explained()
    [row] = [row for row in report["latency_ns"] if row["component"] == "expert_swap"]
    assert row["counted"] == "experts written"
    assert row["unit_cost"] == pytest.approx(256 * 10 * 25 * 130)
    assert report["residency"]["resident_experts"] == 4
    assert 0 < report["residency"]["lifetime_years"] < 1
    assert not any("resident" in sentence for sentence in report["not_modelled"])
