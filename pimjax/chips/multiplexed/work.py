"""How often things happen in a run of the multiplexed chip: tokens, passes, loads, additions, bytes.

Decode steps are summed in closed form (attention, traffic) or weighted samples (recomputed prefixes); nothing here
grows with the lengths. A schedule without sampled lengths is that of a prefill alone: it has no decode steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax.array_typing import AnyArray
from pimjax.arrays import larger, where
from pimjax.cache.traffic import sum_visible_tokens
from pimjax.chips.multiplexed.attention import AttentionCost, attention_cost, attention_total
from pimjax.chips.multiplexed.geometry import Geometry, Sums
from pimjax.runs.mixers import of_layers
from pimjax.runs.point import Point
from pimjax.runs.run_counts import RunCounts
from pimjax.runs.traffic import Moved, prompt_traffic, resident_bytes, sram_share, step_traffic


class Run(NamedTuple):
    """What a run consists of, and what its passes ask of attention and memory: everything but hardware times."""

    real: AnyArray  # [L] bool, layers that exist
    prefills: AnyArray  # []
    batch: AnyArray  # []
    prompt: AnyArray  # [] tokens
    steps: AnyArray | int  # [] decode steps; a plain 0 where there are none in any run of this schedule's shape
    lengths: AnyArray | int  # [] sum of the lengths of all steps
    blocks: AnyArray  # [] mixers, each with what feeds forward behind it
    moe_layers: AnyArray
    dense_layers: AnyArray
    whole: AttentionCost  # [L] of the prefill
    decode: AttentionCost | None  # [L] of all decode steps
    written: Moved  # [L] of the prefill
    mean: Moved | None  # [L] of the mean decode step
    held: AnyArray  # [] bytes of all caches at the longest context
    sram: AnyArray  # [] share of them in SRAM


def run_of(point: Point, schedule: RunCounts) -> Run:
    """The run of a design under a schedule."""
    workload, model = point.workload, point.model
    batch, prompt = workload.batch_size, workload.prompt_tokens
    moe = point.real(schedule.is_moe.astype(point.dtype)).sum()
    steps: Any = workload.generated_tokens - 1 if np.shape(schedule.lengths)[0] else 0
    is_moe, mixer = schedule.is_moe, schedule.mixer
    decode = mean = None
    lengths: Any = 0
    if not isinstance(steps, int):
        last = prompt + steps
        lengths = steps * (prompt + 1 + last) / 2
        count = larger(steps, 1.0)
        own = of_layers(point, mixer)
        decode = attention_total(point, prompt + 1, last, whole=point.dense_all, mixer=mixer)
        mean = step_traffic(
            point,
            lengths / count,
            sum_visible_tokens(prompt + 1, last, own.window, chunked=own.is_chunked) / count,
            is_moe=is_moe,
            admitted=schedule.step.passes / batch,
            taken=schedule.taken,
            mixer=mixer,
        )
    held = resident_bytes(point, mixer=mixer, is_moe=is_moe)
    return Run(
        real=np.arange(np.shape(is_moe)[0]) < point.design.model.num_blocks,
        prefills=where(point.design.workload.prefill, batch, 0.0),
        batch=batch,
        prompt=prompt,
        steps=steps,
        lengths=lengths,
        blocks=model.num_blocks,
        moe_layers=moe,
        dense_layers=model.num_dense_layers,
        whole=attention_cost(point, prompt, whole=True, mixer=mixer),
        decode=decode,
        written=prompt_traffic(point, is_moe=is_moe, mixer=mixer),
        mean=mean,
        held=held,
        sram=sram_share(point, held),
    )


class Work(NamedTuple):
    """How often things happen in a run; float scalars."""

    tokens: AnyArray  # through every layer's attention and norms
    sequences: AnyArray  # passes, one per sequence: attentions per layer, samplings
    passes: AnyArray  # expert passes
    digital_passes: AnyArray | float  # of them on digital macros
    loads: AnyArray
    combines: AnyArray  # additions of results
    attention_energy: AnyArray
    attention_time: AnyArray
    attention_flops: AnyArray
    kv_bytes: AnyArray
    go_bytes: AnyArray
    uses: Sums  # tokens through each kind of linear layer, all layers
    both: AnyArray  # products with links on both sides
    reads: AnyArray  # embedding reads, with one link
    strips: AnyArray  # additions of one strip's width
    wide: AnyArray  # additions of d_model values
    combining: AnyArray  # those of them that combine = inline takes off the units
    norms: AnyArray  # of d_model values
    gates: AnyArray  # routed tokens, all layers
    shared: AnyArray  # of them through the shared block
    dense: AnyArray  # tokens through dense blocks, all layers
    act_values: AnyArray


def run_work(point: Point, schedule: RunCounts, shape: Geometry, run: Run) -> Work:
    """Counts of a run, in closed form over its decode steps."""
    model, batch, prefills = point.model, run.batch, run.prefills

    def counted(of: str) -> Any:
        whole = prefills * getattr(schedule.prompt, of).sum()
        if isinstance(run.steps, int):
            return whole
        again = schedule.weights @ getattr(schedule.recomputed, of).sum(-1)
        return whole + where(point.experts_all, batch * again, run.steps * getattr(schedule.step, of).sum())

    def over_layers(first: Any, second: Any) -> Any:
        return where(run.real, prefills * first + second, 0.0).sum()

    tokens = prefills * run.prompt
    sequences, offered = prefills, tokens
    if not isinstance(run.steps, int):
        recomputed, single = batch * run.lengths, batch * run.steps
        offered = tokens + where(point.experts_all, recomputed, single)
        tokens = tokens + where(point.dense_all, recomputed, single)
        sequences = prefills + single
    passes, loads, unrouted = counted("passes"), counted("loads"), counted("unrouted")
    gates = run.moe_layers * tokens
    has_shared = model.shared_width > 0
    combines = passes - where(has_shared, 0.0, run.moe_layers * offered - unrouted)

    def attended(of: str) -> Any:
        decode = 0.0 if run.decode is None else batch * getattr(run.decode, of)
        return over_layers(getattr(run.whole, of), decode)

    def moved(first: str, second: str) -> Any:
        written, mean = run.written, run.mean
        step = 0.0 if mean is None else batch * run.steps * (getattr(mean, first) + getattr(mean, second))
        return over_layers(getattr(written, first) + getattr(written, second), step)

    dense = run.dense_layers * tokens
    halves = run.blocks * tokens + gates + dense  # a norm, a part of a block and the addition of what it makes
    uses = Sums(mixers=tokens, moe=gates, dense=dense, head=sequences, expert=passes)
    shared = where(has_shared, gates, 0.0)
    return Work(
        tokens=tokens,
        sequences=sequences,
        passes=passes,
        digital_passes=0.0 if schedule.prompt.digital is None else counted("digital"),
        loads=loads,
        combines=combines,
        attention_energy=attended("energy"),
        attention_time=attended("time"),
        attention_flops=attended("flops"),
        kv_bytes=moved("kv_read", "kv_written"),
        go_bytes=moved("go_read", "go_posted"),
        uses=uses,
        both=shape.sums(point, "tiles").times(uses),
        reads=where(point.looks_up, 0.0, tokens * shape.embedding_strips),
        strips=shape.sums(point, "adds").times(uses),
        wide=tokens + halves + combines,
        combining=combines + gates,
        norms=halves * (1 + model.post_norms) + gates * model.moe_norms + sequences,
        gates=gates,
        shared=shared,
        dense=dense,
        act_values=passes * model.d_ff + shared * model.shared_width + dense * model.dense_d_ff,
    )
