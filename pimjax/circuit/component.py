"""What a component costs, and the machine-readable register of all components.

A component is a pure function that returns a :class:`Component` for ONE unit (one converter, one adder, one
row driver). The decorator :func:`component` records what a user must know before believing it: the action that the
energy is charged for, the technology and validity range, and the source. Docs and ``--explain`` print that register.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import NamedTuple, ParamSpec, TypeVar

import jax.numpy as jnp

from pimjax import checks
from pimjax.circuit.constants import CONSTANTS, Real, Sourced
from pimjax.errors import ConfigError

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Component(NamedTuple):
    """Cost of one unit.

    Attributes:
      area_mm2: silicon of one unit [mm2].
      energy_nj: energy of one action of one unit [nJ].
      latency_ns: time of one action [ns].
    """

    area_mm2: Real
    energy_nj: Real
    latency_ns: Real


@dataclasses.dataclass(frozen=True)
class ComponentInfo:
    """What is documented about a component; one entry of :data:`CATALOGUE`."""

    name: str
    action: str
    node: str
    validity: str
    source: str
    analog: bool
    constants: tuple[str, ...]
    function: str
    ranges: Mapping[str, tuple[float, float]]


CATALOGUE: dict[str, ComponentInfo] = {}

_SIZE, _POSITIVE = checks.numbers(0), checks.numbers(0, above=True)
CONSTANTS_RULE = checks.named(CONSTANTS, "a mapping from names in pimjax.circuit.CONSTANTS to numbers, or None")
RULES: dict[str, checks.Rule] = {
    **dict.fromkeys(("bits", "adc_bits", "cycle_bits", "input_bits", "cell_bits", "settling_ns", "read_ns"), _SIZE),
    **dict.fromkeys(("node_nm", "vdd_v", "rate_gsps", "lanes", "ways", "rows", "cols", "mvm_latency_ns"), _POSITIVE),
    **dict.fromkeys(("kind", "input_kind", "index", "devices_per_cell"), _SIZE),
    "activity": checks.numbers(0, 1),
    "exact": checks.flag,
    "constants": CONSTANTS_RULE,
}
"""What arguments of components must be, by their names."""


def component(
    name: str,
    *,
    action: str,
    node: str,
    validity: str,
    source: str,
    analog: bool,
    constants: tuple[Sourced, ...] = (),
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Enter the decorated cost function in :data:`CATALOGUE`; its arguments are checked by their names (:data:`RULES`).

    `ranges` is the part of `validity` and `node` that can be checked, by quantity
    (:func:`pimjax.circuit.validity.outside_validity`).
    """

    def register(function: Callable[_P, _R]) -> Callable[_P, _R]:
        if name in CATALOGUE:
            raise ValueError(f"component {name!r} is registered twice")
        CATALOGUE[name] = ComponentInfo(
            name,
            action,
            node,
            validity,
            source,
            analog,
            tuple(item.name for item in constants),
            f"{function.__module__}.{function.__qualname__}",
            dict(ranges or {}),
        )
        taken = inspect.signature(function).parameters
        return checks.checked(ConfigError, **{key: rule for key, rule in RULES.items() if key in taken})(function)

    return register


def soft_maximum(first: Real, second: Real, temperature: Real) -> Real:
    """Smooth maximum ``t log(exp(a/t) + exp(b/t))``: never below the exact one, at most ``t ln 2`` above it."""
    return temperature * jnp.logaddexp(first / temperature, second / temperature)


def soft_minimum(first: Real, second: Real, temperature: Real) -> Real:
    """Smooth minimum ``-t log(exp(-a/t) + exp(-b/t))``: never above the exact one, at most ``t ln 2`` below it."""
    return -soft_maximum(-first, -second, temperature)


def catalogue_markdown() -> str:
    """The register of components and of constants as two Markdown tables, for the documentation."""
    lines = [
        "| component | one action | node | validity | analog | source |",
        "|---|---|---|---|---|---|",
    ]
    for info in CATALOGUE.values():
        row = (info.name, info.action, info.node, info.validity, "yes" if info.analog else "no", info.source)
        lines.append("| " + " | ".join(row) + " |")
    lines += ["", "| constant | value | range | unit | quality | source |", "|---|---|---|---|---|---|"]
    for item in CONSTANTS.values():
        mark = " [U]" if item.quality == "U" else ""
        lines.append(
            f"| {item.name} | {item.value:g}{mark} | {item.low:g} to {item.high:g} | {item.unit} | "
            f"{item.quality} | {item.source} |"
        )
    return "\n".join(lines) + "\n"
