"""Runs one class of hostile inputs: counts what was accepted and refused, and keeps what should not have happened."""

from __future__ import annotations

import dataclasses
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from pimjax.errors import PimjaxError, shown

#: Seconds that one input may take [s]; beyond `STOPPED_AFTER` it is stopped.
HANG, STOPPED_AFTER = 5.0, 30.0


class NotPhysical(Exception):
    """A result that is zero, negative or not finite, although its status is good."""


class _Stopped(BaseException):
    """The alarm went off."""


@dataclasses.dataclass(frozen=True)
class FuzzClass:
    """One kind of input.

    Attributes:
        name: what tables call it.
        about: what is done with an input.
        inputs: hypothesis strategy.
        run: takes an input and an empty folder; returns how many inputs it was if it was several. A `PimjaxError` is a
            refusal, `NotPhysical` and everything else a fault.
        weight: how many inputs of this class a long run has, relative to others.
    """

    name: str
    about: str
    inputs: st.SearchStrategy[Any]
    run: Callable[[Any, Path], int | None]
    weight: float = 1.0


@dataclasses.dataclass
class Tally:
    """What came of a class."""

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    unexpected: int = 0
    hangs: int = 0
    not_physical: int = 0
    seconds: float = 0.0
    worst_s: float = 0.0
    faults: list[str] = dataclasses.field(default_factory=list)

    def take(self, kind: FuzzClass, value: Any, folder: Path) -> None:
        """Run one input."""
        clock, begun = time.process_time(), time.perf_counter()
        before = signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, STOPPED_AFTER)
        count, fault = 1, ""
        try:
            count = kind.run(value, folder) or 1
            self.accepted += count
        except PimjaxError as error:
            self.refused += 1
            if "\n" in str(error) or "\x1b" in str(error) or "\x00" in str(error):
                self.unexpected += 1
                fault = f"no plain sentence: {str(error)!r}"
        except NotPhysical as error:
            self.not_physical += 1
            fault = f"not physical: {error}"
        except _Stopped:
            fault = f"stopped after {STOPPED_AFTER:g} s"
        except Exception as error:
            self.unexpected += 1
            where = error.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else "?"
            fault = f"{type(error).__name__} at {place}: {str(error)[:200]!r}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        seconds = time.perf_counter() - begun
        # a busy machine makes everything slow: what took so long has to have computed, or waited without end
        if seconds > STOPPED_AFTER or (seconds > HANG and time.process_time() - clock > HANG):
            self.hangs += 1
            fault = fault or f"took {seconds:.1f} s"
        self.inputs += count
        self.seconds += seconds
        self.worst_s = max(self.worst_s, seconds)
        if fault:
            self.faults.append(f"{kind.name}: {fault}; input {shown(value)}")


def _stop(number: int, frame: Any) -> None:
    raise _Stopped


def run_class(kind: FuzzClass, examples: int, *, seeded: int | None = None) -> Tally:
    """Draw and run inputs.

    Args:
        kind: what to run.
        examples: draws; a draw may be several inputs.
        seeded: of the draws; None: the same ones every time.
    """
    tally = Tally()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)

        def one(value: Any) -> None:
            tally.take(kind, value, folder)

        run = settings(
            max_examples=examples,
            database=None,
            deadline=None,
            derandomize=seeded is None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(value=kind.inputs)(lambda value: one(value)))
        (run if seeded is None else seed(seeded)(run))()
    return tally
