"""Engines of serving against the plain statement of the scheduler's rules, and what any scheduler must keep."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimjax.errors import ServingError
from pimjax.serving import (
    Requests,
    RoutingLoads,
    Server,
    ServingRun,
    StepTable,
    TableSteps,
    make_requests,
    make_step_table,
    simulate,
    simulate_batch,
    simulate_exactly,
)
from pimjax.serving.loads import make_loads

FIELDS = ("scheduled_ns", "first_token_ns", "finish_ns", "preemptions", "energy_nj", "rank")


def values(draw: st.DrawFn, *shape: int, low: int = 0, high: int = 64) -> np.ndarray:
    """Whole numbers of sixteenths, which add up exactly, so that both engines decide alike at every instant."""
    size = int(np.prod(shape))
    found = draw(st.lists(st.integers(low * 16, high * 16), min_size=size, max_size=size))
    return np.array(found, float).reshape(shape) / 16.0


@st.composite
def tables(draw: st.DrawFn) -> StepTable:
    return make_step_table(
        tokens_grid=[0.0, 8.0, 64.0],
        tokens=values(draw, 2, 3, low=1),
        samples_grid=[0.0, 4.0],
        samples=values(draw, 2, 2),
        decode_grid=[1.0, 2.0, 4.0],
        context_grid=[0.0, 16.0],
        decode=values(draw, 2, 3, 2),
        beside=values(draw, 2, 3, 2),
        length_grid=[0.0, 16.0],
        start_grid=[0.0, 32.0],
        chunk=values(draw, 2, 2, 2),
        prefix_grid=[0.0, 8.0, 64.0],
        prefix=np.cumsum(values(draw, 2, 3), axis=1),
        joint_grid=[0.0, 32.0],
        joint=values(draw, 2, 2),
        mean_peak=[1.0, 2.0, 3.0],
        peak_slope=np.full((2, 3), 0.25),
        mean_distinct=[1.0, 2.0, 3.0],
        distinct_slope=np.full((2, 3), 0.125),
    )


@st.composite
def loads(draw: st.DrawFn) -> RoutingLoads:
    seed = draw(st.integers(0, 1000))
    choices = np.random.default_rng(seed).random((2, 2, 5, 4)) < 0.5
    return make_loads(choices, [[0, 0, 1, 1], [0, 1, 0, 1]], lengths=[5, 3])


@st.composite
def cases(draw: st.DrawFn, ranks: int = 3) -> tuple[Requests, Server]:
    count = draw(st.integers(1, 12))
    gaps = draw(st.lists(st.integers(0, 200), min_size=count, max_size=count))
    lengths = st.lists(st.integers(1, 20), min_size=count, max_size=count)
    requests = make_requests(np.cumsum(gaps).astype(float), draw(lengths), draw(lengths))
    block = draw(st.integers(1, 5))
    longest = int((requests.prompt_tokens + requests.output_tokens - 1).max())
    blocks = -(-longest // block) + draw(st.integers(0, 6))
    chunked = draw(st.booleans())
    server = Server(
        max_num_seqs=draw(st.integers(1, 5)),
        max_num_batched_tokens=draw(st.integers(1, 24)) if chunked else longest + draw(st.integers(0, 8)),
        kv_tokens=draw(st.sampled_from([None, blocks * block])),
        block_tokens=block,
        chunked_prefill=chunked,
        reserve_full_prompt=draw(st.booleans()),
        reuse_preempted=draw(st.booleans()),
        async_scheduling=draw(st.booleans()),
        ranks=draw(st.integers(1, ranks)),
        lockstep=draw(st.booleans()),
        balance=draw(st.sampled_from(["least_loaded", "round_robin"])),
    )
    return requests, server


def assert_same(one: ServingRun, other: ServingRun, *, log: bool = True) -> None:
    for name in FIELDS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, err_msg=name)
    if log:
        np.testing.assert_allclose(one.steps, other.steps, rtol=1e-9, atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(cases(), tables(), st.none() | loads())
def test_host_engine_is_the_oracle(case, table, routing) -> None:
    requests, server = case
    exact = simulate_exactly(requests, server, TableSteps(table, routing))
    assert_same(simulate(requests, server, table, loads=routing, compiled=False), exact)


@settings(max_examples=60, deadline=None)
@given(cases(), tables(), st.none() | loads())
def test_compiled_engine_is_the_oracle(case, table, routing) -> None:
    pytest.importorskip("numba", reason="extra 'fast'")
    requests, server = case
    exact = simulate_exactly(requests, server, TableSteps(table, routing))
    assert_same(simulate(requests, server, table, loads=routing, compiled=True), exact)


@st.composite
def scan_cases(draw: st.DrawFn) -> tuple[list[Requests], Server]:
    """Two lanes of six requests in three slots, so that few programs are compiled."""
    lanes = []
    for _ in range(2):
        gaps = draw(st.lists(st.integers(0, 200), min_size=6, max_size=6))
        lengths = st.lists(st.integers(1, 20), min_size=6, max_size=6)
        lanes.append(make_requests(np.cumsum(gaps).astype(float), draw(lengths), draw(lengths)))
    block = draw(st.integers(1, 5))
    longest = max(int((one.prompt_tokens + one.output_tokens - 1).max()) for one in lanes)
    chunked = draw(st.booleans())
    server = Server(
        max_num_seqs=3,
        max_num_batched_tokens=draw(st.integers(1, 24)) if chunked else longest + draw(st.integers(0, 8)),
        kv_tokens=draw(st.sampled_from([None, (-(-longest // block) + draw(st.integers(0, 6))) * block])),
        block_tokens=block,
        chunked_prefill=chunked,
        reserve_full_prompt=draw(st.booleans()),
        async_scheduling=draw(st.booleans()),
    )
    return lanes, server


@settings(max_examples=60, deadline=None)
@given(scan_cases(), tables(), st.none() | loads())
def test_scan_is_the_oracle(case, table, routing) -> None:
    lanes, server = case
    found = simulate_batch(lanes, server, table, loads=routing, engine="scan")
    for index, requests in enumerate(lanes):
        exact = simulate_exactly(requests, server, TableSteps(table, routing))
        for name in FIELDS[:-1]:
            np.testing.assert_allclose(getattr(found, name)[index], getattr(exact, name), rtol=1e-9, err_msg=name)


def test_scan_refuses_ranks() -> None:
    with pytest.raises(ServingError, match="serves one rank"):
        simulate_batch(make_requests([0.0], 1, 1), Server(ranks=2), make_step_table(tokens=[1.0]), engine="scan")


@settings(max_examples=100, deadline=None)
@given(cases(), tables())
def test_every_token_once_and_memory_kept(case, table) -> None:
    """Tokens are conserved, memory never overflows, nobody starves or overtakes in the queue of a rank."""
    requests, server = case
    run = simulate(requests, server, table, compiled=False)
    for name in ("scheduled_ns", "first_token_ns", "finish_ns"):
        assert np.isfinite(getattr(run, name)).all()
    assert (run.scheduled_ns >= requests.arrival_ns).all()
    assert (run.first_token_ns >= run.scheduled_ns).all()
    assert (run.finish_ns >= run.first_token_ns).all()
    computed = run.column("decodes").sum() + run.column("prefill_tokens").sum()
    needed = (requests.prompt_tokens + requests.output_tokens - 1).sum()
    if run.preemptions.sum() == 0:
        assert computed == needed
    elif not server.reuse_preempted:
        assert computed >= needed
    size = server.ranks if server.lockstep else 1
    assert (run.column("kv_blocks") <= server.kv_blocks * size).all()
    assert (run.column("running") <= server.max_num_seqs * size).all()
    assert (run.column("decodes") + run.column("prefill_tokens") <= server.max_num_batched_tokens * size).all()
    for rank in range(server.ranks):
        assert (np.diff(run.scheduled_ns[run.rank == rank]) >= 0).all()
    np.testing.assert_allclose(run.energy_nj.sum(), run.column("energy_nj").sum(), rtol=1e-9)


def test_preemption_computes_the_youngest_again() -> None:
    """Two requests of 4 + 4 tokens in memory for 10: the second loses its memory when the first needs a third block."""
    requests = make_requests([0.0, 0.0], 4, 4)
    server = Server(max_num_seqs=2, max_num_batched_tokens=16, kv_tokens=10, block_tokens=2)
    run = simulate_exactly(requests, server, TableSteps(make_step_table(tokens=[1.0])))
    # 8 prompt tokens fill 4 blocks; the first's token 5 takes the last free one, the second's finds none
    assert run.preemptions.tolist() == [0, 1]
    assert run.first_token_ns.tolist() == [1.0, 1.0]
    assert run.finish_ns.tolist() == [4.0, 7.0]
    assert run.column("prefill_tokens").tolist() == [8, 0, 0, 0, 5, 0, 0]


def test_preempted_request_finds_what_nobody_took() -> None:
    """As above, but of the second's two full blocks one is still there: of its 5 tokens 3 are computed again."""
    requests = make_requests([0.0, 0.0], 4, 4)
    server = Server(max_num_seqs=2, max_num_batched_tokens=16, kv_tokens=10, block_tokens=2, reuse_preempted=True)
    run = simulate_exactly(requests, server, TableSteps(make_step_table(tokens=[1.0])))
    assert run.preemptions.tolist() == [0, 1]
    assert run.column("prefill_tokens").tolist() == [8, 0, 0, 0, 3, 0, 0]


