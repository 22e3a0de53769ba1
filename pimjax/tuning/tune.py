"""`tune`: search by regression or by gradients, finished on legal hardware, rechecked by the event engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.config.config import Config
from pimjax.errors import ConfigError
from pimjax.estimation.result import Estimate
from pimjax.trace.routing import RoutingTrace
from pimjax.tuning.checkpoint import restore_lanes, save_lanes
from pimjax.tuning.cutting import cut
from pimjax.tuning.descent import Lanes, descend, start_lanes
from pimjax.tuning.evaluate import Evaluation, evaluate
from pimjax.tuning.history import History
from pimjax.tuning.last_mile import last_mile
from pimjax.tuning.measures import MEASURES, QUALITIES, value_of
from pimjax.tuning.model_search import MAX_POINTS, Goal, ModelSearch, num_points
from pimjax.tuning.parameters import snap
from pimjax.tuning.points import Point, best_of, ranked
from pimjax.tuning.polish import LATE_STEP, polish, repair, return_idle
from pimjax.tuning.problem import Problem, Quality, make_problem
from pimjax.tuning.reachable import Reach, closest_first, reach_by_model, reach_of_starts
from pimjax.tuning.recheck import Checked, check
from pimjax.tuning.tune_config import TuneConfig, load_tune_config

GRADIENT_COST = 4
"""Evaluations one gradient counts as."""

Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class TuneResult:
    """What a tuning run found. Host object."""

    config: Config  # the tuned configuration: legal, validated
    settings: dict[str, Any]  # tuned values by parameter
    base_settings: dict[str, Any]  # where the run began
    measures: dict[str, float]  # of the tuned chip, in the fidelity that was differentiated
    base_measures: dict[str, float]
    feasible: bool  # all limits hold in that fidelity, and by the event engine where it was asked
    improvement: float  # objective of the base over objective of the tuned chip, as a ratio of weighted products
    evaluations: int  # a gradient counts as GRADIENT_COST
    gradients: int
    event: Estimate | None  # the tuned chip by the event engine; None where it is too large for it
    event_base: Estimate | None
    event_excess: dict[str, float]  # limits on measures that the event engine finds broken: relative excess
    history: History
    verdict: str = ""  # where the limits do not hold: which cannot be met, and the nearest value that can be reached
    reachable: dict[str, float] = dataclasses.field(
        default_factory=dict
    )  # nearest value of every limit that cannot be met
    unfinished: tuple[dict[str, Any], ...] = ()  # combinations of choices that the budget left without a finished point

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `pimjax tune --json` prints it."""
        return {
            "settings": self.settings,
            "base_settings": self.base_settings,
            "measures": self.measures,
            "base_measures": self.base_measures,
            "feasible": self.feasible,
            "improvement": self.improvement,
            "evaluations": self.evaluations,
            "gradients": self.gradients,
            "event": self.event.to_dict() if self.event is not None else None,
            "event_base": self.event_base.to_dict() if self.event_base is not None else None,
            "event_excess": self.event_excess,
            "verdict": self.verdict,
            "reachable": self.reachable,
            "unfinished": list(self.unfinished),
        }


