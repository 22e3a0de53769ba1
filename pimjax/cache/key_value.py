"""Key-value cache of one sequence and layer: fixed arrays, appended in place, read back with their positions.

Two layouts share one class: grouped-query attention keeps keys and values per kv head; multi-head latent attention
(arXiv 2405.04434) keeps one compressed vector and one rotary key per token. With a sliding window the arrays are a
ring of ``window`` rows. With ``quantised=True`` rows are int8 with a float16 scale. Unbatched: vmap over sequences and
layers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from pimjax import checks
from pimjax.array_typing import Array
from pimjax.cache.quantisation import QuantisedRows, dequantise_rows, quantise_rows
from pimjax.errors import ConfigError

Rows = Array | QuantisedRows
_SHAPE = checks.each(checks.whole(1, 2**24), "the axes of one token's entry: whole numbers of at least 1", least=1)


@struct.dataclass
class KeyValueCache:
    """Cached rows of one sequence and layer.

    Attributes:
      first: GQA keys ``[W, kv_heads, head_dim]``; MLA latent vectors ``[W, rank]``. ``W``: rows, the longest sequence
        or the sliding window.
      second: GQA values ``[W, kv_heads, head_dim]``; MLA rotary keys ``[W, rope_dim]``.
      num_tokens: int32 ``[]``, tokens ever appended; token ``t`` lies in row ``t mod W``.
    """

    first: Rows
    second: Rows
    num_tokens: jax.Array

    @property
    def num_rows(self) -> int:
        """``W``."""
        return jax.tree.leaves(self.first)[0].shape[0]


@checks.checked(
    ConfigError,
    first_shape=_SHAPE,
    second_shape=_SHAPE,
    rows=checks.whole(1, 2**24),
    quantised=checks.flag,
    dtype=checks.floating,
)
def kv_init(
    first_shape: tuple[int, ...],
    second_shape: tuple[int, ...],
    *,
    rows: int,
    quantised: bool = False,
    dtype: jnp.dtype = jnp.float32,
) -> KeyValueCache:
    """An empty cache.

    Args:
      first_shape, second_shape: static shape of one token's two entries: ``(kv_heads, head_dim)`` twice for GQA,
        ``(rank,)`` and ``(rope_dim,)`` for MLA.
      rows: static ``W``: longest sequence, or ``min(longest, window)``.
      quantised: static; int8 rows.
      dtype: of rows that are not quantised.

    >>> kv_init((2, 8), (2, 8), rows=16).first.shape
    (16, 2, 8)
    """

    def empty(shape: tuple[int, ...]) -> Rows:
        if quantised:
            return QuantisedRows(jnp.zeros((rows, *shape), jnp.int8), jnp.zeros((rows, *shape[:-1]), jnp.float16))
        return jnp.zeros((rows, *shape), dtype)

    return KeyValueCache(empty(first_shape), empty(second_shape), jnp.int32(0))


@checks.checked(
    ConfigError,
    cache=checks.instance(KeyValueCache, "a KeyValueCache from kv_init"),
    first=checks.numbers(infinite=True),
    second=checks.numbers(infinite=True),
    is_token=checks.flags(dims=0),
)
def kv_append(cache: KeyValueCache, first: Array, second: Array, *, is_token: Array | bool = True) -> KeyValueCache:
    """Append one token; in a full ring it overwrites the oldest.

    Args:
      cache: the cache.
      first, second: the token's entries, shapes as given to :func:`kv_init`.
      is_token: bool ``[]``; false for padding, which changes nothing.
    """
    first, second = _fitting(cache, first, second, leading=0)
    real = jnp.asarray(is_token)
    row = cache.num_tokens % cache.num_rows

    def put(stored: Rows, new: Array) -> Rows:
        if isinstance(stored, QuantisedRows):
            made: Rows = quantise_rows(new)
        else:
            made = new.astype(stored.dtype)

        def write(old: Array, entry: Array) -> Array:
            kept = jax.lax.dynamic_index_in_dim(old, row, axis=0, keepdims=False)
            return jax.lax.dynamic_update_index_in_dim(old, jnp.where(real, entry, kept), row, axis=0)

        return jax.tree.map(write, stored, made)

    return KeyValueCache(put(cache.first, first), put(cache.second, second), cache.num_tokens + real.astype(jnp.int32))


@checks.checked(
    ConfigError,
    cache=checks.instance(KeyValueCache, "a KeyValueCache from kv_init"),
    first=checks.numbers(infinite=True),
    second=checks.numbers(infinite=True),
    num_tokens=checks.numbers(0, dims=0, integer=True),
)
def kv_prefill(cache: KeyValueCache, first: Array, second: Array, num_tokens: Array | int) -> KeyValueCache:
    """Fill an empty cache with a prompt at once.

    Args:
      cache: from :func:`kv_init` (sizes and storage are kept, the content is replaced).
      first, second: entries of the prompt ``[T, ...]``; rows from `num_tokens` on are padding.
      num_tokens: int ``[]``, ``P``; more than ``W`` tokens keep the last ``W`` (a window's ring).
    """
    first, second = _fitting(cache, first, second, leading=1)
    count = jnp.asarray(num_tokens, jnp.int32)
    token = _token_of_row(count, cache.num_rows)
    held = token >= 0

    def fill(stored: Rows, prompt: Array) -> Rows:
        rows = jnp.take(prompt, jnp.maximum(token, 0), axis=0, mode="clip")
        rows = jnp.where(held.reshape(-1, *([1] * (rows.ndim - 1))), rows, jnp.zeros((), rows.dtype))
        return quantise_rows(rows) if isinstance(stored, QuantisedRows) else rows.astype(stored.dtype)

    return KeyValueCache(fill(cache.first, first), fill(cache.second, second), count)


@checks.checked(
    ConfigError, cache=checks.instance(KeyValueCache, "a KeyValueCache from kv_init"), dtype=checks.floating
)
def kv_read(cache: KeyValueCache, dtype: jnp.dtype = jnp.float32) -> tuple[Array, Array, Array]:
    """Everything in the cache.

    Returns:
      first ``[W, ...]``, second ``[W, ...]`` in `dtype` (dequantised), and the token index of each row, int32 ``[W]``,
      -1 where a row is empty.

    >>> cache = kv_append(kv_init((1, 2), (1, 2), rows=2), jnp.ones((1, 2)), jnp.ones((1, 2)))
    >>> kv_read(cache)[2].tolist()
    [0, -1]
    """

    def rows(stored: Rows) -> Array:
        return dequantise_rows(stored, dtype) if isinstance(stored, QuantisedRows) else stored.astype(dtype)

    return rows(cache.first), rows(cache.second), _token_of_row(cache.num_tokens, cache.num_rows)


def _fitting(cache: KeyValueCache, first: Array, second: Array, *, leading: int) -> tuple[Array, Array]:
    """Entries as arrays whose axes, after `leading` ones, are those of the cache."""
    made = []
    for name, stored, given in (("first", cache.first, first), ("second", cache.second, second)):
        array, entry = jnp.asarray(given), jax.tree.leaves(stored)[0].shape[1:]
        if array.shape[leading:] != entry or array.ndim != leading + len(entry) or 0 in array.shape:
            tokens = "tokens, " * leading
            raise ConfigError(
                f"{name} has shape {list(array.shape)}, but the cache holds entries of {list(entry)}: give "
                f"[{tokens}{', '.join(map(str, entry))}]"
            )
        made.append(array)
    return made[0], made[1]


def _token_of_row(num_tokens: Array, rows: int) -> Array:
    """Youngest token of each ring row, -1 where none has come: ``t = row + rows floor((n - 1 - row) / rows)``."""
    row = jnp.arange(rows, dtype=jnp.int32)
    return jnp.where(row < num_tokens, row + (num_tokens - 1 - row) // rows * rows, -1)


__all__ = ["KeyValueCache", "Rows", "kv_append", "kv_init", "kv_prefill", "kv_read"]
