"""One scheduling request with every default filled in: what all `schedule_*` functions share."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array
from pimjax.errors import CapacityError, ScheduleError
from pimjax.schedule.checks import MAX_SLOTS, check_shapes, check_size, check_values, is_concrete
from pimjax.schedule.load_matrix import host_loads
from pimjax.schedule.policies.policy import Policy
from pimjax.schedule.policies.registry import check_open_limit, policy_of

_SMALLEST_BUCKET = 64


class Request(NamedTuple):
    """Arguments of a scheduling kernel. Concrete ones stay where they are: nothing is sent to a device."""

    choices: Any  # [T, E] bool or 0/1
    group_of_expert: Any  # int32 [E]
    num_tokens: Any  # int32 []
    max_open_tokens: Any  # int32 [] tokens that the policy keeps open at most, or None
    policy: Policy  # static
    num_groups: int  # static G
    max_slots: int  # static S that results refer to
    table_slots: int  # static length of slot tables inside: max_slots, or above it up to a power of two


def resolve(
    choices: Any,
    group_of_expert: Any,
    *,
    policy: str,
    num_tokens: Any = None,
    num_groups: int | None = None,
    max_slots: int | None = None,
    max_open_tokens: Any = None,
    needs_slots: bool = True,
) -> Request:
    """Check the arguments of a `schedule_*` function and fill in its defaults.

    Args:
        choices: `[T, E]` bool or 0/1.
        group_of_expert: int `[E]`.
        policy: a name in `POLICIES`.
        num_tokens: rows in use, default T.
        num_groups: static, default E.
        max_slots: static; default: what the policy may need when all arrays are concrete, else T E.
        max_open_tokens: limit of tokens begun and not finished, for a policy that has one.
        needs_slots: False where no slot table is made: then the default of `max_slots` costs nothing.

    Returns:
        A `Request`.

    Raises:
        ScheduleError: on any impossible argument.

    >>> request = resolve(np.eye(3, dtype=bool), np.array([0, 0, 1]), policy="compact")
    >>> request.num_groups, request.max_slots
    (3, 2)
    """
    rule = policy_of(policy)
    tokens, experts = check_shapes(choices, group_of_expert, num_tokens)
    if num_groups is None:
        num_groups = experts
    check_size("num_groups", num_groups)
    if max_slots is not None:
        check_size("max_slots", max_slots)
    check_open_limit(rule, max_open_tokens)
    if max_open_tokens is not None:
        number = np.asarray(max_open_tokens) if is_concrete(max_open_tokens) else None
        whole = number is None or (number.ndim == 0 and np.issubdtype(number.dtype, np.integer) and number >= 1)
        if not whole:
            raise ScheduleError(f"max_open_tokens must be one number, 1 or more, not {max_open_tokens!r}")
    num_tokens = tokens if num_tokens is None else num_tokens
    table_slots = max_slots
    if is_concrete(choices, group_of_expert, num_tokens):
        host, groups = np.asarray(choices), np.asarray(group_of_expert)
        check_values(host, groups, int(num_tokens), num_groups)
        if max_slots is None and needs_slots:
            loads = host_loads(host[: int(num_tokens)], groups, num_groups)
            max_slots = max(1, int(rule.makespan_bound(loads, max_open_tokens)))
            table_slots = max(_SMALLEST_BUCKET, 1 << (max_slots - 1).bit_length())
    if table_slots is not None and max(table_slots, tokens) * num_groups > 4 * MAX_SLOTS:
        raise CapacityError(
            f"a table of {table_slots:,} slots and {num_groups:,} groups is too large: give num_groups and max_slots whose "
            f"product is at most {4 * MAX_SLOTS:,}"
        )
    if max_slots is None or table_slots is None:
        max_slots = table_slots = tokens * experts
    return Request(
        choices=_array(choices),
        group_of_expert=_array(group_of_expert).astype(np.int32),
        num_tokens=_array(num_tokens).astype(np.int32),
        max_open_tokens=None if max_open_tokens is None else _array(max_open_tokens).astype(np.int32),
        policy=rule,
        num_groups=int(num_groups),
        max_slots=int(max_slots),
        table_slots=int(table_slots),
    )


def _array(value: Any) -> Any:
    return np.asarray(value) if is_concrete(value) else jnp.asarray(value)


def flag_overflow(
    makespan: Array, choices: Array, groups: Array, num_tokens: Array, num_groups: int, limit: Array
) -> Array:
    """The makespan, or -1 where it exceeds `limit` or the input was impossible.

    Impossible: a visited expert whose group id is out of range (unused padding experts may hold -1), or more tokens
    than rows.

    >>> flags = jnp.array([[True, False]])
    >>> int(flag_overflow(jnp.int32(9), flags, jnp.array([0, 1]), jnp.int32(1), 2, jnp.int32(8)))
    -1
    """
    lost = choices.astype(bool).any(axis=0) & ((groups < 0) | (groups >= num_groups))
    possible = ~lost.any() & (num_tokens >= 0) & (num_tokens <= choices.shape[0])
    return jnp.where(possible & (makespan <= limit), makespan, -1).astype(jnp.int32)


__all__ = ["Request", "flag_overflow", "resolve"]
