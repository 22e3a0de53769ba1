"""Validated host objects -> `Design` pytrees of strongly typed arrays, and the static `Capacity` they need."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import struct

from pimjax import checks
from pimjax.config import digital_map
from pimjax.config import plan as plan_section
from pimjax.config import workload as workload_section
from pimjax.config.config import Config
from pimjax.config.memory import hardware_key
from pimjax.config.mixers import mixer_table
from pimjax.config.model_arrays import Model, padded_mixers, traced_model
from pimjax.config.plan import Plan
from pimjax.config.workload import Workload
from pimjax.errors import ConfigError, shown


def _power_of_two(count: int) -> int:
    return 1 << max(0, int(count) - 1).bit_length()


_NO_SIZES = ("tile_kinds", "digital_parts")


@dataclasses.dataclass(frozen=True)
class Capacity:
    """Static sizes of padded arrays: hashable by value, rounded up to powers of two. One compile each.

    >>> Capacity(max_tokens=33).max_tokens
    64
    """

    max_tokens: int = 1
    max_experts: int = 1
    max_top_k: int = 1
    max_layers: int = 1
    max_groups: int = 1
    max_slots: int = 1
    max_mixers: int = 1  # different kinds of attention (or of recurrent states) in one model
    tile_kinds: tuple[str, ...] = ("calibrated",)  # what `plan.tile` of its designs may be
    digital_parts: bool = False  # whether parts of its designs may lie on digital macros beside `plan.tile`

    def __post_init__(self) -> None:
        kinds = tuple(kind for kind in plan_section.TILE_KINDS if kind in self.tile_kinds)
        if not kinds or len(kinds) != len(self.tile_kinds):
            raise ConfigError(
                f"Capacity.tile_kinds is {self.tile_kinds!r}; it must name one or more of "
                f"{', '.join(plan_section.TILE_KINDS)}, each once"
            )
        object.__setattr__(self, "tile_kinds", kinds)
        checks.require(ConfigError, "Capacity.digital_parts", self.digital_parts, checks.flag)
        for field in dataclasses.fields(self):
            if field.name in _NO_SIZES:
                continue
            value = getattr(self, field.name)
            most = 2**60 if field.name == "max_slots" else 2**30
            checks.require(ConfigError, f"Capacity.{field.name}", value, checks.whole(1, most))
            object.__setattr__(self, field.name, _power_of_two(int(value)))

    def union(self, other: Capacity) -> Capacity:
        """The smallest capacity that holds both."""
        sizes = {
            f.name: max(getattr(self, f.name), getattr(other, f.name))
            for f in dataclasses.fields(self)
            if f.name not in _NO_SIZES
        }
        kinds = tuple({*self.tile_kinds, *other.tile_kinds})
        return Capacity(**sizes, tile_kinds=kinds, digital_parts=self.digital_parts or other.digital_parts)


class Origin:
    """The configurations that a design was built from; they say what its numbers cannot (which layers have experts).

    Equal to every other origin: compiled programs and trees of leaves do not depend on it.
    """

    def __init__(self, configs: Sequence[Config] = ()) -> None:
        self.configs = tuple(configs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin)

    def __hash__(self) -> int:
        return hash(Origin)


@struct.dataclass
class Design:
    """Everything that is data about one design point (or a batch: leaves with a leading axis `[N]`)."""

    hardware: Any  # the traced twin of the chip's hardware section: every leaf a float
    model: Model
    workload: Workload
    plan: Plan
    origin: Origin = struct.field(pytree_node=False, default=Origin())

    def set(self, values: Mapping[str, Any]) -> Design:
        """A copy with leaves replaced by dotted key; arrays may carry a leading sweep axis.

        Raises:
            ConfigError: a key names no leaf.

        >>> design, _ = build(Config())
        >>> float(design.set({"hardware.mvm_latency_ns": np.float64(100)}).hardware.mvm_latency_ns)
        100.0
        """
        wanted = checks.instance(Mapping, "a mapping of dotted keys to numbers")
        checks.require(ConfigError, "values", values, wanted)
        parts = {name: getattr(self, name) for name in ("hardware", "model", "workload", "plan")}
        for dotted, value in values.items():
            checks.require(ConfigError, "key", dotted, checks.text)
            section, _, leaf = hardware_key(dotted).partition(".")
            names = [f.name for f in dataclasses.fields(parts[section])] if section in parts else list(parts)
            if section not in parts or leaf not in names:
                from pimjax.config.presets import unknown_key_sentence

                raise ConfigError(unknown_key_sentence(dotted, value, leaf if section in parts else section, names))
            old = getattr(parts[section], leaf)
            dtype = np.asarray(old).dtype if not isinstance(old, jax.Array) else old.dtype
            if isinstance(value, jax.Array):
                new = value if value.dtype == dtype or section == "hardware" else value.astype(dtype)
            else:
                try:
                    new = np.asarray(value, dtype=dtype)
                except (ValueError, TypeError, OverflowError):
                    raise ConfigError(f"{dotted} is {shown(value)}: it must be numbers that {dtype} holds") from None
            parts[section] = parts[section].replace(**{leaf: new})
        # pyrefly: ignore[missing-attribute]
        return self.replace(**parts)


def build(config: Config | Sequence[Config]) -> tuple[Design, Capacity]:
    """Turn configurations into a `Design` of arrays and the `Capacity` that holds them.

    Args:
        config: one :class:`Config`, or a list of N (leaves then carry a leading axis `[N]`).

    Returns:
        `(design, capacity)`: NumPy leaves (float64, int32, bool); under JAX's default they become float32.

    Raises:
        ConfigError: an empty list, or something that is no `Config`.

    >>> design, capacity = build([Config(), Config()])
    >>> design.hardware.num_digital_units.shape, capacity.max_experts
    ((2,), 16)
    """
    if isinstance(config, Config):
        return _build_one(config, capacity_of(config)), capacity_of(config)
    configs = list(config) if isinstance(config, Iterable) else [config]
    if not configs or not all(isinstance(item, Config) for item in configs):
        raise ConfigError("build needs a Config or a non-empty list of them; make one with pimjax.load_config")
    capacity = capacity_of(configs[0])
    for item in configs[1:]:
        capacity = capacity.union(capacity_of(item))
    designs = [_build_one(item, capacity) for item in configs]
    chips = dict.fromkeys(item.chip_model for item in configs)
    if len(chips) > 1:
        raise ConfigError(
            f"build got configurations of {' and '.join(chips)}: chips have different numbers, so build one list for each"
        )
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *designs)
    return dataclasses.replace(stacked, origin=Origin(configs)), capacity


def padded_to(design: Design, capacity: Capacity) -> Design:
    """A design whose tables (NumPy, perhaps with leading axes) are as long as those of `capacity`."""
    groups = np.asarray(design.plan.group_of_expert)
    more = max(0, capacity.max_experts - groups.shape[-1])
    groups = np.pad(groups, [(0, 0)] * (groups.ndim - 1) + [(0, more)], constant_values=-1)
    mixers = padded_mixers(np.asarray(design.model.mixers), capacity.max_mixers)
    return dataclasses.replace(
        design,
        plan=dataclasses.replace(design.plan, group_of_expert=groups),  # pyrefly: ignore[bad-argument-type]
        model=dataclasses.replace(design.model, mixers=mixers),  # pyrefly: ignore[bad-argument-type]
    )


def capacity_of(config: Config) -> Capacity:
    """The smallest `Capacity` for one configuration."""
    model, plan, workload = config.model, config.plan, config.workload
    experts = max(1, model.num_experts + plan.copies)
    groups = max(plan.group_of_expert) + 1 if plan.group_of_expert else -(-experts // plan.group_size)
    if plan.share == "none":  # every expert is a group of its own
        groups = experts
    return Capacity(
        max_tokens=workload.context_tokens,
        max_experts=experts,
        max_top_k=model.top_k,
        max_layers=model.num_layers,
        max_groups=groups,
        max_slots=workload.context_tokens * min(model.top_k, experts),
        max_mixers=len(mixer_table(model).rows),
        tile_kinds=(plan.tile,),
        digital_parts=digital_map.has_digital_parts(config),
    )


def needs_barrier(config: Config) -> bool:
    """Whether slots wait for the whole window's routing (multiplexed-model rule `barrier = auto`)."""
    if config.plan.barrier is not None:
        if not config.plan.barrier and config.model.routing == "expert_choice":
            raise ConfigError(
                "plan.barrier: False is not accepted; expert choice needs every token's score before it can choose: "
                "use null or true"
            )
        return config.plan.barrier
    return config.model.routing == "expert_choice" or plan_section.POLICIES[config.plan.policy].needs_barrier


