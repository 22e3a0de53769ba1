"""Links of an expert phase: the exact simulation against a plain queue of events, the fast models against it."""

from __future__ import annotations

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

SLOW = {"die_link_bandwidth_gb_per_s_per_mm": 0.5, "package_link_bandwidth_gb_per_s": 3.0}
SIZES = {"token_bytes": 97.0, "result_bytes": 211.0}


def cases():
    return st.tuples(st.integers(1, 7), st.integers(1, 4), st.integers(0, 2**31), st.integers(1, 12), st.booleans())


def made(case):
    dies, per_package, seed, tokens, at_once = case
    generator = np.random.default_rng(seed)
    links = system.make_links(dies, SystemSection(dies_per_package=per_package, **SLOW))
    links = links._replace(bandwidth_gb_per_s=links.bandwidth_gb_per_s * generator.uniform(0.2, 3, links.num_links))
    visits = generator.random((tokens, dies)) < 0.5
    release = np.zeros(tokens) if at_once else np.sort(generator.uniform(0, 400, tokens))
    return (
        links,
        visits,
        {
            "home": int(generator.integers(dies)),
            "release_ns": release,
            "expert_ns": generator.uniform(50, 300, dies),
            **SIZES,
        },
    )


def fast(model, links, visits, arguments):
    release = arguments["release_ns"]
    others = {key: arguments[key] for key in ("home", "expert_ns", "token_bytes", "result_bytes")}
    return model(visits.sum(axis=0).astype(float), links, first_ns=release[0], last_ns=release[-1], **others)


@settings(max_examples=150)
@given(cases())
def test_the_simulation_is_a_queue_of_events(case) -> None:
    links, visits, arguments = made(case)
    exact = system.simulate_phase(visits, links, **arguments)
    want = oracle.phase_end([set(np.flatnonzero(row)) for row in visits], links, **arguments)
    for (token, die), time in want.items():
        assert exact.back[token, die] == pytest.approx(time, rel=1e-12)
    assert np.isnan(exact.back[~visits]).all()
    assert exact.end == pytest.approx(max([*want.values(), *arguments["release_ns"]]))


@settings(max_examples=150)
@given(cases())
def test_bytes_and_busy_times_of_all_models_are_exact(case) -> None:
    links, visits, arguments = made(case)
    exact = system.simulate_phase(visits, links, **arguments)
    crossed = system.layer_crossings(visits, np.eye(visits.shape[1], dtype=bool), arguments["home"], **SIZES)
    busy = system.link_bytes(crossed.pair_bytes, links) / links.bandwidth_gb_per_s
    np.testing.assert_allclose(busy, exact.busy_ns, rtol=1e-12)
    for model in (system.closed_phase, system.fluid_phase):
        np.testing.assert_allclose(fast(model, links, visits, arguments).busy_ns, exact.busy_ns, rtol=1e-9, atol=1e-9)


@settings(max_examples=100)
@given(st.integers(0, 2**31), st.integers(1, 40), st.booleans())
def test_two_dies_and_one_burst_are_exact_in_closed_form(seed, tokens, all_visit) -> None:
    """One link each way, all tokens at once: there is nothing but one queue."""
    generator = np.random.default_rng(seed)
    links = system.make_links(2, SystemSection(**SLOW))
    visits = np.ones((tokens, 2), bool)
    if not all_visit:
        visits[:, 1] = generator.random(tokens) < 0.5
    arguments = {"home": 0, "release_ns": np.zeros(tokens), "expert_ns": np.full(2, 100.0), **SIZES}
    exact = system.simulate_phase(visits, links, **arguments).end
    for model in (system.closed_phase, system.fluid_phase):
        assert float(fast(model, links, visits, arguments).end) == pytest.approx(exact, rel=1e-12)


def test_fast_models_stay_near_the_simulation_on_random_systems() -> None:
    """Short streams, where queues matter most; benchmarks/results/link_error.json has windows of real traces."""
    generator = np.random.default_rng(0)
    errors = {"closed": [], "fluid": []}
    for _ in range(150):
        case = (int(generator.integers(2, 8)), int(generator.integers(1, 5)), int(generator.integers(2**31)), int(generator.integers(1, 60)), bool(generator.integers(2)))  # fmt: skip
        links, visits, arguments = made(case)
        exact = system.simulate_phase(visits, links, **arguments).end
        if not exact:
            continue
        for name, model in (("closed", system.closed_phase), ("fluid", system.fluid_phase)):
            errors[name].append(float(fast(model, links, visits, arguments).end) / exact - 1)
    assert np.mean(np.abs(errors["fluid"])) < 0.04
    assert np.mean(np.abs(errors["closed"])) < 0.08


