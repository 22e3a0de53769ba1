"""Routing logs of other programs: the layouts as they are written, and everything that could be taken for another."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import pimjax
from pimjax.cli.trace import trace_app
from pimjax.config.model import ModelConfig
from pimjax.errors import MissingExtraError, TraceError
from pimjax.trace import load_traces, open_traces, route

EXPERTS, K = 8, 2
MODEL = ModelConfig(num_experts=EXPERTS, top_k=K, num_layers=5, first_dense_layers=2)  # experts in layers 2, 3, 4
MOE = (2, 3, 4)


def chosen(tokens, layers=3, seed=0, experts=EXPERTS, k=K):
    """Ids [layers, tokens, k]."""
    rng = np.random.default_rng(seed)
    return np.stack([[rng.permutation(experts)[:k] for _ in range(tokens)] for _ in range(layers)]).astype(np.int32)


def with_dense(ids, fill):
    """The same with the model's two dense layers before."""
    return np.concatenate([np.full((2, *ids.shape[1:]), fill, ids.dtype), ids])


def write(path, **arrays):
    np.savez(path, **arrays)
    return path


# vLLM ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_format", ["vllm", "auto"])
def test_vllm_all_layers_with_zeros(tmp_path, log_format):
    ids = chosen(7)
    np.save(tmp_path / "r.npy", np.moveaxis(with_dense(ids, 0), 0, 1))
    trace = load_traces(tmp_path / "r.npy", format=log_format, model=MODEL)
    assert np.array_equal(trace.expert_order[0], ids)
    assert trace.layer_ids == MOE
    assert trace.num_experts == EXPERTS


def test_vllm_passes_of_a_48_layer_model(tmp_path):
    """20 tokens, 48 layers, k = 8: 7,680 expert passes, once taken for 18,432."""
    ids = chosen(20, 48, experts=128, k=8)
    np.save(tmp_path / "r.npy", np.moveaxis(ids, 0, 1))
    trace = load_traces(tmp_path / "r.npy", format="vllm", model=pimjax.load_config("qwen3_30b_a3b")).request(0)
    assert trace.choices.shape == (48, 20, 128)
    assert trace.choices.sum() == 20 * 48 * 8


def test_vllm_moe_layers_only(tmp_path):
    ids = chosen(7)
    path = write(tmp_path / "r.npz", routed_experts=np.moveaxis(ids, 0, 1))
    assert np.array_equal(load_traces(path, model=MODEL).expert_order[0], ids)


def test_vllm_several_requests_in_one_archive(tmp_path):
    first, second = chosen(7), chosen(4, seed=1)
    path = write(
        tmp_path / "r.npz", a=np.moveaxis(with_dense(first, 0), 0, 1), b=np.moveaxis(with_dense(second, 0), 0, 1)
    )
    trace = load_traces(path, ["b"], format="vllm", model=MODEL)
    assert np.array_equal(trace.expert_order[0], second)
    assert load_traces(path, format="vllm", model=MODEL, max_tokens=3).num_tokens.tolist() == [3, 3]


def test_vllm_responses_in_json_lines(tmp_path):
    ids = np.moveaxis(with_dense(chosen(9), 0), 0, 1)
    lines = [
        {"id": "one", "prompt_routed_experts": ids[:5].tolist(), "choices": [{"routed_experts": ids[5:].tolist()}]},
        {"request_id": 7, "outputs": [{"routed_experts": ids.tolist()}]},
        {"rid": "x", "meta_info": {"routed_experts": base64.b64encode(ids.astype("<i4").tobytes()).decode()}},
    ]
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    trace = load_traces(path, model=MODEL)
    assert trace.metadata["request_names"].tolist() == ["one", "7", "x"]
    for request in range(3):
        assert np.array_equal(trace.expert_order[request], np.moveaxis(ids, 0, 1)[2:])
    (tmp_path / "one.json").write_text(json.dumps(lines[0]))
    assert load_traces(tmp_path / "one.json", model=MODEL).num_tokens.tolist() == [9]


def test_vllm_tokens_whose_pass_did_not_run(tmp_path):
    ids = with_dense(chosen(7), 0)
    ids[:, 5:] = 0
    np.save(tmp_path / "r.npy", np.moveaxis(ids, 0, 1))
    trace = load_traces(tmp_path / "r.npy", format="vllm", model=MODEL)
    assert trace.num_tokens.tolist() == [5]
    assert trace.metadata["tokens_left_out"].tolist() == [2]


