"""Router logits, JSON Lines, and which program wrote a log; the command that converts them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from log_samples import EXPERTS, MODEL, MOE, K, chosen, logits_of, padded, write
from typer.testing import CliRunner

from pimjax.cli.trace import trace_app
from pimjax.config.model import ModelConfig
from pimjax.errors import MissingExtraError, TraceError
from pimjax.trace import load_traces, open_traces, route


@pytest.mark.parametrize("log_format", ["transformers", "auto"])
def test_transformers_tuple_per_layer(tmp_path, log_format):
    logits = logits_of(10)
    path = write(tmp_path / "r.npz", **{f"router_logits_{i}": layer for i, layer in enumerate(logits)})
    trace = load_traces(path, format=log_format, model=MODEL)
    expected = route(logits, K, kind="softmax")
    assert np.array_equal(trace.expert_order[0], expected.expert_order)
    assert np.array_equal(trace.gate_scores[0], expected.gate_scores)
    assert trace.layer_ids == MOE


def test_transformers_layers_are_in_the_order_of_their_numbers(tmp_path):
    logits = np.random.default_rng(0).normal(size=(12, 4, EXPERTS)).astype(np.float32)
    path = write(tmp_path / "r.npz", **{f"router_logits_{i}": logits[i] for i in (10, 11, *range(10))})
    trace = load_traces(path, top_k=K)
    assert np.array_equal(trace.expert_order[0], route(logits, K).expert_order)


def test_transformers_padding_is_left_out(tmp_path):
    logits = logits_of(3 * 4)
    mask = np.array([[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 0]])
    path = write(tmp_path / "r.npz", router_logits=logits, attention_mask=mask)
    trace = load_traces(path, model=MODEL)
    assert trace.num_tokens.tolist() == [4, 2, 3]
    by_row = logits.reshape(3, 3, 4, EXPERTS)
    assert np.array_equal(trace.expert_order[1][:, :2], route(by_row[:, 1, 2:], K).expert_order)


def test_transformers_other_routers(tmp_path):
    logits = logits_of(10)
    bias = np.random.default_rng(1).normal(0, 0.3, EXPERTS).astype(np.float32)
    path = write(tmp_path / "r.npz", router_logits=logits, correction_bias=bias)
    trace = load_traces(path, model=MODEL, kind="sigmoid")
    expected = route(logits, K, kind="sigmoid", correction_bias=bias)
    assert np.array_equal(trace.expert_order[0], expected.expert_order)
    assert not np.array_equal(trace.expert_order[0], route(logits, K).expert_order)


def test_transformers_router_of_the_model(tmp_path):
    """The model's own section says how its router chooses: sigmoid, bias, groups."""
    model = SimpleNamespace(
        num_layers=5, num_moe_layers=MODEL.num_moe_layers, num_experts=8, top_k=2, routing="token_choice",
        is_moe_layer=MODEL.is_moe_layer,
        router_scoring="sigmoid", router_groups=4, router_groups_kept=2, router_correction="buffer",
    )  # fmt: skip
    logits, bias = logits_of(50), np.random.default_rng(1).normal(0, 0.3, 8).astype(np.float32)
    path = write(tmp_path / "r.npz", router_logits=logits, correction_bias=bias)
    expected = route(logits, K, kind="sigmoid", correction_bias=bias, num_groups=4, top_groups=2)
    assert np.array_equal(load_traces(path, model=model).expert_order[0], expected.expert_order)
    with pytest.raises(TraceError, match="adds a bias for choosing, and the log does not hold it"):
        load_traces(write(tmp_path / "s.npz", router_logits=logits), model=model)


