"""Passes of a run as a GPU sees them: how many tokens, which context, and what its real routing loads. Host, NumPy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.arrays import where
from pimjax.chips.gpu.hardware import hardware_of
from pimjax.chips.gpu.operators.experts import TILE_ROWS
from pimjax.config.config import Config
from pimjax.config.model import ModelConfig
from pimjax.config.weight_formats import WEIGHT_BITS, checkpoint_bytes, stored_formats
from pimjax.runs.cache_flags import cache_use
from pimjax.runs.routing import RunRouting

KINDS = ("16", "8", "4")
"""Widths of weight formats that have kernels of their own."""
NARROW_FLOATS = 3
"""Index of formats whose kernels depend on the device: nvfp4, see `hardware.nvfp4_products`."""


def kind_of(weight_format: str) -> int:
    """Index into :data:`KINDS` of a weight format, or :data:`NARROW_FLOATS`.

    >>> kind_of("mxfp4"), kind_of("nvfp4")
    (2, 3)
    """
    if weight_format == "nvfp4":
        return NARROW_FLOATS
    bits = WEIGHT_BITS[weight_format]
    return 0 if bits >= 16 else 1 if bits >= 8 else 2


def kind_on(kind: Any, nvfp4_products: Any) -> Any:
    """Index into :data:`KINDS` on a device: where it multiplies nvfp4 as it is, with the kernels of 8 bits, else widened.

    >>> float(kind_on(3.0, 1.0)), float(kind_on(3.0, 0.0)), float(kind_on(1.0, 0.0))
    (1.0, 2.0, 1.0)
    """
    return where(kind > 2.5, where(nvfp4_products > 0.5, 1.0, 2.0), kind)


class Loads(NamedTuple):
    """Passes `D` (padding has `runs` 0), MoE layers `L`, and ranks `R` among which experts are dealt out."""

    runs: Any  # [D] 1: the pass is part of the run
    tokens: Any  # [D] tokens that the layers compute, of all sequences
    sequences: Any  # [D] each has a token sampled
    prompt: Any  # [D] positions per sequence of a pass over whole sequences; 0 in decode steps
    context: Any  # [D] positions of a sequence, with the new one
    assignments: Any  # [D, L, R] (token, expert) pairs
    touched: Any  # [D, L, R] distinct experts
    tiles: Any  # [D, L, R, 5] tiles of each size
    linear_bytes: Any  # [] of one weight: attention, dense, shared
    expert_bytes: Any  # []
    plain_bytes: Any  # [] embeddings, router
    linear_kind: Any  # [] of :func:`kind_of`
    expert_kind: Any  # []
    weight_bytes: Any  # [] all weights


def loads_of_run(config: Config, routing: RunRouting) -> Loads:
    """What every pass of a run loads.

    Args:
        config: with its prompt length.
        routing: of the run; copies of an expert are one set of weights.

    Returns:
        Arrays, float64. All requests of a batch share a pass, the prompts too.
    """
    model, workload = config.model, config.workload
    prompt, steps, batch = workload.num_prompt_tokens, workload.generated_tokens - 1, workload.batch_size
    use = cache_use(config)
    rows: list[tuple[float, float, float, float]] = []
    loads: list[HostArray] = []  # [L, E] each
    if workload.prefill:
        rows.append((batch * prompt, batch, prompt, prompt))
        loads.append(_by_expert(routing.prompt, routing.copy_of, model).sum(axis=(0, 2)))
    new = _by_expert(routing.steps, routing.copy_of, model).sum(axis=0)  # [L, steps, E]
    single = bool(use.reads_kv)
    remembered = single or bool(use.go_used)
    before = _by_expert(routing.prompt, routing.copy_of, model).sum(axis=(0, 2))
    for step in range(steps):
        length = prompt + 1 + step
        rows.append((batch, batch, 0, length) if single else (batch * length, batch, length, length))
        if remembered:
            loads.append(new[:, step])
        elif model.routing == "expert_choice":
            whole = np.stack([routing.prefix(sequence, length) for sequence in range(batch)])
            loads.append(_by_expert(whole, routing.copy_of, model).sum(axis=(0, 2)))
        else:
            before = before + new[:, step]
            loads.append(before)
    each = by_rank(np.stack(loads).astype(np.float64), ranks_of(config))
    tokens, sequences, whole, context = np.array(rows, np.float64).T
    formats = stored_formats(model)
    return Loads(
        runs=np.ones(len(rows)),
        tokens=tokens,
        sequences=sequences,
        prompt=whole,
        context=context,
        assignments=each.sum(axis=-1),
        touched=(each > 0).sum(axis=-1).astype(np.float64),
        tiles=np.stack([np.ceil(each / size).sum(axis=-1) for size in TILE_ROWS], axis=-1),
        linear_bytes=np.float64(WEIGHT_BITS[formats.linear] / 8),
        expert_bytes=np.float64(WEIGHT_BITS[formats.expert] / 8),
        plain_bytes=np.float64(WEIGHT_BITS[formats.plain] / 8),
        linear_kind=np.float64(kind_of(formats.linear)),
        expert_kind=np.float64(kind_of(formats.expert)),
        weight_bytes=np.float64(checkpoint_bytes(model)),
    )


_PER_PASS = ("runs", "tokens", "sequences", "prompt", "context", "assignments", "touched", "tiles")


def ranks_of(config: Config) -> int:
    """Ranks among which experts are dealt out."""
    return int(hardware_of(config).expert_parallel) if config.model.num_experts else 1


def by_rank(each: HostArray, ranks: int) -> HostArray:
    """Loads `[..., E]` -> `[..., R, E / R]`: neighbours on one rank; where R does not divide E the last rank has fewer.

    >>> by_rank(np.array([1.0, 2.0, 3.0]), 2).tolist()
    [[1.0, 2.0], [3.0, 0.0]]
    """
    experts = each.shape[-1]
    held = -(-experts // ranks)
    grown = np.pad(each, [(0, 0)] * (each.ndim - 1) + [(0, held * ranks - experts)])
    return grown.reshape(*each.shape[:-1], ranks, held)


def passes(loads: Loads, begin: int, end: int) -> Loads:
    """Passes `begin` to `end` (not included) of a run."""
    return loads._replace(**{name: getattr(loads, name)[begin:end] for name in _PER_PASS})


def padded(loads: Loads, num_passes: int, layers: int, ranks: int | None = None) -> Loads:
    """The same with longer axes: further passes do not run, further layers and ranks have no tokens."""
    shape = (num_passes, layers, loads.assignments.shape[2] if ranks is None else ranks)
    grown = {}
    for name in _PER_PASS:
        leaf = np.asarray(getattr(loads, name))
        width = [(0, wanted - size) for wanted, size in zip(shape, leaf.shape, strict=False)]
        grown[name] = np.pad(leaf, width + [(0, 0)] * (leaf.ndim - len(width)))
    for name in ("tokens", "sequences", "context"):  # numbers that operators may divide by
        grown[name] = np.where(grown["runs"] > 0, grown[name], 1.0)
    return loads._replace(**grown)


def cut(loads: Loads, layers: int | None) -> Loads:
    """With a layer axis of `layers`, of which a model without experts needs none."""
    if layers is None:
        return loads
    kept = {name: getattr(loads, name)[:, :layers] for name in ("assignments", "touched", "tiles")}
    return padded(loads._replace(**kept), len(loads.runs), layers)


def _by_expert(choices: HostArray, copy_of: HostArray, model: ModelConfig) -> HostArray:
    """bool `[B, L, T, members]` -> int `[B, L, T, E]`: copies of an expert are one set of weights."""
    if not model.num_experts:
        return np.zeros((*choices.shape[:-1], 1), int)
    if choices.shape[-1] == model.num_experts or not choices.size:
        return choices.astype(int)
    out = np.zeros((*choices.shape[:-1], model.num_experts), int)
    for layer, owners in enumerate(copy_of):
        for member, expert in enumerate(owners):
            out[:, layer, :, expert] |= choices[:, layer, :, member]
    return out
