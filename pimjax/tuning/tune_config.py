"""What to tune: base configuration, parameters, objective, limits, optimiser. YAML -> validated frozen host objects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import PrivateAttr, ValidationError, field_validator, model_validator

from pimjax.batch.sweep_config import is_file
from pimjax.config.base import Section, option
from pimjax.config.config import SECTIONS, section_keys
from pimjax.config.loader import sentence
from pimjax.config.memory import hardware_key
from pimjax.config.presets import unknown_key_sentence
from pimjax.config.yaml_reader import read_yaml
from pimjax.errors import ConfigError, shown
from pimjax.registry import CHIPS
from pimjax.resources import config_folder
from pimjax.tuning.measures import MEASURES, QUALITIES

MAX_VARIANTS = 256
MAX_LEVELS = 1024


class ParameterConfig(Section):
    """One thing that may change: a `hardware` number, a number that drives several by power laws, or a choice."""

    kind: Literal["continuous", "integer", "levels", "categorical"] = option(
        "continuous", about="levels: ordered legal numbers; categorical: every choice is tried"
    )
    low: float | None = option(None, about="Smallest value (continuous, integer)")
    high: float | None = option(None, about="Largest value (continuous, integer)")
    levels: tuple[float, ...] | None = option(None, about="Legal numbers, rising (levels)", strict=False)
    choices: tuple[Any, ...] | None = option(None, about="Values of the key (categorical)", strict=False)
    scale: Literal["log", "linear"] = option("log", about="How the relaxed value moves between its bounds")
    start: float | None = option(None, about="First value; default: the base configuration's")
    drives: dict[str, float] = option(
        {}, about="hardware keys this number drives: each is its base value times (value / start) ** exponent"
    )
    source: str = option("", about="Where a power law comes from")

    @field_validator("drives", mode="before")
    @classmethod
    def _spelt(cls, value: Any) -> Any:
        return _spelt(value)

    @model_validator(mode="after")
    def _consistent(self) -> ParameterConfig:
        if self.kind == "categorical":
            if not self.choices:
                raise ValueError("a categorical parameter needs choices: [value, value, ...]")
            if len({repr(choice) for choice in self.choices}) < len(self.choices):
                raise ValueError(f"choices name a value twice: {str(list(self.choices))[:200]}; keep one of each")
            return self
        if self.kind == "levels":
            levels = self.levels or ()
            if len(levels) > MAX_LEVELS:
                raise ValueError(f"there are {len(levels):,} levels; at most {MAX_LEVELS:,}: name fewer")
            if len(levels) < 2 or list(levels) != sorted(set(levels)):
                raise ValueError(f"levels are {str(list(levels))[:200]}; give at least two different rising numbers")
            low, high = levels[0], levels[-1]
        else:
            if self.low is None or self.high is None or not self.low < self.high:
                raise ValueError(f"low is {self.low} and high is {self.high}; give two numbers with low below high")
            low, high = self.low, self.high
            if self.kind == "integer" and (low != round(low) or high != round(high) or high - low >= MAX_LEVELS):
                raise ValueError(
                    f"low {low:g} and high {high:g} of an integer must be whole and at most {MAX_LEVELS - 1} apart"
                )
        if self.scale == "log" and low <= 0:
            raise ValueError(f"the smallest value is {low:g}; a log scale needs it above 0: use scale: linear")
        if self.drives and self.start is None:
            raise ValueError("a parameter that drives hardware keys needs start: the value at which they are unchanged")
        if self.start is not None and not low <= self.start <= high:
            raise ValueError(f"start {self.start:g} is outside {low:g} to {high:g}")
        return self


class LimitConfig(Section):
    """A limit on one measure: absolute, or as a multiple of the base configuration's value."""

    measure: str = option("area_mm2", about="One of pimjax.tuning.MEASURES")
    at_most: float | None = option(None, about="Upper bound")
    at_least: float | None = option(None, about="Lower bound")
    of_base: bool = option(False, about="The bound is a multiple of the base configuration's value")

    @model_validator(mode="after")
    def _consistent(self) -> LimitConfig:
        if self.measure not in MEASURES:
            raise ValueError(f"the measure {shown(self.measure)} is unknown; allowed: {', '.join(MEASURES)}")
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"the limit on {self.measure} needs either at_most or at_least")
        if self.measure not in QUALITIES and self.bound <= 0:
            raise ValueError(f"the limit on {self.measure} is {self.bound:g}; it must be above 0")
        return self

    @property
    def bound(self) -> float:
        """The number, whichever side it bounds."""
        return float(self.at_most if self.at_most is not None else self.at_least)  # type: ignore[arg-type]


