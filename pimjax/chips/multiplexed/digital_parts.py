"""Parts of a model on digital SRAM macros beside the crossbars of `plan.tile`: some or all experts, dense parts.

A macro holds what a crossbar holds, rows x columns weights, with all bits in one place (no slices), and its numbers are
those of :func:`.core.digital_core`. Experts of both kinds may share a group: each kind then has one set of peripherals
for each position of the group, and the group still works on one pass at a time. All groups start their slots together,
so where experts of both kinds are there a slot is as long as the slower kind needs, and its passes end with the slower
ones. Energy, area, busy times and writing are those of each part's own kind.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from pimjax import arrays
from pimjax.array_typing import AnyArray
from pimjax.arrays import where
from pimjax.chips.multiplexed.core import Core, digital_core
from pimjax.chips.multiplexed.geometry import Geometry
from pimjax.config.plan import DENSE_PARTS
from pimjax.runs.mixers import over_blocks
from pimjax.runs.point import Point

#: Linear layers outside the experts, by the part that `plan.digital_dense` names.
PART_OF_LINEAR = {
    "qkv": "attention",
    "expand": "attention",
    "output": "attention",
    "router": "router",
    "head": "head",
    "dense_up": "dense",
    "dense_down": "dense",
    "shared_up": "shared",
    "shared_down": "shared",
}


class DigitalParts(NamedTuple):
    """What lies on macros, and what a macro costs."""

    core: Core
    only: Any  # bool: all routed experts are digital
    some: Any  # bool: some are
    dense: AnyArray  # bool [6], in the order of DENSE_PARTS

    def has(self, part: str) -> Any:
        """bool: whether a dense part is digital."""
        return arrays.pick(self.dense, DENSE_PARTS.index(part))


def digital_parts(point: Point, present: bool | None = None) -> DigitalParts | None:
    """The digital parts of a design, or None where it has none.

    Args:
        point: the design.
        present: static, `Capacity.digital_parts`; None: as the design says, whose numbers are then known.

    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> digital_parts(Point(build(Config())[0])) is None
    True
    """
    plan = point.design.plan
    if present is None:
        known = not isinstance(plan.expert_kinds, jax.core.Tracer)
        present = known and bool(np.asarray((plan.expert_kinds != 1) | (plan.digital_dense != 0)).any())
    if not present:
        return None
    bits = np.arange(len(DENSE_PARTS), dtype=np.int32)
    return DigitalParts(
        core=digital_core(point),
        only=plan.expert_kinds == 2,
        some=plan.expert_kinds > 1,
        dense=(plan.digital_dense >> bits) & 1 == 1,
    )


def unexpected(point: Point, present: bool) -> Any:
    """bool: the design has digital parts that its capacity does not know of."""
    plan = point.design.plan
    return False if present else (plan.expert_kinds != 1) | (plan.digital_dense != 0)


class Split(NamedTuple):
    """A count on each kind of tile."""

    analog: AnyArray
    digital: AnyArray

    @property
    def total(self) -> AnyArray:
        """Both."""
        return self.analog + self.digital


def _by_part(parts: DigitalParts, values: list[AnyArray], slices: AnyArray) -> Split:
    """Counts of crossbars by dense part (in the order of DENSE_PARTS, or its first ones), on each kind of tile."""
    row = arrays.stack(values)
    mine = parts.dense[: len(values)]
    return Split(where(mine, 0.0, row).sum(), where(mine, row, 0.0).sum() / slices)


def dense_tiles(point: Point, shape: Geometry, parts: DigitalParts) -> Split:
    """Crossbars and macros outside the routed experts."""
    model = point.model
    return _by_part(
        parts,
        [
            over_blocks(point, shape.qkv.tiles + shape.expand.tiles + shape.output.tiles),
            model.num_moe_layers * shape.router.tiles,
            model.num_moe_layers * (shape.shared_up.tiles + shape.shared_down.tiles),
            model.num_dense_layers * (shape.dense_up.tiles + shape.dense_down.tiles),
            shape.head.tiles,
            shape.embedding_tiles,
        ],
        point.slices,
    )


class Products(NamedTuple):
    """Products of a run."""

    both: Split  # with links on both sides
    reads: Split  # embedding reads
    passes: Split  # of experts


def products(point: Point, shape: Geometry, work: Any, parts: DigitalParts) -> Products:
    """Products on each kind of tile; `work`: :class:`.work.Work`, all of it counted as on crossbars."""
    uses, slices, tiles = work.uses, point.slices, shape.sums(point, "tiles")
    dense = _by_part(
        parts,
        [
            tiles.mixers * uses.mixers,
            shape.router.tiles * uses.moe,
            (shape.shared_up.tiles + shape.shared_down.tiles) * uses.moe,
            tiles.dense * uses.dense,
            tiles.head * uses.head,
        ],
        slices,
    )
    passes = Split(work.passes - work.digital_passes, work.digital_passes)
    experts = Split(passes.analog * shape.expert_tiles, passes.digital * (shape.expert_tiles / slices))
    read, mine = work.reads, parts.has("embedding")
    return Products(
        both=Split(dense.analog + experts.analog, dense.digital + experts.digital),
        reads=Split(where(mine, 0.0, read), where(mine, read / slices, 0.0)),
        passes=passes,
    )
