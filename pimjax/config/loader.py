"""YAML, presets and dotted overrides -> one validated :class:`Config`, with sentences for every mistake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from pimjax import checks
from pimjax.config.base import Section
from pimjax.config.config import SECTIONS, Config, section_class, section_keys
from pimjax.config.hf import config_of_hf, hf_workload, is_hf
from pimjax.config.memory import DEFAULT_MEMORY, OLD_KEYS, OLD_MEMORY, hardware_key
from pimjax.config.presets import find_preset, unknown_key_sentence
from pimjax.config.reading import Reading
from pimjax.config.yaml_reader import read_yaml
from pimjax.errors import ConfigError, OverrideError, brief, shown
from pimjax.registry import CHIPS, DEFAULT_CHIP


@checks.checked(
    ConfigError,
    path_or_preset=checks.any_of(checks.path, checks.instance(Mapping, "a mapping")),
    overrides=checks.instance(Mapping, "a mapping of dotted keys to values"),
)
def load_config(path_or_preset: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Config:
    """Load a configuration from a YAML file, a shipped preset's name, a config.json, or a mapping.

    Args:
        path_or_preset: path of a YAML file, a name from :func:`list_presets`, a nested mapping, or the config.json of
            a Hugging Face checkpoint (or its folder): that model on the default chip with the default plan.
        overrides: dotted keys to values, applied last: `{"hardware.num_digital_units": 10}`.

    Returns:
        A frozen, validated :class:`Config`.

    Raises:
        ConfigError: names the key, the value and what is allowed; of an override, an
            :class:`~pimjax.errors.OverrideError`, which names no file.

    >>> load_config("paper_reference", {"hardware.num_digital_units": 10}).hardware.num_digital_units
    10.0
    """
    if isinstance(path_or_preset, Mapping):
        data, where, folder = dict(path_or_preset), "<mapping>", None
        lines: dict[str, int] = {}
    elif is_hf(str(path_or_preset)):
        data, lines, where, folder = config_of_hf(str(path_or_preset)), {}, shown(Path(path_or_preset)), None
    else:
        path = find_preset(str(path_or_preset), None)
        data, lines = read_yaml(path)
        where, folder = shown(path), path.parent
        data.setdefault("name", path.stem)
    if overrides is not None and not isinstance(overrides, Mapping):
        raise ConfigError(f"overrides is {shown(overrides)}; it must be a mapping of dotted keys to values, or None")
    overrides = dict(overrides or {})
    chip_model = overrides.get("chip_model", data.get("chip_model", DEFAULT_CHIP))
    if not isinstance(chip_model, str) or chip_model not in CHIPS:
        chip_model = DEFAULT_CHIP  # validation says which there are
    reading = Reading(where, folder, section_class("hardware", chip_model))
    is_dump = "stated" in data  # of a configuration that knows what its user set
    content: dict[str, Any] = {}
    given = data.get("hardware")
    old = {*overrides, *(f"hardware.{key}" for key in (given if isinstance(given, Mapping) else ()))}
    usual = OLD_MEMORY if any(f"hardware.{key}" in old for key in OLD_KEYS) else DEFAULT_MEMORY
    content["memory"], numbers = reading.memory(data.get("memory", usual))
    for key, value in data.items():
        if key not in ("memory", "system"):
            content[key] = reading.section(key, value) if key in SECTIONS else value
    content["system"], around = reading.system(data.get("system", "none"))
    numbers = numbers | around
    if numbers:
        content["hardware"] = numbers | content.get("hardware", {})
    model = data.get("model")
    if (isinstance(model, Mapping) and "hf" in model) or (isinstance(model, str) and is_hf(model, folder)):
        content.setdefault("workload", hf_workload())  # the recorded traces are of other models
    if is_dump:
        reading.stated.clear()
    if isinstance(data.get("sources"), Mapping):  # a dump's own; what is overridden loses its source below
        reading.sources = dict(content.pop("sources"))
    if "memory" in overrides:  # before its single numbers
        content["memory"], numbers = reading.memory(overrides["memory"])
        content["hardware"] = content.get("hardware", {}) | numbers
        reading.stated.append("memory")
    if "system" in overrides:
        content["system"], numbers = reading.system(overrides["system"])
        content["hardware"] = content.get("hardware", {}) | numbers
        reading.stated.append("system")
    for dotted, value in overrides.items():
        if dotted not in ("memory", "system"):
            reading.override(content, str(dotted), value)
    reading.override_old(content, overrides)
    reading.override_link(content, overrides)
    known = reading.hardware.model_fields
    content.setdefault(
        "sources",
        {
            dotted: facts
            for dotted, facts in reading.sources.items()
            if not str(dotted).startswith("hardware.") or dotted.removeprefix("hardware.") in known
        },
    )
    kept = data.get("stated", ())
    if isinstance(kept, (list, tuple)) and all(isinstance(key, str) for key in kept):  # else validation refuses it
        content["stated"] = tuple(dict.fromkeys([*kept, *reading.stated]))
    try:
        return Config.model_validate(_plain(content))
    except ValidationError as error:
        key = _override_at_fault(error, path_or_preset, tuple(map(str, overrides)))
        if key is not None:
            raise OverrideError(sentence(error, "", {}), key) from None
        raise ConfigError(sentence(error, where, lines)) from None


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as Python numbers and lists: the schema is strict about types."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _override_at_fault(error: ValidationError, source: Any, overrides: tuple[str, ...]) -> str | None:
    """The override that an error is about; None where the configuration would not be accepted without it either."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    for key in overrides:
        spelt = hardware_key(key)
        if (
            place == spelt
            or place.startswith(f"{spelt}.")
            or (key in ("memory", "system") and place.startswith(f"hardware.{key}_"))
        ):
            return key
    if not overrides or first["type"] not in ("value_error", "missing"):
        return None
    try:  # a rule across keys: an override broke it if the rest keeps it
        load_config(source)
    except ConfigError:
        return None
    text = str(first["msg"])
    return next((key for key in sorted(overrides, key=len, reverse=True) if key in text), overrides[0])