class OptimiserConfig(Section):
    """How starts descend and how the best ones are finished."""

    name: Literal["adam", "adamw", "sgd", "lion", "rmsprop"] = option("adam", about="optax optimiser")
    learning_rate: float = option(0.08, about="First step, in parts of each parameter's range; decays to a tenth", gt=0)
    steps: int = option(40, about="Gradient steps of every start; 0: straight to cutting planes", ge=0, le=100_000)
    chunk_steps: int = option(10, about="Steps between checkpoints", ge=1, le=100_000)
    penalty: float = option(10.0, about="Weight of broken limits (augmented Lagrangian)", gt=0)
    anneal_from: float = option(
        0.5, about="Part of the steps after which rounding to legal hardware sets in", ge=0, le=1
    )
    cutting_steps: int = option(25, about="Most points that cutting planes visit from one start", ge=0, le=100_000)
    polished_starts: int = option(
        3, about="Starts that are finished; at least the best of every combination of choices", ge=1
    )
    budget: int = option(
        50_000, about="Evaluations (a gradient counts as 4) after which no further combination is finished", ge=1
    )
    polish_sweeps: int = option(30, about="Most sweeps over the neighbours of one start", ge=0, le=100_000)
    last_mile_steps: int = option(
        30, about="Iterations of L-BFGS-B on the continuous parameters of the best", ge=0, le=100_000
    )