def test_transformers_list_in_json_with_none_for_dense_layers(tmp_path):
    logits = logits_of(4)
    content = {"router_logits": [None, [], *logits.tolist()]}
    (tmp_path / "r.json").write_text(json.dumps(content))
    trace = load_traces(tmp_path / "r.json", model=MODEL)
    assert np.array_equal(trace.expert_order[0], route(logits, K).expert_order)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"router_logits": logits_of(4)[:2]}, "has 2 layers, but the model has 5"),
        ({"router_logits": logits_of(4)[..., :6]}, "has 6 experts but the model has 8"),
        ({"router_logits": logits_of(4), "attention_mask": np.ones((2, 3))}, "attention_mask has shape"),
        ({"router_logits": logits_of(4), "attention_mask": np.full((1, 4), 2)}, "must be 0 and 1"),
        ({"router_logits": logits_of(4) * np.nan}, "is nan"),
        ({"router_logits": logits_of(4).astype(int)}, "must be floats"),
        ({"router_logits": np.zeros((0, 3, 8))}, "is empty"),
        ({"router_logits": logits_of(4), "attention_mask": np.zeros((1, 4))}, "it holds no request"),
    ],
)
def test_transformers_refusals(tmp_path, arrays, message):
    with pytest.raises(TraceError, match=message):
        load_traces(write(tmp_path / "r.npz", **arrays), model=MODEL)


def test_transformers_needs_k(tmp_path):
    path = write(tmp_path / "r.npz", router_logits=logits_of(4))
    with pytest.raises(TraceError, match="does not say k"):
        load_traces(path)


def test_json_lines_by_other_names(tmp_path):
    ids = chosen(5)
    lines = [
        {
            "layer_id": MOE[layer],
            "position": token,
            "topk_ids": ids[layer, token].tolist(),
            "topk_weights": [0.75, 0.25],
        }
        for token in range(5)
        for layer in range(3)
    ]
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(json.dumps({**line, "rid": "q"}) for line in lines))
    trace = load_traces(path, model=MODEL)
    assert np.array_equal(trace.expert_order[0], ids)
    assert trace.layer_ids == MOE
    assert trace.metadata["request_names"].tolist() == ["q"]
    assert np.allclose(trace.gate_scores.sum(axis=-1), 1)
    assert np.array_equal(load_traces(path, num_experts=8).choices, trace.choices)


def test_json_lines_of_whole_passes(tmp_path):
    """A line per layer and pass, with the lists of its tokens."""
    ids = chosen(5)
    lines = [
        {"layer_idx": layer, "selected_experts": ids[layer, a:b].tolist()}
        for a, b in ((0, 3), (3, 5))
        for layer in range(3)
    ]
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join([json.dumps({"n_routed_experts": 8}), *map(json.dumps, lines)]))
    assert np.array_equal(load_traces(path).expert_order[0], ids)


def test_json_lines_must_fit_the_model(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"layer": 0, "token": 0, "experts": [1, 2]}))
    with pytest.raises(TraceError, match="1 layers but the model has 3 MoE layers of 5 layers"):
        load_traces(path, model=MODEL)
    assert load_traces(path, model=MODEL, allow=["repeat_layers"]).num_layers == 3


def test_an_array_without_a_name_is_not_guessed(tmp_path):
    np.save(tmp_path / "square.npy", chosen(5, 5))
    for options in ({"model": MODEL}, {"num_experts": 8}, {}):
        with pytest.raises(TraceError, match=r"several programs could have written: say --format vllm .*sglang"):
            load_traces(tmp_path / "square.npy", **options)
    np.save(tmp_path / "three.npy", chosen(3, 5))  # 5 layers x 3 tokens, or 5 tokens x 3 MoE layers
    with pytest.raises(TraceError, match="several programs"):
        load_traces(tmp_path / "three.npy", model=MODEL)
    path = write(tmp_path / "odd.npz", hello=np.zeros(3), world=np.zeros(3))
    with pytest.raises(TraceError, match=r"keys \['hello', 'world'\], which several programs"):
        load_traces(path, model=MODEL)


@pytest.mark.parametrize(
    "arrays",
    [
        {"logical_count": np.ones((3, 8), int)},
        {"global_physical_count": np.ones((4, 3, 8), int)},
        {"expert_counts": np.ones((3, 8), int)},
        {"olmoe_loads": np.ones((3, 8), int)},
    ],
)
@pytest.mark.parametrize("log_format", ["auto", "sglang", "vllm"])
def test_counts_are_no_routing(tmp_path, arrays, log_format):
    with pytest.raises(TraceError, match=r"only counts per layer and expert.*generator_parameters"):
        load_traces(write(tmp_path / "r.npz", **arrays), format=log_format, model=MODEL)


