"""A slice of the fuzzer: every class of hostile inputs ends in a result or in one sentence, and soon.

The long run is benchmarks/validation/fuzz.py.
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from fuzz.classes import classes
from fuzz.runner import FuzzClass, NotPhysical, run_class
from pimjax.errors import ConfigError

CLASSES = classes()
EXAMPLES = 40  # of a class of weight 1


@pytest.mark.parametrize("name", CLASSES)
def test_hostile_inputs(name: str) -> None:
    if name in ("sweep_folder", "checkpoint"):
        pytest.importorskip("pyarrow")
        pytest.importorskip("orbax.checkpoint")
    tally = run_class(CLASSES[name], max(8, round(EXAMPLES * CLASSES[name].weight)))
    assert not tally.faults, "\n".join(tally.faults[:8])
    assert tally.inputs == tally.accepted + tally.refused
    assert tally.accepted or CLASSES[name].name in (
        "npy_bytes",
        "npz_bytes",
        "json_bytes",
    )  # a changed byte is rarely right


def test_the_fuzzer_sees_faults() -> None:
    def run(value: int, folder: object) -> None:
        if value % 4 == 0:
            raise ConfigError("two\nlines")
        if value % 4 == 1:
            raise ZeroDivisionError
        if value % 4 == 2:
            raise NotPhysical("latency is 0")

    tally = run_class(FuzzClass("own", "", st.integers(0, 7), run), 60)
    assert tally.unexpected
    assert tally.not_physical
    assert tally.accepted
    assert len(tally.faults) == tally.unexpected + tally.not_physical
