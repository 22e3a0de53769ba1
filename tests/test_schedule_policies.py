"""Schedule policies against queue-by-queue NumPy oracles, the paper's figure and invariants that hold for any input."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import schedule as oracle

import pimjax.schedule as ps
from pimjax.trace import load_traces

TOKENS, EXPERTS, GROUPS = 14, 6, 4
PUBLISHED = ("token_wise", "compact", "reschedule")


@st.composite
def cases(draw):
    """Choices with padding, uneven groups (some empty) and a number of tokens, at one shape: one compilation."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    density = draw(st.sampled_from([0.08, 0.3, 0.6, 1.0]))
    popularity = rng.random(EXPERTS) * 2
    choices = rng.random((TOKENS, EXPERTS)) < density * popularity
    groups = rng.integers(0, draw(st.integers(1, GROUPS)), EXPERTS).astype(np.int32)
    return choices, groups, draw(st.integers(0, TOKENS))


@pytest.fixture(scope="module")
def kernels():
    """Compiled cost, summary and profile of every policy."""

    def compiled(function, policy, limited):
        def call(choices, groups, num_tokens, limit):
            return function(
                choices,
                groups,
                policy=policy,
                num_tokens=num_tokens,
                num_groups=GROUPS,
                max_slots=TOKENS * EXPERTS,
                max_open_tokens=limit if limited else None,
            )

        return jax.jit(call)

    names = [(policy, False) for policy in ps.POLICIES] + [("packed", True)]
    functions = (ps.schedule_cost, ps.schedule_summary, ps.schedule_profile)
    return {name: [compiled(function, *name) for function in functions] for name in names}


def check(kernels, case, policy, limit=None):
    choices, groups, num_tokens = case
    slots = oracle.schedule_slots(choices, groups, policy, GROUPS, num_tokens, limit)
    expected = oracle.summary_of(slots, GROUPS)
    cost, summary, profile = (
        kernel(choices, groups, num_tokens, limit or 1) for kernel in kernels[policy, limit is not None]
    )
    assert (int(cost.makespan), int(cost.loads)) == (expected["makespan"], expected["loads"])
    for key in ("makespan", "loads", "first_loads", "open_max"):
        assert int(getattr(summary, key)) == expected[key], key
    assert summary.load_hist.tolist() == expected["load_hist"]
    used = expected["makespan"]
    assert profile.loads[:used].tolist() == expected["slot_loads"]
    assert profile.returns[:used].tolist() == expected["slot_returns"]
    assert not profile.loads[used:].any()
    assert not profile.returns[used:].any()
    return slots, expected


def per_group(slots):
    """Multiset of passes of each group, as `[T, G]` counts."""
    counts = np.zeros((TOKENS, GROUPS), int)
    for row in slots:
        for j, token in enumerate(row):
            if token >= 0:
                counts[token, j] += 1
    return counts


@settings(max_examples=80)
@given(case=cases())
@pytest.mark.parametrize("policy", PUBLISHED)
def test_published_policies_equal_the_queue_oracle(kernels, policy, case):
    check(kernels, case, policy)


@settings(max_examples=40)
@given(case=cases())
def test_packed_equals_its_oracle_and_keeps_its_promises(kernels, case):
    choices, groups, num_tokens = case
    slots, expected = check(kernels, case, "packed")
    table = oracle.load_table(choices, groups, GROUPS, num_tokens)
    assert (per_group(slots)[:num_tokens] == table).all()
    assert expected["makespan"] == table.sum(axis=0).max(initial=0)
    assert expected["loads"] >= max(int(table.max(axis=1, initial=0).sum()), expected["makespan"])


@settings(max_examples=40)
@given(case=cases(), limit=st.integers(1, 6))
def test_packed_never_exceeds_the_limit_of_open_tokens(kernels, case, limit):
    choices, groups, num_tokens = case
    slots, expected = check(kernels, case, "packed", limit)
    table = oracle.load_table(choices, groups, GROUPS, num_tokens)
    assert (per_group(slots)[:num_tokens] == table).all()
    assert expected["open_max"] <= limit
    assert expected["makespan"] <= table.max(axis=1, initial=0).sum()


def test_the_papers_figure(golden_folder):
    figure = json.loads((golden_folder / "paper_schedule_figure.json").read_text())
    choices = np.zeros((6, 8), bool)
    for token, experts in enumerate(figure["token_experts"]):
        choices[token, np.array(experts) - 1] = True
    groups = np.zeros(8, int)
    for group, members in enumerate(figure["groups"]):
        groups[np.array(members) - 1] = group
    names = {"token_wise": "token_wise", "compact": "compact", "reschedule": "reschedule_authors_code"}
    for policy, name in names.items():
        cost = ps.schedule_cost(choices, groups, policy=policy, num_groups=4)
        expected = figure["expected"][name]
        assert (int(cost.makespan), int(cost.loads)) == (expected["slots"], expected["loads"])
    alone = ps.schedule_cost(choices, np.arange(8), policy="token_wise")
    assert (int(alone.makespan), int(alone.loads)) == tuple(figure["expected"]["default"].values())
    packed = ps.schedule_cost(choices, groups, policy="packed", num_groups=4)
    assert int(packed.makespan) == 7
    assert int(packed.loads) <= figure["expected"]["reschedule_paper_figure"]["loads"]


