"""Every public function of pimjax.trace with wrong arguments: one sentence of a PimjaxError, never another exception."""

from __future__ import annotations

import pickle
import time
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pimjax.trace as api
from pimjax.config.model import ModelConfig
from pimjax.errors import PimjaxError, TraceError, shown
from pimjax.trace import RoutingTrace, generator_parameters

TRACE = RoutingTrace.from_expert_ids([[0, 1], [1, 2], [2, 3]], 4)
STACK = api.stack_traces([TRACE, TRACE])
PARAMETERS = generator_parameters(np.zeros((1, 4)), 2)
KEY = jax.random.key(0)
MODEL = ModelConfig(num_experts=4, top_k=2)
LONG = "x" * 400_000

#: No trace at all, or arrays that are none.
TRACES = [None, "trace.npz", 3, {}, [TRACE], object(), np.zeros((2, 2)), TRACE.replace(choices=np.zeros(3)),
          TRACE.replace(num_tokens=np.zeros(4)), TRACE.replace(choices=np.zeros((0, 2, 2)))]  # fmt: skip
WHOLES = [0, -1, 1.5, "2", None, True, np.nan, 2**31, 2**70, [1], object()]
PATHS = [None, 3, b"bytes\xff", "a\0b", "x" * 5000, "/" + "d/" * 3000, object(), ["a"], "", "missing/file.npz"]
SCORES = [
    None,
    "abc",
    3,
    [[1, 2], [1]],
    [["a"]],
    np.zeros((2, 2, 2, 2)),
    np.zeros((0, 4)),
    [[True, False]],
    object(),
    {},
]
KEYS = [None, 0, "key", np.zeros(3), jnp.zeros(2), [KEY], object(), jax.random.split(KEY, (2, 2))]
NUMBERS = [None, "a", object(), [1, 2, 3], np.nan, np.inf, -2.0, 1e30, {}]
WORDS = [None, 3, "no such", [], {}, b"growing", object(), LONG]
REQUESTS = ["zz", 99, -99, 1.5, [], [None], [[0]], {0: 1}, object(), [True], LONG, 2**70]

