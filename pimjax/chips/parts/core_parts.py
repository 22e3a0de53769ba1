"""Parts of a crossbar core for people: what one core and one product on it consist of.

`kind` "parametric": what the run uses; "calibrated": the parametric model at the measured core, whose totals the run
takes from the hardware section. `outside_validity`: sentences on components that leave their stated range.
"""

from __future__ import annotations

from typing import Any

from pimjax.circuit.explain import explain_tile
from pimjax.circuit.hermes import hermes_tile
from pimjax.circuit.tile import TileParameters


def parts_of(parameters: TileParameters) -> list[dict[str, Any]]:
    """Rows of a core's parts: count, unit cost, total, share, source."""
    return [{**row._asdict(), "unverified": list(row.unverified)} for row in explain_tile(parameters)]


def measured_core() -> dict[str, Any]:
    """The HERMES core, part by part.

    >>> measured_core()["kind"]
    'calibrated'
    """
    return {"kind": "calibrated", "parts": parts_of(hermes_tile()), "outside_validity": []}
