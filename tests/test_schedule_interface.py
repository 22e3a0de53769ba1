"""Arguments, defaults, overflow, errors and host views of the `schedule_*` functions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import schedule as oracle

import pimjax.schedule as ps
from pimjax.errors import ScheduleError
from pimjax.trace import RoutingTrace

CHOICES = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1]])
GROUPS = np.array([0, 0, 1, 1])


def test_slots_and_intervals_describe_the_same_schedule():
    for policy in ("token_wise", "compact", "reschedule"):
        start, stop = ps.schedule_intervals(CHOICES, GROUPS, policy=policy, num_groups=2)
        slots = ps.schedule_slots(CHOICES, GROUPS, policy=policy, num_groups=2)
        assert start.dtype == stop.dtype == slots.dtype == np.int32
        rebuilt = np.full_like(slots, ps.IDLE)
        for token in range(3):
            for group in range(2):
                rebuilt[start[token, group] : stop[token, group], group] = token
        np.testing.assert_array_equal(rebuilt, slots)
        np.testing.assert_array_equal(slots, oracle.schedule_slots(CHOICES, GROUPS, policy, 2, 3))


def test_packed_has_slots_but_no_intervals():
    slots = ps.schedule_slots(CHOICES, GROUPS, policy="packed", num_groups=2)
    np.testing.assert_array_equal(slots, oracle.schedule_slots(CHOICES, GROUPS, "packed", 2, 3))
    with pytest.raises(ScheduleError, match="schedule_slots"):
        ps.schedule_intervals(CHOICES, GROUPS, policy="packed")


def test_overflow_sets_the_makespan_to_minus_one():
    for policy in ("compact", "packed"):
        needed = int(ps.schedule_cost(CHOICES, GROUPS, policy=policy, num_groups=2).makespan)
        for function in (ps.schedule_cost, ps.schedule_summary):
            fits = function(CHOICES, GROUPS, policy=policy, num_groups=2, max_slots=needed)
            short = function(CHOICES, GROUPS, policy=policy, num_groups=2, max_slots=needed - 1)
            assert int(fits.makespan) == needed
            assert int(short.makespan) == -1
        profile = ps.schedule_profile(CHOICES, GROUPS, policy=policy, num_groups=2, max_slots=needed - 1)
        assert profile.loads.tolist() == [-1] * (needed - 1)
        with pytest.raises(ScheduleError, match="max_slots"):
            ps.schedule_slots(CHOICES, GROUPS, policy=policy, num_groups=2, max_slots=needed - 1)


def test_profile_length_is_the_makespan_of_concrete_arrays_and_all_passes_under_jit():
    def profile(choices):
        return ps.schedule_profile(choices, GROUPS, policy="compact", num_groups=2)

    assert profile(CHOICES).loads.shape == (4,)
    assert jax.jit(profile)(CHOICES).loads.shape == (12,)


def test_impossible_data_inside_jit_flags_the_makespan():
    kernel = jax.jit(lambda c, g, n: ps.schedule_cost(c, g, policy="compact", num_groups=2, num_tokens=n).makespan)
    choices = jnp.asarray(CHOICES)
    assert int(kernel(choices, jnp.asarray(GROUPS), 3)) == 4
    assert int(kernel(choices, jnp.array([0, 0, 1, 2]), 3)) == -1
    assert int(kernel(choices, jnp.array([0, 0, 1, -1]), 3)) == -1
    assert int(kernel(choices, jnp.asarray(GROUPS), 4)) == -1


def test_unused_padding_experts_may_hold_no_group():
    padded = np.pad(CHOICES, ((0, 0), (0, 2)))
    cost = ps.schedule_cost(padded, np.array([0, 0, 1, 1, -1, -1]), policy="compact", num_groups=2)
    alone = ps.schedule_cost(CHOICES, GROUPS, policy="compact", num_groups=2)
    assert (int(cost.makespan), int(cost.loads)) == (int(alone.makespan), int(alone.loads))


def test_no_tokens_make_an_empty_schedule():
    for policy in ps.POLICIES:
        summary = ps.schedule_summary(CHOICES, GROUPS, policy=policy, num_tokens=0, num_groups=2)
        assert [int(leaf.sum()) for leaf in summary] == [0, 0, 0, 0, 0]
        assert ps.schedule_slots(CHOICES, GROUPS, policy=policy, num_tokens=0, num_groups=2).shape == (0, 2)


@pytest.mark.parametrize(
    ("choices", "groups", "options", "message"),
    [
        (CHOICES, GROUPS, {"policy": "fast"}, "unknown schedule policy 'fast'.*token_wise"),
        (CHOICES[0], GROUPS, {}, "tokens, experts"),
        (CHOICES[:0], GROUPS, {}, "no token"),
        (CHOICES, GROUPS[:3], {}, r"shape \[3\], but choices name 4 experts"),
        (CHOICES, GROUPS.astype(float), {}, "integer ids"),
        (CHOICES, np.array([0, 0, 1, -1]), {}, "expert 3 is in no group"),
        (CHOICES, np.array([0, 0, 1, 4]), {}, "expert 3 has group id 4"),
        (CHOICES, GROUPS, {"num_groups": 1}, "expert 2 has group id 1, but there are 1 groups"),
        (CHOICES, GROUPS, {"num_groups": 0}, "num_groups must be a positive integer"),
        (CHOICES, GROUPS, {"num_tokens": 4}, "num_tokens is 4"),
        (CHOICES, GROUPS, {"num_tokens": np.array([1, 2])}, "one number"),
        (CHOICES * 2, GROUPS, {}, "only 0 and 1"),
        (CHOICES * np.nan, GROUPS, {}, "only 0 and 1"),
        (CHOICES, GROUPS, {"max_slots": 0}, "max_slots must be a positive integer"),
        (CHOICES, GROUPS, {"max_open_tokens": 3}, "limits the policy 'packed' only"),
        (CHOICES, GROUPS, {"policy": "packed", "max_open_tokens": 0}, "1 or more"),
        (CHOICES, GROUPS, {"policy": "packed", "max_open_tokens": "many"}, "1 or more"),
        (CHOICES, GROUPS, {"policy": "packed", "max_open_tokens": 1.5}, "1 or more"),
        (CHOICES, GROUPS, {"num_tokens": 1.5}, "num_tokens must be an integer"),
    ],
)
def test_bad_input_is_one_sentence(choices, groups, options, message):
    options = {"policy": "compact"} | options
    with pytest.raises(ScheduleError, match=message) as caught:
        ps.schedule_cost(choices, groups, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("view", [ps.schedule_slots, ps.schedule_intervals])
@pytest.mark.parametrize("limit", [0, 1.5, "3"])
def test_views_refuse_a_limit_that_is_no_positive_integer(view, limit):
    with pytest.raises(ScheduleError, match="max_slots must be a positive integer"):
        view(CHOICES, GROUPS, policy="compact", num_groups=2, max_slots=limit)


def make_traces():
    rng = np.random.default_rng(4)
    return RoutingTrace(choices=rng.random((3, 2, 9, 6)) < 0.4, num_tokens=np.array([9, 5, 7], np.int32))


def test_table_equals_single_calls_in_the_order_of_the_plans():
    traces = make_traces()
    per_layer = np.array([[0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 1, 2]])
    plans = [
        ps.SchedulePlan(per_layer, "packed", 2),
        (per_layer[0], "compact"),
        ps.SchedulePlan(per_layer, "packed"),
        (per_layer[1], "compact"),
    ]
    table = ps.schedule_table(traces, plans)
    assert table.makespan.shape == (4, 3, 2)
    assert table.load_hist.shape == (4, 3, 2, 5)
    for p, plan in enumerate(plans):
        groups, policy, limit = ps.SchedulePlan(*plan)
        for r in range(3):
            for layer in range(2):
                rows = groups if groups.ndim == 1 else groups[layer]
                slots = oracle.schedule_slots(
                    traces.choices[r, layer], rows, policy, 4, int(traces.num_tokens[r]), limit
                )
                expected = oracle.summary_of(slots, 4)
                for key in ("makespan", "loads", "first_loads", "load_hist", "open_max"):
                    assert getattr(table, key)[p, r, layer].tolist() == expected[key], (p, r, layer, key)


@pytest.mark.parametrize(
    ("plans", "options", "message"),
    [
        ([], {}, "at least one plan"),
        ([([0] * 6, "soon")], {}, "unknown schedule policy"),
        ([([0] * 5, "compact")], {}, r"must be integers \[6\] or \[2, 6\]"),
        ([([0, 0, 0, 0, 0, 9], "compact")], {"num_groups": 4}, "more than num_groups = 4"),
        ([([0, 0, 0, 0, 0, -1], "compact")], {}, "expert 5 of layer 0 is in no group"),
        ([ps.SchedulePlan([0] * 6, "compact", 4)], {}, "limits the policy 'packed' only"),
    ],
)
def test_table_refuses_bad_plans(plans, options, message):
    with pytest.raises(ScheduleError, match=message):
        ps.schedule_table(make_traces(), plans, **options)
