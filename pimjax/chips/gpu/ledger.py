"""The ledger of a GPU: components, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pimjax.chips.gpu.hardware import hardware_of
from pimjax.chips.gpu.loads import KINDS, NARROW_FLOATS, kind_of, kind_on
from pimjax.chips.ledger import HEAT, ComponentSpec, Condition, Read, Reader, reads
from pimjax.config.weight_formats import stored_formats

if TYPE_CHECKING:
    from pimjax.config.config import Config


def _width(part: str, kind: int) -> Condition:
    def holds(config: Config) -> bool:
        has = part != "expert" or config.model.num_moe_layers > 0
        found = kind_of(getattr(stored_formats(config.model), part))
        return has and float(kind_on(float(found), hardware_of(config).nvfp4_products)) == kind

    key = "model.expert_format" if part == "expert" else "model.linear_format"
    return Condition(key, ("bf16", "fp8", "mxfp4")[kind] if kind < len(KINDS) else "", holds)


def _when(key: str, wanted: str, holds: Callable[[Config], bool]) -> Condition:
    return Condition(key, wanted, holds)


SEVERAL = _when("hardware.gpus", "2 or more", lambda config: hardware_of(config).gpus > 1)


def _dealt(config: Config) -> bool:
    """Whether tokens travel to the GPUs of their experts and back."""
    hardware = hardware_of(config)
    return config.model.num_moe_layers > 0 and min(hardware.expert_parallel, hardware.attention_data_parallel) > 1


def _summed(config: Config) -> bool:
    """Whether any block's output is summed over GPUs."""
    hardware = hardware_of(config)
    alone = hardware.gpus == hardware.attention_data_parallel  # attention needs no sum
    return hardware.gpus > 1 and not (
        alone and _dealt(config) and config.model.num_moe_layers == config.model.num_layers
    )


DEALT = _when("hardware.expert_parallel", "2 or more, as attention_data_parallel", _dealt)
SUMMED = _when("hardware.gpus", "2 or more", _summed)
HAS_EXPERTS = _when("model.num_experts", "1 or more", lambda config: config.model.num_moe_layers > 0)
CACHED = _when("workload.kv_cache", "true", lambda config: config.workload.kv_cache and config.workload.generated_tokens > 1)  # fmt: skip
WHOLE = _when("workload.prefill", "true", lambda config: config.workload.prefill or not config.workload.kv_cache)
FLOATS = _when("model.weight_format", "nvfp4", lambda config: NARROW_FLOATS in (kind_of(stored_formats(config.model).linear), kind_of(stored_formats(config.model).expert)))  # fmt: skip
WIDE, NARROW = _width("linear", 0), _width("linear", 1)
MLA = _when("model.attention", "mla", lambda config: config.model.attention == "mla")
HEADS = _when("model.attention", "gqa or mha", lambda config: config.model.attention != "mla")
SPLIT = _when("hardware.experts_tile_rule", "1 or 2", lambda config: hardware_of(config).experts_tile_rule > 0)
SPLIT_4 = _when(
    "hardware.experts_fp4_tile_rule", "1 or 2", lambda config: hardware_of(config).experts_fp4_tile_rule > 0
)
_SHARES = "gpus attention_data_parallel device_memory_bandwidth_gb_per_s"
_PARTS = "fixed_ns bandwidth_efficiency exposed"
_EXPERT_PARTS = f"{_PARTS} arithmetic_efficiency tile_exponent activation_efficiency"
_PREFILL_PARTS = f"{_PARTS} arithmetic_efficiency tile_ns block_ns"
_DECODE_PARTS = f"{_PARTS} tile_ns block_ns split_ns sequence_ns"


def _of(prefix: str, parts: str, *when: Condition) -> tuple[Read, ...]:
    return reads(" ".join(f"{prefix}_{part}" for part in parts.split()), *when)