def _build_one(config: Config, capacity: Capacity) -> Design:
    return Design(
        hardware=config.hardware.arrays(config.numerics),
        model=traced_model(config.model, capacity.max_mixers),
        workload=_workload(config),
        plan=_plan(config, capacity),
        origin=Origin([config]),
    )


def _flag(value: bool) -> Any:
    return np.asarray(value, np.bool_)


def _whole(value: int) -> Any:
    return np.asarray(value, np.int32)


def _workload(config: Config) -> Workload:
    workload = config.workload
    plain = ["generated_tokens", "batch_size", "activation_bytes", "score_bytes", "kv_bytes"]
    return Workload(
        **{name: _whole(getattr(workload, name)) for name in plain},
        prompt_tokens=_whole(workload.num_prompt_tokens),
        prefill=_flag(workload.prefill),
        kv_cache=_flag(workload.kv_cache),
        go_cache=_whole(workload_section.GO_CACHES.index(workload.go_cache)),
        capacity_rule=_whole(workload_section.CAPACITY_RULES.index(workload.capacity_rule)),
        semantics=_whole(workload_section.SEMANTICS.index(workload.semantics)),
        max_context_tokens=_whole(workload.context_tokens),
        # pyrefly: ignore[bad-argument-type]
        prompt_from_trace=np.asarray(workload.prompt_tokens is None),
        # pyrefly: ignore[bad-argument-type]
        context_from_run=np.asarray(workload.max_context_tokens is None),
    )


