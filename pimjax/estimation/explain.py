"""Where an estimate comes from: what bounds the latency, every component's count, unit cost, share and source."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from pimjax.chips.multiplexed.core import tile_parameters
from pimjax.chips.multiplexed.geometry import geometry
from pimjax.chips.run_cost import COMPONENTS
from pimjax.circuit.explain import explain_tile
from pimjax.circuit.hermes import hermes_tile
from pimjax.circuit.programming import (
    PULSE_ENERGY,
    PULSE_TIME_RATIO,
    PULSES,
    crossbar_write,
    expert_swap,
    model_load,
)
from pimjax.circuit.validity import outside_validity
from pimjax.config.base import field_facts
from pimjax.config.build import build
from pimjax.config.config import Config
from pimjax.config.hardware import HardwareConfig
from pimjax.estimation.counted import Counted, counts
from pimjax.estimation.result import Estimate


class _Origin(NamedTuple):
    """Which hardware numbers set a component (names with energy or power its energy), and what it says of a run."""

    fields: tuple[str, ...]
    sentence: str


_ORIGIN: dict[str, _Origin] = {
    "passive": _Origin(("unit_power_w", "dram_idle_power_w"), "passive power"),
    "tier_linear": _Origin(
        ("mvm_latency_ns", "mvm_energy_nj"),
        "matrix-vector products: a faster or wider crossbar helps",
    ),
    "communication": _Origin(
        ("link_latency_ns_per_256", "link_energy_nj_per_256"),
        "transfers over links: faster links help",
    ),
    "layer_norm": _Origin(("norm_latency_ns_per_256", "norm_energy_nj_per_256"), "normalisation on digital units"),
    "digital_relu": _Origin(("relu_latency_ns", "relu_energy_nj_per_256"), "activation"),
    "digital_gelu": _Origin(("gelu_latency_ns_per_256", "gelu_energy_nj_per_256"), "activation"),
    "digital_swiglu": _Origin(("swiglu_latency_ns_per_256", "swiglu_energy_nj_per_256"), "activation"),
    "digital_add": _Origin(
        ("add_latency_ns_per_256", "add_latency_base_ns", "add_energy_nj_per_256", "num_digital_units"),
        "additions on digital units: more units, or accumulation beside the ADCs (plan.accumulate local), help",
    ),
    "multinomial": _Origin(("sampling_latency_ns",), "sampling"),
    "dram_kv": _Origin(
        ("dram_bandwidth_gb_per_s", "dram_active_power_w"),
        "reading keys and values: DRAM bandwidth or prefetch helps",
    ),
    "dram_go": _Origin(
        ("dram_bandwidth_gb_per_s", "dram_active_power_w"),
        "gate-output cache traffic: the threshold variant moves less",
    ),
    "mha_comp": _Origin(
        ("attention_latency_ns_per_pair", "attention_energy_nj_per_pair", "num_attention_units"),
        "attention: more attention units or another attention law help, not faster crossbars",
    ),
    "sharing_mux": _Origin(("mux_on_resistance_kohm", "line_capacitance_pf"), "settling of the sharing multiplexer"),
    "input_load": _Origin(
        ("input_links", "link_bandwidth_gb_per_s", "link_energy_nj_per_256"),
        "loading tokens: input links or a better schedule help",
    ),
    "local_accumulation": _Origin(
        ("accumulator_lanes", "accumulator_frequency_ghz", "add_energy_nj_per_256"), "local accumulation"
    ),
    "router": _Origin(("router_values_per_ns", "add_energy_nj_per_256"), "router on a digital unit"),
    "scheduler": _Origin(("scheduler_ns_per_token",), "computing the schedule"),
    "embedding": _Origin(("dram_bandwidth_gb_per_s", "dram_active_power_w"), "reading embeddings"),
    "sram": _Origin(("sram_bandwidth_gb_per_s", "sram_energy_pj_per_byte"), "on-chip cache accesses"),
    "crossbar_idle": _Origin(("idle_power_w_per_mm2",), "idle power of peripherals"),
    "moe_crossbars": _Origin(("core_area_mm2", "shareable_fraction", "mux_area_um2_per_line"), "experts' crossbars"),
    "dense_crossbars": _Origin(("core_area_mm2",), "all other crossbars"),
    "digital_units": _Origin(("num_digital_units", "digital_unit_area_mm2"), "digital units"),
    "attention_units": _Origin(("num_attention_units", "attention_unit_area_mm2"), "attention units"),
    "buffers": _Origin(("buffer_area_mm2_per_mb", "out_buffer_slots"), "buffers"),
}

_OF_THE_CORE = ("mvm_latency_ns", "mvm_energy_nj", "core_area_mm2", "shareable_fraction")
"""Numbers of the hardware section that a parametric core replaces."""

NOT_MODELLED = (
    "DRAM is off-chip: its area is not counted.",
    "The interconnect beyond the links (network on chip, links between dies) is not modelled.",
    "Writing weights is outside the run (they are resident): its time and energy are shown apart.",
)


def explain(config: Config, result: Estimate) -> dict[str, Any]:
    """Everything `pimjax estimate --explain` shows, as plain data.

    Returns:
        `tile`: parts of one crossbar core (count, unit cost, total, share, source); `weights`: what programming costs;
        `bounds`: components by share of the latency, with what would help; `latency_ns`, `energy_nj`, `area_mm2`: rows
        of component, count, counted (what a unit is), unit cost, total, share and source (`sources`: one by one), with
        count x unit cost = total; latency rows also have `busy`, which is count x unit cost, while `total` is what of
        it lies on the critical path; `assumptions`: numbers without a source, with the range that studies sweep;
        `not_modelled`: sentences.

    >>> from pimjax import load_config
    >>> from pimjax.estimation import estimate
    >>> config = load_config("paper_reference")
    >>> explain(config, estimate(config, fidelity="event"))["bounds"][0]["component"]
    'mha_comp'
    """
    latency = np.asarray(result.critical_ns)
    order = [index for index in np.argsort(-latency) if latency[index] > 0]
    bounds = [
        {
            "component": COMPONENTS[index],
            "ns": float(latency[index]),
            "share": float(latency[index] / max(float(result.latency_ns), 1e-300)),
            "meaning": _ORIGIN[COMPONENTS[index]].sentence,
        }
        for index in order
    ]
    units = counts(config, result)
    return {
        "bounds": bounds,
        "latency_ns": _rows(config, units, result.critical_ns, result.busy_ns),
        "energy_nj": _rows(config, units, result.component_energy_nj, of_energy=True),
        "area_mm2": _rows(config, units, result.component_area_mm2),
        "tile": tile_rows(config),
        "weights": weight_writing(config, result),
        "assumptions": assumptions(config),
        "not_modelled": list(NOT_MODELLED),
    }


def _rows(
    config: Config, units: dict[str, Counted], totals: Any, busy: Any = None, *, of_energy: bool = False
) -> list[dict[str, Any]]:
    """One row per component that is not zero; the unit cost is of `busy` where given, else of the total."""
    totals = np.asarray(totals)
    basis = totals if busy is None else np.asarray(busy)
    whole = float(totals.sum())
    rows = []
    for index in np.argsort(-totals):
        if totals[index] == 0:
            continue
        name = COMPONENTS[index]
        unit = units.get(name)
        sources = list(dict.fromkeys(_source(config, field) for field in _fields(name, of_energy)))
        row = {
            "component": name,
            "count": unit.count if unit else None,
            "counted": unit.what if unit else None,
            "unit_cost": float(basis[index]) / unit.count if unit else None,
            "total": float(totals[index]),
            "share": float(totals[index]) / whole if whole else 0.0,
            "source": "; ".join(sources),
            "sources": sources,
        }
        rows.append(row if busy is None else {**row, "busy": float(basis[index])})
    return rows


def _fields(component: str, of_energy: bool) -> tuple[str, ...]:
    """The numbers behind a component's energy, or behind its time or area; all of them where none is of that kind."""
    fields = _ORIGIN[component].fields
    chosen = tuple(name for name in fields if ("energy" in name or "power" in name) == of_energy)
    return chosen or fields


