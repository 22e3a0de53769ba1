"""The section `system`: dies, packages, wires and links around the crossbars, and which experts are on the chip.

Every number carries unit, source and range. A number of a link that is null is the one of the kind that `die_link` names
(:data:`DIE_LINKS`). The formulas that read them are in `pimjax/system/`.

A configuration keeps the choices as its section `system` (:class:`SystemChoices`) and the numbers beside the chip's, as those
of the memory: `system.die_area_mm2` is another spelling of `hardware.system_die_area_mm2`. So they are swept, tuned and
differentiated like every number of a chip. How many experts of a layer the chip holds is a choice: it decides what a run's
tokens find where, and so the counts of its schedule.
"""

from __future__ import annotations

import collections
import functools
from typing import Any, Literal

import numpy as np
from flax import struct
from pydantic import field_validator, model_validator

from pimjax.config.base import Section, number, option
from pimjax.config.die_links import DIE_LINKS, HOT_INTERCONNECTS, DieLink, link_numbers

NONE = "assumption without a published source"
ISAAC = "ISAAC router, 20.74 pJ per 256 bits at 32 nm (Accelergy library, isaac_router.csv)"
#: One exposure field: no die is larger.
RETICLE_MM2 = 858.0


PLACEMENTS = ("contiguous", "coactivation")
NETWORKS = ("none", "dies")
#: How `system_*` numbers of a hardware section begin.
PREFIX = "system_"
#: Numbers of the section that are choices of a configuration.
_CHOSEN = ("resident_experts",)
RESIDENCIES = ("all", "swap")
REPLACEMENTS = ("lru", "lfu")


def _network() -> Any:
    return option(
        "none",
        about="none: wires between crossbars cost nothing beyond the chip's own links, however large the chip; dies: wires, "
        "dies, packages and the links between them are counted",
    )


def _placement() -> Any:
    return option(
        "contiguous",
        about="Which die of its layer holds an expert: contiguous (in order), coactivation (experts that tokens choose "
        "together on one die), or own: one number from 0 per expert",
    )


def _die_link() -> Any:
    return option(
        "ucie_advanced", about="Kind of link between the dies of a package: ucie_standard, ucie_advanced, bonded_3d"
    )


def _residency() -> Any:
    return option(
        "all",
        about="all: every expert has its crossbars; swap: crossbars are a cache of experts, and one that is not there is "
        "fetched from the memory and written over another",
    )


def _replacement() -> Any:
    return option(
        "lru", about="Which expert leaves (swap): lru (least recently used) or lfu (least often since it came)"
    )


Placement = Literal["contiguous", "coactivation"] | tuple[int, ...]


