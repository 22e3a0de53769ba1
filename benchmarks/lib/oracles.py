"""The one place through which benchmarks reach the oracles of the tests: plain NumPy programs that fast code is judged by."""

from __future__ import annotations

import sys

from benchmarks.lib.paths import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from oracles import crossbar, schedule
from oracles.event_loop import run_literally

__all__ = ["crossbar", "run_literally", "schedule"]