def test_async_scheduling_sees_arrivals_one_step_later() -> None:
    requests = make_requests([0.0, 5.0], 1, [4, 1])
    steps = TableSteps(make_step_table(tokens=[10.0]))
    assert simulate_exactly(requests, Server(), steps).first_token_ns.tolist() == [10.0, 20.0]
    later = simulate_exactly(requests, Server(async_scheduling=True), steps)
    assert later.first_token_ns.tolist() == [10.0, 30.0]


def test_lockstep_ranks_wait_for_the_slowest() -> None:
    requests = make_requests([0.0, 0.0], [1, 9], 2)
    table = make_step_table(tokens_grid=[0, 10], tokens=[0.0, 100.0], joint_grid=[0, 10], joint=[5.0, 15.0])
    apart = simulate(requests, Server(ranks=2), table, compiled=False)
    together = simulate(requests, Server(ranks=2, lockstep=True), table, compiled=False)
    assert apart.first_token_ns.tolist() == [10.0 + 6.0, 90.0 + 14.0]
    assert together.first_token_ns.tolist() == [90.0 + 15.0] * 2


def test_what_can_never_be_served_is_refused() -> None:
    table = make_step_table(tokens=[1.0])
    with pytest.raises(ServingError, match="request 1 reaches 30 tokens"):
        simulate(make_requests([0.0, 1.0], [4, 20], 11), Server(kv_tokens=16), table)
    with pytest.raises(ServingError, match="without chunked_prefill"):
        simulate(make_requests([0.0], 20, 1), Server(chunked_prefill=False, max_num_batched_tokens=8), table)