class TuneConfig(Section):
    """A tuning run. Host object; :func:`pimjax.tuning.tune` runs it."""

    base: Any = option("paper_multiplexed", about="Base configuration: preset, YAML file or mapping")
    set: dict[str, Any] = option({}, about="Overrides of the base configuration by dotted key")
    fidelity: Literal["closed", "fluid"] = option(
        "closed", about="Model that is differentiated; the result is rechecked by event"
    )
    parameters: dict[str, ParameterConfig] = option({}, about="What may change, by dotted key (or a name, with drives)")
    objective: dict[str, float] = option(
        {"edp_nj_ns": 1.0}, about="Measures with weights: the weighted sum of their logs is improved"
    )
    limits: tuple[LimitConfig, ...] = option((), about="What must hold", strict=False)
    quality: Literal["none", "sqnr", "perplexity"] = option(
        "none",
        about="sqnr: signal-to-noise ratio [dB] of the crossbar product; perplexity: measured, of a small language model",
    )
    method: Literal["auto", "gradients", "model"] = option(
        "auto",
        about="model: a regression of all costs over listed legal points; auto: that where all numbers have levels, the "
        "points are at most 65,536 and no optimiser.steps are asked for",
    )
    optimiser: OptimiserConfig = option(OptimiserConfig(), about="How gradients are followed")
    starts: int = option(16, about="Starting points, dealt to the combinations of choices", ge=1, le=65_536)
    seed: int = option(0, about="Seed of the starting points", ge=0, le=2**32 - 1)
    _notes: tuple[str, ...] = PrivateAttr(())

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about how the description was read, such as an old word that it uses."""
        return self._notes

    @property
    def base_name(self) -> str:
        """The base configuration in a word."""
        return self.base if isinstance(self.base, str) else str(self.base.get("name", "a mapping"))

    @field_validator("parameters", mode="before")
    @classmethod
    def _spelt(cls, value: Any) -> Any:
        return _spelt(value)

    @model_validator(mode="after")
    def _consistent(self) -> TuneConfig:
        if not isinstance(self.base, (str, Mapping)):
            raise ValueError(f"base: {shown(self.base)} is not a preset's name, a file or a mapping")
        if not self.parameters:
            raise ValueError("parameters is empty; name at least one key to tune")
        if not self.objective or not any(self.objective.values()):
            raise ValueError("objective is empty; name at least one measure with a weight, for example {edp_nj_ns: 1}")
        for name in self.objective:
            if name not in MEASURES:
                raise ValueError(f"objective: the measure {shown(name)} is unknown; allowed: {', '.join(MEASURES)}")
        variants = 1
        for key, parameter in self.parameters.items():
            _check_key(key, parameter)
            variants *= len(parameter.choices or ()) if parameter.kind == "categorical" else 1
        if variants > MAX_VARIANTS:
            raise ValueError(
                f"the categorical parameters have {variants} combinations; at most {MAX_VARIANTS}: name fewer choices"
            )
        if self.quality == "none" and "quality" in self.objective:
            raise ValueError(
                "objective: quality is used but quality is 'none'; set quality: sqnr, or give a limit and a function"
            )
        named = {*self.objective, *(limit.measure for limit in self.limits)}
        if self.quality != "perplexity" and "perplexity" in named:
            raise ValueError(f"perplexity is used but quality is {self.quality!r}; set quality: perplexity")
        return self


def _spelt(value: Any) -> Any:
    """A mapping by dotted key, numbers of the memory under their key of the hardware section."""
    if not isinstance(value, Mapping):
        return value
    return {hardware_key(key) if isinstance(key, str) else key: item for key, item in value.items()}


def _check_key(key: str, parameter: ParameterConfig) -> None:
    leaves = list(parameter.drives)
    if not leaves and parameter.kind != "categorical":
        leaves = [key]
    for leaf in leaves:
        section, _, name = leaf.partition(".")
        if section != "hardware" or not _owners(name):
            raise ValueError(
                f"parameters: {shown(leaf)} is no hardware number; only hardware.* moves continuously, other keys need "
                "kind: categorical, and a name of your own needs drives"
            )
    if parameter.kind == "categorical" and key != "memory":
        section, _, name = key.partition(".")
        known = section_keys(section) if section in SECTIONS else ()
        if name.partition(".")[0] not in known:
            raise ValueError(
                unknown_key_sentence(key, list(parameter.choices or ()), name or section, list(known or SECTIONS))
            )
    if not parameter.drives and parameter.kind != "categorical":
        _check_bounds(key, parameter)


def _owners(name: str) -> list[Any]:
    """Chips that have a hardware number of that name."""
    return [chip for chip in CHIPS.values() if name in chip.hardware.model_fields]


def _check_bounds(key: str, parameter: ParameterConfig) -> None:
    """The box must lie inside what the configuration accepts."""
    low = parameter.levels[0] if parameter.levels else parameter.low
    high = parameter.levels[-1] if parameter.levels else parameter.high
    for value in (low, high):
        try:
            name = key.partition(".")[2]
            _owners(name)[0].hardware.model_validate({name: float(value)})  # type: ignore[arg-type]
        except ValidationError as error:
            raise ValueError(f"parameters: {sentence(error, '', {})} (a bound of {key})") from None


def load_tune_config(source: str | Path | Mapping[str, Any] | TuneConfig) -> TuneConfig:
    """Read a tuning description: a YAML file, the name of a shipped one (`configs/experiments`), or a mapping.

    Raises:
        ConfigError: names the key, the value and what is allowed.

    >>> run = load_tune_config({"parameters": {"hardware.num_digital_units": {"kind": "integer", "low": 1, "high": 16}}})
    >>> run.objective
    {'edp_nj_ns': 1.0}
    """
    if isinstance(source, TuneConfig):
        return source
    lines: dict[str, int] = {}
    if isinstance(source, Mapping):
        data, where = dict(source), "<mapping>"
    else:
        path = _found(source)
        data, lines = read_yaml(path)
        where = shown(path)
        for key in ("base", "config"):
            if isinstance(data.get(key), str) and is_file(path.parent / data[key]):
                data[key] = str(path.parent / data[key])
    notes: tuple[str, ...] = ()
    if "config" in data:
        if "base" in data:
            raise ConfigError(f"{where}: base and config are given; config is the old word for base: keep base")
        data["base"] = data.pop("config")
        notes = (f"{where}: the key config is now called base; the old word is still read",)
    try:
        made = TuneConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_sentence(error, where, lines)) from None
    made._notes = notes
    return made


def _found(source: Any) -> Path:
    """The file that a path, or the name of a shipped run, means."""
    if not isinstance(source, (str, Path)):
        raise ConfigError(
            f"a tuning run is described by a YAML file, a shipped run's name or a mapping, not by {shown(source)}"
        )
    if is_file(Path(source)):
        return Path(source)
    shipped = config_folder() / "experiments" / f"{source}.yaml"
    if not is_file(shipped):
        names = sorted(p.stem for p in (config_folder() / "experiments").glob("tune_*.yaml"))
        raise ConfigError(
            f"{shown(source)} is neither a YAML file nor a shipped tuning run; shipped: {', '.join(names)}"
        )
    return shipped


_INSIDE = {"parameters": (ParameterConfig, 2), "limits": (LimitConfig, 2), "optimiser": (OptimiserConfig, 1)}


def _sentence(error: ValidationError, where: str, lines: Mapping[str, int]) -> str:
    """One sentence; unknown keys name the ones of the section they stand in."""
    first = error.errors(include_url=False)[0]
    if first["type"] != "extra_forbidden":
        return sentence(error, where, lines)
    place = [str(part) for part in first["loc"]]
    section, depth = _INSIDE.get(place[0], (TuneConfig, 0))
    known = section if len(place) > depth else TuneConfig
    text = unknown_key_sentence(".".join(place), first.get("input"), place[-1], list(known.model_fields))
    return text if where == "<mapping>" else f"{where}: {text}"


def level_values(parameter: ParameterConfig) -> tuple[float, ...] | None:
    """Legal numbers of a discrete parameter, rising; None for a continuous one.

    >>> level_values(ParameterConfig(kind="integer", low=2, high=5))
    (2.0, 3.0, 4.0, 5.0)
    """
    match parameter.kind:
        case "levels":
            return tuple(float(level) for level in parameter.levels or ())
        case "integer":
            first, last = math.floor(parameter.low or 0), math.floor(parameter.high or 0)
            return tuple(float(value) for value in range(first, last + 1))
        case _:
            return None
