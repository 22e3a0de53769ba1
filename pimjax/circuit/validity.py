"""Which components of a tile are used outside the range that their source states.

Nothing is refused here: a cost outside its range is an extrapolation, except where a component says what it does
instead (the survey's converter stops at 4 bits). What cannot exist is refused by :mod:`pimjax.circuit.sanity`.
"""

from __future__ import annotations

import numpy as np

from pimjax import checks
from pimjax.circuit.adc import ADC_KINDS
from pimjax.circuit.adc_table import PUBLISHED_ADCS
from pimjax.circuit.component import CATALOGUE
from pimjax.circuit.drivers import INPUT_KINDS
from pimjax.circuit.tile import TileParameters
from pimjax.errors import ConfigError

ADC_COMPONENTS = {"survey": "adc_survey", "zigzag": "adc_zigzag", "hermes_cco": "adc_hermes_cco"}
"""Catalogue entry of each converter kind; every other kind is an entry of the table."""

UNITS = {
    "bits": "bit",
    "input_bits": "bit",
    "rows": "rows",
    "node_nm": "nm",
    "vdd_v": "V",
    "rate_gsps": "GS/s",
    "ways": "ways",
}

_POLICIES = {("adc_survey", "bits"): "costs are those of 4 bits, an upper bound"}
"""What a component does beyond its range where that is not extrapolating."""


def adc_component(parameters: TileParameters) -> str:
    """Catalogue entry of the tile's converter."""
    return ADC_COMPONENTS.get(ADC_KINDS[round(_number(parameters.adc_kind))], "adc_table")


@checks.checked(ConfigError, parameters=checks.instance(TileParameters, "TileParameters"))
def outside_validity(parameters: TileParameters) -> tuple[str, ...]:
    """One sentence for each quantity of a component that leaves the stated range. Host; empty when all are inside.

    >>> tile = TileParameters(adc_kind=0.0, adc_bits=3.0)
    >>> outside_validity(tile)[0]
    'adc_survey: 3 bit is outside 4 to 17 bit; costs are those of 4 bits, an upper bound'
    """
    sentences = []
    for component, quantities in _in_use(parameters).items():
        for name, (low, high) in CATALOGUE[component].ranges.items():
            if not low <= quantities[name] <= high:
                unit = UNITS[name]
                text = f"{component}: {quantities[name]:g} {unit} is outside {low:g} to {high:g} {unit}"
                sentences.append(f"{text}; {_POLICIES.get((component, name), 'extrapolated')}")
    return (*sentences, *_table_entry(parameters))


def _number(value: object) -> float:
    return float(np.asarray(value))


def _in_use(parameters: TileParameters) -> dict[str, dict[str, float]]:
    """The quantities of every component that the tile has."""
    p = {name: _number(value) for name, value in vars(parameters).items() if name != "compute"}
    node, bits = p["node_nm"], p["adc_bits"]
    result_bits = bits + p["input_bits"]
    if parameters.compute == "digital":
        logic = {"node_nm": node, "vdd_v": p["vdd_v"]}
        result_bits = p["input_bits"] + float(np.log2(p["rows"])) + p["cell_bits"]
        digital = {"cell": {"rows": p["rows"], "node_nm": node}, "flip_flop": logic, "bit_multiplier": logic}
        return {**digital, "adder_tree": {"rows": p["active_rows"]}, "shift_add": {"bits": result_bits}}
    found = {
        "cell": {"rows": p["rows"], "node_nm": node},
        "row_driver": {"bits": p["cycle_bits"]},
        "flip_flop": {"node_nm": node, "vdd_v": p["vdd_v"]},
        adc_component(parameters): {
            "bits": bits,
            "input_bits": p["cycle_bits"],
            "rows": p["active_rows"],
            "node_nm": node,
            "rate_gsps": p["adc_rate_gsps"],
        },
    }
    if p["cycle_bits"] > 1.0:
        converters = {"voltage": "dac_zigzag", "pulse": "pulse_generator"}
        converter = converters.get(INPUT_KINDS[round(p["input_kind"])])
        if converter:
            found[converter] = {"bits": p["cycle_bits"], "node_nm": node}
    if p["columns_per_adc"] > 1.0:
        found["analog_mux"] = {"ways": p["columns_per_adc"]}
        found["sample_hold"] = {"bits": bits}
    if p["input_bits"] > p["cycle_bits"] or p["rows"] > p["active_rows"]:
        found["shift_add"] = {"bits": result_bits}
    return found


def _table_entry(parameters: TileParameters) -> tuple[str, ...]:
    """A published converter is exact at its own point only."""
    if parameters.compute == "digital":
        return ()
    index = round(_number(parameters.adc_kind)) - (len(ADC_KINDS) - len(PUBLISHED_ADCS))
    if index < 0:
        return ()
    entry = PUBLISHED_ADCS[index]
    wanted = (("bit", entry.bits, parameters.adc_bits), ("nm", entry.node_nm, parameters.node_nm))
    return tuple(
        f"adc_table: {entry.name} is a converter of {own:g} {unit}, used for {_number(asked):g} {unit} unchanged"
        for unit, own, asked in wanted
        if own != _number(asked)
    )
