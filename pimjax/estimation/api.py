"""`estimate`: one configuration, one request (or batch of them), at one of three fidelities, in float64."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pimjax.chips.multiplexed import MultiplexedSchedule, multiplexed_cost, schedule_inputs, simulate
from pimjax.chips.multiplexed.core import tile_parameters
from pimjax.chips.reference.config import check_choices, simulate_config
from pimjax.chips.run_cost import RunCost
from pimjax.circuit.sanity import checked_tile, least_cost
from pimjax.compiling import quick_compilation
from pimjax.config.build import Capacity, Design, build
from pimjax.config.config import Config
from pimjax.errors import ConfigError, TraceError
from pimjax.estimation import stored_programs
from pimjax.estimation.kernel import FIDELITIES, estimate_kernel
from pimjax.estimation.result import ACCURACY, Estimate, from_run_cost
from pimjax.estimation.routing import resolve
from pimjax.trace.routing import RoutingTrace

#: Slots beyond which the fluid recurrence is compiled: about 0.2 ms each on the host, and seconds to compile.
_LONG_PROFILE = 16_384


def estimate(
    config: Config,
    trace: RoutingTrace | None = None,
    fidelity: str = "fluid",
    *,
    expert_choices: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
    accuracy: str = "none",
    timeline: str | Path | None = None,
) -> Estimate:
    """Area, latency and energy of one run. Host function: float64, NumPy in and out.

    Args:
        config: from :func:`pimjax.load_config` or :func:`pimjax.reference_config`.
        trace: routing of the request; None: what `workload.trace` describes. Where `workload.prompt_tokens` is null
            the trace's length decides. Without effect on the fluid and closed fidelities of the `reference` chip.
        fidelity: "event" (exact), "fluid", or "closed".
        expert_choices: `reference` chip only: one entry of k distinct ids per (pass, MoE layer, token);
            checked at every fidelity, used by "event".
        seed: `reference` chip only: for drawing experts where none are given.
        accuracy: "none"; "sqnr": also `sqnr_db` of a crossbar product with the configuration's numerics; "perplexity":
            also `perplexity` of the project's language model on such crossbars (seconds to minutes), see
            :mod:`pimjax.estimation.accuracy`.
        timeline: fidelity "event" of the multiplexed chip only: file for the first pass's timeline, every job on its
            resource, in the format that https://ui.perfetto.dev opens.

    Returns:
        An :class:`Estimate` of float64 NumPy arrays.

    Raises:
        ConfigError: unknown fidelity, or something the chip model does not have.
        TraceError: the trace does not fit the model.
        CapacityError: too large for the event engine.

    >>> import pimjax
    >>> float(estimate(pimjax.load_config("paper_reference"), fidelity="event").latency_ns)
    244282.5
    """
    if not isinstance(config, Config):
        raise ConfigError(f"config is a {type(config).__name__}; make one with pimjax.load_config")
    if fidelity not in FIDELITIES:
        raise ConfigError(f"fidelity: {fidelity!r} is unknown; allowed: {', '.join(FIDELITIES)}")
    if accuracy != "none":
        from pimjax.estimation.accuracy import measure_accuracy

        measured = measure_accuracy(config, accuracy)  # names its own mistakes before the costs are computed
        options: dict[str, Any] = {"expert_choices": expert_choices, "seed": seed, "timeline": timeline}
        return estimate(config, trace, fidelity, **options).replace(**measured)  # type: ignore[attr-defined]
    if timeline is not None and (fidelity != "event" or config.chip_model != "multiplexed"):
        raise ConfigError(
            f"a timeline needs fidelity 'event' of chip_model 'multiplexed', not {fidelity!r} of {config.chip_model!r}"
        )
    refuse_impossible_core(config)
    if config.chip_model == "reference":
        return _reference(config, trace, fidelity, expert_choices, seed)
    if expert_choices is not None:
        raise ConfigError("expert_choices belongs to chip_model 'reference'; give the multiplexed chip a trace")
    config, requests = resolve(config, trace)
    if fidelity == "event":
        run = simulate(config, requests)
        if timeline is not None:
            run.passes[0].log.to_perfetto(timeline)
        return _host(from_run_cost(run.cost, config.hardware.reticle_area_mm2))
    design, capacity = build(config)
    schedule = schedule_inputs(config, requests, fidelity=fidelity, capacity=capacity)
    return run_kernel(design, schedule, capacity, config.chip_model, fidelity)


def refuse_impossible_core(config: Config) -> None:
    """Raise ConfigError, naming the limit, if the crossbar core, measured or computed, cannot exist.

    >>> import pimjax
    >>> refuse_impossible_core(pimjax.load_config("paper_multiplexed"))
    """
    hardware = config.hardware
    if config.chip_model == "multiplexed" and config.plan.tile == "parametric":
        with jax.enable_x64(True):
            parameters = jax.tree.map(np.asarray, tile_parameters(build(config)[0]))
        checked_tile(parameters)
        return
    least = least_cost(hardware.crossbar_rows, hardware.crossbar_cols, hardware.node_nm)
    for name, unit, limit, law in (
        ("mvm_latency_ns", "ns", least.latency_ns, "one gate delay"),
        ("mvm_energy_nj", "nJ", least.energy_nj, "kT ln 2 per multiply-accumulate"),
        ("core_area_mm2", "mm2", least.area_mm2, "4 F^2 per crossbar position"),
    ):
        given = getattr(hardware, name)
        if given < limit:
            raise ConfigError(
                f"hardware.{name} = {given:g} is below the physical limit of {limit:.2g} {unit} ({law}): "
                f"no such crossbar can exist; is the number in {unit}?"
            )


def run_kernel(design: Design, schedule: Any, capacity: Capacity, chip_model: str, fidelity: str) -> Estimate:
    """`estimate_kernel` in float64, NumPy out: compiled, or on the host where the chip's formulas run without."""
    if chip_model == "multiplexed" and not _is_long(schedule):
        cost = multiplexed_cost(design, schedule, capacity=capacity, fidelity=fidelity)
        return _host(from_run_cost(cost, design.hardware.reticle_area_mm2))
    with jax.enable_x64(True):
        if not stored_programs.is_on():
            return _host(_compiled(capacity, chip_model, fidelity)(design, schedule))
        names = tuple(field.name for field in dataclasses.fields(Estimate) if field.name not in ACCURACY)
        options = {"capacity": capacity, "chip_model": chip_model, "fidelity": fidelity}

        def fields(design, schedule):
            result = estimate_kernel(design, schedule, **options)
            return {name: getattr(result, name) for name in names}

        arguments = (design, schedule)
        function = jax.jit(fields, compiler_options=quick_compilation())
        run = stored_programs.compiled(function, arguments, key=("estimate", options), results=dict.fromkeys(names, 0))
        return _host(Estimate(**run(*arguments)))