def sentence(error: ValidationError, where: str, lines: Mapping[str, int]) -> str:
    """One sentence for a pydantic error: where, key, value, what is allowed."""
    problems = error.errors(include_url=False)
    first = problems[0]
    # Literal unions and optional types add their own location parts; keep what names a key.
    location = [str(part) for part in first["loc"] if not str(part).startswith(("function-", "literal", "constrained"))]
    dotted = ".".join(location)
    for part in ("memory", "system"):
        spelt = dotted.replace(f"hardware.{part}_", f"{part}.", 1)
        dotted = spelt if spelt in lines else dotted
    line = next((lines[p] for p in (dotted, *(dotted.rsplit(".", n)[0] for n in (1, 2))) if p in lines), None)
    prefix = f"{where}:{line}: " if line and where else (f"{where}: " if where and where != "<mapping>" else "")
    value, kind, context = first.get("input"), first["type"], first.get("ctx", {})
    if kind == "extra_forbidden":
        text = unknown_key_sentence(dotted, value, location[-1], _known_keys(location))
    elif kind == "value_error":
        text = str(context["error"])
    else:
        text = f"{brief(dotted)}: {shown(value)} is not accepted; {_allowed(kind, context, first['msg'])}"
    more = f" ({len(problems) - 1} more problem{'s' if len(problems) > 2 else ''})" if len(problems) > 1 else ""
    return prefix + text + more


def _known_keys(location: list[str]) -> list[str]:
    section: type[BaseModel] = Config
    if location[0] == "hardware":
        return list(section_keys("hardware"))
    for part in location[:-1]:
        info = section.model_fields.get(part)
        inner = info.annotation if info else None
        if not (isinstance(inner, type) and issubclass(inner, Section)):
            return []
        section = inner
    return list(section.model_fields)


def _allowed(kind: str, context: Mapping[str, Any], message: str) -> str:
    match kind:
        case "greater_than_equal":
            return f"it must be at least {_bound(context['ge'])}"
        case "greater_than":
            return f"it must be above {_bound(context['gt'])}"
        case "less_than_equal":
            return f"it must be at most {_bound(context['le'])}"
        case "literal_error":
            return f"allowed: {context['expected']}"
        case "int_type" | "int_from_float":
            return "it must be a whole number"
        case "float_type":
            return "it must be a number"
        case "finite_number":
            return "it must be a finite number"
        case "bool_type":
            return "it must be true or false"
        case "string_type":
            return "it must be text"
        case "string_too_long":
            return f"it may have at most {context['max_length']:,} characters"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "it must be a mapping of keys"
        case _:
            return message[0].lower() + message[1:]


def _bound(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:g}"
