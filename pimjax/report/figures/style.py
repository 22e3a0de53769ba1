"""What all figures share: widths of a column and a page, fonts that stay embedded, small helpers."""

from __future__ import annotations

from typing import Any

#: width of a figure [inch]: one column and a full page of a two-column IEEE paper
WIDTHS = {"column": 3.5, "page": 7.16}

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.35,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "pdf.fonttype": 42,  # TrueType, embedded: publishers refuse Type 3
    "ps.fonttype": 42,
    "svg.fonttype": "path",  # outlines: no font is needed to show it
    "svg.hashsalt": "pimjax",
}


def label_bars(axes: Any, bars: Any, form: str = "{:.2f}", rotation: float = 0) -> None:
    """Write each bar's value beside it."""
    axes.bar_label(
        bars, fmt=lambda value: form.format(value) if value else "", padding=1.5, fontsize=6.3, rotation=rotation
    )


def dark(colour: Any) -> bool:
    """Whether white text reads better than black on an RGB(A) colour."""
    red, green, blue = colour[:3]
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
