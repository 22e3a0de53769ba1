"""Writing weights: programming a crossbar, loading a model, swapping an expert into a group."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from pimjax import checks
from pimjax.circuit.cell_array import LINE_CAPACITANCE
from pimjax.circuit.component import Component, component
from pimjax.circuit.constants import Constants, Real, sourced, value
from pimjax.errors import ConfigError

_JETCAS = "PCM programming 20-30 times slower than an MVM, doi 10.1109/JETCAS.2022.3170152 (unit not named there)"
PULSE_TIME_RATIO = sourced(
    "programming.row_pass_per_mvm", 25.0, "MVM times", low=20.0, high=30.0, quality="U", source=_JETCAS
)
PULSES = sourced(
    "programming.verify_passes", 10.0, "1", low=3.0, high=30.0, quality="U", source="assumed program-and-verify passes"
)
PULSE_ENERGY = sourced(
    "programming.pulse_energy_pj", 10.0, "pJ", low=1.0, high=100.0, quality="U", source="assumed, per device and pulse"
)
DEVICES_PER_CELL = sourced(
    "programming.devices_per_cell",
    4.0,
    "1",
    low=1.0,
    high=4.0,
    quality="M",
    source="HERMES cell: 4 PCM per weight, of which the weight's sign uses 2",
)


class WriteCost(NamedTuple):
    """Time [ns] and energy [nJ] of writing; the written crossbars do not compute meanwhile."""

    time_ns: Real
    energy_nj: Real


@component(
    "crossbar_write",
    action="programming all cells of one crossbar",
    node="PCM at 14 nm, not scaled",
    validity="row by row program-and-verify",
    source=_JETCAS + "; passes and pulse energy assumed",
    analog=True,
    constants=(PULSE_TIME_RATIO, PULSES, PULSE_ENERGY, DEVICES_PER_CELL),
)
def crossbar_write(
    *,
    rows: Real = 256.0,
    cols: Real = 256.0,
    mvm_latency_ns: Real = 130.0,
    devices_per_cell: Real = 4.0,
    constants: Constants | None = None,
) -> Component:
    """Program one crossbar: ``rows x passes x 25 t_mvm`` ns, every device pulsed once per pass. No area of its own.

    >>> unit = crossbar_write()
    >>> round(float(unit.latency_ns) * 1e-6, 2), round(float(unit.energy_nj) * 1e-3)  # ms, uJ
    (8.32, 26)
    """
    passes = value(PULSES, constants)
    time = rows * passes * value(PULSE_TIME_RATIO, constants) * mvm_latency_ns
    energy = rows * cols * devices_per_cell * passes * value(PULSE_ENERGY, constants) * 1e-3
    return Component(0.0, energy, time)


SRAM_WRITE = sourced(
    "programming.sram_write_ns",
    1.0,
    "ns",
    low=0.3,
    high=3.0,
    quality="U",
    source="assumed: one row in one cycle of 1 GHz",
)


@component(
    "sram_write",
    action="writing all cells of one digital macro",
    node="28 nm line capacitance, linear in the node",
    validity="one row per cycle",
    source="bit lines of a row swing fully: ZigZag-IMC line capacitance per cell; cycle assumed",
    analog=False,
    constants=(SRAM_WRITE, LINE_CAPACITANCE),
)
def sram_write(
    *,
    rows: Real = 256.0,
    cols: Real = 256.0,
    bits: Real = 8.0,
    node_nm: Real = 14.0,
    vdd_v: Real = 0.8,
    constants: Constants | None = None,
) -> Component:
    """Write one digital macro of `rows` x `cols` weights of `bits` bits, a row per cycle. No area of its own.

    >>> round(float(sram_write().latency_ns)), round(float(sram_write().energy_nj), 1)
    (256, 15.0)
    """
    line_fj = value(LINE_CAPACITANCE, constants) * (node_nm / 28.0) * vdd_v**2
    energy = rows * cols * bits * rows * line_fj * 1e-6  # every bit line runs past all rows
    return Component(0.0, energy, rows * value(SRAM_WRITE, constants))


@checks.checked(
    ConfigError,
    experts=checks.numbers(0),
    crossbars_per_expert=checks.numbers(0),
    write=checks.instance(Component, "a Component from crossbar_write"),
    parallel_crossbars=checks.numbers(0),
    weight_bytes=checks.numbers(0),
    dram_bytes_per_ns=checks.numbers(0, above=True),
    dram_nj_per_byte=checks.numbers(0),
)
def expert_swap(
    experts: Real,
    crossbars_per_expert: Real,
    write: Component,
    *,
    parallel_crossbars: Real = 0.0,
    weight_bytes: Real = 0.0,
    dram_bytes_per_ns: Real = 5.332,
    dram_nj_per_byte: Real = 0.0462678,
) -> WriteCost:
    """Replace `experts` experts of one group; they are written one after another and the group is blocked.

    Args:
      experts: experts of the group that are replaced.
      crossbars_per_expert: crossbars of one expert; they are programmed at the same time.
      write: cost of one crossbar, :func:`crossbar_write`.
      parallel_crossbars: crossbars that the supply can program at once; 0 means all of one expert.
      weight_bytes, dram_bytes_per_ns, dram_nj_per_byte: weights fetched for it, and the memory they come from; the
        fetch overlaps the programming (the longer of the two counts).

    >>> cost = expert_swap(1.0, 96.0, crossbar_write())
    >>> round(float(cost.time_ns) * 1e-6, 2), round(float(cost.energy_nj) * 1e-6, 2)  # ms, mJ
    (8.32, 2.52)
    """
    at_once = jnp.where(jnp.asarray(parallel_crossbars) > 0.0, parallel_crossbars, crossbars_per_expert)
    rounds = jnp.maximum(crossbars_per_expert / at_once, 1.0)
    programming = experts * rounds * write.latency_ns
    fetch = experts * weight_bytes / dram_bytes_per_ns
    energy = experts * (crossbars_per_expert * write.energy_nj + weight_bytes * dram_nj_per_byte)
    return WriteCost(jnp.maximum(programming, fetch), energy)


@checks.checked(
    ConfigError,
    crossbars=checks.numbers(0),
    write=checks.instance(Component, "a Component from crossbar_write"),
    parallel_crossbars=checks.numbers(0),
    weight_bytes=checks.numbers(0),
    dram_bytes_per_ns=checks.numbers(0, above=True),
    dram_nj_per_byte=checks.numbers(0),
)
def model_load(
    crossbars: Real,
    write: Component,
    *,
    parallel_crossbars: Real,
    weight_bytes: Real,
    dram_bytes_per_ns: Real = 5.332,
    dram_nj_per_byte: Real = 0.0462678,
) -> WriteCost:
    """Program a whole model of `crossbars`, `parallel_crossbars` at a time, while its bytes stream in.

    >>> cost = model_load(1000.0, crossbar_write(), parallel_crossbars=100.0, weight_bytes=65536e3)
    >>> round(float(cost.time_ns) * 1e-6, 1)  # ms
    83.2
    """
    return expert_swap(
        1.0,
        crossbars,
        write,
        parallel_crossbars=parallel_crossbars,
        weight_bytes=weight_bytes,
        dram_bytes_per_ns=dram_bytes_per_ns,
        dram_nj_per_byte=dram_nj_per_byte,
    )
