"""What a configuration accepts, the crossbar numerics can run: configurations drawn at the limits of both."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import pimjax
from pimjax.numerics.from_config import crossbar_from_config

_FIELDS = pimjax.Config().numerics


def _ends(section: type, name: str) -> list[int]:
    """Smallest and largest accepted value of a field."""
    found = [m for m in section.model_fields[name].metadata]
    low = next(m.ge for m in found if hasattr(m, "ge"))
    high = next(m.le for m in found if hasattr(m, "le"))
    return [int(low), int(high)]


NUMERICS, HARDWARE = type(_FIELDS), type(pimjax.Config().hardware)
CASES = list(
    itertools.product(
        _ends(NUMERICS, "weight_bits"),
        _ends(NUMERICS, "input_bits"),
        _ends(NUMERICS, "cell_bits"),
        _ends(NUMERICS, "cycle_bits"),
        _ends(HARDWARE, "adc_bits"),
        ("differential", "offset", "sliced"),
        ("pwm", "serial"),
        ("sign_magnitude", "offset"),
    )
)


@pytest.mark.parametrize("seed", range(3))
def test_configurations_at_the_limits_run(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ran = 0
    for index in rng.choice(len(CASES), 40, replace=False):
        weight, inputs, cell, cycle, adc, weights_as, inputs_as, signs = CASES[index]
        values = {
            "numerics.weight_bits": weight, "numerics.input_bits": inputs, "numerics.cell_bits": cell,
            "numerics.cycle_bits": cycle, "hardware.adc_bits": adc, "numerics.weight_encoding": weights_as,
            "numerics.input_encoding": inputs_as, "numerics.signed_inputs": signs,
            "hardware.crossbar_rows": 8, "hardware.crossbar_cols": 8, "plan.tile": "parametric",
        }  # fmt: skip
        try:
            config = pimjax.load_config("paper_multiplexed", values)
        except pimjax.ConfigError:
            continue  # refused where it is loaded, with a sentence
        crossbar = crossbar_from_config(config)
        if ran < 4:  # a few products: every combination of slices and cycles is a program of its own
            out = pimjax.crossbar_mvm(np.full((3, 8), 0.5, np.float32), np.full((8, 2), -0.25, np.float32), crossbar)
            assert np.isfinite(np.asarray(out)).all()
        ran += 1
    assert ran >= 10