def vllm_array(change):
    ids = np.moveaxis(with_dense(chosen(7), 0), 0, 1)
    return change(ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: np.moveaxis(a, 1, 0), "here the layers come first; say --format sglang"),
        (lambda a: a[:, :4], "has 4 layers, but the model has 5, of which 3 have experts"),
        (lambda a: a[..., :1], "has 1 experts per token but the model's top_k is 2"),
        (lambda a: a[:, [2, 3, 4, 0, 1]], r"has experts in layer 0 \(token 0\), which has none"),
        (lambda a: a.astype(float), "is float64 of shape"),
        (lambda a: a * 0, "zeros only"),
        (lambda a: a[0], "only counts"),
        (lambda a: np.where(a > 0, a + EXPERTS, a), "ids must lie between 0 and num_experts - 1 = 7"),
        (lambda a: np.where(np.arange(7)[:, None, None] == 3, 0, a), "an expert appears twice"),
        (lambda a: np.where(a > 0, a, -1), "which has none in the model"),
    ],
)
def test_vllm_refusals(tmp_path, change, message):
    np.save(tmp_path / "r.npy", vllm_array(change))
    with pytest.raises(TraceError, match=message):
        load_traces(tmp_path / "r.npy", format="vllm", model=MODEL)


def test_vllm_needs_the_model(tmp_path):
    np.save(tmp_path / "r.npy", vllm_array(lambda a: a))
    with pytest.raises(TraceError, match=r"does not say which layers have experts.*give the model"):
        load_traces(tmp_path / "r.npy", format="vllm", num_experts=8, top_k=2)


# SGLang ----------------------------------------------------------------------------------------------------------------


def padded(ids, columns=8):
    """As the recorder stores them: -1 in dense layers and unused columns."""
    wide = np.full((*ids.shape[:2], columns), -1, np.int32)
    wide[..., : ids.shape[2]] = ids
    return with_dense(wide, -1)


@pytest.mark.parametrize("log_format", ["sglang", "auto"])
def test_sglang_layers_first_with_padding(tmp_path, log_format):
    ids = chosen(7)
    path = write(tmp_path / "r.npz", topk_ids_of_layer=padded(ids))
    trace = load_traces(path, format=log_format, model=MODEL)
    assert np.array_equal(trace.expert_order[0], ids)
    assert trace.layer_ids == MOE
    np.save(tmp_path / "r.npy", padded(ids))
    assert np.array_equal(load_traces(tmp_path / "r.npy", format=log_format, model=MODEL).expert_order[0], ids)


def test_sglang_without_model(tmp_path):
    ids = chosen(7)
    path = write(tmp_path / "r.npz", topk_ids_of_layer=padded(ids))
    assert load_traces(path, num_experts=EXPERTS).layer_ids == MOE  # dense layers are -1
    with pytest.raises(TraceError, match="does not say the number of experts"):
        load_traces(path)


def test_sglang_replicated_experts(tmp_path):
    """Ten physical experts hold eight logical ones; each layer has its own map."""
    rng = np.random.default_rng(3)
    mapping = np.stack([np.concatenate([rng.permutation(8), rng.permutation(8)[:2]]) for _ in range(5)])
    physical = chosen(7, experts=8, seed=4)
    physical = np.where((physical == 0) & (np.arange(7) % 2 == 0)[None, :, None], 8, physical)
    logical = np.stack([mapping[2 + layer][physical[layer]] for layer in range(3)])
    keep = (logical[..., 0] != logical[..., 1]).all(axis=0)
    physical, logical = physical[:, keep], logical[:, keep]
    assert (physical == 8).any()
    inside = write(tmp_path / "in.npz", topk_ids_of_layer=padded(physical), last_physical_to_logical_map=mapping)
    assert np.array_equal(load_traces(inside, model=MODEL).expert_order[0], logical)
    alone = write(tmp_path / "alone.npz", topk_ids_of_layer=padded(physical))
    with pytest.raises(TraceError, match="give the physical-to-logical map"):
        load_traces(alone, model=MODEL)
    np.save(tmp_path / "map.npy", mapping)
    for given in (mapping, tmp_path / "map.npy", mapping[2:]):
        trace = load_traces(alone, model=MODEL, physical_to_logical=given)
        assert np.array_equal(trace.expert_order[0], logical)
    for wrong, message in (
        (mapping[:, :4], "has only 4 experts"),
        (mapping[:4], "has 4 layers"),
        (mapping * 1.0, "must hold whole numbers"),
        (mapping + 5, "does the map belong to this model"),
    ):
        with pytest.raises(TraceError, match=message):
            load_traces(alone, model=MODEL, physical_to_logical=wrong)


