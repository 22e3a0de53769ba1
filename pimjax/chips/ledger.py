"""The ledger: what every component of a chip is called, what it says of a run, and which numbers it reads.

Explanations, tables, reports, intervals and the notes on settings without effect are all made from it. A read may have
conditions (`plan.tile: parametric`); a key none of whose readers is active has no effect on a run, and the conditions
say what would give it one. A test perturbs every number and holds the ledger to what really changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pimjax.checks import each, having, instance, require, text
from pimjax.config.memory import BECAME, WHY, hardware_key
from pimjax.config.retired import RETIRED
from pimjax.errors import ConfigError
from pimjax.registry import CHIPS

if TYPE_CHECKING:
    from pimjax.chips.chip import Chip
    from pimjax.config.config import Config

_MEMORY = "hardware.memory_bandwidth_gb_per_s"  # a chip that reads it has the memory component
#: What every chip's temperature follows from.
HEAT = "ambient_c cooling_k_mm2_per_w max_junction_c"
QUANTITIES = ("time", "energy", "area")
FAMILIES = (
    "crossbars",
    "dense crossbars",
    "attention",
    "digital",
    "links",
    "memory",
    "sharing",
    "idle",
    "other",
)
"""Kinds of units, in the order of legends."""


@dataclass(frozen=True)
class Condition:
    """A setting under which something is read.

    Attributes:
        key: dotted key that decides.
        wanted: values that make it hold, as a user would type them.
        holds: decides for a configuration.
        decisive: a key that is set for this setting's sake and keeps but a side effect without it is noted too.
    """

    key: str
    wanted: str
    holds: Callable[[Config], bool]
    decisive: bool = False


def setting(key: str, *values: Any, decisive: bool = False) -> Condition:
    """The condition that a key has one of `values`.

    >>> from pimjax.config.config import Config
    >>> setting("plan.tile", "parametric").holds(Config())
    False
    """
    require(ConfigError, "key", key, text)
    wanted = " or ".join(_shown(value) for value in values)
    return Condition(key, wanted, lambda config: value_at(config, key) in values, decisive)


def value_at(config: Config, key: str) -> Any:
    """A configuration's value by dotted key."""
    found: Any = config
    for part in key.split("."):
        found = getattr(found, part)
    return found


@dataclass(frozen=True)
class Read:
    """One key that is read, and the conditions under which it is (all of them)."""

    key: str
    when: tuple[Condition, ...] = ()

    def is_active(self, config: Config) -> bool:
        """Whether all conditions hold."""
        return all(condition.holds(config) for condition in self.when)

    def given(self, *when: Condition) -> Read:
        """The same with further conditions."""
        return Read(self.key, (*self.when, *when))


def reads(keys: str, *when: Condition) -> tuple[Read, ...]:
    """Reads of several keys under the same conditions; keys without a section are the chip's hardware.

    >>> [read.key for read in reads("mvm_latency_ns plan.tile")]
    ['hardware.mvm_latency_ns', 'plan.tile']
    """
    require(ConfigError, "keys", keys, text)
    for one in when:
        require(ConfigError, "when", one, instance(Condition, "a Condition from setting"))
    return tuple(Read(key if "." in key else f"hardware.{key}", when) for key in keys.split())


@dataclass(frozen=True)
class ComponentSpec:
    """One component of latency, energy or area.

    Attributes:
        name: key in results.
        plain: what people call it.
        family: what kind of unit it is: one of :data:`FAMILIES`, which decides its colour in figures.
        sentence: what it says of a run that it bounds, and what would help.
        time, energy, area: what its busy time, its energy and its area follow from.
        counted: what one unit of it is, in the plural; empty where it has none.
        kinds: kinds in `op_counts` that count its units; empty where something else does.
        by_run_time: its energy is a power times the run's latency, so that whatever takes time moves it.
    """

    name: str
    plain: str
    family: str = "other"
    sentence: str = ""
    time: tuple[Read, ...] = ()
    energy: tuple[Read, ...] = ()
    area: tuple[Read, ...] = ()
    counted: str = ""
    kinds: tuple[str, ...] = ()
    by_run_time: bool = False

    def all_reads(self) -> tuple[Read, ...]:
        """Reads of every quantity."""
        return (*self.time, *self.energy, *self.area)

    def keys(self, quantity: str) -> tuple[str, ...]:
        """Hardware keys behind `quantity` ("time", "energy", "area"), without their section, conditions aside."""
        wanted: Iterable[Read] = getattr(self, quantity)
        names = (read.key.removeprefix("hardware.") for read in wanted if read.key.startswith("hardware."))
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class Reader:
    """Something that reads keys and is no component: the schedule, a limit, a further command."""

    plain: str
    reads: tuple[Read, ...]
    of_run: bool = True  # False: the numbers of an estimate do not depend on it


