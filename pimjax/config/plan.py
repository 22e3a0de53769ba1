"""How the chip is used: grouping, schedule, and which rule of each model option applies."""

from __future__ import annotations

from typing import Any, Literal

import jax
from flax import struct
from pydantic import ValidationInfo, field_validator, model_validator

from pimjax.config.base import Section, option
from pimjax.errors import shown
from pimjax.schedule.policies import POLICIES

SHARE_KINDS = ("position", "pair", "none")
ACCUMULATE_KINDS = ("local", "digital")
COMBINE_KINDS = ("digital", "inline")
ROUTER_KINDS = ("crossbar", "digital")
ATTENTION_LAWS = ("linear", "fit")
EMBEDDING_KINDS = ("lookup", "crossbar")
OVERLAP_KINDS = ("none", "prefetch", "stream")
MEMORY_IDLE_KINDS = ("always", "cached")
TILE_KINDS = ("calibrated", "parametric", "digital_sram")
DENSE_PARTS = ("attention", "router", "shared", "dense", "head", "embedding")  # what plan.digital_dense may name
GROUPINGS = ("uniform", "sorted", "snake", "balanced", "coactivation")  # strategies of pimjax.group_experts
ADC_KINDS = ("survey", "zigzag", "hermes", "table")


def _policy_names(schema: dict[str, Any]) -> None:
    schema["enum"] = list(POLICIES)


class PlanConfig(Section):
    """Host description of grouping, scheduling and model options (all data in compiled programs but `policy`)."""

    group_size: int = option(2, about="Experts that share one set of peripherals", ge=1, le=16_384)
    grouping: str = option("sorted", about="Strategy of pimjax.group_experts")
    group_of_expert: tuple[int, ...] | None = option(
        None, about="Explicit group of each expert (or copy); overrides grouping", strict=False
    )
    copies: int = option(0, about="Duplicates of the hottest experts in spare crossbars", ge=0, le=16_384)
    policy: str = option(
        "reschedule", about="Schedule policy; pimjax.schedule.register_policy adds one", json_schema_extra=_policy_names
    )
    max_open_tokens: int | None = option(
        None, about="packed: most tokens begun and not finished at once; null: no limit", ge=1, le=2_097_152
    )
    window_tokens: int | None = option(
        None, about="Tokens scheduled together; null: all tokens of the pass", ge=1, le=2_097_152
    )
    barrier: bool | None = option(None, about="Wait for the whole window's routing; null: whenever the policy needs it")
    share: Literal["position", "pair", "none"] = option(
        "position", about="Which crossbars of a group share peripherals"
    )
    accumulate: Literal["local", "digital"] = option("local", about="Where partial sums of row blocks are added")
    combine: Literal["digital", "inline"] = option("digital", about="Where expert outputs of a token are added")
    input_hold: bool = option(False, about="A group keeps its last token's activations")
    router: Literal["crossbar", "digital"] = option("crossbar", about="Where the router's linear layer runs")
    attention: Literal["linear", "fit"] = option("linear", about="Latency and energy law of attention")
    embedding: Literal["lookup", "crossbar"] = option("lookup", about="Token embedding from the memory or on crossbars")
    dram_overlap: Literal["none", "prefetch", "stream"] = option(
        "stream",
        about="Cached keys and values are read before attention, ahead of it (prefetch), or while it runs (stream; a "
        "prompt's embeddings are then there before it)",
    )
    memory_idle: Literal["always", "cached"] = option(
        "always",
        about="When the memory draws its idle power: always, or only while a cache lives there as the authors count",
    )
    energy_scale_with_sharing: bool = option(
        False, about="Scale MVM energy by 0.2 + 0.8/g as the authors do (published rows only)"
    )  # fmt: skip
    whole_ns: bool = option(False, about="Round latencies up to whole ns as the authors do (reference model)")
    tile: Literal["calibrated", "parametric", "digital_sram"] = option(
        "calibrated", about="Crossbar cost: measured, from circuit parameters, or that of a digital SRAM macro"
    )
    expert_tile: Literal["analog", "digital", "mixed"] = option(
        "analog", about="Routed experts on crossbars of plan.tile, on digital SRAM macros, or some on these (mixed)"
    )
    digital_experts: float | tuple[int, ...] | tuple[tuple[int, ...], ...] | None = option(
        None,
        about="mixed: experts on digital macros: a list, a list for each layer with experts, or a share of each layer's; "
        "null: 0.25",
    )
    digital_order: tuple[int, ...] | tuple[tuple[int, ...], ...] | None = option(
        None,
        about="mixed with a share: experts in the order in which they become digital, most sensitive first (or a list "
        "for each layer); null: by number",
    )
    digital_dense: tuple[Literal["attention", "router", "shared", "dense", "head", "embedding"], ...] = option(
        (), about="Parts outside the routed experts that lie on digital macros", strict=False
    )
    adc: Literal["survey", "zigzag", "hermes", "table"] = option("hermes", about="ADC model of the parametric tile")

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, name: str) -> str:
        if name not in POLICIES:
            raise ValueError(f"plan.policy: {shown(name)} is not accepted; allowed: {', '.join(map(repr, POLICIES))}")
        return name

    @field_validator("digital_experts", "digital_order", mode="before")
    @classmethod
    def _lists_of_experts(cls, given: Any, info: ValidationInfo) -> Any:
        if isinstance(given, (list, tuple)):
            rows = tuple(tuple(row) if isinstance(row, list) else row for row in given)
            numbers = [number for row in rows for number in (row if isinstance(row, tuple) else (row,))]
            if all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
                return rows
        elif given is None or (info.field_name == "digital_experts" and type(given) in (int, float)):
            return given
        share = "a share from 0 to 1, " if info.field_name == "digital_experts" else ""
        raise ValueError(
            f"plan.{info.field_name}: {shown(given)} is not accepted; it must be {share}a list of experts' numbers, a list of "
            "such lists, or null"
        )

    @field_validator("digital_experts")
    @classmethod
    def _a_share(cls, given: Any) -> Any:
        if isinstance(given, (int, float)) and not 0 <= given <= 1:
            raise ValueError(
                f"plan.digital_experts: {given:g} is no share of the experts: give a number from 0 to 1, or lists of experts"
            )
        return given

    @model_validator(mode="after")
    def _consistent(self) -> PlanConfig:
        policy = POLICIES[self.policy]
        if self.barrier is False and policy.needs_barrier:
            able = " and ".join(one.name for one in POLICIES.values() if not one.needs_barrier)
            raise ValueError(
                f"plan.barrier is false but plan.policy is '{self.policy}', which needs the whole window's routing: "
                f"only {able} may start without a barrier"
            )
        if self.max_open_tokens is not None and not policy.limits_open_tokens:
            able = " and ".join(one.name for one in POLICIES.values() if one.limits_open_tokens)
            raise ValueError(
                f"plan.max_open_tokens is {self.max_open_tokens} but plan.policy is '{self.policy}': only {able} limits "
                "open tokens"
            )
        return self


