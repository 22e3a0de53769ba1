"""Placement and crossings: counted against loops, fitted placements against all of them."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import system as oracle

import pimjax.system as system
from pimjax.config.system import SystemSection
from pimjax.errors import ConfigError

EXPERTS, DIES = 8, 4
kernel = jax.jit(system.layer_crossings)
model_kernel = jax.jit(system.model_pair_bytes)


def tokens(least=1):
    return st.lists(st.lists(st.booleans(), min_size=EXPERTS, max_size=EXPERTS), min_size=least, max_size=12)


def held():
    return st.lists(st.lists(st.booleans(), min_size=DIES, max_size=DIES), min_size=EXPERTS, max_size=EXPERTS)


@settings(max_examples=150)
@given(tokens(), held(), st.integers(0, DIES - 1))
def test_crossings_against_loops(choices, holds, home) -> None:
    rows = np.zeros((12, EXPERTS), bool)
    rows[: len(choices)] = choices
    want = oracle.pair_bytes(choices, holds, home, 5, 7)
    for layer in (system.layer_crossings, kernel):
        made = layer(rows, np.array(holds), home, token_bytes=5.0, result_bytes=7.0)
        found = {pair: float(count) for pair, count in np.ndenumerate(np.asarray(made.pair_bytes)) if count}
        assert found == dict(want)
        assert float(made.crossings) == sum(len(dies - {home}) for dies in oracle.visits(choices, holds))


@settings(max_examples=60)
@given(st.sampled_from([1, 3]), st.integers(0, 2**31), st.integers(1, 9))
def test_bytes_of_a_model_against_loops(layers, seed, count) -> None:
    generator = np.random.default_rng(seed)
    choices = generator.random((layers, 9, EXPERTS)) < 0.3
    choices[:, count:] = False
    holds = generator.random((layers, EXPERTS, DIES)) < 0.4
    homes = generator.integers(0, DIES, layers)
    want = oracle.model_pair_bytes(choices, holds, homes, count, 5, 7)
    found = system.model_pair_bytes(choices, holds, homes, count, token_bytes=5.0, result_bytes=7.0)
    assert {pair: size for pair, size in np.ndenumerate(found) if size} == {
        pair: size for pair, size in want.items() if size
    }
    device = model_kernel(*map(jnp.asarray, (choices, holds, homes)), count, token_bytes=5.0, result_bytes=7.0)
    assert np.array_equal(device, found)


def test_equal_loads_and_other_expert_sets_give_other_bytes() -> None:
    holds = system.holds([0, 0, 1, 1])
    together = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], bool)
    apart = np.array([[1, 0, 1, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 1, 0, 1]], bool)
    assert (together.sum(0) == apart.sum(0)).all()
    links = system.make_links(2, SystemSection())
    sizes = {"token_bytes": 10.0, "result_bytes": 20.0}
    first, second = (system.layer_crossings(one, holds, 0, **sizes).pair_bytes for one in (together, apart))
    assert first[0, 1] == 20
    assert second[0, 1] == 40
    assert (system.link_bytes(first, links) < system.link_bytes(second, links)).all()
    assert (system.link_energy_nj(first, links) < system.link_energy_nj(second, links)).all()


def test_placements_of_one_program() -> None:
    """One compiled kernel over many placements: they are data."""
    generator = np.random.default_rng(1)
    choices = generator.random((20, EXPERTS)) < 0.3
    maps = np.stack([system.holds(generator.permutation(np.repeat(np.arange(DIES), 2)), DIES) for _ in range(5)])

    def many(held):
        return system.layer_crossings(choices, held, 0, token_bytes=1.0, result_bytes=1.0).crossings

    found = jax.jit(jax.vmap(many))(jnp.asarray(maps))
    assert found.tolist() == [float(many(one)) for one in maps]


def _visits(choices, die) -> int:
    return int(np.asarray(system.die_visits(choices, system.holds(die))).sum())


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.sampled_from([2, 3]))
def test_a_fitted_placement_is_the_best_of_all_or_near(seed, dies) -> None:
    generator = np.random.default_rng(seed)
    experts = 6
    choices = np.zeros((40, experts), bool)
    for row in choices:
        row[
            generator.choice(experts, 3, replace=False, p=generator.dirichlet(np.ones(experts)) * 0.9 + 0.1 / experts)
        ] = True
    die = system.place_experts(experts, dies, "coactivation", choices=choices, kicks=8)
    assert (np.bincount(die, minlength=dies) == experts // dies).all()
    orders = set(itertools.permutations(np.repeat(np.arange(dies), experts // dies).tolist()))
    best = min(_visits(choices, order) for order in orders)
    assert best <= _visits(choices, die) <= best * 1.02
    assert _visits(choices, die) <= _visits(choices, system.place_experts(experts, dies))


def test_sizes_are_kept_and_the_search_is_deterministic() -> None:
    generator = np.random.default_rng(3)
    choices = generator.random((2, 50, 16)) < 0.25
    for sizes in ([7, 5, 4], [1, 1, 14], [6, 5, 5]):
        die = system.place_experts(16, 3, "coactivation", choices=choices, sizes=sizes, seed=5)
        assert np.bincount(die).tolist() == sizes
        assert (die == system.place_experts(16, 3, "coactivation", choices=choices, sizes=sizes, seed=5)).all()
    assert np.bincount(system.place_experts(32, 7)).tolist() == [5, 5, 5, 5, 4, 4, 4]


def test_choices_that_never_meet_keep_the_order() -> None:
    assert system.place_experts(4, 2, "coactivation", choices=np.eye(4, dtype=bool)).tolist() == [0, 0, 1, 1]


@settings(max_examples=80)
@given(st.integers(1, 4), st.integers(1, 6), st.floats(0, 900), st.floats(20, 800), st.booleans())
def test_layers_in_order_fill_dies(layers, groups, dense, group_area, whole) -> None:
    areas = {"dense_area_mm2": dense, "group_area_mm2": group_area, "usable_mm2": 800.0}
    made = system.lay_out(np.tile(np.arange(groups), (layers, 1)), **areas, whole_groups=whole)
    assert made.used_mm2.sum() == pytest.approx(layers * (dense + groups * group_area))
    assert (made.used_mm2 <= 800 * (1 + 1e-6)).all()
    spans = made.holds.reshape(layers * groups, -1)
    first, wide = spans.argmax(axis=1), spans.sum(axis=1)
    assert (np.diff(first) >= 0).all()
    assert (np.diff(made.homes) >= 0).all()
    if whole:
        assert (wide == 1).all()
    else:
        dies = system.dies_needed(made.used_mm2.sum() * (1 - 1e-9), 800.0, SystemSection().arrays())
        assert made.holds.shape[2] == int(dies.dies)
        assert (wide <= 2).all()
        # each die but the last is full
        assert made.used_mm2[:-1] == pytest.approx(np.full(len(made.used_mm2) - 1, 800.0))


def test_groups_larger_than_a_die_are_on_several() -> None:
    made = system.lay_out([0, 1], dense_area_mm2=0, group_area_mm2=250, usable_mm2=100)
    assert made.holds[0].astype(int).tolist() == [[1, 1, 1, 0, 0], [0, 0, 1, 1, 1]]
    with pytest.raises(ConfigError, match="does not fit a die"):
        system.lay_out([0, 1], dense_area_mm2=0, group_area_mm2=250, usable_mm2=100, whole_groups=True)


def test_ordered_groups_stay_groups_and_cross_less() -> None:
    generator = np.random.default_rng(2)
    friends = generator.permutation(16).reshape(4, 4)  # experts that tokens choose together
    choices = np.zeros((200, 16), bool)
    for row in choices:
        row[generator.choice(friends[generator.integers(4)], 3, replace=False)] = True
    groups = np.arange(16)
    areas = {"dense_area_mm2": 0.0, "group_area_mm2": 100.0, "usable_mm2": 400.0}
    ordered = system.order_groups(groups, choices, 4)
    assert sorted(ordered) == list(range(16))
    visited = [_dies(choices, system.lay_out(one, **areas)) for one in (groups, ordered)]
    assert visited[1] == 200 < visited[0]  # every token's experts are on one die
    pairs = np.repeat(np.arange(8), 2)
    again = system.order_groups(pairs, choices, 4)
    assert len({(int(a), int(b)) for a, b in zip(pairs, again, strict=True)}) == 8


def _dies(choices, layout) -> int:
    return int(np.asarray(system.die_visits(choices, layout.holds[0])).sum())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"experts": 4, "dies": 5}, "at most one die per expert"),
        ({"experts": 4, "dies": 2, "strategy": "coactivation"}, "give choices"),
        ({"experts": 4, "dies": 2, "sizes": [1, 1]}, "add up to 4"),
        ({"experts": 4, "dies": 2, "strategy": "random"}, "contiguous"),
        ({"experts": 4, "dies": 2, "strategy": "coactivation", "choices": np.ones((3, 5), bool)}, "tokens, 4"),
    ],
)
def test_wrong_placements_are_one_sentence(arguments, words) -> None:
    with pytest.raises(ConfigError, match=words):
        system.place_experts(**arguments)
