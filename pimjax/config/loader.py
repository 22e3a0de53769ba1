"""YAML, presets and dotted overrides -> one validated :class:`Config`, with sentences for every mistake."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from pimjax import checks
from pimjax.config.base import Section, field_facts
from pimjax.config.config import SECTIONS, Config, section_class, section_classes, section_keys
from pimjax.config.hf import config_of_hf, hf_keys, hf_workload, is_hf
from pimjax.config.retired import RETIRED
from pimjax.config.yaml_reader import read_yaml
from pimjax.errors import ConfigError, OverrideError, brief, shown
from pimjax.registry import CHIPS, DEFAULT_CHIP
from pimjax.resources import config_folder

_FACT_KEYS = {"value", "unit", "source", "range", "assumed", "note"}


def list_presets(section: str | None = None) -> list[str]:
    """Names of the shipped presets: whole configurations, or those of one section.

    >>> "paper_reference" in list_presets()
    True
    """
    folder = config_folder() / section if section else config_folder()
    return sorted(path.stem for path in folder.glob("*.yaml"))


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
    reading = _Reading(where, folder, section_class("hardware", chip_model))
    is_dump = "stated" in data  # of a configuration that knows what its user set
    content: dict[str, Any] = {}
    for key, value in data.items():
        content[key] = reading.section(key, value) if key in SECTIONS else value
    model = data.get("model")
    if (isinstance(model, Mapping) and "hf" in model) or (isinstance(model, str) and is_hf(model, folder)):
        content.setdefault("workload", hf_workload())  # the recorded traces are of other models
    if is_dump:
        reading.stated.clear()
    for dotted, value in overrides.items():
        reading.override(content, dotted, value)
    known = reading.hardware.model_fields
    content.setdefault(
        "sources",
        {
            dotted: facts
            for dotted, facts in reading.sources.items()
            if not dotted.startswith("hardware.") or dotted.removeprefix("hardware.") in known
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


def find_preset(name: str, section: str | None, beside: Path | None = None) -> Path:
    """The file a name or path means: an existing path, a file beside the including one, or a shipped preset."""
    for candidate in (Path(name), *((beside / name,) if beside else ())):
        if candidate.suffix in (".yaml", ".yml") and _is_file(candidate):
            return candidate
    folder = config_folder() / section if section else config_folder()
    preset = folder / f"{name}.yaml"
    if "/" not in name and "\\" not in name and _is_file(preset):
        return preset
    known = list_presets(section)
    hint = difflib.get_close_matches(name[:_LONGEST_NAME], known, 1)
    label = f"{section} preset" if section else "configuration"
    raise ConfigError(
        f"{shown(name)} is neither a YAML file nor a shipped {label}"
        + (f"; did you mean {hint[0]!r}?" if hint else "")
        + f"; shipped: {', '.join(known) or 'none'}"
    )


_MOST_FILES = 20
_MOST_LEVELS = 9
_LONGEST_NAME = 100
"""Characters of a key or a name for which a similar one is sought."""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a NUL
        return False


class _Reading:
    """What is gathered while the sections of one configuration are read.

    Attributes:
        where: what error sentences call the configuration.
        folder: files beside it may be named in it.
        hardware: class of the chip's section.
        sources: unit, source and range given beside values, by dotted key.
        stated: dotted keys that the user set: overrides, and values in a user's own file that differ from what the key
            would otherwise have (a complete template sets every key to its default).
    """

    def __init__(self, where: str, folder: Path | None, hardware: type[Section]) -> None:
        self.where, self.folder, self.hardware = where, folder, hardware
        self.sources: dict[str, dict[str, Any]] = {}
        self.stated: list[str] = []

    def section(self, name: str, value: Any) -> dict[str, Any]:
        """One section: a preset's name, or a mapping that may start from `preset: name` (a model: from `hf: path`)."""
        return self._section(name, value, self.folder, self.where)

    def override(self, content: dict[str, Any], dotted: str, value: Any) -> None:
        """Put one dotted key into the content."""
        *parents, leaf = str(dotted).split(".")
        if len(parents) > _MOST_LEVELS:
            raise OverrideError(f"{brief(dotted)}: unknown key; no key has more than {_MOST_LEVELS + 1} parts", dotted)
        target: Any = content
        for depth, parent in enumerate(parents):
            if depth == 0 and parent not in SECTIONS:
                raise OverrideError(unknown_key_sentence(dotted, value, parent, list(SECTIONS)), dotted)
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise OverrideError(
                    f"{brief(dotted)}: {brief('.'.join(parents[: depth + 1]))} has no keys of its own; nothing to override",
                    dotted,
                )
        self.sources.pop(dotted, None)
        self.stated.append(str(dotted))
        if dotted not in RETIRED:
            target[leaf] = value

    def _section(
        self, section: str, value: Any, folder: Path | None, where: str, within: tuple[Path, ...] = ()
    ) -> dict[str, Any]:
        """`within`: the files that led here, each by naming the next."""
        if section == "model" and isinstance(value, str) and is_hf(value, folder):
            value = {"hf": value}
        if isinstance(value, str):
            path = find_preset(value, section, folder)
            if path.resolve() in within:
                chain = " -> ".join(brief(one.name) for one in (*within, path))
                raise ConfigError(
                    f"{where}: {section} presets start from each other ({chain}); let one of them stand alone"
                )
            if len(within) >= _MOST_FILES:
                raise ConfigError(f"{where}: {section} presets start from each other through over {_MOST_FILES} files")
            return self._section(section, read_yaml(path)[0], path.parent, shown(path), (*within, path.resolve()))
        if isinstance(value, BaseModel):
            return value.model_dump()
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"{where}: {section} is {shown(value)}; it must be the name of a preset ({', '.join(list_presets(section))}) "
                "or a mapping of its keys"
            )
        resolved: dict[str, Any] = {}
        value = dict(value)
        if section == "model" and "hf" in value:
            if "preset" in value:
                raise ConfigError(f"{where}: model has both 'hf' and 'preset'; start from one of them")
            resolved = hf_keys(value.pop("hf"), folder, where)
        preset = value.pop("preset", None)
        if preset is not None:
            if not isinstance(preset, str):
                raise ConfigError(
                    f"{where}: {section}.preset is {shown(preset)}; it must be the name of a shipped preset or a file"
                )
            resolved = self._section(section, preset, folder, where, within)
        is_shipped = folder is not None and config_folder() in (folder.resolve(), *folder.resolve().parents)
        facts = self._facts(section)
        for key, item in value.items():
            dotted = f"{section}.{key}"
            if dotted in RETIRED:
                self.stated.append(dotted)
                continue
            if isinstance(item, Mapping) and "value" in item:
                unknown = set(item) - _FACT_KEYS
                if unknown:
                    raise ConfigError(
                        f"{where}: {brief(dotted)} has the unknown note {shown(min(unknown, key=str))}; allowed: {', '.join(sorted(_FACT_KEYS))}"
                    )
                unit = facts.get(key, {}).get("unit")
                if unit and "unit" in item and item["unit"] != unit:
                    raise ConfigError(
                        f"{where}: {brief(dotted)} is given in {shown(item['unit'])}; its unit is {unit!r}: convert the value"
                    )
                self.sources[dotted] = {name: item[name] for name in item if name != "value"}
                item = item["value"]
            if not is_shipped and item != resolved.get(key, facts.get(key, {}).get("default")):
                self.stated.append(dotted)
            resolved[key] = item
        return resolved

    def _facts(self, section: str) -> dict[str, dict[str, Any]]:
        """Facts of a section's keys; of `hardware` also those that only other chips have."""
        own = field_facts(self.hardware) if section == "hardware" else {}
        return {name: fact for one in section_classes(section) for name, fact in field_facts(one).items()} | own


def unknown_key_sentence(dotted: str, value: Any, key: str, known: list[str]) -> str:
    """The sentence for a key that does not exist, with the closest existing one."""
    key = key[:_LONGEST_NAME]
    hint = difflib.get_close_matches(key, known, 1)
    advice = f"did you mean {hint[0]!r}? " if hint else ""
    some = known if len(known) <= 12 else [*(difflib.get_close_matches(key, known, 5, 0.2) or known[:5]), "..."]
    return f"{brief(dotted)}: unknown key (value {shown(value)}); {advice}allowed: {', '.join(some)}"


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
        if place == key or place.startswith(f"{key}."):
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
