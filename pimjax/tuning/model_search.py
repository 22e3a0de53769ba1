"""Search among legal points that can be listed: a regression of every cost, and evaluations where it promises most.

Latency, energy, area and what else objective and limits name are smooth functions of the numbers and similar for
similar choices, so a few dozen evaluations predict them at every legal point (:mod:`.regression`), for all combinations of
choices at once. The next points are those with the largest expected improvement of the objective times the probability
that all limits hold (Jones, Schonlau and Welch, J. Global Optimization 13, 1998; Schonlau, 1997, for limits). It ends
when no point of any combination promises more than `PROMISE`, the best point of every combination has been evaluated, and
no neighbour of the best is better; or when the budget is spent, and then combinations that still promise more are named.

Used where every number has levels and there are at most `MAX_POINTS` points in all combinations.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import ndtr

from pimjax.array_typing import HostArray
from pimjax.tuning.evaluate import FATAL, FEASIBLE, PENALTY, evaluate, judge
from pimjax.tuning.points import Point
from pimjax.tuning.problem import Problem
from pimjax.tuning.regression import Regression

MAX_POINTS = 65_536
SHARE = 0.05
"""Largest part of the points that is evaluated, above `FEW`."""
FEW, MANY = 48, 400
PROMISE = 1e-4
"""Expected improvement (of the objective's logarithm) that is not worth an evaluation."""
_ALL = 24
"""So few points are all evaluated."""
_BATCH = 4
_APART = 0.15
_DRAWN = 400


def num_points(problem: Problem) -> int | None:
    """Legal points in all combinations of choices; None where a parameter is continuous."""
    box, count = problem.arrays.box, problem.num_parameters
    if not np.asarray(box.is_discrete)[:count].all():
        return None
    total = problem.num_variants
    for levels in np.asarray(box.level_count)[:count].tolist():
        total *= int(levels)
    return total


@dataclasses.dataclass(frozen=True)
class Goal:
    """What is sought: rows of base quantities `[M]` and `[C, M]`, bounds `[C]`."""

    objective: HostArray
    rows: HostArray
    bounds: HostArray

    @classmethod
    def of(cls, problem: Problem) -> Goal:
        """The problem's own."""
        rows, bounds = np.asarray(problem.arrays.limit_rows), np.asarray(problem.arrays.limit_bounds)
        used = rows.any(axis=1)
        return cls(np.asarray(problem.arrays.objective), rows[used], bounds[used])


class ModelSearch:
    """All legal points of a problem and what has been evaluated of them.

    Attributes:
        spent: evaluations so far.
        unfinished: combinations of choices that still promised more when the budget was spent.
    """

    def __init__(self, problem: Problem) -> None:
        box, count = problem.arrays.box, problem.num_parameters
        self.problem = problem
        counts = np.asarray(box.level_count)[:count]
        numbers = np.array(list(itertools.product(*(range(n) for n in counts))), int).reshape(-1, count)
        self.level = np.tile(numbers, (problem.num_variants, 1))
        self.variant = np.repeat(np.arange(problem.num_variants), len(numbers))
        low, high = np.asarray(box.low)[:count], np.asarray(box.high)[:count]
        places = (np.asarray(box.levels)[:count] - low[:, None]) / (high - low)[:, None]
        self.place = np.take_along_axis(places.T, self.level, axis=0) if count else np.zeros((len(self.level), 0))
        self.choice = _numbered(problem.choices)[self.variant]
        self.counts, self.strides = counts, np.append(np.cumprod(counts[::-1])[::-1][1:], 1)[:count]
        self.index: list[int] = []  # evaluated, in order
        self.base = np.zeros((0, len(np.asarray(problem.arrays.objective))))
        self.usable = np.zeros(0, bool)
        self.seen = np.zeros(len(self.level), bool)
        self.unfinished: list[int] = []
        self.generator = np.random.default_rng(problem.config.seed)
        size = len(self.level)
        self.budget = size if size <= _ALL else min(size, MANY, max(FEW, int(SHARE * size)))

    @property
    def spent(self) -> int:
        """Evaluations so far."""
        return len(self.index)

    def unit(self, index: HostArray) -> HostArray:
        """Unit coordinates `[N, P]` of points."""
        found = np.zeros((len(index), len(self.problem.start)))
        found[:, : len(self.counts)] = self.level[index] / np.maximum(self.counts - 1, 1)
        return found

    def look(self, chosen: list[int]) -> None:
        """Evaluate points that have not been."""
        fresh = [index for index in dict.fromkeys(chosen) if not self.seen[index]]
        if not fresh:
            return
        found = evaluate(self.problem, self.unit(np.array(fresh)), self.variant[fresh])
        self.seen[fresh] = True
        self.index += fresh
        self.base = np.concatenate([self.base, found.base])
        self.usable = np.concatenate([self.usable, np.isfinite(found.merit)])

    def run(self, goal: Goal, say: Callable[[str], None] = lambda sentence: None) -> None:
        """Evaluate until nothing promises more or the budget is spent."""
        if not self.index:
            self._first_look()
        wanted = np.flatnonzero((goal.objective != 0) | (goal.rows != 0).any(axis=0))
        models = [Regression.wide(self.place.shape[1], self.choice.shape[1]) for _ in wanted]
        closed: int | None = None
        self.unfinished = []
        for turn in itertools.count():
            if not self.usable.any() or self.seen.all():
                return
            promise, merit = self._promise(goal, wanted, models, adapt=turn < 4 or turn % 3 == 0)
            best = self.best(goal)
            say_best(say, self.spent, goal, self.base[best], self._excess(goal)[best] <= 0)
            chosen = self._spread(promise)
            if not chosen:  # nothing promises much: the best of every combination, and what surrounds the best of all
                if closed == best:
                    return
                closed = best
                chosen = self._closing(merit, self.index[best])
            if self.spent >= self.budget:
                self.unfinished = sorted({int(v) for v in self.variant[promise > PROMISE]})
                return
            self.look([index for index in chosen if not self.seen[index]][: self.budget - self.spent])

    def best(self, goal: Goal) -> int:
        """Place among the evaluated points of the best: usable, within the limits, with the least objective."""
        excess = self._excess(goal)
        order = np.lexsort((self.base @ goal.objective + PENALTY * excess, excess > 0, ~self.usable))
        return int(order[0])

    def points(self, *, closest: bool = False) -> list[Point]:
        """The best evaluated point of every combination, by the problem's own goal; the best of all first.

        `closest`: where no point keeps the limits, the one that breaks them least.
        """
        result = judge(self.problem, self.base, np.where(self.usable, 0, FATAL))
        units, variants = self.unit(np.array(self.index)), self.variant[self.index]
        last = (result.objective, np.round(result.excess, 9)) if closest else (result.merit, result.excess > 0)
        order = np.lexsort((*last, ~self.usable))
        _, first = np.unique(variants[order], return_index=True)
        return [Point.of(units[i], variants[i], result, int(i)) for i in order[np.sort(first)]]

    def _excess(self, goal: Goal) -> HostArray:
        excess = np.maximum(self.base @ goal.rows.T - goal.bounds, 0.0)
        return np.where(excess > FEASIBLE, excess, 0.0).sum(axis=1)

    def _first_look(self) -> None:
        """The base chip, then points far from each other, as many of every combination."""
        size, number = len(self.level), self.problem.num_variants
        if size <= self.budget:
            self.look(list(range(size)))
            return
        count = min(max(number, 2 * self.place.shape[1] + 2, 10), self.budget // 2)
        spread = np.concatenate([self.place, 0.7 * self.choice / np.maximum(self.choice.max(axis=0), 1)], axis=1)
        start = np.round(self.problem.start[: len(self.counts)] * (self.counts - 1)).astype(int)
        chosen = [int(start @ self.strides)]
        while len(chosen) < count:
            drawn = self.generator.integers(0, size, _DRAWN)
            have = np.bincount(self.variant[chosen], minlength=number)[self.variant[drawn]]
            drawn = drawn[have == have.min()]
            away = np.square(spread[drawn][:, None] - spread[chosen][None]).sum(axis=-1).min(axis=1)
            chosen.append(int(drawn[np.argmax(away)]))
        self.look(chosen)

    def _promise(
        self, goal: Goal, wanted: HostArray, models: list[Regression], *, adapt: bool
    ) -> tuple[HostArray, HostArray]:
        """Expected improvement times the probability of keeping the limits, and the predicted merit, of every point.

        Where no evaluated point keeps the limits, the first is the probability, lowered by predicted objectives.
        """
        known = np.array(self.index)[self.usable]
        width = self.base.shape[1]
        mean, spread = np.zeros((len(self.level), width)), np.zeros((len(self.level), width))
        for quantity, model in zip(wanted, models, strict=True):
            model.fit(self.place[known], self.choice[known], self.base[self.usable, quantity], adapt=adapt)
            mean[:, quantity], spread[:, quantity] = model.predict(self.place, self.choice)
        objective, doubt = mean @ goal.objective, np.sqrt(np.square(spread) @ np.square(goal.objective)) + 1e-9
        over, unsure = mean @ goal.rows.T - goal.bounds, np.sqrt(np.square(spread) @ np.square(goal.rows).T) + 1e-9
        kept = np.prod(ndtr(-over / unsure), axis=1)
        merit = objective + PENALTY * np.maximum(over, 0.0).sum(axis=1)
        best = self.best(goal)
        if self._excess(goal)[best] > 0:
            promise = kept * np.exp(-np.minimum(objective - objective.min(), 50.0))
        else:
            gain = (float(self.base[best] @ goal.objective) - PROMISE - objective) / doubt
            promise = doubt * (gain * ndtr(gain) + np.exp(-0.5 * gain**2) / np.sqrt(2 * np.pi)) * kept
        return np.where(self.seen, -1.0, promise), np.where(self.seen, np.inf, merit)

    def _spread(self, promise: HostArray) -> list[int]:
        """The most promising points, not too near each other; none where none promises enough."""
        order = np.argsort(-promise, kind="stable")[:200]
        chosen: list[int] = []
        for index in order.tolist():
            if promise[index] < max(PROMISE, 0.1 * promise[order[0]]) or len(chosen) == _BATCH:
                break
            near = any(
                self.variant[index] == self.variant[other]
                and np.abs(self.place[index] - self.place[other]).sum() < _APART
                for other in chosen
            )
            if not near:
                chosen.append(index)
        return chosen

    def _closing(self, merit: HostArray, best: int) -> list[int]:
        """The predicted best of every combination, then single moves from a point."""
        of_all = [int(np.argmin(np.where(self.variant == v, merit, np.inf))) for v in range(self.problem.num_variants)]
        around = []
        block = len(self.level) // self.problem.num_variants
        for axis, stride in enumerate(self.strides.tolist() if len(self.counts) else ()):
            for sign in (-1, 1):
                if 0 <= self.level[best, axis] + sign < self.counts[axis]:
                    around.append(best + sign * int(stride))
        around += [best % block + block * v for v in range(self.problem.num_variants)]
        return [index for index in dict.fromkeys(of_all + around) if not self.seen[index]]


def say_best(say: Callable[[str], Any], spent: int, goal: Goal, base: HostArray, legal: bool) -> None:
    """Progress in one line."""
    value = f"best legal objective {np.exp(base @ goal.objective):.6g}" if legal else "no chip keeps the limits yet"
    say(f"{spent:,} evaluations: {value}")


def _numbered(choices: tuple[dict[str, Any], ...]) -> HostArray:
    """Numbers of the values `[V, C]` of every categorical parameter that has several."""
    names = [name for name in choices[0] if len({repr(one[name]) for one in choices}) > 1]
    columns = []
    for name in names:
        values = list(dict.fromkeys(repr(one[name]) for one in choices))
        columns.append([values.index(repr(one[name])) for one in choices])
    return np.array(columns, float).reshape(len(names), len(choices)).T
