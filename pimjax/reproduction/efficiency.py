"""The claim of 15.6 GOPS/W/mm2, of which the paper says neither the area nor the operations: every reading by its name."""

from __future__ import annotations

from typing import Any

from pimjax.config import load_config
from pimjax.reproduction.lines import published

#: What each key counts, and over which area.
READINGS = {
    "chip_gops_per_w_per_mm2_of_chip": "the whole run's operations and energy over the whole chip",
    "expert_gops_per_w_per_mm2_of_experts": "the experts' operations and energy, their wires left out, over the experts' area",
    "chip_gops_per_w_per_mm2_of_experts": "the authors' mixture: the whole run's operations and energy over the experts' area",
}
_GROUP_SIZES = {"1": 1, "S2O": 2, "S4O": 4}


def area_factor(group_size: int) -> float:
    """The paper's area of the MoE part relative to no sharing, 0.2 + 0.8/g.

    >>> area_factor(4)
    0.4
    """
    return 0.2 + 0.8 / group_size


def expert_pass(group_size: int) -> dict[str, float]:
    """Operations, energy and area of one expert pass on the authors' chip.

    Energy: its products, scaled by 0.2 + 0.8/g as the authors do, two hops each on the links, the additions of partial
    sums, its activation (constants of the authors' simulator, `paper_reference`).

    >>> found = expert_pass(2)
    >>> round(found["flops"] / 1e6, 2), round(found["gops_per_w"] / 1e3, 2)  # MFLOP, TOPS/W
    (11.27, 15.59)
    """
    config = load_config("paper_reference")
    hardware: Any = config.hardware
    model = config.model
    width, hidden = model.d_model, model.d_ff
    rows, columns = -(-width // int(hardware.crossbar_rows)), -(-hidden // int(hardware.crossbar_cols))
    crossbars = 2 * rows * columns  # up and down
    additions = (rows - 1) * columns + (columns - 1) * rows
    energy = (
        crossbars * hardware.mvm_energy_nj * area_factor(group_size)
        + 2 * crossbars * hardware.link_energy_nj_per_256 * hardware.crossbar_cols / 256
        + additions * hardware.add_energy_nj_per_256 * hardware.crossbar_cols / 256
        + hardware.relu_energy_nj_per_256 * hidden / 256
    )
    flops = 4.0 * width * hidden
    return {
        "flops": flops,
        "energy_nj": energy,
        "gops_per_w": flops / energy,
        "expert_area_mm2": model.num_experts * crossbars * hardware.core_area_mm2 * area_factor(group_size),
    }


def authors_readings(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Every reading of three of the authors' runs, by name of the run.

    Args:
        rows: lines by name, each with `flops`, `energy_nj` and `area_mm2` of the most exact fidelity.
    """
    useful, chip_area = rows["prefill 1"]["flops"], rows["prefill 1"]["area_mm2"]
    target, out = published()["claims"]["gops_per_w_per_mm2"], {}
    for name, size in _GROUP_SIZES.items():
        one = expert_pass(size)
        chip = useful / rows[f"prefill {name}"]["energy_nj"]
        area = chip_area - (expert_pass(1)["expert_area_mm2"] - one["expert_area_mm2"])
        out[name] = {
            "chip_gops_per_w": chip,
            "expert_gops_per_w": one["gops_per_w"],
            "chip_area_mm2": area,
            "expert_area_mm2": one["expert_area_mm2"],
            "chip_gops_per_w_per_mm2_of_chip": chip / area,
            "expert_gops_per_w_per_mm2_of_experts": one["gops_per_w"] / one["expert_area_mm2"],
            "chip_gops_per_w_per_mm2_of_experts": chip / one["expert_area_mm2"],
            "area_that_gives_the_published_value_mm2": chip / target,
        }
    return out


def efficiency_claim(rows: dict[str, dict[str, Any]], chip: dict[str, float]) -> dict[str, Any]:
    """The claim: every reading by its name, and the one without an area that comes to the published digits."""
    authors, one = authors_readings(rows), expert_pass(2)
    mixture = "chip_gops_per_w_per_mm2_of_experts"
    return {
        "name": "gops_per_w_per_mm2",
        "published": published()["claims"]["gops_per_w_per_mm2"],
        "authors_method": authors["1"][mixture],
        "multiplexed": chip[mixture],
        "meaning": "the paper names neither area nor operations, and no combination gives its number; this value is the "
        "authors' mixture, nothing shared in their method; all readings by name in by_area",
        "by_area": {
            key: {"authors_method": authors["1"][key], "multiplexed": chip[key], "meaning": meaning}
            for key, meaning in READINGS.items()
        },
        "reading_without_area": {
            "tops_per_w": one["gops_per_w"] / 1e3,
            "mflop": one["flops"] / 1e6,
            "energy_nj": one["energy_nj"],
            "meaning": "one expert pass in groups of two by the authors' energy rule (factor 0.6), over no area; a reading, not a claim",
        },
        "terms": {"authors_runs": authors, "multiplexed_chip": chip},
    }
