"""A configuration as YAML that people edit: every key, its value, and what it means beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args, get_origin

from pimjax.config import plan
from pimjax.config.base import Section, field_facts
from pimjax.config.config import SECTIONS, Config
from pimjax.config.presets import list_presets
from pimjax.errors import brief
from pimjax.registry import CHIPS
from pimjax.schedule.policies import POLICIES

_WIDTH = 46


def render_yaml(config: Config) -> str:
    """The whole configuration as commented YAML; :func:`pimjax.load_config` reads it back to an equal one.

    >>> print(render_yaml(Config()).splitlines()[3])
    name: unnamed
    """
    lines = [
        "# pimjax configuration. Every key may be left out: the value shown is then used.",
        "# A section may also start from a preset: `hardware: {preset: hermes, num_digital_units: 10}`.",
        "# [U] marks an assumption without a published source; `pimjax estimate --explain` lists those in use.",
        f"name: {_scalar(config.name)}",
    ]
    if config.description:
        lines.append(f"description: {_scalar(config.description)}")
    lines.append(
        _commented(
            "", "chip_model", config.chip_model, "; ".join(f"{name}: {chip.about}" for name, chip in CHIPS.items())
        )
    )
    known = ", ".join(list_presets("memory"))
    note = f"where the memory_* numbers of the hardware section started from; a preset: {known}"
    lines.append(_commented("", "memory", config.memory, note))
    for name in SECTIONS:
        section = getattr(config, name)
        lines += ["", f"{name}:"]
        lines += _section_lines(section, "  ", name, config.sources)
    return "\n".join(lines) + "\n"


def _section_lines(section: Any, indent: str, prefix: str, sources: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for key, facts in field_facts(type(section)).items():
        value = getattr(section, key)
        if hasattr(type(value), "model_fields"):
            lines.append(f"{indent}{key}:  # {facts['about']}")
            lines += _section_lines(value, indent + "  ", f"{prefix}.{key}", sources)
            continue
        source = sources.get(f"{prefix}.{key}", {}).get("source") or facts["source"]
        allowed = allowed_values(type(section), key)
        parts = [facts["about"], *([allowed] if allowed else []), *([brief(source)] if source else [])]
        is_assumed = sources.get(f"{prefix}.{key}", {}).get("assumed", facts["assumed"])
        note = "; ".join(parts) + (" [U]" if is_assumed else "")
        lines.append(_commented(indent, key, value, note))
    return lines


def allowed_values(section: type[Section], key: str) -> str:
    """What a key accepts beyond its type, in words; empty where that is everything.

    >>> from pimjax.config.workload import WorkloadConfig
    >>> allowed_values(WorkloadConfig, "go_cache"), allowed_values(WorkloadConfig, "prompt_tokens")
    ('one of: none, full, threshold, authors', '1 to 1,048,576')
    """
    info = section.model_fields[key]
    named = _NAMED.get((section.__name__, key))
    choices = list(named()) if named else _choices(info.annotation)
    if choices:
        return f"one of: {', '.join(map(str, choices))}"
    bounds: dict[str, float] = {}
    for rule in _rules(info):
        bounds |= {name: getattr(rule, name) for name in ("ge", "gt", "le", "lt") if hasattr(rule, name)}
    low, high = bounds.get("ge"), bounds.get("le")
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    if "gt" in bounds and high is not None:
        return f"above {_number(bounds['gt'])}, up to {_number(high)}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return ", ".join(f"{words[name]} {_number(bound)}" for name, bound in bounds.items())


#: keys whose choices are registered, not written into the type
_NAMED: dict[tuple[str, str], Callable[[], Iterable[str]]] = {
    ("PlanConfig", "policy"): lambda: POLICIES,
    ("PlanConfig", "grouping"): lambda: plan.GROUPINGS,
}


def _choices(annotation: Any) -> list[Any]:
    """Values of a `Literal`, also inside `X | None`."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for part in get_args(annotation) for value in _choices(part)] if _is_optional(annotation) else []


def _is_optional(annotation: Any) -> bool:
    return type(None) in get_args(annotation)


def _rules(info: Any) -> list[Any]:
    """Bounds of a field, also those of `Annotated[...] | None`."""
    inner = [rule for part in get_args(info.annotation) for rule in getattr(part, "__metadata__", ())]
    return [*inner, *info.metadata]


def _number(value: float) -> str:
    return f"{int(value):,}" if isinstance(value, int) or (value.is_integer() and abs(value) < 1e7) else f"{value:g}"


def _commented(indent: str, key: str, value: Any, note: str) -> str:
    return f"{indent}{key}: {_scalar(value)}".ljust(_WIDTH) + f"  # {note}"


def _scalar(value: Any) -> str:
    """A value on one line of YAML (JSON is YAML, and plain words need no quotes)."""
    if isinstance(value, str):
        plain = value.replace("_", "").replace("-", "").replace(" ", "")
        safe = (
            plain.isalnum()
            and not plain[0].isdigit()
            and value.lower() not in {"null", "true", "false", "yes", "no", "on", "off"}
        )
        return value if safe else json.dumps(value)
    if isinstance(value, float):
        return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
    return json.dumps(value)
