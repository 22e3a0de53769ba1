"""Schedules are the same, and int32, in a caller's 64-bit mode."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from pimjax.schedule import POLICIES, schedule_cost, schedule_profile, schedule_slots, schedule_summary


@pytest.mark.parametrize("policy", POLICIES)
def test_schedules_do_not_depend_on_64_bit_mode(policy: str) -> None:
    choices = np.random.default_rng(0).random((12, 8)).argsort(1) < 3
    groups = np.arange(8) // 2

    def everything() -> list[np.ndarray]:
        parts = (
            function(choices, groups, policy=policy) for function in (schedule_cost, schedule_summary, schedule_profile)
        )
        return [np.asarray(leaf) for leaf in jax.tree.leaves(tuple(parts))] + [
            schedule_slots(choices, groups, policy=policy)
        ]

    narrow = everything()
    with jax.enable_x64(True):
        wide = everything()
    for one, other in zip(narrow, wide, strict=True):
        np.testing.assert_array_equal(one, other)
        assert other.dtype == np.int32
