"""The event engine against a literal event loop, and what its log promises."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.event_loop import run_literally

from pimjax.errors import CapacityError, MissingExtraError, PimjaxError
from pimjax.event import (
    FROM_THE_START,
    Buffers,
    JobGraph,
    JobGraphBuilder,
    exclusive,
    live_bytes,
    peak_bytes,
    pool,
    require_capacity,
    run,
    unlimited,
)
from pimjax.event.engine import compiled_loop

RESOURCES = (unlimited("wires"), exclusive("group", 3), pool("adders", 2), pool("heads", 1))


def random_graph(seed: int, jobs: int, unit_ns: float) -> JobGraph:
    """Jobs of few durations (so that many end together), on all disciplines, with random edges."""
    rng = np.random.default_rng(seed)
    build = JobGraphBuilder(("a", "b"), RESOURCES)
    build.add(
        "a",
        rng.integers(1 if rng.random() < 0.5 else 0, 5, jobs) * unit_ns,
        rng.integers(0, 6, jobs),
        sequence=rng.integers(0, 2, jobs),
        token=rng.integers(0, 4, jobs),
    )
    edges = rng.integers(0, jobs, (int(rng.integers(0, 3 * jobs + 1)), 2))
    edges = edges[edges[:, 0] != edges[:, 1]]
    edges.sort(axis=1)
    order = rng.permutation(jobs)  # edges then run in any direction of the index
    build.connect(order[edges[:, 0]], order[edges[:, 1]])
    return build.build()


def diamond() -> JobGraph:
    """Two jobs share one group; a third waits for both; a fourth runs beside them."""
    build = JobGraphBuilder(("load", "pass"), RESOURCES)
    loads = build.add("load", [12.0, 30.0], 0)
    passes = build.add("pass", 100.0, build.resource("group", [1, 1, 2]), token=[1, 0, 2])
    build.connect(loads, passes[:2])
    build.connect(passes[:2], passes[2:])
    return build.build()


@given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([1.0, 0.5, 0.1, 1.8337]))
@settings(max_examples=150)
def test_equals_the_literal_event_loop(seed: int, jobs: int, unit_ns: float):
    graph = random_graph(seed, jobs, unit_ns)
    start, finish, steps = run_literally(graph)
    log = run(graph, arithmetic="stepwise")
    np.testing.assert_array_equal(log.start_ns, start)
    np.testing.assert_array_equal(log.finish_ns, finish)
    np.testing.assert_array_equal(log.step_ns, steps)


@given(st.integers(0, 2**32), st.integers(1, 60))
@settings(max_examples=60)
def test_both_arithmetics_agree_where_no_rounding_occurs(seed: int, jobs: int):
    graph = random_graph(seed, jobs, 1.0)
    absolute, stepwise = run(graph), run(graph, arithmetic="stepwise")
    for name in ("start_ns", "finish_ns", "start_step", "finish_step", "cause", "step_ns"):
        np.testing.assert_array_equal(getattr(absolute, name), getattr(stepwise, name))


@pytest.mark.parametrize("arithmetic", ["absolute", "stepwise"])
def test_compiled_equals_uncompiled(arithmetic: str):
    pytest.importorskip("numba")
    for seed in range(30):
        graph = random_graph(seed, 200, 0.1)
        compiled = run(graph, arithmetic=arithmetic, compiled=True)
        plain = run(graph, arithmetic=arithmetic, compiled=False)
        for name in ("start_ns", "finish_ns", "start_step", "finish_step", "cause", "step_ns"):
            np.testing.assert_array_equal(getattr(compiled, name), getattr(plain, name))


def test_without_numba_the_compiled_engine_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    compiled_loop.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'pimjax\[fast\]'"):
        run(diamond(), compiled=True)
    assert run(diamond()).makespan_ns == 312.0


@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([1.0, 0.1]))
@settings(max_examples=60)
def test_critical_path_has_no_gap_and_adds_up(seed: int, jobs: int, unit_ns: float):
    graph = random_graph(seed, jobs, unit_ns)
    log = run(graph)
    path = log.critical_path()
    assert log.start_ns[path.jobs[0]] == 0
    np.testing.assert_allclose(log.start_ns[path.jobs[1:]], log.finish_ns[path.jobs[:-1]], atol=1e-9)
    assert path.total_ns == pytest.approx(log.makespan_ns, abs=1e-9)
    assert sum(path.by_kind().values()) == pytest.approx(log.makespan_ns, abs=1e-9)
    for before, after, waited in zip(path.jobs[:-1], path.jobs[1:], path.waited[1:], strict=True):
        follows = after in graph.successors[graph.successor_offsets[before] : graph.successor_offsets[before + 1]]
        assert waited == (not follows)
        if waited:
            assert graph.resource[before] == graph.resource[after]


def test_low_token_first_and_waiting_is_attributed_to_the_holder():
    log = run(diamond())
    # token 1 is ready first (12 ns) and is not interrupted by token 0 (30 ns).
    np.testing.assert_array_equal(log.start_ns, [0, 0, 12, 112, 212])
    path = log.critical_path()
    assert path.jobs.tolist() == [0, 2, 3, 4]
    assert path.waited.tolist() == [False, False, True, False]
    assert path.by_kind() == {"load": 12.0, "pass": 300.0}


def test_busy_time_and_resource_names():
    graph = diamond()
    np.testing.assert_array_equal(run(graph).busy_ns(), [42, 0, 200, 100, 0, 0])
    assert [graph.resource_name(index) for index in range(6)] == [
        "wires",
        "group 0",
        "group 1",
        "group 2",
        "adders",
        "heads",
    ]
    with pytest.raises(IndexError):
        graph.resource_name(6)


@given(st.integers(0, 2**32), st.integers(1, 40))
@settings(max_examples=40)
def test_live_bytes_equal_a_walk_over_the_steps(seed: int, jobs: int):
    graph = random_graph(seed, jobs, 1.0)
    log = run(graph)
    rng = np.random.default_rng(seed)
    sizes, producers, rows = [], [], []
    for _ in range(20):
        producer = int(rng.integers(FROM_THE_START, jobs))
        later = np.flatnonzero(log.start_step > (log.finish_step[producer] if producer >= 0 else 0))
        rows.append(rng.choice(later, min(len(later), int(rng.integers(0, 4))), replace=False))
        producers.append(producer)
        sizes.append(float(rng.integers(1, 100)))
    offsets = np.cumsum([0] + [len(row) for row in rows])
    buffers = Buffers(np.array(sizes), np.array(producers), offsets, np.concatenate(rows).astype(np.int64))
    held = []
    for step in range(log.num_steps):
        total = 0.0
        for size, producer, row in zip(sizes, producers, rows, strict=True):
            filled = producer < 0 or log.finish_step[producer] <= step
            freed = len(row) > 0 and max(log.start_step[row]) <= step
            total += size if filled and not freed else 0.0
        held.append(total)
    np.testing.assert_array_equal(live_bytes(log, buffers), held)
    assert peak_bytes(log, buffers) == max(held)


def test_perfetto_file_holds_every_job_once_and_lanes_do_not_overlap(tmp_path):
    graph = random_graph(3, 80, 1.0)
    log = run(graph)
    document = json.loads(log.to_perfetto(tmp_path / "trace.json").read_text())
    complete = [event for event in document["traceEvents"] if event["ph"] == "X"]
    assert sorted(event["args"]["job"] for event in complete) == list(range(80))
    for event in complete:
        assert event["ts"] * 1e3 == pytest.approx(log.start_ns[event["args"]["job"]])
        assert event["dur"] * 1e3 == pytest.approx(graph.duration[event["args"]["job"]])
    for track in {event["tid"] for event in complete}:
        spans = sorted((event["ts"], event["dur"]) for event in complete if event["tid"] == track)
        assert all(a[0] + a[1] <= b[0] + 1e-12 for a, b in itertools.pairwise(spans))


def test_an_empty_graph_runs():
    log = run(JobGraphBuilder(("a",), RESOURCES).build())
    assert log.makespan_ns == 0.0
    assert log.num_steps == 0
    assert log.critical_path().total_ns == 0.0


def test_circular_waiting_is_refused():
    build = JobGraphBuilder(("a",), RESOURCES)
    first, second, _ = build.add("a", [1.0, 1.0, 1.0], 0)
    build.connect([first, second], [second, first])
    with pytest.raises(PimjaxError, match="2 of 3 jobs never became ready"):
        run(build.build())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"token": np.zeros(1)}, "JobGraph.token has 1 entries for 5"),
        ({"duration": np.full(5, -1.0)}, "not negative"),
        ({"duration": np.full(5, np.nan)}, "finite"),
        ({"resource": np.full(5, 6)}, r"allowed is 0\.\.5"),
        ({"kind": np.full(5, -1)}, r"JobGraph.kind holds -1\.\.-1"),
        ({"successors": np.full(4, 5)}, r"JobGraph.successors holds 5\.\.5"),
        ({"successor_offsets": np.zeros(6, np.int64)}, "row starts from 0"),
        ({"successor_offsets": np.array([0, 3, 2, 4, 4, 4])}, "never decrease"),
        (
            {"resources": (*RESOURCES[:2], dataclasses.replace(pool("adders", 1), servers=0), pool("heads", 1))},
            "at least one server",
        ),
    ],
)
def test_ill_formed_graphs_are_refused(change, sentence):
    with pytest.raises(PimjaxError, match=sentence):
        run(dataclasses.replace(diamond(), **change))


def test_resources_past_the_end_of_their_group_are_refused():
    build = JobGraphBuilder(("a",), RESOURCES)
    assert build.resource("group", [0, 2]).tolist() == [1, 3]
    with pytest.raises(PimjaxError, match=r"'group' was asked for \[0, 3\]: it has the indices 0\.\.2"):
        build.resource("group", [0, 3])


def test_unknown_arithmetic_is_refused():
    with pytest.raises(PimjaxError, match="'absolute' or 'stepwise'"):
        run(diamond(), arithmetic="decimal")


def test_graphs_above_five_million_jobs_are_refused():
    require_capacity(5_000_000)
    build = JobGraphBuilder(("a",), RESOURCES)
    build.add("a", np.broadcast_to(1.0, 1_000), 0)
    with pytest.raises(CapacityError, match="5,000,001 operations, at most 5,000,000"):
        build.add("a", np.broadcast_to(1.0, 4_999_001), 0)
    with pytest.raises(CapacityError, match="5,000,001 operations"):
        run(dataclasses.replace(build.build(), duration=np.broadcast_to(1.0, 5_000_001)))
