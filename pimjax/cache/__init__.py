"""Caches of a decoding transformer: gate outputs, keys and values, and an SRAM in front of the DRAM."""

from __future__ import annotations

import importlib
from typing import Any

#: public name -> module that defines it
_HOME = {
    "capacity_law": "pimjax.cache.capacity",
    "capacity_at": "pimjax.cache.capacity",
    "CapacityLaw": "pimjax.cache.capacity",
    "gate_output_request": "pimjax.cache.gate_output",
    "gate_output_init": "pimjax.cache.gate_output",
    "gate_output_decode": "pimjax.cache.gate_output",
    "prompt_admissions": "pimjax.cache.gate_output",
    "kv_init": "pimjax.cache.key_value",
    "kv_append": "pimjax.cache.key_value",
    "kv_prefill": "pimjax.cache.key_value",
    "kv_read": "pimjax.cache.key_value",
    "kv_token_bytes": "pimjax.cache.kv_layout",
    "CacheWidths": "pimjax.cache.traffic",
    "gate_output_prefill": "pimjax.cache.traffic",
    "gate_output_step": "pimjax.cache.traffic",
    "visible_tokens": "pimjax.cache.traffic",
    "hit_rate_curve": "pimjax.cache.hierarchy",
    "hierarchy_traffic": "pimjax.cache.hierarchy",
    "sram_run": "pimjax.cache.hierarchy",
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
