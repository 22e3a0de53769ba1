"""Random valid hardware: closed estimates are finite, not negative, and move the way physics says when a number moves.

What a number does is told by its unit: times make a run slower, rates and counts of units make it no slower, energies
and areas add up. Exceptions are named with their reasons.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pimjax
from pimjax.chips import CHIPS
from pimjax.circuit.sanity import least_cost
from pimjax.config.system import PREFIX
from pimjax.status import IMPOSSIBLE, NON_FINITE

POINTS = 200
#: unit -> (figure, sign of its change when the number grows)
BY_UNIT = {
    "ns": ("latency_ns", 1), "kOhm": ("latency_ns", 1), "pF": ("latency_ns", 1), "GB/s": ("latency_ns", -1), "GHz": ("latency_ns", -1),
    "1/ns": ("latency_ns", -1), "units": ("latency_ns", -1), "lanes": ("latency_ns", -1), "nJ": ("energy_nj", 1), "pJ": ("energy_nj", 1),
    "W": ("energy_nj", 1), "W/mm2": ("energy_nj", 1), "mm2": ("area_mm2", 1), "um2": ("area_mm2", 1), "mm2/MB": ("area_mm2", 1),
}  # fmt: skip
#: numbers whose unit says something else of them, or more
ALSO = {
    "num_digital_units": [("area_mm2", 1)],
    "num_attention_units": [("area_mm2", 1)],
    "shareable_fraction": [("area_mm2", -1)],
    "accumulator_lanes": [("area_mm2", 1)],
}
EXCEPTIONS = {
    "unit_power_area_mm2": "the area that a power is stated for: more area for the same power is less power, and no area",
    "reticle_area_mm2": "the largest die: decides how many dies there are, not their area",
    "crossbar_rows": "blocks of another size leave other crossbars partly empty",
    "crossbar_cols": "blocks of another size leave other crossbars partly empty",
    "adc_bits": "a setting of the parametric tile and of accuracy",
    "columns_per_adc": "a setting of the parametric tile: time against area",
    "node_nm": "a setting of the parametric tile",
    "supply_v": "a setting of the parametric tile: time against energy",
    "gated_power_w_per_mm2": "from the idle power on nothing is ever gated, so that no expert waits for its group to wake up",
    "sram_cache_bytes": "a cache that is slower than the DRAM makes a run slower",
}
#: (chip, number, figure) -> how far it may move the other way, and why
ALLOWED = {
    ("reference", "add_latency_base_ns", "latency_ns"): (0.002, "the same rounds (0.1 % seen)"),
    ("reference", "num_digital_units", "latency_ns"): (
        0.01, "the authors' units work in rounds, whose last one the closed form fills on average (0.4 % seen)",
    ),
}  # fmt: skip
#: Without a system: what grows the silicon moves the borders of dies, so that more units may send more tokens over links. What
#: numbers of a system do is in test_multiplexed_limits.py.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "reference": ("paper_reference", {}),
    "multiplexed": ("paper_multiplexed", {"system": "none", "model.activation": "swiglu"}),
    "multiplexed, parametric": ("paper_multiplexed", {"system": "none", "plan.tile": "parametric"}),
}
RUN = {
    "workload.prompt_tokens": 5, "workload.generated_tokens": 3, "workload.kv_cache": True, "model.d_model": 512, "model.d_ff": 300,
    "model.num_layers": 2, "model.num_heads": 4, "model.vocab_size": 1000,
}  # fmt: skip


def drawn(config: pimjax.Config, seed: int) -> dict[str, np.ndarray]:
    """Hardware numbers `[POINTS]` that the section accepts, far around what they are."""
    chip = CHIPS[config.chip_model]
    random = np.random.default_rng(seed)
    values: dict[str, np.ndarray] = {}
    for name, info in chip.hardware.model_fields.items():
        value, facts = getattr(config.hardware, name), info.json_schema_extra
        if (
            value is None
            or name in chip.input_fields
            or name.startswith(PREFIX)
            or (config.plan.tile == "parametric" and facts["unit"] in ("nm", "V", "bit"))
        ):
            continue  # no limit; a schedule of its own for each value; the converters' own ranges
        scale = np.exp(random.uniform(-2.3, 2.3, POINTS))
        new = np.where(random.random(POINTS) < 0.3, value, (value or 0.01) * scale)
        low = max([getattr(bound, "ge", -np.inf) for bound in info.metadata if hasattr(bound, "ge")], default=0.0)
        high = min([bound.le for bound in info.metadata if hasattr(bound, "le")], default=np.inf)
        new = np.clip(np.maximum(np.round(new), 1) if facts["whole"] else new, low, high)
        values[name] = new
    for lane in range(POINTS):  # valid by the configuration's own word
        chip.hardware.model_validate({name: float(column[lane]) for name, column in values.items()})
    return values


def moves(config: pimjax.Config, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Number -> its larger values, for every number that something is said of."""
    found = {}
    for name, column in values.items():
        info = CHIPS[config.chip_model].hardware.model_fields[name]
        facts = info.json_schema_extra
        said = (facts["unit"] in BY_UNIT and name not in EXCEPTIONS) or name in ALSO
        if said:
            high = min([bound.le for bound in info.metadata if hasattr(bound, "le")], default=np.inf)
            found[name] = np.minimum(2 * column if facts["whole"] else 1.5 * column, high)
    return found


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_random_hardware(case: str, seed: int) -> None:
    preset, changes = CASES[case]
    config = pimjax.load_config(preset, RUN | changes)
    values = drawn(config, seed)
    larger = moves(config, values)
    lanes = {name: np.tile(column, 1 + len(larger)) for name, column in values.items()}
    for at, (name, column) in enumerate(larger.items(), 1):
        lanes[name][at * POINTS : (at + 1) * POINTS] = column
    design = pimjax.build(config)[0].set({f"hardware.{name}": column for name, column in lanes.items()})
    scalars = [
        "latency_ns",
        "energy_nj",
        "area_mm2",
        "flops",
        "power_w",
        "edp_nj_ns",
        "tokens_per_s",
        "crossbars",
        "dies",
    ]
    fields = [*scalars, "busy_ns", "component_energy_nj", "component_area_mm2", "op_counts", "peak_memory_bytes"]
    found = pimjax.estimate_batch(design, precision="float64", fields=fields)
    for name in fields:
        figures = np.asarray(getattr(found, name))
        assert np.isfinite(figures).all(), name
        assert (figures >= 0).all(), name
    if config.plan.tile != "parametric":  # a core from the circuits knows limits of its own
        assert not (found.status & NON_FINITE).any()
        beyond = np.zeros(len(found.status), bool)
        if config.chip_model == "multiplexed":  # a measured core that no circuit of its size can be
            least = least_cost(lanes["crossbar_rows"], lanes["crossbar_cols"], lanes["node_nm"])
            own = (lanes[name] for name in ("mvm_latency_ns", "mvm_energy_nj", "core_area_mm2"))
            beyond = np.any([figure < limit for figure, limit in zip(own, least, strict=True)], axis=0)
        np.testing.assert_array_equal((np.asarray(found.status)[:, 0] & IMPOSSIBLE) > 0, beyond)
    wrong = []
    for at, name in enumerate(larger, 1):
        unit = CHIPS[config.chip_model].hardware.model_fields[name].json_schema_extra["unit"]
        for figure, sign in [
            *([BY_UNIT[unit]] if unit in BY_UNIT and name not in EXCEPTIONS else []),
            *ALSO.get(name, []),
        ]:
            before, after = (getattr(found, figure)[begin : begin + POINTS, 0] for begin in (0, at * POINTS))
            allowed = ALLOWED.get((config.chip_model, name, figure), (1e-9, ""))[0]
            bad = sign * (after - before) < -allowed * np.abs(before)
            if bad.any():
                lane = int(np.argmax(bad))
                wrong.append(
                    f"{name} {values[name][lane]:g} -> {larger[name][lane]:g}: {figure} {before[lane]:.12g} -> {after[lane]:.12g}"
                )
    assert not wrong, "\n".join(wrong)


def test_exceptions_name_numbers_that_exist() -> None:
    known = {name for chip in ("multiplexed", "reference") for name in CHIPS[chip].hardware.model_fields}
    assert set(EXCEPTIONS) | set(ALSO) <= known