@checks.checked(ConfigError, checkpoint=checks.path, history=checks.path, recheck=checks.flag)
def tune(
    config: TuneConfig | str | Path | Mapping[str, Any],
    *,
    trace: RoutingTrace | None = None,
    quality: Quality | None = None,
    checkpoint: str | Path | None = None,
    history: str | Path | None = None,
    progress: Progress | None = None,
    recheck: bool = True,
) -> TuneResult:
    """Find a better chip. Host function.

    Where every number has a few legal levels (at most 65,536 points in all combinations of choices), a regression of all costs
    says which points to evaluate (:mod:`pimjax.tuning.model_search`). Elsewhere every start descends the logarithm of the
    objective on relaxed hardware (see :mod:`pimjax.tuning.descent`; no step of it with `optimiser.steps: 0`); the best start
    of every combination of choices is rounded, improved by cutting planes (:mod:`pimjax.tuning.cutting`), polished among
    legal neighbours, and its continuous parameters finished by L-BFGS-B. The winner is estimated again by the event engine.
    Where that finds a limit broken, the chip is repaired or the next one taken (:mod:`pimjax.tuning.recheck`). Where no chip
    keeps the limits, the result says which limit cannot be met and what can be reached (:mod:`pimjax.tuning.reachable`).

    Args:
        config: a :class:`TuneConfig`, a YAML file, the name of a shipped run, or a mapping.
        trace: routing of the request (multiplexed chip); None: what the base configuration's workload describes.
        quality: differentiable `Hardware -> []` that limits on `quality` use, for example a fit of perplexity;
            overrides `config.quality`.
        checkpoint: folder for the state after every chunk of steps; an interrupted run with the same problem goes on. A
            state that is damaged is left, with a sentence. Only descents have one.
        history: Parquet file to write: one row per start and step, and one per finished point.
        progress: called with a sentence now and then.
        recheck: estimate base and result by the event engine.

    Returns:
        :class:`TuneResult`; legal hardware even where no point keeps the limits (`feasible` is then False).

    Raises:
        ConfigError, TraceError: as :func:`make_problem`.
        MissingExtraError: optax, scipy, orbax or pyarrow is needed and missing.
    """
    options = load_tune_config(config)
    _check_arguments(trace, quality, checkpoint, history, progress)
    say = progress or (lambda sentence: None)
    problem = make_problem(options, trace=trace, quality=quality)
    record = History(problem)
    if by_model(problem):
        found = _search(problem, record, say)
    else:
        found = _descend(problem, record, say, None if checkpoint is None else Path(checkpoint))
    base, checked, spent = None, Checked(found.points[0], None, {}), found.spent
    if recheck:
        base, checked, more = check(problem, found.points, say)
        spent += more
    evaluations = spent + GRADIENT_COST * found.gradients
    record.add_points([checked.point], evaluations)
    if history is not None:
        record.write(Path(history))
    return _result(problem, checked, base, evaluations, found, record)


def _check_arguments(trace: Any, quality: Any, checkpoint: Any, history: Any, progress: Any) -> None:
    for name, value, kind, words in (
        ("trace", trace, RoutingTrace, "a RoutingTrace (pimjax.open_traces)"),
        ("checkpoint", checkpoint, (str, Path), "the path of a folder"),
        ("history", history, (str, Path), "the path of a file"),
    ):
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"{name}: {str(value)[:200]!r} is not {words}; give one, or None")
    for name, value in (("quality", quality), ("progress", progress)):
        if value is not None and not callable(value):
            raise ConfigError(f"{name}: {str(value)[:200]!r} is not a function; give one, or None")


def by_model(problem: Problem) -> bool:
    """Whether a problem is searched by a regression instead of descents: `method`, or what fits the problem."""
    options, points = problem.config, num_points(problem)
    listed = points is not None and points <= MAX_POINTS
    if options.method == "model" and not listed:
        size = "a continuous parameter" if points is None else f"{points:,} points"
        raise ConfigError(
            f"method: 'model' needs levels for every number and at most {MAX_POINTS:,} points in all combinations, the "
            f"problem has {size}: use method: auto"
        )
    asked = "steps" in options.optimiser.model_fields_set and options.optimiser.steps > 0
    return options.method == "model" or (options.method == "auto" and listed and not asked)


class Found(NamedTuple):
    """What a search found, before the event engine's word."""

    points: list[Point]  # finished, best first
    spent: int  # evaluations
    gradients: int
    reach: Reach
    unfinished: tuple[int, ...] = ()  # combinations of choices


def _search(problem: Problem, record: History, say: Progress) -> Found:
    """By regression over all legal points."""
    search = ModelSearch(problem)
    say(
        f"{problem.num_parameters} parameters, {problem.num_variants} combinations of choices, {len(search.level):,} legal "
        f"points, at most {search.budget} evaluations"
    )
    search.run(Goal.of(problem), say)
    if not search.usable.any():
        raise ConfigError(_NO_START)
    unfinished = tuple(search.unfinished)
    best, *others = search.points()
    reach = Reach()
    if best.excess > 0:
        reach = reach_by_model(problem, search, search.points(closest=True)[0])
        best, *others = search.points(closest=True)
    record.add_search(search.unit(np.array(search.index)), search.variant[search.index], search.base)
    best, some = return_idle(problem, best)
    return Found([best, *others], search.spent + some, 0, reach, unfinished)


