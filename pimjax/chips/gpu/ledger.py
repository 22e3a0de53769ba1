"""The ledger of a GPU: components, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pimjax.chips.gpu.loads import KINDS, kind_of
from pimjax.chips.ledger import ComponentSpec, Condition, Read, Reader, reads
from pimjax.config.weight_formats import stored_formats

if TYPE_CHECKING:
    from pimjax.config.config import Config


def _width(part: str, kind: int) -> Condition:
    def holds(config: Config) -> bool:
        has = part != "expert" or config.model.num_moe_layers > 0
        return has and kind_of(getattr(stored_formats(config.model), part)) == kind

    key = "model.expert_format" if part == "expert" else "model.linear_format"
    return Condition(key, ("bf16", "fp8", "mxfp4")[kind] if kind < len(KINDS) else "", holds)


def _when(key: str, wanted: str, holds: Callable[[Config], bool]) -> Condition:
    return Condition(key, wanted, holds)


SEVERAL = _when("hardware.gpus", "2 or more", lambda config: config.hardware.gpus > 1)  # type: ignore[attr-defined]
HAS_EXPERTS = _when("model.num_experts", "1 or more", lambda config: config.model.num_moe_layers > 0)
CACHED = _when("workload.kv_cache", "true", lambda config: config.workload.kv_cache and config.workload.generated_tokens > 1)  # fmt: skip
WHOLE = _when("workload.prefill", "true", lambda config: config.workload.prefill or not config.workload.kv_cache)
WIDE, NARROW = _width("linear", 0), _width("linear", 1)
_PARTS = "fixed_ns bandwidth_efficiency arithmetic_efficiency exposed"
_EXPERT_PARTS = f"{_PARTS} tile_exponent activation_efficiency"


def _of(prefix: str, parts: str, *when: Condition) -> tuple[Read, ...]:
    return reads(" ".join(f"{prefix}_{part}" for part in parts.split()), *when)


_PRODUCTS = (
    *reads("gpus device_memory_bandwidth_gb_per_s bf16_tflops multiprocessors"),
    *reads("fp8_tflops", NARROW),
    *_of("product", _PARTS),  # the head and the router stay in 16 bits
    *_of("product_fp8", f"{_PARTS} row_ns", NARROW),
)
_ATTENTION = (
    *reads("gpus device_memory_bandwidth_gb_per_s bf16_tflops multiprocessors"),
    *_of("prefill", f"{_PARTS} block_ns", WHOLE),
    *_of("decode", f"{_PARTS} block_ns", CACHED),
)
_EXPERTS = (
    *reads("gpus device_memory_bandwidth_gb_per_s", HAS_EXPERTS),
    *reads("bf16_tflops", _width("expert", 0)),
    *reads("bf16_tflops", _width("expert", 2)),
    *reads("fp8_tflops", _width("expert", 1)),
    *_of("experts", f"{_EXPERT_PARTS}", _width("expert", 0)),
    *_of("experts", "cached_fraction tiles_by_tokens", _width("expert", 0)),
    *_of("experts", "cached_fraction tiles_by_tokens", _width("expert", 1)),
    *reads("l2_cache_bytes", _width("expert", 0)),
    *reads("l2_cache_bytes", _width("expert", 1)),
    *_of("experts_fp8", _EXPERT_PARTS, _width("expert", 1)),
    *_of("experts_fp4", _EXPERT_PARTS, _width("expert", 2)),
)
_SMALL = reads("device_memory_bandwidth_gb_per_s elementwise_fixed_ns elementwise_efficiency")
_POWERS = reads("gpus idle_power_w memory_bound_power_w compute_bound_power_w")

COMPONENTS = (
    ComponentSpec(
        "products", "dense products", "digital", "dense products: bandwidth helps few tokens, arithmetic many",
        time=_PRODUCTS, energy=(*_PRODUCTS, *_POWERS), counted="products", kinds=("product",),
    ),
    ComponentSpec(
        "experts", "experts", "crossbars", "expert layers: fewer distinct experts, narrower weights or bandwidth help",
        time=_EXPERTS, energy=(*_EXPERTS, *_POWERS), counted="expert layers", kinds=("expert_layer",),
    ),
    ComponentSpec(
        "attention", "attention", "attention", "attention: bandwidth helps decoding, arithmetic helps prompts",
        time=_ATTENTION, energy=(*_ATTENTION, *_POWERS), counted="layers", kinds=("attention",),
    ),
    ComponentSpec(
        "small", "norms and residuals", "digital", "small kernels: fewer launches help",
        time=_SMALL, energy=reads("device_memory_bandwidth_gb_per_s elementwise_efficiency gpus idle_power_w memory_bound_power_w"),
    ),
    ComponentSpec(
        "links", "sums over GPUs", "links", "sums over GPUs: fewer GPUs or faster links help",
        time=reads("gpus link_gb_per_s all_reduce_fixed_ns all_reduce_efficiency", SEVERAL) + reads("gpus"),
    ),
    ComponentSpec("host", "host between passes", "other", "the host between passes", time=reads("pass_fixed_ns")),
    ComponentSpec(
        "idle", "idle power", "idle", "idle power", energy=reads("idle_power_w gpus"), by_run_time=True
    ),
    ComponentSpec("die", "logic dies", "digital", "logic dies", area=reads("die_area_mm2 gpus")),
)  # fmt: skip
READERS = (
    Reader("memory limit", reads("device_memory_gb gpus")),
    Reader("largest die", reads("reticle_area_mm2")),
)
