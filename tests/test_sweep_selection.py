"""Selection on the device against brute force."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimjax import status
from pimjax.batch.selection import Rules, Selected, empty_state, merge, to_host, update

RULES = Rules(
    ("a", "b", "c"),
    constraints=((0, "<=", 0.9),),
    objectives=((0, 1.0), (1, -1.0), (2, 1.0)),
    max_front=64,
    tops=((1, -1.0, 5),),
    histograms=((0, 0.25, 0.75, 4, False), (2, 0.01, 1.0, 2, True)),
)
TILE = 64


@functools.cache
def _program(rules: Rules):
    return jax.jit(functools.partial(update, rules))


def _select(values: np.ndarray, bits: np.ndarray, rules: Rules = RULES, first: int = 0) -> Selected:
    state = jax.tree.map(jnp.asarray, empty_state(rules, np.float32))
    for start in range(0, len(values), TILE):
        rows = np.arange(start, start + TILE)
        inside = rows < len(values)
        safe = np.minimum(rows, len(values) - 1)
        point = np.where(inside, rows, -1).astype(np.int32)
        state = _program(rules)(state, values[safe], bits[safe], point)
    [host] = to_host(jax.tree.map(lambda leaf: leaf[None], state), lambda ids: ids.astype(np.int64) + first)
    return host


def _front(values: np.ndarray, usable: np.ndarray) -> list[int]:
    goals = np.stack([values[:, 0], -values[:, 1], values[:, 2]], axis=1)
    ids = np.flatnonzero(usable)

    def beats(j: int, i: int) -> bool:
        return bool((goals[j] <= goals[i]).all() and ((goals[j] < goals[i]).any() or j < i))

    return [int(i) for i in ids if not any(beats(j, i) for j in ids if j != i)]


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.integers(1, 200), st.sampled_from([5, 20, 1000]))
def test_selection_is_brute_force_however_it_is_cut(seed: int, size: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.integers(0, steps, (size, 3)) / steps).astype(np.float32)  # ties on purpose
    bits = np.where(rng.random(size) < 0.1, status.NON_FINITE, status.MULTI_DIE).astype(np.int32)
    values[rng.random(size) < 0.05, 1] = np.nan
    finite = ((bits & status.NON_FINITE) == 0) & np.isfinite(values).all(axis=1)
    usable = finite & (values[:, 0] <= np.float32(0.9))
    cut = size // 3
    parts = [_select(values[:cut], bits[:cut])] if cut else []
    parts.append(_select(values[cut:], bits[cut:], first=cut))
    for order in (parts, parts[::-1]):
        kept = merge(RULES, order)
        expected = _front(values, usable)
        assert kept.overflow == (len(expected) > RULES.max_front) or not kept.overflow
        if not kept.overflow:
            assert kept.front_point.tolist() == expected
            np.testing.assert_array_equal(kept.front, values[expected])
        best = sorted(np.flatnonzero(usable), key=lambda i: (-values[i, 1], i))[:5]
        assert kept.top_points[0].tolist() == best
        assert kept.counts.tolist() == [size, size - finite.sum(), usable.sum()]
        inner = [
            ((values[finite, 0] >= low) & (values[finite, 0] < low + 0.125)).sum() for low in (0.25, 0.375, 0.5, 0.625)
        ]
        assert kept.histograms[0][1:-1].tolist() == inner
        assert kept.histograms[0].sum() == kept.histograms[1].sum() == finite.sum()


def test_a_front_that_does_not_fit_is_reported() -> None:
    rules = Rules(("a", "b"), objectives=((0, 1.0), (1, 1.0)), max_front=16)
    along = np.linspace(0, 1, 50, dtype=np.float32)
    values = np.stack([along, 1 - along], axis=1)
    assert _select(values, np.zeros(50, np.int32), rules).overflow
    assert not _select(values[:16], np.zeros(16, np.int32), rules).overflow


@pytest.mark.parametrize(("comparison", "expected"), [("<=", 3), ("<", 2), (">=", 3), (">", 2)])
def test_constraints(comparison: str, expected: int) -> None:
    rules = Rules(("a",), constraints=((0, comparison, 2.0),), tops=((0, 1.0, 1),))
    values = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]], np.float32)
    assert _select(values, np.zeros(5, np.int32), rules).counts[2] == expected
