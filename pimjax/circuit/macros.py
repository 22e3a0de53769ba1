"""From the description of a fabricated macro to predicted TOPS, TOPS/W, TOPS/mm2, area and latency."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from pimjax import checks
from pimjax.circuit.adc import ADC_KINDS
from pimjax.circuit.cell_array import CELL_KINDS
from pimjax.circuit.component import CONSTANTS_RULE
from pimjax.circuit.constants import Constants
from pimjax.circuit.drivers import INPUT_KINDS
from pimjax.circuit.hermes import hermes_tile
from pimjax.circuit.sar_timing import sar_rate_gsps
from pimjax.circuit.tile import COMPUTE_KINDS, TileParameters, compiled_tile
from pimjax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Macro:
    """What a paper says about its macro before any measured cost; see :class:`TileParameters` for the terms.

    Attributes:
      cols: converted outputs side by side; a position holds `cell_bits` bits that merge in analog before conversion.
      outputs_per_column: multi-bit outputs per converted column, 1/8 when 8 one-bit columns make one 8-bit weight.
      input_kind: one of ``INPUT_KINDS``.
      cell_group: stored positions that take turns at each computing one; `rows` and `cols` count the computing ones.
      compute: one of ``COMPUTE_KINDS``; digital macros have no converters, and `cell_bits` are the bits of a weight.
      product_bits: digital: bits of a cycle that one product takes, 2 with radix-4 Booth recoding.
      macs_per_row: multiply-accumulates per driven row, 1/2 when a weight is a pair of rows.
      phases: how often the whole read is repeated per MVM.
      arrays: arrays on the macro.
    """

    name: str
    cell_kind: str
    node_nm: float
    vdd_v: float
    rows: float
    cols: float
    input_bits: float
    cycle_bits: float
    adc_bits: float
    input_kind: str = "voltage"
    cell_bits: float = 1.0
    cell_group: float = 1.0
    active_rows: float | None = None
    columns_per_adc: float = 1.0
    input_activity: float = 0.5
    arrays: float = 1.0
    outputs_per_column: float = 1.0
    macs_per_row: float = 1.0
    phases: float = 1.0
    compute: str = "analog"
    product_bits: float = 1.0

    def parameters(self, adc_kind: str = "survey") -> TileParameters:
        """The tile's parameters with converters of `adc_kind`; ``"hermes_cco"`` brings the HERMES scales along."""
        if self.compute not in COMPUTE_KINDS:
            raise ConfigError(f"{self.name}: compute {self.compute!r} is unknown; allowed: {', '.join(COMPUTE_KINDS)}")
        chosen = ((adc_kind, ADC_KINDS), (self.cell_kind, CELL_KINDS), (self.input_kind, INPUT_KINDS))
        for kind, kinds in chosen:
            if kind not in kinds:
                raise ConfigError(f"{self.name}: kind {kind!r} is unknown; allowed: {', '.join(kinds)}")
        analog = self.compute == "analog"
        base = hermes_tile() if adc_kind == "hermes_cco" and analog else TileParameters()
        return dataclasses.replace(
            base,
            rows=self.rows,
            cols=self.cols,
            active_rows=self.rows if self.active_rows is None else self.active_rows,
            input_bits=self.input_bits,
            cycle_bits=self.cycle_bits,
            input_kind=float(INPUT_KINDS.index(self.input_kind)),
            cell_bits=self.cell_bits,
            cell_group=self.cell_group,
            product_bits=self.product_bits,
            compute=self.compute,
            cell_kind=float(CELL_KINDS.index(self.cell_kind)),
            adc_bits=self.adc_bits,
            columns_per_adc=self.columns_per_adc,
            adc_rate_gsps=sar_rate_gsps(self.adc_bits),
            adc_kind=float(ADC_KINDS.index(adc_kind)),
            node_nm=self.node_nm,
            vdd_v=self.vdd_v,
            input_activity=self.input_activity,
        )


class MacroPrediction(NamedTuple):
    """Predicted figures; `cycle_ns` is one input cycle of one row group, `latency_ns` a full-precision MVM."""

    tops: float
    tops_per_w: float
    tops_per_mm2: float
    area_mm2: float
    latency_ns: float
    cycle_ns: float
    energy_nj: float


@checks.checked(ConfigError, macro=checks.instance(Macro, "a Macro"), adc_kind=checks.text, constants=CONSTANTS_RULE)
def predict_macro(macro: Macro, adc_kind: str = "survey", constants: Constants | None = None) -> MacroPrediction:
    """Predict a macro from its description alone. Host, float64; one MAC is two operations.

    >>> chip = Macro("core", "pcm_8t4r", 14.0, 0.8, 256.0, 256.0, 8.0, 8.0, 8.0)
    >>> round(predict_macro(chip, "hermes_cco").tops_per_w, 2)
    10.5
    """
    parameters = macro.parameters(adc_kind)
    with jax.enable_x64(True):
        cost = compiled_tile(parameters, exact=True, constants=constants)
        energy, latency, area = (float(x) for x in (cost.mvm_energy_nj, cost.mvm_latency_ns, cost.core_area_mm2))
    energy, latency = energy * macro.phases, latency * macro.phases
    macs = macro.rows * macro.macs_per_row * macro.cols * macro.outputs_per_column
    operations = 2.0 * macs
    reads = np.ceil(macro.input_bits / macro.cycle_bits)
    reads *= np.ceil(macro.rows / (macro.active_rows or macro.rows))
    tops = macro.arrays * operations / latency * 1e-3
    return MacroPrediction(
        tops=tops,
        tops_per_w=operations / energy * 1e-3,
        tops_per_mm2=tops / (macro.arrays * area),
        area_mm2=macro.arrays * area,
        latency_ns=latency,
        cycle_ns=latency / (macro.phases * float(reads) * macro.columns_per_adc),
        energy_nj=energy,
    )
