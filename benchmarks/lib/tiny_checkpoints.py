"""Tiny random checkpoints of each family whose weights are loaded, and what transformers' own forward pass makes of them.

Needs the extra `hf`, and `safetensors`. Every parameter is drawn anew, wide enough that choices are no ties, and norms,
biases and sinks are not those of a fresh model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

_COMMON: dict[str, Any] = {"vocab_size": 61, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4,
                           "max_position_embeddings": 64}  # fmt: skip
_GROUPED: dict[str, Any] = {**_COMMON, "num_key_value_heads": 2, "intermediate_size": 16}
_LATENT: dict[str, Any] = {
    **_COMMON, "num_key_value_heads": 4, "intermediate_size": 24, "moe_intermediate_size": 8, "n_routed_experts": 8,
    "num_experts_per_tok": 3, "n_shared_experts": 2, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2,
    "kv_lora_rank": 12, "q_lora_rank": 10, "qk_rope_head_dim": 4, "qk_nope_head_dim": 6, "v_head_dim": 5,
}  # fmt: skip
_YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 16,
         "mscale": 0.707, "mscale_all_dim": 1.0}  # fmt: skip
#: folder -> class of transformers without "Config" and "ForCausalLM", configuration, how it is saved
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "mixtral": ("Mixtral", {**_GROUPED, "num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": 7},
                {"shard": "12KB"}),
    "qwen3_moe": ("Qwen3Moe", {**_GROUPED, "head_dim": 6, "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 12,
                               "norm_topk_prob": True, "mlp_only_layers": [1], "tie_word_embeddings": True, "attention_bias": True},
                  {}),
    "olmoe": ("Olmoe", {**_GROUPED, "num_experts": 8, "num_experts_per_tok": 3, "clip_qkv": 1.5}, {"dtype": "float16"}),
    "gpt_oss": ("GptOss", {**_GROUPED, "head_dim": 8, "num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": 5,
                           "num_hidden_layers": 2, "swiglu_limit": 1.0}, {}),
    "gpt_oss_mxfp4": ("GptOss", {**_GROUPED, "head_dim": 8, "num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": 5,
                                 "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "swiglu_limit": 1.0}, {"mxfp4": True}),
    "deepseek_v2": ("DeepseekV2", {**_LATENT, "topk_method": "group_limited_greedy", "rope_parameters": _YARN}, {}),
    "deepseek_v2_lite": ("DeepseekV2", {**_LATENT, "topk_method": "greedy", "q_lora_rank": None, "routed_scaling_factor": 1.5}, {}),
    "deepseek_v3": ("DeepseekV3", {**_LATENT, "rope_parameters": _YARN, "routed_scaling_factor": 2.5, "attention_bias": True}, {}),
}  # fmt: skip
PROMPT_TOKENS, TOKENS = 11, 20


def make_checkpoint(name: str, folder: Path, seed: int = 0) -> Any:
    """Draw the model of a case, save it, and return it in float32 as transformers reads it from the folder."""
    import torch
    import transformers

    kind, settings, how = CASES[name]
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**settings, pad_token_id=0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            width = 0.3 if parameter.ndim > 1 else 0.2
            parameter.copy_(torch.randn_like(parameter) * width + (1.0 if "norm" in parameter_name else 0.0))
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith("e_score_correction_bias"):
                buffer.copy_(torch.randn_like(buffer) * 0.1)
    stored = getattr(torch, how.get("dtype", "bfloat16"))
    folder.mkdir(parents=True, exist_ok=True)
    model.to(stored).save_pretrained(folder, max_shard_size=how.get("shard", "5GB"))
    if how.get("mxfp4"):
        return _with_mxfp4_experts(model, folder, seed)
    return type(model).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def _with_mxfp4_experts(model: Any, folder: Path, seed: int) -> Any:
    """Replace the experts by random MXFP4 blocks and scales, in the file and, as transformers unpacks them, in the model."""
    import safetensors.torch
    import torch
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    draw = np.random.default_rng(seed)
    file = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    # a model that was bfloat16 has rounded frequencies of its position embedding: a new one, with the stored weights
    model = type(model)(model.config).eval()
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    for layer, block in enumerate(model.model.layers):
        for which in ("gate_up_proj", "down_proj"):
            held = getattr(block.mlp.experts, which)  # [E, in, out]
            experts, width, out = held.shape
            blocks = torch.from_numpy(draw.integers(0, 256, (experts, out, width // 32, 16), dtype=np.uint8))
            scales = torch.from_numpy(draw.integers(122, 126, (experts, out, width // 32), dtype=np.uint8))
            with torch.no_grad():
                held.copy_(convert_moe_packed_tensors(blocks, scales, dtype=torch.float32))
            start = f"model.layers.{layer}.mlp.experts.{which}"
            del tensors[start]
            tensors |= {f"{start}_blocks": blocks, f"{start}_scales": scales}
    safetensors.torch.save_file(tensors, file, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4"}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    model.set_attn_implementation("eager")
    return model


def reference_pass(model: Any, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """One pass of transformers over int `tokens` [T]: logits, hidden states around all layers, router logits, experts."""
    import torch

    states: list[Any] = []
    routers: list[Any] = []
    handles = [layer.register_forward_hook(lambda _, __, out: states.append(out)) for layer in model.model.layers]
    for layer in model.model.layers:
        router = getattr(layer.mlp, "gate", None) or getattr(layer.mlp, "router", None)
        if router is not None:
            handles.append(router.register_forward_hook(lambda _, __, out: routers.append(out)))
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    first = model.model.embed_tokens(ids)
    outputs = [state[0] if isinstance(state, tuple) else state for state in states]
    hidden = torch.stack([first, *outputs])[:, 0]
    return {
        "tokens": tokens.astype(np.int32),
        "logits": logits.numpy(),
        "hidden": hidden.detach().numpy(),
        "router_logits": np.stack([out[0].numpy() for out in routers]),
        "experts": np.stack([out[2].numpy() for out in routers]).astype(np.int32),
    }


def reference_decode(model: Any, tokens: np.ndarray, prompt: int) -> np.ndarray:
    """Logits [T - prompt, V] of transformers with its own key-value cache, one token at a time behind a prompt."""
    import torch

    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    made = []
    with torch.no_grad():
        output = model(input_ids=ids[:, :prompt], use_cache=True)
        for position in range(prompt, len(tokens)):
            output = model(
                input_ids=ids[:, position : position + 1], past_key_values=output.past_key_values, use_cache=True
            )
            made.append(output.logits[0, -1].numpy())
    return np.stack(made)


def draw_tokens(count: int = TOKENS, seed: int = 1) -> np.ndarray:
    """Random token ids."""
    return np.random.default_rng(seed).integers(1, _COMMON["vocab_size"], count)