@settings(max_examples=60)
@given(cases(), st.integers(0, 2**31))
def test_slowing_one_link_changes_only_what_crosses_it(case, seed) -> None:
    links, visits, arguments = made(case)
    if not links.num_links:
        return
    slowed = int(np.random.default_rng(seed).integers(links.num_links))
    bandwidth = links.bandwidth_gb_per_s.copy()
    bandwidth[slowed] /= 7
    changed = links._replace(bandwidth_gb_per_s=bandwidth)
    before, after = (system.simulate_phase(visits, one, **arguments) for one in (links, changed))
    crosses = before.busy_ns[slowed] > 0
    same = np.array_equal(before.back, after.back, equal_nan=True)
    assert same != crosses
    for model in (system.closed_phase, system.fluid_phase):
        ends = [float(fast(model, one, visits, arguments).end) for one in (links, changed)]
        assert ends[1] >= ends[0]
        assert crosses or ends[0] == ends[1]


@settings(max_examples=40)
@given(cases())
def test_links_without_limit_leave_the_experts_alone(case) -> None:
    links, visits, arguments = made(case)
    free = links._replace(bandwidth_gb_per_s=np.full(links.num_links, 1e30), latency_ns=np.zeros(links.num_links))
    want = max([release + arguments["expert_ns"][die] for release, row in zip(arguments["release_ns"], visits, strict=True) for die in np.flatnonzero(row)], default=0.0)  # fmt: skip
    exact = system.simulate_phase(visits, free, **arguments)
    assert exact.end == pytest.approx(max(want, *arguments["release_ns"]))
    if visits[-1].all():
        for model in (system.closed_phase, system.fluid_phase):
            assert float(fast(model, free, visits, arguments).end) == pytest.approx(want)


def test_fast_models_compile_batch_and_differentiate() -> None:
    links, visits, arguments = made((5, 3, 7, 12, False))
    counts = jnp.asarray(visits.sum(axis=0), jnp.float32)
    with jax.enable_x64(True):
        for model in (system.closed_phase, system.fluid_phase):
            host = float(fast(model, links, visits, arguments).end)
            device = jax.tree.map(jnp.asarray, links)

            def end(bandwidth, model=model, device=device):
                moved = device._replace(bandwidth_gb_per_s=bandwidth)
                return model(counts, moved, home=arguments["home"], expert_ns=arguments["expert_ns"], first_ns=arguments["release_ns"][0], last_ns=arguments["release_ns"][-1], **SIZES).end  # fmt: skip

            compiled = jax.jit(end)
            assert float(compiled(device.bandwidth_gb_per_s)) == pytest.approx(host, rel=1e-9)
            many = jax.jit(jax.vmap(end))(device.bandwidth_gb_per_s[None] * jnp.array([[1.0], [2.0], [0.5]]))
            assert float(many[0]) == pytest.approx(host, rel=1e-9)
            assert many[1] <= many[0] <= many[2]
            slope = np.asarray(jax.jit(jax.grad(end))(device.bandwidth_gb_per_s))
            assert np.isfinite(slope).all()
            step = 1e-6
            for k in np.argsort(-np.abs(slope))[:3]:
                moved = np.asarray(links.bandwidth_gb_per_s).copy()
                values = []
                for sign in (1, -1):
                    moved[k] = links.bandwidth_gb_per_s[k] * (1 + sign * step)
                    values.append(float(compiled(jnp.asarray(moved))))
                want = (values[0] - values[1]) / (2 * step * links.bandwidth_gb_per_s[k])
                assert slope[k] == pytest.approx(want, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("dies", [1, 2, 3, 4, 7, 9, 12])
@pytest.mark.parametrize("per_package", [1, 2, 3, 4, 6])
def test_every_way_ends_where_it_should(dies, per_package) -> None:
    links = system.make_links(dies, SystemSection(dies_per_package=per_package))
    uses = system.route(links)
    for a in range(dies):
        for b in range(dies):
            way = [k for k in links.path[a, b] if k >= 0]
            assert bool(way) == (a != b)
            assert len(set(way)) == len(way)
            assert uses[a, b].sum() == len(way)
            if a // per_package == b // per_package:
                assert not links.between_packages[way].any()
            elif a != b:
                assert links.between_packages[way].all()
                assert len(way) == 2
                assert links.latency_ns[way].sum() == 150
                assert links.energy_pj_per_bit[way].sum() == 4
    assert len(links.bandwidth_gb_per_s) == links.num_links
    assert (links.bandwidth_gb_per_s > 0).all()


def test_links_of_another_number_of_dies_are_refused() -> None:
    with pytest.raises(ConfigError, match="links join 2 dies"):
        system.simulate_phase(
            [[1, 1, 1]], system.make_links(2, SystemSection()), home=0, release_ns=0, expert_ns=0, **SIZES
        )