def _plan(config: Config, capacity: Capacity) -> Plan:
    plan, experts = config.plan, config.model.num_experts + config.plan.copies
    # Without an explicit map: neighbours share. `estimate` puts in the map that `plan.grouping` makes from the trace.
    groups = plan.group_of_expert or tuple(expert // plan.group_size for expert in range(experts))
    padded: Any = np.full(capacity.max_experts, -1, np.int32)
    padded[: len(groups)] = groups
    sizes = np.bincount(np.asarray(groups, int)) if groups else np.array([1])
    return Plan(
        group_of_expert=padded,
        num_groups=_whole(len(sizes) if groups else 0),
        group_size=_whole(int(sizes.max())),
        copies=_whole(plan.copies),
        window_tokens=_whole(plan.window_tokens or 0),
        barrier=_flag(needs_barrier(config)),
        share=_whole(plan_section.SHARE_KINDS.index(plan.share)),
        accumulate=_whole(plan_section.ACCUMULATE_KINDS.index(plan.accumulate)),
        combine=_whole(plan_section.COMBINE_KINDS.index(plan.combine)),
        input_hold=_flag(plan.input_hold),
        router=_whole(plan_section.ROUTER_KINDS.index(plan.router)),
        attention=_whole(plan_section.ATTENTION_LAWS.index(plan.attention)),
        embedding=_whole(plan_section.EMBEDDING_KINDS.index(plan.embedding)),
        dram_overlap=_whole(plan_section.OVERLAP_KINDS.index(plan.dram_overlap)),
        memory_idle=_whole(plan_section.MEMORY_IDLE_KINDS.index(plan.memory_idle)),
        energy_scale_with_sharing=_flag(plan.energy_scale_with_sharing),
        whole_ns=_flag(plan.whole_ns),
        tile=_whole(plan_section.TILE_KINDS.index(plan.tile)),
        expert_kinds=_whole(digital_map.expert_kinds(config)),
        digital_dense=_whole(digital_map.digital_dense(config)),
        adc=_whole(plan_section.ADC_KINDS.index(plan.adc)),
        policy=_whole(list(plan_section.POLICIES).index(plan.policy)),
        grouping=_whole(_grouping(config)),
        max_open_tokens=_whole(plan.max_open_tokens or 0),
    )


def _grouping(config: Config) -> int:
    if config.plan.group_of_expert is not None:
        return -1
    if config.plan.grouping not in plan_section.GROUPINGS:
        raise ConfigError(
            f"plan.grouping: {config.plan.grouping!r} is unknown; allowed: {', '.join(plan_section.GROUPINGS)}"
        )
    return plan_section.GROUPINGS.index(config.plan.grouping)
