"""Routing recorded by `pimjax.trace.capture` against the model's own `router_logits`, on tiny random models per family.

    pip install 'pimjax[hf]'
    python benchmarks/validation/trace_capture.py

For each family: a batch with padding is run once, and its recorded choices are compared, token by token, with those that
`pimjax.trace.route` makes of the router logits the same pass returned, with the bias and groups of the model; the logits
saved as a file and read by `load_traces(format="transformers")` are a third way. Decoder families also generate with a
cache, and the recorded steps are compared with one pass over the whole text. Then every small configuration with experts
of `tests/golden/hf_tiny_configs.json`, one or more of each family that is imported: layers, experts and k are those of
the imported model, and the choices those of its router logits where its class returns them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
import transformers

from benchmarks.lib.harness import write_json
from benchmarks.lib.paths import GOLDEN
from pimjax.config import from_hf
from pimjax.trace import capture, load_traces, route
from pimjax.trace.logs.model import log_model

COMMON = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
SMALL: dict[str, Any] = {**COMMON, "num_key_value_heads": 2, "intermediate_size": 48, "head_dim": 8}
LATENT = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
DEEPSEEK: dict[str, Any] = {
    **COMMON, **LATENT, "num_key_value_heads": 4, "intermediate_size": 48, "moe_intermediate_size": 16,
    "n_routed_experts": 16, "num_experts_per_tok": 4, "n_shared_experts": 1, "first_k_dense_replace": 1,
    "n_group": 4, "topk_group": 2,
}  # fmt: skip

#: model types whose class in transformers has another type's name
SAME_CLASS = {"kimi_k2": "deepseek_v3"}
#: what small configurations, made to be counted, need in order to run: even rotary widths, a limit that is a number
RUNNABLE = {
    "deepseek_v2": {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0}},
}
#: Family -> class of the configuration and of the model, configuration, options of `route`.
FAMILIES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "Mixtral": ("MixtralConfig", "MixtralForCausalLM", {**SMALL, "num_local_experts": 8, "num_experts_per_tok": 2}, {"kind": "softmax"}),
    "Qwen3-MoE": (
        "Qwen3MoeConfig", "Qwen3MoeForCausalLM",
        {**SMALL, "num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 16, "mlp_only_layers": [1]}, {"kind": "softmax"},
    ),
    "OLMoE": ("OlmoeConfig", "OlmoeForCausalLM", {**SMALL, "num_experts": 16, "num_experts_per_tok": 4}, {"kind": "softmax"}),
    "GPT-OSS": ("GptOssConfig", "GptOssForCausalLM", {**SMALL, "num_local_experts": 8, "num_experts_per_tok": 4}, {"kind": "softmax_of_chosen"}),
    "DeepSeek-V2": (
        "DeepseekV2Config", "DeepseekV2ForCausalLM", {**DEEPSEEK, "topk_method": "group_limited_greedy"},
        {"kind": "softmax", "num_groups": 4, "top_groups": 2},
    ),
    "DeepSeek-V3": ("DeepseekV3Config", "DeepseekV3ForCausalLM", DEEPSEEK, {"kind": "sigmoid", "num_groups": 4, "top_groups": 2}),
    "Llama-4": (
        "Llama4TextConfig", "Llama4ForCausalLM",
        {**SMALL, "intermediate_size_mlp": 48, "num_local_experts": 8, "num_experts_per_tok": 1, "interleave_moe_layer_step": 2},
        {"kind": "sigmoid_of_chosen"},
    ),
    "Switch": (
        "SwitchTransformersConfig", "SwitchTransformersForConditionalGeneration",
        {"vocab_size": 97, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4, "num_layers": 4, "num_decoder_layers": 4,
         "num_sparse_encoder_layers": 2, "num_sparse_decoder_layers": 2, "num_experts": 8, "expert_capacity": 128},
        {"kind": "softmax"},
    ),
}  # fmt: skip


def build(family: str) -> Any:
    """A random model of a family, in float32, with wide logits and a correction bias where it has one."""
    config_class, model_class, options, _ = FAMILIES[family]
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(getattr(transformers, config_class)(**options)).eval().float()
    with torch.no_grad():
        for module in model.modules():
            if type(module).__name__.endswith("Router"):
                for value in module.parameters():
                    value.normal_(0, 0.5)
                if hasattr(module, "e_score_correction_bias"):
                    module.e_score_correction_bias.normal_(0, 0.05)
    return model


def biases(model: Any) -> np.ndarray | None:
    """Correction biases ``[L, E]`` of the routers."""
    values = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    found = [value for name, value in values.items() if name.endswith(("e_score_correction_bias", "expert_bias"))]
    return np.stack([bias.detach().numpy().reshape(-1) for bias in found]) if found else None


def compare(family: str) -> dict[str, Any]:
    """Tokens whose experts differ, in each of the three comparisons."""
    model, options = build(family), dict(FAMILIES[family][3])
    switch = family == "Switch"
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 97, (8, 128), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, :9] = 0  # padding on the left
    mask[2, :5] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, "output_router_logits": True}
    if switch:
        inputs["decoder_input_ids"] = ids
    with torch.no_grad(), capture(model, part="encoder" if switch else None) as recorder:
        output = model(**inputs)
    trace = recorder.trace()
    tuples = output.encoder_router_logits if switch else output.router_logits
    experts = trace.num_experts
    logits = np.stack([layer.float().numpy().reshape(-1, experts) for layer in tuples])
    top_k = 1 if switch else model.config.get_text_config().num_experts_per_tok
    bias = biases(model)
    if bias is not None:
        options["correction_bias"] = bias
    by_row = logits.reshape(len(logits), *ids.shape, experts)
    differing = 0
    for row in range(len(ids)):
        own = route(by_row[:, row][:, mask[row].numpy() > 0], top_k, **options)
        recorded = trace.request(row).trim()
        differing += int((own.choices != recorded.choices).any(axis=-1).sum())
    result = {
        "layer_ids": list(trace.layer_ids or ()),
        "experts": experts,
        "top_k": top_k,
        "decisions": int(np.asarray(trace.num_tokens).sum()) * len(logits),
        "differ_from_router_logits": differing,
        "differ_when_read_from_a_file": from_file(logits, mask, trace, top_k, options),
    }
    if not switch:
        result |= generation(model)
    return result


def from_file(logits: np.ndarray, mask: Any, trace: Any, top_k: int, options: dict[str, Any]) -> int | None:
    """Decisions that differ when the logits are saved and converted; None where the file's options lack groups."""
    if "num_groups" in options:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.pt"
        torch.save({"router_logits": tuple(map(torch.from_numpy, logits)), "attention_mask": mask}, path)
        read = load_traces(path, top_k=top_k, kind=options["kind"])
    return int((read.choices != trace.choices).any(axis=-1).sum())