#: Function -> arguments that are right, and wrong values for some of them, one at a time.
CALLS: dict[str, tuple[dict, dict]] = {
    "causal_expert_choice": ({"scores": np.zeros((3, 4), np.float32), "top_k": 1},
        {"scores": SCORES, "top_k": [*WHOLES[:4], "a", None], "prompt_tokens": [-1, 0.5, "a"], "num_tokens": [-1, "a"], "rule": WORDS}),
    "check_trace": ({"trace": TRACE, "config": MODEL}, {"trace": TRACES, "config": [None, 3, "name"], "allow": [None, "any_top_k", [3], [[]]]}),
    "coactivation": ({"trace": TRACE}, {"trace": TRACES}),
    "coactivation_excess": ({"trace": TRACE}, {"trace": TRACES}),
    "default_trace": ({}, {"router": WORDS}),
    "default_trace_path": ({}, {"router": WORDS}),
    "default_traces": ({}, {"router": WORDS, "requests": [*REQUESTS[1:], 12], "max_tokens": [v for v in WHOLES if v is not None and v not in (2**31, 2**70)]}),
    "dirichlet_popularity": ({"key": KEY, "num_layers": 1, "num_experts": 4, "concentration": 1.0},
        {"key": KEYS, "num_layers": WHOLES, "num_experts": WHOLES, "concentration": [*NUMBERS, 0.0]}),
    "expert_capacity": ({"num_tokens": 3, "num_experts": 4, "top_k": 1},
        {"num_tokens": [-1, 1.5, "a", None, 2**40, object(), [[1], [1, 2]]], "num_experts": WHOLES[:5], "top_k": WHOLES[:5], "rule": [*WORDS, "fixed"]}),
    "expert_choice": ({"scores": np.zeros((3, 4), np.float32), "capacity": 1}, {"scores": SCORES, "capacity": [-1, 1.5, "a", None], "num_tokens": [-1, "a"]}),
    "expert_loads": ({"trace": TRACE}, {"trace": TRACES}),
    "find_trace": ({"source": "token_choice"}, {"source": [*PATHS, "file.txt", "folder", ".", LONG]}),
    "fit_generator": ({"trace": TRACE, "iterations": 1},
        {"trace": [*TRACES, RoutingTrace.from_choices([[1, 0], [1, 1]]), RoutingTrace.from_choices([[1, 1]])], "seed": [-1, 1.5, "a", 2**64], "iterations": WHOLES, "progress": [3, "f"]}),
    "fit_trace": ({"trace": TRACE, "config": MODEL}, {"trace": TRACES, "config": [None, 3, "name"], "allow": [None, "any_top_k", [3], [[]]]}),
    "gate_scores": ({"logits": np.zeros((1, 4), np.float32)}, {"logits": [None, "abc", 3, [[1, 2], [1]], [["a"]], np.float32(1), np.zeros((3, 0)), object(), {}]}),
    "generate_from_parameters": ({"parameters": PARAMETERS, "keys": jax.random.split(KEY, 2), "tokens": 3},
        {"parameters": [None, 3, "a", {}, TRACE], "keys": [None, KEY, 3, "a"], "tokens": WHOLES, "notes": [3, "a", {1: 2}]}),
    "generate_traces": ({"kind": "zipf", "tokens": 4},
        {"kind": WORDS, "requests": WHOLES, "layers": WHOLES, "tokens": WHOLES, "experts": WHOLES, "top_k": [*WHOLES, 17], "seed": [-1, 1.5, "a", None, 2**64],
         "exponent": NUMBERS, "persistence": [*NUMBERS, 1.0], "request_spread": NUMBERS, "nonsense": [1]}),
    "generator_parameters": ({"popularity": np.zeros((1, 4)), "top_k": 2},
        {"popularity": [None, "a", 3, [[1], [1, 2]], np.full((1, 4), np.nan), np.zeros((0, 4)), object()], "top_k": [*WHOLES, 5],
         "request_spread": NUMBERS, "persistence": [*NUMBERS, 1.0, [0.1, 0.2]]}),
    "load_generator": ({"path": "p"}, {"path": PATHS}),
    "load_imbalance": ({"loads": [1, 2]}, {"loads": [None, "a", [[1], [1, 2]], object(), 3, [], [np.nan], [-1], {}]}),
    "load_traces": ({"path": api.default_trace_path()},
        {"path": PATHS, "requests": REQUESTS, "max_tokens": [0, -1, 1.5, "2", [1]], "format": WORDS, "model": [3, object(), MODEL], "max_bytes": [0, -1, "a", None, 1.5]}),
    "open_traces": ({"source": "token_choice"}, {"source": [*PATHS, "file.txt", LONG], "requests": REQUESTS, "max_tokens": [0, -1, "2"]}),
    "read_router_log": ({"path": "p"}, {"path": PATHS}),
    "round_to_float16": ({"scores": np.zeros(3, np.float32)}, {"scores": [None, "abc", 3, [[1, 2], [1]], [["a"]], [True], object(), {}]}),
    "route": ({"gate_scores": np.full((3, 4), 0.25), "top_k": 2},
        {"gate_scores": [*SCORES, np.zeros((2, 2), int), np.full((3, 4), np.inf), np.full((3, 4), 1e300), np.zeros((3, 4), complex)], "top_k": [*WHOLES, 5], "router": WORDS, "kind": WORDS,
         "num_tokens": [v for v in WHOLES if v is not None], "capacity_rule": WORDS, "correction_bias": ["a", [1], [[1.0], [1.0, 2.0]], object()],
         "num_groups": WHOLES, "top_groups": [v for v in WHOLES if v is not None], "prompt_tokens": [1, "a"]}),
    "save_generator": ({"path": "p", "parameters": PARAMETERS}, {"parameters": [None, 3, "a", {}, TRACE], "path": PATHS[:6]}),
    "save_traces": ({"trace": TRACE, "path": "p"}, {"trace": TRACES, "path": PATHS[:6]}),
    "select_requests": ({"trace": STACK, "requests": [0]}, {"trace": TRACES, "requests": REQUESTS}),
    "shared_experts": ({"trace": TRACE}, {"trace": TRACES, "lag": WHOLES}),
    "stack_traces": ({"traces": [TRACE]},
        {"traces": [None, 3, "ab", [], {}, TRACE, [TRACE, 3], [STACK], [TRACE, RoutingTrace.from_choices([[1, 0]])], [TRACE, RoutingTrace.from_expert_ids([[0]], 4)]]}),
    "synthesize_expert_choice": ({"key": KEY, "parameters": PARAMETERS, "num_tokens": 3, "prompt_tokens": 2},
        {"key": KEYS, "parameters": [None, 3, TRACE], "num_tokens": WHOLES, "prompt_tokens": [0, -1, "a", 1.5], "rule": WORDS}),
    "synthesize_paper": ({"key": KEY, "num_tokens": 3}, {"key": KEYS, "num_tokens": WHOLES, "num_layers": WHOLES, "parameters": [3, PARAMETERS]}),
    "synthesize_token_choice": ({"key": KEY, "parameters": PARAMETERS, "num_tokens": 3}, {"key": KEYS, "parameters": [None, 3, TRACE], "num_tokens": WHOLES}),
    "synthetic_logits": ({"key": KEY, "parameters": PARAMETERS, "num_tokens": 3},
        {"key": KEYS, "parameters": [None, 3, TRACE, PARAMETERS.replace(persistence=np.zeros(3)), PARAMETERS.replace(top_k=9)], "num_tokens": WHOLES}),
    "token_choice": ({"scores": np.zeros((3, 4), np.float32), "top_k": 1}, {"scores": SCORES, "top_k": [*WHOLES, 5], "num_tokens": [-1, "a", 1.5]}),
    "trace_statistics": ({"trace": TRACE}, {"trace": TRACES}),
    "write_router_log": ({"trace": TRACE, "path": "p"}, {"trace": TRACES, "path": PATHS[:6]}),
    "zipf_popularity": ({"key": KEY, "num_layers": 1, "num_experts": 4, "exponent": 1.0},
        {"key": KEYS, "num_layers": WHOLES, "num_experts": WHOLES, "exponent": NUMBERS}),
    # methods and classes
    "RoutingTrace.from_choices": ({"choices": [[0, 1]]},
        {"choices": [None, "a", 3, [[0], [0, 1]], [[2]], [[0.5]], [["a"]], [[np.nan]], np.zeros((0, 2)), np.zeros((2, 2, 2, 2)), object(), {1}],
         "num_tokens": [0, 2, -1, "1", 1.5, True], "gate_scores": [3, "a", [[0.5]], [[1, 2]], [[np.nan, 0.5]], [[1.0], [2.0, 3.0]]], "metadata": [3, "a", {1: 2}], "layer_ids": [3, "a", [1, 2], [-1], [0.5]]}),
    "RoutingTrace.from_expert_ids": ({"expert_ids": [[0, 1]], "num_experts": 4},
        {"expert_ids": [None, "a", 3, [[0], [0, 1]], [[0, 0]], [[-1, 0]], [[4, 0]], [[0.5, 1]], [["a"]], [[2**70, 1]], np.zeros((1, 0)), object(), [[0, 1, 2, 3, 0]]],
         "num_experts": [v for v in WHOLES], "topk_weights": [3, "a", [[0.5]], [[1, 2]], [[np.nan, 0.5]]], "num_tokens": [0, 2, -1, "1"]}),
    "RoutingTrace.load": ({"path": "p"}, {"path": PATHS}),
    "TraceMetadata": ({}, {"entries": [3, "a", ["a"], object(), {1: 2}, {None: 1}, 1.5, b"x"]}),
    "TraceMetadata().select": ({"requests": [0]}, {"requests": ["a", None, object(), [[1], [1, 2]], [2**70], 1.5j, {}, [None]]}),
    "STACK.request": ({"index": 0}, {"index": [2, -3, "a", None, 1.5, True, 2**70, [0]]}),
    "STACK.trim": ({}, {"max_tokens": [0, -1, "a", 1.5, True, [1], np.nan, object()]}),
    "STACK.with_metadata": ({"metadata": {}}, {"metadata": [3, "a", ["a"], object(), {1: 2}, {None: 1}, 1.5, b"x"]}),
}  # fmt: skip
#: Public names that are no functions, or take no arguments.
NO_CALLS = {"ALLOWANCES", "CAPACITY_RULES", "GENERATORS", "RECORDED_ROUTERS", "ROUTERS", "SCORE_KINDS", "LOG_FORMATS", "trace_folder",
            "GeneratorFit", "GeneratorParameters", "RoutingTrace", "TokenChoice", "TraceStatistics", "capture"}  # fmt: skip


