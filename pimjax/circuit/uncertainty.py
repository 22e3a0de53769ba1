"""Intervals from uncertain constants: vmapped Monte Carlo over every range, and which constants matter.

Each constant is drawn from its range with the nominal value as median: half of the draws lie between `low` and the
nominal value, half between it and `high`, uniform in the logarithm where the range is positive. Constants are
independent. Influence is the squared rank correlation (Spearman) between a constant and a metric: the share of the
metric's rank variance that goes with the constant alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.circuit.constants import CONSTANTS, Constants, Real
from pimjax.errors import ConfigError

Metrics = Mapping[str, Real]
MetricFunction = Callable[[Constants], Metrics]


class _Recorder(Mapping[str, Real]):
    """Constants that remember which of them were asked for."""

    def __init__(self, values: Mapping[str, Real]) -> None:
        self.values_by_name = values
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> Real:
        self.used.add(name)
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)


def used_constants(function: MetricFunction) -> tuple[str, ...]:
    """Names of the constants that `function` reads, found by tracing it once.

    >>> from pimjax.circuit.sar_timing import sar_rate_gsps
    >>> used_constants(lambda constants: {"rate": sar_rate_gsps(8.0, constants)})
    ('sar.sensing_latency_factor', 'sar.time_per_bit_ns')
    """
    recorder = _Recorder({name: item.value for name, item in CONSTANTS.items()})
    jax.eval_shape(lambda: dict(function(recorder)))
    return tuple(sorted(recorder.used))


def sample_constants(names: tuple[str, ...], *, key: jax.Array, num_samples: int) -> dict[str, jax.Array]:
    """Draw `num_samples` values [N] of each named constant. `key` is consumed.

    >>> draws = sample_constants(("digital.nand2_area_um2",), key=jax.random.key(0), num_samples=1000)
    >>> bool(jnp.all(draws["digital.nand2_area_um2"] <= 0.9001))
    True
    """
    uniform = jax.random.uniform(key, (len(names), num_samples))
    return {name: _draw(name, uniform[row]) for row, name in enumerate(names)}


def _draw(name: str, uniform: jax.Array) -> jax.Array:
    item = CONSTANTS[name]
    return draw_between(item.low, item.value, item.high, uniform)


def draw_between(low: float, value: float, high: float, uniform: jax.Array) -> jax.Array:
    """Values with median `value`: half of `uniform` (0 to 1) goes to `low..value`, half to `value..high`.

    Uniform in the logarithm where the range is positive.

    >>> draw_between(1.0, 4.0, 8.0, jnp.array([0.0, 0.5, 1.0])).round(3).tolist()
    [1.0, 4.0, 8.0]
    """
    logarithmic = low > 0.0
    ends = (low, value, high)
    low, middle, high = (math.log(x) for x in ends) if logarithmic else ends
    drawn = jnp.where(
        uniform < 0.5, low + 2.0 * uniform * (middle - low), middle + (2.0 * uniform - 1.0) * (high - middle)
    )
    return jnp.exp(drawn) if logarithmic else drawn


class Uncertainty(NamedTuple):
    """Result of :func:`propagate_uncertainty`.

    Attributes:
      nominal: metric at the nominal constants.
      low, median, high: quantiles of the metric (default 5, 50 and 95 %).
      influence: for each metric the constants that move it most, with their squared rank correlation.
      samples: all drawn metric values [N] by name.
      failed: samples in which any metric is not finite (left out of the quantiles).
    """

    nominal: dict[str, float]
    low: dict[str, float]
    median: dict[str, float]
    high: dict[str, float]
    influence: dict[str, tuple[tuple[str, float], ...]]
    samples: dict[str, HostArray]
    failed: int


def _ranks(values: HostArray) -> HostArray:
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)
    return order - order.mean()


def squared_rank_correlation(first: HostArray, second: HostArray) -> float:
    """Spearman's rho squared of two vectors [N] without ties; 0 when one of them is constant.

    >>> squared_rank_correlation(np.arange(5.0), np.arange(5.0) ** 3)
    1.0
    """
    if np.ptp(first) == 0.0 or np.ptp(second) == 0.0:
        return 0.0
    a, b = _ranks(first), _ranks(second)
    return float((a @ b) ** 2 / ((a @ a) * (b @ b)))


@checks.checked(
    ConfigError,
    function=checks.function,
    key=checks.key,
    num_samples=checks.whole(2, 2**24),
    level=checks.numbers(0, 1, dims=0, above=True),
    top=checks.whole(0),
)
def propagate_uncertainty(
    function: MetricFunction,
    *,
    key: jax.Array,
    num_samples: int,
    level: float = 0.9,
    top: int = 5,
) -> Uncertainty:
    """Interval of every metric that `function` computes, over the ranges of the constants it reads. Host, float64.

    Args:
      function: maps a mapping of constants to named scalars; jittable.
      key: random key, consumed.
      num_samples: draws N; one compiled program evaluates all of them.
      level: probability between `low` and `high`.
      top: how many constants to name per metric.

    >>> from pimjax.circuit.tile import TileParameters, parametric_tile
    >>> def area(constants):
    ...     return {"area": parametric_tile(TileParameters(), constants=constants).core_area_mm2}
    >>> result = propagate_uncertainty(area, key=jax.random.key(0), num_samples=64)
    >>> result.low["area"] < result.nominal["area"] < result.high["area"]
    True
    """
    names = used_constants(function)
    with jax.enable_x64(True):
        draws = sample_constants(names, key=key, num_samples=num_samples)
        stacked = jax.jit(jax.vmap(lambda constants: dict(function(constants))))(draws)
        nominal = {name: float(metric) for name, metric in function({}).items()}
        samples = {name: np.asarray(metric) for name, metric in stacked.items()}
        constants = {name: np.asarray(draw) for name, draw in draws.items()}
    finite = np.all([np.isfinite(metric) for metric in samples.values()], axis=0)
    tails = ((1.0 - level) / 2.0, 0.5, (1.0 + level) / 2.0)
    quantiles = {name: np.quantile(metric[finite], tails) for name, metric in samples.items()}
    influence = {}
    for name, metric in samples.items():
        shares = {
            constant: squared_rank_correlation(draw[finite], metric[finite]) for constant, draw in constants.items()
        }
        ranked = sorted(shares.items(), key=lambda item: -item[1])
        influence[name] = tuple(ranked[:top])
    low, median, high = (
        {name: float(quantile[position]) for name, quantile in quantiles.items()} for position in range(3)
    )
    # pyrefly: ignore[bad-argument-type]
    return Uncertainty(nominal, low, median, high, influence, samples, int(np.sum(~finite)))
