"""The prompt's schedule under every policy, as plain data for a Gantt chart: groups x slots, loads per slot."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.chips import CHIPS
from pimjax.config.config import Config
from pimjax.report.palette import OKABE_ITO, POLICY_COLOURS, POLICY_NAMES, token_colours
from pimjax.runs.routing import run_routing
from pimjax.schedule import IDLE, POLICIES, schedule_slots
from pimjax.trace.routing import RoutingTrace

MAX_TOKENS = 128
MAX_LAYERS = 4


def schedule_contents(config: Config, requests: RoutingTrace) -> dict[str, Any] | None:
    """Schedules of the prompt's first tokens at the first MoE layers, under every policy.

    Args:
        config: with its prompt length filled in.
        requests: stacked requests, as the estimate used them; the first sequence is shown.

    Returns:
        None for a dense model; else `layers`, each with `groups` (experts of every group), `tokens` (expert ids of
        every token), `bound` (fewest loads any schedule needs) and `policies` (`slots` `[G][S]`, `loads` `[S]`).
    """
    if not config.model.num_experts or not config.model.num_moe_layers:
        return None
    routing = run_routing(config, requests)
    chosen = np.asarray(routing.prompt[0], bool)[:MAX_LAYERS, :MAX_TOKENS]
    layers = [
        _layer(choices, np.asarray(routing.group_of_expert[layer]), routing.num_groups)
        for layer, choices in enumerate(chosen)
    ]
    return {
        "policy": config.plan.policy,
        "group_size": config.plan.group_size,
        "shown_tokens": chosen.shape[1],
        "prompt_tokens": routing.prompt.shape[2],
        "moe_layers": config.model.num_moe_layers,
        "simulated": CHIPS[config.chip_model].takes_routing,
        "colours": token_colours(chosen.shape[1]),
        "policy_colours": {name: POLICY_COLOURS.get(name, OKABE_ITO["purple"]) for name in POLICIES},
        "policy_names": {name: POLICY_NAMES.get(name, name) for name in POLICIES},
        "layers": layers,
    }


def _layer(choices: HostArray, group_of_expert: HostArray, num_groups: int) -> dict[str, Any]:
    member = np.zeros((choices.shape[1], num_groups), int)
    member[np.arange(choices.shape[1]), group_of_expert] = 1
    per_group = choices.astype(int) @ member  # [T, G]
    return {
        "groups": [np.flatnonzero(group_of_expert == group).tolist() for group in range(num_groups)],
        "tokens": [np.flatnonzero(row).tolist() for row in choices],
        "bound": int(max(per_group.max(axis=1).sum(), per_group.sum(axis=0).max())),
        "policies": {
            policy: gantt(schedule_slots(choices, group_of_expert, policy=policy, num_groups=num_groups))
            for policy in POLICIES
        },
    }


def gantt(slots: HostArray) -> dict[str, Any]:
    """Token by group and slot, and how many tokens are loaded for each slot.

    A token is loaded once for all groups that work on it in a slot.

    Args:
        slots: int `[S, G]`, `IDLE` where a group waits.

    >>> gantt(np.array([[0, 0], [0, 1], [1, -1]]))["loads"]
    [1, 2, 1]
    """
    return {
        "slots": [[None if token == IDLE else int(token) for token in row] for row in slots.T],
        "loads": [len(set(row.tolist()) - {IDLE}) for row in slots],
    }