def test_one_expert_per_group_never_splits_a_token():
    rng = np.random.default_rng(3)
    choices = rng.random((20, 6)) < 0.4
    cost = ps.schedule_cost(choices, np.arange(6), policy="token_wise")
    assert int(cost.makespan) == choices.any(axis=1).sum()


def test_idle_tokens_count_for_reschedule_and_padding_does_not():
    """The majority rule counts rows: the same visits with trailing idle rows may be delayed differently."""
    rng = np.random.default_rng(0)
    differs = 0
    for _ in range(40):
        choices = rng.random((TOKENS, EXPERTS)) < 0.3
        choices[9:] = False
        groups = rng.integers(0, 3, EXPERTS)
        padded = ps.schedule_cost(choices, groups, policy="reschedule", num_tokens=9, num_groups=GROUPS)
        idle = ps.schedule_cost(choices, groups, policy="reschedule", num_groups=GROUPS)
        for cost, rows in ((padded, 9), (idle, TOKENS)):
            slots = oracle.schedule_slots(choices, groups, "reschedule", GROUPS, rows)
            assert int(cost.loads) == oracle.summary_of(slots, GROUPS)["loads"]
        differs += int(padded.loads) != int(idle.loads)
    assert differs > 0


@pytest.mark.parametrize("policy", ps.POLICIES)
def test_batch_lanes_are_independent(policy):
    """Every lane of a vmap over choices and group maps equals the single call."""
    rng = np.random.default_rng(7)
    choices = rng.random((4, 10, 6)) < 0.4
    groups = rng.integers(0, 3, (4, 6)).astype(np.int32)

    def one(c, g):
        return ps.schedule_summary(c, g, policy=policy, num_groups=3, max_slots=60)

    together = jax.jit(jax.vmap(one))(choices, groups)
    single = jax.jit(one)
    for lane in range(4):
        alone = single(choices[lane], groups[lane])
        jax.tree.map(lambda a, b, lane=lane: np.testing.assert_array_equal(a[lane], b), together, alone)


@pytest.mark.parametrize("experts", [20, 40])
def test_many_groups_take_other_sorting_code_and_agree(experts):
    """More than 16 groups sort by stages, more than 32 need two words of group bits in the packed policy."""
    rng = np.random.default_rng(experts)
    choices = rng.random((12, experts)) < 0.2
    for policy in ("compact", "packed"):
        cost = ps.schedule_cost(choices, np.arange(experts), policy=policy)
        slots = oracle.schedule_slots(choices, np.arange(experts), policy, experts, 12)
        expected = oracle.summary_of(slots, experts)
        assert (int(cost.makespan), int(cost.loads)) == (expected["makespan"], expected["loads"])


def test_more_groups_than_used_change_nothing():
    rng = np.random.default_rng(5)
    choices = rng.random((15, 8)) < 0.4
    groups = np.arange(8) // 3
    for policy in ps.POLICIES:
        narrow = ps.schedule_cost(choices, groups, policy=policy, num_groups=3)
        wide = ps.schedule_cost(choices, groups, policy=policy)
        assert (int(narrow.makespan), int(narrow.loads)) == (int(wide.makespan), int(wide.loads))


def test_expert_choice_loads_give_the_same_compact_makespan_for_every_equal_grouping():
    """Every expert takes C tokens: compact makespan = g C whatever the groups."""
    rng = np.random.default_rng(2)
    capacity, experts, size = 5, 8, 2
    choices = np.zeros((20, experts), bool)
    for e in range(experts):
        choices[rng.choice(20, capacity, replace=False), e] = True
    for _ in range(5):
        groups = rng.permutation(np.arange(experts) // size)
        cost = ps.schedule_cost(choices, groups, policy="compact", num_groups=4)
        assert int(cost.makespan) == size * capacity


def test_packed_meets_its_bound_on_real_traces(trace_folder):
    """Mean loads within 1 % of max(sum of largest loads, makespan), at the compact makespan, in all 24 layers."""
    traces = load_traces(trace_folder / "gptoss20b-decode.npz", requests=[0, 20, 41])
    loads = np.asarray(traces.choices).sum(axis=(0, 2))
    maps = np.stack([ps.group_experts(layer, 2, "sorted") for layer in loads])
    plans = [
        ps.SchedulePlan(maps, "packed"),
        ps.SchedulePlan(maps, "packed", 32),
        ps.SchedulePlan(maps, "compact"),
        ps.SchedulePlan(maps, "token_wise"),
    ]
    table = ps.schedule_table(traces, plans, max_slots=2048)
    free, limited, compact, token_wise = range(4)
    makespan, total = np.asarray(table.makespan), np.asarray(table.loads)
    np.testing.assert_array_equal(makespan[free], makespan[compact])
    np.testing.assert_array_equal(makespan[limited], makespan[compact])
    assert np.asarray(table.open_max)[limited].max() <= 32
    bound = np.maximum(total[token_wise], makespan[compact])
    assert (total[:2] >= bound).all()
    assert (total[free] / bound).mean() <= 1.01
    assert (total[limited] / bound).mean() <= 1.01
