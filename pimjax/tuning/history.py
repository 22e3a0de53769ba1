"""What happened in a tuning run, as a table: one row per start and step, and the finished points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.batch.store import write_bytes
from pimjax.batch.tables import to_parquet
from pimjax.tuning.evaluate import judge
from pimjax.tuning.parameters import values_at

if TYPE_CHECKING:
    from pimjax.tuning.descent import Lanes
    from pimjax.tuning.points import Point
    from pimjax.tuning.problem import Problem


class History:
    """Columns of a run; `columns()` gives them as arrays, `write(path)` as Parquet."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._parts: list[dict[str, Any]] = []

    def add_descent(self, lanes: Lanes, records: dict[str, HostArray], begin: int) -> None:
        """A chunk of gradient steps: `records` hold objective and excess `[steps, N]` before each step."""
        steps, starts = records["objective"].shape
        self._parts.append(
            {
                "stage": np.full(steps * starts, "descent"),
                "step": np.repeat(np.arange(begin, begin + steps), starts),
                "start": np.tile(np.arange(starts), steps),
                "variant": np.tile(np.asarray(lanes.variant), steps),
                "objective": records["objective"].reshape(-1),
                "excess": records["excess"].reshape(-1),
                "evaluations": 4 * np.repeat(np.arange(begin + 1, begin + steps + 1), starts) * starts,
            }
        )

    def add_search(self, unit: HostArray, variant: HostArray, base: HostArray) -> None:
        """Legal points in the order in which they were evaluated; `start` is the combination of choices."""
        result = judge(self.problem, base, np.zeros(len(base), np.int32))
        values = values_at(self.problem.arrays.box, unit)
        self._parts.append(
            {
                "stage": np.full(len(base), "search"),
                "step": np.arange(len(base)),
                "start": np.asarray(variant),
                "variant": np.asarray(variant),
                "objective": result.objective,
                "excess": result.excess,
                "evaluations": np.arange(1, len(base) + 1),
                **{name: values[:, i] for i, name in enumerate(self.problem.names)},
            }
        )

    def add_points(self, points: list[Point], evaluations: int) -> None:
        """Finished legal points with their parameter values."""
        for index, point in enumerate(points):
            values = values_at(self.problem.arrays.box, point.unit)
            self._parts.append(
                {
                    "stage": np.array(["finished"]),
                    "step": np.array([-1]),
                    "start": np.array([index]),
                    "variant": np.array([point.variant]),
                    "objective": np.array([point.objective]),
                    "excess": np.array([point.excess]),
                    "evaluations": np.array([evaluations]),
                    **{name: values[i : i + 1] for i, name in enumerate(self.problem.names)},
                }
            )

    def columns(self) -> dict[str, HostArray]:
        """Every column over all rows; parameter values are NaN in rows of descents."""
        names = list(dict.fromkeys(name for part in self._parts for name in part))
        out = {}
        for name in names:
            out[name] = np.concatenate(
                [part[name] if name in part else np.full(len(part["step"]), np.nan) for part in self._parts]
            )
        return out

    def write(self, path: Path) -> None:
        """Write the columns as one Parquet file, atomically.

        Raises:
            MissingExtraError: pyarrow is not installed.
            StorageError: the file cannot be written.
        """
        write_bytes(path, to_parquet(self.columns(), {}))
