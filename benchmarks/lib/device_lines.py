"""The lines of `benchmarks/device_check.py`: what each measures, at full size and dry, and how long it may take.

A line is a generator of (name, entry): an entry is complete when it is given, so that what follows may fail or run out
of time. Sizes fill an H200 and fit an 80 GB device; dry sizes only show that the line runs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.lib.roofline import Work, against_bound, work_of
from benchmarks.lib.workloads import (
    admitted_scan,
    cost_program,
    gradient_program,
    kernel_inputs,
    make_choices,
    tuning_programs,
    vary_hardware,
)
from pimjax.compiling import quick_compilation

Entries = Iterator[tuple[str, dict[str, Any]]]


class Line(NamedTuple):
    """One line: `seconds` it may take with everything, compiling and the start of its process included."""

    about: str
    unit: str
    seconds: float
    run: Callable[[bool], Entries]


def timed(
    function: Callable[..., Any],
    *arguments: Any,
    items: int,
    dry: bool,
    operands: str = "float32",
    operations: float | None = None,
) -> dict[str, Any]:
    """Trace, compile, run once, then repeat for about two seconds: times, rate and the fraction of the bound.

    `operations`: where known better than by counting the program's.
    """
    device = jax.devices()[0].device_kind
    work = work_of(function, *arguments)
    begin = time.perf_counter()
    lowered = jax.jit(function, compiler_options=quick_compilation() if dry else None).lower(*arguments)
    trace_s = time.perf_counter() - begin
    begin = time.perf_counter()
    program = lowered.compile()
    compile_s = time.perf_counter() - begin
    del lowered
    samples: list[float] = []
    stop = time.perf_counter() + (0.2 if dry else 2.0)
    jax.block_until_ready(program(*arguments))
    while len(samples) < (1 if dry else 5) or (time.perf_counter() < stop and len(samples) < 100):
        begin = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        samples.append(time.perf_counter() - begin)
    seconds = float(np.median(samples))
    if operations is not None:
        work = work._replace(operations=operations, loops=False)
    return {
        "items": items,
        "trace_s": trace_s,
        "compile_s": compile_s,
        "median_s": seconds,
        "best_s": min(samples),
        "repeats": len(samples),
        "per_s": items / seconds,
        "operations_per_item": work.operations / items,
        "bytes_per_item": work.bytes / items,
        **against_bound(work, seconds, device, operands=operands),
    }


def _chips(preset: str, fidelity: str, points: int, program: str, dry: bool) -> dict[str, Any]:
    design, schedule, options = kernel_inputs(preset, fidelity)
    run = gradient_program(options) if program == "gradient" else cost_program(options)
    hardware = vary_hardware(design, points)
    shared = jax.tree.map(lambda leaf: jnp.asarray(leaf, _single(leaf)), (design, schedule))
    return timed(run, hardware, *shared, items=points, dry=dry)


def _single(leaf: Any) -> Any:
    dtype = np.asarray(leaf).dtype
    return np.float32 if dtype == np.float64 else dtype


def reference(dry: bool) -> Entries:
    """The authors' chip at published size, 32 tokens, every number of the hardware varied."""
    yield "closed", _chips("paper_reference", "closed", 4096 if dry else 1 << 21, "cost", dry)
    yield "fluid", _chips("paper_reference", "fluid", 64 if dry else 1 << 16, "cost", dry)


def multiplexed(dry: bool) -> Entries:
    """The physical chip, closed: gradient of the energy-delay product in every number, and the costs alone."""
    yield "closed_gradient", _chips("paper_multiplexed", "closed", 64 if dry else 1 << 17, "gradient", dry)
    if not dry:
        yield "closed", _chips("paper_multiplexed", "closed", 1 << 19, "cost", dry)