def _descend(problem: Problem, record: History, say: Progress, checkpoint: Path | None) -> Found:
    """By gradients of many starts, then every combination's best start on legal hardware."""
    options = problem.config
    say(f"{problem.num_parameters} parameters, {problem.num_variants} combinations of choices, {options.starts} starts")
    lanes = _starts(problem)
    reach = reach_of_starts(problem, *_rounded(problem, lanes))
    spent, gradients = reach.spent + len(lanes.unit) + problem.num_variants, reach.gradients
    steps, size = options.optimiser.steps, options.optimiser.chunk_steps
    if reach.sentence:
        say(reach.sentence)
        steps = 0
    if checkpoint is not None:
        lanes = restore_lanes(checkpoint, problem, lanes, say) or lanes
    while int(lanes.step) < steps:
        begin = int(lanes.step)
        lanes, records = descend(problem, lanes, min(size, steps - begin))
        record.add_descent(lanes, records, begin)
        if checkpoint is not None:
            save_lanes(checkpoint, problem, lanes)
        now = best_of(*_rounded(problem, lanes))
        legal = f"best legal objective {np.exp(now.objective):.6g}" if now.excess == 0 else "no start is legal yet"
        say(f"step {int(lanes.step)} of {steps}: {legal}")
    # counted by what the whole run takes, so that a resumed run says the same
    spent += -(-steps // size) * (len(lanes.unit) + problem.num_variants)
    gradients += steps * options.starts
    found = finish(problem, lanes, say, spent + GRADIENT_COST * gradients, every=not reach.sentence)
    points = found.points
    if points[0].excess > 0:
        if not reach.sentence:
            reach = reach_of_starts(problem, *_rounded(problem, lanes), points)
            spent, gradients = spent + reach.spent, gradients + reach.gradients
        points = closest_first([*points, *reach.points])
    return Found(points, found.spent + spent, found.gradients + gradients, reach, found.unfinished)


_NO_START = "no start gave usable hardware: every point is refused by the model; widen the parameters' bounds"


def _rounded(problem: Problem, lanes: Lanes) -> tuple[HostArray, HostArray, Evaluation]:
    """All starts and the base chip of every combination as legal hardware, evaluated."""
    units = np.concatenate([lanes.unit, np.tile(problem.start, (problem.num_variants, 1))])
    units = snap(problem.arrays.box, units)
    variants = np.concatenate([lanes.variant, np.arange(problem.num_variants)])
    return units, variants, evaluate(problem, units, variants)


def _starts(problem: Problem) -> Lanes:
    """The base point for every combination of choices, then points spread over the box."""
    options = problem.config
    variant = np.arange(options.starts) % problem.num_variants
    unit = np.zeros((options.starts, len(problem.start)))
    spread = spread_points(options.starts, problem.num_parameters, options.seed)
    unit[:, : problem.num_parameters] = spread
    unit[: min(options.starts, problem.num_variants)] = problem.start
    return start_lanes(problem, unit, variant)


def spread_points(count: int, dimensions: int, seed: int) -> HostArray:
    """`[count, dimensions]` points in the unit box: one per row and column of a Latin square, shuffled.

    >>> points = spread_points(4, 2, seed=0)
    >>> sorted((points[:, 0] * 4).astype(int).tolist())
    [0, 1, 2, 3]
    """
    generator = np.random.default_rng(seed)
    order = np.argsort(generator.random((count, dimensions)), axis=0)
    return (order + generator.random((count, dimensions))) / count


def finish(
    problem: Problem, lanes: Lanes, say: Progress = lambda sentence: None, spent: int = 0, *, every: bool = True
) -> Found:
    """Round all lanes, finish the best of every combination of choices and then the best of the others.

    Where any point seen keeps the limits, the first of the list does. The base chip is seen, too, and finished where a
    combination has no start. Combinations are taken in the order of their merit until `optimiser.budget` evaluations are
    spent; those that are left are named.

    Args:
        problem: as made.
        lanes: after the descent.
        say: told of every finished point.
        spent: evaluations of the run so far.
        every: all combinations; else only the `polished_starts` best starts.
    """
    options = problem.config.optimiser
    units, variants, result = _rounded(problem, lanes)
    order = np.lexsort((result.merit, result.excess > 0, ~np.isfinite(result.merit)))
    order = order[np.isfinite(result.merit[order])]
    if not len(order):
        raise ConfigError(_NO_START)
    _, first = np.unique(variants[order], return_index=True)
    firsts = order[np.sort(first)] if every else order[:0]
    chosen = [*firsts, *[i for i in order if i not in firsts and i < len(lanes.unit)]]
    chosen = chosen[: max(len(firsts), options.polished_starts)]
    own, gradients = len(units), 0
    points: list[Point] = []
    done: set[int] = set()
    for index in chosen:
        if points and spent + own + GRADIENT_COST * gradients >= options.budget:
            break
        point, some, more = improve(problem, Point.of(units[index], variants[index], result, int(index)))
        own, gradients = own + some, gradients + more
        done.add(int(variants[index]))
        points.append(point)
        best = ranked(points)[0]
        legal = (
            f"best legal objective {np.exp(best.objective):.6g}" if best.excess == 0 else "none keeps the limits yet"
        )
        say(f"finished {len(points)} of {len(chosen)} starts: {legal}")
    unfinished = tuple(sorted({int(v) for v in variants[firsts]} - done))
    if unfinished:
        say(f"the budget of {options.budget:,} evaluations is spent: {len(unfinished)} combinations are not finished")
    seen = best_of(units, variants, result)  # in case no finished start keeps the limits
    best, *others = ranked([*points, seen])
    best, some = return_idle(problem, best)
    return Found([best, *others], own + some, gradients, Reach(), unfinished)


def improve(problem: Problem, point: Point) -> tuple[Point, int, int]:
    """Cutting planes, polish, last mile, and repair where a limit is still broken; with evaluations and gradients."""
    options = problem.config.optimiser
    point, gradients = cut(problem, point, steps=options.cutting_steps)
    point, spent = polish(problem, point, sweeps=options.polish_sweeps)
    point, slopes, more = last_mile(problem, point, steps=options.last_mile_steps)
    gradients, spent = gradients + slopes, spent + more
    if slopes:
        point, some = polish(problem, point, sweeps=options.polish_sweeps, step=LATE_STEP)
        spent += some
    point, some = repair(problem, point, sweeps=options.polish_sweeps)
    return point, spent + some, gradients


def _result(
    problem: Problem, checked: Checked, base: Checked | None, evaluations: int, found: Found, record: History
) -> TuneResult:
    point = checked.point
    before = evaluate(problem, problem.start[None], np.zeros(1, int))
    return TuneResult(
        config=problem.configuration(point.unit, point.variant),
        settings=problem.settings(point.unit, point.variant),
        base_settings=problem.settings(problem.start, 0),
        measures=_measures(problem, point.base),
        base_measures=_measures(problem, before.base[0]),
        feasible=point.excess == 0 and not checked.excess,
        improvement=float(np.exp(before.objective[0] - point.objective)),
        evaluations=evaluations,
        gradients=found.gradients,
        event=checked.event,
        event_base=base.event if base is not None else None,
        event_excess=checked.excess,
        history=record,
        verdict=found.reach.sentence if point.excess > 0 else "",
        reachable=found.reach.values if point.excess > 0 else {},
        unfinished=tuple(problem.choices[variant] for variant in found.unfinished),
    )


def _measures(problem: Problem, base: HostArray) -> dict[str, float]:
    names = [name for name in MEASURES if name != "quality" or problem.static.quality is not None]
    names = [name for name in names if name != "perplexity" or problem.config.quality == "perplexity"]
    values = {name: float(value_of(name, base)) for name in names}
    return {
        name: value for name, value in values.items() if name in QUALITIES or value > 1e-29
    }  # zero: a chip without it