_PRODUCTS = (
    *reads("nvfp4_products", FLOATS),
    *reads(f"{_SHARES} bf16_tflops multiprocessors"),
    *reads("fp8_tflops", NARROW),
    *_of("product", f"{_PARTS} arithmetic_efficiency operand_ns split_ns"),  # the head and the router stay in 16 bits
    *_of("product_fp8", f"{_PARTS} arithmetic_efficiency operand_ns row_ns tiles_by_rows", NARROW),
)
_ATTENTION = (
    *reads(f"{_SHARES} bf16_tflops multiprocessors"),
    *_of("prefill", f"{_PREFILL_PARTS} key_passes packs_heads", WHOLE, HEADS),
    *_of("decode", _DECODE_PARTS, CACHED, HEADS),
    *_of("mla_prefill", _PREFILL_PARTS, WHOLE, MLA),
    *_of("mla_decode", _DECODE_PARTS, CACHED, MLA),
)
_EXPERTS = (
    *reads("nvfp4_products", FLOATS),
    *reads("gpus expert_parallel attention_data_parallel device_memory_bandwidth_gb_per_s", HAS_EXPERTS),
    *reads("bf16_tflops", _width("expert", 0)),
    *reads("bf16_tflops", _width("expert", 2)),
    *reads("fp8_tflops", _width("expert", 1)),
    *_of("experts", f"{_EXPERT_PARTS} tile_rule", _width("expert", 0)),
    *_of("experts", "tile_rule", _width("expert", 1)),
    *_of("experts", "cached_fraction", _width("expert", 0), SPLIT),
    *_of("experts_fp8", "cached_fraction", _width("expert", 1), SPLIT),
    *_of("experts_fp4", "cached_fraction", _width("expert", 2), SPLIT_4),
    *_of("experts_fp4", "tile_rule", _width("expert", 2)),
    *reads("l2_cache_bytes", _width("expert", 0), SPLIT),
    *reads("l2_cache_bytes", _width("expert", 1), SPLIT),
    *reads("l2_cache_bytes", _width("expert", 2), SPLIT_4),
    *_of("experts_fp8", _EXPERT_PARTS, _width("expert", 1)),
    *_of("experts_fp4", _EXPERT_PARTS, _width("expert", 2)),
)
#: energy follows from what traffic and arithmetic take alone: fixed costs, waves and what overlaps have no part in it
_PRODUCT_WORK = (
    *reads("nvfp4_products", FLOATS),
    *reads(f"{_SHARES} bf16_tflops multiprocessors"),
    *reads("fp8_tflops", NARROW),
    *_of("product", "bandwidth_efficiency arithmetic_efficiency operand_ns"),
    *_of("product_fp8", "bandwidth_efficiency arithmetic_efficiency operand_ns", NARROW),
)
_ATTENTION_WORK = (
    *reads(f"{_SHARES} bf16_tflops"),
    *reads("multiprocessors", WHOLE),
    *_of("prefill", "bandwidth_efficiency arithmetic_efficiency block_ns key_passes", WHOLE, HEADS),
    *_of("decode", "bandwidth_efficiency", CACHED, HEADS),
    *_of("mla_prefill", "bandwidth_efficiency arithmetic_efficiency block_ns", WHOLE, MLA),
    *_of("mla_decode", "bandwidth_efficiency", CACHED, MLA),
)
_EXPERT_WORK = tuple(read for read in _EXPERTS if not read.key.endswith(("_fixed_ns", "_exposed")))
_SMALL = reads("attention_data_parallel device_memory_bandwidth_gb_per_s elementwise_fixed_ns elementwise_efficiency")
_POWERS = reads("gpus idle_power_w memory_bound_power_w compute_bound_power_w")

COMPONENTS = (
    ComponentSpec(
        "products", "dense products", "digital", "dense products: bandwidth helps few tokens, arithmetic many",
        time=_PRODUCTS, energy=(*_PRODUCT_WORK, *_POWERS), counted="products", kinds=("product",),
    ),
    ComponentSpec(
        "experts", "experts", "crossbars", "expert layers: fewer distinct experts, narrower weights or bandwidth help",
        time=_EXPERTS, energy=(*_EXPERT_WORK, *_POWERS), counted="expert layers", kinds=("expert_layer",),
    ),
    ComponentSpec(
        "attention", "attention", "attention", "attention: bandwidth helps decoding, arithmetic helps prompts",
        time=_ATTENTION, energy=(*_ATTENTION_WORK, *_POWERS), counted="layers", kinds=("attention",),
    ),
    ComponentSpec(
        "small", "norms and residuals", "digital", "small kernels: fewer launches help",
        time=_SMALL, energy=reads(
            "attention_data_parallel device_memory_bandwidth_gb_per_s elementwise_efficiency gpus idle_power_w memory_bound_power_w"
        ),
    ),
    ComponentSpec(
        "links", "sums over GPUs", "links", "sums over GPUs: fewer GPUs or faster links help",
        time=(
            *reads("gpus attention_data_parallel expert_parallel"),
            *reads("link_gb_per_s", SEVERAL),
            *_of("all_reduce", "fixed_ns efficiency step_ns", SUMMED),
            *_of("all_to_all", "fixed_ns efficiency bulk_fixed_ns bulk_efficiency bulk_token_ns", DEALT),
        ),
    ),
    ComponentSpec("host", "host between passes", "other", "the host between passes", time=reads("pass_fixed_ns")),
    ComponentSpec(
        "idle", "idle power", "idle", "idle power", energy=reads("idle_power_w gpus"), by_run_time=True
    ),
    ComponentSpec("die", "logic dies", "digital", "logic dies", area=reads("die_area_mm2 gpus")),
)  # fmt: skip
READERS = (
    Reader("memory limit", reads("device_memory_gb gpus attention_data_parallel")),
    Reader("largest die", reads("reticle_area_mm2")),
    Reader("heat", reads(HEAT)),
)
