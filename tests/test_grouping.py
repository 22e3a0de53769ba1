"""Expert grouping and copies: sizes, the published formula, search against brute force, dealing."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pimjax.schedule as ps
from pimjax.errors import ScheduleError
from pimjax.schedule.grouping import search_groups
from pimjax.schedule.grouping.search import _Swaps


@settings(max_examples=40)
@given(experts=st.integers(1, 20), data=st.data())
@pytest.mark.parametrize("strategy", ps.GROUPING_STRATEGIES)
def test_every_strategy_fills_all_groups_evenly(strategy, experts, data):
    size = data.draw(st.integers(1, experts))
    loads = np.random.default_rng(experts).integers(0, 50, (3, experts))
    together = np.ones((experts, experts))
    groups = ps.group_experts(loads, size, strategy, coactivation=together)
    counts = np.bincount(groups)
    assert groups.dtype == np.int32
    assert len(counts) == -(-experts // size)
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(
        groups, ps.group_experts(loads, size, strategy, coactivation=together), "not deterministic"
    )


def test_uniform_is_integer_division():
    for experts, size in ((8, 2), (12, 4), (7, 2), (5, 5)):
        np.testing.assert_array_equal(ps.group_experts(np.ones(experts), size, "uniform"), np.arange(experts) // size)


@pytest.mark.parametrize("size", [2, 4])
def test_sorted_is_the_published_formula(size):
    loads = np.random.default_rng(1).integers(0, 6, 16)  # with ties
    order, half = np.argsort(loads, kind="stable"), size // 2
    expected = np.empty(16, int)
    for i in range(16 // size):
        for q in range(half):
            expected[order[half * i + q]] = expected[order[15 - half * i - q]] = i
    np.testing.assert_array_equal(ps.group_experts(loads, size), expected)
    np.testing.assert_array_equal(ps.group_experts(np.stack([loads, loads]), size), expected)


def test_sorted_deals_odd_groups_in_snake_order():
    groups = ps.group_experts([10, 60, 20, 50, 30, 40], 3, "sorted")
    assert [groups[e] for e in (1, 3, 5, 4, 2, 0)] == [0, 1, 1, 0, 0, 1]


def partitions(experts, size):
    """All groupings of `experts` into groups of `size`."""
    if not experts:
        yield []
        return
    head, *rest = experts
    for mates in itertools.combinations(rest, size - 1):
        left = [e for e in rest if e not in mates]
        for tail in partitions(left, size):
            yield [(head, *mates), *tail]


def test_balanced_finds_the_best_grouping_of_small_cases():
    """Brute force over all 105 pairings of 8 experts: mean makespan within 1 % of the best, usually equal."""
    rng = np.random.default_rng(0)
    for _ in range(6):
        loads = rng.gamma(1.0, 20.0, (7, 8)).round()
        best = min(
            np.max([loads[:, list(group)].sum(axis=1) for group in grouping], axis=0).mean()
            for grouping in partitions(list(range(8)), 2)
        )
        groups = ps.group_experts(loads, 2, "balanced")
        found = (loads @ np.eye(4)[groups]).max(axis=1).mean()
        assert best - 1e-9 <= found <= 1.01 * best


def test_balance_per_request_beats_balance_of_the_sums():
    """Experts hot in the same request must part, though all sums are equal."""
    loads = np.array([[9, 9, 1, 1], [1, 1, 9, 9]])
    groups = ps.group_experts(loads, 2, "balanced")
    assert groups[0] != groups[1]
    assert groups[2] != groups[3]


def test_requests_count_alike_whatever_their_length():
    """A request and the same request with a hundred times the tokens ask for the same groups."""
    rng = np.random.default_rng(5)
    loads = rng.gamma(1.0, 20.0, (6, 8)).round()
    longer = loads * np.array([1, 100, 1, 1, 100, 1])[:, None]
    np.testing.assert_array_equal(ps.group_experts(loads, 2, "balanced"), ps.group_experts(longer, 2, "balanced"))


def test_idle_requests_change_nothing_and_no_visit_at_all_is_legal():
    loads = np.random.default_rng(7).integers(0, 50, (4, 9))
    idle = np.concatenate([loads, np.zeros((3, 9), int)])
    np.testing.assert_array_equal(ps.group_experts(loads, 3, "balanced"), ps.group_experts(idle, 3, "balanced"))
    assert np.bincount(ps.group_experts(np.zeros((2, 7)), 3, "balanced")).tolist() == [3, 2, 2]


def test_coactivation_keeps_experts_of_one_token_apart():
    choices = np.zeros((40, 4), int)
    choices[:20, [0, 1]] = 1
    choices[20:, [2, 3]] = 1
    together = ps.count_coactivation(choices)
    groups = ps.group_experts(choices.sum(axis=0), 2, "coactivation", coactivation=together)
    assert groups[0] != groups[1]
    assert groups[2] != groups[3]


def test_coactivation_knows_the_loads_alone_without_counts():
    loads = np.random.default_rng(3).integers(0, 50, (4, 10))
    np.testing.assert_array_equal(ps.group_experts(loads, 3, "coactivation"), ps.group_experts(loads, 3, "balanced"))


def test_coactivation_counts_leave_padding_out():
    choices = np.ones((2, 3, 2), int)
    np.testing.assert_array_equal(ps.count_coactivation(choices, np.array([1, 2])), np.full((2, 2), 3.0))


def test_search_pays_the_pair_cost():
    loads = np.ones((1, 4))
    cost = np.zeros((4, 4))
    cost[0, 1] = cost[1, 0] = cost[2, 3] = cost[3, 2] = 5.0
    groups = search_groups(loads, 2, pair_cost=cost)
    assert groups[0] != groups[1]
    assert groups[2] != groups[3]


def test_dealing_balances_copies_and_loses_no_visit():
    rng = np.random.default_rng(6)
    choices = rng.random((2, 3, 30, 5)) < 0.5
    experts = np.array([0, 1, 2, 3, 4, 2, 2, 0])
    dealt = ps.deal_copies(choices, experts)
    assert dealt.shape == (2, 3, 30, 8)
    for e in range(5):
        copies = dealt[..., experts == e]
        np.testing.assert_array_equal(copies.sum(axis=-1), choices[..., e])
        loads = copies.sum(axis=-2)
        assert (loads.max(axis=-1) - loads.min(axis=-1) <= 1).all()
    np.testing.assert_array_equal(jax.jit(ps.deal_copies)(choices, experts), dealt)


def test_the_hottest_expert_per_copy_is_duplicated():
    assert ps.copy_hottest([[5, 1, 10], [5, 1, 20]], 3).tolist() == [0, 1, 2, 2, 2, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ps.group_experts([1, 2], 3), "group_size is 3, but there are 2 experts"),
        (lambda: ps.group_experts([1, 2], 0), "group_size is 0"),
        (lambda: ps.group_experts([1, 2], 1.5), "must be an integer"),
        (lambda: ps.group_experts([1, 2], 1, "magic"), "unknown grouping strategy 'magic'"),
        (lambda: ps.group_experts([1, np.nan], 1), "finite"),
        (lambda: ps.group_experts([1, -1], 1), "not negative"),
        (lambda: ps.group_experts(np.ones((2, 2, 2)), 1), "loads must be"),
        (lambda: ps.group_experts(["a", "b"], 1), "loads must be numbers"),
        (lambda: ps.group_experts([1, 2], 1, "coactivation", coactivation=np.ones(2)), r"shape \[2\]"),
        (lambda: ps.deal_copies(np.ones((3, 2)), [0]), "expert 1 has no copy"),
        (lambda: ps.deal_copies(np.ones((3, 2)), [0, 1, 2]), "names expert 2"),
        (lambda: ps.deal_copies(np.ones(3), [0]), "tokens, experts"),
        (lambda: ps.copy_hottest([1, 2], -1), "num_copies must be"),
        (lambda: ps.copy_hottest([np.nan, 2], 1), "finite"),
        (lambda: ps.copy_hottest(3, 1), "loads must be"),
        (lambda: ps.group_experts([1, 2], 1, "coactivation", coactivation="x"), "coactivation must be numbers"),
        (lambda: ps.deal_copies(np.array([[2, 0]]), [0, 1]), "only 0 and 1"),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ScheduleError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_search_ends_where_high_powers_round(monkeypatch):
    """Very unequal loads: the differences of 64th powers promise gains that do not come, and once did so for ever."""
    priced = _Swaps._pairs
    calls = []

    def counted(self, *arguments):
        calls.append(1)
        assert len(calls) < 20_000
        return priced(self, *arguments)

    monkeypatch.setattr(_Swaps, "_pairs", counted)
    generator = np.random.default_rng(1)
    for _ in range(40):
        loads = np.round(generator.gamma(0.3, 50, (25, 8)))
        calls.clear()
        groups = search_groups(loads, 4, kicks=16)
        assert sorted(np.bincount(groups)) == [2, 2, 2, 2]
