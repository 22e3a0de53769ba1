"""The root of a configuration: one chip, one model, one workload, one plan, one number representation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import SerializeAsAny, ValidationInfo, field_validator, model_validator

from pimjax.config.base import Section, option
from pimjax.config.hardware import HardwareSection
from pimjax.config.memory import DEFAULT_MEMORY
from pimjax.config.model import ModelConfig
from pimjax.config.numerics import NumericsConfig
from pimjax.config.plan import PlanConfig
from pimjax.config.system import SystemChoices
from pimjax.config.workload import WorkloadConfig
from pimjax.errors import shown
from pimjax.registry import CHIPS, DEFAULT_CHIP

#: Sections by key; `hardware` stands for the class that the chip has (:func:`section_class`).
SECTIONS: dict[str, type[Section]] = {
    "hardware": HardwareSection,
    "model": ModelConfig,
    "workload": WorkloadConfig,
    "plan": PlanConfig,
    "numerics": NumericsConfig,
    "system": SystemChoices,
}


class Config(Section):
    """A complete, validated, frozen description of one estimate. Host object; see :func:`pimjax.build`."""

    name: str = option("unnamed", about="Name shown in results", max_length=255)
    description: str = option("", about="One sentence for lists", max_length=2000)
    chip_model: str = option(DEFAULT_CHIP, about="Which chip model; `pimjax presets` lists them")
    memory: str = option(
        DEFAULT_MEMORY,
        about="What the memory's numbers started from: a preset, a file, or a mapping of own numbers (and `preset`)",
        max_length=255,
    )
    hardware: SerializeAsAny[HardwareSection] = option({}, about="The chip: a section of the chip model's own")
    model: ModelConfig = option(ModelConfig(), about="The transformer")
    workload: WorkloadConfig = option(WorkloadConfig(), about="The work")
    plan: PlanConfig = option(PlanConfig(), about="Grouping, schedule, model options")
    numerics: NumericsConfig = option(NumericsConfig(), about="Number representation on the crossbars")
    system: SystemChoices = option(
        SystemChoices(),
        about="Dies, packages and the network around the crossbars; its numbers stand in the hardware section, as system_*",
    )
    sources: dict[str, dict[str, Any]] = option(
        {}, about="Unit, source and range given beside a value in YAML, by dotted key"
    )
    stated: tuple[str, ...] = option(
        (), about="Dotted keys that a user set, in a file or as an override; filled in by the loader", strict=False
    )

    @field_validator("chip_model")
    @classmethod
    def _known_chip(cls, name: str) -> str:
        CHIPS[name]  # raises with the names there are
        return name

    @field_validator("hardware", mode="wrap")
    @classmethod
    def _of_the_chip(cls, value: Any, handler: Any, info: ValidationInfo) -> HardwareSection:
        """The section is typed by the chip; numbers that only other chips have are dropped (the loader says so)."""
        if "chip_model" not in info.data:  # an error of its own
            return HardwareSection()
        chosen: type[HardwareSection] = CHIPS[info.data["chip_model"]].hardware
        if isinstance(value, chosen):
            return value
        if isinstance(value, HardwareSection):
            value = value.model_dump()
        if isinstance(value, Mapping):
            value = dict(value)
            for chip in CHIPS.values():
                elsewhere = {
                    key for key in value if key not in chosen.model_fields and key in chip.hardware.model_fields
                }
                chip.hardware.model_validate({key: value.pop(key) for key in elsewhere})  # a wrong value stays an error
        return chosen.model_validate(value)

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.model.num_experts and self.plan.group_size > self.model.num_experts + self.plan.copies:
            raise ValueError(
                f"plan.group_size is {self.plan.group_size} but there are only {self.model.num_experts} experts: "
                "use a group size between 1 and model.num_experts"
            )
        groups = self.plan.group_of_expert
        if groups is not None:
            wanted = self.model.num_experts + self.plan.copies
            if len(groups) != wanted:
                raise ValueError(f"plan.group_of_expert has {len(groups)} entries but needs one per expert: {wanted}")
            if min(groups) < 0 or sorted(set(groups)) != list(range(max(groups) + 1)):
                raise ValueError(
                    "plan.group_of_expert must number the groups 0, 1, 2, ... without gaps; "
                    f"it uses {shown(sorted(set(groups)))}"
                )
        if self.workload.semantics == "revise" and self.model.num_layers != 1:
            raise ValueError(
                f"workload.semantics 'revise' is a single-layer study but model.num_layers is {self.model.num_layers}: "
                "use 'newest'"
            )
        place = self.system.placement
        members = self.model.num_experts + self.plan.copies
        if not isinstance(place, str) and len(place) != members:
            raise ValueError(f"system.placement has {len(place)} entries but needs one per expert: {members}")
        CHIPS[self.chip_model].check(self)
        return self

    def digest(self) -> str:
        """Hash of everything that decides a result (not names, descriptions or sources): 16 hex digits."""
        remarks = {key for key in ModelConfig.model_fields if key.startswith("published_")} | {"source", "left_out"}
        content = self.model_dump(
            mode="json",
            exclude={
                "name": True,
                "description": True,
                "memory": True,  # its numbers are the hardware's
                "sources": True,
                "stated": True,
                "model": remarks,
            },
        )
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def section_class(section: str, chip_model: str) -> type[Section]:
    """The class of a section for a chip.

    >>> section_class("hardware", "reference").__name__
    'ReferenceHardware'
    """
    return CHIPS[chip_model].hardware if section == "hardware" else SECTIONS[section]


def section_classes(section: str) -> tuple[type[Section], ...]:
    """Every class that a section can have: one, or of `hardware` that of each chip.

    >>> [one.__name__ for one in section_classes("hardware")][:2]
    ['MultiplexedHardware', 'ReferenceHardware']
    """
    return tuple(chip.hardware for chip in CHIPS.values()) if section == "hardware" else (SECTIONS[section],)


def section_keys(section: str) -> tuple[str, ...]:
    """Keys that a section may have, for any chip.

    >>> "tiers" in section_keys("hardware"), "policy" in section_keys("plan")
    (True, True)
    """
    return tuple(dict.fromkeys(key for one in section_classes(section) for key in one.model_fields))
