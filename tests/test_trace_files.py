"""Trace files: what is written comes back, strangers' files do no harm, the real recordings load unchanged."""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimjax.errors import TraceError
from pimjax.trace import (
    RoutingTrace,
    expert_loads,
    load_imbalance,
    load_traces,
    read_router_log,
    shared_experts,
    stack_traces,
)
from pimjax.trace.npz import read_npz, write_npz


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


def same(first, second):
    return jax.tree.structure(first) == jax.tree.structure(second) and all(
        jax.tree.leaves(jax.tree.map(np.array_equal, first, second))
    )


@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.booleans(), st.booleans(), st.integers(0, 2**31))
def test_round_trip_of_stacked_requests(tmp_path_factory, lengths, ordered, scored, seed):
    generator = np.random.default_rng(seed)
    traces = []
    for length in lengths:
        scores = generator.random((2, length, 5), np.float32) if scored else None
        if ordered:
            ids = generator.random((2, length, 5)).argsort(axis=-1)[..., :2]
            traces.append(RoutingTrace.from_expert_ids(ids, 5, gate_scores=scores))
        else:
            traces.append(RoutingTrace.from_choices(generator.random((2, length, 5)) < 0.4, gate_scores=scores))
    path = tmp_path_factory.mktemp("trip") / "trace.npz"
    stacked = stack_traces(traces)
    stacked.save(path)
    assert same(load_traces(path), stacked)


def test_one_request_round_trip_keeps_notes(tmp_path):
    trace = RoutingTrace.from_expert_ids([[0, 2]], 3).with_metadata({"model": "tiny", "request_names": np.array(["a"])})
    trace.save(tmp_path / "one.npz")
    back = RoutingTrace.load(tmp_path / "one.npz")
    assert same(back, trace)
    assert back.metadata["model"].item() == "tiny"
    assert back.metadata["request_names"].tolist() == ["a"]


def test_equal_traces_give_equal_bytes(tmp_path):
    trace = RoutingTrace.from_expert_ids([[0, 2]], 3)
    trace.save(tmp_path / "a.npz")
    trace.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_scores_are_stored_as_float16_only_where_that_loses_nothing(tmp_path):
    for value, dtype in ((0.5, np.float16), (1 / 3, np.float32), (1e6, np.float32)):
        RoutingTrace.from_choices([[1]], gate_scores=[[value]]).save(tmp_path / "t.npz")
        assert read_npz(tmp_path / "t.npz")["gate_scores"].dtype == dtype
        assert load_traces(tmp_path / "t.npz").gate_scores.item() == np.float32(value)


def test_several_requests_are_never_one_long_sequence(tmp_path):
    ids = np.arange(6, dtype=np.uint8).reshape(1, 6, 1)
    path = write(tmp_path / "t.npz", expert_ids=ids, num_experts=6, request_offsets=[0, 2, 6])
    with pytest.raises(TraceError, match="load_traces"):
        RoutingTrace.load(path)
    traces = load_traces(path)
    assert traces.num_tokens.tolist() == [2, 4]
    assert traces.expert_order[0, 0, :, 0].tolist() == [0, 1, -1, -1]
    assert load_traces(path, max_tokens=3).choices.shape == (2, 1, 3, 6)
    assert load_traces(path, requests=1).num_tokens.tolist() == [4]
    assert load_traces(path, requests=[1, 0, 1]).num_tokens.tolist() == [4, 2, 4]


def test_unknown_keys_are_kept_as_metadata(tmp_path):
    path = write(tmp_path / "t.npz", choices=np.ones((1, 2, 2), bool), note="hello", extra=np.arange(3))
    loaded = load_traces(path)
    assert loaded.metadata["note"] == "hello"
    loaded.save(tmp_path / "again.npz")
    assert load_traces(tmp_path / "again.npz").metadata["extra"].tolist() == [0, 1, 2]


