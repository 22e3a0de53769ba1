"""Writes of a prefill that are still on the memory's channels when the next pass wants to read.

Writes are posted: nobody waits for them, but the channels are first come, first served, and a prompt leaves many: keys
and values of every token, and with the full gate-output cache `E C(P)` expert outputs. The next pass finds the channels
busy, at its first embedding lookup or at its first read of keys and values; where embeddings of prompts stream ahead
that is the first decode step, and the prompts before it pile up. Steps of the decode leave next to nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax import arrays
from pimjax.chips.multiplexed.work import Run
from pimjax.chips.parts.dual import larger, scan, smaller, where
from pimjax.chips.parts.memory import memory_of
from pimjax.runs.point import Point


class PromptWrites(NamedTuple):
    """Memory time of one prompt's writes per layer [ns]; `[L]`."""

    keys: Any  # issued when the layer's attention begins
    outputs: Any  # issued after the layer's gate


def prompt_writes(point: Point, run: Run) -> PromptWrites:
    """Writes of one prefill pass, unscaled."""
    rate = (1 - run.sram) / memory_of(point).bandwidth
    return PromptWrites(
        *(arrays.where(run.real, rate * part, 0.0) for part in (run.written.kv_written, run.written.go_posted))
    )


def left_over(writes: PromptWrites, layers: Any, experts: Any) -> Any:
    """Time that the channel is still busy with a prefill's writes when the pass ends [ns].

    Args:
        writes: as components' times.
        layers: [L] time of each layer, from its attention on.
        experts: [L] its part from the gate on.

    >>> import numpy as np
    >>> writes = PromptWrites(np.array([50.0]), np.array([70.0]))
    >>> float(left_over(writes, np.array([100.0]), np.array([40.0])))
    30.0
    """

    def layer(busy: Any, part: tuple[Any, Any, Any, Any]) -> tuple[Any, None]:
        keys, outputs, before, after = part
        busy = larger(busy + keys - before, 0.0) + outputs
        return larger(busy - after, 0.0), None

    after = smaller(experts, layers)
    start = 0.0 * (layers + writes.keys)[0]
    return scan(layer, start, (writes.keys, writes.outputs, layers - after, after))[0]


def waiting_time(point: Point, run: Run, left: Any, grows: Any, arrival: Any) -> Any:
    """Time that passes of a run wait for the writes of its prompts [ns].

    With embeddings from the memory the pass after each prompt waits at its first lookup; where prompts do not look up
    while they run (`dram_overlap: stream`), only the first decode step does, for all prompts. Without, the first
    decode step waits, from `arrival` ns after its start, for the last prompt's.

    Args:
        point: the design.
        run: what it consists of.
        left: what one prompt leaves.
        grows: what every further prompt leaves beyond that: its writes less its time, at least 0.
        arrival: start of a decode step to its first read.
    """
    prompts = run.prefills
    if isinstance(run.steps, int):
        return left * arrays.where(point.looks_up & ~point.streams, arrays.larger(prompts, 1.0) - 1, 0.0)
    decodes = arrays.where(run.steps > 0, 1.0, 0.0 * prompts)
    each = left * arrays.larger(prompts - 1 + decodes, 0.0)
    streamed = (left + grows * arrays.larger(prompts - 1, 0.0)) * decodes
    once = larger(left - arrival, 0.0) * decodes
    return where(prompts > 0, where(point.looks_up, where(point.streams, streamed, each), once), 0.0)
