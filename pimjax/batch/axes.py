"""Axes of a sweep: which field takes which values. Host objects of the `sweep.yaml` schema and their tables."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from pimjax.array_typing import HostArray
from pimjax.config.base import Section, option
from pimjax.errors import ConfigError, MissingExtraError, shown

Value = float | int | bool | str | None
MAX_LISTED = 1 << 20
MAX_SOBOL = 1 << 22


class Range(Section):
    """Evenly spaced numbers, both ends included."""

    start: float = option(..., about="First value")
    stop: float = option(..., about="Last value")
    count: int = option(..., about="How many", ge=2, le=MAX_LISTED)

    def values(self) -> list[float]:
        """`count` numbers from `start` to `stop`."""
        return np.linspace(self.start, self.stop, self.count).tolist()


class LogRange(Range):
    """Numbers in equal ratios, both ends included."""

    @model_validator(mode="after")
    def _positive(self) -> LogRange:
        if self.start <= 0 or self.stop <= 0:
            raise ValueError(f"a log range needs positive ends, but runs from {self.start:g} to {self.stop:g}")
        return self

    def values(self) -> list[float]:
        """`count` numbers from `start` to `stop`."""
        return np.geomspace(self.start, self.stop, self.count).tolist()


class Interval(Section):
    """Where a sampled field may lie."""

    low: float = option(..., about="Smallest value")
    high: float = option(..., about="Largest value")
    scale: Literal["linear", "log"] = option("linear", about="Density: uniform in the value or in its logarithm")

    @model_validator(mode="after")
    def _ordered(self) -> Interval:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"scale 'log' needs a positive low, not {self.low:g}")
        return self


class Axis(Section):
    """One axis. Exactly one of: `field` with `values`, `grid` or `log`; `zip`; `sample` with `count` and `ranges`."""

    field: str | None = option(None, about="Dotted key, e.g. hardware.mvm_latency_ns")
    values: list[Any] | None = option(None, about="List of values")
    grid: Range | None = option(None, about="Evenly spaced numbers")
    log: LogRange | None = option(None, about="Numbers in equal ratios")
    zip: dict[str, list[Any]] | None = option(None, about="Fields that change together: lists of equal length")
    sample: Literal["random", "sobol"] | None = option(None, about="Random or low-discrepancy (Sobol) points")
    count: int | None = option(None, about="Number of sampled points", ge=1, le=2**31 - 1)
    ranges: dict[str, Interval] | None = option(None, about="Fields of a sample and where they lie")

    @model_validator(mode="after")
    def _one_kind(self) -> Axis:
        sources = [name for name in ("values", "grid", "log") if getattr(self, name) is not None]
        if self.field is not None:
            if len(sources) != 1 or self.zip or self.sample or self.count or self.ranges:
                raise ValueError(f"axis {shown(self.field)} needs exactly one of values, grid, log beside field")
        elif self.zip is not None:
            if sources or self.sample or self.count or self.ranges:
                raise ValueError("a zip axis has no other keys than zip")
            lengths = {key: len(values) for key, values in self.zip.items()}
            if not lengths or len(set(lengths.values())) != 1:
                raise ValueError(f"the lists of a zip axis must have equal length, but have {lengths}")
        elif self.sample is not None:
            if sources or not self.count or not self.ranges:
                raise ValueError("a sample axis needs count and ranges and nothing else")
            if self.sample == "sobol" and self.count > MAX_SOBOL:
                raise ValueError(f"a Sobol axis has at most {MAX_SOBOL:,} points, not {self.count:,}: use random")
        else:
            raise ValueError("an axis needs field (with values, grid or log), zip, or sample")
        if any(len(v) == 0 or len(v) > MAX_LISTED for v in self._lists()):
            raise ValueError(f"an axis needs between 1 and {MAX_LISTED:,} listed values")
        return self

    def _lists(self) -> list[list[Any]]:
        lists = [] if self.values is None else [self.values]
        return [*lists, *(self.zip or {}).values()]

    @property
    def fields(self) -> tuple[str, ...]:
        """Dotted keys that the axis sets."""
        if self.field is not None:
            return (self.field,)
        return tuple(self.zip or self.ranges or ())

    @property
    def size(self) -> int:
        """Points along the axis."""
        if self.sample is not None:
            return int(self.count or 0)
        return len(next(iter(self.listed().values())))

    def listed(self) -> dict[str, list[Value]]:
        """Values of every field of an axis that is not sampled."""
        if self.zip is not None:
            return self.zip
        if self.values is not None:
            return {str(self.field): self.values}
        chosen = self.grid if self.grid is not None else self.log
        assert chosen is not None
        return {str(self.field): list(chosen.values())}

    def extremes(self) -> dict[str, list[Value]]:
        """Values of every field that must be acceptable for all of them to be: both ends, or each text and flag."""
        if self.ranges is not None:
            return {name: [interval.low, interval.high] for name, interval in self.ranges.items()}
        found: dict[str, list[Value]] = {}
        for name, values in self.listed().items():
            numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
            others = [v for v in values if not (isinstance(v, (int, float)) and not isinstance(v, bool))]
            odd = [v for v in numbers if not math.isfinite(v)]
            found[name] = [*odd, *([min(numbers), max(numbers)] if numbers and not odd else []), *others]
        return found

    def sobol_table(self, seed: int) -> HostArray:
        """float64 `[count, fields]` of a Sobol axis, scrambled by `seed`.

        Raises:
            MissingExtraError: SciPy is not installed.
        """
        try:
            from scipy.stats import qmc
        except ImportError:
            raise MissingExtraError("scipy", "tune", "a Sobol axis") from None
        ranges = list((self.ranges or {}).values())
        engine = qmc.Sobol(len(ranges), scramble=True, rng=np.random.default_rng(seed))
        bits = max(0, (self.size - 1).bit_length())
        unit = engine.random_base2(bits)[: self.size]  # whole powers of two keep the balance; the rest is cut
        return np.stack([spread(unit[:, i], interval) for i, interval in enumerate(ranges)], axis=1)


def spread(unit: Any, interval: Interval) -> Any:
    """Numbers of [0, 1) -> the interval, on its scale. NumPy or JAX."""
    if interval.scale == "log":
        ratio = math.log(interval.high / interval.low)
        exp = np.exp if isinstance(unit, np.ndarray) else __import__("jax").numpy.exp
        return interval.low * exp(unit * ratio)
    return interval.low + unit * (interval.high - interval.low)


def check_distinct(axes: list[Axis]) -> None:
    """Raise if two axes set one field.

    Raises:
        ConfigError: names the field.
    """
    seen: set[str] = set()
    for axis in axes:
        for name in axis.fields:
            if name in seen:
                raise ConfigError(f"axes: {name} is set by two axes; zip or list the combinations in one")
            seen.add(name)