IDS = np.array([[[0, 1], [1, 2]]], np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"expert_ids": IDS}, "num_experts is missing"),
        ({"expert_ids": IDS, "num_experts": 2}, r"expert_ids\[0, 1, 1\] is 2"),
        ({"expert_ids": IDS[:, :, [0, 0]], "num_experts": 3}, "twice"),
        ({"expert_ids": IDS, "num_experts": 1}, "k = 2"),
        ({"expert_ids": IDS[0], "num_experts": 3}, "three axes"),
        ({"expert_ids": IDS.astype(float), "num_experts": 3}, "must be integers"),
        ({"expert_ids": IDS[:, :0], "num_experts": 3}, "empty"),
        ({"expert_ids": IDS, "num_experts": [3, 4]}, "one positive whole number"),
        ({"expert_ids": IDS, "num_experts": 3, "request_offsets": [0, 1]}, "request_offsets must rise"),
        ({"expert_ids": IDS, "num_experts": 3, "request_offsets": [0, 2, 2]}, "does not rise"),
        ({"expert_ids": IDS, "num_experts": 3, "request_offsets": [0.0, 2.0]}, "whole numbers"),
        ({"expert_ids": IDS, "num_experts": 3, "topk_weights": np.ones((1, 1, 2))}, "topk_weights has shape"),
        ({"expert_ids": IDS, "num_experts": 3, "gate_scores": np.full((1, 2, 3), np.nan)}, "nan"),
        ({"expert_ids": IDS, "num_experts": 3, "request_names": ["a", "b"]}, "has 1 requests"),
        ({"expert_ids": IDS, "num_experts": 3, "choices": np.zeros((1, 2, 3), bool)}, "disagree"),
        ({"expert_ids": IDS, "num_experts": 3, "schema_version": 2}, "schema_version is 2"),
        ({"choices": np.full((1, 2, 3), 2)}, "only 0 and 1"),
        ({"choices": np.zeros((1, 2, 3)), "num_experts": 4}, "choices has 3 experts"),
        ({"loads": np.ones(3)}, "no routing of tokens.*loads"),
    ],
)
def test_bad_files_are_one_sentence_that_names_the_file(tmp_path, arrays, message):
    path = write(tmp_path / "bad.npz", **arrays)
    for reader in (load_traces, RoutingTrace.load):
        with pytest.raises(TraceError, match=message) as caught:
            reader(path)
        assert "bad.npz" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("requests", "message"),
    [(5, "request 5"), ([], "empty"), ("b", "names are 'a'"), ([0.5], "neither"), (-2, "request -2")],
)
def test_bad_selection(tmp_path, requests, message):
    path = write(tmp_path / "t.npz", expert_ids=IDS, num_experts=3, request_names=["a"])
    with pytest.raises(TraceError, match=message):
        load_traces(path, requests)


@pytest.mark.parametrize("max_tokens", [0, -1, 1.5, float("nan"), "a"])
def test_bad_max_tokens(tmp_path, max_tokens):
    path = write(tmp_path / "t.npz", expert_ids=IDS, num_experts=3)
    with pytest.raises(TraceError, match="max_tokens"):
        load_traces(path, max_tokens=max_tokens)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(TraceError, match="is not a file"):
        load_traces(tmp_path / "none.npz")
    with pytest.raises(TraceError, match="is not a file"):
        load_traces(tmp_path)
    for read in (load_traces, RoutingTrace.load, read_router_log):
        with pytest.raises(TraceError, match="None is no path: give the path of"):
            read(None)
    with pytest.raises(TraceError, match="cannot be written"):
        RoutingTrace.from_choices([[1]]).save(tmp_path / "none" / "t.npz")


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_file(tmp_path, kept):
    path = tmp_path / "t.npz"
    RoutingTrace.from_expert_ids(np.arange(300).reshape(1, 100, 3) % 7, 7).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(TraceError, match="truncated or damaged"):
        load_traces(path)


