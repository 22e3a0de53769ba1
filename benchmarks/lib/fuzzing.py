"""The one place through which benchmarks reach the fuzzer of the tests (tests/fuzz)."""

from __future__ import annotations

import sys

from benchmarks.lib.paths import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from fuzz.classes import classes
from fuzz.runner import run_class

__all__ = ["classes", "run_class"]
