"""Load matrix: how many passes of each token fall to each group, and its running sum over tokens.

Everything inside `pimjax.schedule` keeps groups first and tokens last, `[G, T]`: the long axis is then contiguous
and every step of a policy is one vector operation over tokens.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from pimjax.array_typing import Array, HostArray
from pimjax.arrays import namespace

_BLOCK = 32  # tokens per block of the running sum: two small matrix products instead of log2(T) passes
_EXACT_IN_FLOAT32 = 2**24


def load_matrix(choices: Array, group_of_expert: Array, num_groups: int, num_tokens: Array) -> Array:
    """Passes of every token in every group. Kernel.

    Args:
        choices: `[T, E]` bool or 0/1, the experts that each token visits.
        group_of_expert: int `[E]`, the group of each expert, in `0..num_groups-1`.
        num_groups: static G; larger than the number of groups in use is legal and only costs time.
        num_tokens: int `[]`; later rows of `choices` are padding and count as empty.

    Returns:
        int32 `[G, T]`, `l[j, t]` = number of experts of group `j` that token `t` visits.

    >>> load_matrix(jnp.array([[1, 1, 0], [0, 1, 1]]), jnp.array([0, 0, 1]), 2, jnp.int32(2)).tolist()
    [[2, 1], [0, 1]]
    """
    member = group_of_expert[None, :] == jnp.arange(num_groups, dtype=group_of_expert.dtype)[:, None]
    loads = lax.dot_general(
        member.astype(jnp.float32),
        choices.astype(jnp.float32),
        (((1,), (1,)), ((), ())),
        precision=lax.Precision.HIGHEST,  # small integers: exact
    )
    real = jnp.arange(choices.shape[0], dtype=jnp.int32)[None, :] < num_tokens
    return jnp.where(real, loads, 0.0).astype(jnp.int32)


def host_loads(choices: HostArray, group_of_expert: HostArray, num_groups: int) -> HostArray:
    """The same in NumPy, for any leading axes; every row is in use.

    Args:
        choices: `[..., T, E]` bool or 0/1.
        group_of_expert: int `[..., E]`; experts of id -1 are in no group.
        num_groups: G.

    Returns:
        int32 `[..., G, T]`.

    >>> host_loads(np.array([[1, 1, 0], [0, 1, 1]]), np.array([0, 0, 1]), 2).tolist()
    [[2, 1], [0, 1]]
    """
    member = np.asarray(group_of_expert)[..., None, :] == np.arange(num_groups)[:, None]
    visits = np.swapaxes(np.asarray(choices).astype(np.float32), -1, -2)
    return np.matmul(member.astype(np.float32), visits).astype(np.int32)


def running_sum(loads: Any, bound: int) -> Any:
    """Inclusive running sum over the last axis, exact. NumPy or JAX.

    Args:
        loads: non-negative int32 `[..., T]`.
        bound: static upper limit of any sum (tokens x experts); below 2**24 float32 products are exact.

    Returns:
        int32 `[..., T]`.

    >>> running_sum(jnp.array([[1, 2, 3]]), 6).tolist()
    [[1, 3, 6]]
    """
    tokens = loads.shape[-1]
    xp = namespace(loads)
    if xp is np or bound >= _EXACT_IN_FLOAT32 or tokens <= _BLOCK:
        return xp.cumsum(loads, axis=-1, dtype=np.int32)
    blocks = -(-tokens // _BLOCK)
    padding = [(0, 0)] * (loads.ndim - 1) + [(0, blocks * _BLOCK - tokens)]
    padded = jnp.pad(loads, padding).astype(jnp.float32)
    padded = padded.reshape(*loads.shape[:-1], blocks, _BLOCK)
    within = jnp.matmul(padded, np.triu(np.ones((_BLOCK, _BLOCK), np.float32)), precision="highest")
    before = np.triu(np.ones((blocks, blocks), np.float32), 1)
    offset = jnp.matmul(within[..., -1], before, precision="highest")
    total = (within + offset[..., None]).reshape(*loads.shape[:-1], blocks * _BLOCK)
    return total[..., :tokens].astype(jnp.int32)


def longest_queue(loads: Any, max_open_tokens: Any = None) -> Any:
    """Slots until the last group is done when every group runs its own queue: the largest sum of a group.

    NumPy or JAX; `loads` `[..., G, T]`.

    >>> int(longest_queue(np.array([[2, 1], [0, 1]])))
    3
    """
    del max_open_tokens
    return loads.sum(axis=-1, dtype=np.int32).max(axis=-1)


def one_after_another(loads: Any, max_open_tokens: Any = None) -> Any:
    """Slots when tokens follow each other: the sum over tokens of the largest load of a group.

    NumPy or JAX; `loads` `[..., G, T]`.

    >>> int(one_after_another(np.array([[2, 1], [0, 1]])))
    3
    """
    del max_open_tokens
    return loads.max(axis=-2).sum(axis=-1, dtype=np.int32)


__all__ = ["host_loads", "load_matrix", "longest_queue", "one_after_another", "running_sum"]
