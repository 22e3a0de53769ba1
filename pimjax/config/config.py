"""The root of a configuration: one chip, one model, one workload, one plan, one number representation."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import model_validator

from pimjax.config.base import Section, option
from pimjax.config.hardware import HardwareConfig
from pimjax.config.model import ModelConfig
from pimjax.config.numerics import NumericsConfig
from pimjax.config.plan import PlanConfig
from pimjax.config.workload import WorkloadConfig

CHIP_MODELS = ("multiplexed", "reference")
SECTIONS: dict[str, type[Section]] = {
    "hardware": HardwareConfig,
    "model": ModelConfig,
    "workload": WorkloadConfig,
    "plan": PlanConfig,
    "numerics": NumericsConfig,
}


class Config(Section):
    """A complete, validated, frozen description of one estimate. Host object; see :func:`pimjax.build`."""

    name: str = option("unnamed", about="Name shown in results")
    description: str = option("", about="One sentence for lists")
    chip_model: Literal["multiplexed", "reference"] = option(
        "multiplexed", about="multiplexed: the physical chip; reference: the authors' simulator"
    )
    hardware: HardwareConfig = option(HardwareConfig(), about="The chip")
    model: ModelConfig = option(ModelConfig(), about="The transformer")
    workload: WorkloadConfig = option(WorkloadConfig(), about="The work")
    plan: PlanConfig = option(PlanConfig(), about="Grouping, schedule, model options")
    numerics: NumericsConfig = option(NumericsConfig(), about="Number representation on the crossbars")
    sources: dict[str, dict[str, Any]] = option(
        {}, about="Unit, source and range given beside a value in YAML, by dotted key"
    )

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
                    f"it uses {sorted(set(groups))}"
                )
        if self.chip_model == "reference" and self.workload.batch_size != 1:
            raise ValueError(
                f"workload.batch_size is {self.workload.batch_size} but chip_model 'reference' describes batch 1 only: "
                "use chip_model 'multiplexed'"
            )
        if self.workload.semantics == "revise" and self.model.num_layers != 1:
            raise ValueError(
                f"workload.semantics 'revise' is a single-layer study but model.num_layers is {self.model.num_layers}: "
                "use 'newest'"
            )
        return self

    def digest(self) -> str:
        """Hash of everything that decides a result (not names, descriptions or sources): 16 hex digits."""
        remarks = {"source", "published_parameters", "published_active_parameters"}
        content = self.model_dump(
            mode="json", exclude={"name": True, "description": True, "sources": True, "model": remarks}
        )
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
