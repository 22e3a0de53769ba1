"""`estimate`: one configuration, one request (or batch of them), at one of three fidelities, in float64."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from pimjax import checks
from pimjax.chips import CHIPS, Chip, EventOptions, RunCost
from pimjax.compiling import quick_compilation
from pimjax.config.build import Capacity, Design, build
from pimjax.config.config import Config
from pimjax.config.uncosted import refuse_uncosted
from pimjax.errors import ConfigError, shown
from pimjax.estimation import stored_programs
from pimjax.estimation.kernel import FIDELITIES, estimate_kernel
from pimjax.estimation.result import NOT_COMPUTED, Estimate, from_run_cost
from pimjax.runs.requests import resolve, stacked
from pimjax.trace.routing import RoutingTrace


@checks.checked(
    ConfigError,
    fidelity=checks.text,
    seed=checks.whole(0, 2**63 - 1),
    accuracy=checks.text,
    timeline=checks.path,
    expert_choices=checks.having(
        "__len__", "__iter__", meaning="one list of expert ids for each (pass, MoE layer, token)"
    ),
)
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
            the trace's length decides. Without effect on fast fidelities of chips that take no routing.
        fidelity: "event" (exact), "fluid", or "closed".
        expert_choices: the authors' simulator only: one entry of k distinct ids per (pass, MoE layer, token);
            checked at every fidelity, used by "event".
        seed: the authors' simulator only: for drawing experts where none are given.
        accuracy: "none"; "sqnr": also `sqnr_db` of a crossbar product with the configuration's numerics; "perplexity":
            also `perplexity` of the project's language model on such crossbars (seconds to minutes), see
            :mod:`pimjax.estimation.accuracy`.
        timeline: fidelity "event", where the chip's event engine writes one: file for the first pass's timeline, every job on its
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
        raise ConfigError(f"fidelity: {shown(fidelity)} is unknown; allowed: {', '.join(FIDELITIES)}")
    if accuracy != "none":
        from pimjax.estimation.accuracy import measure_accuracy

        measured = measure_accuracy(config, accuracy)  # names its own mistakes before the costs are computed
        given: dict[str, Any] = {"expert_choices": expert_choices, "seed": seed, "timeline": timeline}
        return estimate(config, trace, fidelity, **given).replace(**measured)  # type: ignore[attr-defined]
    chip = CHIPS[config.chip_model]
    options = _options(chip, expert_choices, seed, timeline, fidelity)
    chip.check_core(config)
    chip.check_options(config, options)
    if fidelity != "event":
        ready = prepare(config, trace, fidelity)
        return run_kernel(ready.design, ready.inputs, ready.capacity, chip, fidelity)
    config, requests = _requests(config, chip, trace)
    design, capacity = build(config)
    cost = chip.simulate(config, requests, capacity=capacity, options=options)
    return on_host(chip, cost, design.hardware)


class Prepared(NamedTuple):
    """A run as a fast fidelity takes it."""

    design: Design
    inputs: Any
    capacity: Capacity


def prepare(config: Config, trace: RoutingTrace | None, fidelity: str) -> Prepared:
    """What :func:`run_kernel` needs of a run: its design, and what its chip counts of its routing."""
    chip = CHIPS[config.chip_model]
    config, requests = _requests(config, chip, trace)
    design, capacity = build(config)
    return Prepared(design, chip.inputs(config, requests, fidelity=fidelity, capacity=capacity), capacity)


def _requests(config: Config, chip: Chip, trace: RoutingTrace | None) -> tuple[Config, RoutingTrace | None]:
    """The configuration with its prompt length filled in, and stacked requests."""
    requests = None if trace is None else stacked(trace)
    if chip.takes_routing:
        config, requests = resolve(config, trace)
    refuse_uncosted(config)
    return config, requests


def _options(chip: Chip, expert_choices: Any, seed: int, timeline: Any, fidelity: str) -> EventOptions:
    """What only some chips' exact runs take, refused where this one does not know it."""
    given = {"expert_choices": expert_choices, "timeline": timeline}
    for name, value in given.items():
        if value is not None and name not in chip.event_options:
            others = [repr(other) for other in CHIPS if name in CHIPS[other].event_options]
            raise ConfigError(f"{name} belongs to chip_model {' or '.join(others)}, not to {chip.name!r}: leave it out")
    if timeline is not None and fidelity != "event":
        raise ConfigError(f"a timeline needs fidelity 'event', not {shown(fidelity)}")
    return EventOptions(expert_choices=expert_choices, seed=seed, timeline=timeline)


def run_kernel(design: Design, inputs: Any, capacity: Capacity, chip: Chip, fidelity: str) -> Estimate:
    """One estimate in float64, NumPy out: on the host where the chip's formulas run there, else compiled."""
    if chip.runs_on_host(inputs):
        cost = chip.cost(design, inputs, capacity=capacity, fidelity=fidelity)
        return on_host(chip, cost, design.hardware)
    with jax.enable_x64(True):
        if not stored_programs.is_on():
            return _numpy(_compiled(capacity, chip.name, fidelity)(design, inputs))
        names = tuple(field.name for field in dataclasses.fields(Estimate) if field.name not in NOT_COMPUTED)
        options = {"capacity": capacity, "chip_model": chip.name, "fidelity": fidelity}

        def fields(design, inputs):
            result = estimate_kernel(design, inputs, **options)
            return {name: getattr(result, name) for name in names}

        arguments = (design, inputs)
        function = jax.jit(fields, compiler_options=quick_compilation())
        run = stored_programs.compiled(function, arguments, key=("estimate", options), results=dict.fromkeys(names, 0))
        return _numpy(Estimate(**run(*arguments), components=chip.component_names, op_kinds=chip.op_kinds))


def on_host(chip: Chip, cost: RunCost, hardware: Any) -> Estimate:
    """The metrics of primitive costs that are NumPy, as NumPy float64."""
    with np.errstate(all="ignore"):
        return _numpy(from_run_cost(cost, hardware, chip))


@functools.cache
def _compiled(capacity: Capacity, chip_model: str, fidelity: str) -> Any:
    kernel = functools.partial(estimate_kernel, capacity=capacity, chip_model=chip_model, fidelity=fidelity)
    return jax.jit(kernel, compiler_options=quick_compilation())


def _numpy(result: Estimate) -> Estimate:
    return jax.tree.map(np.asarray, result)
