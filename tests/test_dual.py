"""Shares carried forward by duals against `jax.jvp`, on NumPy and JAX arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pimjax.chips.parts import dual
from pimjax.chips.parts.dual import Dual


def formula(times, factors, library):
    """Everything that happens between durations and a latency; homogeneous in `times` [A, B], which are duals or not."""
    first, second = dual.pick(times, 0, -1), dual.pick(times, 1, -1)
    assert first.shape == (factors.shape[0],)
    longest = dual.larger(first * factors[:, 0], second / factors[:, 1])
    chosen = library.where(factors[:, 2] > 1, longest, dual.smaller(first, second - 0.5 * first))
    chosen = chosen + library.where(factors[:, 2] > 1.5, 0.0, dual.total(times * factors, -1))
    rows = dual.spread(chosen, (2, *chosen.shape)) * factors.T[:2]
    end, out = dual.scan(lambda carry, row: (dual.larger(carry + row, 2.0 * row), carry), chosen * 0.0, rows)
    pushed = dual.pushed(end, dual.join([out, rows]))
    negated = -dual.taken(pushed, 1)
    return dual.largest(-negated, -1) + dual.total(end, -1) + dual.pick(dual.swapped(out), 1, -2)[0]


class _Where:
    where = staticmethod(dual.where)


@pytest.mark.parametrize("library", [np, jnp])
@pytest.mark.parametrize("seed", range(5))
def test_shares_equal_the_derivatives(seed, library):
    rng = np.random.default_rng(seed)
    base, factors = rng.uniform(1, 2, (4, 3)), rng.uniform(0.5, 2, (4, 3))
    if seed == 0:
        base[:] = 1.0
        factors[:] = 1.0  # ties everywhere
    with jax.enable_x64(True):
        directions = np.eye(3)  # a component per column

        def scaled(scale):
            return formula(base * scale[None], jnp.asarray(factors), _Where)

        expected = [jax.jvp(scaled, (jnp.ones(3),), (jnp.asarray(one),))[1] for one in directions]
        tangent = directions[:, None, :] * base
        given = Dual(library.asarray(base), library.asarray(tangent))
        found = formula(given, library.asarray(factors), _Where)
        value = float(scaled(jnp.ones(3)))
    tangent = np.asarray(found.tangent)
    assert float(found.value) == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(tangent, np.asarray(expected), rtol=1e-12)
    assert tangent.sum() == pytest.approx(value, rel=1e-12)  # homogeneous


def test_products_of_durations_are_refused():
    one = Dual(np.float64(1.0), np.ones(1))
    with pytest.raises(TypeError, match="homogeneous"):
        one * one
