"""Flax layers and small language models, exact or through crossbars."""

from __future__ import annotations

import importlib
from typing import Any

#: public name -> module that defines it
_HOME = {
    "analog_map": "pimjax.nn.analog_selection",
    "evaluate_checkpoint": "pimjax.nn.checkpoint.evaluate",
    "load_checkpoint": "pimjax.nn.checkpoint.load",
    "open_checkpoint": "pimjax.nn.checkpoint.load",
    "LanguageModelConfig": "pimjax.nn.language_model",
    "load_parameters": "pimjax.nn.language_model",
    "decode": "pimjax.nn.cached_decoder",
    "decoder_prefill": "pimjax.nn.cached_decoder",
    "CrossbarLinear": "pimjax.nn.crossbar_linear",
    "CrossbarMoE": "pimjax.nn.crossbar_moe",
    "model_loss": "pimjax.nn.convert",
    "AnalogParts": "pimjax.nn.analog_parts",
    "noise_sensitivity": "pimjax.nn.sensitivity",
    "part_losses": "pimjax.nn.sensitivity",
    "neuron_norm_scores": "pimjax.nn.sensitivity",
    "activation_frequency": "pimjax.nn.sensitivity",
    "digital_order": "pimjax.nn.sensitivity",
    "greedy_order": "pimjax.nn.sensitivity",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
