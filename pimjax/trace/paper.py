"""Traces with the statistics that the paper reports for its own, which were not published.

Gao & Yang (ISCAS 2026, arXiv 2602.10254) give slots per token and loads per token of LLaMA-MoE-4/16 on C4 text for five
groupings and two schedules. The makespans fix how unequal the experts are; the compact loads, close to 4, ask for long
sequences; the rescheduled loads ask for tokens that differ from their predecessors. The numbers below were found by
``benchmarks/studies/fit_paper_trace.py`` and its result file shows how close they come.
"""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.errors import TraceError, shown
from pimjax.trace.arguments import check_key, check_sizes
from pimjax.trace.checks import check_elements
from pimjax.trace.routing import RoutingTrace

NUM_EXPERTS = 16
TOP_K = 4
#: Sequence length [tokens] at which the statistics were fitted.
PAPER_TOKENS = 2048
_INCLUSION = (
    *(0.4989, 0.2599, 0.2252, 0.2472, 0.3493, 0.3243, 0.2333, 0.1907),
    *(0.1468, 0.1682, 0.3983, 0.2003, 0.2079, 0.0764, 0.0819, 0.3914),
)
_PERSISTENCE = -0.396


@flax.struct.dataclass
class PaperParameters:
    """Share of tokens that visit each expert, ``[E]`` with sum ``TOP_K``, and AR(1) correlation of tokens, ``[]``."""

    inclusion: Array
    persistence: Array


def paper_parameters() -> PaperParameters:
    """The fitted parameters; neighbouring experts share a group in the paper's "U" groupings, so their order counts.

    >>> round(float(paper_parameters().inclusion.sum()), 3)
    4.0
    """
    inclusion = jnp.array(_INCLUSION, jnp.float32)
    return PaperParameters(inclusion, jnp.float32(_PERSISTENCE))


def synthesize_paper(
    key: Array, num_tokens: int = PAPER_TOKENS, *, num_layers: int = 1, parameters: PaperParameters | None = None
) -> RoutingTrace:
    """One request ``[L, T, 16]``, k = 4, whose loads match the paper's: every expert meets its quota to a few tokens.

    Token by token, four experts are drawn without replacement; the log odds of an expert are those of its remaining
    quota over the remaining tokens, so that loads hit their targets, plus logistic noise from an AR(1) sequence.

    Args:
      key: consumed.
      num_tokens: static ``T``.
      num_layers: static; layers are independent.
      parameters: default: the fitted ones.

    Returns:
      choices and expert order; no gate scores.

    >>> trace = synthesize_paper(jax.random.key(0), 200)
    >>> bool(jnp.abs(trace.choices[0].sum(axis=0) / 200 - paper_parameters().inclusion).max() < 0.02)
    True
    """
    check_key(key)
    check_sizes(num_tokens=num_tokens, num_layers=num_layers)
    check_elements("a trace [layers, tokens, experts]", num_layers, num_tokens, NUM_EXPERTS)
    if parameters is not None and not isinstance(parameters, PaperParameters):
        raise TraceError(f"parameters is {shown(parameters)}: give PaperParameters, or None for the fitted ones")
    fitted = paper_parameters() if parameters is None else parameters
    order = jax.vmap(lambda layer: _draw(layer, fitted, num_tokens))(jax.random.split(key, num_layers))
    choices = (order[..., None] == jnp.arange(NUM_EXPERTS)[None, None, None, :]).any(axis=2)
    return RoutingTrace(choices, jnp.int32(num_tokens), None, order)


def _draw(key: Array, parameters: PaperParameters, num_tokens: int) -> Array:
    correlation = parameters.persistence
    innovation = jnp.sqrt(1 - correlation * correlation)
    key_start, key_tokens = jax.random.split(key)

    def step(carry: tuple[Array, Array], token: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        quota, state = carry
        remaining, noise = token
        state = correlation * state + innovation * noise
        due = jnp.clip(quota / remaining, 1e-6, 1 - 1e-6)
        logistic = jax.scipy.special.log_ndtr(state) - jax.scipy.special.log_ndtr(-state)
        _, chosen = jax.lax.top_k(jnp.log(due) - jnp.log1p(-due) + logistic, TOP_K)
        return (quota.at[chosen].add(-1.0), state), chosen.astype(jnp.int32)

    quota = parameters.inclusion * (TOP_K * num_tokens / parameters.inclusion.sum())
    start = jax.random.normal(key_start, (NUM_EXPERTS,), jnp.float32)
    remaining = jnp.arange(num_tokens, 0, -1, dtype=jnp.float32)
    noise = jax.random.normal(key_tokens, (num_tokens, NUM_EXPERTS), jnp.float32)
    _, order = jax.lax.scan(step, (quota, start), (remaining, noise))
    return order
