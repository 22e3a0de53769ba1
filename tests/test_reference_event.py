"""The exact reference model: the authors' numbers, a literal event loop, and passes that are run separately."""

from __future__ import annotations

import copy
import json
import math
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.event_loop import run_literally

import pimjax
from pimjax.chips.reference import costs
from pimjax.chips.reference.choices import canonical_choices, draw_choices, shape_choices
from pimjax.chips.reference.event import event_log, simulate
from pimjax.chips.reference.graph import build_graph
from pimjax.chips.reference.mapping import map_model
from pimjax.chips.reference.memory import consumer_groups
from pimjax.chips.reference.parameters import ReferenceParameters, list_passes
from pimjax.errors import CapacityError, ConfigError, PimjaxError, TraceError

GOLDEN = Path(__file__).parent / "golden"
SMALL = json.loads((GOLDEN / "reference_small.json").read_text())["cases"]
SCRIPTS = json.loads((GOLDEN / "reference_scripts.json").read_text())["runs"]
TOY = ReferenceParameters(d_model=512, d_ff=300, vocab=1000, k=2, experts=4, start_len=6)


def mismatches(result, expected) -> list[str]:
    """What differs from a golden record: exact numbers bit for bit, energies by 1e-9."""
    exact = {
        "latency_ns": result.latency_ns,
        "flops": result.flops,
        "peak_memory_bytes": result.peak_memory_bytes,
        "n_time_steps": result.num_time_steps,
        "counts": {kind: count for kind, count in result.op_counts.items() if count},
        "mha_finish_ns": result.mha_finish_ns.tolist(),
    }
    close = {
        "energy_nJ": result.energy_nj,
        "energy_breakdown_nJ": result.energy_breakdown_nj,
        "latency_breakdown_ns": result.busy_ns,
        "mha_cum_energy_nJ": dict(enumerate(result.mha_cumulative_energy_nj.tolist())),
    }
    found = [f"{name}: {value} != {expected[name]}" for name, value in exact.items() if value != expected[name]]
    for name, value in close.items():
        wanted = expected[name]
        if isinstance(wanted, list):
            wanted = dict(enumerate(wanted))
        if value != pytest.approx(wanted, rel=1e-9, abs=1e-12):
            found.append(f"{name}: {value} != {wanted}")
    return found


@pytest.mark.parametrize("reuse_passes", [True, False], ids=["separate", "whole"])
@pytest.mark.parametrize("case", SMALL, ids=lambda case: case["name"])
def test_equals_the_authors_simulator(case, reuse_passes):
    parameters = ReferenceParameters(**case["inputs"])
    result = simulate(parameters, case["expert_choices"], reuse_passes=reuse_passes)
    assert mismatches(result, case["outputs"]) == []
    assert sum(result.critical_ns.values()) == pytest.approx(result.latency_ns, rel=1e-12)


def test_the_golden_comparison_can_fail():
    case = SMALL[0]
    result = simulate(ReferenceParameters(**case["inputs"]), case["expert_choices"])
    assert mismatches(result, case["outputs"]) == []
    for path in (
        ("latency_ns",),
        ("energy_nJ",),
        ("flops",),
        ("peak_memory_bytes",),
        ("n_time_steps",),
        ("counts", "digital_add"),
        ("mha_finish_ns", 0),
        ("mha_cum_energy_nJ", 0),
        ("energy_breakdown_nJ", "communication"),
        ("latency_breakdown_ns", "layer_norm"),
    ):
        perturbed = copy.deepcopy(case["outputs"])
        holder = perturbed
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] *= 1 + 2e-9
        found = mismatches(result, perturbed)
        assert len(found) == 1
        assert found[0].startswith(path[0])
    changed = simulate(ReferenceParameters(**case["inputs"] | {"dpus": 4}), case["expert_choices"])
    assert mismatches(changed, case["outputs"])


