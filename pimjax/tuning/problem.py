"""A tuning problem as data: the box of numbers, the combinations of choices, and rows for objective and limits.

Arrays hold everything that differs between problems of the same shapes, so they share one compiled program.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pimjax import checks
from pimjax.array_typing import Array, HostArray
from pimjax.chips import CHIPS
from pimjax.config.build import Capacity, Design, build
from pimjax.config.config import Config
from pimjax.config.loader import load_config
from pimjax.errors import ConfigError
from pimjax.runs.requests import resolve
from pimjax.runs.reshape import stacked
from pimjax.trace.routing import RoutingTrace
from pimjax.tuning.measures import BASE, HIGHER_IS_BETTER, QUALITIES, offset, row, value_of
from pimjax.tuning.parameters import Box, make_box, unit_at, values_at
from pimjax.tuning.tune_config import TuneConfig, level_values

Quality = Callable[[Any], Array]
_LIMITS_PADDING = 4


@struct.dataclass
class ProblemArrays:
    """Data of a problem. `V` combinations of choices, `M` base quantities, `C` limits (padded)."""

    box: Box
    designs: Design  # leaves [V, ...]
    schedules: Any  # leaves [V, ...], None for the reference chip
    objective: Any  # [M] row of weights: the logarithm that is minimised
    limit_rows: Any  # [C, M]
    limit_bounds: Any  # [C]; limit_rows @ base - limit_bounds must not be positive


@dataclasses.dataclass(frozen=True)
class Static:
    """What a compiled program is specialised on."""

    capacity: Capacity
    chip_model: str
    fidelity: str
    quality: Quality | None


@dataclasses.dataclass(frozen=True)
class Problem:
    """Host object: arrays, what they were made from, and names."""

    config: TuneConfig
    arrays: ProblemArrays
    static: Static
    names: tuple[str, ...]  # numeric parameters, in the order of the box
    choices: tuple[dict[str, Any], ...]  # [V] values of the categorical parameters
    configs: tuple[Config, ...]  # [V] validated configurations at the base numbers
    trace: RoutingTrace | None
    start: HostArray  # [P] unit coordinates of the base configuration

    @functools.cached_property
    def on_device(self) -> ProblemArrays:
        """`arrays` as float64 arrays of the device: hundreds of leaves are not copied at every call."""
        with jax.enable_x64(True):
            return jax.tree.map(jnp.asarray, self.arrays)

    @property
    def num_variants(self) -> int:
        """Combinations of choices."""
        return len(self.choices)

    @property
    def num_parameters(self) -> int:
        """Numeric parameters, without padding."""
        return len(self.names)

    def settings(self, unit: HostArray, variant: int) -> dict[str, Any]:
        """Legal values by parameter name, choices included."""
        values = values_at(self.arrays.box, unit)
        return {**self.choices[variant], **{name: float(values[i]) for i, name in enumerate(self.names)}}

    def configuration(self, unit: HostArray, variant: int) -> Config:
        """The validated configuration of legal hardware at unit coordinates `[P]`, for any fidelity."""
        values = values_at(self.arrays.box, unit)
        box, base = self.arrays.box, self.configs[variant].hardware
        overrides: dict[str, Any] = {}
        for index, name in enumerate(self.names):
            parameter = self.config.parameters[name]
            if not parameter.drives:
                overrides[name.partition(".")[2]] = float(values[index])
            for leaf, exponent in parameter.drives.items():
                key = leaf.partition(".")[2]
                factor = (values[index] / float(np.asarray(box.reference)[index])) ** exponent
                overrides[key] = float(overrides.get(key, getattr(base, key)) * factor)
        hardware = type(base).model_validate({**base.model_dump(), **overrides})
        return self.configs[variant].model_copy(update={"hardware": hardware, "name": "tuned"})


@checks.checked(
    ConfigError,
    config=checks.instance(TuneConfig, "a TuneConfig from load_tune_config"),
    trace=checks.instance(RoutingTrace, "a RoutingTrace"),
    quality=checks.function,
)
def make_problem(
    config: TuneConfig,
    *,
    trace: RoutingTrace | None = None,
    quality: Quality | None = None,
) -> Problem:
    """Build every combination of choices with its schedule, and the rows of objective and limits.

    Args:
        config: from :func:`pimjax.tuning.load_tune_config`.
        trace: routing of the request (multiplexed chip); None: what the base configuration's workload describes.
        quality: `Hardware -> []`, differentiable; overrides `config.quality`.

    Raises:
        ConfigError: a parameter, choice or limit is not acceptable.
        TraceError: the trace does not fit the model.
    """
    numeric = {key: item for key, item in config.parameters.items() if item.kind != "categorical"}
    choices = choices_of(config)
    loaded = base_configs(config)
    resolved = [resolve(item, trace) if CHIPS[item.chip_model].takes_routing else (item, None) for item in loaded]
    configs = tuple(item for item, _ in resolved)
    if len({item.chip_model for item in configs}) > 1:
        raise ConfigError("parameters: chip_model cannot be tuned; make two tuning runs and compare them")
    for item in configs:
        _check_bounds(item, numeric)
    designs, capacity = build(list(configs))
    chip = CHIPS[configs[0].chip_model]
    every = [chip.inputs(item, requests, fidelity=config.fidelity, capacity=capacity) for item, requests in resolved]
    schedules = stacked(chip.alike(every))
    if quality is None and config.quality == "sqnr":
        from pimjax.tuning.quality import sqnr_db

        quality = sqnr_db
    if quality is None and config.quality == "perplexity":
        from pimjax.tuning.quality import measured_perplexity

        quality = measured_perplexity(configs[0], config.parameters.get("hardware.adc_bits"))
    base = jax.tree.map(lambda leaf: leaf[0], designs).hardware
    box = make_box(numeric, base)
    arrays = ProblemArrays(
        box=box,
        designs=designs,
        schedules=schedules,
        objective=_objective(config.objective),
        limit_rows=np.zeros((_LIMITS_PADDING, len(BASE))),
        limit_bounds=np.ones(_LIMITS_PADDING),
    )
    problem = Problem(
        config=config,
        arrays=arrays,
        static=Static(capacity, configs[0].chip_model, config.fidelity, quality),
        names=tuple(numeric),
        choices=choices,
        configs=configs,
        trace=trace,
        start=_start(config, box, base, tuple(numeric)),
    )
    rows, bounds = _limits(config, problem, quality)
    return dataclasses.replace(problem, arrays=dataclasses.replace(arrays, limit_rows=rows, limit_bounds=bounds))


def choices_of(config: TuneConfig) -> tuple[dict[str, Any], ...]:
    """Every combination of the categorical parameters' choices, by key."""
    choosing = {key: item.choices or () for key, item in config.parameters.items() if item.kind == "categorical"}
    return tuple(dict(zip(choosing, values, strict=True)) for values in itertools.product(*choosing.values()))


