"""The multiplexed kernel on the paper's chip, from any checkout of the project: for scripts that compare commits."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: The paper's chip by the name that a tree knows first.
PRESETS = ("paper_crossbars", "paper_multiplexed")
#: The chip in further ways: what is set.
CHIPS: dict[str, dict[str, Any]] = {
    "crossbars": {},
    "dies": {"system": "dies"},
    "mixed": {"plan.expert_tile": "mixed"},
    "mixed, dies": {"plan.expert_tile": "mixed", "system": "dies"},
    "decode": {"workload.generated_tokens": 16},
    "decode, dies": {"workload.generated_tokens": 16, "system": "dies"},
}
#: Lines of StableHLO that a program may have, by chip and program.
MOST_LINES = {
    ("crossbars", "closed"): 4000,
    ("crossbars", "fluid"): 4600,
    ("dies", "closed"): 5500,
    ("dies", "fluid"): 6000,
    ("mixed", "closed"): 5500,
    ("mixed", "fluid"): 6000,
}


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


def program(pimjax: Any, chip: str, name: str) -> tuple[Any, tuple[Any, ...]]:
    """A function and its arguments: `closed`, `fluid`, or the `gradient` of the energy-delay product in every number of the
    hardware (closed)."""
    import jax
    import jax.numpy as jnp

    design, schedule, options = inputs(pimjax, "fluid" if name == "fluid" else "closed", CHIPS[chip])
    arguments: tuple[Any, ...] = jax.tree.map(jnp.asarray, (design, schedule))
    if name != "gradient":
        return functools.partial(pimjax.estimate_kernel, **options), arguments

    def product(hardware: Any, design: Any, schedule: Any) -> Any:
        return pimjax.estimate_kernel(design.replace(hardware=hardware), schedule, **options).edp_nj_ns

    return jax.grad(product), (arguments[0].hardware, *arguments)