def script_parameters(arguments: str) -> ReferenceParameters:
    """A line of the authors' scripts.sh as parameters (their driver's rules, reference-simulator.md section A)."""
    words = shlex.split(arguments)
    given_flags = {word[2:] for word in words if word.startswith("--")}

    def number(name: str, default: float) -> float:
        return float(words[words.index(f"--{name}") + 1]) if name in given_flags else default

    new_length = int(number("new_length", 1))
    return ReferenceParameters(
        start_len=math.ceil(32 * number("mvm_factor", 1.0)) if new_length == 1 else 32,
        new_length=new_length,
        kv="kv_flag" in given_flags,
        go="go_flag" in given_flags,
        prefill=new_length == 1 or "prefill" in given_flags,
        comm_factor=number("comm_factor", 1.0),
        mvm_energy=12.5 * number("group_factor", 1.0),
    )


@pytest.fixture(scope="module")
def shared_cache():
    return {}


@pytest.mark.parametrize("line", SCRIPTS, ids=lambda line: line["args"].replace("--", ""))
def test_equals_the_published_script_lines(line, shared_cache):
    parameters = script_parameters(line["args"])
    if parameters.new_length == 8 and not parameters.go:
        pytest.importorskip("numba")
    compiled = True if parameters.new_length == 8 and not parameters.go else None
    result = simulate(parameters, cache=shared_cache, compiled=compiled)
    assert result.latency_ns == line["latency_ns"]
    assert result.flops == line["flops"]
    assert {kind: count for kind, count in result.op_counts.items() if count} == line["counts"]
    assert result.energy_nj == pytest.approx(line["energy_nJ"], rel=1e-9)
    assert result.busy_ns["dram_kv"] == line["dram_kv_ns"]
    assert result.busy_ns["dram_go"] == line["dram_go_latency_uncounted_ns"]
    assert result.energy_breakdown_nj["dram_go"] == pytest.approx(line["dram_go_energy_uncounted_nJ"], rel=1e-9)
    attention = result.busy_ns["mha_comp"]
    assert attention == pytest.approx(line["mha_latency_ns"], rel=1e-12)
    if not parameters.prefill and parameters.go:
        # T = w 10581 + (w - 1) 12 + attention (reference-simulator.md, section F)
        steps = parameters.new_length - 1
        closed = 10581 * steps + 12 * (steps - 1) + attention + result.busy_ns["dram_kv"]
        assert result.latency_ns == pytest.approx(closed, rel=1e-12)
    if parameters.new_length == 1 and parameters.start_len == 32:
        assert result.peak_memory_bytes == 2935808


TOYS = st.builds(
    ReferenceParameters,
    d_model=st.sampled_from([64, 96, 200, 256]),
    d_ff=st.sampled_from([40, 64, 150]),
    vocab=st.sampled_from([50, 300]),
    layers=st.integers(1, 3),
    k=st.integers(1, 4),
    experts=st.sampled_from([0, 4, 5]),
    frequency=st.integers(1, 2),
    start_len=st.integers(1, 4),
    new_length=st.integers(2, 3),
    kv=st.booleans(),
    go=st.booleans(),
    prefill=st.booleans(),
    tiers=st.integers(1, 3),
    tier_rows=st.sampled_from([64, 100]),
    tier_cols=st.sampled_from([50, 64]),
    dpus=st.integers(1, 6),
    mvm_latency=st.sampled_from([5, 130, 700.5]),
    comm_factor=st.sampled_from([1.0, 1.8337]),
    mvm_factor=st.sampled_from([1.0, 0.5]),
)


