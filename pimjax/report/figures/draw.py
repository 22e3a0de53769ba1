"""`draw_figure`: a figure by name, to a file whose ending says the format."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pimjax.errors import ConfigError, MissingExtraError, shown
from pimjax.report.figures import area, breakdown, cache, errors, loads, perplexity, regimes, schedule, tuned
from pimjax.report.figures.style import RC, WIDTHS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")


class Entry(NamedTuple):
    """A figure: what it shows, how it is drawn, its height [inch] at each width."""

    about: str
    draw: Callable[[Figure, bool], None]  # (empty figure, whether it is a page wide)
    height: dict[str, float]


FIGURES: dict[str, Entry] = {
    module.NAME: Entry(module.ABOUT, module.draw, module.HEIGHT)
    for module in (schedule, area, cache, breakdown, loads, regimes, errors, perplexity, tuned)
}


def draw_figure(name: str, out: str | Path, width: str = "page", dpi: int = 300) -> Path:
    """Draw a figure to a file. Host function; numbers are computed on the way or come from committed studies.

    Args:
        name: one of `FIGURES`.
        out: file to write, ending in .png, .svg or .pdf.
        width: "column" (3.5 inches) or "page" (7.16 inches).
        dpi: of a PNG.

    Returns:
        The path written.

    Raises:
        ConfigError: unknown name, width or ending; or the folder does not exist.
        StudyMissingError: the figure needs results that this version does not ship.
        MissingExtraError: matplotlib is not installed.
    """
    path = Path(out)
    if name not in FIGURES:
        raise ConfigError(
            f"figure {shown(name)} is unknown; allowed: {', '.join(FIGURES)} (see `pimjax figure --list`)"
        )
    if width not in WIDTHS:
        raise ConfigError(f"width {shown(width)} is unknown; allowed: {', '.join(WIDTHS)}")
    if path.suffix.removeprefix(".") not in FORMATS:
        raise ConfigError(f"{path}: the ending {shown(path.suffix)} names no format; allowed: .png, .svg, .pdf")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: the folder {path.parent} does not exist; create it first")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "report", "pimjax figure") from None
    entry = FIGURES[name]
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTHS[width], entry.height[width]), layout="constrained")
        entry.draw(figure, width == "page")
        metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:], {})
        partial = path.with_name(f".{path.stem}.partial{path.suffix}")
        figure.savefig(partial, dpi=dpi, metadata=metadata)
        if path.suffix == ".svg":
            partial.write_text(_number_marks(partial.read_text()))
        partial.replace(path)
    return path


def _number_marks(svg: str) -> str:
    """The names of an SVG's parts numbered as they appear: matplotlib derives some from addresses in memory.

    >>> _number_marks('<path id="p3fb944b00a"/><use href="#p3fb944b00a"/>')
    '<path id="p0"/><use href="#p0"/>'
    """
    numbers: dict[str, int] = {}
    return re.sub(
        r"(?<=[\"#])([a-zA-Z])[0-9a-f]{10}\b",
        lambda found: f"{found[1]}{numbers.setdefault(found[0], len(numbers))}",
        svg,
    )
