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
from pimjax.chips.gpu.hardware import GpuHardware

PAGE = DOCS / "gpu-chip.md"
RESULTS = Path(__file__).resolve().parents[1] / "results"
BINS = ("from 1", "from 16", "from 128", "from 1024")
TEXT = """# The GPU

`chip_model: gpu` estimates what a GPU takes for the same model, requests and routing: presets `h100`, `h200`, `b200`, `a100` (with kernels of the H100: not judged),
`rtx_4090`, `rtx_pro_6000` (16-bit kernels fitted to operator profiles of vLLM; their errors, and served runs, on [](serving.md)).

Operators follow each other on one stream; each takes a fixed time and the longer of its memory traffic and its arithmetic,
plus a fitted part of the shorter. What is particular:

- *Experts* (`pimjax/chips/gpu/operators/experts.py`): from the loads of the real routing. The weights of every distinct
  expert are read once, or once per tile of rows where a matrix does not fit the cache and the kernel does not group tiles;
  a tile that is not full costs as much as a full one. A batch of the same size with other experts takes another time.
- *Dense products* (`products.py`): whole tiles in whole waves over the multiprocessors, the best of four tile sizes, or by rows
  (8 bits on Hopper); short of one tile per multiprocessor the depth is split where that pays.
- *Attention* (`attention.py`): tiles of queries over blocks of 128 keys, in waves; decoding splits the keys over idle
  multiprocessors; windows, grouped-query heads, and kernels of their own for the latent of MLA.
- *Several GPUs*: `hardware.gpus` work on one copy of the model. Matrices, heads and experts are split over them and each block's
  output is summed (tensor parallel). `hardware.expert_parallel` ranks hold whole experts instead: every rank reads its own
  distinct experts and the slowest decides. `hardware.attention_data_parallel` groups attend to sequences of their own:
  with both, tokens travel to the GPUs of their experts and back (the faster of two kinds of kernels), and nothing is summed.
- *Power*: idle power all the time, more for as long as traffic and arithmetic take alone: a GPU that only moves data draws exactly
  `memory_bound_power_w`. That is 300 W, the most that decoding was measured to take on an H200 (137 to 300 W; arXiv 2605.11999), and assumed for
  the H100, whose board is the same; the H100's idle and compute-bound power are single readings. Of the B200 and the A100 all three are
  assumptions, in proportion to the board, as are the B200's area, cache and multiprocessors. Nothing caps the power: where traffic and
  arithmetic both last all the time, the sum is above the board's (H100: UNCAPPED W, board 700 W). Sources and ranges are in the presets and in `--explain`;
  `pimjax estimate h100 --uncertainty 200` gives the interval of the energy that follows from them.
- *Tiles of experts*: the Triton kernel's as vLLM's default configuration is described publicly; not checked against a version.
  Kernels of TensorRT-LLM were found to read large matrices twice as soon as the mean load is above 8: half the mean load.
- *Cache*: `experts_cached_fraction` is an effective size in units of the cache, fitted (0.9 on an H100 in 16 bits) and loosely determined:
  3.2 fits nearly as well there. Where it reaches its bound of 100 the kernel reads nothing twice.

Not modelled: requests that arrive and leave, keys in 8 bits as a kernel of their own (their errors are below), prompts in
chunks, the doubled rate of 4-bit floats. Area is that of logic dies; memory dies are not counted. `peak memory` counts windows.

Another device's tables (the same columns) are judged without fitting by
`python benchmarks/validation/fit_gpu.py --check FOLDER --system h200_sxm`.

## Errors

Per family of kernels, in per cent: median and 90th percentile of |estimate / measurement - 1|, on rows that were fitted; on
shapes that were not (five folds of whole shapes: widths and experts, heads, ranks); and on the upper half of the tokens where only
the lower half was fitted, which is extrapolation: numbers that only many tokens show are not in the lower half. Power law: loads drawn
by an assumed generator, numbers of the balanced fit. Written by `python benchmarks/pages/gpu_chip.py`; the fit is
`benchmarks/validation/fit_gpu.py`, its data operator times of aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), selected rows of
H100 and B200. That three shapes have one input matrix (`PLAIN_SHAPES`) is not in the data: it was inferred from residuals, which flatters the
errors of these shapes. Message sizes of collectives count values, not bytes: 8-bit rows take half the time of 16-bit ones. NCCL's
table has four operations without names, told apart by their order.
"""


def _pair(error: dict[str, Any] | None) -> str:
    return f"{error['median']:g} / {error['p90']:g}" if error else "-"


def _uncapped_w() -> float:
    """Power of an H100 whose memory and arithmetic are busy all the time [W]."""
    board = GpuHardware()
    return board.memory_bound_power_w + board.compute_bound_power_w - board.idle_power_w


def page() -> str:
    """The page's text."""
    rows = json.loads((RESULTS / "fit_gpu.json").read_text(encoding="utf-8"))["rows"]
    lines = [
        TEXT.replace("UNCAPPED", f"{_uncapped_w():g}"),
        "| family | device | rows | own | unseen shapes | more tokens | power law |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "own" in row:
            parts = [f"`{row['family']}`", row["system"], f"{row['own']['rows']:,}", _pair(row["own"])]
            keys = ("held_out_shapes", "more_tokens_held_out", "power_law_with_assumed_draws")
            parts += [_pair(row.get(key)) for key in keys]
            lines.append(f"| {' | '.join(parts)} |")
    lines += [
        "",
        "Median error by tokens of a pass (of attention over prompts: of all sequences):",
        "",
        "| family | device | 1-15 | 16-127 | 128-1023 | 1024 and more |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.get("by_tokens"):
            values = " | ".join(f"{row['by_tokens'][key]:g}" if key in row["by_tokens"] else "-" for key in BINS)
            lines.append(f"| `{row['family']}` | {row['system']} | {values} |")
    lines += ["", "Shapes with a median error above 25 % (five rows or more, at most three of each family):", ""]
    for row in rows:
        for shape in row.get("fails", []):
            named = ", ".join(f"{key} {value:g}" for key, value in shape.items() if key != "median")
            lines.append(f"- `{row['family']}`, {row['system']}: {named}: {shape['median']:g} %")
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
        "Measured serving runs of one node (`benchmarks/validation/gpu_end_to_end.py`; models whose published configuration imports): median error",
        "of the time per output token in per cent, decoding alone and with the prompts of arriving requests mixed in, and of the time to the first",
        "token of a request that does not wait (the measured ones do). Kernels are vLLM's. `pass_fixed_ns` was chosen by hand after a look",
        "at 25 rows per group (model, device, server, precision) of these runs on both devices: the H100's figures are in-sample, and",
        "the B200's are no blind test either. Estimates are far off (2 to 7 times too slow) where 512 requests are sent at once",
        "and the server lets most of them wait, as first tokens after 20 seconds and more show: fewer sequences decode together there than were sent.",
        "TensorRT-LLM's own kernels and its shorter time between passes are not fitted.",
        "",
        "| rows of | rows | decoding alone | prompts mixed in | first token |",
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
