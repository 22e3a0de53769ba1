"""Areas, energies, counts, memory traffic and generation of the multiplexed chip against hand-made sums."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from pimjax import status
from pimjax.chips.multiplexed import simulate
from pimjax.chips.multiplexed.attention import attention_cost, attention_total
from pimjax.chips.multiplexed.durations import durations
from pimjax.chips.multiplexed.geometry import geometry
from pimjax.chips.run_cost import COMPONENT_INDEX, OP_INDEX
from pimjax.config import build, load_config
from pimjax.runs.cache_flags import cache_use
from pimjax.runs.inputs import schedule_inputs
from pimjax.trace.routing import RoutingTrace

GROUPS = {1: list(range(16)), 2: [e // 2 for e in range(16)], 4: [e // 4 for e in range(16)]}


@pytest.fixture(scope="module")
def golden(golden_folder):
    return json.loads((golden_folder / "multiplexed_check.json").read_text())


def run(plan=None, hardware=None, model=None, workload=None, trace=None, **options):
    authors = {"dram_overlap": "none", "memory_idle": "cached"}
    content = {
        "memory": "lpddr4",
        "model": model or {},
        "hardware": hardware or {},
        "plan": {"policy": "compact", "group_of_expert": GROUPS[2], **authors, **(plan or {})},
        "workload": workload or {},
    }
    trace = trace or RoutingTrace.from_expert_ids(np.arange(32).reshape(8, 4) % 16, 16)
    return simulate(load_config(content), trace, **options)


def component(cost, name, field="component_energy_nj"):
    return float(getattr(cost, field)[COMPONENT_INDEX[name]])


def test_check_values_of_durations(golden):
    with jax.enable_x64(True):
        time = durations(build(load_config({}))[0], 2)
    found = [round(float(value), 3) for value in (time.stage, time.a, time.d)]
    assert found == [golden["t_stage"], golden["t_A"], golden["t_D"]]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_moe_area_is_the_check_value_plus_accumulators(golden, size):
    cost = run({"group_of_expert": GROUPS[size]}).cost
    adders = 64 * 278 * 0.17e-6 * (3 + 16) * (16 // size)
    assert round(float(cost.moe_area_mm2) - adders, 3) == golden["A_moe_without_accumulators"][str(size)]


def test_one_pass_costs_the_check_value(golden):
    trace = RoutingTrace.from_choices(np.eye(16, dtype=bool)[:1])
    with_pass, without = run(trace=trace).cost, run(trace=RoutingTrace.from_choices(np.zeros((1, 16), bool))).cost
    names = ("tier_linear", "communication", "local_accumulation", "digital_relu")
    energy = sum(component(with_pass, name) - component(without, name) for name in names)
    assert round(energy, 1) == golden["pass_energy_nj"]
    load = component(with_pass, "input_load")
    assert load == pytest.approx(16 * 0.01293)


def test_published_mapping_is_6592_crossbars_and_several_dies():
    config = load_config({"plan": {"embedding": "crossbar", "group_size": 1}, "workload": {"prompt_tokens": 32}})
    made = geometry(build(config)[0])
    assert float(made.moe_tiles + made.dense_tiles) == 6592
    cost = run({"embedding": "crossbar", "group_of_expert": GROUPS[1], "accumulate": "digital"}).cost
    crossbars = component(cost, "moe_crossbars", "component_area_mm2") + component(
        cost, "dense_crossbars", "component_area_mm2"
    )
    assert crossbars == pytest.approx(6592 * 0.634, rel=1e-6)
    assert int(cost.status) & status.MULTI_DIE


def test_too_few_tiles_are_flagged():
    assert int(run(hardware={"tiles": 100.0}).cost.status) & status.DOES_NOT_FIT
    assert not int(run(hardware={"tiles": 7000.0}).cost.status) & status.DOES_NOT_FIT


def test_buffers_are_there_whatever_the_schedule_fills():
    """G (2 + Q) d bytes and the central buffers: also where the schedule is shorter than Q."""
    trace = RoutingTrace.from_choices(np.eye(16, dtype=bool)[:1])  # one slot
    for slots in (0.0, 4.0, 100.0):
        cost = run(hardware={"out_buffer_slots": slots}, trace=trace).cost
        assert component(cost, "buffers", "component_area_mm2") == pytest.approx((8 * (2 + slots) + 2 + 1) * 4096e-6)
    unlimited = run(hardware={"out_buffer_slots": None}, trace=trace).cost
    assert component(unlimited, "buffers", "component_area_mm2") == pytest.approx((8 * (2 + 1) + 2 + 1) * 4096e-6)


@pytest.mark.parametrize(("accumulate", "combine", "strips"), [
    ("local", "digital", 19), ("local", "inline", 35), ("digital", "digital", 0), ("digital", "inline", 16),
])  # fmt: skip
def test_adders_stand_where_sums_are_made(accumulate, combine, strips):
    bare = run({"accumulate": "digital", "combine": "digital"}).cost
    cost = run({"accumulate": accumulate, "combine": combine}).cost
    assert float(cost.moe_area_mm2 - bare.moe_area_mm2) == pytest.approx(8 * strips * 64 * 278 * 0.17e-6, abs=1e-9)


def test_sharing_between_the_stages_halves_the_shared_sets():
    position, pair = run().cost, run({"share": "pair"}).cost
    saved = 0.634 * 0.8 * 8 * (96 - 48)
    assert float(position.moe_area_mm2 - pair.moe_area_mm2) == pytest.approx(saved, rel=1e-9)
    leaks = [component(cost, "leakage_idle") + component(cost, "leakage_gated") for cost in (pair, position)]
    assert leaks[0] / float(pair.latency_ns) < leaks[1] / float(position.latency_ns)


def test_unshared_experts_never_wait_for_each_other():
    trace = RoutingTrace.from_choices(np.ones((1, 16), bool))
    shared, alone = run(trace=trace).cost, run({"share": "none"}, trace=trace).cost
    assert float(shared.moe_last_pass_ns[0]) - float(alone.moe_last_pass_ns[0]) == pytest.approx(
        131.6219644 + 2 * 1.6219644, rel=1e-4
    )
    assert float(alone.moe_area_mm2) > float(shared.moe_area_mm2)


def test_passes_loads_and_additions_are_counted():
    rng = np.random.default_rng(3)
    choices = rng.random((9, 16)) < 0.3
    found = run(trace=RoutingTrace.from_choices(choices))
    counts = found.cost.op_counts
    assert counts[OP_INDEX["expert_pass"]] == choices.sum()
    graph = found.passes[0].log.jobs
    jobs = {name: int((graph.kind == index).sum()) for index, name in enumerate(graph.kinds)}
    assert counts[OP_INDEX["digital_add"]] == jobs["add"] + jobs["combine"] + jobs["residual"]
    assert counts[OP_INDEX["layer_norm"]] == jobs["norm"] + jobs["gate"]
    assert (
        counts[OP_INDEX["input_load"]]
        == schedule_inputs(
            load_config({"plan": {"policy": "compact", "group_of_expert": GROUPS[2]}}),
            RoutingTrace.from_choices(choices),
        ).prompt.loads.sum()
    )


def test_energy_scale_of_the_authors():
    plain, scaled = run().cost, run({"energy_scale_with_sharing": True}).cost
    assert component(scaled, "tier_linear") == pytest.approx(0.6 * component(plain, "tier_linear"), rel=1e-12)
    assert float(scaled.latency_ns) == float(plain.latency_ns)


def test_serial_inputs_and_slices_multiply():
    plain = load_config({})
    sliced = load_config({"numerics": {"weight_encoding": "sliced", "cell_bits": 2, "input_encoding": "serial"}})
    first, second = (build(config)[0] for config in (plain, sliced))
    assert float(geometry(second).expert_tiles) == 4 * float(geometry(first).expert_tiles)
    assert float(durations(second, 1).mvm) == pytest.approx(7 * 130, rel=1e-6)


@pytest.mark.parametrize("window", [0, 6])
@pytest.mark.parametrize("law", ["linear", "fit"])
@pytest.mark.parametrize("whole", [True, False])
def test_attention_sums_equal_single_lengths(window, law, whole):
    config = load_config({"model": {"sliding_window": window}, "plan": {"attention": law}})
    design = build(config)[0]
    with jax.enable_x64(True):
        total = attention_total(design, 4, 11, whole=whole)
        singles = [attention_cost(design, float(length), whole=whole) for length in range(4, 12)]
    for field in ("time", "energy", "pairs"):
        assert float(getattr(total, field)) == pytest.approx(
            sum(float(getattr(one, field)) for one in singles), rel=1e-9
        )


def test_causal_attention_pairs():
    with jax.enable_x64(True):
        one = attention_cost(build(load_config({}))[0], 32.0, whole=True)
    assert float(one.pairs) == 32 * 33 / 2
    assert float(one.time) == pytest.approx(4.1e-3 * 4096 * 528 * 8 / 32)


@pytest.mark.parametrize(
    ("kv", "go", "routing", "expected"),
    [
        (False, "none", "token_choice", (True, True)),
        (True, "none", "token_choice", (False, False)),
        (False, "full", "token_choice", (True, True)),
        (True, "none", "expert_choice", (True, True)),
        (False, "full", "expert_choice", (True, False)),
        (True, "threshold", "expert_choice", (False, False)),
    ],
)
def test_what_the_caches_save(kv, go, routing, expected):
    config = load_config({"model": {"routing": routing}, "workload": {"kv_cache": kv, "go_cache": go}})
    use = cache_use(build(config)[0])
    assert (bool(use.dense_all), bool(use.experts_all)) == expected


def generation(go="full", kv=True, hardware=None, **workload):
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(16), size=(1, 12)).astype(np.float16).astype(np.float32)
    trace = RoutingTrace.from_expert_ids(np.argsort(-scores, axis=-1)[..., :4], 16, gate_scores=scores)
    return run(
        model={"routing": "expert_choice"},
        hardware=hardware,
        workload={"prompt_tokens": 8, "generated_tokens": 5, "kv_cache": kv, "go_cache": go, **workload},
        trace=trace,
    )  # fmt: skip


def test_cache_bytes_cost_time_and_energy():
    found = generation()
    kv_bytes = 8192 * (8 + 4) + 8192 * sum(range(9, 13))  # written once, read at every step
    assert component(found.cost, "dram_kv", "busy_ns") == pytest.approx(kv_bytes / 5.332, rel=1e-9)
    assert component(found.cost, "dram_kv") == pytest.approx(0.2467 * kv_bytes / 5.332, rel=1e-9)
    passes = found.cost.op_counts[OP_INDEX["expert_pass"]] - 16 * 2  # the prompt: C(8) = 2 tokens per expert
    go_bytes = 8 * 16 * 2 + 16 * 2 * 4096 + sum(range(9, 13)) * 16 * 2 + 4 * 16 * 2 + passes * 4096
    assert component(found.cost, "dram_go", "busy_ns") == pytest.approx(go_bytes / 5.332, rel=1e-9)


def test_thresholds_move_less_than_outputs_and_authors_nothing():
    full, threshold, authors = (generation(go).cost for go in ("full", "threshold", "authors"))
    assert component(threshold, "dram_go") < 0.1 * component(full, "dram_go")
    assert component(authors, "dram_go") == 0
    assert float(authors.latency_ns) < float(threshold.latency_ns) < float(full.latency_ns)


def test_sram_takes_traffic_from_the_dram():
    small, large = generation().cost, generation(hardware={"sram_cache_bytes": 1e9}).cost
    assert component(large, "dram_kv") == 0
    assert component(large, "sram") > 0
    assert float(large.latency_ns) < float(small.latency_ns)
    assert component(large, "buffers", "component_area_mm2") > component(small, "buffers", "component_area_mm2")


def test_generation_reports_when_tokens_are_out():
    found = generation()
    assert len(found.token_ns) == 4
    assert found.first_token_ns < found.token_ns[0] < found.token_ns[-1] <= float(found.cost.latency_ns)
    assert [one.name for one in found.passes] == ["prefill 0", "decode 9", "decode 10", "decode 11", "decode 12"]
    assert float(found.cost.tokens) == 5


def test_peak_memory_of_event_stays_below_the_bound():
    from pimjax.chips.multiplexed.kernel import multiplexed_cost

    rng = np.random.default_rng(1)
    trace = RoutingTrace.from_choices(rng.random((12, 16)) < 0.3)
    config = load_config(
        {"plan": {"policy": "compact", "group_of_expert": GROUPS[2]}, "workload": {"prompt_tokens": 12}}
    )
    design, capacity = build(config)
    schedule = schedule_inputs(config, trace, fidelity="closed", capacity=capacity)
    kernel = jax.jit(lambda d, s: multiplexed_cost(d, s, capacity=capacity, fidelity="closed").peak_memory_bytes)
    exact = float(simulate(config, trace).cost.peak_memory_bytes)
    assert 0 < exact <= float(kernel(design, schedule)) * (1 + 1e-6)


def test_pipelining_gains_until_a_shared_unit_is_full():
    trace = RoutingTrace.from_expert_ids(np.tile(np.arange(32).reshape(1, 8, 4) % 16, (4, 1, 1)), 16)
    for units in (2.0, 100.0):
        cost = run(model={"num_layers": 4}, hardware={"num_digital_units": units}, trace=trace).cost
        assert float(cost.pipeline_interval_ns) < float(cost.latency_ns)
    busy = component(cost, "digital_add", "busy_ns") + component(cost, "layer_norm", "busy_ns")
    assert float(cost.pipeline_interval_ns) >= busy / units
