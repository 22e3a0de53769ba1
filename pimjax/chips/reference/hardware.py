"""The `hardware` section of the authors' simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from pimjax.chips.parts.numbers import (
    SIMULATOR,
    AttentionNumbers,
    AuthorsMemoryNumbers,
    CrossbarNumbers,
    DigitalUnitNumbers,
    LinkNumbers,
    PowerNumbers,
    ProgrammingNumbers,
)
from pimjax.config.base import number

if TYPE_CHECKING:
    from pimjax.config.config import Config


class ReferenceHardware(
    ProgrammingNumbers,
    PowerNumbers,
    AuthorsMemoryNumbers,
    AttentionNumbers,
    DigitalUnitNumbers,
    LinkNumbers,
    CrossbarNumbers,
):
    """Host description of the chip that the authors' simulator describes."""

    absent: ClassVar[dict[str, float]] = {"tiles": float("inf")}

    tiers: float = number(
        1,
        chosen=True,
        whole=True,
        unit="tiers",
        about="Stacked tiers per tile; one works at a time",
        source=SIMULATOR,
        ge=1,
    )
    comm_factor: float = number(
        1, chosen=True, unit="1", about="Scale of input transfers (reference model only)", source=SIMULATOR, ge=0
    )
    mvm_factor: float = number(
        1, chosen=True, unit="1", about="Scale of the MVM latency in passes with decode id 0 (reference model only)", source=SIMULATOR, gt=0
    )  # fmt: skip


def hardware_of(config: Config) -> ReferenceHardware:
    """The `hardware` section of a configuration of this chip."""
    return cast(ReferenceHardware, config.hardware)
