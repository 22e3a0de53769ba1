"""A configuration as YAML that people edit: every key, its value, and what it means beside it."""

from __future__ import annotations

import json
from typing import Any

from pimjax.config.base import field_facts
from pimjax.config.config import SECTIONS, Config
from pimjax.registry import CHIPS

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
        note = facts["about"] + (f"; {source}" if source else "") + (" [U]" if facts["assumed"] else "")
        lines.append(_commented(indent, key, value, note))
    return lines


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
