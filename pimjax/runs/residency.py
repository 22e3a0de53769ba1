"""Chips that hold a part of a layer's experts: in which place every token finds its experts, and which are written. Host.

The crossbars of a layer are R *places*, each of which holds one expert. A token's experts are looked up together: those that
are not there are written over others that leave, by the least recent use or by the fewest uses since they came, but never over
an expert of the same token. At the start the places hold the experts 0 to R - 1, loaded before the run as all experts of a
chip that holds them all are; expert 0 counts as the one used last. So R = all is a chip that writes nothing, and under LRU a
chip with more places never writes more (its experts are always a superset).

Tokens of a prompt come in order, prompts one after the other, then decode steps with their sequences in order; a decode step
that recomputes its prefix asks for the experts of all of it. What a run asks of its chip then is a schedule of places: they, not
experts, make up groups, share peripherals and lie on dies.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.config.config import Config
from pimjax.config.system import REPLACEMENTS
from pimjax.errors import CapacityError, ConfigError
from pimjax.registry import CHIPS

if TYPE_CHECKING:
    from pimjax.runs.routing import RunRouting

#: Token visits of recomputed prefixes that are followed at most: seconds.
_MOST_VISITS = 20_000_000


@dataclasses.dataclass(frozen=True)
class ExpertWrites:
    """Experts that a run writes over others; `n` of them, in the order of a layer.

    Attributes:
        turn: int `[n]`, when: sequence b's prompt is turn b, its decode step s turn B + s B + b of B sequences.
        layer: int `[n]`, among the layers with experts.
        place: int `[n]`.
        batch, layers, places, experts: B, layers with experts, places of a layer, experts of a layer.
        prefixes: where decode steps recompute their prefix: places `[L, length, k]` (-1: none) by (sequence, length).
    """

    turn: HostArray
    layer: HostArray
    place: HostArray
    batch: int
    layers: int
    places: int
    experts: int
    prefixes: dict[tuple[int, int], HostArray]

    def of_turns(self, begin: int, end: int) -> HostArray:
        """int `[L]`: experts written in turns `begin` to `end` - 1, by layer."""
        mine = (self.turn >= begin) & (self.turn < end)
        return np.bincount(self.layer[mine], minlength=self.layers)

    def most_of_a_place(self, begin: int, end: int) -> int:
        """Writes of the place that is written most in these turns."""
        mine = (self.turn >= begin) & (self.turn < end)
        if not mine.any():
            return 0
        return int(np.bincount(self.layer[mine] * self.places + self.place[mine]).max())

    def with_steps(self, begin: int, end: int) -> ExpertWrites:
        """The prompts, and decode steps `begin` to `end` - 1 as if they followed them."""
        first, last = (self.batch * (1 + step) for step in (begin, end))
        kept = (self.turn < self.batch) | ((self.turn >= first) & (self.turn < last))
        turn = np.where(self.turn < self.batch, self.turn, self.turn - self.batch * begin)
        return dataclasses.replace(self, turn=turn[kept], layer=self.layer[kept], place=self.place[kept])


def resident_experts(config: Config) -> int | None:
    """Places of each layer; None: the chip holds every expert, or does not read the key.

    >>> from pimjax.config.loader import load_config
    >>> resident_experts(load_config("paper_crossbars", {"system.residency": "swap", "system.resident_experts": 8}))
    8
    """
    system, experts = config.system, config.model.num_experts
    if system.residency == "all" or not experts or not CHIPS[config.chip_model].swaps_experts:
        return None
    return experts if system.resident_experts is None else system.resident_experts


class ExpertPlaces:
    """The places of one layer.

    >>> layer = ExpertPlaces(2, "lru")
    >>> layer.visit([2]), layer.visit([0, 2]), layer.visit([0, 1])
    (([1], [1]), ([0, 1], []), ([0, 1], [1]))
    """

    def __init__(self, places: int, replacement: str) -> None:
        self._place = OrderedDict((expert, expert) for expert in reversed(range(places)))  # the least recent first
        self._uses = dict.fromkeys(range(places), 0)
        self._by_uses = replacement == "lfu"

    def visit(self, experts: Sequence[int]) -> tuple[list[int], list[int]]:
        """Places of a token's experts, and those of them that are written for it."""
        place, uses, own = self._place, self._uses, set(experts)
        written = []
        for expert in experts:
            if expert not in place:
                leaving = self._leaving(own)
                place[expert] = place.pop(leaving)
                del uses[leaving]
                uses[expert] = 0
                written.append(place[expert])
            uses[expert] += 1
            place.move_to_end(expert)
        return [place[expert] for expert in experts], written

    def _leaving(self, own: set[int]) -> int:
        others = (expert for expert in self._place if expert not in own)
        return min(others, key=self._uses.__getitem__) if self._by_uses else next(others)


