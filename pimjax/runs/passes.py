"""The passes of a run that need a schedule, and the lengths at which decode steps are sampled. Host, NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.config.config import Config
from pimjax.runs.cache_flags import cache_use
from pimjax.runs.routing import RunRouting

STEP_SAMPLES = 64
LENGTH_SAMPLES = 16


class RunPasses(NamedTuple):
    """Passes whose slots must be counted; each bool `[MoE layers, T, E]`.

    Attributes:
        prompt: prefill of every sequence (none without prefill).
        steps: sampled decode steps that several sequences share; their tokens are the sequences.
        lengths: recomputed prefixes at the sampled lengths, None where a sample stands for nothing.
    """

    prompt: list[HostArray]
    steps: list[HostArray]
    lengths: list[HostArray | None]

    @property
    def all(self) -> list[HostArray]:
        """Every pass, in order."""
        return [*self.prompt, *self.steps, *(choices for choices in self.lengths if choices is not None)]


def run_passes(config: Config, routing: RunRouting) -> RunPasses:
    """Which passes of a run need a schedule.

    A decode step of one token needs none: every group starts at slot 0.

    >>> import numpy as np
    >>> from pimjax.runs.routing import run_routing
    >>> from pimjax.config import load_config
    >>> from pimjax.trace.routing import RoutingTrace
    >>> config = load_config({"model": {"num_experts": 4, "top_k": 2}, "workload": {"prompt_tokens": 3}})
    >>> passes = run_passes(config, run_routing(config, RoutingTrace.from_expert_ids([[0, 1], [2, 3]], 4)))
    >>> [choices.shape for choices in passes.all]
    [(1, 3, 4)]
    """
    workload = config.workload
    steps = workload.generated_tokens - 1
    use = cache_use(config)
    prompt = [routing.prompt[sequence] for sequence in range(workload.batch_size if workload.prefill else 0)]
    shared: list[HostArray] = []
    if steps and use.reads_kv and workload.batch_size > 1:
        sampled = np.unique(np.round(np.linspace(0, steps - 1, min(steps, STEP_SAMPLES))).astype(int))
        shared = [np.moveaxis(routing.steps[:, :, step], 1, 0) for step in sampled]
    prefixes: list[HostArray | None] = []
    if steps and use.experts_all:
        lengths, weights = sample_lengths(workload.num_prompt_tokens + 1, steps)
        prefixes = [
            routing.prefix(0, int(length)) if weight > 0 else None
            for length, weight in zip(lengths, weights, strict=True)
        ]
    return RunPasses(prompt, shared, prefixes)


def sample_lengths(first: int, steps: int) -> tuple[HostArray, HostArray]:
    """Lengths `[K]` at which decode steps are sampled and the steps each stands for (linear in between).

    Every step is its own sample if there are at most K.

    >>> lengths, weights = sample_lengths(33, 3)
    >>> lengths[:4].tolist(), weights[:4].tolist()
    ([33.0, 34.0, 35.0, 35.0], [1.0, 1.0, 1.0, 0.0])
    """
    lengths = np.full(LENGTH_SAMPLES, float(first))
    if 0 < steps <= LENGTH_SAMPLES:
        lengths[:] = first + np.minimum(np.arange(LENGTH_SAMPLES), steps - 1)
    elif steps > 0:
        lengths = np.round(np.linspace(first, first + steps - 1, LENGTH_SAMPLES))
    return lengths, sample_weights(lengths, first + np.arange(steps))


def sample_weights(lengths: HostArray, every: HostArray) -> HostArray:
    """How much each sampled length stands for when costs at the lengths `every` are interpolated between samples.

    `lengths` ascend; repeated ones (padding) get nothing.

    >>> sample_weights(np.array([33.0, 35.0, 37.0, 37.0]), np.array([33, 34, 36])).tolist()
    [1.5, 1.0, 0.5, 0.0]
    """
    known, place = np.unique(lengths, return_index=True)
    out = np.zeros(len(lengths))
    if len(known) == 1:
        out[place[0]] = len(every)
        return out
    right = np.clip(np.searchsorted(known, every), 1, len(known) - 1)
    part = (every - known[right - 1]) / (known[right] - known[right - 1])
    np.add.at(out, place[right], part)
    np.add.at(out, place[right - 1], 1 - part)
    return out
