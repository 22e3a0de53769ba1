"""Write docs/gpu-chip.md: what the GPU model is, and its errors from the committed fit and the serving runs.

python benchmarks/pages/gpu_chip.py [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.paths import DOCS

PAGE = DOCS / "gpu-chip.md"
RESULTS = Path(__file__).resolve().parents[1] / "results"
TEXT = """# The GPU

`chip_model: gpu` estimates what a GPU takes for the same model, requests and routing: presets `h100`, `h200`, `b200`.

Operators follow each other on one stream; each takes a fixed time and the longer of its memory traffic and its arithmetic,
plus a fitted part of the shorter. What is particular:

- *Experts* (`pimjax/chips/gpu/operators/experts.py`): from the loads of the real routing. The weights of every distinct
  expert are read once, or once per tile of rows where a matrix does not fit the cache and the kernel does not group tiles;
  a tile that is not full costs as much as a full one. A batch of the same size with other experts takes another time.
- *Dense products* (`products.py`): whole tiles; a pass of the wave of tiles that is not full.
- *Attention* (`attention.py`): blocks of 128 positions, windows, grouped-query heads, the latent of MLA.
- *Several GPUs* (`hardware.gpus`): tensor parallel, two sums over all GPUs per layer. Experts are split, not dealt out.
- *Power*: idle power all the time, more while traffic or arithmetic is under way. The three powers are assumptions with
  ranges, which `--explain` lists: nothing here was measured, so energies are no better than they are. Of the B200 the area,
  the cache and the multiprocessors are assumptions too.
- *Tiles*: the Triton kernel's as vLLM's default configuration is described publicly; not checked against a version. Kernels of
  TensorRT-LLM are assumed to choose by the mean load.
- *Cache*: `experts_cached_fraction` is above 1 (3.2 caches on an H100). It is an effective size, fitted: presumably tiles under way
  together share the part of a matrix that they read, so that one of several caches' size still comes from memory once.
  Presets have one number for 16 and 8 bits, the 16-bit kernel's; the errors of `fp8_block` below are with its own.

Not modelled: expert parallelism in a run, requests that arrive and leave, keys in 8 bits as a kernel of their own, prompts in
chunks. Area is that of logic dies; memory dies are not counted.

## Errors

Per family of kernels, in per cent: median and 90th percentile of |estimate / measurement - 1|, on rows that were fitted and
on shapes that were not (five folds of whole shapes). Power law: loads drawn by an assumed generator, numbers of the balanced
fit. Written by `python benchmarks/pages/gpu_chip.py`; the fit is `benchmarks/validation/fit_gpu.py`, its data operator
times of aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), selected rows of H100 and B200. That three shapes have one input matrix
(`PLAIN_SHAPES`) is not in the data: it was inferred from residuals, which flatters the errors of these shapes.
"""


def _pair(error: dict[str, Any] | None) -> str:
    return f"{error['median']:g} / {error['p90']:g}" if error else "-"


def page() -> str:
    """The page's text."""
    rows = json.loads((RESULTS / "fit_gpu.json").read_text(encoding="utf-8"))["rows"]
    lines = [TEXT, "| family | device | rows | own | unseen shapes | power law |", "|---|---|---|---|---|---|"]
    for row in rows:
        if "own" in row:
            parts = [f"`{row['family']}`", row["system"], f"{row['own']['rows']:,}", _pair(row["own"])]
            parts += [_pair(row.get("held_out_shapes")), _pair(row.get("power_law_with_assumed_draws"))]
            lines.append(f"| {' | '.join(parts)} |")
    lines += [
        "",
        "Median error of experts by tokens of a pass:",
        "",
        "| family | device | 1-15 | 16-127 | 128-1023 | 1024 and more |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "by_tokens" in row:
            values = " | ".join(f"{value:g}" for value in row["by_tokens"].values())
            lines.append(f"| `{row['family']}` | {row['system']} | {values} |")
    lines += [
        "",
        "Fitted on one device, judged on the other, where both have the kernels. Efficiencies of experts do not carry over from",
        "one generation to the next; an H200 has the H100's kernels and dies, a faster memory, and no row here.",
        "",
        "| family | fitted on | judged on | median / p90 |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if "fitted_on" in row:
            lines.append(f"| `{row['family']}` | {row['fitted_on']} | {row['judged_on']} | {_pair(row['error'])} |")
    lines += [
        "",
        "## Whole models",
        "",
        "Measured serving runs of one node, tensor parallel (`benchmarks/validation/gpu_end_to_end.py`): median error of the time per",
        "output token in per cent, decoding alone and with the prompts of arriving requests mixed in, and of the time to the first",
        "token of a request that does not wait (the measured ones do). Kernels are vLLM's. `pass_fixed_ns` was chosen by hand after a look",
        "at 25 rows per group (model, device, server, precision) of these runs on both devices: the H100's figures are in-sample, and",
        "the B200's are no blind test either. Estimates are far off (2 to 7 times too slow) where 512 requests are sent at once",
        "and the server lets most of them wait, as first tokens after 20 seconds and more show: fewer sequences decode together there than were sent.",
        "",
        "| server, device | rows | decoding alone | prompts mixed in | first token |",
        "|---|---|---|---|---|",
    ]
    for row in json.loads((RESULTS / "gpu_end_to_end.json").read_text(encoding="utf-8"))["rows"]:
        if "all_models" in row:
            values = " | ".join(f"{value:g}" for value in row["median_error"].values())
            lines.append(f"| {row['all_models']} | {row['rows']} | {values} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page, or with --check exit 1 when it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    if options.check:
        sys.exit(0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page() else 1)
    PAGE.write_text(page(), encoding="utf-8")
    print("wrote", PAGE)


if __name__ == "__main__":
    main()
