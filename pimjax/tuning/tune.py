"""`tune`: many gradient descents at once, the best finished on legal hardware, the result rechecked by `event`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.config.config import Config
from pimjax.errors import ConfigError
from pimjax.estimation.result import Estimate
from pimjax.trace.routing import RoutingTrace
from pimjax.tuning.checkpoint import restore_lanes, save_lanes
from pimjax.tuning.cutting import cut
from pimjax.tuning.descent import Lanes, descend, start_lanes
from pimjax.tuning.evaluate import evaluate
from pimjax.tuning.history import History
from pimjax.tuning.last_mile import last_mile
from pimjax.tuning.measures import MEASURES, QUALITIES, value_of
from pimjax.tuning.parameters import snap
from pimjax.tuning.points import Point, best_of, ranked
from pimjax.tuning.polish import LATE_STEP, polish, repair, return_idle
from pimjax.tuning.problem import Problem, Quality, make_problem
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
        }


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
    """Find a better chip by gradient descent. Host function.

    Every start descends the logarithm of the objective on relaxed hardware (see :mod:`pimjax.tuning.descent`; no step
    of it with `optimiser.steps: 0`); the best are rounded, improved by cutting planes (:mod:`pimjax.tuning.cutting`),
    polished among legal neighbours, their continuous parameters finished by L-BFGS-B, and the winner is estimated again
    by the event engine. Where that finds a limit broken, the chip is repaired or the next one taken
    (:mod:`pimjax.tuning.recheck`).

    Args:
        config: a :class:`TuneConfig`, a YAML file, the name of a shipped run, or a mapping.
        trace: routing of the request (multiplexed chip); None: what the base configuration's workload describes.
        quality: differentiable `Hardware -> []` that limits on `quality` use, for example a fit of perplexity;
            overrides `config.quality`.
        checkpoint: folder for the state after every chunk of steps; an interrupted run with the same problem goes on.
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
    say = progress or (lambda sentence: None)
    problem = make_problem(options, trace=trace, quality=quality)
    say(f"{problem.num_parameters} parameters, {problem.num_variants} combinations of choices, {options.starts} starts")
    record = History(problem)
    lanes = _starts(problem)
    if checkpoint is not None:
        lanes = restore_lanes(Path(checkpoint), problem, lanes) or lanes
    steps = options.optimiser.steps
    while int(lanes.step) < steps:
        begin = int(lanes.step)
        lanes, records = descend(problem, lanes, min(options.optimiser.chunk_steps, steps - begin))
        record.add_descent(lanes, records, begin)
        if checkpoint is not None:
            save_lanes(Path(checkpoint), problem, lanes)
        best = np.where(lanes.excess < 1e-3, lanes.objective, np.inf).min()
        say(f"step {int(lanes.step)} of {steps}: best relaxed objective {np.exp(best):.6g}")
    points, spent, gradients = finish(problem, lanes, say)
    gradients += steps * options.starts
    base, checked = None, Checked(points[0], None, {})
    if recheck:
        base, checked, more = check(problem, points, say)
        spent += more
    evaluations = spent + GRADIENT_COST * gradients
    record.add_points([checked.point], evaluations)
    if history is not None:
        record.write(Path(history))
    return _result(problem, checked, base, evaluations, gradients, record)


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


def finish(problem: Problem, lanes: Lanes, say: Progress = lambda sentence: None) -> tuple[list[Point], int, int]:
    """Round all lanes, finish the best and return them, best first; with the evaluations and gradients this took.

    Where any point seen keeps the limits, the first of the list does. The base chip is seen, too.
    """
    options = problem.config.optimiser
    units = np.concatenate([lanes.unit, np.tile(problem.start, (problem.num_variants, 1))])
    units = snap(problem.arrays.box, units)
    variants = np.concatenate([lanes.variant, np.arange(problem.num_variants)])
    result = evaluate(problem, units, variants)
    spent, gradients = len(units), 0
    points: list[Point] = []
    for index in np.argsort(result.merit[: len(lanes.unit)], kind="stable")[: options.polished_starts]:
        point = Point.of(units[index], variants[index], result, int(index))
        if not np.isfinite(point.merit):
            continue
        point, some, more = improve(problem, point)
        spent, gradients = spent + some, gradients + more
        say(
            f"finished a start: objective {np.exp(point.objective):.6g}{'' if point.excess == 0 else ', limits broken'}"
        )
        points.append(point)
    seen = best_of(units, variants, result)  # in case no finished start keeps the limits
    if not np.isfinite(seen.merit):
        raise ConfigError(
            "no start gave usable hardware: every point is refused by the model; widen the parameters' bounds"
        )
    best, *others = ranked([*points, seen])
    best, some = return_idle(problem, best)
    return [best, *others], spent + some, gradients


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
    problem: Problem, checked: Checked, base: Checked | None, evaluations: int, gradients: int, record: History
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
        gradients=gradients,
        event=checked.event,
        event_base=base.event if base is not None else None,
        event_excess=checked.excess,
        history=record,
    )


def _measures(problem: Problem, base: HostArray) -> dict[str, float]:
    names = [name for name in MEASURES if name != "quality" or problem.static.quality is not None]
    names = [name for name in names if name != "perplexity" or problem.config.quality == "perplexity"]
    values = {name: float(value_of(name, base)) for name in names}
    return {
        name: value for name, value in values.items() if name in QUALITIES or value > 1e-29
    }  # zero: a chip without it
