"""What a user can get wrong when asking for a schedule: one sentence each, before anything is traced.

Shapes and names are always checked. Values can only be checked when the arrays are concrete; inside `jit` and `vmap`
an impossible group id or token count makes the makespan -1 instead.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.checks import LARGEST_WHOLE, any_of, flags, numbers, require
from pimjax.errors import ScheduleError, shown

MAX_SLOTS = 2**28
"""Longest slot table, and most groups."""
MOST_PASSES = 1e15
_MATRIX = any_of(flags(meaning="booleans, or whole numbers, of equal rows"), numbers(valued=False))


def is_concrete(*arrays: Any) -> bool:
    """True when no argument is a tracer, so that values may be looked at.

    >>> is_concrete(np.zeros(3), None)
    True
    """
    return not any(isinstance(array, jax.core.Tracer) for array in arrays)


def check_shapes(choices: Any, group_of_expert: Any, num_tokens: Any) -> tuple[int, int]:
    """Raise unless `choices` is `[T, E]` and `group_of_expert` is int `[E]`; return T and E."""
    require(ScheduleError, "choices", choices, _MATRIX)
    require(ScheduleError, "group_of_expert", group_of_expert, _MATRIX)
    shape, groups = np.shape(choices), np.shape(group_of_expert)
    if len(shape) != 2:
        raise ScheduleError(
            f"choices must be [tokens, experts] with two axes, not shape {list(shape)}: "
            "use jax.vmap for stacked layers or requests"
        )
    if 0 in shape:
        raise ScheduleError(f"choices of shape {list(shape)} hold no token or no expert: give at least one of each")
    if groups != (shape[1],):
        raise ScheduleError(
            f"group_of_expert has shape {list(groups)}, but choices name {shape[1]} experts: "
            f"give one group id per expert, shape [{shape[1]}]"
        )
    if not np.issubdtype(_dtype(group_of_expert), np.integer):
        raise ScheduleError(f"group_of_expert must hold integer ids, not {_dtype(group_of_expert)}")
    if num_tokens is not None:
        require(ScheduleError, "num_tokens", num_tokens, numbers(-LARGEST_WHOLE, valued=False))
    if num_tokens is not None and np.shape(num_tokens) != ():
        raise ScheduleError(f"num_tokens must be one number, not shape {list(np.shape(num_tokens))}")
    if num_tokens is not None and not np.issubdtype(_dtype(num_tokens), np.integer):
        raise ScheduleError(f"num_tokens must be an integer, not {shown(num_tokens)}")
    return shape


def check_size(name: str, value: Any) -> None:
    """Raise unless a static size is a positive Python integer."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ScheduleError(f"{name} must be a positive integer known before compilation, not {shown(value)}")
    if value > MAX_SLOTS:
        raise ScheduleError(f"{name} is {value}, which no table holds: give at most {MAX_SLOTS:,}")


def check_binary(choices: HostArray) -> None:
    """Raise unless concrete choices are booleans, or 0 and 1."""
    if choices.dtype != np.bool_ and not np.isin(choices, (0, 1)).all():
        bad = choices[~np.isin(choices, (0, 1))].flat[0]
        raise ScheduleError(f"choices must hold only 0 and 1 (a token picks an expert once at most), not {bad}")


def check_values(choices: HostArray, group_of_expert: HostArray, num_tokens: int, num_groups: int) -> None:
    """Raise unless all concrete values are possible: choices 0/1, every expert in a group, tokens in range."""
    check_binary(choices)
    lost = (group_of_expert < 0) & ((group_of_expert < -1) | choices.astype(bool).any(axis=0))
    if lost.any():  # -1 marks the padding experts of a padded design: legal as long as no token visits them
        expert = int(np.argmax(lost))
        raise ScheduleError(
            f"expert {expert} is in no group (id {int(group_of_expert[expert])}): every expert needs an id from 0"
        )
    if (group_of_expert >= num_groups).any():
        expert = int(np.argmax(group_of_expert >= num_groups))
        raise ScheduleError(
            f"expert {expert} has group id {int(group_of_expert[expert])}, but there are {num_groups} groups: "
            f"ids run from 0 to {num_groups - 1}, or raise num_groups"
        )
    if not 0 <= num_tokens <= len(choices):
        raise ScheduleError(
            f"num_tokens is {num_tokens}, but choices hold {len(choices)} rows: give 0 to {len(choices)}"
        )


def check_loads(loads: Any) -> HostArray:
    """Loads as float64 `[requests, experts]`; raise unless they are finite and not negative."""
    try:
        array = np.asarray(None if isinstance(loads, (str, bytes, bool)) else loads, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ScheduleError("loads must be numbers [experts] or [requests, experts]") from error
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise ScheduleError(f"loads must be [experts] or [requests, experts], not shape {list(array.shape)}")
    if not ((array >= 0) & (array <= MOST_PASSES)).all():  # sums and powers of more are not exact
        raise ScheduleError(
            f"loads must be finite and not negative, at most {MOST_PASSES:g}: they count the passes of each expert"
        )
    return array.reshape(-1, array.shape[-1])


def _dtype(array: Any) -> np.dtype:
    return np.dtype(getattr(array, "dtype", None) or np.asarray(array).dtype)


__all__ = ["check_binary", "check_loads", "check_shapes", "check_size", "check_values", "is_concrete"]