def every_read(chip: Chip) -> Iterator[tuple[str, Read, bool]]:
    """(plain name of the reader, read, whether a run's numbers depend on it), of a chip."""
    for spec in chip.components:
        for read in spec.all_reads():
            yield spec.plain, read, True
    for reader in chip.readers:
        for read in reader.reads:
            yield reader.plain, read, reader.of_run


def without_effect(*configs: Config, keys: Iterable[str] = (), accuracy: bool = False) -> list[str]:
    """One sentence for each key that the user set and that changes nothing in any of these runs.

    Args:
        *configs: configurations; `config.stated` names the keys the user set.
        keys: further keys that were set: axes of a sweep, parameters of a tuning run.
        accuracy: numbers that only accuracy depends on count as used.

    >>> from pimjax.config.loader import load_config
    >>> for sentence in without_effect(load_config("paper_multiplexed", {"hardware.node_nm": 22})):
    ...     print(sentence)
    hardware.node_nm has no effect with plan.tile: calibrated; set plan.tile: parametric
    """
    for config in configs:
        require(
            ConfigError, "configs", config, having("chip_model", "stated", meaning="a Config from pimjax.load_config")
        )
    meaning = "a collection of dotted keys"
    require(ConfigError, "keys", keys, lambda value: meaning if isinstance(value, str) else _iterable(value, meaning))
    keys = tuple(keys)
    require(ConfigError, "keys", keys, each(text, meaning))
    found: dict[str, str] = {}
    for index, config in enumerate(configs):
        idle = _idle(config, (*config.stated, *keys), accuracy)
        found = idle if index == 0 else {key: text for key, text in found.items() if key in idle}
    return list(found.values())


def _iterable(value: Any, meaning: str) -> str | None:
    return None if isinstance(value, Iterable) else meaning


def _idle(config: Config, keys: Iterable[str], accuracy: bool) -> dict[str, str]:
    """Keys without effect in one run -> the sentence."""
    chip = CHIPS[config.chip_model]
    table: dict[str, list[tuple[str, Read, bool]]] = {}
    for plain, read, of_run in every_read(chip):
        table.setdefault(read.key, []).append((plain, read, of_run))
    found = {}
    for key in keys:
        if key in RETIRED:
            found[key] = f"{key} is gone and has no effect: {RETIRED[key]}"
            continue
        if key in BECAME and BECAME[key] in table:
            found[key] = f"{key} is read as {BECAME[key]}: {WHY[key]}"
            continue
        name = _MEMORY if key == "memory" else hardware_key(key)
        if key == "system":
            name = "system.network"
        if name.partition(".")[0] not in ("hardware", "plan", "numerics", "system") or (
            key == "memory" and name in table
        ):
            continue
        entries = table.get(name, [])
        active = [plain for plain, read, of_run in entries if read.is_active(config) and (of_run or accuracy)]
        if active:
            lost = [
                (plain, condition)
                for plain, read, _ in entries
                for condition in read.when
                if condition.decisive and not condition.holds(config) and plain not in active
            ]
            if lost:
                one = lost[0][1]
                found[key] = (
                    f"{key} has no effect on {' and '.join(_listed(plain for plain, _ in lost))} with {one.key}: "
                    f"{_shown(value_at(config, one.key))}, only on {' and '.join(_listed(active))}; set {one.key}: {one.wanted}"
                )
            continue
        found[key] = _sentence(config, key, entries)
    return found


def _sentence(config: Config, key: str, entries: list[tuple[str, Read, bool]]) -> str:
    of_the_run = [(plain, read, True) for plain, read, of_run in entries if of_run]
    elsewhere = [plain for plain, read, of_run in entries if not of_run and read.is_active(config)]
    if elsewhere and not of_the_run:
        return f"{key} has no effect on an estimate; it is read by {', '.join(dict.fromkeys(elsewhere))}"
    entries = of_the_run or entries
    if not entries:
        spelt = _MEMORY if key == "memory" else "system.network" if key == "system" else hardware_key(key)
        others = [
            name
            for name, chip in CHIPS.items()
            if name != config.chip_model and any(read.key == spelt for _, read, _ in every_read(chip))
        ]
        advice = f"chip_model: {' or '.join(others)} reads it" if others else "no chip reads it: leave it out"
        return f"{key} has no effect with chip_model: {config.chip_model}; {advice}"
    # the reader with the fewest conditions to fulfil gives the advice
    missing = min(
        ([condition for condition in read.when if not condition.holds(config)] for _, read, _ in entries), key=len
    )
    now = ", ".join(f"{one.key}: {_shown(value_at(config, one.key))}" for one in missing)
    wanted = ", ".join(f"{one.key}: {one.wanted}" for one in missing)
    return f"{key} has no effect with {now}; set {wanted}"


def _listed(names: Iterable[str]) -> list[str]:
    """Without repetition: all but the last joined by commas, and the last."""
    first, *rest = dict.fromkeys(names)
    return [first] if not rest else [", ".join([first, *rest[:-1]]), rest[-1]]


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
