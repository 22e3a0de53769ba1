"""Presets of GPUs (`configs/hardware/*.yaml`): data sheets and assumptions here, kernels from the committed fit."""

from __future__ import annotations

from typing import Any

from benchmarks.lib.paths import ROOT
from pimjax.chips.gpu.hardware import DECODING, GpuHardware
from pimjax.config.base import field_facts

CONFIGS = ROOT / "configs" / "hardware"
#: preset -> device whose rows its kernels are fitted to, numbers of the data sheet, its name
BOARDS: dict[str, tuple[str, dict[str, float], str]] = {
    "h100": ("h100_sxm", {"device_memory_bandwidth_gb_per_s": 3350, "device_memory_gb": 80, "bf16_tflops": 989.4, "fp8_tflops": 1978.9, "l2_cache_bytes": 50e6, "multiprocessors": 132, "link_gb_per_s": 450, "die_area_mm2": 814}, "NVIDIA H100 Tensor Core GPU data sheet (SXM) and architecture white paper"),
    "h200": ("h100_sxm", {"device_memory_bandwidth_gb_per_s": 4800, "device_memory_gb": 141, "bf16_tflops": 989.4, "fp8_tflops": 1978.9, "l2_cache_bytes": 50e6, "multiprocessors": 132, "link_gb_per_s": 450, "die_area_mm2": 814}, "NVIDIA H200 Tensor Core GPU data sheet (SXM); the die is the H100's"),
    "b200": ("b200_sxm", {"device_memory_bandwidth_gb_per_s": 8000, "device_memory_gb": 180, "bf16_tflops": 2250, "fp8_tflops": 4500, "link_gb_per_s": 900}, "NVIDIA DGX B200 data sheet, per GPU"),
    "a100": ("h100_sxm", {"device_memory_bandwidth_gb_per_s": 2039, "device_memory_gb": 80, "bf16_tflops": 312, "fp8_tflops": 312, "l2_cache_bytes": 40e6, "multiprocessors": 108, "link_gb_per_s": 300, "die_area_mm2": 826}, "NVIDIA A100 Tensor Core GPU data sheet (SXM, 80 GB) and architecture white paper; it has no 8-bit floating-point products"),
}  # fmt: skip
#: what no data sheet says of a board: value, range, source
ASSUMED: dict[str, dict[str, tuple[float, tuple[float, float] | None, str]]] = {
    "b200": {
        "l2_cache_bytes": (126e6, (96e6, 132e6), "assumption: as described publicly, where sizes differ"),
        "multiprocessors": (148, (132, 160), "assumption: as described publicly, 74 of 80 in each of two dies"),
        "die_area_mm2": (1600, (1400, 1716), "assumption: two dies near the reticle limit"),
        "idle_power_w": (171, None, "assumption: the H100's in proportion to a board of 1000 W"),
        "memory_bound_power_w": (429, None, "assumption: the H100's in proportion to a board of 1000 W"),
        "compute_bound_power_w": (900, None, "assumption: the H100's in proportion to a board of 1000 W"),
    },
    "a100": {
        "idle_power_w": (69, None, "assumption: the H100's in proportion to a board of 400 W"),
        "memory_bound_power_w": (171, None, "assumption: the H100's in proportion to a board of 400 W"),
        "compute_bound_power_w": (360, None, "assumption: the H100's in proportion to a board of 400 W"),
    },
}
#: what was measured on a board itself and is only assumed for the default's: value, source
MEASURED = {"h200": {"memory_bound_power_w": (300.0, DECODING)}}
#: prefix of fitted numbers -> family on Hopper, on Blackwell
PREFIXES = {
    "product": ("products bfloat16", "products bfloat16"),
    "product_fp8": ("products fp8", "products fp8"),
    "experts": ("experts bfloat16 vllm_unquantizedfusedmoe_triton_tritonexperts", "experts bfloat16 vllm_unquantizedfusedmoe_flashinfer_trtllm_trtllmbf16experts"),
    "experts_fp8": ("experts fp8_block vllm_fp8moe_triton_tritonexperts", "experts fp8 vllm_modeloptfp8moe_flashinfer_trtllm_trtllmfp8expertsmonolithic"),
    "experts_fp4": ("experts w4a16_mxfp4 vllm_gptossmxfp4moe_triton_oaitritonmxfp4expertsmonolithic", "experts w4a16_mxfp4 vllm_gptossmxfp4moe_flashinfer_trtllm_mxfp4_bf16_trtllmmxfp4expertsmonolithic"),
    "prefill": ("attention context bfloat16 cache vllm_flash_attn_fa3", "attention context bfloat16 cache vllm_flashinfer_trtllmprefill"),
    "decode": ("attention generation bfloat16 cache vllm_flash_attn_fa3", "attention generation bfloat16 cache vllm_flashinfer_trtllmdecode"),
    "mla_prefill": ("mla context bfloat16 products, bfloat16 cache FLASH_ATTN", "mla context bfloat16 products, bfloat16 cache FLASH_ATTN"),
    "mla_decode": ("mla generation bfloat16 products, bfloat16 cache FLASH_ATTN_MLA", "mla generation bfloat16 products, bfloat16 cache FLASHINFER_MLA"),
    "all_reduce": ("all-reduce", "all-reduce"),
    "all_to_all": ("all-to-all low latency", "all-to-all low latency"),
    "all_to_all_bulk": ("all-to-all bulk", "all-to-all bulk"),
}  # fmt: skip
#: numbers that say which kernels a device has, not fitted: value, source
KERNELS = {
    "b200_sxm": {
        "nvfp4_products": (1, "NVIDIA DGX B200 data sheet: FP4 tensor cores; their twice higher rate is not counted"),
        "experts_tile_rule": (2, "inferred from the fit: kernels of TensorRT-LLM choose tiles by half the mean load"),
        "experts_fp4_tile_rule": (2, "inferred from the fit: kernels of TensorRT-LLM choose tiles by half the mean load"),
        "product_fp8_tiles_by_rows": (0, "the best tile fits better here: 8 against 9.5 % of median error"),
        "prefill_packs_heads": (0, "heads apart fit better here: 9 against 12 % of median error, before key_passes"),
    }
}  # fmt: skip


