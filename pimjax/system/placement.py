"""Which die holds which expert: in order, or experts that tokens choose together on one die. Host, NumPy, deterministic.

`coactivation` begins with the search for groups of `pimjax.schedule` (pairs that tokens choose together are rewarded for a
common group, where the strategies for peripherals charge them) and then swaps experts while the dies that the given tokens
visit get fewer, which it counts exactly. Fit it on some requests and judge it on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.config.system import PLACEMENTS
from pimjax.errors import ConfigError
from pimjax.schedule.grouping import search_groups

_KICKS = 16
_KICK_SWAPS = 2


@checks.checked(
    ConfigError,
    experts=checks.whole(1, 65_536),
    dies=checks.whole(1, 65_536),
    strategy=checks.word(*PLACEMENTS),
    choices=checks.optional(checks.flags(meaning="booleans or 0 and 1 of [..., tokens, experts]")),
    seed=checks.whole(0, 2**63 - 1),
    kicks=checks.whole(0, 10_000),
)
def place_experts(
    experts: int,
    dies: int,
    strategy: str = "contiguous",
    *,
    choices: Any = None,
    sizes: Sequence[int] | None = None,
    seed: int = 0,
    kicks: int = _KICKS,
) -> HostArray:
    """Die, within the dies of a layer, of each expert (or of each group that stays together).

    Args:
        experts: E.
        dies: D, at most E.
        strategy: one of `contiguous`, `coactivation`.
        choices: bool `[..., T, E]`, the requests that `coactivation` is fitted on.
        sizes: `[D]`, experts of each die; default: as equal as possible, larger dies first.
        seed: of the random restarts of the search.
        kicks: restarts.

    Returns:
        int32 `[E]`.

    Raises:
        ConfigError: more dies than experts, sizes that do not add up, `coactivation` without choices.

    >>> place_experts(5, 2).tolist()
    [0, 0, 0, 1, 1]
    >>> tokens = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]])
    >>> place_experts(4, 2, "coactivation", choices=tokens).tolist()
    [0, 1, 0, 1]
    """
    if dies > experts:
        raise ConfigError(f"dies is {dies}, but there are {experts} experts: use at most one die per expert")
    places = _sizes(experts, dies, sizes)
    in_order = np.repeat(np.arange(dies, dtype=np.int32), places)
    if strategy == "contiguous" or dies == 1:
        return in_order
    if choices is None:
        raise ConfigError("placement 'coactivation' is fitted on requests: give choices, or use 'contiguous'")
    visits = np.asarray(choices, bool)
    if visits.ndim < 2 or visits.shape[-1] != experts:
        raise ConfigError(f"choices has shape {list(visits.shape)}: it must be [..., tokens, {experts}]")
    patterns, weight = _patterns(visits.reshape(-1, experts))
    if not len(patterns):
        return in_order
    return _search(patterns, weight, places, seed, kicks)


@checks.checked(
    ConfigError,
    die_of_expert=checks.numbers(0, dims=1, integer=True, filled=True),
    dies=checks.optional(checks.whole(1, 65_536)),
    first=checks.whole(0, 2**24),
)
def holds(die_of_expert: Any, dies: int | None = None, *, first: int = 0) -> HostArray:
    """A placement as the kernels read it: bool `[E, D]`.

    Args:
        die_of_expert: int `[E]`, within the layer.
        dies: D; default as many as are used.
        first: number of the layer's first die in the system.

    >>> holds([1, 0]).astype(int).tolist()
    [[0, 1], [1, 0]]
    """
    die = np.asarray(die_of_expert) + first
    count = int(die.max()) + 1 if dies is None else dies
    if die.max() >= count:
        raise ConfigError(f"die_of_expert reaches die {die.max()}, but there are {count} dies: 0 to {count - 1}")
    return die[:, None] == np.arange(count)


@checks.checked(ConfigError, visits=checks.flags(meaning="booleans or 0 and 1 of [..., tokens, dies]"))
def busiest_die(visits: Any) -> int:
    """The die that most tokens visit: as home it saves the most crossings.

    >>> busiest_die([[True, False], [True, True]])
    0
    """
    flat = np.asarray(visits, bool)
    return int(np.argmax(flat.reshape(-1, flat.shape[-1]).sum(axis=0)))


def _sizes(experts: int, dies: int, sizes: Sequence[int] | None) -> HostArray:
    if sizes is None:
        return experts // dies + (np.arange(dies) < experts % dies)
    wanted = checks.numbers(1, dims=1, integer=True)(sizes)
    if wanted is not None or len(sizes) != dies or sum(sizes) != experts:
        raise ConfigError(f"sizes must be {dies} whole numbers of at least 1 that add up to {experts} experts")
    return np.asarray(sizes, np.int64)


def _patterns(visits: HostArray) -> tuple[HostArray, HostArray]:
    """Different rows with two or more experts, and how often each occurs: others visit one die wherever experts lie."""
    several = visits[visits.sum(axis=1) > 1]
    if not len(several):
        return several.astype(np.float64), np.zeros(0)
    _, index, counts = np.unique(np.packbits(several, axis=1), axis=0, return_index=True, return_counts=True)
    return several[index].astype(np.float64), counts.astype(np.float64)


def _search(patterns: HostArray, weight: HostArray, places: HostArray, seed: int, kicks: int) -> HostArray:
    """Best of: descent from the groups of pairs, from the order, and from disturbed optima."""
    experts, dies = patterns.shape[1], len(places)
    generator = np.random.default_rng(seed)
    together = patterns.T @ (patterns * weight[:, None])
    np.fill_diagonal(together, 0.0)
    reward = -together / max(float(together.max()), 1e-300)
    pairs = search_groups(np.zeros((1, experts)), dies, pair_cost=reward, seed=seed)
    starts = [_fitted(pairs, places), np.repeat(np.arange(dies), places)]
    best, value = min((_descend(start, patterns, weight, dies) for start in starts), key=lambda found: found[1])
    for _ in range(kicks):
        trial = best.copy()
        for _ in range(_KICK_SWAPS):
            e, f = generator.choice(experts, 2, replace=False)
            trial[[e, f]] = trial[[f, e]]
        found, reached = _descend(trial, patterns, weight, dies)
        if reached < value:
            best, value = found, reached
    return best.astype(np.int32)


def _fitted(groups: HostArray, places: HostArray) -> HostArray:
    """Groups of nearly equal size put onto dies with `places`: largest on largest, what is too much fills the rest."""
    dies = len(places)
    counts = np.bincount(groups, minlength=dies)
    die_of_group = np.empty(dies, np.int64)
    die_of_group[np.argsort(-counts, kind="stable")] = np.argsort(-places, kind="stable")
    die = die_of_group[groups]
    free = places - np.bincount(die, minlength=dies)
    for full in np.flatnonzero(free < 0):
        for expert in np.flatnonzero(die == full)[places[full] :]:
            die[expert] = np.flatnonzero(free > 0)[0]
            free[die[expert]] -= 1
    return die


def _descend(die: HostArray, patterns: HostArray, weight: HostArray, dies: int) -> tuple[HostArray, float]:
    """Best swap of two experts after best swap while tokens visit fewer dies; the placement and the visits of all tokens.

    A token with e and without f leaves die(e) if e was alone there, and comes to die(f) if it had nothing there; tokens
    with both stay where they are.
    """
    die = die.copy()
    weighted = patterns * weight[:, None]
    while True:
        on = patterns @ np.eye(dies)[die]  # [P, D] experts of each token on each die
        alone, none = (on == 1).astype(np.float64), (on == 0).astype(np.float64)
        comes = weighted.T @ none  # [E, D]: tokens of e without anything on d
        leaves = weighted.T @ alone  # [E, D]: tokens of e with one expert on d
        own = leaves[np.arange(len(die)), die]  # e is alone on its die
        both = (weighted * alone[:, die]).T @ patterns  # [E, F]: e alone on its die, and f chosen too
        one_way = comes[:, die] - own[:, None] + both  # e goes to f's die
        change = one_way + one_way.T
        change[die[:, None] == die[None, :]] = 0.0
        e, f = np.unravel_index(int(np.argmin(change)), change.shape)
        if change[e, f] >= -1e-9:
            return die, float((weight[:, None] * (on > 0)).sum())
        die[[e, f]] = die[[f, e]]


__all__ = ["busiest_die", "holds", "place_experts"]
