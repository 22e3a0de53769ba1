"""Gate-output cache over a whole request: prefill, then one step per generated token, as a scan.

Two state machines do the work: :mod:`pimjax.cache.threshold` (scores only) and :mod:`pimjax.cache.full` (scores and
members). Both take the same decisions. What the cache preserves: every generated token sees exactly the experts that
``A*`` gives it (:func:`pimjax.trace.causal_expert_choice`), so decoding with caches equals one forward pass with ``A*``
at any depth. It does not equal a deep stack recomputed on the longer prefix: there, later tokens change which experts
served the old ones. Inside the prompt the choice looks ahead (not causal) unless the prompt is one token.

Everything is unbatched: add layers, sequences and designs with ``jax.vmap``.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from pimjax import checks
from pimjax.array_typing import Array, ArrayLike
from pimjax.cache.capacity import CapacityLaw, capacity_at
from pimjax.cache.full import FullState, full_init, full_prefill, full_step
from pimjax.cache.step import GateOutputStep, is_padding
from pimjax.cache.threshold import ThresholdState, threshold_init, threshold_prefill, threshold_step
from pimjax.cache.traffic import CacheWidths
from pimjax.errors import ConfigError
from pimjax.trace.routers import expert_choice

Variant = Literal["full", "threshold"]
_VARIANT = checks.word("full", "threshold")


@checks.checked(ConfigError, variant=_VARIANT, num_experts=checks.whole(1, 65536), size=checks.whole(1, 2**24))
def gate_output_init(variant: Variant, num_experts: int, *, size: int) -> ThresholdState | FullState:
    """An empty cache; `size` is the list length (threshold) or the longest sequence (full), static.

    >>> gate_output_init("threshold", 4, size=8).keys.shape
    (4, 8)
    """
    return (threshold_init if variant == "threshold" else full_init)(num_experts, size)


@checks.checked(
    ConfigError,
    state=checks.instance((ThresholdState, FullState), "a state from gate_output_init"),
    scores=checks.numbers(dims=2, infinite=True, filled=True),
    law=checks.instance(CapacityLaw, "a CapacityLaw from capacity_law"),
    widths=checks.instance(CacheWidths, "CacheWidths"),
    is_token=checks.flags(dims=1),
    revise=checks.flags(dims=0),
)
def gate_output_decode(
    state: ThresholdState | FullState,
    scores: Array,
    law: CapacityLaw,
    widths: CacheWidths | None = None,
    *,
    is_token: Array | None = None,
    revise: ArrayLike = False,
) -> tuple[ThresholdState | FullState, GateOutputStep]:
    """Step through new tokens in order.

    Args:
      state: of either variant, from ``..._init`` or ``..._prefill``.
      scores: ``[N, E]`` gate scores of the new tokens.
      law: capacity law.
      widths: bytes per value.
      is_token: bool ``[N]``; default: rows that are -inf throughout are padding.
      revise: bool, for the full variant only: semantics "revise".

    Returns:
      The final state and a :class:`~pimjax.cache.step.GateOutputStep` with a leading axis ``N`` on every field.

    >>> from pimjax.cache.capacity import capacity_law
    >>> state = gate_output_init("threshold", 2, size=2)
    >>> scores = jnp.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    >>> gate_output_decode(state, scores, capacity_law(2, 1, max_tokens=3))[1].admitted.astype(int).tolist()
    [[1, 1], [0, 1], [0, 1]]
    """
    scores = jnp.asarray(scores)
    real = ~is_padding(scores) if is_token is None else jnp.asarray(is_token)
    experts = state.keys.shape[0 if isinstance(state, ThresholdState) else -1]
    if scores.shape[1] != experts or real.shape != scores.shape[:1]:
        raise ConfigError(
            f"scores have shape {list(scores.shape)} and is_token {list(real.shape)}: a cache of {experts} experts takes "
            f"[tokens, {experts}] and [tokens]"
        )

    def body(carry: Any, token: tuple[Array, Array]) -> tuple[Any, GateOutputStep]:
        if isinstance(carry, ThresholdState):
            return threshold_step(carry, token[0], law, widths, is_token=token[1])
        carry, out = full_step(carry, token[0], law, widths, revise=revise, is_token=token[1])
        return carry, out.step

    return jax.lax.scan(body, state, (scores, real))


@checks.checked(
    ConfigError,
    gate_scores=checks.numbers(dims=2, infinite=True, filled=True),
    law=checks.instance(CapacityLaw, "a CapacityLaw from capacity_law"),
    widths=checks.instance(CacheWidths, "CacheWidths"),
    steps=checks.whole(0, 2**24),
    size=checks.whole(1, 2**24),
    variant=_VARIANT,
    num_tokens=checks.numbers(0, dims=0, integer=True),
    revise=checks.flags(dims=0),
)
def gate_output_request(
    gate_scores: Array,
    law: CapacityLaw,
    widths: CacheWidths | None = None,
    *,
    steps: int,
    size: int,
    variant: Variant = "threshold",
    num_tokens: ArrayLike | None = None,
    revise: ArrayLike = False,
) -> GateOutputStep:
    """Decode steps of one layer of a request whose scores are known: what the chip models ask for.

    The prompt is the first ``law.prompt_tokens`` rows; step ``i`` brings the sequence to ``P + 1 + i`` tokens. The
    prompt length is data, the number of steps is static; steps beyond the last token admit nothing and move nothing.

    Args:
      gate_scores: ``[T, E]``.
      law: capacity law; `prompt_tokens` gives ``P``.
      widths: bytes per value.
      steps: static ``N``.
      size: static list length (threshold) or longest sequence (full).
      variant: static.
      num_tokens: int, real rows of `gate_scores`; default ``T``.
      revise: semantics of the full variant.

    Returns:
      :class:`~pimjax.cache.step.GateOutputStep`, leading axis ``N``: `admitted` ``[N, E]``, byte counts ``[N]``.

    >>> from pimjax.cache.capacity import capacity_law
    >>> scores = jnp.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    >>> out = gate_output_request(scores, capacity_law(2, 1, max_tokens=3, prompt_tokens=2), steps=1, size=2)
    >>> out.admitted.astype(int).tolist()
    [[0, 1]]
    """
    gate_scores = jnp.asarray(gate_scores)
    rows = gate_scores.shape[0]
    count = jnp.asarray(rows if num_tokens is None else num_tokens, jnp.int32)
    prompt = jnp.minimum(law.prompt_tokens, count)
    if variant == "threshold":
        state = threshold_prefill(gate_scores, prompt, law.num_experts, list_length=size)
    else:
        state = full_prefill(gate_scores, prompt, law, max_tokens=size)
    index = prompt + jnp.arange(steps, dtype=jnp.int32)
    arriving = jnp.take(gate_scores, index, axis=0, mode="clip")
    return gate_output_decode(state, arriving, law, widths, is_token=index < count, revise=revise)[1]


@checks.checked(
    ConfigError,
    gate_scores=checks.numbers(dims=2, infinite=True, filled=True),
    law=checks.instance(CapacityLaw, "a CapacityLaw from capacity_law"),
)
def prompt_admissions(gate_scores: Array, law: CapacityLaw) -> Array:
    """The sets ``M_e(P)`` that serve the prompt; bool ``[T, E]``, false from row ``P`` on.

    >>> from pimjax.cache.capacity import capacity_law
    >>> scores = jnp.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    >>> prompt_admissions(scores, capacity_law(2, 1, max_tokens=3, prompt_tokens=3)).astype(int).tolist()
    [[1, 0], [1, 1], [0, 1]]
    """
    gate_scores, prompt = jnp.asarray(gate_scores), law.prompt_tokens
    column = jax.lax.broadcasted_iota(jnp.int32, gate_scores.shape, 1)
    chosen = expert_choice(gate_scores, capacity_at(law, prompt), num_tokens=prompt)
    return chosen & (column < law.num_experts)


__all__ = ["Variant", "gate_output_decode", "gate_output_init", "gate_output_request", "prompt_admissions"]
