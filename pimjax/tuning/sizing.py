"""`size`: a balanced chip for a model within a budget.

Minimises latency times area (or what is asked) over the units, memory and sharing that a chip says a designer chooses
(:meth:`pimjax.chips.Chip.sizes`): every combination of their levels is evaluated by the closed form in one compiled
program, so none is missed; from the best of each combination of choices the fluid model, which sees what hides behind what,
goes on among neighbouring levels until none is better. Where latency times area is least, one percent more of a kind of unit costs as
much area as it saves time: every kind of unit that scales takes the part of the area that it bounds of the latency. So no
cheap part is left to bound a run.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.chips import CHIPS
from pimjax.config.config import Config
from pimjax.config.loader import load_config
from pimjax.errors import ConfigError, shown
from pimjax.estimation.api import estimate
from pimjax.estimation.balance import Part, parts
from pimjax.estimation.result import Estimate
from pimjax.trace.routing import RoutingTrace
from pimjax.tuning.evaluate import Evaluation, evaluate
from pimjax.tuning.measures import value_of
from pimjax.tuning.parameters import snap
from pimjax.tuning.problem import Problem, make_problem
from pimjax.tuning.tune_config import TuneConfig, load_tune_config

GOALS: dict[str, dict[str, float]] = {
    "balance": {"latency_ns": 1, "area_mm2": 1},
    "latency": {"latency_ns": 1},
    "energy": {"energy_nj": 1},
    "edp": {"edp_nj_ns": 1},
    "edap": {"edap": 1},
}
"""What `goal` may be: measures whose product of powers is made small."""
MAX_POINTS = 1_000_000
REACH = (1, 2, 4)
"""Levels up and down that a neighbour may be away."""
_UNITS = {"mm2": ("area_mm2", 1.0), "w": ("power_w", 1.0), "kw": ("power_w", 1e3)}
_DIES = ("die", "dies")
_SPELT = {"area_mm2": "mm2", "power_w": "W"}


@dataclasses.dataclass(frozen=True)
class SizeResult:
    """A sized chip. Host object."""

    config: Config  # of the sized chip: legal, validated
    estimate: Estimate  # of it
    base: Estimate  # of the configuration as it was given
    settings: dict[str, Any]  # what was chosen, by key
    base_settings: dict[str, Any]
    parts: list[Part]  # what its units take of the area and bound of the latency
    base_parts: list[Part]
    chips: int  # combinations of levels that the closed form evaluated
    refined: int  # chips that the fluid model evaluated after that
    feasible: bool  # every budget is kept
    verdict: str  # where one is not: which, and what can be reached

    @property
    def is_balanced(self) -> bool:
        """No units below 1 % of the area bound more than half of the latency."""
        return not any(part.is_short for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `pimjax size --json` prints it."""
        return {
            "settings": self.settings,
            "base_settings": self.base_settings,
            "chips": self.chips,
            "refined": self.refined,
            "feasible": self.feasible,
            "verdict": self.verdict,
            "is_balanced": self.is_balanced,
            "parts": [part._asdict() for part in self.parts],
            "base_parts": [part._asdict() for part in self.base_parts],
            "estimate": self.estimate.to_dict(),
            "base": self.base.to_dict(),
        }


def budget(text: str, die_area_mm2: float) -> tuple[str, float]:
    """Measure and bound of a budget as a user types it: a number with `mm2`, `W`, `kW` or `dies`.

    Args:
        text: such as "200000mm2", "500 W", "2.5kW", "12dies".
        die_area_mm2: area of one die.

    Raises:
        ConfigError: it is no positive number with one of those units.

    >>> budget("1.5 kW", 858), budget("12dies", 858)
    (('power_w', 1500.0), ('area_mm2', 10296.0))
    """
    found = re.fullmatch(r"\s*([0-9][0-9_,.]*(?:e[+-]?[0-9]+)?)\s*([a-z]+2?)\s*", text.lower())
    try:
        value, unit = (float(found[1].replace(",", "").replace("_", "")), found[2]) if found else (0.0, "")
    except ValueError:
        value, unit = 0.0, ""
    if 0 < value < float("inf"):
        if unit in _DIES:
            return "area_mm2", value * die_area_mm2
        if unit in _UNITS:
            measure, factor = _UNITS[unit]
            return measure, value * factor
    raise ConfigError(
        f"within: {shown(text)} is no budget; give a number above 0 with mm2, W, kW or dies, for example 200000mm2"
    )


