"""Capacity of an expert: how many of the first ``L`` tokens it takes, with every parameter as data."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import struct

from pimjax import checks
from pimjax.array_typing import Array, ArrayLike, HostArray
from pimjax.arrays import namespace, where
from pimjax.config.workload import CAPACITY_RULES
from pimjax.errors import ConfigError
from pimjax.trace.routers import mean_capacity


@struct.dataclass
class CapacityLaw:
    """What the capacity depends on besides the length; int32 scalars, all data (a pytree that can be vmapped).

    Attributes:
      num_experts: ``E``; arrays of experts may be longer, later entries are padding.
      top_k: ``k``, mean experts per token, at most ``E``.
      prompt_tokens: ``P``, at least 1; tokens that the experts choose from at once.
      max_tokens: ``L_max``, the longest sequence; the threshold lists hold ``C(L_max)`` scores.
      rule: index into :data:`pimjax.config.workload.CAPACITY_RULES`.
    """

    num_experts: Array | HostArray
    top_k: Array | HostArray
    prompt_tokens: Array | HostArray
    max_tokens: Array | HostArray
    rule: Array | HostArray


@checks.checked(
    ConfigError,
    num_experts=checks.whole(1),
    top_k=checks.whole(1),
    max_tokens=checks.whole(1),
    prompt_tokens=checks.whole(1),
    rule=checks.word(*CAPACITY_RULES),
)
def capacity_law(
    num_experts: int, top_k: int, *, max_tokens: int, prompt_tokens: int = 1, rule: str = "growing"
) -> CapacityLaw:
    """A checked :class:`CapacityLaw` from host numbers; NumPy leaves.

    Args:
      num_experts: ``E``.
      top_k: ``k``.
      max_tokens: ``L_max``.
      prompt_tokens: ``P``; 1 is the causal rule, under which nothing looks ahead.
      rule: "growing" ``C(L) = min(L, (k L + E - 1) // E)``, "frozen" ``C(P)`` or "fixed" ``min(L, C(L_max))``.

    Raises:
      ConfigError: a number is out of range or `rule` is unknown.

    >>> law = capacity_law(16, 4, max_tokens=64)
    >>> capacity_at(law, np.array([1, 4, 5, 9])).tolist()
    [1, 1, 2, 3]
    """
    if rule not in CAPACITY_RULES:
        raise ConfigError(f"capacity rule is {rule!r}; it must be one of {', '.join(CAPACITY_RULES)}")
    if not 1 <= top_k <= num_experts:
        raise ConfigError(f"top_k is {top_k}; it must lie between 1 and num_experts = {num_experts}")
    if not 1 <= prompt_tokens <= max_tokens:
        raise ConfigError(f"prompt_tokens is {prompt_tokens}; it must lie between 1 and max_tokens = {max_tokens}")
    if top_k * max_tokens + num_experts >= 2**31:
        raise ConfigError(f"top_k x max_tokens is {top_k * max_tokens}; it must stay below 2**31")
    numbers = (num_experts, top_k, prompt_tokens, max_tokens, CAPACITY_RULES.index(rule))
    return CapacityLaw(*(np.asarray(number, np.int32) for number in numbers))


def law_of(model: Any, workload: Any) -> CapacityLaw:
    """The law of a built design: ``law_of(design.model, design.workload)``; unbatched or stacked leaves."""
    return CapacityLaw(
        num_experts=model.num_experts + (model.num_experts == 0),  # of a dense model it is defined, and used by nothing
        top_k=model.top_k,
        prompt_tokens=workload.prompt_tokens,
        max_tokens=workload.max_context_tokens,
        rule=workload.capacity_rule,
    )


@checks.checked(
    ConfigError,
    law=checks.instance(CapacityLaw, "a CapacityLaw from capacity_law"),
    num_tokens=checks.numbers(0),
)
def capacity_at(law: CapacityLaw, num_tokens: ArrayLike) -> Array:
    """``C(L)``: tokens that each expert takes out of the first ``L``. NumPy unless an argument is a JAX array.

    Under "growing" and "fixed" it grows by 0 or 1 per token; with ``L <= E/k`` growing gives 1.

    Args:
      law: the capacity law (scalars).
      num_tokens: ints of any shape, ``L``.

    Returns:
      int32 of the shape of `num_tokens`.

    >>> law = capacity_law(4, 2, max_tokens=8, prompt_tokens=4, rule="frozen")
    >>> capacity_at(law, np.array([5, 8])).tolist()
    [2, 2]
    """
    whole = namespace(num_tokens, *jax.tree.leaves(law))
    length, prompt, longest = (
        whole.asarray(count, np.int32) for count in (num_tokens, law.prompt_tokens, law.max_tokens)
    )
    growing, frozen, largest = (
        mean_capacity(tokens, law.num_experts, law.top_k) for tokens in (length, prompt, longest)
    )
    fixed = whole.minimum(length, largest)
    return where(law.rule == 0, growing, where(law.rule == 1, frozen, fixed))


def largest_capacity(law: CapacityLaw) -> Array:
    """``C(L_max)``: entries of a threshold list, int32 ``[]``.

    >>> int(largest_capacity(capacity_law(16, 4, max_tokens=512)))
    128
    """
    whole = namespace(*jax.tree.leaves(law))
    prompt, longest = (
        mean_capacity(whole.asarray(tokens, np.int32), law.num_experts, law.top_k)
        for tokens in (law.prompt_tokens, law.max_tokens)
    )
    return where(law.rule == 1, prompt, longest)


def list_length(num_experts: ArrayLike, top_k: ArrayLike, max_tokens: ArrayLike) -> int:
    """Static size that holds the threshold lists of every design of a sweep: the largest ``C(L_max)``.

    Host function; arguments are scalars or arrays of one value per design (concrete).

    >>> list_length([16, 8], [4, 2], 512)
    128
    """
    longest = np.asarray(max_tokens, np.int64)
    ceiling = -(-np.asarray(top_k, np.int64) * longest // np.asarray(num_experts, np.int64))
    return int(np.max(np.minimum(longest, ceiling)))


__all__ = ["CAPACITY_RULES", "CapacityLaw", "capacity_at", "capacity_law", "largest_capacity", "law_of", "list_length"]
