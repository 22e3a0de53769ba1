"""Finish one start among legal neighbours: the best of combined moves, predicted from single ones, evaluated exactly.

Logarithms of costs are nearly additive over small moves of different parameters. So every single move is evaluated (one
level down or up; a shrinking step for continuous parameters; every other choice), combined moves are predicted by
adding their effects on all base quantities (a beam search over up to `DEPTH` parameters), and the most promising ones
are evaluated. A move is taken only if the evaluated point is better: one that keeps all limits always beats one that
breaks any. A start that ends with a limit broken is repaired: first only the excess is lowered, then the objective.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.tuning.evaluate import FEASIBLE, PENALTY, evaluate, judge
from pimjax.tuning.parameters import snap
from pimjax.tuning.points import Point, best_of
from pimjax.tuning.problem import Problem

DEPTH = 6
BEAM = 128
TRIED = 16
SMALLEST_STEP = 2e-4
LATE_STEP = 2e-3
"""First step of continuous parameters after the last mile."""
_TOLERANCE = 1e-10
_BROKEN = 1e3
"""Predicted combinations that break a limit come after all that keep them."""
_IDLE = 1e-6
"""A parameter whose return to its base value worsens the merit by less than this has no business elsewhere."""


def polish(
    problem: Problem,
    point: Point,
    *,
    sweeps: int,
    step: float = 0.05,
    report: Callable[[int, Point], Any] | None = None,
) -> tuple[Point, int]:
    """Improve a legal point by at most `sweeps` sweeps; returns it and the evaluations.

    Args:
        problem: as made.
        point: legal.
        sweeps: most rounds.
        step: first step of continuous parameters, in parts of their range.
        report: called after every sweep with its evaluations and the best point so far.
    """
    spent = 0
    for _ in range(sweeps):
        moved, count, step = _sweep(problem, point, step)
        spent += count
        if report is not None:
            report(count, moved or point)
        if moved is None:
            if step < SMALLEST_STEP:
                break
            continue
        point = moved
    return point, spent


def repair(problem: Problem, point: Point, *, sweeps: int) -> tuple[Point, int]:
    """A point that keeps the limits near one that does not, polished; and the evaluations. The point itself if none is found."""
    if point.excess == 0:
        return point, 0
    arrays = dataclasses.replace(problem.arrays, objective=np.zeros_like(problem.arrays.objective))
    kept = dataclasses.replace(problem, arrays=arrays)
    found, spent = polish(kept, reweighed(kept, point), sweeps=sweeps)
    if found.excess > 0:
        return point, spent
    found, more = polish(problem, reweighed(problem, found), sweeps=sweeps)
    return found, spent + more


def reweighed(problem: Problem, point: Point) -> Point:
    """A known point as another problem over the same hardware sees it: other weights, other bounds. No evaluation."""
    return Point.of(point.unit, point.variant, judge(problem, point.base[None], np.zeros(1, np.int32)), 0)


def return_idle(problem: Problem, point: Point) -> tuple[Point, int]:
    """The point with every parameter back at the base value that makes no difference; and the evaluations.

    What the differentiated model does not feel may still matter to the event engine: only felt moves are kept.
    """
    spent = 0
    start = snap(problem.arrays.box, problem.start)
    for index in np.flatnonzero(np.abs(point.unit - start)[: problem.num_parameters] > 1e-12):
        unit = point.unit.copy()
        unit[index] = start[index]
        result = evaluate(problem, unit[None], np.array([point.variant], np.int32))
        spent += 1
        moved = Point.of(unit, point.variant, result, 0)
        if moved.merit < point.merit + _IDLE and moved.excess <= point.excess:
            point = moved
    return point, spent


def _sweep(problem: Problem, point: Point, step: float) -> tuple[Point | None, int, float]:
    """One round of moves; None and a smaller step where nothing helped."""
    units, variants, owner = _single_moves(problem, point, step)
    singles = evaluate(problem, units, variants)
    usable = np.isfinite(singles.merit)
    change = np.where(usable[:, None], singles.base - point.base, 0.0)
    combined = _combine(problem, point, change[usable], owner[usable])
    index = np.flatnonzero(usable)
    trial_units, trial_variants = [], []
    for chosen in combined:
        unit, variant = point.unit.copy(), point.variant
        for move in index[list(chosen)]:
            if owner[move] < 0:
                variant = int(variants[move])
            else:
                unit[owner[move]] = units[move, owner[move]]
        trial_units.append(unit)
        trial_variants.append(variant)
    spent = len(units)
    best = best_of(units, variants, singles)
    if trial_units:
        rows, kinds = np.stack(trial_units), np.array(trial_variants, np.int32)
        pairs = evaluate(problem, rows, kinds)
        spent += len(rows)
        candidate = best_of(rows, kinds, pairs)
        best = candidate if candidate.beats(best) else best
    if best.beats(point, by=_TOLERANCE):
        # small gains mean that the step is too long for what is left
        return best, spent, step if best.merit < point.merit - 1e-3 else step / 2
    discrete = np.asarray(problem.arrays.box.is_discrete)[: problem.num_parameters].all()
    return None, spent, 0.0 if discrete else step / 3


def _single_moves(problem: Problem, point: Point, step: float) -> tuple[HostArray, HostArray, HostArray]:
    """Every single move: unit coordinates, combination, and the parameter moved (-1: the choice)."""
    box = problem.arrays.box
    levels = np.asarray(box.level_count) - 1
    size = np.where(box.is_discrete, 1.0 / levels, step)
    units, variants, owner = [], [], []
    for index in range(problem.num_parameters):
        for sign in (-1.0, 1.0):
            unit = point.unit.copy()
            unit[index] = np.clip(unit[index] + sign * size[index], 0.0, 1.0)
            unit = snap(box, unit)
            if abs(unit[index] - point.unit[index]) > 1e-12:
                units.append(unit)
                variants.append(point.variant)
                owner.append(index)
    for variant in range(problem.num_variants):
        if variant != point.variant:
            units.append(point.unit.copy())
            variants.append(variant)
            owner.append(-1)
    return np.stack(units), np.array(variants, np.int32), np.array(owner)


def _combine(problem: Problem, point: Point, change: HostArray, owner: HostArray) -> list[tuple[int, ...]]:
    """The `TRIED` most promising combinations of two or more moves by their added effects."""
    rows, bounds = np.asarray(problem.arrays.limit_rows), np.asarray(problem.arrays.limit_bounds)
    weights = np.asarray(problem.arrays.objective)

    def merit(base: HostArray) -> HostArray:
        excess = np.maximum(base @ rows.T - bounds, 0.0)
        broken = np.where(excess > FEASIBLE, excess, 0.0).sum(axis=-1)
        return base @ weights + PENALTY * broken + np.where(broken > 0, _BROKEN, 0.0)

    beam: list[tuple[int, ...]] = [()]
    bases = point.base[None]
    seen: dict[tuple[int, ...], float] = {}
    for _ in range(min(DEPTH, len(change))):
        grown: dict[tuple[int, ...], HostArray] = {}
        for chosen, base in zip(beam, bases, strict=True):
            taken = set(owner[list(chosen)])
            first = chosen[-1] + 1 if chosen else 0
            for move in range(first, len(change)):
                if owner[move] not in taken:
                    grown[(*chosen, move)] = base + change[move]
        if not grown:
            break
        keys, stacked = list(grown), np.stack(list(grown.values()))
        value = merit(stacked)
        order = np.argsort(value)[:BEAM]
        beam, bases = [keys[i] for i in order], stacked[order]
        if len(beam[0]) > 1:
            seen.update({key: float(value[i]) for i in order if (key := keys[i])})
    return sorted(seen, key=seen.__getitem__)[:TRIED]
