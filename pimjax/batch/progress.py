"""Progress of a sweep on stderr: rate, time left, device; now and then a plain line where stderr is no terminal."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pimjax.errors import visible

PLAIN_S = 20.0
"""Seconds between plain lines."""


class SweepProgress:
    """A progress bar, and Ctrl-C that lets the chunk in work finish.

    Attributes:
        stopping: set by the first Ctrl-C; a second one ends at once.
        compile_s: seconds spent compiling so far; they do not count in the rate.
    """

    def __init__(self, total: int, done: int, label: str, console: Console | None = None) -> None:
        self.total, self.done, self.begun_with = total, done, done
        self.stopping = threading.Event()
        self.console = console or Console(stderr=True, highlight=False)
        self.begin = time.perf_counter()
        self.compile_s = 0.0
        self._bar: Progress | None = None
        self._label = visible(label)
        self._told = self.begin
        self._old: Any = None

    @staticmethod
    def say(sentence: str) -> None:
        """A sentence on stderr, terminal or not: something that the user should know before results come."""
        Console(stderr=True, highlight=False, markup=False, emoji=False).print(visible(sentence), soft_wrap=True)

    def __enter__(self) -> SweepProgress:
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>5.1f}%"),
                TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=self.console, transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task(self._label, total=self.total, completed=self.done, rate="compiling")
            self._bar.start()
        if threading.current_thread() is threading.main_thread():
            self._old = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)
        if self._bar is not None:
            self._bar.stop()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.stopping.is_set():
            raise KeyboardInterrupt
        self.stopping.set()
        self.console.print("stopping after this chunk (Ctrl-C again: at once)")

    @property
    def rate(self) -> float:
        """Points per second of this run so far, compiling left out."""
        return (self.done - self.begun_with) / max(1e-9, time.perf_counter() - self.begin - self.compile_s)

    def advance(self, points: int) -> None:
        """More points are done."""
        self.done += points
        if self._bar is not None:
            rate = f"{self.rate:,.0f} points/s, compiled in {self.compile_s:.1f} s"
            self._bar.update(self._task, completed=self.done, rate=rate)
        elif time.perf_counter() - self._told >= PLAIN_S and self.done < self.total:
            self._told = time.perf_counter()
            left = (self.total - self.done) / max(1e-9, self.rate)
            self.say(f"{self._label}: {self.done:,} of {self.total:,} points, about {left:,.0f} s left")