def test_every_flipped_byte_is_an_error_or_harmless(tmp_path):
    path = tmp_path / "t.npz"
    trace = RoutingTrace.from_expert_ids([[0, 2], [1, 0]], 3)
    trace.save(path)
    data = bytearray(path.read_bytes())
    for position in range(len(data)):
        data[position] ^= 0xFF
        path.write_bytes(data)
        with contextlib.suppress(TraceError):
            assert same(load_traces(path), stack_traces([trace]))
        data[position] ^= 0xFF


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_pickles_are_refused_without_being_read(tmp_path):
    path = tmp_path / "evil.npz"
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("expert_ids.npy", stream.getvalue() + pickle.dumps(_Bomb()))
    with pytest.raises(TraceError, match="unpickling can run code"):
        load_traces(path)
    with pytest.raises(TraceError, match="cannot be stored"):
        RoutingTrace.from_choices([[1]]).with_metadata({"what": object()}).save(tmp_path / "t.npz")


def test_sizes_are_checked_before_memory_is_asked_for(tmp_path):
    path = tmp_path / "huge.npz"
    write_npz(path, {"choices": np.zeros((1, 2000, 100), bool)})
    assert path.stat().st_size < 2000
    with pytest.raises(TraceError, match="more than the 100,000 allowed"):
        load_traces(path, max_bytes=100_000)
    claims = io.BytesIO()
    np.lib.format.write_array_header_1_0(claims, {"descr": "|u1", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("expert_ids.npy", claims.getvalue())
    with pytest.raises(TraceError, match="claims 1099511627776 bytes"):
        load_traces(path)


def test_padding_of_one_long_request_is_limited(tmp_path):
    offsets = np.concatenate([[0], np.arange(1, 1000), [3000]])
    ids = np.zeros((1, 3000, 1), np.uint8)
    path = write(tmp_path / "t.npz", expert_ids=ids, num_experts=64, request_offsets=offsets)
    with pytest.raises(TraceError, match="pass requests= or max_tokens="):
        load_traces(path, max_bytes=10_000_000)
    assert load_traces(path, max_tokens=2, max_bytes=10_000_000).choices.shape == (1000, 1, 2, 64)


def test_reserved_metadata_key_is_refused(tmp_path):
    with pytest.raises(TraceError, match="reserved"):
        RoutingTrace.from_choices([[1]]).with_metadata({"choices": 1}).save(tmp_path / "t.npz")


def test_fortran_ordered_arrays_load(tmp_path):
    ids = np.asfortranarray(np.arange(12).reshape(2, 3, 2))
    path = write(tmp_path / "t.npz", expert_ids=ids, num_experts=12)
    assert np.array_equal(load_traces(path).expert_order[0], ids)


def test_gpt_oss_loads_as_57_requests(trace_folder):
    traces = load_traces(trace_folder / "gptoss20b-decode.npz")
    assert traces.choices.shape == (57, 24, 511, 32)
    assert (np.asarray(traces.choices).sum(axis=-1) == 4).all()
    assert traces.num_tokens.tolist() == [511] * 57
    assert traces.metadata["prompt_tokens"].min() == 124
    loads = expert_loads(traces)
    # PROVENANCE.md: imbalance over all tokens, and of single requests.
    total = load_imbalance(loads.sum(axis=0))
    assert np.percentile(total, [0, 50, 100]).round(2).tolist() == [2.02, 2.79, 4.44]
    single = np.median(load_imbalance(loads), axis=1)
    assert [round(float(x), 2) for x in (single.min(), np.median(single), single.max())] == [3.82, 4.67, 5.99]
    assert round(float(load_imbalance(loads).max()), 2) == 7.95
    assert 1.7 < shared_experts(traces).mean() < 1.9


def test_other_recordings_load(trace_folder):
    scores = load_traces(trace_folder / "gptoss20b-decode-scores.npz", requests=[0, 11], max_tokens=50)
    assert scores.choices.shape == (2, 24, 50, 32)
    assert np.allclose(scores.gate_scores.sum(axis=-1), 1, atol=4e-3)
    assert ((scores.gate_scores > 0) <= scores.choices).all()
    switch = load_traces(trace_folder / "switch-base-8-encoder.npz")
    assert switch.choices.shape == (10, 6, 28, 8)
    assert switch.num_tokens.tolist() == [21, 26, 17, 28, 19, 16, 19, 21, 25, 23]
    with pytest.raises(TraceError, match="no routing of tokens"):
        load_traces(trace_folder / "olmoe-mixtral-loads.npz")