def values_of(name: str, fitted: dict[tuple[str, str], dict[str, float]]) -> dict[str, tuple[float, str]]:
    """Value and source of every number of a preset that is not the default's."""
    system, board, source = BOARDS[name]
    values: dict[str, tuple[float, str]] = {key: (value, source) for key, value in board.items()}
    for prefix, families in PREFIXES.items():
        family = families[system == "b200_sxm"]
        for part, value in fitted[family, system].items():
            key = f"{prefix}_{part}"
            if key in GpuHardware.model_fields:
                values[key] = (value, f"fitted, {system}: {family}")
    values |= KERNELS.get(system, {}) | MEASURED.get(name, {})
    return values | {key: (value, why) for key, (value, _, why) in ASSUMED.get(name, {}).items()}


def preset_text(name: str, fitted: dict[tuple[str, str], dict[str, float]]) -> str:
    """The YAML of a preset."""
    system, _, source = BOARDS[name]
    lines = [
        f"# {source}.",
        f"# Kernels: fitted to rows of {system} by benchmarks/validation/fit_gpu.py (aiconfigurator-core 0.12.0, NVIDIA, Apache-2.0).",
    ]
    values, assumed = values_of(name, fitted), ASSUMED.get(name, {})
    for key, fact in field_facts(GpuHardware).items():
        value, origin = values.get(key, (fact["default"], fact["source"]))
        line = f'{key}: {{value: {value:.10g}, unit: "{fact["unit"]}", source: "{origin}"'
        fitted_here = origin.startswith("fitted")
        line += _range(key, value, fact, assumed, fitted_here)
        lines.append(
            line + _assumed(fact["assumed"] or key in assumed, key in MEASURED.get(name, {}), fitted_here) + "}"
        )
    return "\n".join(lines) + "\n"


def _assumed(assumed: bool, measured: bool, fitted_here: bool) -> str:
    if measured:  # said aloud: a preset that says nothing has the default's word
        return ", assumed: false"
    return ", assumed: true" if assumed and not fitted_here else ""


def _range(key: str, value: float, fact: dict[str, Any], assumed: dict[str, Any], fitted_here: bool) -> str:
    bounds = assumed[key][1] if key in assumed else None
    if bounds is None and fact["spread"]:
        bounds = tuple(round(bound * value / fact["default"], 6) for bound in fact["spread"])
    if bounds is None or fitted_here:
        return ""
    low, high = bounds
    return f", range: [{low:.10g}, {min(high, 1.0) if 'efficiency' in key else high:.10g}]"


def write_presets(fitted: dict[tuple[str, str], dict[str, float]]) -> None:
    """`configs/hardware/*.yaml` of all boards."""
    for name in BOARDS:
        (CONFIGS / f"{name}.yaml").write_text(preset_text(name, fitted), encoding="utf-8")