def _source(config: Config, name: str) -> str:
    if name in _OF_THE_CORE and config.chip_model == "multiplexed" and config.plan.tile == "parametric":
        return "computed from circuit parameters (plan.tile: parametric), see the crossbar core"
    noted = config.sources.get(f"hardware.{name}", {})
    facts = field_facts(HardwareConfig)[name]
    changed = getattr(config.hardware, name) != facts["default"] and not noted
    return f"{name} set by the user" if changed else noted.get("source") or facts["source"]


def assumptions(config: Config) -> list[dict[str, Any]]:
    """Hardware numbers in use that have no published source, each with the range that studies sweep."""
    rows = []
    for name, facts in field_facts(HardwareConfig).items():
        if facts["assumed"]:
            noted = config.sources.get(f"hardware.{name}", {})
            rows.append(
                {
                    "key": f"hardware.{name}",
                    "value": getattr(config.hardware, name),
                    "unit": facts["unit"],
                    "range": noted.get("range") or facts["spread"],
                    "meaning": facts["about"],
                    "source": noted.get("source") or facts["source"],
                }
            )
    return rows


def tile_rows(config: Config) -> dict[str, Any]:
    """Parts of one crossbar core and one product on it: `kind` ("parametric": what the run uses; "calibrated": the
    parametric model at the measured core, whose totals the run takes from the hardware section), `parts`, and
    `outside_validity`: sentences on components of a parametric core that leave their stated range.

    >>> sum(row["area_share"] for row in tile_rows(Config())["parts"]) > 0.999
    True
    """
    if config.chip_model == "multiplexed" and config.plan.tile == "parametric":
        kind = "parametric"
        with jax.enable_x64(True):
            parameters = jax.tree.map(np.asarray, tile_parameters(build(config)[0]))
    else:
        kind, parameters = "calibrated", hermes_tile()
    parts = []
    for row in explain_tile(parameters):
        parts.append({**row._asdict(), "unverified": list(row.unverified)})
    outside = outside_validity(parameters) if kind == "parametric" else ()
    return {"kind": kind, "parts": parts, "outside_validity": list(outside)}


