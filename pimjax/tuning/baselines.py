"""Searches under one count of evaluations: gradient descent, random search, CMA-ES and TPE. For benchmarks.

All see the same legal points, the same merit (objective plus a penalty for broken limits) and start without knowing
the base configuration. A gradient counts as `GRADIENT_COST` evaluations.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import MissingExtraError
from pimjax.tuning.cutting import cut
from pimjax.tuning.evaluate import evaluate
from pimjax.tuning.last_mile import last_mile
from pimjax.tuning.parameters import snap
from pimjax.tuning.points import Point
from pimjax.tuning.polish import LATE_STEP, polish
from pimjax.tuning.problem import Problem
from pimjax.tuning.tune import GRADIENT_COST, spread_points

_STARTS = 16
"""Of the gradient search, one after another; few problems need a second."""


class Trace:
    """Best feasible objective by evaluations and by processor time, which other work on the machine does not lengthen."""

    def __init__(self, target: float = -np.inf) -> None:
        self.target = target  # nothing better exists: a search that is there may stop
        self.evaluations: list[int] = []
        self.seconds: list[float] = []
        self.best: list[float] = []
        self.spent = 0
        self._begin = time.process_time()
        self._value = np.inf

    def add(self, count: int, objective: Any = None, excess: Any = None) -> None:
        """`count` evaluations with their objectives and excesses (none: gradients, which find nothing legal)."""
        self.spent += count
        if objective is not None:
            feasible = np.asarray(objective)[np.asarray(excess) == 0]
            if len(feasible) and feasible.min() < self._value - 1e-9:
                self._value = float(feasible.min())
                self.evaluations.append(self.spent)
                self.seconds.append(time.process_time() - self._begin)
                self.best.append(self._value)

    def to_dict(self) -> dict[str, Any]:
        """Plain data of its improvements, rounded to what curves show; :meth:`from_dict` reads it."""
        return {
            "evaluations": self.evaluations,
            "seconds": [round(value, 4) for value in self.seconds],
            "best": [round(value, 9) for value in self.best],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Trace:
        """The trace of :meth:`to_dict`."""
        trace = cls()
        trace.evaluations, trace.seconds, trace.best = (list(data[name]) for name in ("evaluations", "seconds", "best"))
        return trace

    def open(self, budget: int) -> bool:
        """Whether the search goes on."""
        return self.spent < budget and self._value > self.target + 1e-9

    def at(self, evaluations: int) -> float:
        """Best feasible objective after so many evaluations; inf if none."""
        place = np.searchsorted(self.evaluations, evaluations, side="right")
        return self.best[place - 1] if place else np.inf

    def after(self, seconds: float) -> float:
        """Best feasible objective after so many seconds; inf if none."""
        place = np.searchsorted(self.seconds, seconds, side="right")
        return self.best[place - 1] if place else np.inf

    @property
    def elapsed(self) -> float:
        """Seconds until the last improvement."""
        return self.seconds[-1] if self.seconds else 0.0

    def reaches(self, objective: float) -> float:
        """Evaluations until an objective is reached; inf if never."""
        for spent, value in zip(self.evaluations, self.best, strict=True):
            if value <= objective:
                return float(spent)
        return np.inf


def gradient_search(problem: Problem, budget: int, seed: int, target: float = -np.inf) -> Trace:
    """Starts one after another: cutting planes, polish, last mile, polish. Stops once the budget is spent."""
    trace, options = Trace(target), problem.config.optimiser
    unit = np.zeros((_STARTS, len(problem.start)))
    unit[:, : problem.num_parameters] = spread_points(_STARTS, problem.num_parameters, seed)
    unit = snap(problem.arrays.box, unit)
    generator = np.random.default_rng(seed)
    variant = generator.permutation(max(_STARTS, problem.num_variants))[:_STARTS] % problem.num_variants

    def report(count: int, now: Point) -> None:
        trace.add(count, [now.objective], [now.excess])

    for index in range(_STARTS):
        if not trace.open(budget):
            break
        # refused until looked at: the first point of the cutting planes is the start itself
        point = Point(unit[index], int(variant[index]), np.zeros(0), np.inf, np.inf, np.inf)
        point, _ = cut(
            problem, point, steps=options.cutting_steps, report=lambda n, now: report(GRADIENT_COST * n, now)
        )
        if not np.isfinite(point.merit):
            continue
        point, _ = polish(problem, point, sweeps=options.polish_sweeps, report=report)
        point, slopes, some = last_mile(problem, point, steps=options.last_mile_steps)
        report(GRADIENT_COST * slopes + some, point)
        if slopes:
            polish(problem, point, sweeps=options.polish_sweeps, step=LATE_STEP, report=report)
    return trace


def random_search(problem: Problem, budget: int, seed: int, target: float = -np.inf) -> Trace:
    """Uniform over the box, and over the choices."""
    trace, generator = Trace(target), np.random.default_rng(seed)
    while trace.open(budget):
        count = min(2500, budget - trace.spent)
        unit = np.zeros((count, len(problem.start)))
        unit[:, : problem.num_parameters] = generator.random((count, problem.num_parameters))
        variant = generator.integers(0, problem.num_variants, count)
        result = evaluate(problem, _even(problem, unit), variant)
        for index in range(count):
            trace.add(1, result.objective[index : index + 1], result.excess[index : index + 1])
    return trace


def _even(problem: Problem, unit: HostArray) -> HostArray:
    """Discrete coordinates such that every level is equally likely."""
    box = problem.arrays.box
    levels = np.asarray(box.level_count)
    even = np.minimum(np.floor(unit * levels), levels - 1) / (levels - 1)
    return np.where(box.is_discrete, even, unit)


def cma_search(problem: Problem, budget: int, seed: int, target: float = -np.inf) -> Trace:
    """CMA-ES (PyPI `cma`) with its integer handling; restarts with twice the population where it stops."""
    try:
        import cma
    except ImportError:
        raise MissingExtraError("cma", "benchmarks", "the CMA-ES baseline") from None
    trace, generator = Trace(target), np.random.default_rng(seed)
    box, count = problem.arrays.box, problem.num_parameters
    discrete = np.asarray(box.is_discrete)[:count]
    top = np.where(discrete, np.asarray(box.level_count)[:count] - 1.0, 1.0)
    several = problem.num_variants > 1
    if several:
        top, discrete = np.append(top, problem.num_variants - 1.0), np.append(discrete, True)
    population = 4 + int(3 * np.log(len(top)))
    while trace.open(budget):
        options = {
            "bounds": [[0.0] * len(top), list(top)],
            "CMA_stds": list(top),
            "popsize": population,
            "seed": int(generator.integers(1, 2**31)),
            "verbose": -9,
            "integer_variables": list(np.flatnonzero(discrete)),
            "maxfevals": budget - trace.spent,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search = cma.CMAEvolutionStrategy(list(generator.random(len(top)) * top), 0.3, options)
            while not search.stop() and trace.open(budget):
                points = np.array(search.ask())
                unit = np.zeros((len(points), len(problem.start)))
                unit[:, :count] = points[:, :count] / top[:count]
                variant = np.clip(np.round(points[:, count]), 0, top[-1]) if several else np.zeros(len(points))
                result = evaluate(problem, unit, variant.astype(int))
                for index in range(len(points)):
                    trace.add(1, result.objective[index : index + 1], result.excess[index : index + 1])
                search.tell(list(points), list(np.where(np.isfinite(result.merit), result.merit, 1e3)))
        population *= 2
    return trace


def tpe_search(problem: Problem, budget: int, seed: int, target: float = -np.inf, *, batch: int = 8) -> Trace:
    """Optuna's multivariate TPE, asked for `batch` points at a time."""
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("optuna", "benchmarks", "the TPE baseline") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # one estimate for all parameters: knows their interplay, and asks three times faster than one for each
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, multivariate=True)
        study = optuna.create_study(sampler=sampler)
    trace, box, count = Trace(target), problem.arrays.box, problem.num_parameters
    discrete, levels = np.asarray(box.is_discrete), np.asarray(box.level_count)
    while trace.open(budget):
        trials = [study.ask() for _ in range(min(batch, budget - trace.spent))]
        unit = np.zeros((len(trials), len(problem.start)))
        variant = np.zeros(len(trials), int)
        for row, trial in enumerate(trials):
            for index in range(count):
                if discrete[index]:
                    last = int(levels[index]) - 1
                    unit[row, index] = trial.suggest_int(str(index), 0, last) / last
                else:
                    unit[row, index] = trial.suggest_float(str(index), 0.0, 1.0)
            if problem.num_variants > 1:
                variant[row] = trial.suggest_categorical("choice", list(range(problem.num_variants)))
        result = evaluate(problem, unit, variant)
        for index, trial in enumerate(trials):
            trace.add(1, result.objective[index : index + 1], result.excess[index : index + 1])
            study.tell(trial, float(min(result.merit[index], 1e3)))
    return trace


SEARCHES = {"gradient": gradient_search, "random": random_search, "cma": cma_search, "tpe": tpe_search}
