"""From real numbers to the integers that DACs drive and cells hold. All results are whole numbers in a float dtype."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pimjax.array_typing import Array
from pimjax.numerics.relax import power_of_two, round_straight_through


class Code(NamedTuple):
    """How signed values are written as unsigned pieces; every entry is a scalar array."""

    levels: Array  # largest signed integer: a value of 1 is this many steps
    offset: Array  # added before cutting (0: sign and magnitude)
    base: Array  # 2^(bits of one piece)
    full: Array  # largest piece, base - 1
    pieces: Array  # how many pieces hold all bits


def code_of(bits: Array, piece_bits: Array, has_offset: Array) -> Code:
    """The code of `bits`-bit signed numbers in pieces of `piece_bits` bits.

    Sign and magnitude has bits - 1 bits to cut, an offset code all of them. Pieces larger than that count as that.

    >>> code = code_of(jnp.float32(8), jnp.float32(2), jnp.float32(0))
    >>> float(code.levels), float(code.base), float(code.pieces)
    (127.0, 4.0, 4.0)
    """
    half = power_of_two(bits - 1)
    to_cut = bits - 1 + has_offset
    piece = jnp.minimum(piece_bits, to_cut)
    base = power_of_two(piece)
    return Code(half - 1, has_offset * half, base, base - 1, jnp.ceil(to_cut / piece))


def to_integers(values: Array, code: Code) -> Array:
    """Signed integers of real `values`; [-1, 1] maps to +-levels, values beyond saturate, Inf and NaN become NaN.

    Rounding is half to even with a straight-through gradient.

    >>> to_integers(jnp.array([-1.0, 0.004, 2.0]), code_of(jnp.float32(8), jnp.float32(7), jnp.float32(0))).tolist()
    [-127.0, 1.0, 127.0]
    """
    bounded = jnp.where(jnp.isfinite(values), jnp.clip(values, -1, 1), jnp.nan)
    return round_straight_through(bounded * code.levels)


def cut(integers: Array, code: Code, max_pieces: int) -> Array:
    """Pieces [max_pieces, ...] of signed `integers`, least significant first; unused high pieces are 0.

    Sign and magnitude: sum_i base^i piece_i = integers, every piece has the sign of its number.
    Offset: sum_i base^i piece_i = integers + offset, every piece is >= 0.
    Gradient: straight-through, shared evenly, so that sum_i base^i d piece_i = d integers.

    >>> code = code_of(jnp.float32(4), jnp.float32(2), jnp.float32(0))
    >>> cut(jnp.array([-7.0, 5.0]), code, 2).tolist()
    [[-3.0, 1.0], [-1.0, 1.0]]
    """
    return _cut(max_pieces, integers, code)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _cut(max_pieces: int, integers: Array, code: Code) -> Array:
    shifted = integers + code.offset
    if max_pieces == 1:
        return shifted[None]
    sign = jnp.where(shifted < 0, -1, 1).astype(integers.dtype)
    rest = jnp.abs(shifted)
    pieces = []
    for _ in range(max_pieces):
        above = jnp.floor(rest / code.base)
        pieces.append(sign * (rest - code.base * above))
        rest = above
    return jnp.stack(pieces)


@_cut.defjvp
def _cut_jvp(max_pieces: int, primals: tuple[Array, Code], tangents: tuple[Array, Code]) -> tuple[Array, Array]:
    integers, code = primals
    places = piece_weights(code, max_pieces)
    share = jnp.where(places > 0, 1 / (jnp.where(places > 0, places, 1) * code.pieces), 0)
    return _cut(max_pieces, integers, code), jnp.multiply.outer(share, tangents[0])


def piece_weights(code: Code, max_pieces: int) -> Array:
    """Place values base^i [max_pieces]; 0 for pieces the code does not use.

    >>> piece_weights(code_of(jnp.float32(4), jnp.float32(2), jnp.float32(0)), 3).tolist()
    [1.0, 4.0, 0.0]
    """
    index = jnp.arange(max_pieces, dtype=code.base.dtype)
    places = jnp.cumprod(jnp.where(index > 0, code.base, 1))
    return jnp.where(index < code.pieces, places, 0)
