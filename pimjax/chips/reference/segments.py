"""Runs a chain of passes piece by piece where that is provably the same as running it whole.

Why it is exact. The engine's stepwise arithmetic only ever looks at remaining times, so what follows an instant depends
on what is running and waiting then, not on the clock. A pass starts with nothing but the transfers that the sampling
operation before it releases. So if, in a pass run on its own, the sampling operation ends in the last step, nothing is
left over, and the next pass finds the idle chip that it was run on. Attention waits for everything before it: while it
runs alone, its duration is one step that may be exchanged for another length's. Where every block has its own tile,
experts differ only by name and are renamed by first use. Both conditions are checked on every pass that is run; if one
fails, :func:`run_chain` runs the whole chain as one graph.
"""

from __future__ import annotations

from collections.abc import Hashable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pimjax.chips.reference import costs
from pimjax.chips.reference.choices import PassChoices, canonical_choices
from pimjax.chips.reference.graph import ReferenceGraph, build_graph
from pimjax.chips.reference.mapping import Mapping
from pimjax.chips.reference.parameters import Pass, ReferenceParameters
from pimjax.event import EventLog, peak_bytes, require_capacity, run

HostArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Segment:
    """What a run of a few passes in one graph amounts to.

    Attributes:
        step_ns: float64 [steps].
        attention_step: int64 [passes, layers], step at whose end each attention job finishes.
        retired: float64 [passes * layers, passes, kinds], jobs finished when each attention job is, by pass and kind
            (`costs.PassCounts` fields).
        path_ns: float64 [kinds], critical path by kind, attention left out.
        attention_on_path: bool [passes, layers], attention jobs that lie on the critical path.
        peak_memory_bytes: peak scratchpad, or None.
        isolated: one pass that may be joined to others and whose attention times may be exchanged.
    """

    step_ns: HostArray
    attention_step: HostArray
    retired: HostArray
    path_ns: HostArray
    attention_on_path: HostArray
    peak_memory_bytes: int | None
    isolated: bool


SegmentCache = MutableMapping[Hashable, Segment]
"""Segments by key; give the same dictionary to several runs and equal passes are computed once."""


@dataclass(frozen=True)
class Chain:
    """A run as a sequence of segments, each with the passes that it covers.

    Attributes:
        pieces: (segment, its passes), in order of time.
        simulated_jobs: operations that were put through the engine for it.
    """

    pieces: tuple[tuple[Segment, tuple[Pass, ...]], ...]
    simulated_jobs: int


def run_chain(
    p: ReferenceParameters,
    mapping: Mapping,
    passes: tuple[Pass, ...],
    choices: tuple[PassChoices, ...],
    *,
    with_memory: bool,
    reuse_passes: bool,
    cache: SegmentCache | None,
    compiled: bool | None,
) -> Chain:
    """Run all passes: separately, equal ones once, if `reuse_passes` and the checks allow it; else as one graph.

    Raises `CapacityError` if more operations than the engine accepts would have to be simulated.
    """
    sizes = [int(costs.pass_counts(p, work.tokens, work.first).total) for work in passes]
    known: SegmentCache = {} if cache is None else cache
    if reuse_passes:
        keys = [_key(p, mapping, *pair, with_memory) for pair in zip(passes, choices, strict=True)]
        missing = {key: index for index, key in reversed(list(enumerate(keys))) if key not in known}
        simulated = sum(sizes[index] for index in missing.values())
        require_capacity(simulated)
        for key, index in missing.items():
            known[key] = _run(p, mapping, passes[index : index + 1], choices[index : index + 1], with_memory, compiled)
        if all(known[key].isolated for key in keys):
            pieces = tuple((known[key], (work,)) for key, work in zip(keys, passes, strict=True))
            return Chain(pieces, simulated)
    require_capacity(sum(sizes))
    whole = _run(p, mapping, passes, choices, with_memory, compiled)
    return Chain(((whole, passes),), sum(sizes))


def distinct_operations(p: ReferenceParameters, passes: tuple[Pass, ...]) -> int:
    """Fewest operations that the engine must simulate, before any expert is drawn: passes of equal shape once."""
    shapes = {(work.tokens, work.first, float(costs.mvm_ns(p, work.decode_id))): work for work in passes}
    return sum(int(costs.pass_counts(p, work.tokens, work.first).total) for work in shapes.values())


def _key(p: ReferenceParameters, mapping: Mapping, work: Pass, choices: PassChoices, with_memory: bool) -> Hashable:
    """Equal for passes whose step lengths are equal but for attention's."""
    shared = replace(p, kv=False, go=False, prefill=True, mvm_energy=0.0, nhead=0, seed=0, mvm_factor=1.0)
    if mapping.own_tiles:  # the number of tiles and the size of the position table do not matter then
        shared = replace(shared, start_len=0, new_length=0, tiles=None)
        choices = canonical_choices(choices)
    mvm_ns = float(costs.mvm_ns(p, work.decode_id))
    return shared, work.tokens, work.first, mvm_ns, tuple(layer.tobytes() for layer in choices), with_memory


def _run(
    p: ReferenceParameters,
    mapping: Mapping,
    passes: tuple[Pass, ...],
    choices: tuple[PassChoices, ...],
    with_memory: bool,
    compiled: bool | None,
) -> Segment:
    graph = build_graph(p, mapping, passes, choices, with_memory=with_memory)
    log = run(graph.jobs, arithmetic="stepwise", compiled=compiled)
    path = log.critical_path()
    attention = graph.attention
    kinds = graph.jobs.kinds
    path_ns = np.bincount(path.kind, path.duration_ns, minlength=len(kinds))
    path_ns[kinds.index("mha")] = 0.0
    return Segment(
        step_ns=log.step_ns,
        attention_step=log.finish_step[attention],
        retired=_retired_by_attention(graph, log),
        path_ns=path_ns,
        attention_on_path=np.isin(attention, path.jobs),
        peak_memory_bytes=None if graph.buffers is None else peak_bytes(log, graph.buffers),
        isolated=len(passes) == 1 and _is_isolated(graph, log),
    )


def _retired_by_attention(graph: ReferenceGraph, log: EventLog) -> HostArray:
    """float64 [attention jobs, passes, kinds]: jobs finished no later than each attention job."""
    steps = log.finish_step[graph.attention.ravel()]  # increasing: each attention job waits for the one before
    passes, kinds = len(graph.sampling), len(graph.jobs.kinds)
    # A pass's jobs are numbered before those of the next, its sampling job last.
    pass_of_job = np.searchsorted(graph.sampling, np.arange(graph.jobs.num_jobs))
    interval = np.searchsorted(steps, log.finish_step)
    cell = (interval * passes + pass_of_job) * kinds + graph.jobs.kind
    counts = np.bincount(cell, minlength=(len(steps) + 1) * passes * kinds)
    return np.cumsum(counts.reshape(len(steps) + 1, passes, kinds), axis=0)[:-1].astype(np.float64)


def _is_isolated(graph: ReferenceGraph, log: EventLog) -> bool:
    """Whether sampling ends the pass, and each attention job runs alone for exactly one step."""
    attention = graph.attention.ravel()
    step = log.finish_step[attention]
    begun = np.cumsum(np.bincount(log.start_step, minlength=log.num_steps))
    ended = np.cumsum(np.bincount(log.finish_step, minlength=log.num_steps))
    running = begun[step] - ended[step - 1]  # attention is never in step 0: its inputs take time
    return bool(
        log.finish_step[graph.sampling[-1]] == log.num_steps - 1
        and np.all(log.start_step[attention] == step)
        and np.all(running == 1)
    )