def test_counts_in_other_files(tmp_path):
    np.save(tmp_path / "r.npy", np.ones((3, 8), int))
    (tmp_path / "r.csv").write_text("layer,expert,count\n0,0,3\n")
    (tmp_path / "r.jsonl").write_text('{"layer_id": 0, "tokens_per_expert": [1, 2]}\n')
    (tmp_path / "r.json").write_text('{"records": [{"global_physical_count": [[1]]}]}')
    for name in ("r.npy", "r.csv", "r.jsonl", "r.json"):
        with pytest.raises(TraceError, match="only counts"):
            load_traces(tmp_path / name, model=MODEL)


@pytest.mark.parametrize("name", ["tensors.pt", "tensors.pth"])
def test_pytorch_files_need_pytorch(tmp_path, name):
    (tmp_path / name).write_bytes(b"nonsense")
    try:
        import torch  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match="torch"):
            load_traces(tmp_path / name, model=MODEL)
    else:
        with pytest.raises(TraceError, match="no PyTorch file of plain tensors"):
            load_traces(tmp_path / name, model=MODEL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tensorflow"}, "format is 'tensorflow': it must be one of auto, pimjax, jsonl, vllm"),
        ({"format": 3}, "format is 3"),
        ({"model": 5}, "model is 5: give a configuration"),
        ({"model": MODEL, "num_experts": 9}, "num_experts is 9, but the model has 8"),
        ({"model": MODEL, "top_k": 3}, "top_k is 3, but the model has 2"),
        ({"num_experts": -1}, "num_experts is -1"),
        ({"model": MODEL, "kind": "mean"}, "kind is 'mean'"),
        ({"model": ModelConfig(num_experts=0)}, "no layer with experts"),
        ({"model": MODEL, "max_bytes": 10}, "more than the 10 allowed"),
    ],
)
def test_bad_options(tmp_path, options, message):
    np.save(tmp_path / "r.npy", padded(chosen(7)))
    with pytest.raises(TraceError, match=message):
        load_traces(tmp_path / "r.npy", **options)


@pytest.mark.parametrize(
    "text", ["", "{", "[1", "[[[", "[" * 100_000, '{"a": NaN}', "12" * 5000, "\x00", '{"routed_experts": {}}']
)
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_damaged_json(tmp_path, text, ending):
    path = tmp_path / f"r.{ending}"
    path.write_text(text)
    for log_format in ("auto", "vllm", "sglang", "transformers", "jsonl"):
        with pytest.raises(TraceError):
            load_traces(path, format=log_format, model=MODEL)


@pytest.mark.parametrize("value", [[1, [2]], {"a": 1}, "text", [["a"]], [[[[1]]]], 5, [None], [[[2**70]]], True])
@pytest.mark.parametrize("key", ["routed_experts", "topk_ids_of_layer", "router_logits"])
def test_json_of_wrong_kinds(tmp_path, key, value):
    path = tmp_path / "r.json"
    path.write_text(json.dumps({key: value}))
    for log_format in ("auto", "vllm", "sglang", "transformers"):
        with pytest.raises(TraceError):
            load_traces(path, format=log_format, model=MODEL)


def test_convert_command(tmp_path):
    """DeepSeek-V2-Lite: 27 layers, of which the first is dense."""
    ids = chosen(6, 26, experts=64, k=6)
    log = np.moveaxis(np.concatenate([np.zeros((1, 6, 6), np.int32), ids]), 0, 1)
    source, output = tmp_path / "r.npy", tmp_path / "t.npz"
    np.save(source, log)
    arguments = ["convert", str(source), str(output), "--model", "deepseek_v2_lite"]
    done = CliRunner().invoke(trace_app, [*arguments, "--format", "vllm"])
    assert done.exit_code == 0, done.output
    assert "format: vllm" in done.output
    trace = open_traces(output)
    assert np.array_equal(trace.expert_order[0], ids)
    assert trace.layer_ids == tuple(range(1, 27))
    refused = CliRunner().invoke(trace_app, ["convert", str(source), str(output)])
    assert isinstance(refused.exception, TraceError) or refused.exit_code == 2
    two = CliRunner().invoke(trace_app, ["convert", str(output), str(tmp_path / "o.npz"), "--model", "gpt_oss_20b"])
    assert isinstance(two.exception, TraceError) or two.exit_code == 2
