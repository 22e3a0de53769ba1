"""Whether the hardware numbers of a design can be at all: designs given as arrays never pass the configuration's checks.

A chip's section says what each number may be. Arrays may hold fractions of what is counted, because tuning and
gradients need them: there only zero and below are impossible.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from pimjax.arrays import namespace
from pimjax.config.hardware import HardwareSection, leaf_names

#: Of these a fraction of one is nothing that could be built, so that their least number holds for arrays too.
_UNDIVIDED = ("rows", "columns")


def is_impossible(hardware: Any, section: type[HardwareSection]) -> Any:
    """Whether any leaf is beyond what its number may be, or not a number; bool []. Kernel: pure, unbatched.

    Args:
        hardware: the traced twin of `section`; scalars.
        section: the chip's.

    >>> from pimjax.config.numerics import NumericsConfig
    >>> twin = HardwareSection().arrays(NumericsConfig())
    >>> bool(is_impossible(twin, HardwareSection)), bool(is_impossible(twin.replace(reticle_area_mm2=-1.0), HardwareSection))
    (False, True)
    """
    xp = namespace(*(getattr(hardware, name) for name in leaf_names(section)))
    # the extremes of all leaves with one bound, not a vector of all leaves: in batches that is one fused loop. What is
    # not a number is an extreme, and passes no comparison.
    checks = []
    for bound, names in _leaves_by_least(section).items():
        smallest = functools.reduce(xp.minimum, (getattr(hardware, name) for name in names))
        checks.append(smallest >= bound)
    for bound, names in _leaves_by_most(section).items():
        checks.append(functools.reduce(xp.maximum, (getattr(hardware, name) for name in names)) <= bound)
    return ~functools.reduce(xp.logical_and, checks)


@functools.cache
def _leaves_by_least(section: type[HardwareSection]) -> dict[float, list[str]]:
    """Every leaf, by its least possible number."""
    groups: dict[float, list[str]] = {}
    for name, bound in zip(leaf_names(section), _bounds(section)[0].tolist(), strict=True):
        groups.setdefault(bound, []).append(name)
    return groups


@functools.cache
def _leaves_by_most(section: type[HardwareSection]) -> dict[float, list[str]]:
    """Leaves with a limit, by their largest possible number."""
    groups: dict[float, list[str]] = {}
    for name, bound in zip(leaf_names(section), _bounds(section)[1].tolist(), strict=True):
        if np.isfinite(bound):
            groups.setdefault(bound, []).append(name)
    return groups


@functools.cache
def _bounds(section: type[HardwareSection]) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest possible number of every leaf; float64 [leaves]."""
    above_zero = float(np.finfo(np.float32).tiny)
    rows = []
    for name in leaf_names(section):
        info = section.model_fields.get(name)
        if info is None:  # derived: how often something is repeated
            rows.append((above_zero, np.inf))
            continue
        facts: Any = info.json_schema_extra
        at_least = next((bound.ge for bound in info.metadata if hasattr(bound, "ge")), -np.inf)
        is_positive = any(getattr(bound, "gt", None) == 0 for bound in info.metadata)
        least = above_zero if is_positive else at_least
        if facts["whole"] and at_least > 0 and facts["unit"] not in _UNDIVIDED:
            least = above_zero
        most = np.inf if facts["most"] is None else float(facts["most"])
        absent = section.absent.get(name, least)  # stands for null, and is no number of its own
        rows.append((min(least, absent), max(most, absent)))
    least, most = np.array(rows, np.float64).T
    return least, most
