"""Where output goes: results to stdout (one JSON document with --json), progress and warnings to stderr."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from pimjax.cli.tables import PlainTable
from pimjax.errors import visible


class Terminal(Console):
    """A console that obeys nothing in what it prints: no markup, no emoji codes, no control characters.

    On a terminal (or with COLUMNS set) sentences are broken between words; in a pipe every sentence and every row of
    a table is one line.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)
        self._width = None  # rich would keep the COLUMNS of the moment of import; it is asked when something is printed

    @property
    def fits_width(self) -> bool:
        """Whether lines are to fit `width`."""
        return self.is_terminal or os.environ.get("COLUMNS", "").isdigit()

    def render_str(self, text: str, **options: Any) -> Text:
        """Text with everything that is not printable made visible, except ends of lines."""
        return super().render_str("\n".join(visible(line) for line in text.split("\n")), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's, with words kept whole; `soft_wrap` leaves lines as they are."""
        if self.fits_width and not options.get("soft_wrap"):
            objects = tuple(self._broken(item) if isinstance(item, str) else item for item in objects)
        options.setdefault("soft_wrap", True)
        super().print(*objects, **options)

    def _broken(self, text: str) -> str:
        """Lines of at most the width, broken between words; a word that is longer stays whole."""
        lines = []
        for line in text.split("\n"):
            inset = " " * (len(line) - len(line.lstrip()))
            parts = textwrap.wrap(
                line, self.width, break_long_words=False, break_on_hyphens=False, subsequent_indent=inset
            )
            lines += parts or [""]
        return "\n".join(lines)

    def heading(self, title: str, remark: str = "") -> None:
        """A bold title and a dim remark behind it."""
        self.print(Text.assemble((visible(title), "bold"), (f"  {visible(remark)}" if remark else "", "dim")))

    def note(self, sentence: str, label: str = "note", style: str = "yellow") -> None:
        """A sentence with a coloured first word."""
        line = f"{label}\u00a0{visible(sentence)}"  # the label stays beside the first word, however long that is
        line = (self._broken(line) if self.fits_width else line).replace("\u00a0", " ")
        self.print(Text.assemble((line[: len(label)], style), line[len(label) :]))


stdout = Terminal()
stderr = Terminal(stderr=True)


def next_step(*commands: str) -> None:
    """What to run now, dim, on the last line."""
    stdout.print(f"next: {'   or   '.join(commands)}", style="dim", soft_wrap=True)


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what native code prints to stdout (gloo reports its connections there) to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def emit_json(document: Any) -> None:
    """Print one JSON document to stdout; NaN and infinity become null."""
    sys.stdout.write(json.dumps(finite(document), indent=2, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """A copy that JSON can hold: NumPy becomes Python, what is not finite becomes None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, text: int = 1) -> PlainTable:
    """A plain table: the first `text` columns are left-aligned text, the others right-aligned numbers."""
    cells = [[cell if isinstance(cell, str) else shown(cell) for cell in row] for row in rows]
    return PlainTable(title, list(columns), cells, text)


def shown(value: Any, digits: int = 4) -> str:
    """A number for people: thousands separated, `digits` significant digits, an en dash for nothing.

    >>> shown(244282.5), shown(0.00123456), shown(None)
    ('244,282', '0.001235', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    if number == 0:
        return "0"
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.{digits}g}"


_SCALES = {
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1, "ns")),
    "nJ": ((1e9, "J"), (1e6, "mJ"), (1e3, "uJ"), (1, "nJ"), (1e-3, "pJ")),
    "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
    "years": ((1, "years"), (1 / 365.25, "days"), (1 / 8766, "hours")),
    "FLOP": ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP"), (1, "FLOP")),
    "GOPS": ((1e3, "TOPS"), (1, "GOPS")),
    "nJ ns mm2": ((1e12, "mJ ms mm2"), (1e9, "mJ us mm2"), (1e6, "uJ us mm2"), (1, "nJ ns mm2")),
    "nJ ns": ((1e12, "mJ ms"), (1e9, "mJ us"), (1e6, "uJ us"), (1, "nJ ns")),
}


def with_unit(value: float, unit: str) -> str:
    """A quantity in the multiple of `unit` that reads best.

    >>> with_unit(244282.5, "ns")
    '244.3 us'
    >>> with_unit(0.0227, "years")
    '8.291 days'
    """
    for scale, name in _SCALES.get(unit, ((1, unit),)):
        if abs(value) >= scale:
            return f"{shown(value / scale)} {name}"
    return f"{shown(float(value))} {unit}"
