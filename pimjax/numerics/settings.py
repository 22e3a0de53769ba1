"""`Crossbar`: every setting of the crossbar numerics in one pytree, and the checks a user's values pass on the host."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pimjax import checks
from pimjax.config import ranges
from pimjax.errors import NumericsError, shown
from pimjax.numerics.device import Device

Setting = Any  # a number or an array of numbers: data


@struct.dataclass
class Crossbar:
    """One kind of crossbar with its converters. Shapes are static; every number and every flag is data.

    Signals before the ADC are in units of (full-scale cell) x (full-scale input): one cell at g_max driven by the
    largest DAC level of one cycle gives 1, so `adc_range` runs up to `rows`. Flags are 0 or 1 (or bool).

    * Inputs of `input_bits` bits (sign included) are sign and magnitude (2^(b-1) - 1 levels each side of 0), or with
      `input_offset` unsigned codes x + 2^(b-1) whose offset is subtracted digitally. They enter in cycles of
      `cycle_bits` bits, least significant first, one conversion each; as many bits as the magnitude has is pulse-width
      (or multi-level) coding in one cycle, 1 is bit-serial.
    * Weights of `weight_bits` bits are differential pairs (sign times magnitude, currents subtracted before the ADC),
      or with `weight_offset` unsigned codes w + 2^(b-1), offset subtracted digitally. They are cut into slices of
      `cell_bits` bits, least significant first, one column and one conversion each.
    * `read_phases` 1 reads all signs at once, the currents of both signs subtracted before the ADC. 4 reads inputs of each
      sign on cells of each sign one after the other, every sum converted alone by a one-sided ADC, and subtracts digitally.
    * The ADC has 2^b - 1 levels symmetric about 0 over [-adc_range, adc_range]; with `adc_one_sided` 2^b levels over
      [0, adc_range]; with `adc_ideal` no levels and no range. `columns_per_adc` columns share one converter: the same
      numbers, but one draw of gain and offset error.

    >>> analog = Crossbar.create(rows=256, cols=256, adc_range=4.7)
    >>> sliced = Crossbar.create(rows=256, cols=256, max_slices=4, max_cycles=7, cell_bits=2, cycle_bits=1,
    ...                          adc_bits=6, adc_range=[28.9, 28.9, 28.9, 3.6])
    >>> sliced.adc_range.shape
    (4,)
    """

    rows: int = struct.field(pytree_node=False, default=256)  # inputs of one crossbar
    cols: int = struct.field(pytree_node=False, default=256)  # outputs of one crossbar (of one slice)
    max_slices: int = struct.field(pytree_node=False, default=1)
    max_cycles: int = struct.field(pytree_node=False, default=1)
    wire_sweeps: int = struct.field(pytree_node=False, default=0)  # most iterations of the wire solver; 0: no wires
    read_phases: int = struct.field(pytree_node=False, default=1)  # 1 or 4: signs at once, or one after the other

    weight_bits: Setting = 8.0  # []
    cell_bits: Setting = 7.0  # [] more than the magnitude has counts as the magnitude
    input_bits: Setting = 8.0  # []
    cycle_bits: Setting = 7.0  # [] more than the magnitude has counts as the magnitude
    adc_bits: Setting = 8.0  # []
    adc_range: Setting = 1.0  # [max_slices] | [max_slices, out] | [max_slices, blocks, out], or a scalar
    adc_ideal: Setting = 0.0  # [] flag
    adc_one_sided: Setting = 0.0  # [] flag
    weight_offset: Setting = 0.0  # [] flag
    input_offset: Setting = 0.0  # [] flag

    columns_per_adc: Setting = 1.0  # [] columns that share one converter
    adc_gain_spread: Setting = 0.0  # [] relative standard deviation of the converter gain
    adc_offset_spread: Setting = 0.0  # [] standard deviation of the converter offset, in its levels
    path_gain_spread: Setting = 0.0  # [] the same for the path from one crossbar to its converter
    path_offset_spread: Setting = 0.0  # []
    adc_calibration: Setting = 0.0  # [] 0: errors stay; 1: taken off per converter; 2: per crossbar and converter
    adc_calibration_error: Setting = 0.0  # [] relative standard deviation of a measured gain
    output_noise: Setting = 0.0  # [] standard deviation added before the ADC, as a fraction of adc_range
    wire_row: Setting = 0.0  # [] resistance of one row segment x g_max
    wire_col: Setting = 0.0  # [] resistance of one column segment x g_max
    device: Device = dataclasses.field(default_factory=Device)

    @classmethod
    def create(cls, **settings: Any) -> Crossbar:
        """Checked settings as strongly typed arrays of the default float dtype (no retrace
        between int, float and array).

        `adc_range` omitted: 5 standard deviations of a block of uniformly random weights and inputs,
        5/3 sqrt(rows); calibrate on data for anything but a first look. `device` may name a preset.

        Raises NumericsError for a value out of range, naming it.
        """
        from pimjax.numerics.device import DEVICE_PRESETS

        known = {field.name for field in dataclasses.fields(cls)}
        for name in settings:
            if name not in known:
                raise NumericsError(f"Crossbar has no setting {name!r}; it has {', '.join(sorted(known))}")
        for name, most in _SHAPES.items():
            if name in settings:
                checks.require(NumericsError, name, settings[name], checks.whole(int(name != "wire_sweeps"), most))
        if isinstance(settings.get("device"), str):
            if settings["device"] not in DEVICE_PRESETS:
                raise NumericsError(f"device is {settings['device']!r}; the presets are {', '.join(DEVICE_PRESETS)}")
            settings["device"] = DEVICE_PRESETS[settings["device"]]()
        settings.setdefault("adc_range", 5.0 / 3.0 * math.sqrt(settings.get("rows", 256)))
        if any(np.any(_array(name, settings.get(name, 0)) != 0) for name in ("wire_row", "wire_col")):
            settings.setdefault("wire_sweeps", 200)
        crossbar = cls(**settings)
        check_crossbar(crossbar)
        return as_arrays(crossbar, jnp.result_type(float))


#: Largest static sizes: beyond any array, below what a loop or a table of them never ends with.
_SHAPES = {"rows": 2**24, "cols": 2**24, "max_slices": 64, "max_cycles": 64, "wire_sweeps": 10**6, "read_phases": 4}


_NOT_NEGATIVE = (
    "adc_gain_spread",
    "adc_offset_spread",
    "path_gain_spread",
    "path_offset_spread",
    "adc_calibration_error",
    "output_noise",
    "wire_row",
    "wire_col",
)


def as_arrays(crossbar: Crossbar, dtype: Any) -> Crossbar:
    """The same settings as arrays of one floating `dtype`; `adc_range` gets its slice axis."""

    def convert(node: Any) -> dict[str, Any]:
        return {
            field.name: jnp.asarray(getattr(node, field.name), dtype)
            for field in dataclasses.fields(node)
            if field.metadata.get("pytree_node", True) and field.name != "device"
        }

    leaves = convert(crossbar)
    if leaves["adc_range"].ndim == 0:
        leaves["adc_range"] = jnp.broadcast_to(leaves["adc_range"], (crossbar.max_slices,))
    device = dataclasses.replace(crossbar.device, **convert(crossbar.device))
    return dataclasses.replace(crossbar, device=device, **leaves)


def is_concrete(tree: Any) -> bool:
    """Whether no leaf is a tracer: the values can be looked at."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


