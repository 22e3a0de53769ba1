"""NumPy twins of the policies equal the compiled kernels slot by slot, and cope with very long windows."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import schedule as oracle

from pimjax.schedule import IDLE, POLICIES, schedule_intervals, schedule_slots
from pimjax.schedule import slots as slots_module
from pimjax.schedule.load_matrix import host_loads
from pimjax.schedule.policies.reschedule_host import delays
from pimjax.schedule.slots import _place, place_on_host

TOKENS, EXPERTS, GROUPS = 48, 8, 4


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """As in a new process: nothing has been placed yet."""
    monkeypatch.setattr(slots_module, "_spent", {})


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, TOKENS),
    st.sampled_from([0.2, 1.0, 8.0]),
    st.sampled_from([None, 1, 3, 9]),
)
@pytest.mark.parametrize("name", POLICIES)
def test_placement_is_the_kernels(name, seed, tokens, concentration, limit):
    policy = POLICIES[name]
    rng = np.random.default_rng(seed)
    popularity = np.minimum(1, rng.dirichlet(np.full(EXPERTS, concentration)) * rng.integers(1, 6))
    choices = rng.random((TOKENS, EXPERTS)) < popularity
    choices[tokens:] = False
    loads = host_loads(choices, rng.integers(0, GROUPS, EXPERTS), GROUPS)
    limit = np.int32(limit) if limit and policy.limits_open_tokens else None
    size = TOKENS * EXPERTS
    wanted = _place(loads, np.int32(tokens), limit, policy=policy, bound=size, slots=size)
    made = place_on_host(policy, loads[:, :tokens], limit)
    span = int(wanted.makespan)
    assert int(made.makespan) == made.tokens.shape[1] == span
    np.testing.assert_array_equal(made.tokens, wanted.tokens[:, :span])
    used = loads.any(axis=0)[:tokens]
    np.testing.assert_array_equal(made.first[used], wanted.first[:tokens][used])
    np.testing.assert_array_equal(made.stop[used], wanted.stop[:tokens][used])
    assert (made.first == made.stop)[~used].all()
    assert span <= policy.makespan_bound(loads, limit)


@pytest.mark.parametrize("name", POLICIES)
def test_the_host_compiles_nothing(name, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("compiled")

    monkeypatch.setattr("pimjax.schedule.slots._place", refuse)
    choices = np.random.default_rng(3).random((64, 8)) < 0.3
    slots = schedule_slots(choices, np.arange(8) // 2, policy=name, num_groups=4)
    np.testing.assert_array_equal(slots, oracle.schedule_slots(choices, np.arange(8) // 2, name, 4, 64))


def test_packed_is_compiled_once_the_host_has_taken_as_long_and_is_the_same(monkeypatch):
    rng = np.random.default_rng(4)
    loads = host_loads(rng.random((30, 8)) < 0.4, np.arange(8) // 2, 4)
    policy, compiled = POLICIES["packed"], []

    def counting(*arguments, **options):
        compiled.append(options)
        return _place(*arguments, **options)

    monkeypatch.setattr(slots_module, "_place", counting)
    alone = place_on_host(policy, loads)
    assert not compiled
    jax.tree.map(np.testing.assert_array_equal, alone, place_on_host(policy, loads, passes=10**9))
    assert len(compiled) == 1
    slots_module._spent[policy] = 1e12
    jax.tree.map(np.testing.assert_array_equal, alone, place_on_host(policy, loads))
    assert len(compiled) == 2


@pytest.mark.parametrize("skew", [1.0, 30.0])
def test_long_windows_are_complete(skew):
    rng = np.random.default_rng(1)
    choices = rng.random((20_000, EXPERTS)) < rng.dirichlet(np.full(EXPERTS, skew)) * 2
    groups = np.arange(EXPERTS) // 2
    table = schedule_slots(choices, groups, policy="reschedule", num_groups=GROUPS)
    loads = np.stack([choices[:, groups == group].sum(axis=1) for group in range(GROUPS)])
    assert len(table) == loads.sum(axis=1).max()
    for group in range(GROUPS):
        slots = np.flatnonzero(table[:, group] != IDLE)
        np.testing.assert_array_equal(table[slots, group], np.repeat(np.arange(20_000), loads[group]))


def test_delays_never_decrease_and_ties_of_nothing():
    assert delays(np.zeros(5, int)).tolist() == [0] * 5
    assert schedule_slots(np.zeros((3, 2), bool), np.array([0, 1]), policy="reschedule", num_groups=2).shape == (0, 2)
    rng = np.random.default_rng(2)
    assert (np.diff(delays(np.abs(rng.normal(size=500).cumsum()).astype(int))) >= 0).all()


def test_intervals_keep_padding_apart():
    choices = np.random.default_rng(5).random((9, 6)) < 0.5
    short = schedule_intervals(choices[:6], np.arange(6) // 2, policy="reschedule", num_groups=3)
    padded = schedule_intervals(choices, np.arange(6) // 2, policy="reschedule", num_groups=3, num_tokens=6)
    for one, other in zip(short, padded, strict=True):
        assert other.shape == (9, 3)
        np.testing.assert_array_equal(one, other[:6])
    assert (padded[0] == padded[1])[6:].all()