def batch(dry: bool) -> Entries:
    """A sweep of the authors' chip, closed, with the Pareto front found on the device; nothing else is stored."""
    from pimjax.batch.sweep import run_sweep
    from pimjax.batch.sweep_config import load_sweep

    side = 32 if dry else 10_000
    fields = ["latency_ns", "energy_nj", "area_mm2"]
    axes = [
        {"field": "hardware.mvm_latency_ns", "grid": {"start": 100, "stop": 160, "count": side}},
        {"field": "hardware.mvm_energy_nj", "grid": {"start": 9, "stop": 16, "count": side}},
    ]
    sweep = load_sweep(
        {"base": "paper_reference", "axes": axes, "columns": fields, "store": "selected", "select": {"pareto": fields}, "format": "json"}
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        found = run_sweep(sweep, Path(folder) / "out")
        wall = time.perf_counter() - begin
    run = wall - found.timings.compile_s
    # What the model alone must compute: nothing of a point needs to leave the device.
    design, schedule, options = kernel_inputs("paper_reference", "closed")
    few = work_of(cost_program(options), vary_hardware(design, 8), design, schedule)
    least = Work(few.operations / 8 * found.points, 0.0, few.loops)
    yield (
        "pareto",
        {
            "items": found.points,
            "compile_s": found.timings.compile_s,
            "median_s": run,
            "repeats": 1,
            "per_s": found.points / run,
            "front": found.selection["pareto"]["points"] if found.selection else None,
            "points_per_s_with_compiling": found.points / wall,
            "operations_per_item": few.operations / 8,
            "bytes_per_item": 0.0,
            **against_bound(least, run, jax.devices()[0].device_kind),
        },
    )


def schedules(dry: bool) -> Entries:
    """Schedules per second of one layer, 512 tokens, 16 experts in 8 groups, top 4, by policy."""
    from pimjax.schedule import POLICIES, schedule_cost

    tokens, experts, groups = (64, 16, 8) if dry else (512, 16, 8)
    group_of_expert = np.arange(experts) * groups // experts
    for policy in POLICIES:
        light = policy in ("token_wise", "compact")
        count = 16 if dry else (1 << 16 if light else 1 << 13)
        made = make_choices(min(count, 4096), tokens, experts, 4)
        choices = jnp.asarray(np.resize(made, (count, tokens, experts)))

        def cost(one: Any, policy: str = policy) -> Any:
            return schedule_cost(one, group_of_expert, policy=policy, num_groups=groups)

        yield policy, timed(jax.vmap(cost), choices, items=count, dry=dry)


def crossbar(dry: bool) -> Entries:
    """Crossbar products against the plain products that they must contain, by type of operand."""
    from pimjax.numerics import Crossbar, crossbar_mvm

    size, rows, batch_size = (128, 64, 64) if dry else (4096, 256, 8192)
    generator = np.random.default_rng(0)
    weights = jnp.asarray(generator.integers(-127, 128, (size, size)) / 127, jnp.float32)
    inputs = jnp.asarray(generator.integers(-127, 128, (size, batch_size)) / 127, jnp.float32)
    product = 2.0 * size * size * batch_size
    analog = Crossbar.create(rows=rows, cols=rows, adc_range=4.0)
    sliced = Crossbar.create(
        rows=rows, cols=rows, max_slices=4, max_cycles=7, cell_bits=2, cycle_bits=1, adc_bits=6, adc_range=[22.0] * 3 + [3.0]
    )  # fmt: skip

    def plain(a: Any, b: Any) -> Any:
        return jax.lax.dot(a, b, precision=jax.lax.Precision.HIGHEST)

    yield "plain_float32", timed(plain, weights, inputs, items=1, dry=dry, operations=product)
    yield "analog_float32", timed(crossbar_mvm, weights, inputs, analog, items=1, dry=dry, operations=product)
    columns = batch_size if dry else batch_size // 8
    few = inputs[:, :columns]
    for kind in ("float32",) if dry else ("bfloat16", "int8", "float32"):

        def read(w: Any, x: Any, kind: str = kind) -> Any:
            return crossbar_mvm(w, x, sliced, operands=kind)

        # 4 slices x 7 input cycles; int8 products have at least the peak of bfloat16
        entry = timed(
            read,
            weights,
            few,
            items=28,
            dry=dry,
            operations=28.0 * product * columns / batch_size,
            operands="float32" if kind == "float32" else "bfloat16",
        )
        yield f"sliced_serial_{kind}", entry


def cache(dry: bool) -> Entries:
    """Admissions of the gate-output cache, 16 experts, top 4: steps of all sequences in one program."""
    from pimjax.cache.capacity import capacity_law, list_length
    from pimjax.cache.threshold import threshold_init

    sequences, tokens, experts, top_k = (64, 16, 16, 4) if dry else (65_536, 64, 16, 4)
    law, size = capacity_law(experts, top_k, max_tokens=tokens), list_length(experts, top_k, tokens)
    scores = jax.nn.softmax(jax.random.normal(jax.random.key(0), (tokens, sequences, experts)), axis=-1)
    states = jax.vmap(lambda _: threshold_init(experts, size))(jnp.arange(sequences))
    entry = timed(admitted_scan, states, scores, law, items=sequences * tokens, dry=dry)
    yield "sequence_steps", entry | {"sequences": sequences, "steps": tokens}


def tuning(dry: bool) -> Entries:
    """Gradients of a tuning problem's penalised objective, all starts at once."""
    for name in ("prefill_edp_area_mixed",) if dry else ("prefill_edp_area_mixed", "multiplexed_edap_quality"):
        starts = 16 if dry else 65_536
        _, gradient, arguments = tuning_programs(name, starts)
        yield name, timed(gradient, *arguments, items=starts, dry=dry)


#: In order of importance: the first lines are there whatever happens to the last.
LINES: dict[str, Line] = {
    "reference": Line("estimates of the authors' chip", "chips", 75, reference),
    "multiplexed": Line("gradients and estimates of the physical chip", "chips", 120, multiplexed),
    "batch": Line("1e8 points with Pareto selection", "points", 60, batch),
    "schedules": Line("schedules by policy", "schedules", 60, schedules),
    "crossbar": Line("crossbar products against the matrix product's bound", "products", 45, crossbar),
    "cache": Line("gate-output cache: 65,536 sequences", "sequence steps", 30, cache),
    "tuning": Line("gradients of 65,536 starts of a tuning", "starts", 90, tuning),
}
