"""A policy registered from outside, in the two steps of docs/extending.md, gives right numbers wherever one is asked."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import schedule as oracle

import pimjax
import pimjax.schedule as ps
from pimjax.config.plan import PlanConfig
from pimjax.errors import ConfigError, ScheduleError
from pimjax.runs import run_routing, schedule_inputs
from pimjax.runs.count_many import Pass, count_passes
from pimjax.runs.counts import count_pass
from pimjax.runs.inputs import inputs_of_many
from pimjax.schedule import Policy
from pimjax.schedule.load_matrix import longest_queue, one_after_another, running_sum
from pimjax.schedule.placement import IDLE, Placement, place_intervals
from pimjax.schedule.policies.token_wise import token_wise_intervals
from pimjax.trace import RoutingTrace

TOKENS, EXPERTS, GROUPS = 14, 6, 4


def late_intervals(loads, num_tokens, bound):
    """Compact queues, shifted so that all groups end together."""
    stop = running_sum(loads, bound)
    stop = stop + (stop[:, -1].max() - stop[:, -1:])
    return stop - loads, stop


def backwards(loads, max_open_tokens, num_slots, bound):
    """Compact queues from the last token to the first: a slot table, as its intervals are in no token order."""
    tokens = loads.shape[1]
    stop = running_sum(loads[:, ::-1], bound)
    placed = place_intervals(stop - loads[:, ::-1], stop, num_slots)
    turned = jnp.where(placed.tokens == IDLE, IDLE, tokens - 1 - placed.tokens)
    return Placement(turned, placed.first[::-1], placed.stop[::-1], placed.makespan)


MADE = (
    Policy("late", makespan_bound=longest_queue, intervals=late_intervals),
    Policy("late_host", makespan_bound=longest_queue, intervals=late_intervals, host_intervals=late_intervals),
    Policy("one_by_one", makespan_bound=one_after_another, intervals=token_wise_intervals, needs_barrier=False),
    Policy("backwards", makespan_bound=longest_queue, place=backwards),
)
NAMES = [policy.name for policy in MADE]


def late_queues(table):
    queues = oracle.compact_queues(table)
    longest = max(map(len, queues))
    return [[IDLE] * (longest - len(queue)) + queue for queue in queues]


def slots_of(name, choices, groups, num_tokens):
    """Plain slot table `[S, G]`."""
    table = oracle.load_table(choices, groups, GROUPS, num_tokens)
    if name == "one_by_one":
        return oracle.slots_of(oracle.token_wise_queues(table))
    if name == "backwards":
        slots = oracle.slots_of(oracle.compact_queues(table[::-1]))
        return np.where(slots == IDLE, IDLE, num_tokens - 1 - slots)
    return oracle.slots_of(late_queues(table))


@pytest.fixture(scope="module", autouse=True)
def registered():
    for policy in MADE:
        ps.register_policy(policy)
    yield
    for name in NAMES:
        del ps.POLICIES[name]


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    choices = rng.random((TOKENS, EXPERTS)) < draw(st.sampled_from([0.1, 0.4, 0.9])) * 2 * rng.random(EXPERTS)
    return (
        choices,
        rng.integers(0, draw(st.integers(1, GROUPS)), EXPERTS).astype(np.int32),
        draw(st.integers(1, TOKENS)),
    )


@settings(max_examples=25)
@given(case=cases())
@pytest.mark.parametrize("name", NAMES)
def test_every_view_is_that_of_the_plain_slot_table(name, case):
    choices, groups, num_tokens = case
    options = {"policy": name, "num_tokens": num_tokens, "num_groups": GROUPS}
    slots = slots_of(name, choices, groups, num_tokens)
    wanted = oracle.summary_of(slots, GROUPS)
    np.testing.assert_array_equal(ps.schedule_slots(choices, groups, **options), slots)
    cost = ps.schedule_cost(choices, groups, **options)
    assert (int(cost.makespan), int(cost.loads)) == (wanted["makespan"], wanted["loads"])
    summary = ps.schedule_summary(choices, groups, max_slots=TOKENS * EXPERTS, **options)
    for key in ("makespan", "loads", "first_loads", "open_max"):
        assert int(getattr(summary, key)) == wanted[key], key
    assert summary.load_hist.tolist() == wanted["load_hist"]
    profile = ps.schedule_profile(choices, groups, max_slots=TOKENS * EXPERTS, **options)
    assert profile.loads[: len(slots)].tolist() == wanted["slot_loads"]
    assert profile.returns[: len(slots)].tolist() == wanted["slot_returns"]


@pytest.mark.parametrize("name", NAMES)
def test_defaults_hold_the_schedule_and_intervals_describe_it(name):
    """Without `max_slots` the policy's own bound decides: guessed from its name, it cut token_wise off when renamed."""
    choices = np.random.default_rng(1).random((60, 8)) < 0.4
    groups = np.arange(8) // 2
    slots = ps.schedule_slots(choices, groups, policy=name, num_groups=4)
    summary = ps.schedule_summary(choices, groups, policy=name, num_groups=4)
    assert int(summary.makespan) == len(slots)
    assert int(ps.schedule_profile(choices, groups, policy=name, num_groups=4).returns.sum()) == choices.sum()
    table = ps.schedule_table(RoutingTrace.from_choices(choices), [(groups, name), (groups, "compact"), (groups, name)])
    for leaf, one in zip(table, summary, strict=True):
        np.testing.assert_array_equal(leaf[0, 0, 0], one)
        np.testing.assert_array_equal(leaf[2, 0, 0], one)
    if name == "backwards":
        with pytest.raises(ScheduleError, match="schedule_slots"):
            ps.schedule_intervals(choices, groups, policy=name)
        return
    start, stop = ps.schedule_intervals(choices, groups, policy=name, num_groups=4)
    rebuilt = np.full_like(slots, IDLE)
    for token, group in np.argwhere(stop > start):
        rebuilt[start[token, group] : stop[token, group], group] = token
    np.testing.assert_array_equal(rebuilt, slots)


