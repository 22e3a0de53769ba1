"""In which order the groups of every layer lie along its silicon, and over how many dies a layer may reach. Host, NumPy.

`contiguous`: in the order of their numbers. `coactivation`: groups that the run's tokens visit together are neighbours, fitted
on all requests that the run was given. An own map: by the die it names for each group's first expert. Which die a group
is then on follows from areas, in every lane of a sweep from its own.
"""

from __future__ import annotations

import math

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips.multiplexed.core import core
from pimjax.chips.multiplexed.geometry import geometry
from pimjax.config.build import build
from pimjax.config.config import Config
from pimjax.config.system import numbers_of
from pimjax.runs.point import Point
from pimjax.runs.routing import RunRouting
from pimjax.system.layout import order_groups

LEAST_PLACES = 16
"""Dies that every layer is followed over at least: so many compile into one program."""


def spread_of_layers(config: Config, routing: RunRouting) -> tuple[HostArray, int]:
    """Place of each group on its layer's silicon, int `[layers with experts, G]`, and the most dies of a layer.

    >>> from pimjax.config.loader import load_config
    >>> from pimjax.runs.routing import run_routing
    >>> from pimjax.trace.routing import RoutingTrace
    >>> config = load_config({"model": {"num_experts": 4, "top_k": 2}, "workload": {"prompt_tokens": 2}, "system": "dies"})
    >>> place, most = spread_of_layers(config, run_routing(config, RoutingTrace.from_expert_ids([[0, 1], [2, 3]], 4)))
    >>> place.tolist(), most
    ([[0, 1]], 16)
    """
    groups, layers = max(1, routing.num_groups), routing.num_layers
    dies = dies_of_layer(config, routing)
    place = np.tile(np.arange(groups), (layers, 1))
    chosen = config.system.placement
    for layer in range(layers):
        own = routing.group_of_expert[layer]
        if chosen == "coactivation" and groups > 1:
            tokens = [routing.prompt[:, layer], routing.steps[:, layer]]
            visits = np.concatenate([each.reshape(-1, each.shape[-1]) for each in tokens])
            ordered = order_groups(own, visits, min(dies, groups), seed=config.workload.trace.seed)
            place[layer, own] = ordered
        elif not isinstance(chosen, str):
            first = np.array([np.flatnonzero(own == group)[0] for group in range(groups)])
            place[layer] = np.argsort(np.argsort(np.asarray(chosen)[first], kind="stable"))
    return place, max(LEAST_PLACES, 1 << math.ceil(math.log2(2 * dies + 2)))


def dies_of_layer(config: Config, routing: RunRouting) -> int:
    """Dies that the silicon of one layer fills, buffers and units aside."""
    point = Point(build(config)[0])
    with np.errstate(all="ignore"):
        shape, tile = geometry(point), core(point)
    shared = float(tile.shareable_fraction)
    members, groups = routing.group_of_expert.shape[-1], max(1, routing.num_groups)
    experts = float(shape.expert_tiles) * ((1 - shared) * members + shared * groups) if routing.num_layers else 0.0
    other = float(shape.dense_tiles) / max(1.0, float(point.model.num_blocks))
    area = float(tile.area_mm2) * (experts + other)
    return max(1, math.ceil(area / float(numbers_of(config.hardware).die_area_mm2)))
