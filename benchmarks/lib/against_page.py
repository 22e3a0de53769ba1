"""The page and the figure of `benchmarks/studies/against_a_gpu.py`, from its results alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.lib.paths import DOCS

PAGE = DOCS / "against-a-gpu.md"
QUANTITIES = {"tokens_per_s": "tokens/s", "energy_per_token_j": "J per token"}
MIDDLE = 4096
Rows = dict[tuple[str, str, int, int], dict[str, Any]]


def by_point(found: dict[str, Any]) -> Rows:
    """Rows by (model, device, batch, context)."""
    return {(row["model"], row["on"], row["batch"], row["context"]): row for row in found["rows"]}


def axis(found: dict[str, Any], name: str) -> list[Any]:
    """Values of a column, in the order of the rows."""
    return list(dict.fromkeys(row[name] for row in found["rows"]))


def ratio(rows: Rows, model: str, gpu: str, batch: int, context: int, of: str) -> tuple[float, float, float]:
    """Chip over GPU of a quantity, and the least and most that both error bars allow. `per_mm2`: tokens/s per mm2."""
    chip, other = rows[model, "chip", batch, context], rows[model, gpu, batch, context]

    def bounds(row: dict[str, Any]) -> tuple[float, float, float]:
        key = "tokens_per_s" if of == "per_mm2" else of
        value, (low, high) = row[key], row["relative"][key]
        if of == "per_mm2":
            small, large = row["relative"]["area_mm2"]
            return value / row["area_mm2"], value * low / (row["area_mm2"] * large), value * high / (row["area_mm2"] * small)  # fmt: skip
        return value, value * low, value * high

    (a, low_a, high_a), (b, low_b, high_b) = bounds(chip), bounds(other)
    return a / b, low_a / high_b, high_a / low_b


def break_even(rows: Rows, model: str, gpu: str, context: int, batches: list[int], of: str) -> str:
    """From which batch on the GPU is ahead of the chip; and from which on it is beyond both error bars."""
    better = 1.0 if of == "energy_per_token_j" else -1.0

    def first(index: int) -> int | None:
        ahead = [batch for batch in batches if better * (ratio(rows, model, gpu, batch, context, of)[index] - 1) > 0]
        behind = [batch for batch in batches if batch not in ahead]
        later = [batch for batch in ahead if not behind or batch > max(behind)]
        return min(later) if later else None

    nominal, sure = first(0), first(1 if of == "energy_per_token_j" else 2)
    if nominal is None:
        return "never"
    return f"{nominal}" if sure == nominal else f"{nominal} (surely {sure or 'never'})"


def _span(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3g} to {high:.3g}"


def conclusion(found: dict[str, Any], rows: Rows) -> str:
    """The first sentence."""
    models, batches = axis(found, "model"), axis(found, "batch")
    alone = [ratio(rows, model, "h100", 1, MIDDLE, "tokens_per_s")[0] for model in models]
    many = [ratio(rows, model, "h100", max(batches), MIDDLE, "tokens_per_s")[0] for model in models]
    energy = [1 / ratio(rows, model, "h100", batch, MIDDLE, "energy_per_token_j")[0] for model in models for batch in batches]  # fmt: skip
    area = [ratio(rows, model, "h100", max(batches), MIDDLE, "per_mm2")[0] for model in models]
    ahead = sum(value < 1 for value in many)
    open_ = [sum(ratio(rows, model, "h100", batch, MIDDLE, "energy_per_token_j")[2] > 1 for model in models) for batch in (1, max(batches))]  # fmt: skip
    return (
        f"At a context of {MIDDLE:,} tokens one request decodes {_span(alone)} times as fast on the PIM chip as on the fewest H100s that hold the "
        f"model, but {max(batches)} requests {_span(many)} times, where the GPUs lead for {ahead} of {len(models)} models and give "
        f"{_span([1 / value for value in area])} times the tokens per mm2 of logic; the chip's energy per token is {_span(energy)} times lower at its "
        f"nominal numbers, {_left_open(open_, len(models), max(batches))}."
    )


def _left_open(models_open: list[int], models: int, most: int) -> str:
    """What the ranges leave open of the energy, at one request and at the largest batch."""
    if not any(models_open):
        return f"and lower for all {models} models, at one request and at {most}, wherever its numbers and the GPUs' lie within both error bars"
    return (
        f"but the ranges of its assumptions (idle power before all) leave open which of the two needs less for {models_open[0]} of "
        f"{models} models at one request and for {models_open[1]} at {most}"
    )


def board_power(found: dict[str, Any], on: str, batch: int) -> list[float]:
    """Mean power of each GPU over a decode step [W], of every model and context."""
    rows = (row for row in found["rows"] if (row["on"], row["batch"]) == (on, batch))
    return [row["tokens_per_s"] * row["energy_per_token_j"] / row["gpus"] for row in rows]


def page_text(found: dict[str, Any]) -> str:
    """The page, in Markdown."""
    rows, models, batches, contexts = by_point(found), *(axis(found, name) for name in ("model", "batch", "context"))
    gpus = [name for name in axis(found, "on") if name != "chip"]
    lines = [
        "# Against a GPU", "", conclusion(found, rows), "",
        "Written by `python benchmarks/studies/against_a_gpu.py` (one decode step of every point); checked by",
        "`python benchmarks/pages/against_a_gpu.py --check`. Same model, tokens and experts on both; the [GPU](gpu-chip.md) is its own chip model,",
        "fitted to measured kernels, on the fewest of 1, 2, 4 or 8 that hold weights and caches (tensor parallel).", "",
        "```{image} images/against_a_gpu.png", ":alt: Tokens per second and energy per token over the batch, six models, chip and GPUs", ":width: 100%", "```", "",
        "Error bars: of the chip 90 % of draws of its hardware numbers from their ranges, of a GPU the median error of measured serving",
        f"runs ({100 * found['gpu_time_error']:.0f} % of the time) and its powers drawn from their ranges. They do not hold what neither model has. Jumps of a GPU's curve",
        "are where one more doubling of GPUs is needed to hold the caches.", "",
        "## Which way the choices lean", "",
        "- *Area* counts logic dies: the chip's crossbars hold all weights, a GPU's weights lie in memory dies that are not counted (H100: 80 GB,",
        "  H200: 141 GB). Tokens per mm2 lean to the GPU.",
        "- *Energy*: a GPU's is that of the whole board (powers read from boards), the chip's that of its modelled components and its memory",
        "  channel; hosts, cooling and power supplies are in neither. Energy leans to the chip.",
        f"- *Power of a GPU*: a decode step draws {_span(board_power(found, 'h200', 1))} W on each H200 at one request and {_span(board_power(found, 'h200', max(batches)))} W at {max(batches)}, where",
        "  arithmetic adds to traffic. Decoding was measured there at 137 to 300 W (arXiv 2605.11999): what is above leans to the chip.",
        "- *Numbers*: the chip stores weights as its crossbars do and keys in 8 bits; a GPU has the published format of the weights and 16-bit keys. This",
        "  leans to the chip; nothing here says what it costs in accuracy.",
        "- *Loads*: decoding alone, with every sequence at the same context; prompts and waiting requests are the [serving](serving.md) model's.",
        "- *Batch*: sequences of a step take turns at the chip's units. It was sized for one request of 192 tokens: with many requests at a longer context its",
        "  attention units bound most of a step, which is why its curves are flat, and more of them help (`pimjax size`). A GPU reads each weight once for all",
        "  sequences.",
        "- *Links*: both pay. The chip is laid out over dies and packages (`system: dies`, [](sized-chips.md)), GPUs send their sums.", "",
        "## Break-even", "",
        "Smallest batch from which on the GPUs are ahead of the chip; in brackets the batch from which on they are beyond both error bars.", "",
    ]  # fmt: skip
    for gpu in gpus:
        lines += [
            f"{gpu}:",
            "",
            "| model | context | tokens/s | tokens/s per mm2 | J per token |",
            "|---|---|---|---|---|",
        ]
        for model in models:
            for context in contexts:
                cells = [break_even(rows, model, gpu, context, batches, of) for of in ("tokens_per_s", "per_mm2", "energy_per_token_j")]  # fmt: skip
                lines.append(f"| {model} | {context:,} | {' | '.join(cells)} |")
        lines.append("")
    lines += [f"## Points at a context of {MIDDLE:,}", "", "Low and high are the ends of the error bars.", "",
              "| model | on | batch | tokens/s | low to high | J per token | low to high | mm2 of logic |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for model in models:
        for on in ("chip", *gpus):
            for batch in [one for one in batches if one in (1, 16, 256)]:
                row = rows[model, on, batch, MIDDLE]
                name = "chip" if on == "chip" else f"{row['gpus']} x {on}" + ("" if row["fits"] else ", does not fit")
                cells = [f"{row['tokens_per_s']:,.0f}", _bar(row, "tokens_per_s"), f"{row['energy_per_token_j']:.3g}", _bar(row, "energy_per_token_j"), f"{row['area_mm2']:,.0f}"]  # fmt: skip
                lines.append(f"| {model} | {name} | {batch} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _bar(row: dict[str, Any], name: str) -> str:
    low, high = (row[name] * one for one in row["relative"][name])
    return f"{low:,.3g} to {high:,.3g}"


def draw_figure(found: dict[str, Any], path: Path) -> None:
    """Tokens per second and energy per token over the batch."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows, models, batches = by_point(found), axis(found, "model"), axis(found, "batch")
    figure, axes = plt.subplots(2, len(models), figsize=(3.1 * len(models), 6), sharex=True, squeeze=False)
    for column, model in enumerate(models):
        for line, (name, label) in enumerate(QUANTITIES.items()):
            for index, on in enumerate(axis(found, "on")):
                every = [rows[model, on, batch, MIDDLE] for batch in batches]
                middle = [row[name] for row in every]
                low, high = ([row[name] * row["relative"][name][end] for row in every] for end in (0, 1))
                axes[line, column].plot(batches, middle, color=f"C{index}", label=on, marker=".")
                axes[line, column].fill_between(batches, low, high, color=f"C{index}", alpha=0.2)
            axes[line, column].set(xscale="log", yscale="log")
            if column == 0:
                axes[line, column].set_ylabel(label)
        axes[0, column].set_title(model, fontsize=10)
        axes[1, column].set_xlabel(f"batch, context {MIDDLE:,}")
    axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
