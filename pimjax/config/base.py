"""The frozen base of every configuration section, and numbers that carry unit, source and range."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A configuration section: frozen, unknown keys refused, defaults validated.

    Host object: never enters a traced function. Its traced twin is built by :func:`pimjax.config.build.build`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, strict=True)

    @field_validator("*", mode="after")
    @classmethod
    def _whole_where_counted(cls, value: Any, info: ValidationInfo) -> Any:
        facts = cls.model_fields[info.field_name or ""].json_schema_extra
        if isinstance(facts, dict) and facts.get("whole") and isinstance(value, float) and not value.is_integer():
            raise PydanticCustomError("int_from_float", "it must be a whole number")
        return value


#: Upper limits by unit, for numbers that state none: beyond what any machine reaches, below what overflows or hangs.
LIMITS = {
    "rows": 65_536, "columns": 65_536, "crossbars": 1e9, "tiers": 1024, "units": 1e6, "lanes": 1e7, "links": 1e6,
    "slots": 1e6, "passes": 1e4, "phases": 4, "MVM times": 1e6, "bit": 16, "ns": 1e9, "nJ": 1e9, "pJ": 1e9, "mm2": 1e6, "um2": 1e9,
    "mm2/MB": 1e6, "kOhm": 1e6, "pF": 1e6, "GHz": 1e3, "GB/s": 1e8, "W": 1e6, "W/mm2": 1e3, "bytes": 1e13, "1/ns": 1e9,
    "nm": 250, "V": 10, "1": 1e6, "TFLOP/s": 1e9, "GB": 1e9, "pJ/bit": 1e6, "channels": 4096, "dies": 64, "bits": 64, "1/cm2": 100, "mm": 1e3,
    "experts": 65_536, "cycles": 1e18, "nJ/mm2": 1e6, "K mm2/W": 1e5, "C": 1000,
}  # fmt: skip


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
    whole: bool = False,
) -> Any:
    """A numeric field with its unit, source and plausible range (`spread`).

    `assumed` marks a number without a published source ([U] in the documentation): `pimjax estimate --explain`
    lists it and studies sweep its `spread`. `whole` marks counts: no fractions in a configuration (arrays of a
    :class:`pimjax.Design` may hold them, for gradients). `chosen` marks what a designer decides: it is not uncertain. The bounds `ge`, `gt`, `le` are what the configuration accepts.
    """
    extra: dict[str, Any] = {"unit": unit, "source": source, "assumed": assumed, "chosen": chosen, "whole": whole}
    extra["most"] = le  # a limit of its own, not the one of its unit: physics, also where arrays hold the number
    le = LIMITS.get(unit) if le is None else le
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