@checks.checked(
    ConfigError,
    experts=checks.numbers(-1, dims=2, integer=True),
    places=checks.whole(1, 65_536),
    replacement=checks.word(*REPLACEMENTS),
)
def expert_places(experts: HostArray, places: int, replacement: str = "lru") -> tuple[HostArray, HostArray, HostArray]:
    """Follow the tokens of one layer. Host, exact.

    Args:
        experts: int `[T, k]`, a token's experts; -1: none. At most `places` of a token.
        places: R; the first R experts are there at the start.
        replacement: "lru" or "lfu".

    Returns:
        places of each token's experts int32 `[T, k]` (-1: none); token and place of every write, int `[n]` each.

    Raises:
        ConfigError: a token needs more experts than there are places.

    >>> places, token, place = expert_places(np.array([[0], [2], [1], [2]]), 2)
    >>> places.ravel().tolist(), token.tolist(), place.tolist()
    ([0, 1, 0, 1], [1, 2], [1, 0])
    """
    table = np.asarray(experts)
    most = int((table >= 0).sum(axis=1).max(initial=0))
    if most > places:
        raise ConfigError(
            f"places is {places} but a token has {most} experts, which must be on the chip together: give at least {most}"
        )
    layer, found = ExpertPlaces(places, replacement), np.full(table.shape, -1, np.int32)
    writes = []
    for token, row in enumerate(table.tolist()):
        own = [expert for expert in row if expert >= 0]
        at, written = layer.visit(own)
        found[token, table[token] >= 0] = at
        writes += [(token, place) for place in written]
    token, place = np.array(writes, int).reshape(-1, 2).T
    return found, token, place


def swapped(config: Config, routing: RunRouting) -> RunRouting:
    """The routing of a run whose tokens visit places instead of experts; groups are still those of experts.

    Raises:
        CapacityError: recomputed prefixes are too long to follow.
    """
    from pimjax.runs.cache_flags import cache_use

    places = resident_experts(config)
    assert places is not None
    prompt, steps = _ids(routing.prompt), _ids(routing.steps)  # [B, L, T, k]
    batch, layers, length = prompt.shape[:3]
    turns = [np.repeat(np.arange(batch), length)]
    order: list[tuple[int, slice, int | None]] = [(sequence, slice(0, length), None) for sequence in range(batch)]
    recomputes = bool(cache_use(config).experts_all)
    count = steps.shape[2]
    visits = batch * layers * sum(length + step + 1 for step in range(count)) if recomputes else 0
    if visits > _MOST_VISITS:
        raise CapacityError(
            f"system.residency is 'swap' and decode steps recompute their prefix: {visits:,} visits of experts would have to be "
            f"followed, at most {_MOST_VISITS:,} are; set workload.kv_cache: true, or generate fewer tokens"
        )
    whole = np.concatenate([_widened(prompt, steps), _widened(steps, prompt)], axis=2)
    for step in range(count):
        for sequence in range(batch):
            begin = 0 if recomputes else length + step
            order.append((sequence, slice(begin, length + step + 1), step))
            turns.append(np.full(length + step + 1 - begin, batch * (1 + step) + sequence))
    stream = np.concatenate([whole[sequence][:, tokens] for sequence, tokens, _ in order], axis=1)
    turn_of = np.concatenate(turns)
    found, written = np.empty(stream.shape, np.int32), []
    for layer in range(layers):
        found[layer], token, place = expert_places(stream[layer], places, config.system.replacement)
        written.append((turn_of[token], np.full(len(token), layer), place))
    turn, layer_of, place_of = (
        np.concatenate([np.zeros(0, int), *parts])
        for parts in (zip(*written, strict=True) if written else ((), (), ()))
    )
    at, prefixes = 0, {}
    new_prompt = np.zeros((batch, layers, length, places), bool)
    new_steps = np.zeros((batch, layers, count, places), bool)
    for sequence, tokens, step in order:
        size = tokens.stop - tokens.start
        mine = found[:, at : at + size]
        at += size
        if step is None:
            new_prompt[sequence] = chosen_places(mine, places)
            continue
        new_steps[sequence, :, step] = chosen_places(mine[:, -1:], places)[:, 0]
        if recomputes:
            prefixes[sequence, tokens.stop] = mine
    writes = ExpertWrites(turn, layer_of, place_of, batch, layers, places, routing.prompt.shape[-1], prefixes)
    copies = np.tile(np.arange(places), (layers, 1))
    return dataclasses.replace(routing, prompt=new_prompt, steps=new_steps, copy_of=copies, writes=writes)


def loads_of_places(choices: Iterable[HostArray], places: int, replacement: str) -> HostArray:
    """float `[requests, L, R]`: tokens that visit each place, of requests bool `[L, T, E]` that each begin anew."""
    found = []
    for request in choices:
        rows = [expert_places(layer, places, replacement)[0] for layer in _ids(request[None])[0]]
        found.append([np.bincount(row[row >= 0], minlength=places) for row in rows])
    return np.array(found, np.float64)


def chosen_places(found: HostArray, places: int) -> HostArray:
    """int `[..., k]` (-1: none) -> bool `[..., R]`.

    >>> chosen_places(np.array([[2, -1]]), 3).tolist()
    [[False, False, True]]
    """
    out = np.zeros((*found.shape[:-1], places + 1), bool)
    np.put_along_axis(out, np.where(found < 0, places, found), True, axis=-1)
    return out[..., :places]


def _ids(choices: HostArray) -> HostArray:
    """bool `[..., T, E]` -> int `[..., T, k]`, the lowest first; -1: none."""
    most = int(choices.sum(axis=-1).max(initial=1))
    ids = np.argsort(~choices, axis=-1, kind="stable")[..., :most]
    return np.where(np.take_along_axis(choices, ids, axis=-1), ids, -1)


def _widened(ids: HostArray, like: HostArray) -> HostArray:
    more = max(0, like.shape[-1] - ids.shape[-1])
    return np.pad(ids, [(0, 0)] * (ids.ndim - 1) + [(0, more)], constant_values=-1)


__all__ = [
    "ExpertPlaces",
    "ExpertWrites",
    "chosen_places",
    "expert_places",
    "loads_of_places",
    "resident_experts",
    "swapped",
]
