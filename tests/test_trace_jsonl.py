"""JSON Lines router logs: written ones come back, foreign ones are read, faults name their line."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimjax.errors import TraceError
from pimjax.trace import RoutingTrace, default_traces, read_router_log, stack_traces, write_router_log
from pimjax.trace.jsonl import MAX_LINE


def same(first, second):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, first, second)))


def log(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def line(token=0, experts=(0,), layer=0, **more):
    return {"layer": layer, "token": token, "experts": list(experts), **more}


HEADER = {"num_experts": 4}


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3), st.sampled_from([None, "all", "chosen"]), st.integers(0, 99)
)
def test_round_trip(tmp_path_factory, lengths, scored, seed):
    generator = np.random.default_rng(seed)
    traces = []
    for length in lengths:
        choices = generator.random((2, length, 4)) < 0.5
        scores = generator.random((2, length, 4)).astype(np.float32) + np.float32(0.1)
        kept = {None: None, "all": scores, "chosen": np.where(choices, scores, 0)}[scored]
        traces.append(RoutingTrace.from_choices(choices, gate_scores=kept))
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    stacked = stack_traces(traces)
    write_router_log(stacked, path)
    back = read_router_log(path)
    assert np.array_equal(back.choices, stacked.choices)
    assert np.array_equal(back.num_tokens, stacked.num_tokens)
    assert (back.gate_scores is None) == (scored is None)
    assert scored is None or np.array_equal(back.gate_scores, stacked.gate_scores)


@pytest.mark.parametrize("router", ["token_choice", "expert_choice"])
def test_recorded_traces_survive_both_formats(tmp_path, router):
    traces = default_traces(router, [0, 5], 12)
    write_router_log(traces, tmp_path / "t.jsonl")
    back = read_router_log(tmp_path / "t.jsonl")
    assert same(traces, back)
    assert back.metadata["request_names"].tolist() == traces.metadata["request_names"].tolist()
    assert back.metadata["prompt_tokens"].tolist() == [1, 1]
    assert back.metadata["text_sha256"] == traces.metadata["text_sha256"].item()


def test_a_foreign_log_in_any_order(tmp_path):
    path = log(
        tmp_path / "t.jsonl",
        {"num_experts": 4, "model": "x"},
        line(8, [3, 1], 5, request="b", scores=[0.5, 0.25], extra="ignored"),
        line(7, [0, 1], 5, request="b", scores=[0.1, 0.2, 0.3, 0.4]),
        "",
        line(8, [2, 0], 1, request="b", scores=[0.5, 0.5]),
        line(7, [2, 1], 1, request="b", scores=[0.5, 0.5]),
    )
    trace = read_router_log(path, 4)
    assert trace.expert_order.tolist() == [[[[2, 1], [2, 0]], [[0, 1], [3, 1]]]]
    assert np.allclose(trace.gate_scores[0, 1], [[0.1, 0.2, 0.3, 0.4], [0, 0.25, 0, 0.5]])
    assert trace.metadata["model"] == "x"
    assert trace.metadata["first_token"].tolist() == [7]
    assert trace.layer_ids == (1, 5)
    write_router_log(trace, tmp_path / "again.jsonl")
    again = read_router_log(tmp_path / "again.jsonl")
    assert same(trace, again)
    assert again.metadata["first_token"].tolist() == [7]


def test_number_of_experts_may_come_from_the_caller(tmp_path):
    assert read_router_log(log(tmp_path / "t.jsonl", line()), num_experts=3).num_experts == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line()], "does not say how many experts"),
        ([HEADER], "holds no tokens"),
        ([HEADER, line(), HEADER], "line 3: the key 'experts' is missing"),
        ([HEADER, '{"layer": 0, "tok'], "line 2 is not JSON"),
        ([HEADER, "[1]"], "line 2 is not a JSON object"),
        ([HEADER, "[" * 5000], "line 2 is not JSON"),
        ([HEADER, "x" * (MAX_LINE + 1)], "line 2 is longer"),
        ([HEADER, line(), line()], "line 3: layer 0, token 0 appeared before"),
        ([HEADER, line(), line(2)], "lacks layer 0, token 1"),
        ([HEADER, line(), line(10**9)], "lacks layer 0, token 1"),
        ([HEADER, line(), line(1), line(1, layer=1)], "lacks layer 1, token 0"),
        ([HEADER, line(request="a"), line(request="b", layer=1)], "layers that the first request lacks"),
        ([HEADER, line(experts=[4])], "line 2: expert 4 lies outside 0 to 3"),
        ([HEADER, line(experts=[-1])], "outside"),
        ([HEADER, line(experts=[1, 1])], "appears twice"),
        ([HEADER, line(experts=[0.5])], "list of whole numbers"),
        ([HEADER, {**line(), "experts": 3}], "list of whole numbers"),
        ([HEADER, line(token=-1)], "'token' is -1"),
        ([HEADER, line(layer=1.5)], "'layer' is 1.5"),
        ([HEADER, {"token": 0, "experts": [1]}], "'layer' is None"),
        ([HEADER, line(scores=[0.1, 0.2])], "there are 2 scores"),
        ([HEADER, line(scores="high")], "list of numbers"),
        ([HEADER, line(scores=[float("nan")])], "NaN"),
        ([HEADER, line(scores=[10**400])], "beyond float32"),
        ([HEADER, line(scores=[1e300])], "line 2: 'scores' holds"),
        ([HEADER, '{"layer": 0, "token": ' + "9" * 5000 + "}"], "a number is too long"),
        ([HEADER, line(token=2**31)], "from 0 to 2147483647"),
        ([HEADER, line(scores=[0.5]), line(1)], "scores in some lines only"),
        ([{"num_experts": -1}, line()], "num_experts is -1"),
        ([{"num_experts": "4"}, line()], "num_experts is '4'"),
        ([{"num_experts": 10**12}, line()], "at most 1048576"),
        ([{"num_experts": 10**6}, *(line(token) for token in range(500))], "would take more than"),
        ([{"num_experts": 4, "prompt_tokens": [1, 2]}, line()], "prompt_tokens must have one entry"),
    ],
)
def test_faults_are_one_sentence(tmp_path, lines, message):
    with pytest.raises(TraceError, match=message) as caught:
        read_router_log(log(tmp_path / "bad.jsonl", *lines))
    assert "bad.jsonl" in str(caught.value) or "num_experts" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_faults(tmp_path):
    with pytest.raises(TraceError, match="is not a file"):
        read_router_log(tmp_path / "none.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="not UTF-8"):
        read_router_log(tmp_path / "binary.jsonl")
    with pytest.raises(TraceError, match="more than the 10 allowed"):
        read_router_log(log(tmp_path / "t.jsonl", HEADER, line()), max_bytes=10)
    with pytest.raises(TraceError, match="num_experts = 4, but 5"):
        read_router_log(log(tmp_path / "t.jsonl", HEADER, line()), 5)
    with pytest.raises(TraceError, match="cannot be written"):
        write_router_log(RoutingTrace.from_choices([[1]]), tmp_path / "none" / "t.jsonl")
