"""Latency, energy and memory over generated tokens, for every combination of caches that the chip knows."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.batch.api import estimate_batch
from pimjax.cache.capacity import capacity_at, largest_capacity, law_of
from pimjax.cache.reference_traffic import reference_gate_output_bytes
from pimjax.cache.traffic import CacheWidths, gate_output_prefill
from pimjax.chips import CHIPS
from pimjax.config.build import build
from pimjax.config.config import Config
from pimjax.config.loader import load_config
from pimjax.report.palette import CACHE_COLOURS
from pimjax.runs.traffic import kv_bytes_held
from pimjax.trace.routing import RoutingTrace

LENGTHS = (1, 2, 4, 8, 16, 32)
LONGEST_PROMPT = 96
#: shown name -> kv_cache, go_cache: where gate-output caches have an effect, where they do not, and the authors' one
_STATES = {
    "no cache": (False, "none"),
    "KV": (True, "none"),
    "KV + GO": (True, "full"),
    "KV + GO, thresholds only": (True, "threshold"),
}
_NO_OUTPUTS = {"no cache": (False, "none"), "KV": (True, "none")}
_AUTHORS = {
    "no cache": (False, "none"),
    "KV": (True, "none"),
    "GO": (False, "authors"),
    "KV + GO": (True, "authors"),
}


def cache_contents(config: Config, requests: RoutingTrace | None) -> dict[str, Any] | None:
    """Cost of generating 1 to 32 tokens with and without caches, by the closed model, one compiled program.

    Args:
        config: with its prompt length filled in; prompts over 96 tokens are cut.
        requests: stacked requests of the run; None for a chip that takes no routing.

    Returns:
        None where the batch is above one or outputs are revised; else `generated`, `prompt_tokens` and `series`, each
        with `latency_ns`, `energy_nj` and `resident_bytes` (keys, values, scores and outputs at the end).
    """
    if config.workload.batch_size != 1 or config.workload.semantics != "newest":
        return None
    prompt = min(config.workload.num_prompt_tokens, LONGEST_PROMPT)
    combinations = cache_combinations(config)
    configs = [_generating(config, prompt, count, kv, go) for kv, go in combinations.values() for count in LENGTHS]
    resident = np.reshape([resident_bytes(one) for one in configs], (len(combinations), len(LENGTHS)))
    trace = requests.request(0) if requests is not None and requests.is_stacked else requests
    result = estimate_batch(configs, trace, "closed", pairing="zip", fields=["latency_ns", "energy_nj"])
    shape = (len(combinations), len(LENGTHS))
    latency, energy = (np.asarray(getattr(result, name), float).reshape(shape) for name in ("latency_ns", "energy_nj"))
    return {
        "generated": list(LENGTHS),
        "prompt_tokens": prompt,
        "routing": config.model.routing,
        "has_outputs": bool(CHIPS[config.chip_model].go_caches(config)),
        "series": [
            {
                "name": name,
                "colour": CACHE_COLOURS[name],
                "latency_ns": latency[row].tolist(),
                "energy_nj": energy[row].tolist(),
                "resident_bytes": resident[row].tolist(),
            }
            for row, name in enumerate(combinations)
        ],
    }


def cache_combinations(config: Config) -> dict[str, tuple[bool, str]]:
    """Cache settings that differ in effect on this chip.

    >>> list(cache_combinations(Config()))
    ['no cache', 'KV']
    """
    variants = CHIPS[config.chip_model].go_caches(config)
    if "authors" in variants:
        return _AUTHORS
    return _STATES if variants else _NO_OUTPUTS


def _generating(config: Config, prompt: int, count: int, kv_cache: bool, go_cache: str) -> Config:
    content = config.model_dump(mode="python")
    content["workload"] |= {
        "prompt_tokens": prompt,
        "generated_tokens": count,
        "prefill": True,
        "kv_cache": kv_cache,
        "go_cache": go_cache,
        "max_context_tokens": None,
    }
    return load_config(content)


def resident_bytes(config: Config) -> float:
    """Bytes that the caches of all layers hold at the end of a run (definitions of :mod:`pimjax.cache`).

    >>> config = load_config("paper_reference", {"workload.prompt_tokens": 10, "workload.kv_cache": True})
    >>> resident_bytes(config) == 10 * 2 * 4096  # one layer, keys and values of one byte
    True
    """
    model, workload = config.model, config.workload
    design, _ = build(config)
    tokens = workload.num_prompt_tokens + workload.generated_tokens - 1
    held = 0.0
    if workload.kv_cache:
        held += float(kv_bytes_held(design, tokens))
    if workload.go_cache == "authors":
        held += float(reference_gate_output_bytes(tokens, model.num_experts, model.d_model)) * model.num_moe_layers
    elif workload.go_cache != "none":
        law = law_of(design.model, design.workload)
        traffic = gate_output_prefill(
            design.workload.go_cache,
            CacheWidths(workload.score_bytes, workload.activation_bytes, model.d_model),
            prompt_tokens=tokens,
            num_experts=model.num_experts,
            capacity=capacity_at(law, tokens),
            largest_capacity=largest_capacity(law),
        )
        held += float(traffic.resident) * model.num_moe_layers
    return held
