"""What a step costs, as curves: `StepTable`, from which every engine reads, and `TableSteps`, which reads it plainly.

A step of one rank schedules `tokens` in all, of which some decode (one token of each of `n` sequences, whose cached
contexts have the mean `c`) and some belong to chunks of prompts (`length` tokens after `start` cached ones). It costs

    tokens(t) + samples(s) + [n > 0] (decode(n, c) + peak_slope(n) (peak - mean_peak(n)) + distinct_slope(n) (...))
      + [n > 0 and chunks] beside(n, c) + sum over chunks of (chunk(length, start) + prefix(start + length) - prefix(start))

and a step of ranks in lockstep costs the largest of these plus `joint(t of all ranks)`; energies add up. `s` counts the
sequences that emit a token, `peak` the layers' longest queues of tokens at experts that share peripherals, summed over
layers, and `distinct` the experts visited. Every curve is linear between its grid points and constant outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import ServingError

QUANTITIES = ("ns", "nj")


class StepTable(NamedTuple):
    """Curves of a step's cost; leading axis 2 of values: ns, nJ. A pytree; batches carry axes before these.

    Every `*_grid` is rising. See the module for what the curves mean.
    """

    tokens_grid: Any  # [A]
    tokens: Any  # [2, A]
    samples_grid: Any  # [B]
    samples: Any  # [2, B]
    decode_grid: Any  # [N] sequences
    context_grid: Any  # [C] mean cached tokens
    decode: Any  # [2, N, C]
    beside: Any  # [2, N, C] what decoding costs more in a step with chunks
    length_grid: Any  # [P] tokens of a chunk
    start_grid: Any  # [Q] tokens before it
    chunk: Any  # [2, P, Q]
    prefix_grid: Any  # [X] tokens
    prefix: Any  # [2, X]
    joint_grid: Any  # [J] tokens of all ranks
    joint: Any  # [2, J]
    mean_peak: Any  # [N]
    peak_slope: Any  # [2, N]
    mean_distinct: Any  # [N]
    distinct_slope: Any  # [2, N]


_AXES = {
    "tokens": ("tokens_grid",),
    "samples": ("samples_grid",),
    "decode": ("decode_grid", "context_grid"),
    "beside": ("decode_grid", "context_grid"),
    "chunk": ("length_grid", "start_grid"),
    "prefix": ("prefix_grid",),
    "joint": ("joint_grid",),
    "peak_slope": ("decode_grid",),
    "distinct_slope": ("decode_grid",),
}


def make_step_table(**curves: Any) -> StepTable:
    """A table from the curves that there are; those left out cost nothing.

    Args:
        **curves: fields of :class:`StepTable`. A curve given without its leading axis of two is time alone.

    Raises:
        ServingError: an unknown name, a grid that does not rise, values of another shape or that are not finite.

    >>> table = make_step_table(decode_grid=[1, 8], context_grid=[0], decode=[[10.0], [24.0]])
    >>> table.decode.shape
    (2, 2, 1)
    """
    unknown = set(curves) - set(StepTable._fields)
    if unknown:
        raise ServingError(f"step table: {sorted(unknown)[0]!r} is no curve; there are {', '.join(StepTable._fields)}")
    made: dict[str, HostArray] = {}
    for name in StepTable._fields:
        if name.endswith("_grid"):
            made[name] = _numbers(name, curves.get(name, [0.0]))
            if made[name].ndim != 1 or not len(made[name]) or (np.diff(made[name]) <= 0).any():
                raise ServingError(f"step table: {name} must be rising numbers along one axis")
    for name, grids in _AXES.items():
        shape = tuple(len(made[grid]) for grid in grids)
        values = _numbers(name, curves.get(name, np.zeros((2, *shape))))
        values = np.stack([values, np.zeros_like(values)]) if values.shape == shape else values
        if values.shape != (2, *shape):
            raise ServingError(
                f"step table: {name} has shape {values.shape}; with its grids it must have {(2, *shape)} (ns, nJ) or {shape} (ns)"
            )
        made[name] = values
    for name in ("mean_peak", "mean_distinct"):
        made[name] = _numbers(name, curves.get(name, np.zeros(len(made["decode_grid"]))))
        if made[name].shape != made["decode_grid"].shape:
            raise ServingError(f"step table: {name} must have one value for each of decode_grid")
    return StepTable(**made)


def _numbers(name: str, values: Any) -> HostArray:
    try:
        array = np.asarray(values, np.float64)
    except (ValueError, TypeError):
        raise ServingError(f"step table: {name} must be real numbers of one shape") from None
    if not np.isfinite(array).all():
        raise ServingError(f"step table: {name} has values that are not finite")
    return array


class StepBatch(NamedTuple):
    """What one rank does in one step.

    Attributes:
        decodes: (request, cached tokens) of every sequence that decodes.
        chunks: (request, cached tokens, length) of every piece of a prompt.
        samples: sequences that emit a token.
    """

    decodes: Sequence[tuple[int, int]]
    chunks: Sequence[tuple[int, int, int]]
    samples: int

    @property
    def tokens(self) -> int:
        """Tokens scheduled."""
        return len(self.decodes) + sum(length for _, _, length in self.chunks)


class TableSteps:
    """Step costs read from a table, plainly: what the exact simulation uses to hold the engines to their rules.

    Args:
        table: from :func:`make_step_table` or a chip.
        loads: routing of the decoding sequences, or None: every batch is the mean one.

    >>> steps = TableSteps(make_step_table(tokens_grid=[0, 10], tokens=[0.0, 100.0]))
    >>> steps.rank_cost(StepBatch([(0, 5)], [(1, 0, 4)], 1), None)
    (50.0, 0.0)
    """

    def __init__(self, table: StepTable, loads: Any = None) -> None:
        self.table, self.loads = table, loads

    def rank_cost(self, batch: StepBatch, requests: Any) -> tuple[float, float]:
        """ns and nJ of one rank's part of a step."""
        table, count = self.table, len(batch.decodes)
        peak = distinct = None
        if count and self.loads is not None:
            peak, distinct = self.loads.of_batch(
                [(int(requests.routing[request]), cached) for request, cached in batch.decodes]
            )
        out = []
        for q in range(2):
            cost = np.interp(batch.tokens, table.tokens_grid, table.tokens[q]) if batch.tokens else 0.0
            cost += np.interp(batch.samples, table.samples_grid, table.samples[q]) if batch.tokens else 0.0
            if count:
                mean = sum(cached for _, cached in batch.decodes) / count
                for plane in (table.decode[q], table.beside[q])[: 2 if batch.chunks else 1]:
                    rows = [np.interp(mean, table.context_grid, row) for row in plane]
                    cost += np.interp(count, table.decode_grid, rows)
                for value, centre, slope in (
                    (peak, table.mean_peak, table.peak_slope[q]),
                    (distinct, table.mean_distinct, table.distinct_slope[q]),
                ):
                    if value is not None:
                        cost += np.interp(count, table.decode_grid, slope) * (
                            value - np.interp(count, table.decode_grid, centre)
                        )
            for _, start, length in batch.chunks:
                columns = [np.interp(start, table.start_grid, row) for row in table.chunk[q]]
                cost += np.interp(length, table.length_grid, columns)
                cost += np.interp(start + length, table.prefix_grid, table.prefix[q])
                cost -= np.interp(start, table.prefix_grid, table.prefix[q])
            out.append(float(cost))
        return out[0], out[1]

    def joint_cost(self, tokens: int) -> tuple[float, float]:
        """ns and nJ of what all ranks do together."""
        ns, nj = (float(np.interp(tokens, self.table.joint_grid, row)) for row in self.table.joint)
        return ns, nj
