"""The host's reschedule equals the kernel's, token by token, and copes with very long windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimjax.schedule import IDLE, schedule_slots
from pimjax.schedule.reschedule_host import delays, reschedule_slots

TOKENS, EXPERTS, GROUPS = 48, 8, 4


@settings(max_examples=120)
@given(st.integers(0, 2**32 - 1), st.integers(1, TOKENS), st.sampled_from([0.2, 1.0, 8.0]))
def test_table_is_the_kernels(seed, tokens, concentration):
    rng = np.random.default_rng(seed)
    popularity = np.minimum(1, rng.dirichlet(np.full(EXPERTS, concentration)) * rng.integers(1, 6))
    choices = rng.random((TOKENS, EXPERTS)) < popularity
    choices[tokens:] = False
    groups = rng.integers(0, GROUPS, EXPERTS)
    wanted = schedule_slots(choices, groups, policy="reschedule", num_tokens=tokens, num_groups=GROUPS)
    np.testing.assert_array_equal(reschedule_slots(choices[:tokens], groups, GROUPS), wanted)


@pytest.mark.parametrize("skew", [1.0, 30.0])
def test_long_windows_are_complete(skew):
    rng = np.random.default_rng(1)
    choices = rng.random((20_000, EXPERTS)) < rng.dirichlet(np.full(EXPERTS, skew)) * 2
    groups = np.arange(EXPERTS) // 2
    table = reschedule_slots(choices, groups, GROUPS)
    loads = np.stack([choices[:, groups == group].sum(axis=1) for group in range(GROUPS)])
    assert len(table) == loads.sum(axis=1).max()
    for group in range(GROUPS):
        slots = np.flatnonzero(table[:, group] != IDLE)
        np.testing.assert_array_equal(table[slots, group], np.repeat(np.arange(20_000), loads[group]))


def test_delays_never_decrease_and_ties_of_nothing():
    assert delays(np.zeros(5, int)).tolist() == [0] * 5
    assert reschedule_slots(np.zeros((3, 2), bool), np.array([0, 1]), 2).shape == (0, 2)
    rng = np.random.default_rng(2)
    assert (np.diff(delays(np.abs(rng.normal(size=500).cumsum()).astype(int))) >= 0).all()