def base_configs(config: TuneConfig) -> list[Config]:
    """The configuration of every combination, at the starts that numbers are given.

    Raises:
        ConfigError: a choice or a start is not acceptable.
    """
    direct = {
        key: item.start
        for key, item in config.parameters.items()
        if item.kind != "categorical" and item.start is not None and not item.drives
    }
    return [load_config(config.base, {**config.set, **direct, **choice}) for choice in choices_of(config)]


def _check_bounds(config: Config, numeric: Mapping[str, Any]) -> None:
    """Raise ConfigError where the chip refuses a bound of a parameter (a crossbar of a size nobody measured)."""
    for key, item in numeric.items():
        bounds = (level_values(item) or (item.low, item.high)) if not item.drives else ()
        for value in (bounds[0], bounds[-1]) if bounds else ():
            hardware = config.hardware.model_copy(update={key.partition(".")[2]: float(value)})
            CHIPS[config.chip_model].check(config.model_copy(update={"hardware": hardware}))


def _objective(weights: Mapping[str, float]) -> HostArray:
    return sum((-w if name in HIGHER_IS_BETTER else w) * row(name) for name, w in weights.items())  # type: ignore[return-value]


def _start(config: TuneConfig, box: Box, base: Any, names: tuple[str, ...]) -> HostArray:
    values = np.ones(box.low.shape)
    for index, name in enumerate(names):
        item = config.parameters[name]
        values[index] = (
            item.start if item.start is not None else float(np.asarray(getattr(base, name.partition(".")[2])))
        )
    unit = unit_at(box, np.where(np.isfinite(values), values, 1.0))
    unit[len(names) :] = 0.0
    return unit


def _limits(config: TuneConfig, problem: Problem, quality: Quality | None) -> tuple[HostArray, HostArray]:
    """Rows and bounds; a limit that is a multiple of the base takes the base's value from the kernel."""
    count = max(_LIMITS_PADDING, -(-len(config.limits) // _LIMITS_PADDING) * _LIMITS_PADDING)
    rows, bounds = np.zeros((count, len(BASE))), np.ones(count)
    base = None
    for index, limit in enumerate(config.limits):
        if limit.measure in QUALITIES and quality is None:
            raise ConfigError(
                f"limits: a limit on {limit.measure} needs quality: sqnr or perplexity, or a quality function (Python)"
            )
        if limit.of_base and base is None:
            from pimjax.tuning.evaluate import evaluate

            base = evaluate(problem, problem.start[None], np.zeros(1, int)).base[0]
        sign = 1.0 if limit.at_most is not None else -1.0
        if limit.measure in QUALITIES:
            bound = limit.bound * float(value_of(limit.measure, base)) if limit.of_base else limit.bound
            scale = 1.0 / max(abs(bound), 1e-9)
            rows[index], bounds[index] = sign * scale * row(limit.measure), sign * scale * bound
            continue
        bound = np.log(limit.bound) - offset(limit.measure)
        if limit.of_base:
            bound = np.log(limit.bound) + base @ row(limit.measure)
        rows[index], bounds[index] = sign * row(limit.measure), sign * bound
    return rows, bounds
