"""The authors' simulator's own argument names -> a configuration of the `reference` chip model."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.config.config import Config
from pimjax.config.loader import load_config
from pimjax.config.presets import unknown_key_sentence
from pimjax.errors import ConfigError

#: Defaults of the authors' main.py, by the names that their simulator uses.
REFERENCE_DEFAULTS: dict[str, Any] = {
    "d_model": 4096,
    "d_ff": 688,
    "vocab": 32000,
    "layers": 1,
    "k": 4,
    "experts": 16,
    "start_len": 32,
    "new_length": 1,
    "kv": False,
    "go": False,
    "prefill": True,
    "tiles": None,
    "tiers": 1,
    "tier_rows": 256,
    "tier_cols": 256,
    "dpus": 5,
    "mhas": 4,
    "mvm_latency": 130,
    "mvm_energy": 12.5,
    "comm_factor": 1.0,
    "mvm_factor": 1.0,
    "nhead": 8,
    "frequency": 1,
    "seed": 0,
    "kv_caching": None,
    "bsz": 1,
    "activation": "relu",
}
_ONLY = {"kv_caching": None, "bsz": 1, "activation": "relu"}
_KEYS = {
    "d_model": "model.d_model",
    "d_ff": "model.d_ff",
    "vocab": "model.vocab_size",
    "layers": "model.num_layers",
    "k": "model.top_k",
    "experts": "model.num_experts",
    "nhead": "model.num_heads",
    "frequency": "model.moe_frequency",
    "start_len": "workload.prompt_tokens",
    "new_length": "workload.generated_tokens",
    "kv": "workload.kv_cache",
    "prefill": "workload.prefill",
    "seed": "workload.trace.seed",
    "tiles": "hardware.tiles",
    "tiers": "hardware.tiers",
    "tier_rows": "hardware.crossbar_rows",
    "tier_cols": "hardware.crossbar_cols",
    "dpus": "hardware.num_digital_units",
    "mhas": "hardware.num_attention_units",
    "mvm_latency": "hardware.mvm_latency_ns",
    "mvm_energy": "hardware.mvm_energy_nj",
    "comm_factor": "hardware.comm_factor",
    "mvm_factor": "hardware.mvm_factor",
}


def reference_config(**inputs: Any) -> Config:
    """A `reference` configuration from the authors' simulator's argument names (defaults: their main.py).

    Args:
        **inputs: any of `REFERENCE_DEFAULTS`. `seed` is recorded and used only to draw experts when no
            `expert_choices` are given; `nhead` has no effect; `kv_caching`, `bsz` and `activation` accept only
            their defaults. `mvm_factor` is the accelerator's argument (it scales the MVM latency), not main.py's.

    Raises:
        ConfigError: unknown name or unacceptable value.

    >>> reference_config(dpus=10).hardware.num_digital_units
    10.0
    """
    inputs = {name: value.item() if isinstance(value, np.generic) else value for name, value in inputs.items()}
    for name, value in inputs.items():
        if name not in REFERENCE_DEFAULTS:
            raise ConfigError(unknown_key_sentence(name, value, name, list(REFERENCE_DEFAULTS)))
        if name in _ONLY and (value != _ONLY[name] or type(value) is not type(_ONLY[name])):
            raise ConfigError(
                f"{name}: {value!r} is not accepted; the reference model is defined for {_ONLY[name]!r} only"
            )
    values = REFERENCE_DEFAULTS | inputs
    if not isinstance(values["go"], bool):
        raise ConfigError(f"go: {values['go']!r} is not accepted; it must be true or false")
    heads, width = values["nhead"], values["d_model"]
    content: dict[str, Any] = {
        "name": "reference",
        "chip_model": "reference",
        "hardware": {},
        # nhead has no effect there and need not divide d_model
        "model": {
            "head_dim": max(1, width // heads) if isinstance(heads, int) and isinstance(width, int) and heads > 0 else 1
        },
        "workload": {
            "go_cache": "authors" if values["go"] else "none",
            "score_bytes": 1,
            "trace": {"kind": "uniform"},
        },
        "plan": {
            "group_size": 1,
            "grouping": "uniform",
            "policy": "token_wise",
            "share": "none",
            "accumulate": "digital",
            "attention": "fit",
            "embedding": "crossbar",
            "whole_ns": True,
            "dram_overlap": "none",
            "memory_idle": "cached",
        },
    }
    overrides = {dotted: values[name] for name, dotted in _KEYS.items()}
    try:
        return load_config(content, overrides)
    except ConfigError as error:
        text = str(error)
        for name, dotted in _KEYS.items():  # speak the caller's names
            text = text.replace(dotted, f"{name} ({dotted})") if text.startswith(dotted) else text
        raise ConfigError(text) from None
