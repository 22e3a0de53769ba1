"""Dies and packages: how many there are, what their edges carry, what good silicon costs. NumPy or JAX."""

from __future__ import annotations

from typing import Any, NamedTuple

from pimjax import checks
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import larger, namespace, where, whole_up
from pimjax.errors import ConfigError

SIDES = 4
_SIZE, _POSITIVE = checks.numbers(0), checks.numbers(0, above=True)
NUMBERS = checks.having("die_area_mm2", "die_edge_share", meaning="numbers from SystemSection.arrays")


class DiePort(NamedTuple):
    """The link of one die towards one neighbour.

    Attributes:
        bandwidth_gb_per_s: each way.
        edge_mm: edge that its PHY takes (0: bonded).
        phy_area_mm2: of the die's silicon.
    """

    bandwidth_gb_per_s: AnyArray
    edge_mm: AnyArray
    phy_area_mm2: AnyArray


@checks.checked(ConfigError, numbers=NUMBERS)
def die_port(numbers: Any) -> DiePort:
    """Bandwidth, edge and PHY area of a die's link to one neighbour.

    A die is square; each neighbour has one side, of which `die_edge_share` carries PHYs. Bonded dies use no edge but
    `bond_area_mm2`.

    >>> from pimjax.config.system import SystemSection
    >>> port = die_port(SystemSection(die_link="ucie_standard").arrays())
    >>> round(float(port.edge_mm), 2), round(float(port.bandwidth_gb_per_s)), round(float(port.phy_area_mm2), 1)
    (14.65, 1640, 26.4)
    """
    xp = namespace(numbers.die_area_mm2)
    bonded = numbers.die_link_by_area > 0
    edge = where(bonded, 0.0, numbers.die_edge_share * xp.sqrt(numbers.die_area_mm2))
    size = where(bonded, numbers.bond_area_mm2, edge)
    return DiePort(size * numbers.die_link_bandwidth_gb_per_s_per_mm, edge, size * numbers.die_link_phy_depth_mm)


@checks.checked(ConfigError, neighbours=_SIZE, numbers=NUMBERS)
def usable_die_area_mm2(neighbours: ArrayLike, numbers: Any) -> AnyArray:
    """Silicon of one die that its link PHYs leave [mm2], at least 0.

    >>> from pimjax.config.system import SystemSection
    >>> round(float(usable_die_area_mm2(2, SystemSection().arrays())), 1)
    829.3
    """
    return larger(numbers.die_area_mm2 - neighbours * die_port(numbers).phy_area_mm2, 0.0)


class Dies(NamedTuple):
    """Dies and packages of a system; whole numbers, their gradient is straight-through.

    Attributes:
        dies: dies of `die_area_mm2`.
        packages: packages they need.
        filled: area in use over area of all dies.
    """

    dies: AnyArray
    packages: AnyArray
    filled: AnyArray


@checks.checked(ConfigError, area_mm2=_SIZE, usable_mm2=_POSITIVE, numbers=NUMBERS)
def dies_needed(area_mm2: ArrayLike, usable_mm2: ArrayLike, numbers: Any) -> Dies:
    """Dies and packages that an area needs.

    Args:
        area_mm2: silicon of the whole system without link PHYs.
        usable_mm2: what one die has for it, :func:`usable_die_area_mm2`.
        numbers: of the system.

    >>> from pimjax.config.system import SystemSection
    >>> made = dies_needed(139_358.0, 858.0, SystemSection().arrays())
    >>> int(made.dies), int(made.packages)
    (163, 41)
    """
    dies = larger(whole_up(area_mm2 / usable_mm2), 1.0)
    return Dies(dies, whole_up(dies / numbers.dies_per_package), area_mm2 / (dies * usable_mm2))


@checks.checked(
    ConfigError,
    area_mm2=_SIZE,
    numbers=checks.having("defect_density_per_cm2", "defect_clustering", meaning="numbers from SystemSection.arrays"),
)
def die_yield(area_mm2: ArrayLike, numbers: Any) -> AnyArray:
    """Part of the dies that work, negative binomial: `(1 + A D0 / alpha)^-alpha`.

    Source: Stapper's yield formula; D0 per cm2, A in mm2.

    >>> from pimjax.config.system import SystemSection
    >>> round(float(die_yield(858.0, SystemSection().arrays())), 2)
    0.47
    """
    alpha = numbers.defect_clustering
    return (1 + area_mm2 * 0.01 * numbers.defect_density_per_cm2 / alpha) ** -alpha


@checks.checked(ConfigError, dies=_SIZE, numbers=NUMBERS)
def silicon_area_mm2(dies: ArrayLike, numbers: Any) -> AnyArray:
    """Silicon that has to be made for so many good dies: area / yield [mm2].

    >>> from pimjax.config.system import SystemSection
    >>> round(float(silicon_area_mm2(163.0, SystemSection().arrays())))
    297439
    """
    return dies * numbers.die_area_mm2 / die_yield(numbers.die_area_mm2, numbers)


__all__ = [
    "DiePort",
    "Dies",
    "die_port",
    "die_yield",
    "dies_needed",
    "silicon_area_mm2",
    "usable_die_area_mm2",
]