@checks.checked(NumericsError, crossbar=checks.instance(Crossbar, "a Crossbar from Crossbar.create"))
def check_crossbar(crossbar: Crossbar) -> None:
    """Raise NumericsError, in one sentence, for settings that mean nothing. Host only; a stack [N] is checked whole.

    >>> check_crossbar(Crossbar(adc_range=-1.0))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    pimjax.errors.NumericsError: adc_range holds -1.0: every entry must be finite and above 0 (the range runs from ...
    """
    for name in ("rows", "cols", "max_slices", "max_cycles"):
        value = getattr(crossbar, name)
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise NumericsError(f"{name} is {value!r}; it is a shape and must be a whole number of at least 1")
    if not isinstance(crossbar.wire_sweeps, (int, np.integer)) or crossbar.wire_sweeps < 0:
        raise NumericsError(f"wire_sweeps is {crossbar.wire_sweeps!r}; it must be a whole number of at least 0")

    if crossbar.read_phases not in (1, 4):
        raise NumericsError(
            f"read_phases is {crossbar.read_phases!r}; it must be 1 (all signs at once) or 4 (signs of inputs and weights apart)"
        )
    checks.require(NumericsError, "device", crossbar.device, checks.instance(Device, "a Device or a preset's name"))
    one_sided = _numbers(crossbar, "adc_one_sided") != 0
    _check_bits(crossbar, "weight_bits", *ranges.WEIGHT_BITS)
    _check_bits(crossbar, "input_bits", *ranges.INPUT_BITS)
    _check_bits(crossbar, "cell_bits", *ranges.CELL_BITS)
    _check_bits(crossbar, "cycle_bits", *ranges.CYCLE_BITS)
    low, high = ranges.ADC_BITS
    _check_bits(
        crossbar, "adc_bits", low - int(one_sided.all()), high, " (an ideal converter is adc_ideal=True, not 0 bits)"
    )
    adc_range = _numbers(crossbar, "adc_range")
    if not (np.isfinite(adc_range) & (adc_range > 0)).all():
        bad = adc_range[~(np.isfinite(adc_range) & (adc_range > 0))].flat[0]
        raise NumericsError(
            f"adc_range holds {bad}: every entry must be finite and above 0 (the range runs from -adc_range, or 0, "
            "to adc_range; inverted or empty it converts nothing)"
        )
    for name in ("adc_ideal", "adc_one_sided", "weight_offset", "input_offset"):
        values = _numbers(crossbar, name)
        if not np.isin(values, (0, 1)).all():
            raise NumericsError(f"{name} is {values.flat[0]}; it is a flag: 0 or 1, False or True")
    for name in _NOT_NEGATIVE:
        _check_interval(crossbar, name, 0.0, np.inf)
    _check_interval(crossbar, "columns_per_adc", 1.0, np.inf)
    if not np.isin(_numbers(crossbar, "adc_calibration"), (0, 1, 2)).all():
        raise NumericsError(
            f"adc_calibration is {_numbers(crossbar, 'adc_calibration').flat[0]}; it must be 0 (none), 1 (per "
            "converter) or 2 (per crossbar and converter)"
        )
    if crossbar.wire_sweeps == 0 and (
        (_numbers(crossbar, "wire_row") != 0).any() or (_numbers(crossbar, "wire_col") != 0).any()
    ):
        raise NumericsError(
            "wire_row or wire_col is not 0 but wire_sweeps is 0, so the wires would be ignored; set wire_sweeps (for "
            "example 200), which compiles the wire solver in"
        )
    _check_device(crossbar.device)
    _check_slices(crossbar)