@struct.dataclass
class Plan:
    """Traced twin of :class:`PlanConfig`: integer and boolean scalars, and the group map.

    The last four say how a schedule is to be made from a trace. Kernels do not read them (they are given the
    schedule); :func:`pimjax.estimate_batch` does.
    """

    group_of_expert: jax.Array  # [E] int32; experts beyond num_experts hold -1
    num_groups: jax.Array
    group_size: jax.Array  # largest group
    copies: jax.Array
    window_tokens: jax.Array  # 0: all tokens of the pass
    barrier: jax.Array  # bool, resolved
    share: jax.Array  # index into SHARE_KINDS
    accumulate: jax.Array  # index into ACCUMULATE_KINDS
    combine: jax.Array  # index into COMBINE_KINDS
    input_hold: jax.Array
    router: jax.Array  # index into ROUTER_KINDS
    attention: jax.Array  # index into ATTENTION_LAWS
    embedding: jax.Array  # index into EMBEDDING_KINDS
    dram_overlap: jax.Array  # index into OVERLAP_KINDS
    memory_idle: jax.Array  # index into MEMORY_IDLE_KINDS
    energy_scale_with_sharing: jax.Array
    whole_ns: jax.Array
    tile: jax.Array  # index into TILE_KINDS
    expert_kinds: jax.Array  # routed experts: 1 on crossbars of `tile`, 2 on digital macros, 3 on both
    digital_dense: jax.Array  # one bit for each of DENSE_PARTS that lies on digital macros
    adc: jax.Array  # index into ADC_KINDS
    policy: jax.Array  # index into the names in POLICIES
    grouping: jax.Array  # index into GROUPINGS; -1: `group_of_expert` was given
    max_open_tokens: jax.Array  # 0: no limit
