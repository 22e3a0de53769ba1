"""Layers along the dies of a system as data: where each begins, which groups each of its dies holds. NumPy or JAX.

The same placement as :func:`~pimjax.system.layout.lay_out` with groups that are cut where a die ends, for any die size and
any number of dies in one program: a layer is at home on the die on which its silicon begins and reaches over the dies that
follow. Homes and borders are whole numbers: their derivative is zero wherever it is defined.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import checks
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import fixed, larger, namespace, smaller, where
from pimjax.errors import ConfigError

_EPSILON = 1e-4  # of a die or a group: rounding must not decide
_AREA = checks.numbers(0, dims=0)


class LayerDies(NamedTuple):
    """The dies of every layer: `[L, K]`, the k-th die from the layer's home on (0: the home).

    Attributes:
        home: `[L]`, number of the die on which a layer begins.
        first, past: `[L, K]`, groups first to past - 1 have crossbars on the die.
        row, column: `[L, K]`, the die's place beside the home's on its package, in dies.
        away: `[L, K]` 1 where the die is on another package than the home, else 0.
        first_away: `[L]`, first group with crossbars on another package.
        move_hops, move_away: `[L]`, links between dies, and between packages, on the way to the next layer's home.
        reach: `[L]`, dies of the layer.
    """

    home: AnyArray
    first: AnyArray
    past: AnyArray
    row: AnyArray
    column: AnyArray
    away: AnyArray
    first_away: AnyArray
    move_hops: AnyArray
    move_away: AnyArray
    reach: AnyArray


@checks.checked(
    ConfigError,
    groups=checks.numbers(0, dims=1),
    is_real=checks.flags(dims=1),
    dense_mm2=_AREA,
    group_mm2=_AREA,
    usable_mm2=checks.numbers(0, dims=0, above=True),
    dies_per_package=checks.numbers(0, dims=0, above=True),
    most_dies=checks.whole(1, 4096),
)
def layer_dies(
    groups: ArrayLike,
    is_real: ArrayLike,
    *,
    dense_mm2: ArrayLike,
    group_mm2: ArrayLike,
    usable_mm2: ArrayLike,
    dies_per_package: ArrayLike,
    most_dies: int,
) -> LayerDies:
    """Lay all layers out. Kernel: pure, unbatched.

    Args:
        groups: `[L]`, groups of each layer (0: no experts).
        is_real: bool `[L]`, the layer exists.
        dense_mm2: `[]`, silicon of a layer without its experts.
        group_mm2: `[]`, of one group.
        usable_mm2: `[]`, of one die.
        dies_per_package: `[]`.
        most_dies: static K, dies that a layer is followed over.

    Raises:
        ConfigError: groups and flags of different numbers of layers.

    >>> made = layer_dies(np.array([2.0, 2.0]), np.array([True, True]), dense_mm2=20.0, group_mm2=60.0, usable_mm2=100.0,
    ...                   dies_per_package=2.0, most_dies=3)
    >>> made.home.tolist(), made.first.tolist(), made.past.tolist()  # a group of each layer is cut
    ([0.0, 1.0], [[0.0, 1.0, 2.0], [0.0, 0.0, 2.0]], [[2.0, 2.0, 2.0], [1.0, 2.0, 2.0]])
    """
    xp = namespace(groups, is_real, dense_mm2, group_mm2, usable_mm2, dies_per_package)
    if np.shape(groups) != np.shape(is_real):
        raise ConfigError(
            f"layer_dies: groups is of {np.shape(groups)[0]} layers, is_real of {np.shape(is_real)[0]}; give one number "
            "of groups and one flag for each layer"
        )
    is_real = xp.asarray(is_real, bool)
    groups, dense, group = fixed(xp.asarray(groups)), fixed(dense_mm2), larger(fixed(group_mm2), 1e-12)
    usable, size = fixed(usable_mm2), xp.floor(fixed(dies_per_package) + _EPSILON)
    silicon = where(is_real, dense + groups * group, 0.0)
    ends = xp.cumsum(silicon)
    starts = ends - silicon
    home = xp.floor(starts / usable + _EPSILON)
    number = np.arange(most_dies + 1)[None]
    # the groups' axis: where each die begins, in groups from the layer's first one
    border = ((home[:, None] + number) * usable - (starts + dense)[:, None]) / group
    count = groups[:, None]
    first = smaller(larger(xp.floor(border[:, :-1] + _EPSILON), 0.0), count)
    past = smaller(larger(xp.ceil(border[:, 1:] - _EPSILON), 0.0), count)
    first = smaller(first, past)

    columns = xp.ceil(xp.sqrt(size) - _EPSILON)
    next_home = xp.concatenate([home[1:], home[-1:]])
    die = xp.concatenate([home[:, None] + number[:, :-1], next_home[:, None]], 1)
    place = _place(xp, die, size, columns)
    (at_package, at_column, at_row), (package, column, row) = (
        [each[:, cut] for each in place] for cut in (slice(1), slice(-1))
    )
    to_package, to_column, to_row = (each[:, -1] - each[:, 0] for each in place)
    same = to_package == 0
    away = (package != at_package).astype(border.dtype)
    beyond = ((at_package[:, 0] + 1) * size * usable - (starts + dense)) / group
    later = xp.concatenate([is_real[1:], is_real[-1:]]) & is_real  # type: ignore[index]
    moves = xp.abs(to_column) + xp.abs(to_row)
    return LayerDies(
        home=home,
        first=first,
        past=past,
        row=row - at_row,
        column=column - at_column,
        away=away,
        first_away=smaller(larger(xp.floor(beyond + _EPSILON), 0.0), groups),
        move_hops=where(same & later, moves, 0.0),
        move_away=(later & ~same).astype(border.dtype),
        reach=where(is_real, xp.ceil(ends / usable - _EPSILON) - home, 0.0),
    )


def _place(xp: Any, die: Any, size: Any, columns: Any) -> tuple[Any, Any, Any]:
    """Package, column and row of a die."""
    package = xp.floor((die + 0.5) / size)
    on_package = die - package * size
    row = xp.floor((on_package + 0.5) / columns)
    return package, on_package - row * columns, row


__all__ = ["LayerDies", "layer_dies"]
