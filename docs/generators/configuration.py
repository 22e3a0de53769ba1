"""Configuration reference from the pydantic schema: key, type, unit, default, allowed values, meaning, source."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

from pydantic.fields import FieldInfo

from generators.results import table
from pimjax.config.base import Section, field_facts
from pimjax.config.config import SECTIONS, Config, section_classes
from pimjax.config.memory import MemorySection
from pimjax.config.presets import find_preset, list_presets
from pimjax.config.yaml_reader import read_yaml
from pimjax.registry import CHIPS
from pimjax.tuning.tune_config import TuneConfig

_HEAD = ("key", "type", "unit", "default", "allowed", "plausible range", "meaning", "source")
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def configuration_reference() -> str:
    """Every key of every section."""
    lines = ["### Top level", "", table(_HEAD, _rows(Config)), ""]
    for name in SECTIONS:
        chips = {chip.hardware: chip.name for chip in CHIPS.values()}
        for section in section_classes(name):
            of_chip = f", chip model `{chips[section]}`" if section in chips else ""
            lines += [
                f"### `{name}`{of_chip}",
                "",
                (inspect.getdoc(section) or "").splitlines()[0],
                "",
                *_section(section, name, "####"),
            ]
    about = (inspect.getdoc(MemorySection) or "").splitlines()[0]
    lines += ["### `memory`", "", about, "", *_section(MemorySection, "memory", "####"), *_memories()]
    return "\n".join(lines)


def _memories() -> list[str]:
    """The shipped memories, one column each."""
    names = list_presets("memory")
    files = {name: read_yaml(find_preset(name, "memory"))[0] for name in names}

    def shown(facts: dict[str, typing.Any]) -> str:
        spread = facts.get("range")
        mark = " [U]" if facts.get("assumed") else ""
        return f"{facts['value']:g}" + (f" ({spread[0]:g} to {spread[1]:g})" if spread else "") + mark

    rows = [
        (f"`{key}`", info.json_schema_extra["unit"], *(shown(files[name][key]) for name in names))
        for key, info in MemorySection.model_fields.items()
    ]
    return [
        "(memory-presets)=",
        "",
        "#### Shipped memories",
        "",
        table(("key", "unit", *(f"`{name}`" for name in names)), rows),
        "",
    ]


def tuning_reference() -> str:
    """Keys of a tuning run."""
    return "\n".join(_section(TuneConfig, "", "###"))


def _section(section: type[Section], prefix: str, heading: str) -> list[str]:
    lines = [table(_HEAD, _rows(section)), ""]
    for key, info in section.model_fields.items():
        inner = _nested(info)
        if inner is not None:
            dotted = f"{prefix}.{key}".lstrip(".")
            lines += [f"{heading} `{dotted}`", "", (inspect.getdoc(inner) or "").splitlines()[0], ""]
            lines += _section(inner, dotted if inner in _values(info) else f"{dotted}.NAME", heading)
    return lines


def _nested(info: FieldInfo) -> type[Section] | None:
    """The section inside a field, also as the values of a mapping or the members of a tuple."""
    if info.annotation in SECTIONS.values():
        return None  # has a heading of its own
    for each in (*_values(info), *(inner for outer in _values(info) for inner in typing.get_args(outer))):
        if isinstance(each, type) and issubclass(each, Section):
            return each
    return None


def _values(info: FieldInfo) -> tuple[Any, ...]:
    annotation = info.annotation
    return typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)


def _rows(section: type[Section]) -> Iterator[tuple[str, ...]]:
    for key, facts in field_facts(section).items():
        info = section.model_fields[key]
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            continue
        spread = " to ".join(f"{bound:g}" for bound in facts["spread"]) if facts["spread"] else ""
        yield (
            f"`{key}`",
            "choice" if _registered(info) else _type(info.annotation),
            facts["unit"],
            "required" if info.is_required() else f"`{_default(info)}`",
            _allowed(info),
            spread,
            facts["about"].removesuffix(f" [{facts['unit']}]"),
            facts["source"] + (" [U]" if facts["assumed"] else ""),
        )


def _type(annotation: Any) -> str:
    parts = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    names = []
    for part in parts:
        origin, inner = typing.get_origin(part), typing.get_args(part)
        if part is type(None):
            names.append("null")
        elif origin is Literal:
            names.append("choice")
        elif origin is tuple:
            names.append(f"list of {_type(inner[0])}")
        elif origin is dict:
            names.append(f"mapping to {_type(inner[1])}")
        elif isinstance(part, type):
            names.append(
                {"int": "integer", "float": "number", "str": "text", "bool": "flag"}.get(part.__name__, "mapping")
            )
        else:
            names.append("any")
    return " or ".join(names)


def _allowed(info: FieldInfo) -> str:
    choices = [value for part in _values(info) if typing.get_origin(part) is Literal for value in typing.get_args(part)]
    if choices := choices or _registered(info):
        return ", ".join(f"`{choice}`" for choice in choices)
    bounds = []
    for constraint in info.metadata:
        bounds += [
            f"{word} {getattr(constraint, name):g}" for name, word in _BOUNDS.items() if hasattr(constraint, name)
        ]
    return ", ".join(bounds)


def _registered(info: FieldInfo) -> list[Any]:
    """Values of a choice that users may add to: what its JSON schema lists."""
    schema: dict[str, Any] = {}
    if callable(info.json_schema_extra):
        info.json_schema_extra(schema)
    return schema.get("enum", [])


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'
