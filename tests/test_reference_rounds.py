"""Phases in rounds of whole additions: hand-worked schedules, repeated simulations, derivatives by transposed events."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.chips.reference import fluid_gradient, phases, rounds


def test_transposed_rounds_equal_plain_differentiation():
    """As above, for the simulation in rounds: its derivative is the transpose of its events."""
    kind = phases.MIDDLE
    with jax.enable_x64(True):
        stages, rng = len(kind.single), np.random.default_rng(5)
        chains = jnp.asarray(rng.integers(3, 12, stages), float)
        width = jnp.where(jnp.array(kind.single), 1.0, chains)
        lead = jnp.minimum(width, 4.0)
        size, units = 6, jnp.float64(9)
        arguments = width, lead, jnp.float64(size), units
        weights = jnp.asarray(rng.uniform(size=size))

        def plain(durations):
            done, _ = rounds.run_rounds(kind, size, durations, *arguments, differentiable=True)
            return jnp.sum(weights * (done if kind.queued < 0 else jax.lax.cummax(done)))

        def summed(durations):
            return fluid_gradient._summed_rounds(kind, durations, *arguments, weights)

        lanes = 4
        drawn = rounds.RoundDurations(
            work=jnp.asarray(rng.uniform(300, 1500, (lanes, stages))),
            trip=jnp.where(jnp.array(kind.tiles), jnp.asarray(rng.uniform(20, 90, (lanes, stages))), 0.0),
            mvm=jnp.asarray(rng.uniform(20, 60, lanes)),
            hop_in=jnp.asarray(rng.uniform(1, 5, lanes)),
            add=jnp.asarray(rng.uniform(5, 15, lanes)),
        )
        value, back = jax.jit(jax.vmap(summed)), jax.jit(jax.vmap(jax.grad(summed)))(drawn)
        through = jax.jit(jax.vmap(jax.grad(plain)))(drawn)
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10), back, through)
        for field in drawn._fields:
            step = 1e-6 * jnp.asarray(rng.uniform(size=getattr(drawn, field).shape)) * (getattr(drawn, field) > 0)
            moved = [drawn._replace(**{field: getattr(drawn, field) + sign * step}) for sign in (1, -1)]
            expected = (getattr(back, field) * step).reshape(lanes, -1).sum(1)
            np.testing.assert_allclose((value(moved[0]) - value(moved[1])) / 2, expected, atol=2e-10)
        assert np.all(jax.vmap(lambda one: rounds.run_rounds(kind, size, one, *arguments)[0])(drawn) > 0)
        euler = sum(jnp.sum((d * slope).reshape(lanes, -1), axis=1) for d, slope in zip(drawn, back, strict=True))
        np.testing.assert_allclose(euler, value(drawn), rtol=1e-12)


def test_rounds_leave_units_free_and_let_the_next_stage_begin():
    """One token: 5 chains of 2 additions of 10 ns on 3 units, then a single of 7 ns, in the last layer's phase."""
    durations = rounds.RoundDurations(
        work=jnp.array([100.0, 7.0, 0.0, 0.0, 100.0, 7.0]),
        trip=jnp.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
        mvm=jnp.ones(()),
        hop_in=jnp.ones(()),
        add=jnp.array(10.0),
    )
    width = jnp.array([5.0, 1.0, 1.0, 1.0, 5.0, 1.0])
    one = jnp.ones(())
    times = functools.partial(rounds.run_rounds, phases.LAST, 1, durations, width, tokens=one, units=3 * one)
    # 10 additions in 4 rounds, the last of one addition; the single waits for all chains: 40 + 7, 1 + 1, 40 + 7
    assert times(lead=width)[0].tolist() == [96.0]
    # the last single needs 4 of the 5 chains, which are through when the last round begins
    assert times(lead=width.at[4].set(4.0))[0].tolist() == [86.0]
    # two tokens, the second's burst begins on the two units that the first's last round leaves
    two = functools.partial(times, lead=width, units=3 * one)
    pair = rounds.run_rounds(phases.LAST, 2, durations, width, lead=width, tokens=2 * one, units=3 * one)[0]
    # the first token waits for additions of the second that run when one of its four later stages begins
    assert two()[0][0] < pair[0] < two()[0][0] + 4 * durations.add
    assert pair[1] < 2 * pair[0]


def test_units_end_their_addition_before_they_change_hands():
    """Two of the second token's four units go to the first, one more was idle; rounds end in 4 ns, additions take 12."""
    before, rate = jnp.array([1.0, 4.0]), jnp.array([4.0, 2.0])
    left, bound = rounds._hand_over(jnp.array([100.0, 90.0]), jnp.array([6.0, 4.0]), before, rate, jnp.array(12.0))
    # 2 x 4 ns of work are done for the second token while the first waits for them
    assert left.tolist() == [108.0, 82.0]
    # one unit of the first ends its round in 6 ns, three new ones end theirs in 12 + 8 / 3 ns
    np.testing.assert_allclose(bound, [(6 + 3 * (12 + 8 / 3)) / 4, 4.0], rtol=1e-6)
    # units that only end, as where chains run out, change nothing
    left, bound = rounds._hand_over(
        jnp.array([100.0, 90.0]), jnp.array([6.0, 4.0]), before, before - 1, jnp.array(12.0)
    )
    assert (left.tolist(), bound.tolist()) == ([100.0, 90.0], [6.0, 4.0])


def test_short_phases_are_the_mean_of_simulations_with_stretched_singles(monkeypatch):
    kind, tokens, rng = phases.LAST, 5.0, np.random.default_rng(8)
    single = jnp.array(kind.single)
    with jax.enable_x64(True):
        durations = rounds.RoundDurations(
            work=jnp.asarray(rng.uniform(300, 1500, len(kind.single))),
            trip=jnp.where(jnp.array(kind.tiles), 75.0, 0.0),
            mvm=jnp.float64(50),
            hop_in=jnp.float64(5),
            add=jnp.float64(12),
        )
        width = jnp.where(single, 1.0, 8.0)
        times = functools.partial(rounds.run_rounds, kind, width=width, lead=width, units=jnp.float64(7))
        mean, _ = times(size=8, durations=durations, tokens=jnp.float64(tokens))
        padded, _ = times(size=16, durations=durations, tokens=jnp.float64(tokens))
        np.testing.assert_array_equal(padded[:8], mean)  # the number of simulations is a matter of the tokens alone

        monkeypatch.setitem(rounds.MOST_REPEATS, kind, 1)

        def stretched(factor):
            work = durations.work * jnp.where(single, factor, 1)
            return times(size=8, durations=durations._replace(work=work), tokens=jnp.float64(tokens))[0]

        each = jax.vmap(stretched)(jnp.linspace(1 - rounds.STRETCH, 1 + rounds.STRETCH, 4))
        np.testing.assert_allclose(mean, np.mean(each, axis=0), rtol=1e-12)
        assert np.ptp(np.asarray(each)[:, 4]) > 0
