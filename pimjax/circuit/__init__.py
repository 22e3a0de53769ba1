"""Circuit-level components: area, energy per action and latency, each with unit, range and source.

Importing this package fills :data:`CATALOGUE` (components) and :data:`CONSTANTS` (sourced numbers) completely.
"""

from pimjax.circuit.accumulators import accumulator_strip, column_accumulation_ns, shift_add
from pimjax.circuit.adc import ADC_KINDS, adc
from pimjax.circuit.adc_hermes import adc_hermes_cco
from pimjax.circuit.adc_survey import adc_survey
from pimjax.circuit.adc_table import PUBLISHED_ADCS, adc_table
from pimjax.circuit.adc_zigzag import adc_zigzag, dac_zigzag
from pimjax.circuit.analog_mux import analog_mux
from pimjax.circuit.cell_array import CELL_KINDS, cell
from pimjax.circuit.component import CATALOGUE, Component, ComponentInfo, catalogue_markdown
from pimjax.circuit.constants import CONSTANTS, Constants, Sourced, nominal_constants
from pimjax.circuit.digital_sram import DIGITAL_PARTS, adder_tree, bit_multiplier
from pimjax.circuit.drivers import INPUT_KINDS, pulse_generator, row_driver
from pimjax.circuit.explain import ExplainRow, explain_tile
from pimjax.circuit.hermes import calibrated_tile, hermes_scales, hermes_tile
from pimjax.circuit.macros import Macro, MacroPrediction, predict_macro
from pimjax.circuit.programming import crossbar_write, expert_swap, model_load, sram_write
from pimjax.circuit.registers import register
from pimjax.circuit.sample_hold import sample_hold
from pimjax.circuit.sanity import checked_tile, refuse_impossible, tile_violations
from pimjax.circuit.tile import COMPUTE_KINDS, PARTS, TileCost, TileParameters, parametric_tile
from pimjax.circuit.uncertainty import Uncertainty, propagate_uncertainty
from pimjax.circuit.validity import outside_validity
from pimjax.circuit.zigzag_array import ZigzagArray, zigzag_array

__all__ = [
    "ADC_KINDS",
    "CATALOGUE",
    "CELL_KINDS",
    "COMPUTE_KINDS",
    "CONSTANTS",
    "DIGITAL_PARTS",
    "INPUT_KINDS",
    "PARTS",
    "PUBLISHED_ADCS",
    "Component",
    "ComponentInfo",
    "Constants",
    "ExplainRow",
    "Macro",
    "MacroPrediction",
    "Sourced",
    "TileCost",
    "TileParameters",
    "Uncertainty",
    "ZigzagArray",
    "accumulator_strip",
    "adc",
    "adc_hermes_cco",
    "adc_survey",
    "adc_table",
    "adc_zigzag",
    "adder_tree",
    "analog_mux",
    "bit_multiplier",
    "calibrated_tile",
    "catalogue_markdown",
    "cell",
    "checked_tile",
    "column_accumulation_ns",
    "crossbar_write",
    "dac_zigzag",
    "expert_swap",
    "explain_tile",
    "hermes_scales",
    "hermes_tile",
    "model_load",
    "nominal_constants",
    "outside_validity",
    "parametric_tile",
    "predict_macro",
    "propagate_uncertainty",
    "pulse_generator",
    "refuse_impossible",
    "register",
    "row_driver",
    "sample_hold",
    "shift_add",
    "sram_write",
    "tile_violations",
    "zigzag_array",
]