@given(TOYS, st.integers(0, 1000))
@settings(max_examples=25)
def test_separate_passes_equal_the_whole_chain_bit_for_bit(parameters, seed):
    separate = simulate(parameters, seed=seed, with_memory=False)
    whole = simulate(parameters, seed=seed, with_memory=False, reuse_passes=False)
    assert separate.latency_ns == whole.latency_ns
    assert separate.num_time_steps == whole.num_time_steps
    np.testing.assert_array_equal(separate.mha_finish_ns, whole.mha_finish_ns)
    np.testing.assert_allclose(separate.mha_cumulative_energy_nj, whole.mha_cumulative_energy_nj, rtol=1e-12)
    for name, value in whole.critical_ns.items():
        assert separate.critical_ns[name] == pytest.approx(value, abs=1e-6)
    assert sum(whole.critical_ns.values()) == pytest.approx(whole.latency_ns, rel=1e-12)


@given(TOYS, st.integers(0, 1000))
@settings(max_examples=8)
def test_equals_a_literal_event_loop(parameters, seed):
    parameters = replace(parameters, layers=min(parameters.layers, 2), start_len=min(parameters.start_len, 2), go=True)
    graph, log = event_log(parameters, seed=seed)
    start, finish, steps = run_literally(graph.jobs)
    np.testing.assert_array_equal(log.start_ns, start)
    np.testing.assert_array_equal(log.finish_ns, finish)
    np.testing.assert_array_equal(log.step_ns, steps)


@given(TOYS, st.integers(0, 1000))
@settings(max_examples=25)
def test_graph_has_the_closed_form_counts_and_busy_times(parameters, seed):
    graph, log = event_log(parameters, seed=seed)
    expected = costs.run_costs(parameters)
    kinds = dict(zip(graph.jobs.kinds, np.bincount(graph.jobs.kind, minlength=11).tolist(), strict=True))
    kinds["digital_add"] = kinds["add_columns"] + kinds["add_model"] + kinds["add_hidden"]
    assert {kind: kinds[kind] for kind in costs.OP_KINDS} == expected.op_counts
    busy = expected.busy_ns
    digital = sum(busy[name] for name in ("digital_add", "layer_norm", "digital_relu", "multinomial"))
    attention = busy["mha_comp"] + busy["dram_kv"]
    per_resource = log.busy_ns()
    assert per_resource[0] == pytest.approx(busy["communication"])
    assert per_resource[1:-2].sum() == pytest.approx(busy["tier_linear"])
    assert per_resource[-2:] == pytest.approx(np.array([digital, attention]))


def test_left_over_work_crosses_the_sampling_operation_and_forces_one_graph():
    """With two tiers, experts 0 and 3 share tiles, so tokens that pick both fall behind a last token that does not."""
    parameters = ReferenceParameters(
        d_model=64,
        d_ff=640,
        vocab=50,
        k=2,
        experts=4,
        start_len=8,
        new_length=3,
        tiles=60,
        tiers=2,
        tier_rows=64,
        tier_cols=64,
        mvm_latency=5000,
    )
    experts = map_model(parameters).layers[0]
    assert (experts.up[0] == experts.up[3]).all()
    passes = list_passes(parameters)
    choices = [[1, 2] if token == work.tokens - 1 else [0, 3] for work in passes for token in range(work.tokens)]
    graph, log = event_log(parameters, choices)
    assert log.finish_ns[: graph.sampling[0]].max() > log.finish_ns[graph.sampling[0]] + parameters.mvm_latency
    result = simulate(parameters, choices, with_memory=False)
    assert result.simulated_jobs == graph.jobs.num_jobs
    assert result.latency_ns == log.makespan_ns
    assert sum(result.critical_ns.values()) == pytest.approx(result.latency_ns)
    start, finish, _ = run_literally(graph.jobs)
    np.testing.assert_array_equal(log.start_ns, start)
    np.testing.assert_array_equal(log.finish_ns, finish)


def test_equal_passes_run_once_and_a_cache_is_shared_between_runs():
    cache: dict = {}
    parameters = replace(TOY, new_length=20, kv=True, go=True)
    first = simulate(parameters, cache=cache)
    counts = [costs.pass_counts(parameters, work.tokens, work.first).total for work in list_passes(parameters)]
    assert first.simulated_jobs == counts[0] + counts[1]
    assert first.latency_ns == simulate(parameters, reuse_passes=False).latency_ns
    longer = replace(parameters, new_length=40, kv=False, mvm_energy=1.0)
    again = simulate(longer, cache=cache)
    assert again.simulated_jobs == 0
    assert again.latency_ns == simulate(longer, reuse_passes=False).latency_ns


