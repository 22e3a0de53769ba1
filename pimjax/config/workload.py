"""The work: prompt, generation, caches, batch, and the routing that is assumed when no trace is given."""

from __future__ import annotations

from typing import Literal

import jax
from flax import struct
from pydantic import model_validator

from pimjax.config.base import Section, option

GO_CACHES = ("none", "full", "threshold", "authors")
CAPACITY_RULES = ("growing", "frozen", "fixed")
SEMANTICS = ("newest", "revise")


class TraceSpec(Section):
    """Which routing to use when `estimate` is given no trace: the shipped recorded one or a generator."""

    kind: Literal["recorded", "uniform", "zipf", "dirichlet", "sticky", "expert_choice", "paper"] = option(
        "recorded", about="The shipped recorded trace, or a synthetic generator"
    )
    seed: int = option(0, about="Seed of the generator", ge=0, le=2**31 - 1)
    tokens: int = option(128, about="Tokens to generate where workload.prompt_tokens is null", ge=1, le=1_048_576)
    requests: int = option(1, about="Requests to generate or take", ge=1, le=65_536)
    zipf_exponent: float = option(0.7, about="Exponent of the Zipf generator", ge=0, le=100)
    dirichlet_concentration: float = option(1.0, about="Concentration of the Dirichlet generator", gt=0, le=1e6)
    stickiness: float = option(
        0.4, about="Probability that a token keeps an expert of its predecessor (sticky)", ge=0, le=1
    )


class WorkloadConfig(Section):
    """Host description of what the chip is asked to do.

    A run is one prefill pass over `prompt_tokens` (if `prefill`), which emits the first token, then
    `generated_tokens` - 1 decode passes.
    """

    prompt_tokens: int | None = option(
        None, about="Tokens of the prompt; null: what the trace has beyond the generated ones", ge=1, le=1_048_576
    )
    generated_tokens: int = option(1, about="Tokens to generate; the prefill emits the first", ge=1, le=1_048_576)
    prefill: bool = option(True, about="Whether the prefill pass is part of the run")
    kv_cache: bool = option(False, about="Keep keys and values of old tokens")
    go_cache: Literal["none", "full", "threshold", "authors"] = option("none", about="Gate-output cache variant")
    capacity_rule: Literal["growing", "frozen", "fixed"] = option("growing", about="Expert-choice capacity over time")
    semantics: Literal["newest", "revise"] = option("newest", about="Whether old outputs follow later evictions")
    max_context_tokens: int | None = option(
        None, about="Longest context the caches are sized for; null: this run's", ge=1, le=16_777_216
    )
    batch_size: int = option(1, about="Requests that decode together", ge=1, le=65_536)
    activation_bytes: int = option(1, about="Bytes per activation value", ge=1, le=8)
    score_bytes: int = option(2, about="Bytes per cached gate score (float16)", ge=1, le=8)
    kv_bytes: int = option(1, about="Bytes per cached key or value", ge=1, le=8)
    trace: TraceSpec = option(TraceSpec(), about="Routing used when no trace is given")

    @model_validator(mode="after")
    def _consistent(self) -> WorkloadConfig:
        if not self.prefill and self.generated_tokens < 2:
            raise ValueError(
                f"workload.prefill is false and workload.generated_tokens is {self.generated_tokens}: no pass is left to run; "
                "set prefill to true or generate at least 2 tokens"
            )
        reached = self.num_prompt_tokens + self.generated_tokens - 1
        if self.max_context_tokens is not None and self.max_context_tokens < reached:
            raise ValueError(
                f"workload.max_context_tokens is {self.max_context_tokens} but prompt and generation reach {reached} tokens"
            )
        return self

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens of the prompt, or of the generator's trace where the prompt's length is left to the trace."""
        return self.prompt_tokens if self.prompt_tokens is not None else self.trace.tokens

    @property
    def context_tokens(self) -> int:
        """Longest context the caches are sized for."""
        if self.max_context_tokens is not None:
            return self.max_context_tokens
        return self.num_prompt_tokens + self.generated_tokens - 1


@struct.dataclass
class Workload:
    """Traced twin of :class:`WorkloadConfig`: integer and boolean scalars."""

    prompt_tokens: jax.Array
    generated_tokens: jax.Array
    prefill: jax.Array
    kv_cache: jax.Array
    go_cache: jax.Array  # index into GO_CACHES
    capacity_rule: jax.Array  # index into CAPACITY_RULES
    semantics: jax.Array  # index into SEMANTICS
    max_context_tokens: jax.Array
    batch_size: jax.Array
    activation_bytes: jax.Array
    score_bytes: jax.Array
    kv_bytes: jax.Array
    prompt_from_trace: jax.Array  # bool, `prompt_tokens` was null: a trace decides, where one is given
    context_from_run: jax.Array  # bool, `max_context_tokens` was null: what the run reaches