def _die_area_mm2(config: Config) -> float:
    """Area of one die of the system around the chip; without one, of the reticle that estimates count dies by."""
    hardware: Any = config.hardware
    return float(hardware.reticle_area_mm2 if config.system.network == "none" else hardware.system_die_area_mm2)


@checks.checked(
    ConfigError,
    within=checks.each(checks.text, "a list of budgets such as ['200000mm2']"),
    settings=checks.optional(checks.mapping),
)
def size_problem(
    config: str | Path | Mapping[str, Any],
    within: Sequence[str] = (),
    *,
    goal: str = "balance",
    settings: Mapping[str, Any] | None = None,
) -> TuneConfig:
    """What is searched, as the description of a tuning run; see :func:`size` for arguments and errors.

    >>> sorted(size_problem("paper_multiplexed", ["9000mm2"]).parameters)[-1]
    'plan.group_size'
    """
    if not isinstance(goal, str) or goal not in GOALS:
        raise ConfigError(f"goal: {shown(goal)} is unknown; allowed: {', '.join(GOALS)}")
    base = load_config(config, settings)
    sized = CHIPS[base.chip_model].sizes(base)
    if not sized:
        able = [name for name, one in CHIPS.items() if one.sizes(load_config({"chip_model": name}))]
        raise ConfigError(
            f"chip_model {base.chip_model!r} has nothing to size; chips that have: {', '.join(able)}; or use pimjax tune"
        )
    die = _die_area_mm2(base)
    return load_tune_config(
        {
            "base": dict(config) if isinstance(config, Mapping) else str(config),
            "set": dict(settings or {}),
            "objective": GOALS[goal],
            "limits": [dict(zip(("measure", "at_most"), budget(one, die), strict=True)) for one in within],
            "parameters": {
                one.key: {"kind": "categorical", "choices": one.choices}
                if one.choices
                else {"kind": "levels", "levels": one.levels}
                for one in sized
            },
        }
    )


@checks.checked(
    ConfigError,
    within=checks.each(checks.text, "a list of budgets such as ['200000mm2']"),
    settings=checks.optional(checks.mapping),
    trace=checks.optional(checks.instance(RoutingTrace, "a RoutingTrace from pimjax.open_traces")),
    progress=checks.optional(checks.function),
)
def size(
    config: str | Path | Mapping[str, Any],
    within: Sequence[str] = (),
    *,
    goal: str = "balance",
    settings: Mapping[str, Any] | None = None,
    trace: RoutingTrace | None = None,
    progress: Callable[[str], None] | None = None,
) -> SizeResult:
    """A chip for a model, with as many units of each kind as pay within a budget. Host function.

    Args:
        config: anything :func:`pimjax.load_config` takes, a `config.json` of a model among it; where it begins.
        within: budgets, each a number with a unit: "200000mm2", "500W", "12dies".
        goal: one of :data:`GOALS`.
        settings: overrides by dotted key.
        trace: routing of the request; None: what the workload describes.
        progress: called with a sentence now and then.

    Returns:
        :class:`SizeResult`; the nearest chip where a budget cannot be kept (`feasible` is then False and `verdict` says what
        can be reached).

    Raises:
        ConfigError: a budget, goal or configuration is not acceptable, or the chip has nothing to size.

    >>> sized = size("paper_multiplexed", ["6000mm2"], settings={"workload.prompt_tokens": 32})
    >>> sized.is_balanced, sized.feasible
    (True, True)
    """
    say = progress or (lambda sentence: None)
    options = size_problem(config, within, goal=goal, settings=settings)
    problem = make_problem(options, trace=trace)
    units, variants = every_point(problem)
    say(f"{len(units):,} chips by the closed form")
    found = evaluate(problem, units, variants, once=True)
    if not np.isfinite(found.merit).any():
        raise ConfigError("no chip could be sized: the model refuses every one of them; pimjax estimate says why")
    firsts = [own[best_point(found, own)] for own in (np.flatnonzero(variants == one) for one in np.unique(variants))]
    finer = make_problem(options.model_copy(update={"fidelity": "fluid"}), trace=trace)
    unit, variant, last, refined = refine(finer, units[firsts], variants[firsts], say)
    given, made = load_config(config, settings), problem.configuration(unit, variant)
    made = made.model_copy(update={"name": given.name})
    before, after = (estimate(one, trace, "fluid") for one in (given, made))
    chip = CHIPS[given.chip_model]
    return SizeResult(
        config=made,
        estimate=after,
        base=before,
        settings=problem.settings(unit, variant),
        base_settings=_given(problem, given),
        parts=parts(after, chip),
        base_parts=parts(before, chip),
        chips=len(units),
        refined=refined,
        feasible=bool(last.excess[0] == 0),
        verdict=_verdict(problem, found, last),
    )


