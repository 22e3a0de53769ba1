"""Time, energy and area of a run on a GPU: sums of its operators. One code for kernels and the host."""

from __future__ import annotations

from typing import Any

from pimjax import status
from pimjax.arrays import larger, namespace, smaller, where
from pimjax.cache.kv_layout import kv_token_bytes
from pimjax.chips.gpu.loads import Loads
from pimjax.chips.gpu.operators.attention import causal_pairs
from pimjax.chips.gpu.operators.device import Time
from pimjax.chips.gpu.passes import Layers
from pimjax.config.mixers import Mixer
from pimjax.config.model import ACTIVATIONS, ATTENTION_KINDS

TIMED = ("products", "attention", "experts", "small", "links", "host")


def windowed_layers(model: Any) -> Any:
    """Layers that see the sliding window only."""
    return (model.mixers[:, Mixer._fields.index("is_sliding")] * model.mixers[:, -1]).sum()


def sums(design: Any, loads: Loads, layers: Layers) -> dict[str, Time]:
    """Busy time of every component over the run [ns]."""
    model, hardware = design.model, design.hardware
    moe, every = model.num_moe_layers, model.num_layers
    windowed = windowed_layers(model)

    def run(time: Time, count: Any = 1.0) -> Time:
        return Time(*((part * loads.runs).sum() * count for part in time))

    of_experts = Time(*((part.sum(axis=1) * loads.runs).sum() for part in layers.experts))
    zero = 0.0 * of_experts.total
    links = layers.mixed * every + layers.fed * (every - moe) + layers.routed * moe
    summed = (links * loads.runs).sum()
    host = hardware.pass_fixed_ns * loads.runs.sum()
    return {
        "products": run(layers.projections, every).plus(run(layers.dense, every - moe)).plus(run(layers.beside, moe)).plus(run(layers.head)),
        "attention": run(layers.windowed, windowed).plus(run(layers.full, every - windowed)),
        "experts": of_experts,
        "small": run(layers.small, every + 0.5),
        "links": Time(summed, zero, zero),
        "host": Time(host, zero, zero),
    }  # fmt: skip


def energy_nj(hardware: Any, time: Time) -> Any:
    """Energy of a component above idling [nJ]: traffic and arithmetic, each for as long as it takes alone.

    With idle power all the time, a run that only moves data draws exactly the memory-bound power. Where a kernel keeps both
    busy all the time, power is above that of arithmetic alone and may be above the board's; a device may then lower its
    clock, which is not modelled.
    """
    memory = time.memory * (hardware.memory_bound_power_w - hardware.idle_power_w)
    return hardware.gpus * (memory + time.arithmetic * (hardware.compute_bound_power_w - hardware.idle_power_w))


def attention_weights(model: Any) -> Any:
    """Weights of the attention of one layer."""
    width = model.d_model
    mla = model.attention == ATTENTION_KINDS.index("mla")
    values = where(mla, model.v_head_dim, model.head_dim)
    latent = where(model.q_lora_rank > 0, model.q_lora_rank * (width + model.num_heads * model.head_dim), width * model.num_heads * model.head_dim)  # fmt: skip
    expanded = model.kv_lora_rank * model.num_heads * (model.nope_head_dim + model.v_head_dim)
    compressed = (
        latent + width * (model.kv_lora_rank + model.rope_head_dim) + expanded + model.num_heads * values * width
    )
    return where(mla, compressed, width * model.head_dim * 2 * (model.num_heads + model.num_kv_heads))


def flops_of(design: Any, loads: Loads) -> tuple[Any, Any]:
    """Useful operations of the run, and of its experts."""
    model = design.model
    width, moe, every = model.d_model, model.num_moe_layers, model.num_layers
    matrices = where(model.activation == ACTIVATIONS.index("swiglu"), 3.0, 2.0)
    values = where(model.attention == ATTENTION_KINDS.index("mla"), model.v_head_dim, model.head_dim)
    attention = attention_weights(model)
    fixed = every * attention + (every - moe) * matrices * width * model.dense_d_ff
    fixed = fixed + moe * width * (model.num_experts + matrices * model.shared_width)
    of_experts = 2.0 * (loads.assignments.sum(axis=(1, 2)) * loads.runs).sum() * matrices * width * model.d_ff
    tokens, sampled = (loads.tokens * loads.runs).sum(), (loads.sequences * loads.runs).sum()
    pairs, windowed = 0.0, windowed_layers(model)
    for window, layers in ((model.sliding_window, windowed), (0.0, every - windowed)):
        seen = where(window > 0, -larger(-loads.context, -larger(window, 1.0)), loads.context)
        one = where(loads.prompt > 0, causal_pairs(loads.prompt, window), seen)
        pairs = pairs + layers * (one * loads.sequences * loads.runs).sum()
    whole = 2.0 * (tokens * fixed + sampled * width * model.vocab_size) + 2.0 * pairs * model.num_heads * (
        model.head_dim + values
    )
    return whole + of_experts, of_experts


def tokens_of(design: Any, loads: Loads) -> Any:
    """Tokens that the run emits, or processes where it only reads prompts."""
    emitted, processed = (loads.sequences * loads.runs).sum(), (loads.tokens * loads.runs).sum()
    return where(design.workload.generated_tokens > 1, emitted, processed)


def status_of(design: Any, loads: Loads, latency: Any) -> Any:
    """Bits of :mod:`pimjax.status`."""
    hardware = design.hardware
    return status.bits(
        0,
        {
            status.DOES_NOT_FIT: peak_bytes(design, loads) > 1e9 * hardware.device_memory_gb * hardware.gpus,
            status.MULTI_DIE: hardware.gpus * hardware.die_area_mm2 > hardware.reticle_area_mm2,
            status.NON_FINITE: ~namespace(latency).isfinite(latency),
        },
    )


def peak_bytes(design: Any, loads: Loads) -> Any:
    """Weights, and keys and values of the whole context [bytes]; layers with a window keep no more than it.

    Groups of GPUs that attend to sequences of their own hold attention, routers, shared experts and embeddings each.
    """
    model, workload = design.model, design.workload
    row, longest = kv_token_bytes(model, workload), workload.max_context_tokens
    windowed = windowed_layers(model)
    seen = where(model.sliding_window > 0, smaller(longest, larger(model.sliding_window, 1.0)), longest)
    kept = workload.batch_size * row * (windowed * seen + (model.num_layers - windowed) * longest)
    matrices = where(model.activation == ACTIVATIONS.index("swiglu"), 3.0, 2.0)
    beside = model.d_model * matrices * model.shared_width * loads.linear_bytes
    beside = beside + model.d_model * model.num_experts * loads.plain_bytes
    copied = model.num_layers * attention_weights(model) * loads.linear_bytes + model.num_moe_layers * beside
    copied = copied + model.d_model * model.vocab_size * loads.plain_bytes
    return loads.weight_bytes + (design.hardware.attention_data_parallel - 1.0) * copied + kept
