"""Plain tables that fit a terminal: cells of sentences are wrapped, columns that no longer fit go below."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.text import Text

from pimjax.errors import visible

_GAP = 2
_SENTENCE = 24  # wider cells with spaces are sentences: they are wrapped before columns go below
_LEAST = 12  # width to which a column may shrink where nothing else helps


@dataclass
class PlainTable:
    """Title, head and rows; `text` columns are left-aligned and repeated where columns go below."""

    title: str | None
    columns: list[str]
    cells: list[list[str]]
    text: int = 1

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """What rich prints: lines that fit the width, or in a pipe one line a row."""
        width = options.max_width if getattr(console, "fits_width", True) else 10**9
        if self.title:
            yield Text(visible(self.title), style="bold", no_wrap=True, overflow="ignore")
        for line, is_head in self.lines(width):
            yield Text(line, style="dim" if is_head else "", no_wrap=True, overflow="ignore")

    def lines(self, width: int) -> list[tuple[str, bool]]:
        """Lines of at most `width` characters where the cells allow it, and whether each is a head.

        >>> made = PlainTable(None, ["name", "first", "second"], [["a", "1", "22"], ["b", "333", "4"]])
        >>> for line, _ in made.lines(80):
        ...     print(line)
        name  first  second
        a         1      22
        b       333       4
        >>> [line for line, _ in made.lines(14)]
        ['name  first', 'a         1', 'b       333', '', 'name  second', 'a         22', 'b          4']
        """
        heads = [visible(head) for head in self.columns]
        rows = [[visible(cell) for cell in row] for row in self.cells]
        sizes = [max(map(cell_len, [head, *(row[i] for row in rows)])) for i, head in enumerate(heads)]
        wraps = [i for i in range(len(heads)) if any(" " in row[i] for row in rows)]
        everything = list(range(len(heads)))
        _shrink(sizes, heads, wraps, everything, width, _SENTENCE)
        blocks = self._blocks(sizes, width)
        for block in blocks:
            _shrink(sizes, heads, [i for i in wraps if i in block], block, width, _LEAST)
        made: list[tuple[str, bool]] = []
        for block in blocks:
            if made:
                made.append(("", False))
            if any(heads):
                made.append((self._line([heads[i] for i in block], [sizes[i] for i in block], block), True))
            for row in rows:
                parts = [_wrapped(row[i], sizes[i]) for i in block]
                for k in range(max(map(len, parts))):
                    cells = [part[k] if k < len(part) else "" for part in parts]
                    made.append((self._line(cells, [sizes[i] for i in block], block), False))
        return made

    def _blocks(self, sizes: list[int], width: int) -> list[list[int]]:
        """Columns of each block: the text columns, then as many others as fit."""
        labels = list(range(min(self.text, len(sizes))))
        base = sum(sizes[i] + _GAP for i in labels)
        blocks: list[list[int]] = [[]]
        used = base
        for i in range(len(labels), len(sizes)):
            if blocks[-1] and used + sizes[i] > width:
                blocks.append([])
                used = base
            blocks[-1].append(i)
            used += sizes[i] + _GAP
        return [labels + block for block in blocks]

    def _line(self, cells: list[str], sizes: list[int], block: list[int]) -> str:
        padded = []
        for cell, size, index in zip(cells, sizes, block, strict=True):
            space = " " * (size - cell_len(cell))
            padded.append(cell + space if index < self.text else space + cell)
        return (" " * _GAP).join(padded).rstrip()


def _shrink(sizes: list[int], heads: list[str], wraps: list[int], block: list[int], width: int, least: int) -> None:
    """Make the widest columns that may be wrapped narrower until a block fits, if it can."""
    while (over := sum(sizes[i] for i in block) + _GAP * (len(block) - 1) - width) > 0:
        able = [i for i in wraps if sizes[i] > max(least, cell_len(heads[i]))]
        if not able:
            return
        widest = max(able, key=lambda i: sizes[i])
        sizes[widest] -= min(over, max(1, sizes[widest] - max(least, cell_len(heads[widest]))), 4)


def _wrapped(cell: str, size: int) -> list[str]:
    if cell_len(cell) <= size:
        return [cell]
    return textwrap.wrap(cell, size, break_long_words=False, break_on_hyphens=False) or [""]