def _is_long(schedule: MultiplexedSchedule) -> bool:
    """Whether a slot profile is so long that compiling a loop over it takes less time than a loop in Python."""
    return schedule.prompt_profile is not None and int(schedule.prompt.makespan.max()) > _LONG_PROFILE


@functools.cache
def _compiled(capacity: Capacity, chip_model: str, fidelity: str) -> Any:
    kernel = functools.partial(estimate_kernel, capacity=capacity, chip_model=chip_model, fidelity=fidelity)
    return jax.jit(kernel, compiler_options=quick_compilation())


def _host(result: Estimate) -> Estimate:
    return jax.tree.map(np.asarray, result)


def _reference(
    config: Config,
    trace: RoutingTrace | None,
    fidelity: str,
    expert_choices: Sequence[Sequence[int]] | None,
    seed: int,
) -> Estimate:
    design, capacity = build(config)
    if fidelity == "event":
        if expert_choices is None and trace is not None:
            expert_choices = _choices_of_trace(config, trace)
        if expert_choices is None and config.workload.trace.seed:
            seed = config.workload.trace.seed
        cost: RunCost = simulate_config(config, expert_choices, seed=seed, max_layers=capacity.max_layers)[0]
        with jax.enable_x64(True):
            return _host(from_run_cost(cost, config.hardware.reticle_area_mm2))
    if expert_choices is not None:
        check_choices(config, expert_choices)
    return run_kernel(design, None, capacity, config.chip_model, fidelity)


def _choices_of_trace(config: Config, trace: RoutingTrace) -> list[list[int]]:
    """Expert choices of a prefill from a trace that has the model's layers, experts, k and tokens."""
    order = trace.expert_order
    wanted = (config.model.num_moe_layers, config.workload.num_prompt_tokens, config.model.top_k)
    if config.workload.generated_tokens > 1 or order is None or np.shape(order) != wanted:
        raise TraceError(
            "chip_model 'reference' takes a trace only for a prefill, with expert_order of shape "
            f"[MoE layers, tokens, k] = {wanted}; this one has {None if order is None else np.shape(order)}: give "
            "expert_choices instead"
        )
    return [list(map(int, row)) for row in np.asarray(order).reshape(-1, wanted[-1])]
