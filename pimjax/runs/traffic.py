"""What the caches move and hold in a pass: bytes, and their split between SRAM and the memory.

Formulas: :mod:`pimjax.cache.traffic`. Decisions where the definitions leave room:

- *SRAM* in front of the memory is pinned: a cyclic scan over more than it holds would thrash any replacement. The
  fraction of all resident bytes that fits is served from it, of every read and write.
- *Keys and values* move only where they save work (`reads_kv`); a KV flag that saves nothing moves nothing.
- *Gate outputs alone* (no KV): scores are recomputed with the hidden states, so a step reads the L summed outputs and
  writes one, and writes what the variant keeps.
- `authors`: bytes are reported, they cost neither time nor energy.
- *Token choice* has no gate-output cache.
- *States* (linear attention, Mamba-2) are cached where keys and values are: a decode step reads and writes the state
  of every sequence once, with the inputs its convolution keeps; a prefill holds it on the chip and writes it at its end.
- *Sparse attention* reads the keys and values its indexer picked and the indexer's own keys of all tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimjax import arrays
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import namespace, where
from pimjax.cache.capacity import capacity_at, largest_capacity, law_of
from pimjax.cache.traffic import list_update_accesses, lists_held, rows_held, visible_tokens
from pimjax.config.build import Design
from pimjax.runs.mixers import Mixers, mixers, of_layers, over_blocks
from pimjax.runs.point import Point, point_of


class Moved(NamedTuple):
    """Bytes of one layer and sequence in one pass (before the split between SRAM and the memory)."""

    kv_read: AnyArray
    kv_written: AnyArray
    go_read: AnyArray  # before the gate
    go_posted: AnyArray  # read or written after it


class _Sizes(NamedTuple):
    """Bytes of single things, and capacities."""

    row: AnyArray  # one token's output
    score: AnyArray
    experts: AnyArray
    most: AnyArray  # C(L_max)
    update: AnyArray  # one list takes a score: read, and as much written


def _sizes(point: Point) -> _Sizes:
    model, workload = point.model, point.workload
    most = largest_capacity(law_of(point.design.model, point.design.workload))
    score = workload.score_bytes
    return _Sizes(
        row=model.d_model * workload.activation_bytes,
        score=score,
        experts=model.num_experts,
        most=point.real(most),
        update=point.real(list_update_accesses(most)) * score,
    )


def prompt_traffic(design: Design | Point, *, is_moe: ArrayLike, mixer: ArrayLike = 0) -> Moved:
    """Bytes of the prefill pass, per layer and sequence (all posted).

    Args:
        design: leaves scalars.
        is_moe: bool `[L]`.
        mixer: whole numbers `[L]`, rows of the model's table of mixers.
    """
    point = point_of(design)
    own = of_layers(point, mixer)
    written = (own.token_bytes + own.index_bytes) * point.workload.prompt_tokens + own.read_bytes
    written = where(point.reads_kv, written, 0.0)
    size, prompt = point.once(_sizes), point.workload.prompt_tokens
    ints = point.design
    held = point.real(capacity_at(law_of(ints.model, ints.workload), ints.workload.prompt_tokens))
    full = rows_held(prompt, size.experts, held, size.score, size.row)
    go = where(point.go_is_threshold, lists_held(size.experts, arrays.smaller(prompt, size.most), size.score), full)
    go = go + where(point.reads_kv, 0.0, prompt * size.row)  # summed outputs, for steps that recompute attention
    zero = np.zeros(np.shape(is_moe))
    go = where(point.go_costs, go, 0.0)
    return Moved(zero, arrays.spread(written, np.shape(is_moe)), zero, where(is_moe, go, 0.0))


def step_traffic(
    design: Design | Point,
    length: ArrayLike,
    visible: ArrayLike,
    *,
    is_moe: ArrayLike,
    admitted: ArrayLike,
    taken: ArrayLike,
    mixer: ArrayLike = 0,
) -> Moved:
    """Bytes of the decode step that brings a sequence to `length` tokens, per layer. Arguments broadcast.

    Linear in `length`, `visible`, `admitted` and `taken`: their means give the mean over steps.

    Args:
        design: leaves scalars.
        length: L.
        visible: keys that the layer's attention sees.
        is_moe: bool.
        admitted: experts that run.
        taken: threshold lists that store the new score.
        mixer: whole number, row of the model's table of mixers.
    """
    point = point_of(design)
    own = of_layers(point, mixer)
    length, visible, admitted, taken = (point.real(value) for value in (length, visible, admitted, taken))
    size, reads_kv, lists = point.once(_sizes), point.reads_kv, point.go_is_threshold
    scores = size.experts * size.score
    updates = taken * size.update
    counted = is_moe & point.go_costs
    before = where(reads_kv, where(lists, scores, length * scores), length * size.row)
    # lists are read and written when the scores are known; without keys and values they are read with the hidden states
    kept = where(lists, where(reads_kv, 2.0 * updates, updates), scores + admitted * size.row)
    after = kept + where(reads_kv, 0.0, size.row)
    read = own.token_bytes * visible + own.index_bytes * length + own.read_bytes
    written = own.token_bytes + own.index_bytes + own.written_bytes
    shape = np.broadcast_shapes(np.shape(visible), np.shape(mixer))
    return Moved(
        arrays.spread(where(reads_kv, read, 0.0), shape),
        arrays.spread(where(reads_kv, written, 0.0), shape),
        where(counted, before, 0.0),
        where(counted, after, 0.0),
    )


def resident_bytes(design: Design | Point, *, mixer: ArrayLike, is_moe: ArrayLike) -> AnyArray:
    """Bytes that all caches of all sequences hold at the longest context; float `[]`.

    Args:
        mixer: whole numbers `[L]`, rows of the model's table of mixers.
        is_moe: bool `[L]`; entries of both from `design.model.num_blocks` on are padding.
    """
    point = point_of(design)
    own = of_layers(point, mixer)
    size, longest = point.once(_sizes), point.workload.max_context_tokens
    real = np.arange(np.shape(is_moe)[0]) < point.design.model.num_blocks
    kv = where(point.reads_kv, _held(own, longest), 0.0)
    full = rows_held(longest, size.experts, size.most, size.score, size.row)
    go = where(point.go_is_threshold, lists_held(size.experts, size.most, size.score), full)
    go = go + where(point.reads_kv, 0.0, longest * size.row)
    go = where(is_moe & point.go_costs, go, 0.0)
    return point.workload.batch_size * namespace(kv, go).sum(where(real, kv + go, 0.0))


def kv_bytes_held(design: Design | Point, tokens: ArrayLike) -> AnyArray:
    """Bytes of keys, values and states that all layers hold of one sequence of `tokens` tokens; float.

    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> float(kv_bytes_held(build(Config())[0], 10)) == 10 * 2 * 4096
    True
    """
    point = point_of(design)
    return over_blocks(point, _held(point.once(mixers), point.real(tokens)))


def _held(own: Mixers, length: AnyArray) -> AnyArray:
    """Bytes of one sequence and layer; tokens beyond a window are overwritten, those that an indexer leaves out are not."""
    kept = visible_tokens(length, where(own.keeps_all, 0.0, own.window))
    return own.token_bytes * kept + own.index_bytes * length + own.read_bytes


def sram_share(design: Design | Point, held: AnyArray) -> AnyArray:
    """Fraction of the resident bytes `held` that the SRAM holds, 0 to 1."""
    point = point_of(design)
    size = point.hardware.sram_cache_bytes
    return where(held > 0, arrays.smaller(1.0, size / arrays.larger(held, 1.0)), 0.0)


def memory_is_idle(design: Design | Point, share: ArrayLike) -> AnyArray:
    """Whether the memory's idle power is paid: always, or where a cache lives in it; bool."""
    point = point_of(design)
    workload = point.design.workload
    return point.always_idles | ((workload.kv_cache | (workload.go_cache > 0)) & (share < 1.0))