@st.composite
def binary_tables(draw: st.DrawFn) -> StepTable:
    """Intervals as wide as powers of two and no mean context: sums are exact also far from zero."""
    return make_step_table(
        tokens_grid=[0.0, 64.0],
        tokens=values(draw, 2, 2, low=1),
        decode_grid=[0.0, 8.0],
        decode=values(draw, 2, 2, 1),
        prefix_grid=[0.0, 64.0],
        prefix=np.cumsum(values(draw, 2, 2), axis=1),
        joint_grid=[0.0, 32.0],
        joint=values(draw, 2, 2),
    )


@settings(max_examples=40, deadline=None)
@given(cases(), binary_tables())
def test_a_server_that_was_idle_is_as_new(case, table) -> None:
    """The same requests again, long after the last answer: memory was freed and nothing is left, so times only shift.

    Round-robin goes on counting, so that a second wave of an odd number would go to other ranks: the same is asked of the
    other balance alone.
    """
    requests, server = case
    server = dataclasses.replace(server, balance="least_loaded")
    later = 2.0**22
    twice = make_requests(
        np.concatenate([requests.arrival_ns, requests.arrival_ns + later]),
        np.tile(requests.prompt_tokens, 2),
        np.tile(requests.output_tokens, 2),
    )
    run = simulate(twice, server, table, compiled=False)
    count = len(requests)
    for name in ("scheduled_ns", "first_token_ns", "finish_ns"):
        times = getattr(run, name)
        np.testing.assert_array_equal(times[count:], times[:count] + later, err_msg=name)
    np.testing.assert_array_equal(run.preemptions[count:], run.preemptions[:count])
    np.testing.assert_array_equal(run.rank[count:], run.rank[:count])


def test_a_million_requests() -> None:
    """As many as a file may hold are served in a loop that grows with their number alone (compiled where numba is)."""
    pytest.importorskip("numba", reason="extra 'fast': uncompiled it would take minutes")
    count = 1_000_000
    requests = make_requests(np.arange(count) * 10.0, 1, 1)
    run = simulate(requests, Server(max_num_seqs=16), make_step_table(tokens=[8.0]), log=False)
    np.testing.assert_array_equal(run.finish_ns, requests.arrival_ns + 8.0)