def _check_device(device: Device) -> None:
    for name in ("stuck_on", "stuck_off"):
        _check_interval(device, name, 0.0, 1.0)
    if (_numbers(device, "stuck_on") + _numbers(device, "stuck_off") > 1).any():
        raise NumericsError("stuck_on and stuck_off are fractions of the same cells and may not exceed 1 together")
    for name in ("programming_scale", "drift_scale", "drift_time_s", "read_scale", "read_limit", "polarity_spread"):
        _check_interval(device, name, 0.0, np.inf)
    _check_interval(device, "programming_floor", 0.0, 1.0)
    split = _numbers(device, "programming_split")
    if not (split >= 0).all():
        raise NumericsError(f"programming_split is {split.flat[0]}; it must be at least 0 (inf: one polynomial)")
    _check_interval(device, "read_split", 0.0, 1.0)
    for name in ("drift_compensation", "programming_signed"):
        if not np.isin(_numbers(device, name), (0, 1)).all():
            raise NumericsError(f"{name} is {_numbers(device, name).flat[0]}; it is a flag")
    ratio = _numbers(device, "on_off_ratio")
    if not (ratio > 1).all():
        raise NumericsError(f"on_off_ratio is {ratio.flat[0]}; g_max / g_min must exceed 1 (inf: no leakage)")
    for name in ("g_max_us", "drift_start_s", "read_pulse_s"):
        if not (_numbers(device, name) > 0).all():
            raise NumericsError(f"{name} is {_numbers(device, name).flat[0]}; it must be above 0")


def _check_slices(crossbar: Crossbar) -> None:
    pairs = (
        ("weight_bits", "cell_bits", "weight_offset", "max_slices"),
        ("input_bits", "cycle_bits", "input_offset", "max_cycles"),
    )
    for bits, part, offset, most in pairs:
        magnitude = _numbers(crossbar, bits) - 1 + _numbers(crossbar, offset)
        needed = np.ceil(magnitude / np.minimum(_numbers(crossbar, part), magnitude)).max()
        if needed > getattr(crossbar, most):
            raise NumericsError(
                f"{bits} cut into pieces of {part} needs {needed:.0f} pieces but {most} is {getattr(crossbar, most)}; "
                f"raise {most} (a static shape) or {part}"
            )


def _numbers(node: Any, name: str) -> np.ndarray:
    return _array(name, getattr(node, name))


def _array(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(None if isinstance(value, (str, bytes)) else value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise NumericsError(f"{name} is {shown(value)}; it must be a number") from error


def _check_bits(crossbar: Crossbar, name: str, low: int, high: int, hint: str = "") -> None:
    values = _numbers(crossbar, name)
    good = (values >= low) & (values <= high) & (values == np.floor(values))
    if not good.all():
        raise NumericsError(
            f"{name} is {values[~good].flat[0]}; allowed are whole numbers from {low} to {high}"
            + (f" ({hint})" if hint else "")
        )


def _check_interval(node: Any, name: str, low: float, high: float) -> None:
    values = _numbers(node, name)
    good = (values >= low) & (values <= high) & np.isfinite(values)
    if not good.all():
        allowed = f"finite and at least {low:g}" if high == np.inf else f"from {low:g} to {high:g}"
        raise NumericsError(f"{name} is {values[~good].flat[0]}; it must be {allowed}")