def every_point(problem: Problem) -> tuple[HostArray, HostArray]:
    """Unit coordinates `[N, P]` and combinations `[N]` of all legal points. Host.

    Raises:
        ConfigError: there are more than `MAX_POINTS`.
    """
    counts = np.asarray(problem.arrays.box.level_count)[: problem.num_parameters].tolist()
    total = int(np.prod(counts, dtype=float)) * problem.num_variants
    if total > MAX_POINTS:
        raise ConfigError(f"{total:,} chips are more than {MAX_POINTS:,}: the chip's sizes name too many levels")
    place = np.array(list(itertools.product(*(np.linspace(0, 1, count) for count in counts)))).reshape(-1, len(counts))
    unit = np.zeros((len(place), len(problem.start)))
    unit[:, : len(counts)] = place
    variants = np.repeat(np.arange(problem.num_variants), len(unit))
    return np.tile(unit, (problem.num_variants, 1)), variants


def best_point(found: Evaluation, own: HostArray | None = None) -> int:
    """Place of the least objective among points (of `own`) that keep every limit; where none does, of the least excess."""
    merit, objective, excess = (
        array if own is None else array[own] for array in (found.merit, found.objective, found.excess)
    )
    return int(np.lexsort((objective, excess, ~np.isfinite(merit)))[0])


def refine(
    problem: Problem, units: HostArray, variants: HostArray, say: Callable[[str], None] = lambda sentence: None
) -> tuple[HostArray, int, Evaluation, int]:
    """Go on among neighbouring levels from the best of some points until no neighbour is better. Host.

    Args:
        problem: every number has levels.
        units: `[N, P]` points to begin with.
        variants: their combinations of choices `[N]`.
        say: told of every step.

    Returns:
        Unit coordinates `[P]`, combination, evaluation of that one point, points evaluated.
    """
    counts = np.asarray(problem.arrays.box.level_count)[: problem.num_parameters]
    steps = np.zeros((2 * len(REACH) * len(counts) + 1, len(problem.start)))
    for row, (place, reach) in enumerate(itertools.product(range(len(counts)), (*REACH, *(-one for one in REACH)))):
        steps[row, place] = reach / max(counts[place] - 1, 1)
    spent, last = 0, None
    while True:
        found = evaluate(problem, units, variants, once=True)
        spent += len(units)
        best = best_point(found)
        unit, variant = snap(problem.arrays.box, units[best]), int(variants[best])
        say(f"{spent:,} chips by the fluid model")
        if last is not None and np.array_equal(unit, last):
            return unit, variant, Evaluation(*(array[best : best + 1] for array in found)), spent
        # the last of the steps is none: the point itself is among its neighbours
        last = unit
        units = np.unique(snap(problem.arrays.box, unit + steps), axis=0)
        variants = np.full(len(units), variant)


def _given(problem: Problem, config: Config) -> dict[str, Any]:
    """What the configuration had, by the keys that were sized."""
    tree = config.model_dump()
    found: dict[str, Any] = {}
    for key in problem.settings(problem.start, 0):
        value: Any = tree
        for part in key.split("."):
            value = value[part]
        found[key] = value
    return found


def _verdict(problem: Problem, found: Evaluation, chosen: Evaluation) -> str:
    """Where a budget is broken: every broken one with the least that any chip reaches."""
    if chosen.excess[0] == 0:
        return ""
    usable = np.isfinite(found.merit)
    sentences = []
    for limit in problem.config.limits:
        unit, reached = _SPELT[limit.measure], value_of(limit.measure, found.base[usable])
        if value_of(limit.measure, chosen.base[0]) > limit.bound:
            sentences.append(
                f"{limit.bound:,.6g} {unit} is too little: the least is {float(reached.min()):,.6g} {unit}"
            )
    return "; ".join(sentences)
