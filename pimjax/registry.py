"""Which chips there are: one line for each that ships, and whatever is registered from outside.

Nothing here knows what a chip is; names stand for objects that are imported when they are first asked for, so that
configurations (which come before chips) can find the `hardware` section of the chip they name.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

from pimjax.errors import ConfigError, shown

GROUP = "pimjax.chips"


class ChipRegistry(Mapping[str, Any]):
    """Chips by name, in order of registration: `CHIPS["reference"]`.

    Installed packages add theirs by an entry point of the group `pimjax.chips`, a script by :meth:`register`.
    """

    def __init__(self, shipped: Mapping[str, str]) -> None:
        self._homes: dict[str, str] = dict(shipped)
        self._loaded: dict[str, Any] = {}
        self._installed = False

    def __getitem__(self, name: object) -> Any:
        if not isinstance(name, str):
            raise ConfigError(f"chip_model: {shown(name)} is no name; allowed: {', '.join(self)}")
        if name not in self._loaded:
            if name not in self._homes:
                self._find_installed()
            if name not in self._homes:
                known = ", ".join(self)
                hint = difflib.get_close_matches(name[:200], list(self), 1)
                advice = f"did you mean {hint[0]!r}? " if hint else ""
                raise ConfigError(f"chip_model: {shown(name)} is unknown; {advice}allowed: {known}")
            module, _, attribute = self._homes[name].partition(":")
            self._loaded[name] = getattr(importlib.import_module(module), attribute)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        self._find_installed()
        return iter(self._homes)

    def __len__(self) -> int:
        self._find_installed()
        return len(self._homes)

    def __contains__(self, name: object) -> bool:
        self._find_installed()
        return isinstance(name, str) and name in self._homes

    def register(self, chip: Any) -> None:
        """Add a chip under its own name.

        Raises:
            ConfigError: another chip has that name.
        """
        if not isinstance(getattr(chip, "name", None), str) or not hasattr(chip, "components"):
            raise ConfigError(
                f"chip is {shown(chip)}: it must be an object of a subclass of pimjax.chips.Chip with a name"
            )
        if chip.name in self._homes and self._loaded.get(chip.name) is not chip:
            raise ConfigError(f"chip {chip.name!r} is registered already; give the new one another name")
        self._homes[chip.name] = f"{type(chip).__module__}:"
        self._loaded[chip.name] = chip

    def unregister(self, name: str) -> None:
        """Forget a chip that was registered by hand (tests do)."""
        self._homes.pop(name, None)
        self._loaded.pop(name, None)

    def _find_installed(self) -> None:
        if not self._installed:
            self._installed = True
            for point in entry_points(group=GROUP):
                self._homes.setdefault(point.name, point.value)


CHIPS = ChipRegistry(
    {
        "multiplexed": "pimjax.chips.multiplexed.chip:CHIP",
        "reference": "pimjax.chips.reference.chip:CHIP",
        "gpu": "pimjax.chips.gpu.chip:CHIP",
    }
)
DEFAULT_CHIP = next(iter(CHIPS._homes))
"""The chip of a configuration that names none."""
