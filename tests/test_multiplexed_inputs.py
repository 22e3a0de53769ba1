"""Slot windows, routing of a run and the counts that the kernels get."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimjax.cache.capacity import capacity_at, capacity_law, largest_capacity
from pimjax.cache.gate_output import gate_output_request
from pimjax.config import build, load_config
from pimjax.errors import TraceError
from pimjax.runs import cache_use, run_routing, schedule_inputs, with_prompt
from pimjax.runs.counts import count_windows
from pimjax.runs.expert_choice import admissions
from pimjax.runs.passes import LENGTH_SAMPLES, sample_lengths
from pimjax.runs.windows import layer_windows, slot_loads
from pimjax.schedule import IDLE, POLICIES, schedule_summary
from pimjax.trace.expert_admissions import chosen_sets
from pimjax.trace.routers import expert_choice
from pimjax.trace.routing import RoutingTrace


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 10**6), st.booleans())
def test_slot_loads_equal_a_plain_count(slots, groups, seed, hold):
    rng = np.random.default_rng(seed)
    token = rng.integers(-1, 4, (slots, groups))
    held, expected = [IDLE] * groups, []
    for row in token:
        expected.append(len({t for group, t in enumerate(row) if t != IDLE and not (hold and held[group] == t)}))
        held = [t if t != IDLE else held[group] for group, t in enumerate(row)]
    assert slot_loads(token, input_hold=hold).tolist() == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_counts_equal_the_schedule_summary(policy):
    rng = np.random.default_rng(2)
    choices, groups = rng.random((13, 8)) < 0.35, np.arange(8) // 2
    summary = schedule_summary(choices, groups, policy=policy, num_groups=4)
    table = layer_windows(choices, groups, policy=policy, num_groups=4)
    counts = count_windows(table, hold=False)
    assert len(table.loads) == int(counts["makespan"]) == int(summary.makespan)
    assert table.loads.sum() == int(counts["loads"]) == int(summary.loads)
    assert counts["load_hist"].tolist() == np.asarray(summary.load_hist).tolist()
    assert int(counts["open_max"]) == int(summary.open_max)
    assert int(counts["passes"]) == choices.sum()


def test_the_first_slot_of_a_later_window_loads_nothing_that_stretches_it():
    choices = np.ones((4, 2), bool)
    table = layer_windows(choices, np.arange(2), policy="compact", num_groups=2, window_tokens=2)
    counts = count_windows(table, hold=False, profile=True)
    assert counts["load_hist"].tolist() == [1, 2, 0]
    assert counts["tail_loads"].tolist()[:4] == [1, 0, 1, 0]
    assert counts["profile"][5].tolist() == [1, 0, 1, 0]


def test_windows_cover_all_tokens_once():
    rng = np.random.default_rng(4)
    choices = rng.random((11, 8)) < 0.4
    table = layer_windows(choices, np.arange(8) // 2, policy="compact", num_groups=4, window_tokens=4)
    assert table.first_token.tolist() == [0, 4, 8, 11]
    for index in range(3):
        used = table.token[table.window == index]
        used = used[used != IDLE]
        assert used.min() >= table.first_token[index]
        assert used.max() < table.first_token[index + 1]
    assert np.bincount(table.token[table.token != IDLE], minlength=11).tolist() == choices.sum(axis=1).tolist()


@given(st.integers(1, 500), st.integers(0, 400), st.floats(-3, 3), st.floats(-3, 3))
def test_sampled_lengths_sum_straight_lines_exactly(first, steps, a, b):
    lengths, weights = sample_lengths(first, steps)
    assert len(lengths) == LENGTH_SAMPLES
    exact = sum(a + b * length for length in range(first, first + steps))
    assert weights @ (a + b * lengths) == pytest.approx(exact, rel=1e-9, abs=1e-6)


def scored_trace(tokens=12, experts=8, layers=2, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(experts), size=(layers, tokens)).astype(np.float16).astype(np.float32)
    return RoutingTrace.from_expert_ids(np.argsort(-scores, axis=-1)[..., :2], experts, gate_scores=scores), scores


def config_for(**parts):
    content = {
        "model": {"num_experts": 8, "top_k": 2, "num_layers": 2, **parts.pop("model", {})},
        "plan": {"policy": "compact", "group_size": 2, "grouping": "sorted", **parts.pop("plan", {})},
        "workload": {"prompt_tokens": 8, "generated_tokens": 5, **parts.pop("workload", {})},
    }
    return load_config(content)


def test_expert_choice_takes_the_admissions_of_the_cache():
    trace, scores = scored_trace()
    config = config_for(model={"routing": "expert_choice"}, workload={"kv_cache": True, "go_cache": "threshold"})
    routing = run_routing(config, trace)
    law = capacity_law(8, 2, max_tokens=12, prompt_tokens=8)
    for layer in range(2):
        wanted = gate_output_request(scores[layer], law, steps=4, size=3)
        assert routing.steps[0, layer].tolist() == np.asarray(wanted.admitted).tolist()
        assert routing.taken[0, layer].tolist() == np.asarray(wanted.taken).sum(axis=-1).tolist()
    assert routing.prompt[0].sum(axis=1).tolist() == [[2] * 8] * 2  # C(8) = 2 tokens for every expert


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(0, 20), st.sampled_from(["growing", "frozen", "fixed"]))
def test_admissions_are_those_of_the_kernels(seed, prompt, steps, rule):
    rng = np.random.default_rng(seed)
    scores = rng.choice([-np.inf, 0.0, 1e-7, 0.1, 0.3, 0.30001, 0.7], size=(2, 50, 4)).astype(np.float32)
    law = capacity_law(4, 2, max_tokens=60, prompt_tokens=prompt, rule=rule)
    lengths = np.arange(prompt + 1, prompt + steps + 1, dtype=np.int32)
    made = admissions(scores[:, : prompt + steps], prompt, capacity_at(law, lengths), int(largest_capacity(law)))
    sets = chosen_sets(scores[:, :prompt], int(capacity_at(law, prompt)))
    for layer in range(2):
        wanted = decoded(scores[layer], law)
        np.testing.assert_array_equal(made.admitted[layer], np.asarray(wanted.admitted)[:steps])
        np.testing.assert_array_equal(made.taken[layer], np.asarray(wanted.taken).sum(axis=-1)[:steps])
        np.testing.assert_array_equal(sets[layer], np.asarray(chosen(scores[layer], law))[:prompt])


@jax.jit
def decoded(scores, law):
    return gate_output_request(scores, law, steps=20, size=60)


@jax.jit
def chosen(scores, law):
    return expert_choice(scores, capacity_at(law, law.prompt_tokens), num_tokens=law.prompt_tokens)


def test_long_decodes_are_compared_in_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    scores = rng.random((3, 90, 5)).astype(np.float16)
    capacity = np.arange(60) // 3 + 4
    whole = admissions(scores, 30, capacity, 25)
    monkeypatch.setattr("pimjax.trace.expert_admissions._BLOCK", 7)
    jax.tree.map(np.testing.assert_array_equal, whole, admissions(scores, 30, capacity, 25))


@pytest.mark.parametrize("routing", ["token_choice", "expert_choice"])
@pytest.mark.parametrize("kv", [False, True])
@pytest.mark.parametrize("go", ["none", "full", "threshold", "authors"])
def test_cache_flags_of_a_configuration_are_those_of_its_design(routing, kv, go):
    config = config_for(model={"routing": routing}, workload={"kv_cache": kv, "go_cache": go})
    design, _ = build(config)
    flags = [bool(flag) for flag in cache_use(config)]
    assert flags == [bool(flag) for flag in cache_use(design)]
    assert flags == [bool(flag) for flag in jax.jit(cache_use)(design)]
    stacked = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), design)
    assert flags == [bool(flag[1]) for flag in cache_use(stacked)]


def test_recomputed_prefix_is_expert_choice_of_the_prefix():
    trace, _ = scored_trace()
    routing = run_routing(config_for(model={"routing": "expert_choice"}), trace)
    assert routing.prefix(0, 11).sum(axis=1).tolist() == [[3] * 8] * 2


def test_short_traces_repeat_and_batches_are_rotated():
    trace = RoutingTrace.from_expert_ids(np.tile(np.arange(8).reshape(4, 2), (2, 1, 1)), 8)
    routing = run_routing(config_for(workload={"batch_size": 2, "kv_cache": True}), trace)
    assert routing.prompt[0, 0, :4].tolist() == routing.prompt[0, 0, 4:].tolist()
    assert routing.prompt[1, 0, 0].tolist() == routing.prompt[0, 0, 2].tolist()


def test_copies_take_turns_and_join_a_group():
    choices = np.zeros((2, 6, 8), bool)
    choices[:, :, 3] = True
    trace = RoutingTrace.from_choices(choices)
    model = {"top_k": 1}
    config = config_for(model=model, plan={"copies": 2}, workload={"prompt_tokens": 6, "generated_tokens": 1})
    routing = run_routing(config, trace)
    assert routing.copy_of[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 3, 3]
    assert routing.prompt[0, 0].sum(axis=0)[[3, 8, 9]].tolist() == [2, 2, 2]
    assert len(routing.group_of_expert[0]) == 10
    alone = schedule_inputs(
        config_for(model=model, workload={"prompt_tokens": 6, "generated_tokens": 1}), trace, fidelity="closed"
    )
    copied = schedule_inputs(config, trace, fidelity="closed")
    assert copied.prompt.makespan[0] < alone.prompt.makespan[0]


def test_uneven_groups_are_legal():
    trace, _ = scored_trace()
    schedule = schedule_inputs(config_for(plan={"group_size": 3}), trace)
    assert sorted(schedule.group_sizes[0][schedule.group_sizes[0] > 0].tolist()) == [2, 3, 3]


def test_prompt_length_comes_from_the_trace():
    trace, _ = scored_trace(tokens=12)
    config = with_prompt(config_for(workload={"prompt_tokens": None}), trace)
    assert config.workload.prompt_tokens == 8
    with pytest.raises(TraceError, match="prompt"):
        with_prompt(config_for(workload={"prompt_tokens": None, "generated_tokens": 13}), trace)
