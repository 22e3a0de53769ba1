"""The multiplexed kernel on the paper's chip, from any checkout of the project: for scripts that compare commits."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: The paper's chip by the name that a tree knows first.
PRESETS = ("paper_crossbars", "paper_multiplexed")


def package(tree: Path) -> Any:
    """The package of a tree; a process imports one."""
    sys.path.insert(0, str(tree))
    import pimjax

    if not Path(pimjax.__file__).is_relative_to(tree):
        sys.exit(f"{tree}: its pimjax was asked for, but {pimjax.__file__} was imported")
    return pimjax


def preset(pimjax: Any) -> str:
    """The name of the paper's chip there."""
    for name in PRESETS[:-1]:
        try:
            pimjax.load_config(name)
        except pimjax.PimjaxError:
            continue
        return name
    return PRESETS[-1]


def inputs(pimjax: Any, fidelity: str, overrides: Mapping[str, Any] | None = None) -> tuple[Any, Any, dict[str, Any]]:
    """Design, schedule and static options of `estimate_kernel`, by names that outside code may use."""
    from pimjax.estimation.routing import resolve

    config, trace = resolve(pimjax.load_config(preset(pimjax), overrides or {}), None)
    design, capacity = pimjax.build(config)
    schedule = pimjax.schedule_inputs(config, trace, fidelity=fidelity, capacity=capacity)
    return design, schedule, {"capacity": capacity, "chip_model": config.chip_model, "fidelity": fidelity}