def test_expert_names_do_not_matter_with_own_tiles_but_do_with_shared_ones():
    entries = draw_choices(TOY, seed=3)
    renamed = [[(3, 1, 0, 2)[expert] for expert in entry] for entry in entries]
    assert simulate(TOY, entries).latency_ns == simulate(TOY, renamed).latency_ns
    cache: dict = {}
    simulate(TOY, entries, cache=cache)
    assert simulate(TOY, renamed, cache=cache).simulated_jobs == 0
    tiered = replace(TOY, tiers=2)
    simulate(tiered, entries, cache=cache)
    assert simulate(tiered, renamed, cache=cache).simulated_jobs > 0
    assert canonical_choices((np.array([[7, 2], [2, 5]]),))[0].tolist() == [[0, 1], [1, 2]]


def test_published_chip_is_bound_by_attention_and_digital_additions():
    result = simulate(ReferenceParameters(start_len=8), with_memory=False)
    bound = max(result.critical_ns, key=result.critical_ns.__getitem__)
    assert bound == "digital_add"
    assert result.critical_ns["tier_linear"] < 0.1 * result.critical_ns["digital_add"]
    assert result.peak_memory_bytes is None


def test_runs_above_five_million_operations_are_refused():
    with pytest.raises(CapacityError, match="operations, at most 5,000,000"):
        simulate(ReferenceParameters(new_length=64))
    with pytest.raises(CapacityError, match="operations, at most 5,000,000"):
        event_log(ReferenceParameters(start_len=1000))
    # 1,800 equal decode passes are 24 million operations as one graph, and one pass when run separately.
    long = ReferenceParameters(new_length=1800, kv=True, go=True, prefill=False)
    assert simulate(long, with_memory=False).simulated_jobs < 30_000
    with pytest.raises(CapacityError, match="graph of 24,2"):
        simulate(long, reuse_passes=False)


def test_memory_that_the_authors_rules_cannot_track_is_refused():
    """512 bytes fill two rows of tiles, but one token reads one tile of a narrow embedding."""
    parameters = replace(TOY, d_model=200, new_length=2, kv=True, go=True)
    with pytest.raises(PimjaxError, match="1 tile operations read the sampled token"):
        simulate(parameters)
    assert simulate(parameters, with_memory=False).latency_ns > 0


def test_a_run_without_passes_is_refused():
    with pytest.raises(ConfigError, match="prefill is False with new_length 1"):
        simulate(replace(TOY, prefill=False))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda entries: entries[:-1], "has 5 entries: 6 are needed"),
        (lambda entries: [[0]] * 6, r"entries of \[1\] experts: each must name k = 2"),
        (lambda entries: [[0, 1]] * 5 + [[0, 4]], r"ids 0\.\.4: allowed is 0\.\.3"),
        (lambda entries: [[0, 1]] * 5 + [[2, 2]], r"expert_choices\[5\] is \[2, 2\]"),
        (lambda entries: [[0.5, 1.0]] * 6, "whole numbers"),
    ],
)
def test_wrong_expert_choices_are_refused(change, sentence):
    with pytest.raises(TraceError, match=sentence):
        simulate(TOY, change(draw_choices(TOY)))


def test_dense_models_take_no_choices():
    dense = replace(TOY, experts=0)
    assert shape_choices(dense, []) == ((),)
    with pytest.raises(TraceError, match="0 are needed"):
        simulate(dense, [[0, 1]])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_drawn_choices_are_distinct_reproducible_and_use_all_experts(k):
    parameters = replace(TOY, k=k, start_len=200, layers=2)
    entries = draw_choices(parameters, seed=5)
    assert len(entries) == 400
    assert all(len(set(entry)) == k for entry in entries)
    assert {expert for entry in entries for expert in entry} == {0, 1, 2, 3}
    assert entries == draw_choices(parameters, seed=5)
    assert entries != draw_choices(parameters, seed=6)


