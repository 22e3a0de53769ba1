"""Expert ids as serving programs record them (vLLM, SGLang), and everything that could be taken for another."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from log_samples import EXPERTS, MODEL, MOE, K, chosen, padded, with_dense, write

import pimjax
from pimjax.errors import TraceError
from pimjax.trace import load_traces


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