def test_sglang_fused_shared_expert_is_no_routed_one(tmp_path):
    ids = chosen(7)
    fused = np.concatenate([ids, np.full((3, 7, 1), EXPERTS, np.int32)], axis=2)
    path = write(tmp_path / "r.npz", topk_ids_of_layer=padded(fused))
    assert np.array_equal(load_traces(path, model=MODEL).expert_order[0], ids)


def test_sglang_passes_become_requests(tmp_path):
    """Two prompts in one pass, then two decode passes of both, with a padded token in the last."""
    whole = {name: chosen(n + 2, seed=n) for name, n in (("a", 3), ("b", 4))}
    prompt = np.concatenate([whole["a"][:, :3], whole["b"][:, :4]], axis=1)
    steps = [np.stack([whole["a"][:, 3 + i], whole["b"][:, 4 + i]], axis=1) for i in range(2)]
    steps[1] = np.concatenate([steps[1], np.full((3, 1, K), -1, np.int32)], axis=1)
    records = [
        {"positions": [0, 1, 2, 0, 1, 2, 3], "extend_seq_lens": [3, 4], "topk_ids_of_layer": padded(prompt).tolist()},
        {"positions": [3, 4], "extend_seq_lens": None, "topk_ids_of_layer": padded(steps[0]).tolist()},
        {"positions": [4, 5, 0], "extend_seq_lens": None, "topk_ids_of_layer": padded(steps[1]).tolist()},
    ]
    (tmp_path / "r.json").write_text(json.dumps({"records": records}))
    trace = load_traces(tmp_path / "r.json", model=MODEL)
    assert trace.num_tokens.tolist() == [5, 6]
    for request, name in enumerate("ab"):
        assert np.array_equal(trace.expert_order[request][:, : whole[name].shape[1]], whole[name])
    assert trace.metadata["tokens_left_out"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: np.moveaxis(a, 1, 0), "here the tokens come first; say --format vllm"),
        (lambda a: a[:4], "has 4 layers, but the model has 5"),
        (lambda a: np.full_like(a, -1), "it holds no request"),
        (lambda a: np.concatenate([a[2:], a[:2]]), "has experts in layer 0, which has none"),
        (lambda a: a[..., :1], "has 1 experts for token 0 in layer 2, but a token of this model visits 2"),
        (lambda a: np.where(np.arange(5)[:, None, None] == 3, -1, a), "has 0 experts for token 0 in layer 3"),
        (lambda a: a * 1.5, "is float64"),
    ],
)
def test_sglang_refusals(tmp_path, change, message):
    path = write(tmp_path / "r.npz", topk_ids_of_layer=change(padded(chosen(7))))
    with pytest.raises(TraceError, match=message):
        load_traces(path, format="sglang", model=MODEL)


@pytest.mark.parametrize(
    "record",
    [
        {"positions": [0, 1]},
        {"positions": list(range(7)), "extend_seq_lens": [9]},
        {"positions": list(range(7)), "extend_seq_lens": ["x"]},
        {"positions": "abc"},
    ],
)
def test_sglang_records_that_contradict_themselves(tmp_path, record):
    content = {"records": [{"topk_ids_of_layer": padded(chosen(7)).tolist(), **record}]}
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(TraceError, match=r"positions|extend_seq_lens"):
        load_traces(tmp_path / "r.json", model=MODEL)


# transformers ----------------------------------------------------------------------------------------------------------


def logits_of(tokens, layers=3, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (layers, tokens, EXPERTS)).astype(np.float32)


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


# JSON Lines ------------------------------------------------------------------------------------------------------------


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


# which program wrote it ------------------------------------------------------------------------------------------------


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


# the command -----------------------------------------------------------------------------------------------------------


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
