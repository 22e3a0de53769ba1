"""What takes longer than two seconds says on stderr what it is doing, since when, and for about how long.

On a terminal it is one line that goes away; elsewhere a line when something else begins, and now and then one more.
How long a run like this took last time is kept in the cache folder, for work that cannot say how far it is.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.text import Text

from pimjax import progress
from pimjax.cli.output import stderr
from pimjax.cli.program_cache import cache_folder
from pimjax.errors import visible

AFTER_S = 2.0
AGAIN_S = 20.0
_KEPT = 200  # durations remembered


class Progress:
    """Shows what runs inside `with`; reports come from :mod:`pimjax.progress` or :meth:`say`.

    Args:
        doing: what is being done at first.
        key: what a run of this kind is called, to remember how long it takes.
        keep: sentences stay on the screen (they tell a story), the line below them says how long.
    """

    def __init__(self, doing: str, *, key: str = "", keep: bool = False) -> None:
        self.doing, self.key, self.keep = doing, key, keep
        self.begin = time.monotonic()
        self._shares: list[tuple[float, float]] = []  # seconds since the beginning, share done by then
        self._usual = _durations().get(key) if key else None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._told, self._last = "", 0.0
        self._live: Live | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Progress:
        self._thread.start()
        self._open.enter_context(progress.heard_by(self.hear))
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self._open.close()
        self._done.set()
        self._thread.join()
        took = time.monotonic() - self.begin
        if kind is None and self.key and took >= AFTER_S:
            _remember(self.key, took)

    def say(self, sentence: str) -> None:
        """A sentence of work that reports so; "3 of 20" in it says how far it is."""
        counted = re.search(r"\b(\d[\d,]*) of (\d[\d,]*)\b", sentence)
        share = None
        if counted:
            done, whole = (int(number.replace(",", "")) for number in counted.groups())
            share = done / whole if 0 < done <= whole else None
        self.hear(sentence, share)
        if self.keep:
            stderr.print(sentence, style="dim")

    def hear(self, doing: str, share: float | None) -> None:
        """A report."""
        if doing:
            self.doing = doing
        if share is not None:
            self._shares.append((time.monotonic() - self.begin, share))

    def line(self) -> str:
        """What is shown now.

        >>> shown = Progress("counting")
        >>> shown.begin -= 10
        >>> shown.hear("", 0.25)
        >>> shown.line()
        'counting: 10 s, about 30 s left'
        """
        passed, left = time.monotonic() - self.begin, None
        if self._shares and self._shares[-1][1] > 0:
            left = self._left(passed)
        elif self._usual is not None:
            left = self._usual - passed
        more = f", about {duration(left)} left" if left is not None and left >= 1 else ""
        return f"{visible(self.doing)}: {duration(passed)}{more}"

    def _left(self, passed: float) -> float | None:
        """Seconds left at the speed of the later half of the time: what is done first often compiles first."""
        at, share = self._shares[-1]
        early = [(0.0, 0.0), *(one for one in self._shares if one[0] <= at / 2)][-1]
        if share <= early[1]:
            return None
        return (at - early[0]) * (1 - share) / (share - early[1]) - (passed - at)

    def _run(self) -> None:
        if self._done.wait(AFTER_S):
            return
        if stderr.is_terminal:
            with Live(console=stderr, transient=True, refresh_per_second=4, get_renderable=self._renderable):
                self._done.wait()
            return
        while True:
            now = time.monotonic()
            if (self.doing != self._told and not self.keep) or now - self._last >= AGAIN_S:
                stderr.print(self.line(), soft_wrap=True)
                self._told, self._last = self.doing, now
            if self._done.wait(AFTER_S):
                return

    def _renderable(self) -> Text:
        return Text(self.line(), style="dim", no_wrap=True, overflow="ellipsis")


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(4.4), duration(200), duration(9000)
    ('4 s', '3 min 20 s', '2 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _file() -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / "durations.json"


def _durations() -> dict[str, float]:
    file = _file()
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
        return {str(key): float(value) for key, value in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remember(key: str, seconds: float) -> None:
    file = _file()
    if file is None:
        return
    kept = _durations()
    kept.pop(key, None)
    kept = dict(list({**kept, key: round(seconds, 1)}.items())[-_KEPT:])
    with contextlib.suppress(OSError):  # a folder that cannot be written costs a guess
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(kept, indent=0), encoding="utf-8")
        partial.replace(file)
