"""Chips of real models before they were sized: the authors' units, groups of two, wires and links that cost nothing."""

from __future__ import annotations

from typing import Any


def unsized(model: str) -> dict[str, Any]:
    """What `pimjax.load_config` takes for a model's chip as it was before `pimjax size` made its preset.

    Studies that are about something else than a sized chip, and those whose numbers are to stay comparable, begin here.

    >>> import pimjax
    >>> config = pimjax.load_config(unsized("gpt_oss_20b"))
    >>> config.name, config.plan.group_size, config.system.network, config.hardware.num_attention_units
    ('gpt_oss_20b', 2, 'none', 4.0)
    """
    return {
        "name": model,
        "chip_model": "multiplexed",
        "hardware": "hermes",
        "model": model,
        "workload": {"trace": {"kind": "zipf", "tokens": 128}},
        "plan": "grouped_2",
        "system": "none",
    }