def test_consumer_groups_sort_block_indices_as_strings():
    tiles = np.arange(12).reshape(1, 12, 1)
    groups = consumer_groups([tiles], 3, "a vector")
    assert groups.tolist() == [[[0, 1, 10, 11], [2, 3, 4, 5], [6, 7, 8, 9]]]
    with pytest.raises(PimjaxError, match="12 tile operations read a vector, which does not divide into 5 groups"):
        consumer_groups([tiles], 5, "a vector")


def test_timeline_of_a_run_can_be_written(tmp_path):
    _, log = event_log(replace(TOY, start_len=1))
    document = json.loads(log.to_perfetto(tmp_path / "run.json").read_text())
    names = {event["args"]["name"] for event in document["traceEvents"] if event["ph"] == "M"}
    assert {"tile 0", "digital unit", "attention unit"} <= names


def test_a_graph_of_a_later_pass_starts_with_its_transfers():
    parameters = replace(TOY, new_length=2, go=True, kv=True)
    passes = list_passes(parameters)
    choices = shape_choices(parameters, draw_choices(parameters))
    graph = build_graph(parameters, map_model(parameters), passes[1:], choices[1:])
    sources = np.flatnonzero(graph.jobs.predecessor_counts() == 0)
    assert [graph.jobs.kinds[kind] for kind in graph.jobs.kind[sources]] == ["communication_in"] * 2


def test_changed_unit_costs_reach_the_exact_engine_and_agree_with_the_closed_sums() -> None:
    from pimjax.chips.reference.config import reference_parameters, simulate_config
    from pimjax.config import load_config

    base = load_config("paper_reference")
    slow = load_config("paper_reference", {"hardware.add_latency_ns_per_256": 16, "hardware.link_energy_nj_per_256": 1})
    before, after = (simulate_config(config)[1] for config in (base, slow))
    assert after.latency_ns > before.latency_ns
    # ADD(256) takes 20 instead of 12 ns, ADD(688) 47 instead of 26, ADD(4096) 260 instead of 132
    assert after.busy_ns["digital_add"] - before.busy_ns["digital_add"] == 42931 * 8 + 96 * 21 + 96 * 128
    hops = sum(before.op_counts[kind] for kind in ("communication_in", "communication_out", "communication_norm"))
    assert after.energy_breakdown_nj["communication"] == pytest.approx(hops)
    exact = load_config("paper_reference", {"plan.whole_ns": False, "hardware.mvm_latency_ns": 129.5})
    assert not reference_parameters(exact).units.whole_ns
    assert simulate_config(exact)[1].latency_ns < before.latency_ns


def test_peak_memory_is_undefined_where_the_authors_simulator_stops_but_time_is_not() -> None:
    from pimjax import reference_config
    from pimjax.chips.reference.config import simulate_config

    config = reference_config(
        d_model=200, d_ff=96, vocab=700, k=2, experts=4, start_len=6, new_length=3, kv=True, go=True
    )
    cost, result = simulate_config(config)
    assert result.latency_ns > 0
    assert np.isnan(cost.peak_memory_bytes)


def test_a_peak_memory_that_is_not_defined_spoils_no_status():
    small = {"model.d_model": 256, "model.d_ff": 200, "model.num_heads": 8, "model.vocab_size": 1000, "model.num_layers": 2,
             "model.moe_frequency": 2, "model.num_experts": 9, "workload.prompt_tokens": 54, "workload.generated_tokens": 3}  # fmt: skip
    result = pimjax.estimate(pimjax.load_config("paper_reference", small), fidelity="event")
    assert np.isnan(result.peak_memory_bytes)
    assert np.isfinite(result.latency_ns)
    assert int(result.status) == 0