class SystemChoices(Section):
    """What a configuration chooses of its system; the numbers are `system_*` of its hardware section."""

    network: Literal["none", "dies"] = _network()
    placement: Placement = _placement()
    die_link: Literal["ucie_standard", "ucie_advanced", "bonded_3d"] = _die_link()
    residency: Literal["all", "swap"] = _residency()
    resident_experts: int | None = option(
        None, about="Experts of each layer that the chip holds (swap): as many places; null: all", ge=1, le=65_536
    )
    replacement: Literal["lru", "lfu"] = _replacement()

    @field_validator("placement", mode="before")
    @classmethod
    def _own_map(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _own_placement(self) -> SystemChoices:
        _check_placement(self.placement)
        return self


def _check_placement(placement: Placement) -> None:
    if isinstance(placement, str):
        return
    dies = set(placement)
    if not dies or min(dies) < 0 or dies != set(range(max(dies) + 1)):
        raise ValueError(
            "system.placement must number the dies of a layer 0, 1, 2, ... without gaps, one number per expert"
        )


class SystemSection(Section):
    """Host description of the system around the crossbars. Units are in the names."""

    die_area_mm2: float = number(
        RETICLE_MM2, chosen=True, unit="mm2", about="Silicon of one die", source="26 mm x 33 mm exposure field", gt=0, le=RETICLE_MM2
    )  # fmt: skip
    dies_per_package: float = number(
        4, chosen=True, whole=True, unit="dies", about="Compute dies of one package", spread=(1, 8), assumed=True, ge=1, le=64,
        source="interposers of 5.5 reticles hold four dies and the HBM; 9.5 reticles announced for 2027 (press)",
    )  # fmt: skip
    network: Literal["none", "dies"] = _network()
    placement: Placement = _placement()

    # --- wires of one die ---------------------------------------------------------------------------------------
    wire_energy_pj_per_bit_mm: float = number(
        0.08, unit="pJ/bit", about="Energy of one mm of on-die wire, per bit", spread=(0.04, 0.2), assumed=True, ge=0,
        source="0.040 at 45 nm low swing, hdl 1721.1/93237; full swing with repeaters 2 to 5 times that",
    )  # fmt: skip
    router_energy_pj_per_bit: float = number(
        0.081, unit="pJ/bit", about="Energy of one router, per bit; the figure of 32 nm, not scaled", spread=(0.014, 0.081), ge=0,
        source=f"{ISAAC}; Stillmaker & Baas from 32 nm 0.9 V to 14 nm 0.8 V would make it 0.014",
    )  # fmt: skip
    wire_latency_ns_per_mm: float = number(
        0.15, unit="ns", about="One mm of repeated wire", spread=(0.05, 0.3), source=NONE, assumed=True, ge=0
    )
    router_latency_ns: float = number(
        1.0, unit="ns", about="One router", spread=(0.5, 3), source=NONE, assumed=True, ge=0
    )
    injection_bandwidth_gb_per_s: float = number(
        256, unit="GB/s", about="What one die's network takes in", spread=(32, 1024), source=NONE, assumed=True, gt=0
    )
    accumulator_bits: float = number(
        24, chosen=True, unit="bits", about="Width of a partial sum", spread=(16, 32), source=NONE, assumed=True, gt=0, le=64
    )  # fmt: skip
    result_bits: float = number(
        16, chosen=True, unit="bits", about="Width of an expert's results and of a die's partial sum of experts", spread=(8, 32), assumed=True,
        source="two bytes per value, as the buffers of open tokens", gt=0, le=64,
    )  # fmt: skip

    # --- links between dies ---------------------------------------------------------------------------------------
    die_link: Literal["ucie_standard", "ucie_advanced", "bonded_3d"] = _die_link()
    die_link_bandwidth_gb_per_s_per_mm: float | None = number(
        None, unit="GB/s", about="Each way, per mm of edge (bonded_3d: per mm2); null: of the kind", source=HOT_INTERCONNECTS, gt=0
    )  # fmt: skip
    die_link_energy_pj_per_bit: float | None = number(
        None, unit="pJ/bit", about="Die to die; null: of the kind", source=HOT_INTERCONNECTS, ge=0
    )
    die_link_latency_ns: float | None = number(
        None, unit="ns", about="One way through both PHYs; null: of the kind", source=HOT_INTERCONNECTS, ge=0
    )
    die_edge_share: float = number(
        0.5, chosen=True, unit="1", about="Part of each side towards a neighbour that carries link PHYs; memory and supply use the rest",
        spread=(0.25, 0.75), source=NONE, assumed=True, gt=0, le=1,
    )  # fmt: skip
    bond_area_mm2: float = number(
        1.0, chosen=True, unit="mm2", about="Bonded area towards each neighbour (bonded_3d)", spread=(0.25, 4), source=NONE, assumed=True, gt=0
    )  # fmt: skip

    # --- links between packages ---------------------------------------------------------------------------------
    package_link_bandwidth_gb_per_s: float = number(
        900, unit="GB/s", about="One package, each way", spread=(100, 3600), source=NONE, assumed=True, gt=0
    )
    package_link_energy_pj_per_bit: float = number(
        4, unit="pJ/bit", about="Package to package", spread=(2, 8), source=NONE, assumed=True, ge=0
    )
    package_link_latency_ns: float = number(
        150, unit="ns", about="Package to package, one way", spread=(50, 500), source=NONE, assumed=True, ge=0
    )

    # --- silicon --------------------------------------------------------------------------------------------------
    defect_density_per_cm2: float = number(
        0.1, unit="1/cm2", about="Defects that kill a die", spread=(0.05, 0.3), source=NONE, assumed=True, ge=0
    )
    defect_clustering: float = number(
        3, unit="1", about="alpha of the negative binomial yield", spread=(1, 10), source=NONE, assumed=True, gt=0
    )

    # --- weights that do not fit ------------------------------------------------------------------------------------
    residency: Literal["all", "swap"] = _residency()
    resident_experts: float | None = number(
        None, chosen=True, whole=True, unit="experts", about="Experts of each layer that the chip holds (swap); null: all", source="a choice", ge=1
    )  # fmt: skip
    replacement: Literal["lru", "lfu"] = _replacement()
    sram_row_write_ns: float = number(
        1.0, unit="ns", about="Writing one row of a digital SRAM macro", spread=(0.5, 2), source="one cycle at 1 GHz", assumed=True, gt=0
    )  # fmt: skip
    sram_write_energy_pj_per_bit: float = number(
        0.0145, unit="pJ/bit", about="Writing one bit of an SRAM macro", spread=(0.0054, 0.06),
        source="3D-CIMlet buffer table, 14 nm", ge=0,
    )  # fmt: skip
    pcm_endurance_cycles: float = number(
        1e7, unit="cycles", about="Writes that a PCM device survives", spread=(1e6, 1e8), source="published range 1e6 to 1e8 cycles", ge=1
    )  # fmt: skip

    @field_validator("placement", mode="before")
    @classmethod
    def _own_map(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _own_placement(self) -> SystemSection:
        _check_placement(self.placement)
        if self.resident_experts is not None and self.residency == "all":
            raise ValueError(
                "system.resident_experts has no effect while system.residency is 'all': set system.residency to 'swap'"
            )
        return self

    def link(self) -> DieLink:
        """The link between dies: the kind's numbers, with those that the section gives.

        >>> SystemSection(die_link="ucie_standard").link().bandwidth_gb_per_s_per_mm
        112.0
        """
        kind = DIE_LINKS[self.die_link]

        def own(value: float | None, of_kind: float) -> float:
            return of_kind if value is None else value

        return kind._replace(
            bandwidth_gb_per_s_per_mm=own(self.die_link_bandwidth_gb_per_s_per_mm, kind.bandwidth_gb_per_s_per_mm),
            energy_pj_per_bit=own(self.die_link_energy_pj_per_bit, kind.energy_pj_per_bit),
            latency_ns=own(self.die_link_latency_ns, kind.latency_ns),
        )

    def arrays(self) -> Any:
        """The traced twin: one float64 scalar (NumPy) per number, nulls replaced by what they stand for.

        >>> float(SystemSection().arrays().die_link_energy_pj_per_bit)
        0.275
        """
        link = self.link()
        given = {
            "die_link_bandwidth_gb_per_s_per_mm": link.bandwidth_gb_per_s_per_mm,
            "die_link_energy_pj_per_bit": link.energy_pj_per_bit,
            "die_link_latency_ns": link.latency_ns,
            "die_link_phy_depth_mm": link.phy_depth_mm,
            "die_link_by_area": float(link.by_area),
            "resident_experts": np.inf if self.resident_experts is None else self.resident_experts,
        }
        values = {name: given.get(name, getattr(self, name, None)) for name in system_leaves()}
        return system_twin()(**{name: np.asarray(value, np.float64) for name, value in values.items()})


@functools.cache
def system_leaves() -> tuple[str, ...]:
    """Names of the leaves of the section's traced twin: its numbers, then what the kind of link decides.

    >>> system_leaves()[0], system_leaves()[-1]
    ('die_area_mm2', 'die_link_by_area')
    """
    numeric = [
        name
        for name, field in SystemSection.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and "unit" in field.json_schema_extra
    ]
    return (*numeric, "die_link_phy_depth_mm", "die_link_by_area")


@functools.cache
def system_twin() -> type:
    """The pytree class of the section's numbers; every leaf a floating-point scalar.

    >>> system_twin().__name__
    'System'
    """
    body = {
        "__annotations__": dict.fromkeys(system_leaves(), Any),
        "__module__": __name__,
        "__doc__": "System numbers.",
    }
    return struct.dataclass(type("System", (), body))


def _chip_numbers() -> dict[str, tuple[Any, Any]]:
    """Fields of :class:`SystemNumbers` for pydantic: names with the prefix, types, defaults with their facts."""
    link, made = SystemSection().link(), {}
    of_the_kind = link_numbers(link)
    for name, info in SystemSection.model_fields.items():
        facts: Any = info.json_schema_extra
        if not isinstance(facts, dict) or "unit" not in facts or name in _CHOSEN:
            continue
        about = (info.description or "").removesuffix(f" [{facts['unit']}]").replace("; null: of the kind", "")
        bounds = {
            bound: getattr(item, bound) for item in info.metadata for bound in ("ge", "gt") if hasattr(item, bound)
        }
        made[PREFIX + name] = (
            float,
            number(
                of_the_kind.get(name, info.default),
                unit=facts["unit"],
                about=about,
                source=facts["source"],
                spread=tuple(facts["spread"]) if "spread" in facts else None,
                assumed=facts["assumed"],
                chosen=facts["chosen"],
                whole=facts["whole"],
                le=facts["most"],
                **bounds,
            ),
        )
    made[PREFIX + "die_link_phy_depth_mm"] = (
        float,
        number(link.phy_depth_mm, unit="mm", about="Depth of a link's PHY from the die's edge; of bonds 1", source=link.source, chosen=True, ge=0),
    )  # fmt: skip
    made[PREFIX + "die_link_by_area"] = (
        float,
        number(float(link.by_area), unit="1", about="1: a link's bandwidth is one per mm2 of bonds; 0: per mm of edge", source=link.source,
               chosen=True, whole=True, ge=0, le=1),
    )  # fmt: skip
    return made


#: Fields of a chip's hardware section that are numbers of the system, with their facts.
CHIP_NUMBERS: dict[str, tuple[Any, Any]] = _chip_numbers()
#: The same names without the prefix.
SYSTEM_NUMBERS = tuple(name.removeprefix(PREFIX) for name in CHIP_NUMBERS)


def numbers_of(hardware: Any) -> Any:
    """The system's numbers of a hardware section (or of its traced twin) under the names that `pimjax.system` takes.

    >>> from pimjax.config.config import Config
    >>> float(numbers_of(Config().hardware).package_link_latency_ns)
    150.0
    """
    return ChipSystem(*(getattr(hardware, name) for name in CHIP_NUMBERS))


#: The numbers by name: what `pimjax.system` takes as `numbers`.
# pyrefly: ignore[bad-class-definition]
ChipSystem: Any = collections.namedtuple("ChipSystem", SYSTEM_NUMBERS)


__all__ = [
    "CHIP_NUMBERS",
    "DIE_LINKS",
    "NETWORKS",
    "PLACEMENTS",
    "PREFIX",
    "REPLACEMENTS",
    "RESIDENCIES",
    "RETICLE_MM2",
    "SYSTEM_NUMBERS",
    "ChipSystem",
    "DieLink",
    "SystemChoices",
    "SystemSection",
    "link_numbers",
    "numbers_of",
    "system_leaves",
    "system_twin",
]
