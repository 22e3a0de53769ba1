"""The sections of one configuration as they are read: presets, files, facts beside values, overrides, the memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pimjax.config.base import Section, field_facts
from pimjax.config.config import SECTIONS, section_classes
from pimjax.config.hf import hf_keys, is_hf
from pimjax.config.memory import DEFAULT_MEMORY, OLD_KEYS, MemorySection, from_old_keys, hardware_key
from pimjax.config.presets import find_preset, list_presets, unknown_key_sentence
from pimjax.config.retired import RETIRED
from pimjax.config.system import DIE_LINKS, PREFIX, SYSTEM_NUMBERS, SystemChoices, SystemSection, link_numbers
from pimjax.config.yaml_reader import read_yaml
from pimjax.errors import ConfigError, OverrideError, brief, shown
from pimjax.resources import config_folder

_FACT_KEYS = {"value", "unit", "source", "range", "assumed", "note"}
_MOST_FILES = 20
_MOST_LEVELS = 9


class Reading:
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

    def memory(self, value: Any) -> tuple[str, dict[str, Any]]:
        """The preset that a memory starts from, and its numbers as keys of the hardware section (none for a chip without)."""
        if value == "":  # own numbers stand in the hardware section
            return "", {}
        if not isinstance(value, (str, Mapping)):
            raise ConfigError(
                f"memory is {shown(value)}; it must be the name of a preset ({', '.join(list_presets('memory'))}) or a "
                "mapping of its keys"
            )
        start = {"preset": value} if isinstance(value, str) else {"preset": DEFAULT_MEMORY, **value}
        found = self._section("memory", start, self.folder, self.where)
        for key, number in found.items():
            if key not in MemorySection.model_fields:
                raise ConfigError(
                    unknown_key_sentence(f"memory.{key}", number, str(key), list(MemorySection.model_fields))
                )
            dotted = hardware_key(f"memory.{key}")
            noted = self.sources.pop(f"memory.{key}", None)
            self.sources.pop(dotted, None)
            if noted is not None:
                self.sources[dotted] = noted
        preset = str(start["preset"])
        if isinstance(value, str) and preset != DEFAULT_MEMORY and not self._is_shipped(self.folder):
            self.stated.append("memory")
        numbers = {f"memory_{key}": number for key, number in found.items()} if self._has_memory else {}
        return preset if preset in list_presets("memory") else "", numbers

    def system(self, value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The choices of a system, and its numbers as keys of the hardware section (none for a chip without).

        A mapping that names neither `network` nor a preset describes dies.
        """
        if isinstance(value, Mapping) and not value.keys() & {"network", "preset"}:
            value = {"preset": "dies", **value}
        found = self._section("system", value, self.folder, self.where)
        numbers: dict[str, Any] = {}
        link = found.get("die_link")
        if isinstance(link, str) and link in DIE_LINKS:
            kind = DIE_LINKS[link]
            numbers = {PREFIX + name: one for name, one in link_numbers(kind).items()}
            units = field_facts(self.hardware)
            for name in numbers if self._has_system else ():
                self.sources[f"hardware.{name}"] = {"unit": units[name]["unit"], "source": kind.source}
        for key in list(found):
            if key not in SYSTEM_NUMBERS:
                continue
            dotted = hardware_key(f"system.{key}")
            one, noted = found.pop(key), self.sources.pop(f"system.{key}", None)
            if one is None:  # of the kind of link
                continue
            numbers[PREFIX + key] = one
            self.sources.pop(dotted, None)
            if noted is not None:
                self.sources[dotted] = noted
        unknown = [key for key in found if key not in SystemChoices.model_fields]
        if unknown:
            known = [*SystemChoices.model_fields, *SYSTEM_NUMBERS]
            raise ConfigError(unknown_key_sentence(f"system.{unknown[0]}", found[unknown[0]], str(unknown[0]), known))
        return found, numbers if self._has_system else {}

    def override_link(self, content: dict[str, Any], overrides: Mapping[str, Any]) -> None:
        """The numbers of a kind of link that an override names, but for those that are overrides themselves."""
        kind = overrides.get("system.die_link")
        if kind not in DIE_LINKS or not self._has_system:
            return
        target = content.setdefault("hardware", {})
        given = {hardware_key(str(key)) for key in overrides}
        for name, one in link_numbers(DIE_LINKS[kind]).items():
            if f"hardware.{PREFIX}{name}" not in given:
                target[PREFIX + name] = one

    @property
    def _has_system(self) -> bool:
        return f"{PREFIX}die_area_mm2" in self.hardware.model_fields

    @staticmethod
    def _is_shipped(folder: Path | None) -> bool:
        return folder is not None and config_folder() in (folder.resolve(), *folder.resolve().parents)

    @property
    def _has_memory(self) -> bool:
        return "memory_bandwidth_gb_per_s" in self.hardware.model_fields

    def override_old(self, content: dict[str, Any], overrides: Mapping[str, Any]) -> None:
        """Numbers of the memory under their old keys, which say together what a bit costs."""
        old = {key: overrides[f"hardware.{key}"] for key in OLD_KEYS if f"hardware.{key}" in overrides}
        if old and self._has_memory:
            self._put_old(content.setdefault("hardware", {}), old)

    def _put_old(self, target: dict[str, Any], old: Mapping[str, Any]) -> None:
        for name, value in from_old_keys(old).items():
            target[f"memory_{name}"] = value
            self.sources.pop(f"hardware.memory_{name}", None)

    def override(self, content: dict[str, Any], given: str, value: Any) -> None:
        """Put one dotted key into the content."""
        dotted = hardware_key(given)
        *parents, leaf = dotted.split(".")
        if parents == ["system"] and leaf not in SystemChoices.model_fields:
            known = [*SystemChoices.model_fields, *SYSTEM_NUMBERS]
            raise OverrideError(unknown_key_sentence(given, value, leaf, known), given)
        if parents == ["memory"]:
            raise OverrideError(unknown_key_sentence(given, value, leaf, list(MemorySection.model_fields)), given)
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
        self.stated.append(given)
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
        is_shipped = self._is_shipped(folder)
        facts = self._facts(section)
        old: dict[str, Any] = {}
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
            if section == "hardware" and key in OLD_KEYS and self._has_memory and not is_shipped:
                old[key] = item
                self.stated.append(dotted)
                continue
            if not is_shipped and item != resolved.get(key, facts.get(key, {}).get("default")):
                self.stated.append(dotted)
            resolved[key] = item
        if old:
            resolved |= old  # another chip's: it checks them
            self._put_old(resolved, old)
        return resolved

    def _facts(self, section: str) -> dict[str, dict[str, Any]]:
        """Facts of a section's keys; of `hardware` also those that only other chips have."""
        if section in ("memory", "system"):
            return field_facts(MemorySection if section == "memory" else SystemSection)
        own = field_facts(self.hardware) if section == "hardware" else {}
        return {name: fact for one in section_classes(section) for name, fact in field_facts(one).items()} | own
