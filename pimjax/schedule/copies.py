"""Copies of hot experts in spare crossbars: whom to copy, and which token goes to which copy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array, HostArray
from pimjax.checks import flags, numbers, require, whole
from pimjax.errors import ScheduleError, shown
from pimjax.schedule.checks import check_binary, check_loads, is_concrete


def deal_copies(choices: Any, expert_of_copy: Any) -> Array | HostArray:
    """Deal the tokens of duplicated experts to their copies, in turn; everything then runs on copies.

    The i-th token that visits an expert with n copies goes to copy `i mod n`, so the loads of the copies of an
    expert differ by at most 1. Experts with one copy keep all their tokens. Works under `jit` and `vmap`.

    Args:
        choices: `[..., T, E]` bool or 0/1.
        expert_of_copy: int `[copies]`, the expert that each copy holds; every expert at least once.

    Returns:
        bool `[..., T, copies]`; NumPy for NumPy input, else JAX.

    Raises:
        ScheduleError: wrong shapes, an id out of range, an expert without a copy.

    >>> deal_copies(np.array([[1, 1], [0, 1], [0, 1]]), np.array([0, 1, 1])).astype(int).tolist()
    [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    """
    require(
        ScheduleError, "choices", choices, flags(meaning="[tokens, experts] or stacked, of booleans or only 0 and 1")
    )
    require(ScheduleError, "expert_of_copy", expert_of_copy, numbers(dims=1, integer=True, filled=True))
    shape = np.shape(choices)
    if len(shape) < 2:
        raise ScheduleError(f"choices must be [tokens, experts] or stacked, not shape {list(shape)}")
    if len(np.shape(expert_of_copy)) != 1:
        raise ScheduleError(f"expert_of_copy must be [copies], not shape {list(np.shape(expert_of_copy))}")
    if is_concrete(expert_of_copy):
        _check_copies(np.asarray(expert_of_copy), shape[-1])
    if is_concrete(choices):
        check_binary(np.asarray(choices))
    on_device = isinstance(choices, jax.Array) or isinstance(expert_of_copy, jax.Array)
    xp = jnp if on_device else np
    expert = xp.asarray(expert_of_copy)
    visits = xp.asarray(choices).astype(bool)
    position = xp.arange(expert.shape[0])
    same = expert[:, None] == expert[None, :]
    turn = (same & (position[None, :] < position[:, None])).sum(axis=1)  # earlier copies of the same expert
    copies = same.sum(axis=1)
    visit = visits[..., expert]
    earlier = xp.cumsum(visit, axis=-2, dtype=np.int32) - visit
    leading = (1,) * (len(shape) - 1)
    return visit & (earlier % copies.reshape(*leading, -1) == turn.reshape(*leading, -1))


def copy_hottest(loads: Any, num_copies: int) -> HostArray:
    """Choose the experts to duplicate: again and again the one with the most passes per copy. Host function.

    Args:
        loads: `[E]` or `[requests, E]`, passes of each expert; requests are summed.
        num_copies: spare places.

    Returns:
        int32 `[E + num_copies]`, expert of each copy: all experts once, then the duplicates.

    >>> copy_hottest([10, 2, 30], 2).tolist()
    [0, 1, 2, 2, 2]
    """
    if whole(0, 2**20)(num_copies):
        raise ScheduleError(f"num_copies must be an integer, from 0 to {2**20:,}, not {shown(num_copies)}")
    total = check_loads(loads).sum(axis=0)
    copies = np.ones(len(total), np.int64)
    extra = []
    for _ in range(num_copies):
        hottest = int(np.argmax(total / copies))
        copies[hottest] += 1
        extra.append(hottest)
    return np.concatenate([np.arange(len(total)), np.array(extra, np.int64)]).astype(np.int32)


def _check_copies(expert_of_copy: HostArray, experts: int) -> None:
    if not np.issubdtype(expert_of_copy.dtype, np.integer):
        raise ScheduleError(f"expert_of_copy must hold integer ids, not {expert_of_copy.dtype}")
    if ((expert_of_copy < 0) | (expert_of_copy >= experts)).any():
        bad = expert_of_copy[(expert_of_copy < 0) | (expert_of_copy >= experts)][0]
        raise ScheduleError(f"expert_of_copy names expert {bad}: ids run from 0 to {experts - 1}")
    missing = np.setdiff1d(np.arange(experts), expert_of_copy)
    if len(missing):
        raise ScheduleError(f"expert {missing[0]} has no copy in expert_of_copy: every expert needs at least one")


__all__ = ["copy_hottest", "deal_copies"]
