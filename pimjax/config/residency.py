"""What `system.residency: swap` goes with: rules across keys for a chip that holds a part of a layer's experts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pimjax.errors import ConfigError

if TYPE_CHECKING:
    from pimjax.config.config import Config


def check_residency(config: Config) -> None:
    """Raise ConfigError where experts cannot be swapped as a configuration asks.

    Places, not experts, have groups, dies and a kind of tile, so that maps of experts have no meaning.

    >>> from pimjax.config.loader import load_config
    >>> check_residency(load_config("paper_crossbars", {"system.residency": "swap", "system.resident_experts": 8}))
    """
    system, model, plan = config.system, config.model, config.plan
    if system.residency == "all" or not model.num_experts:
        return
    held = model.num_experts if system.resident_experts is None else system.resident_experts
    if not model.top_k <= held <= model.num_experts:
        raise ConfigError(
            f"system.resident_experts is {held}: it must be from {model.top_k} (model.top_k, a token's experts are on the chip "
            f"together) to {model.num_experts} (model.num_experts)"
        )
    if plan.share != "none" and plan.group_size > held:
        raise ConfigError(
            f"plan.group_size is {plan.group_size} but system.resident_experts is {held}: groups share peripherals among the "
            f"experts that are on the chip, so use a group size from 1 to {held}"
        )
    rules = {
        "model.routing": (model.routing == "token_choice", "token_choice"),
        "plan.copies": (plan.copies == 0, "0"),
        "plan.group_of_expert": (plan.group_of_expert is None, "null (plan.grouping makes groups of places)"),
        "plan.expert_tile": (plan.expert_tile != "mixed", "analog or digital"),
        "system.placement": (isinstance(system.placement, str), "contiguous or coactivation"),
    }
    for key, (holds, wanted) in rules.items():
        if not holds:
            raise ConfigError(
                f"{key} does not go with system.residency 'swap', where any expert may be in any place: set {key}: {wanted}"
            )