def generation(model: Any) -> dict[str, int]:
    """Greedy decoding with a cache, recorded, against one pass over the text that came out."""
    prompt = torch.randint(3, 97, (1, 10), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        with capture(model) as recorder:
            text = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=12,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
        with capture(model) as whole:
            model(input_ids=text[:, :-1])
    steps, once = recorder.trace().request(0), whole.trace().request(0)
    assert steps.num_requests == 1
    return {
        "generated_decisions": int(steps.num_tokens) * steps.num_layers,
        "differ_between_cached_steps_and_one_pass": int((steps.choices != once.choices).any(axis=-1).sum()),
    }  # fmt: skip


def compare_imported(data: dict[str, Any]) -> dict[str, Any] | None:
    """One small configuration, recorded and imported; None: it has no experts."""
    model = from_hf(data)
    if not model.num_moe_layers:
        return None
    torch.manual_seed(0)
    made = {
        key: value for key, value in {**data, **RUNNABLE.get(data["model_type"], {})}.items() if key != "model_type"
    }
    kind = SAME_CLASS.get(data["model_type"], data["model_type"])
    config = transformers.CONFIG_MAPPING[kind].from_dict(made).get_text_config()
    config._experts_implementation = "eager"  # the grouped products of others want widths that small models lack
    own = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    with torch.no_grad():
        for name, value in [*own.named_parameters(), *own.named_buffers()]:
            if name.endswith(("e_score_correction_bias", "expert_bias")):
                value.normal_(0, 0.05)
    ids = torch.randint(3, 90, (2, 24), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :5] = 0
    with torch.no_grad(), capture(own) as recorder:
        output = own(input_ids=ids, attention_mask=mask, use_cache=False, **_asked(own))
    trace = recorder.trace()
    wanted = [layer for layer in range(model.num_layers) if model.is_moe_layer(layer)]
    tokens = int(np.asarray(trace.num_tokens).sum())
    same = (
        list(trace.layer_ids or ()) == wanted
        and trace.num_experts == model.num_experts
        and (np.asarray(trace.choices).sum(axis=-1)[np.asarray(trace.choices).any(axis=-1)] == model.top_k).all()
        and int(np.asarray(trace.choices).sum()) == tokens * len(wanted) * model.top_k
    )
    found: dict[str, Any] = {"decisions": tokens * len(wanted), "as_imported": bool(same)}
    logits = getattr(output, "router_logits", None)
    if logits is not None and len(logits):
        options = log_model(model, None, None).router
        bias = biases(own)
        options = {key: value for key, value in options.items() if key != "correction_bias"}
        if bias is not None:
            options["correction_bias"] = bias
        by_row = np.stack([layer.float().numpy().reshape(*ids.shape, -1) for layer in logits])
        differ = 0
        for row in range(len(ids)):
            routed = route(by_row[:, row][:, mask[row].numpy() > 0], model.top_k, **options)
            differ += int((routed.choices != trace.request(row).trim().choices).any(axis=-1).sum())
        found["differ_from_router_logits"] = differ
    return found


def _asked(model: Any) -> dict[str, bool]:
    """The option that makes a model return its router logits, where its class can."""
    recorded = getattr(model.base_model, "_can_record_outputs", None) or {}
    return {"output_router_logits": True} if "router_logits" in recorded else {}


def main() -> None:
    families = {}
    for family in FAMILIES:
        families[family] = compare(family)
        print(f"{family:12s} {families[family]}")
    imported = {}
    for name, data in json.loads((GOLDEN / "hf_tiny_configs.json").read_text()).items():
        if (row := compare_imported(data)) is not None:
            imported[name] = row
            print(f"{name:32s} {row}")
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    write_json("trace_capture", {**versions, "families": families, "imported": imported})


if __name__ == "__main__":
    main()