def weight_writing(config: Config, result: Estimate) -> dict[str, Any]:
    """Programming: one crossbar, one expert swapped into its group (the group is blocked), the whole model [ns, nJ].

    An expert's crossbars are programmed at the same time; the model expert by expert, every other crossbar likewise.

    >>> from pimjax import load_config
    >>> from pimjax.estimation import estimate
    >>> config = load_config("paper_reference")
    >>> round(weight_writing(config, estimate(config, fidelity="event"))["crossbar"]["time_ns"] * 1e-6, 2)  # ms
    8.32
    """
    hardware = config.hardware
    constants = {
        PULSE_TIME_RATIO.name: hardware.program_pulse_mvms,
        PULSES.name: hardware.program_verify_passes,
        PULSE_ENERGY.name: hardware.program_pulse_energy_pj,
    }
    write = crossbar_write(
        rows=hardware.crossbar_rows,
        cols=hardware.crossbar_cols,
        mvm_latency_ns=hardware.mvm_latency_ns,
        constants=constants,
    )
    memory = {
        "dram_bytes_per_ns": hardware.dram_bandwidth_gb_per_s,
        "dram_nj_per_byte": hardware.dram_active_power_w / hardware.dram_bandwidth_gb_per_s,
    }
    with jax.enable_x64(True):
        per_expert = float(np.asarray(geometry(build(config)[0]).expert_tiles))
    crossbars, cells = float(np.asarray(result.crossbars)), hardware.crossbar_rows * hardware.crossbar_cols
    swap = expert_swap(1.0, per_expert, write, weight_bytes=per_expert * cells, **memory)
    whole = model_load(crossbars, write, parallel_crossbars=per_expert, weight_bytes=crossbars * cells, **memory)

    def plain(time: Any, energy: Any, **more: Any) -> dict[str, Any]:
        return {"time_ns": float(np.asarray(time)), "energy_nj": float(np.asarray(energy)), **more}

    return {
        "crossbar": plain(write.latency_ns, write.energy_nj, crossbars=1.0),
        "expert_swap": plain(*swap, crossbars=per_expert),
        "model_load": plain(*whole, crossbars=crossbars, at_once=per_expert),
    }
