"""Where an estimate comes from: what bounds the latency, every component's count, unit cost, share and source.

Made from the chip's ledger (:mod:`pimjax.chips.ledger`); nothing here knows a chip.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.chips import CHIPS, Chip, Counted
from pimjax.chips.ledger import every_read
from pimjax.config.base import field_facts
from pimjax.config.config import Config
from pimjax.estimation.result import Estimate


def explain(config: Config, result: Estimate) -> dict[str, Any]:
    """Everything `pimjax estimate --explain` shows, as plain data.

    Returns:
        `bounds`: components by share of the latency, with their plain names and what would help; `latency_ns`, `energy_nj`, `area_mm2`: rows
        of component, plain name, count, counted (what a unit is), unit cost, total, share and source (`sources`: one by one), with
        count x unit cost = total; latency rows also have `busy`, which is count x unit cost, while `total` is what of
        it lies on the critical path; `assumptions`: numbers in use without a source, with the range that studies sweep;
        and what the chip adds: `not_modelled` (sentences), `tile` (parts of one crossbar core), `weights` (programming),
        `heat` (a die that works as much as it can).

    >>> from pimjax import load_config
    >>> from pimjax.estimation import estimate
    >>> config = load_config("paper_reference")
    >>> explain(config, estimate(config, fidelity="event"))["bounds"][0]["component"]
    'mha_comp'
    """
    chip = CHIPS[config.chip_model]
    names = result.components
    latency = np.asarray(result.critical_ns)
    bounds = [
        {
            "component": names[index],
            "plain": chip.spec(names[index]).plain,
            "ns": float(latency[index]),
            "share": float(latency[index] / max(float(result.latency_ns), 1e-300)),
            "meaning": chip.spec(names[index]).sentence,
        }
        for index in np.argsort(-latency)
        if latency[index] > 0
    ]
    units = counts(config, result)
    return {
        "bounds": bounds,
        "latency_ns": _rows(config, chip, units, result.critical_ns, "time", result.busy_ns),
        "energy_nj": _rows(config, chip, units, result.component_energy_nj, "energy"),
        "area_mm2": _rows(config, chip, units, result.component_area_mm2, "area"),
        "assumptions": assumptions(config),
        "not_modelled": [],
        **chip.details(config, result),
    }


def counts(config: Config, result: Estimate) -> dict[str, Counted]:
    """Units of every component that the run has; a component without any is left out.

    >>> from pimjax.config.loader import load_config
    >>> from pimjax.estimation import estimate
    >>> config = load_config("paper_reference")
    >>> counts(config, estimate(config, fidelity="event"))["tier_linear"]
    Counted(count=48080.0, what='products')
    """
    chip = CHIPS[config.chip_model]
    operations = dict(zip(result.op_kinds, np.asarray(result.op_counts, float), strict=True))
    found = {}
    for name, given in chip.counted(config, result).items():
        found[name] = Counted(given.count, given.what or chip.spec(name).counted)
    for spec in chip.components:
        if spec.kinds:
            found[spec.name] = Counted(float(sum(operations[kind] for kind in spec.kinds)), spec.counted)
    return {name: counted for name, counted in found.items() if counted.count > 0}


def _rows(
    config: Config, chip: Chip, units: dict[str, Counted], totals: Any, quantity: str, busy: Any = None
) -> list[dict[str, Any]]:
    """One row per component that is not zero; the unit cost is of `busy` where given, else of the total."""
    totals = np.asarray(totals)
    basis = totals if busy is None else np.asarray(busy)
    whole = float(totals.sum())
    rows = []
    for index in np.argsort(-totals):
        if totals[index] == 0:
            continue
        spec = chip.spec(chip.component_names[index])
        unit = units.get(spec.name)
        keys = [read.key for read in getattr(spec, quantity) if read.is_active(config)]
        hardware = [key.removeprefix("hardware.") for key in keys if key.startswith("hardware.")]
        sources = list(dict.fromkeys(_source(config, chip, spec.name, name) for name in hardware))
        row = {
            "component": spec.name,
            "plain": spec.plain,
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


def _source(config: Config, chip: Chip, component: str, name: str) -> str:
    own = chip.source_of(config, component, name)
    if own is not None:
        return own
    noted = config.sources.get(f"hardware.{name}", {})
    facts = field_facts(chip.hardware)[name]
    changed = getattr(config.hardware, name) != facts["default"] and not noted
    return f"{name} set by the user" if changed else noted.get("source") or facts["source"]


def assumptions(config: Config) -> list[dict[str, Any]]:
    """Hardware numbers that the chip reads and that have no published source, each with the range that studies sweep."""
    rows, chip = [], CHIPS[config.chip_model]
    known = {read.key for _, read, _ in every_read(chip)}
    for name, facts in field_facts(chip.hardware).items():
        if f"hardware.{name}" not in known:
            continue
        noted = config.sources.get(f"hardware.{name}", {})
        if noted.get("assumed", facts["assumed"]):
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
