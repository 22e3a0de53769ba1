"""One scheduling request with every default filled in: what all `schedule_*` functions share."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array
from pimjax.errors import ScheduleError
from pimjax.schedule.checks import check_policy, check_shapes, check_size, check_values, is_concrete
from pimjax.schedule.policies import POLICIES

_SMALLEST_BUCKET = 64


class Request(NamedTuple):
    """Arguments of a scheduling kernel."""

    choices: Array  # [T, E] bool or 0/1
    group_of_expert: Array  # int32 [E]
    num_tokens: Array  # int32 []
    max_open_tokens: Array | None  # int32 []: `packed` keeps at most so many tokens open
    policy: str  # static
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
        policy: one of `POLICIES`.
        num_tokens: rows in use, default T.
        num_groups: static, default E.
        max_slots: static; default: the makespan when all arrays are concrete, else T E.
        max_open_tokens: limit of `packed` on tokens begun and not finished.
        needs_slots: False where no slot table is made: then the default of `max_slots` costs nothing.

    Returns:
        A `Request`.

    Raises:
        ScheduleError: on any impossible argument.

    >>> request = resolve(np.eye(3, dtype=bool), np.array([0, 0, 1]), policy="compact")
    >>> request.num_groups, request.max_slots
    (3, 2)
    """
    check_policy(policy, POLICIES)
    tokens, experts = check_shapes(choices, group_of_expert, num_tokens)
    if num_groups is None:
        num_groups = experts
    check_size("num_groups", num_groups)
    if max_slots is not None:
        check_size("max_slots", max_slots)
    if max_open_tokens is not None:
        if policy != "packed":
            raise ScheduleError(f"max_open_tokens limits the policy 'packed' only, not {policy!r}: leave it out")
        number = np.asarray(max_open_tokens) if is_concrete(max_open_tokens) else None
        whole = number is None or (number.ndim == 0 and np.issubdtype(number.dtype, np.integer) and number >= 1)
        if not whole:
            raise ScheduleError(f"max_open_tokens must be one number, 1 or more, not {max_open_tokens!r}")
        max_open_tokens = jnp.asarray(max_open_tokens, jnp.int32)
    num_tokens = tokens if num_tokens is None else num_tokens
    table_slots = max_slots
    if is_concrete(choices, group_of_expert, num_tokens):
        host, groups = np.asarray(choices), np.asarray(group_of_expert)
        check_values(host, groups, int(num_tokens), num_groups)
        if max_slots is None and needs_slots:
            max_slots = _host_makespan(host, groups, int(num_tokens), policy, num_groups, max_open_tokens)
            table_slots = max(_SMALLEST_BUCKET, 1 << (max_slots - 1).bit_length())
    if max_slots is None or table_slots is None:
        max_slots = table_slots = tokens * experts
    return Request(
        choices=jnp.asarray(choices),
        group_of_expert=jnp.asarray(group_of_expert, jnp.int32),
        num_tokens=jnp.asarray(num_tokens, jnp.int32),
        max_open_tokens=max_open_tokens,
        policy=policy,
        num_groups=int(num_groups),
        max_slots=int(max_slots),
        table_slots=int(table_slots),
    )


def _host_makespan(
    choices: np.ndarray, groups: np.ndarray, tokens: int, policy: str, num_groups: int, limit: Any
) -> int:
    """Slots that the schedule of concrete arrays can need, at least 1."""
    loads = np.zeros((tokens, num_groups), np.int64)
    used = groups >= 0
    np.add.at(loads.T, groups[used], choices[:tokens, used].T)
    if policy == "token_wise" or limit is not None:
        return max(1, int(loads.max(axis=1, initial=0).sum()))
    return max(1, int(loads.sum(axis=0).max()))


__all__ = ["Request", "resolve"]
