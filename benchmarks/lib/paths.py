"""Where things lie: the repository, results, goldens, pages, images, and the folder of real routing traces."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Results as committed; what reads published numbers reads these.
COMMITTED = ROOT / "benchmarks" / "results"
#: Where scripts write: the committed results, or another folder for a trial run.
RESULTS = Path(os.environ.get("PIMJAX_BENCHMARK_RESULTS", COMMITTED))
GOLDEN = ROOT / "tests" / "golden"
DOCS = ROOT / "docs"
IMAGES = DOCS / "images"
#: Decoding traces of GPT-OSS-20B: 57 requests, 24 layers, 32 experts.
DECODE_TRACES = "gptoss20b-decode.npz"


def trace_folder() -> Path:
    """Folder of real routing traces: environment variable `PIMJAX_TRACES`, default beside the repository."""
    return Path(os.environ.get("PIMJAX_TRACES", ROOT.parent / "shared" / "traces"))


def need_decode_traces() -> Path:
    """The file of real decoding traces; the script ends, saying what to set, where it is missing."""
    path = trace_folder() / DECODE_TRACES
    if not path.is_file():
        raise SystemExit(f"no real traces at {trace_folder()}: set PIMJAX_TRACES to the folder that holds {path.name}")
    return path