def configuration(policy, **more):
    return pimjax.load_config(
        {
            "model": {"num_experts": 8, "top_k": 3, "num_layers": 2, "d_model": 256, "d_ff": 256},
            "workload": {"prompt_tokens": 20, **more.pop("workload", {})},
            "plan": {"policy": policy, "group_size": 2, "grouping": "uniform", **more},
        }
    )


def trace_of(tokens=20, seed=0):
    ids = np.random.default_rng(seed).random((2, tokens, 8)).argsort(axis=-1)[..., :3]
    return RoutingTrace.from_expert_ids(ids, 8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hold", [False, True])
def test_host_and_device_count_the_same_and_every_slot(name, hold):
    config, trace = configuration(name, input_hold=hold), trace_of()
    routing = run_routing(config, trace)
    host = count_pass(config, routing, routing.prompt[0], groups=4, profile=True)
    [device] = count_passes(
        PlanConfig(policy=name, input_hold=hold),
        [Pass(routing.prompt[0], routing.group_of_expert, 4)],
        groups=4,
        profile=True,
    )
    for key, value in host.rows.items():
        np.testing.assert_array_equal(device.rows[key], value, err_msg=key)
    np.testing.assert_array_equal(device.profile, host.profile)
    np.testing.assert_array_equal(host.rows["passes"], routing.prompt[0].sum(axis=(1, 2)))
    np.testing.assert_array_equal(host.rows["load_hist"].sum(axis=1), host.rows["makespan"] - 1)
    assert host.profile[1].sum() == routing.prompt.sum()


@pytest.mark.parametrize(
    "workload", [{}, {"generated_tokens": 4}, {"generated_tokens": 4, "batch_size": 2, "kv_cache": True}]
)
def test_inputs_of_one_run_and_of_many_are_the_same(workload):
    config = configuration("late", workload=workload)
    traces = [trace_of(seed=seed) for seed in range(7)]
    many = inputs_of_many(
        [(config, trace) for trace in traces], fidelity="fluid", capacity=pimjax.build(config)[1], layers=None
    )
    for trace, made in zip(traces, many, strict=True):
        alone = schedule_inputs(config, trace)
        jax.tree.map(np.testing.assert_array_equal, made, alone)


def equal(one, other):
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


@pytest.mark.parametrize("fidelity", ["closed", "fluid", "event"])
def test_a_renamed_policy_is_estimated_as_the_original(fidelity):
    """Also with its barrier: whether slots wait for the window's routing is the policy's own, not its name's."""
    trace = trace_of()
    equal(
        pimjax.estimate(configuration("one_by_one"), trace, fidelity),
        pimjax.estimate(configuration("token_wise"), trace, fidelity),
    )


@pytest.mark.parametrize("fidelity", ["closed", "fluid", "event"])
def test_an_estimate_counts_the_loads_of_the_schedule(fidelity):
    trace, config = trace_of(), configuration("backwards")
    slots = [
        ps.schedule_slots(layer, np.arange(8) // 2, policy="backwards", num_groups=4)
        for layer in np.asarray(trace.choices)
    ]
    loads = sum(oracle.summary_of(one, 4)["loads"] for one in slots)
    found = pimjax.estimate(config, trace, fidelity)
    assert found.op_counts[pimjax.OP_KINDS.index("input_load")] == loads


def test_batches_and_sweeps_take_it(tmp_path):
    pytest.importorskip("pyarrow", reason="the sweep extra is not installed: pip install 'pimjax[sweep]'")
    from pimjax.batch import estimate_batch
    from pimjax.batch.sweep import run_sweep
    from pimjax.batch.sweep_config import load_sweep

    configs, trace = [configuration("one_by_one"), configuration("token_wise"), configuration("late")], trace_of()
    latency = np.asarray(estimate_batch(configs, [trace] * 8).latency_ns)
    assert (latency[0] == latency[1]).all()
    assert latency[2, 0] == pytest.approx(float(pimjax.estimate(configs[2], trace, "closed").latency_ns), rel=1e-5)
    design = pimjax.build(configs[2])[0].set({"plan.policy": [list(ps.POLICIES).index(name) for name in NAMES[:2]]})
    np.testing.assert_array_equal(np.asarray(estimate_batch(design, trace).latency_ns)[:, 0], latency[[2, 2], 0])
    trace.save(tmp_path / "trace.npz")
    base = configs[1].model_dump(exclude={"name", "sources", "description"})
    sweep = load_sweep(
        {
            "base": base,
            "axes": [{"field": "plan.policy", "values": ["one_by_one", "token_wise", "late"]}],
            "traces": {"files": [str(tmp_path / "trace.npz")]},
            "columns": ["latency_ns"],
        }
    )
    assert run_sweep(sweep, tmp_path / "out").complete
    import pyarrow.parquet as parquet

    rows = [parquet.read_table(path).to_pydict() for path in sorted((tmp_path / "out").rglob("*.parquet"))]
    swept = [value for part in rows for value in part.get("latency_ns", [])]
    np.testing.assert_allclose(swept, latency[:, 0], rtol=1e-6)


def test_a_bound_that_is_too_small_is_named():
    short = dataclasses.replace(ps.POLICIES["one_by_one"], name="short", makespan_bound=longest_queue)
    ps.register_policy(short)
    try:
        choices, groups = np.random.default_rng(2).random((3, 40, 8)) < 0.5, np.tile(np.arange(8) // 2, (3, 1))
        with pytest.raises(ScheduleError, match=r"'short' took .* makespan_bound"):
            ps.schedule_slots(choices[0], groups[0], policy="short", num_groups=4)
        with pytest.raises(ScheduleError, match="makespan_bound"):
            count_passes(PlanConfig(policy="short"), [Pass(choices, groups, 4)], groups=4)
    finally:
        del ps.POLICIES["short"]


def test_registration_is_checked():
    with pytest.raises(ScheduleError, match="another schedule policy is called 'compact'"):
        ps.register_policy(dataclasses.replace(ps.POLICIES["token_wise"], name="compact"))
    assert ps.register_policy(ps.POLICIES["late"]) is ps.POLICIES["late"]
    with pytest.raises(ScheduleError, match="either intervals"):
        Policy("neither", makespan_bound=longest_queue)
    with pytest.raises(ConfigError, match="only token_wise and one_by_one may start without a barrier"):
        configuration("late", barrier=False)
    assert configuration("one_by_one", barrier=False).plan.barrier is False
    with pytest.raises(ConfigError, match="only packed limits open tokens"):
        configuration("late", max_open_tokens=3)
    with pytest.raises(ConfigError, match=r"plan.policy: 'later' is not accepted; allowed: .*'late'"):
        configuration("later")
