"""Converters with gain and offset errors, alone or shared by several crossbars, and what calibration takes back.

A code comes from `gain * signal + offset`; gain and offset are those of the converter times (plus) those of the path
through which the crossbar reaches it (multiplexer, line, driver). The digital side divides by the gain and subtracts
the offset it knows. What it knows (`adc_calibration`): 0 nothing; 1 one pair of numbers per converter, the mean over
the crossbars behind it; 2 one pair per crossbar and converter. A converter of its own makes 1 and 2 the same.

For scale: the HERMES core reports a 7.09 % gain spread after on-chip calibration (Khaddam-Aljameh et al., JSSC 2022).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pimjax.array_typing import Array
from pimjax.numerics.draws import standard_normal
from pimjax.numerics.settings import Crossbar


@struct.dataclass
class Converters:
    """Errors of the converters of one crossbar array and what the digital side takes off: all [slices, blocks, out]."""

    gain: Array  # relative
    offset: Array  # in levels
    known_gain: Array  # relative; codes are divided by it
    known_offset: Array  # in levels; subtracted from the codes

    def distort(self, scaled: Array, index: Array, block: Array) -> Array:
        """Signals [out, batch] in levels as the converter of slice `index` and `block` sees them."""
        return scaled * self.gain[index, block][:, None] + self.offset[index, block][:, None]

    def correct(self, codes: Array, index: Array, block: Array) -> Array:
        """Codes [out, batch] with what is known taken off."""
        return (codes - self.known_offset[index, block][:, None]) / self.known_gain[index, block][:, None]


def draw_converters(
    crossbar: Crossbar, shape: tuple[int, int, int], *, key: Array, dtype: Any = jnp.float32
) -> Converters:
    """Errors [slices, blocks, out] of an array whose converters serve no other crossbar. `key` is consumed.

    >>> crossbar = Crossbar.create(adc_gain_spread=0.07, adc_calibration=2)
    >>> converters = draw_converters(crossbar, (1, 2, 8), key=jax.random.key(0))
    >>> bool((converters.gain == converters.known_gain).all())
    True
    """
    alone = draw_shared_converters(crossbar, shape, jnp.zeros(1, jnp.int32), num_groups=1, key=key, dtype=dtype)
    return jax.tree.map(lambda leaf: leaf[0], alone)


def draw_shared_converters(
    crossbar: Crossbar,
    shape: tuple[int, int, int],
    group_of_crossbar: Array,
    *,
    num_groups: int,
    key: Array,
    dtype: Any = jnp.float32,
) -> Converters:
    """Errors [n, slices, blocks, out] of n arrays; arrays of the same group share converters position by position.

    Spreads and calibration come from `crossbar`; `group_of_crossbar` int [n] is data, `num_groups` static. `key` is
    consumed. The paths' errors are drawn per array, the converters' per group; neighbouring columns behind one
    converter (`columns_per_adc`) share all of it.
    """
    number = group_of_crossbar.shape[0]
    position = _converter_of_column(crossbar, shape[2])

    draws = standard_normal(key, (2, num_groups + 2 * number, *shape), dtype)[..., position]
    converter, path, error = jnp.split(draws, (num_groups, num_groups + number), axis=1)
    gain = (1 + crossbar.adc_gain_spread * converter[0][group_of_crossbar]) * (1 + crossbar.path_gain_spread * path[0])
    offset = crossbar.adc_offset_spread * converter[1][group_of_crossbar] + crossbar.path_offset_spread * path[1]

    def group_mean(values: Array) -> Array:
        total = jax.ops.segment_sum(values, group_of_crossbar, num_groups)
        members = jax.ops.segment_sum(jnp.ones(number, dtype), group_of_crossbar, num_groups)
        return (total / jnp.maximum(members, 1)[:, None, None, None])[group_of_crossbar]

    mode = crossbar.adc_calibration
    known_gain = jnp.where(mode > 1, gain, jnp.where(mode > 0, group_mean(gain), 1))
    known_offset = jnp.where(mode > 1, offset, jnp.where(mode > 0, group_mean(offset), 0))
    # A calibration is itself a measurement.
    known_gain = known_gain * (1 + jnp.where(mode > 0, crossbar.adc_calibration_error, 0) * error[0])
    return Converters(gain, offset, known_gain, known_offset)


def _converter_of_column(crossbar: Crossbar, out: int) -> Array:
    """Index int [out] of the first column that shares a column's converter: tiles of `cols` columns stand apart."""
    columns = jnp.arange(out)
    tile, inside = columns // crossbar.cols, columns % crossbar.cols
    shared = jnp.maximum(crossbar.columns_per_adc, 1).astype(jnp.int32)
    return tile * crossbar.cols + (inside // shared) * shared
