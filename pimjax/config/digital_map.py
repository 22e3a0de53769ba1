"""Which experts and dense parts lie on digital SRAM macros: what `plan.expert_tile` and the keys beside it say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.config.plan import DENSE_PARTS
from pimjax.errors import ConfigError, shown

if TYPE_CHECKING:
    from pimjax.config.config import Config

DEFAULT_SHARE = 0.25
"""Experts of each layer that `mixed` keeps digital where no map is given: the most sensitive quarter, arXiv 2603.02633."""


def digital_experts(config: Config) -> HostArray:
    """Experts on digital macros, bool `[L, E]` (L layers with experts). Host.

    `plan.expert_tile` analog: none, digital: all, mixed: those of `plan.digital_experts`: a list for all layers, a list
    for each, or a share of every layer's experts, the first ones of `plan.digital_order` (default: by their numbers).

    Raises:
        ConfigError: a list or an order that does not fit the model.

    >>> from pimjax.config.loader import load_config
    >>> keys = {"model.num_experts": 4, "model.top_k": 1, "plan.expert_tile": "mixed", "plan.digital_experts": 0.5}
    >>> digital_experts(load_config("paper_multiplexed", {**keys, "plan.digital_order": [3, 1, 0, 2]})).tolist()
    [[False, True, False, True]]
    """
    model, plan = config.model, config.plan
    layers, experts = model.num_moe_layers, model.num_experts
    if plan.expert_tile != "mixed":
        return np.full((layers, experts), plan.expert_tile == "digital")
    given = DEFAULT_SHARE if plan.digital_experts is None else plan.digital_experts
    if isinstance(given, (int, float)):
        rows = _per_layer("plan.digital_order", plan.digital_order or tuple(range(experts)), layers)
        count = round(float(given) * experts)
        for row in rows:
            if sorted(row) != list(range(experts)):
                raise ConfigError(
                    f"plan.digital_order holds {shown(list(row))}: an order names every expert once, 0 to {experts - 1}"
                )
        rows = [row[:count] for row in rows]
    else:
        rows = _per_layer("plan.digital_experts", given, layers)
    found = np.zeros((layers, experts), bool)
    for layer, row in enumerate(rows):
        for expert in row:
            if not 0 <= expert < experts:
                raise ConfigError(
                    f"plan.digital_experts names expert {expert}: the model has experts 0 to {experts - 1}"
                )
        found[layer, list(row)] = True
    return found


def grouped_apart(digital: HostArray, group_size: int) -> list[HostArray]:
    """Experts of one layer that are grouped among themselves, int `[n]` each. Host.

    Digital ones and analog ones, so that no group has peripherals of both kinds; all together where groups of one kind
    would be more groups than `group_size` asks for.

    >>> [mine.tolist() for mine in grouped_apart(np.array([True, False, True, False]), 2)]
    [[1, 3], [0, 2]]
    """
    kinds = [np.flatnonzero(digital == kind) for kind in (False, True) if (digital == kind).any()]
    if sum(-(-len(mine) // group_size) for mine in kinds) > -(-len(digital) // group_size):
        return [np.arange(len(digital))]
    return kinds


def _per_layer(key: str, given: tuple[int, ...] | tuple[tuple[int, ...], ...], layers: int) -> list[tuple[int, ...]]:
    """One row for each layer with experts, of one list for all or of a list of lists."""
    rows = [row for row in given if isinstance(row, tuple)]
    if not rows:
        return [tuple(expert for expert in given if isinstance(expert, int))] * layers
    if len(rows) != layers or len(rows) != len(given):
        raise ConfigError(
            f"{key} has {len(given)} lists but the model has {layers} layers with experts: give one list for each, or one "
            "list of numbers for all"
        )
    return rows


def expert_kinds(config: Config) -> int:
    """Kinds of tile that routed experts lie on: 1 those of `plan.tile`, 2 digital macros, 3 both.

    >>> from pimjax.config.config import Config
    >>> expert_kinds(Config())
    1
    """
    digital = digital_experts(config)
    if not digital.size:
        return 1
    return (0 if digital.all() else 1) + (2 if digital.any() else 0)


def digital_dense(config: Config) -> int:
    """Dense parts on digital macros, one bit for each of `DENSE_PARTS`.

    >>> from pimjax.config.loader import load_config
    >>> digital_dense(load_config("paper_multiplexed", {"plan.digital_dense": ["attention", "head"]}))
    17
    """
    return sum(1 << place for place, part in enumerate(DENSE_PARTS) if part in config.plan.digital_dense)


def has_digital_parts(config: Config) -> bool:
    """Whether anything lies on a digital macro beside crossbars of `plan.tile`."""
    return config.plan.expert_tile != "analog" or bool(config.plan.digital_dense)


def check_digital_parts(config: Config) -> None:
    """Raise ConfigError where the map does not fit the model, or where everything is digital already."""
    plan = config.plan
    if plan.tile == "digital_sram" and has_digital_parts(config):
        key = "plan.digital_dense" if plan.expert_tile == "analog" else "plan.expert_tile"
        raise ConfigError(
            f"{key} puts a part on digital macros, but with plan.tile: digital_sram everything lies there: leave {key} "
            "out, or set plan.tile: calibrated or parametric for the parts that stay analog"
        )
    digital_experts(config)
