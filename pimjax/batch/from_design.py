"""Configurations back from a `Design`: what making a schedule from a trace needs to know of every lane. Host.

A design holds counts where a configuration holds rules (how many layers have experts, not which). The simplest rule
with the same counts is taken and checked by building it again; where there is none, the user gives the configuration.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from pimjax.config import model as model_section
from pimjax.config import plan as plan_section
from pimjax.config import workload as workload_section
from pimjax.config.build import Design, build
from pimjax.config.config import CHIP_MODELS, Config
from pimjax.config.hardware import HardwareConfig
from pimjax.config.loader import load_config
from pimjax.config.model import ModelConfig
from pimjax.errors import ConfigError

#: Leaves of a design that schedules depend on beyond model, workload and plan.
_HARDWARE = "out_links"


def configs_of_design(design: Design, config: Config | None = None) -> tuple[Design, list[Config]]:
    """The design with every leaf `[H, ...]`, and a configuration for each lane (lanes that are alike share one).

    Args:
        design: leaves with or without a leading axis `[H]`.
        config: gives the model's rules, where its counts are the design's.

    Raises:
        ConfigError: leading axes of different length, or counts that no simple rule gives.

    >>> from pimjax.config.build import build
    >>> whole, configs = configs_of_design(build(Config())[0].set({"hardware.mvm_latency_ns": np.ones(3)}))
    >>> whole.model.d_model.shape, len({id(one) for one in configs})
    ((3,), 1)
    """
    whole, size = _with_lanes(design)
    names = [
        (section, field.name)
        for section in ("model", "workload", "plan")
        for field in dataclasses.fields(getattr(whole, section))
    ]
    table = [np.asarray(getattr(getattr(whole, section), name)).reshape(size, -1) for section, name in names]
    table.append((np.asarray(whole.hardware.out_links) > 0).reshape(size, 1))
    # Sorting rows is slow: only leaves that differ between lanes, few if any, tell them apart.
    table = [np.zeros((size, 1)), *(column for column in table if (column != column[:1]).any())]
    _, first, inverse = np.unique(np.concatenate(table, axis=1), axis=0, return_index=True, return_inverse=True)
    made = [_config(jax.tree.map(lambda leaf, i=int(i): leaf[i], whole), config) for i in first]
    return whole, [made[int(i)] for i in inverse.reshape(-1)]


def _with_lanes(design: Design) -> tuple[Design, int]:
    """Every leaf with the leading axis, and its length."""
    sizes: dict[int, str] = {}
    ranks = {"group_of_expert": 1}
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


def _config(lane: Design, given: Config | None) -> Config:
    """The configuration of one lane (NumPy scalars)."""
    workload, plan = lane.workload, lane.plan
    chip_model = CHIP_MODELS[int(plan.chip_model)] if given is None else given.chip_model
    groups = np.asarray(plan.group_of_expert)
    groups = groups[: int(lane.model.num_experts) + int(plan.copies)]
    is_explicit = int(plan.grouping) < 0
    data: dict[str, Any] = {
        "chip_model": chip_model,
        "hardware": {_HARDWARE: float(lane.hardware.out_links) or None},
        "model": given.model if given is not None else _model(lane),
        "workload": {
            **{name: int(getattr(workload, name)) for name in (
                "generated_tokens", "batch_size", "activation_bytes", "score_bytes", "kv_bytes")},
            "prompt_tokens": None if bool(workload.prompt_from_trace) else int(workload.prompt_tokens),
            "max_context_tokens": None if bool(workload.context_from_run) else int(workload.max_context_tokens),
            "prefill": bool(workload.prefill),
            "kv_cache": bool(workload.kv_cache),
            "go_cache": workload_section.GO_CACHES[int(workload.go_cache)],
            "capacity_rule": workload_section.CAPACITY_RULES[int(workload.capacity_rule)],
            "semantics": workload_section.SEMANTICS[int(workload.semantics)],
        },
        "plan": {
            "group_size": int(plan.group_size),
            "grouping": plan_section.GROUPINGS[max(0, int(plan.grouping))],
            "group_of_expert": tuple(int(g) for g in groups) if is_explicit else None,
            "copies": int(plan.copies),
            "policy": list(plan_section.POLICIES)[int(plan.policy)],
            "max_open_tokens": int(plan.max_open_tokens) or None,
            "window_tokens": int(plan.window_tokens) or None,
            "share": plan_section.SHARE_KINDS[int(plan.share)],
            "input_hold": bool(plan.input_hold),
        },
    }  # fmt: skip
    data["workload"]["trace"] = (given or Config()).workload.trace
    if data["workload"]["prompt_tokens"] is None:
        trace = data["workload"]["trace"]
        data["workload"]["trace"] = trace.model_copy(update={"tokens": int(workload.prompt_tokens)})
    config = load_config(data)
    _check_counts(config, lane)
    return config


def _model(lane: Design) -> ModelConfig:
    """A model with the design's counts: leading dense layers, windows in every layer or in all but every n-th."""
    model = lane.model
    layers, moe, windowed = int(model.num_layers), int(model.num_moe_layers), int(model.num_windowed_layers)
    plain = [name for name in ModelConfig.model_fields if name in {f.name for f in dataclasses.fields(model)}]
    values: dict[str, Any] = {name: int(getattr(model, name)) for name in plain}
    values["activation"] = model_section.ACTIVATIONS[int(model.activation)]
    values["routing"] = model_section.ROUTING_KINDS[int(model.routing)]
    values["attention"] = model_section.ATTENTION_KINDS[int(model.attention)]
    values["tied_embeddings"] = bool(model.tied_embeddings)
    values["first_dense_layers"] = layers - moe
    for period in range(1, layers + 2):
        tried = ModelConfig(**values, sliding_window_period=period)
        if not values["sliding_window"] or sum(map(tried.is_windowed_layer, range(layers))) == windowed:
            return tried
    return ModelConfig(**values)


def _check_counts(config: Config, lane: Design) -> None:
    made, _ = build(config)
    for field in dataclasses.fields(made.model):
        was, now = getattr(lane.model, field.name), getattr(made.model, field.name)
        if not np.array_equal(was, now):
            raise ConfigError(
                f"model.{field.name} of the design is {np.asarray(was)}, but a model that follows from the design's "
                f"counts has {np.asarray(now)}: pass the configuration it was built from as config=..."
            )


def hardware_names() -> tuple[str, ...]:
    """Dotted names of the hardware leaves that a sweep may set without a new schedule."""
    return tuple(f"hardware.{name}" for name in (*HardwareConfig.model_fields, "weight_slices", "input_cycles"))
