"""The frozen base of every configuration section, and numbers that carry unit, source and range."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A configuration section: frozen, unknown keys refused, defaults validated.

    Host object: never enters a traced function. Its traced twin is built by :func:`pimjax.config.build.build`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, strict=True)


def number(
    default: Any,
    *,
    unit: str,
    about: str,
    source: str,
    spread: tuple[float, float] | None = None,
    assumed: bool = False,
    chosen: bool = False,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
) -> Any:
    """A numeric field with its unit, source and plausible range (`spread`).

    `assumed` marks a number without a published source ([U] in the documentation): `pimjax estimate --explain`
    lists it and studies sweep its `spread`. `chosen` marks what a designer decides: it is not uncertain. The bounds `ge`, `gt`, `le` are what the configuration accepts.
    """
    extra: dict[str, Any] = {"unit": unit, "source": source, "assumed": assumed, "chosen": chosen}
    if spread is not None:
        extra["spread"] = list(spread)
    bounds = {name: bound for name, bound in (("ge", ge), ("gt", gt), ("le", le)) if bound is not None}
    # pyrefly: ignore[no-matching-overload]
    return Field(default, description=f"{about} [{unit}]", json_schema_extra=extra, **bounds)


def option(default: Any, *, about: str, **bounds: Any) -> Any:
    """A choice, flag or integer that is no physical quantity."""
    return Field(default, description=about, **bounds)


def field_facts(section: type[Section]) -> dict[str, dict[str, Any]]:
    """Unit, source, spread, default and description of every field of a section, in declaration order."""
    facts = {}
    for name, info in section.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        facts[name] = {
            "default": info.default,
            "unit": extra.get("unit", ""),
            "source": extra.get("source", ""),
            "assumed": extra.get("assumed", False),
            "chosen": extra.get("chosen", False),
            "spread": extra.get("spread"),
            "about": info.description or "",
        }
    return facts
