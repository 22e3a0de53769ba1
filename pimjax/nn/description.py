"""The language models of this package as sections of a configuration, so that their chips can be costed."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.errors import ConfigError
from pimjax.nn.analog_parts import AnalogParts
from pimjax.nn.language_model import LanguageModelConfig


def model_section(config: LanguageModelConfig) -> dict[str, Any]:
    """The keys of the section `model` that describe a language model; the output head is the transposed embedding.

    >>> import pimjax
    >>> section = model_section(LanguageModelConfig(num_layers=2, d_expert=20))
    >>> pimjax.load_config("paper_multiplexed", {f"model.{key}": value for key, value in section.items()}).model.d_ff
    20
    """
    return {
        "d_model": config.d_model,
        "d_ff": config.d_expert,
        "vocab_size": config.vocabulary,
        "num_layers": config.num_layers,
        "num_heads": config.num_heads,
        "num_experts": config.num_experts,
        "top_k": config.top_k,
        "activation": config.activation,
        "routing": config.router,
        "tied_embeddings": True,
        "attention": "gqa",
    }


def plan_section(parts: AnalogParts) -> dict[str, Any]:
    """The keys of the section `plan` that put the parts of level 0 on digital macros and those of level 1 on crossbars.

    Raises:
      ConfigError: a level between, or attention or routers that are digital in some layers only: a chip has each kind on
        one kind of tile in all layers.

    >>> from pimjax.nn.analog_parts import all_parts
    >>> parts = all_parts(LanguageModelConfig(num_layers=1, num_experts=4))
    >>> plan_section(parts.replace(router=0 * parts.router, experts=parts.experts.at[0, 2].set(0)))
    {'expert_tile': 'mixed', 'digital_experts': [[2]], 'digital_dense': ['router']}
    """
    kinds = {"attention": parts.attention, "router": parts.router, "head": parts.output}
    digital = {name: np.asarray(level) == 0 for name, level in {**kinds, "experts": parts.experts}.items()}
    for name, level in {**kinds, "experts": parts.experts}.items():
        if not np.isin(np.asarray(level), (0, 1)).all():
            raise ConfigError(
                f"parts: {name} has a level between 0 (digital) and 1 (analog): a chip has one or the other"
            )
        if name != "experts" and digital[name].any() != digital[name].all():
            raise ConfigError(f"parts: {name} is digital in some layers only: make it digital in all layers or in none")
    experts = digital["experts"]
    section: dict[str, Any] = {"expert_tile": "digital" if experts.all() else "mixed" if experts.any() else "analog"}
    if section["expert_tile"] == "mixed":
        section["digital_experts"] = [np.flatnonzero(layer).tolist() for layer in experts]
    return {**section, "digital_dense": [name for name in kinds if digital[name].all()]}