def function(name):
    match name.split("."):
        case ["RoutingTrace", method]:
            return getattr(RoutingTrace, method)
        case ["TraceMetadata()", method]:
            return getattr(api.TraceMetadata({"request_names": ["a"]}), method)
        case ["STACK", method]:
            return getattr(STACK, method)
    return getattr(api, name)


def test_every_public_function_is_in_the_table():
    assert set(api.__all__) - NO_CALLS <= set(CALLS)
    for name, (_, wrong) in CALLS.items():
        assert sum(map(len, wrong.values())) >= 8, name


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments_are_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    right, wrong = CALLS[name]
    for argument, values in wrong.items():
        for value in values:
            start = time.perf_counter()
            try:
                result = function(name)(**{**right, argument: value})
            except PimjaxError as error:
                text = str(error)
                assert "\n" not in text, (argument, shown(value))
                assert len(text) < 900, (argument, shown(value), text[:300])
            except Exception as error:
                pytest.fail(f"{argument}={shown(value)}: {type(error).__name__}: {str(error)[:300]}")
            else:
                pytest.fail(f"{argument}={shown(value)} was accepted: {shown(result)}")
            assert time.perf_counter() - start < 5, (argument, shown(value))


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_no_reader_executes_what_it_reads(tmp_path):
    data = pickle.dumps(_Bomb())
    for ending in ("npz", "npy", "json", "jsonl", "pt", "csv", "pkl", ""):
        path = tmp_path / f"evil.{ending}"
        path.write_bytes(data)
        with pytest.raises(PimjaxError):
            api.load_traces(path, model=MODEL)
    np.save(tmp_path / "object.npy", np.array([_Bomb()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "object.npz", routed_experts=np.array([_Bomb()], dtype=object))
    for name in ("object.npy", "object.npz"):
        for log_format in ("auto", "vllm", "sglang", "transformers", "pimjax"):
            with pytest.raises(TraceError, match=r"unpickling can run code|\.npz file"):
                api.load_traces(tmp_path / name, model=MODEL, format=log_format)


@pytest.mark.parametrize("kept", [0, 1, 6, 40, 90, 127, 128, 200])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_truncated_logs(tmp_path, ending, kept):
    whole = tmp_path / f"whole.{ending}"
    ids = np.arange(80, dtype=np.int32).reshape(5, 4, 4) % 4
    np.save(whole, ids) if ending == "npy" else np.savez(whole, routed_experts=ids)
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(whole.read_bytes()[:kept])
    for log_format in ("auto", "vllm", "sglang"):
        with pytest.raises(TraceError, match="truncated or damaged"):
            api.load_traces(path, model=MODEL, format=log_format)


def test_arrays_that_claim_to_be_huge(tmp_path):
    with (tmp_path / "huge.npy").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<i4", "fortran_order": False, "shape": (2**40, 4, 4)})
    with pytest.raises(TraceError, match="claims"):
        api.load_traces(tmp_path / "huge.npy", format="vllm", model=MODEL)
    with pytest.raises(TraceError, match="more than the 2,147,483,647"):
        RoutingTrace.from_expert_ids(np.zeros((4, 1000, 1), np.int8), 2**20)
    with pytest.raises(TraceError, match="held at once"):
        api.generate_traces("uniform", requests=10**6, tokens=10**6)
    with pytest.raises(TraceError, match="shorter requests"):
        api.generate_traces("expert_choice", tokens=10**5)


def test_long_lines_and_members_of_odd_names(tmp_path):
    (tmp_path / "long.jsonl").write_text('{"layer": 0, "token": 0, "experts": [' + "1," * 200_000 + "1]}")
    with pytest.raises(TraceError) as caught:
        api.load_traces(tmp_path / "long.jsonl", num_experts=4)
    assert len(str(caught.value)) < 900
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("\x1b[31mred.npy", b"nonsense")
    with pytest.raises(TraceError) as caught:
        api.load_traces(tmp_path / "odd.npz", model=MODEL)
    assert "\x1b" not in str(caught.value)


def test_shown_cuts_and_escapes():
    assert shown("a" * 1000).endswith("...'")
    assert len(shown("a" * 1000)) == 200
    assert shown("\x1b[31m\n\u202e") == r"'\x1b[31m\n\u202e'"
    assert shown([1] * 10**6).endswith("...]")
    assert shown(np.float32(0.5)) == "0.5"
    assert "\n" not in shown(np.zeros((50, 50)))

    class Rude:
        def __repr__(self):
            raise RuntimeError("no")

    assert shown(Rude()).startswith(("a Rude", "<Rude"))
