"""The configuration of every lane of a `Design`: what making a schedule from a trace needs to know. Host.

A design keeps the configurations it was built from (:class:`pimjax.config.build.Origin`). Leaves of model, workload and
plan that were set since are put into them, by name, and what comes out is validated again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from pimjax.config import model as model_section
from pimjax.config import plan as plan_section
from pimjax.config import workload as workload_section
from pimjax.config.build import Design, build
from pimjax.config.config import Config
from pimjax.config.loader import load_config
from pimjax.config.model_arrays import padded_mixers
from pimjax.errors import ConfigError
from pimjax.registry import CHIPS


def _one_of(names: Sequence[str]) -> Callable[[int], str]:
    return lambda index: names[index]


def _or_null(number: int) -> int | None:
    return number or None


#: How leaves become values of a configuration again, where they are not the value itself.
_VALUES: dict[str, Callable[[Any], Any]] = {
    "model.activation": _one_of(model_section.ACTIVATIONS),
    "model.routing": _one_of(model_section.ROUTING_KINDS),
    "model.attention": _one_of(model_section.ATTENTION_KINDS),
    "model.tied_embeddings": bool,
    "model.shared_gate": bool,
    "workload.prefill": bool,
    "workload.kv_cache": bool,
    "workload.go_cache": _one_of(workload_section.GO_CACHES),
    "workload.capacity_rule": _one_of(workload_section.CAPACITY_RULES),
    "workload.semantics": _one_of(workload_section.SEMANTICS),
    "plan.share": _one_of(plan_section.SHARE_KINDS),
    "plan.accumulate": _one_of(plan_section.ACCUMULATE_KINDS),
    "plan.combine": _one_of(plan_section.COMBINE_KINDS),
    "plan.router": _one_of(plan_section.ROUTER_KINDS),
    "plan.attention": _one_of(plan_section.ATTENTION_LAWS),
    "plan.embedding": _one_of(plan_section.EMBEDDING_KINDS),
    "plan.dram_overlap": _one_of(plan_section.OVERLAP_KINDS),
    "plan.memory_idle": _one_of(plan_section.MEMORY_IDLE_KINDS),
    "plan.digital_dense": lambda bits: tuple(
        part for place, part in enumerate(plan_section.DENSE_PARTS) if bits >> place & 1
    ),
    "plan.tile": _one_of(plan_section.TILE_KINDS),
    "plan.adc": _one_of(plan_section.ADC_KINDS),
    "plan.policy": lambda index: list(plan_section.POLICIES)[index],  # users register more
    "plan.grouping": _one_of(plan_section.GROUPINGS),
    "plan.input_hold": bool,
    "plan.barrier": bool,
    "plan.energy_scale_with_sharing": bool,
    "plan.whole_ns": bool,
    "plan.window_tokens": _or_null,
    "plan.max_open_tokens": _or_null,
}
#: Leaves that follow from others, or hold what only a built design needs.
_FOLLOWING = {
    "model.num_moe_layers",
    "model.last_layer_is_moe",
    "model.num_blocks",
    "model.num_dense_layers",
    "model.activation_steps",
    "model.shared_width",
    "model.post_norms",
    "model.mixers",
    "workload.prompt_from_trace",
    "workload.context_from_run",
    "plan.num_groups",
    "plan.expert_kinds",
}


def configs_of_design(design: Design, config: Config | None = None) -> tuple[Design, list[Config]]:
    """The design with every leaf `[H, ...]`, and a configuration for each lane (lanes that are alike share one).

    Args:
        design: leaves with or without a leading axis `[H]`.
        config: what the lanes are variations of; None: the configurations that the design was built from.

    Raises:
        ConfigError: leading axes of different length, a design of unknown origin, or leaves that no configuration has.

    >>> from pimjax.config.build import build
    >>> whole, configs = configs_of_design(build(Config())[0].set({"hardware.mvm_latency_ns": np.ones(3)}))
    >>> whole.model.d_model.shape, len({id(one) for one in configs})
    ((3,), 1)
    """
    given = (config,) if config is not None else design.origin.configs
    if not given:
        raise ConfigError("the design does not say what it was built from: pass its configuration as config=...")
    whole, size = _with_lanes(design)
    if len(given) not in (1, size):
        raise ConfigError(
            f"the design has {size} lanes but was built from {len(given)} configurations: take lanes and configurations "
            "together, or pass one as config=..."
        )
    names = [
        (section, field.name)
        for section in ("model", "workload", "plan")
        for field in dataclasses.fields(getattr(whole, section))
    ]
    names += [("hardware", name) for name in CHIPS[given[0].chip_model].input_fields]
    table = [np.asarray(getattr(getattr(whole, section), name)).reshape(size, -1) for section, name in names]
    if len(given) > 1:
        table.append(np.arange(size)[:, None])
    # Sorting rows is slow: only leaves that differ between lanes, few if any, tell them apart.
    table = [np.zeros((size, 1)), *(column for column in table if (column != column[:1]).any())]
    _, first, inverse = np.unique(np.concatenate(table, axis=1), axis=0, return_index=True, return_inverse=True)
    made = [
        _config(jax.tree.map(lambda leaf, i=int(i): leaf[i], whole), given[int(i) if len(given) > 1 else 0])
        for i in first
    ]
    return whole, [made[int(i)] for i in inverse.reshape(-1)]


def _with_lanes(design: Design) -> tuple[Design, int]:
    """Every leaf with the leading axis, and its length."""
    sizes: dict[int, str] = {}
    ranks = {"group_of_expert": 1, "mixers": 2}
    for section in ("hardware", "model", "workload", "plan"):
        part = getattr(design, section)
        for field in dataclasses.fields(part):
            shape = np.shape(getattr(part, field.name))
            if len(shape) > ranks.get(field.name, 0):
                sizes.setdefault(int(shape[0]), f"{section}.{field.name}")
    lanes = {size for size in sizes if size != 1} or {1}
    if len(lanes) > 1:
        shown = ", ".join(f"{name} has {size}" for size, name in sorted(sizes.items()))
        raise ConfigError(f"leaves of the design have leading axes of different length: {shown}; they must be equal")
    size = lanes.pop()

    def widen(section: str) -> Any:
        part = getattr(design, section)
        out = {}
        for field in dataclasses.fields(part):
            leaf = np.asarray(getattr(part, field.name))
            rank = ranks.get(field.name, 0)
            leaf = leaf if leaf.ndim > rank else leaf[None]
            out[field.name] = np.broadcast_to(leaf, (size, *leaf.shape[1:]))
        return part.replace(**out)

    return dataclasses.replace(
        design, **{name: widen(name) for name in ("hardware", "model", "workload", "plan")}
    ), size


def _config(lane: Design, base: Config) -> Config:
    """The configuration of one lane (NumPy scalars): the base, with the leaves that were set since."""
    chip = CHIPS[base.chip_model]
    built, _ = build(base)
    changes: dict[str, Any] = {}
    for section in ("model", "workload", "plan"):
        for field in dataclasses.fields(getattr(built, section)):
            dotted = f"{section}.{field.name}"
            was, now = (np.asarray(getattr(getattr(one, section), field.name)) for one in (built, lane))
            if dotted in _FOLLOWING or dotted == "plan.group_of_expert" or was.item() == now.item():
                continue
            changes[dotted] = _VALUES.get(dotted, int)(now.item())
    if int(lane.plan.grouping) < 0 and not _same_groups(built, lane):
        changes["plan.group_of_expert"] = _groups(lane)
    elif "plan.grouping" in changes:
        changes["plan.group_of_expert"] = None
    for name in chip.input_fields:
        value = float(getattr(lane.hardware, name))
        if value != float(getattr(built.hardware, name)):
            changes[f"hardware.{name}"] = None if value == chip.hardware.absent.get(name) else value
    if not changes:
        return base
    config = load_config(base.model_dump(), changes)
    _check_model(config, lane)
    return config


def _groups(lane: Design) -> tuple[int, ...]:
    count = int(lane.model.num_experts) + int(lane.plan.copies)
    return tuple(int(group) for group in np.asarray(lane.plan.group_of_expert)[:count])


def _same_groups(one: Design, other: Design) -> bool:
    return _groups(one) == _groups(other)


def _check_model(config: Config, lane: Design) -> None:
    made, _ = build(config)
    for field in dataclasses.fields(made.model):
        was, now = getattr(lane.model, field.name), getattr(made.model, field.name)
        if field.name == "mixers":
            now = padded_mixers(now, np.shape(was)[0])
        if not np.array_equal(was, now):
            raise ConfigError(
                f"model.{field.name} of the design is {np.asarray(was)}, but a model that follows from its other leaves "
                f"has {np.asarray(now)}: pass the configuration that says which layers it has as config=..."
            )
