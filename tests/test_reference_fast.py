"""Fast models of the reference chip: exact sums against goldens, latency against the event engine, derivatives."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import GOLDEN
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pimjax
from pimjax import status
from pimjax.chips.reference import closed, fluid, fluid_gradient, phases
from pimjax.chips.reference.config import simulate_config
from pimjax.chips.reference.kernel import latency_and_shares, reference_cost
from pimjax.chips.run_cost import COMPONENT_INDEX, COMPONENTS, OP_INDEX
from pimjax.config import Capacity

SMALL = json.loads((GOLDEN / "reference_small.json").read_text())["cases"]
#: one program per fidelity for every test of this file
CAPACITY = Capacity(max_tokens=32, max_layers=4, max_experts=16, max_top_k=8)
#: golden cases whose blocks share tiles, which the fast models do not know
SHARED_TILES = {case["name"] for case in SMALL if case["inputs"]["tiers"] > 1}
#: float64 traces of the programs above
TRACES = {"fluid": 0, "closed": 0}


@functools.cache
def compiled(fidelity: str):
    def cost(design):
        TRACES[fidelity] += 1
        return reference_cost(design, capacity=CAPACITY, fidelity=fidelity)

    return jax.jit(cost)


def padded_design(inputs: dict):
    """Design whose group map has the shape that CAPACITY asks for."""
    design, _ = pimjax.build(pimjax.reference_config(**inputs))
    groups = np.full(CAPACITY.max_experts, -1, np.int32)
    return design.set({"plan.group_of_expert": groups})


def fast(fidelity: str, inputs: dict):
    """RunCost of one run in float64, as NumPy."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, compiled(fidelity)(padded_design(inputs)))


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case["name"])
@pytest.mark.parametrize("fidelity", ["fluid", "closed"])
def test_sums_equal_the_goldens_and_latency_is_close(case, fidelity):
    expected = case["outputs"]
    cost = fast(fidelity, case["inputs"])
    assert float(cost.flops) == expected["flops"]
    for kind, count in expected["counts"].items():
        assert cost.op_counts[OP_INDEX[kind]] == count, kind
    for name, nj in expected["energy_breakdown_nJ"].items():
        if name not in ("passive", "dram_go"):  # passive follows the latency; dram_go is no part of the total
            assert cost.component_energy_nj[COMPONENT_INDEX[name]] == pytest.approx(nj, rel=1e-11), name
    for name, ns in expected["latency_breakdown_ns"].items():
        assert cost.busy_ns[COMPONENT_INDEX[name]] == pytest.approx(ns, rel=1e-12), name
    idle_w = expected["energy_breakdown_nJ"]["passive"] / expected["latency_ns"]
    assert cost.component_energy_nj[0] == pytest.approx(idle_w * cost.latency_ns, rel=1e-12)
    assert cost.peak_memory_bytes >= expected["peak_memory_bytes"]
    assert cost.status == status.OK
    assert cost.critical_ns.sum() == pytest.approx(cost.latency_ns, rel=1e-12)
    if case["name"] not in SHARED_TILES:
        assert cost.latency_ns == pytest.approx(expected["latency_ns"], rel=0.025 if fidelity == "fluid" else 0.06)
    else:
        assert cost.latency_ns < expected["latency_ns"]


def test_published_prefill_and_cached_generation():
    prefill = fast("fluid", {})
    assert prefill.latency_ns == pytest.approx(244282.5, rel=2e-4)
    assert fast("closed", {}).latency_ns == pytest.approx(244282.5, rel=0.01)
    assert prefill.crossbars == 6592
    assert prefill.tokens == 32
    assert prefill.critical_ns[COMPONENT_INDEX["mha_comp"]] == 130876.5
    # attention and digital additions bound the published chip, not the MVM
    assert prefill.critical_ns[COMPONENT_INDEX["tier_linear"]] < 0.02 * prefill.latency_ns
    assert prefill.critical_ns[COMPONENT_INDEX["digital_add"]] > 0.4 * prefill.latency_ns


runs = st.fixed_dictionaries(
    {
        "d_model": st.integers(64, 1024),
        "d_ff": st.integers(32, 900),
        "vocab": st.integers(100, 2000),
        "layers": st.integers(1, 3),
        "frequency": st.integers(1, 2),
        "experts": st.integers(8, 16),
        "k": st.integers(1, 6),
        "start_len": st.integers(1, 12),
        "new_length": st.integers(2, 4),
        "kv": st.booleans(),
        "go": st.booleans(),
        "prefill": st.booleans(),
        "dpus": st.integers(1, 20),
        "mvm_latency": st.integers(40, 300),
        "comm_factor": st.floats(0.5, 4),
        "mvm_factor": st.sampled_from([1.0, 1.0, 0.7, 1.4]),
        "seed": st.integers(0, 5),
    }
)


@settings(max_examples=30)
@given(runs)
@example({"experts": 0, "d_model": 512, "vocab": 500, "start_len": 5, "new_length": 3, "layers": 2})
def test_against_the_event_engine(inputs):
    exact, _ = simulate_config(pimjax.reference_config(**inputs), seed=inputs.get("seed", 0))
    for fidelity, tolerance in (("fluid", 0.08), ("closed", 0.12)):
        cost = fast(fidelity, inputs)
        assert cost.latency_ns == pytest.approx(exact.latency_ns, rel=tolerance)
        assert cost.flops == pytest.approx(exact.flops, rel=1e-13)
        np.testing.assert_allclose(cost.busy_ns, exact.busy_ns, rtol=1e-12)
        np.testing.assert_array_equal(cost.op_counts, exact.op_counts)
        np.testing.assert_allclose(cost.component_energy_nj[1:], exact.component_energy_nj[1:], rtol=1e-11)
        np.testing.assert_allclose(cost.component_area_mm2, exact.component_area_mm2, rtol=1e-12)
        for name in ("crossbars", "tokens", "moe_area_mm2", "moe_flops", "moe_energy_nj", "status"):
            np.testing.assert_allclose(getattr(cost, name), getattr(exact, name), rtol=1e-12, err_msg=name)
        if np.isfinite(exact.peak_memory_bytes):
            assert cost.peak_memory_bytes >= exact.peak_memory_bytes


def test_one_trace_serves_all_runs():
    """Every number and flag is data."""
    before = dict(TRACES)
    for inputs in (
        {"start_len": 7, "new_length": 5, "kv": True, "layers": 3, "frequency": 2},
        {"experts": 0, "dpus": 3, "tier_rows": 128, "tier_cols": 512, "go": True, "new_length": 4},
        {"mvm_factor": 0.5, "tiles": 10_000, "prefill": False, "new_length": 3, "mvm_latency": 99.5},
    ):
        for fidelity in TRACES:
            assert np.isfinite(fast(fidelity, inputs).latency_ns)
    assert all(TRACES[fidelity] - before[fidelity] <= (before[fidelity] == 0) for fidelity in TRACES)


def test_status_tells_what_does_not_fit():
    design, _ = pimjax.build(pimjax.reference_config())
    cost = functools.partial(reference_cost, fidelity="closed", critical=False)
    small = Capacity(max_tokens=16, max_experts=16)
    assert int(jax.jit(lambda d: cost(d, capacity=small).status)(design)) == status.CAPACITY_EXCEEDED
    few = design.set({"hardware.tiles": 6591.0})
    enough = design.set({"hardware.tiles": 6592.0})
    fits = jax.jit(lambda d: cost(d, capacity=CAPACITY).status)
    assert int(fits(few)) == status.DOES_NOT_FIT
    assert int(fits(enough)) == status.OK
    with pytest.raises(ValueError, match="fidelity"):
        reference_cost(design, capacity=CAPACITY, fidelity="event")  # type: ignore[arg-type]


def test_shares_scale_with_their_durations():
    """critical_ns are derivatives: stretching one component's durations a little stretches the latency by its share."""
    design, capacity = pimjax.build(pimjax.reference_config(d_model=700, start_len=9, new_length=3, dpus=6))
    with jax.enable_x64(True):

        @functools.partial(jax.jit, static_argnames="fidelity")
        def latency(scale, fidelity):
            options = {"capacity": capacity, "fidelity": fidelity, "critical": False}
            return latency_and_shares(design, scale, **options)[0]

        shares = jax.jit(jax.grad(latency), static_argnames="fidelity")

        generic = 1 + 1e-3 * np.random.default_rng(0).uniform(size=len(COMPONENTS))  # away from ties
        for fidelity in ("fluid", "closed"):
            slope = shares(jnp.asarray(generic), fidelity=fidelity)
            for name in ("tier_linear", "communication", "digital_add", "layer_norm", "digital_relu", "mha_comp"):
                step = 1e-6 * (np.arange(len(COMPONENTS)) == COMPONENT_INDEX[name])
                difference = latency(jnp.asarray(generic + step), fidelity) - latency(generic - step, fidelity)
                assert float(difference) / 2e-6 == pytest.approx(float(slope[COMPONENT_INDEX[name]]), rel=1e-4), name


DURATIONS = (
    "mvm_latency_ns",
    "link_latency_ns_per_256",
    "comm_factor",
    "add_latency_ns_per_256",
    "add_latency_base_ns",
    "norm_latency_ns_per_256",
    "relu_latency_ns",
    "attention_fit_quadratic",
)


@pytest.mark.parametrize("fidelity", ["fluid", "closed"])
def test_derivatives_in_hardware(fidelity):
    """Forward, reverse and under vmap, against central differences in float64; whole-ns rounding off."""
    inputs = {"d_model": 900, "start_len": 10, "new_length": 2, "mvm_latency": 131.7, "comm_factor": 1.3, "dpus": 7}
    design, capacity = pimjax.build(pimjax.reference_config(**inputs))
    design = design.set({"plan.whole_ns": False})
    capacity = Capacity(max_tokens=capacity.max_tokens, max_experts=16, max_top_k=8)
    names = (*DURATIONS, "num_digital_units")

    with jax.enable_x64(True):

        def latency(values):
            changed = design.set({f"hardware.{name}": value for name, value in zip(names, values, strict=True)})
            return reference_cost(changed, capacity=capacity, fidelity=fidelity, critical=False).latency_ns

        generic = 1 + 1e-2 * np.random.default_rng(0).uniform(size=len(names))  # away from ties
        generic[-1] = 1
        values = jnp.asarray([float(getattr(design.hardware, name)) for name in names]) * generic
        gradient = jax.jit(jax.grad(latency))
        reverse = gradient(values)
        batch = jnp.stack([values, values * jnp.ones(len(names)).at[:-1].set(1.01)])
        lanes = jax.jit(jax.vmap(jax.jacfwd(latency)))(batch)
        np.testing.assert_allclose(lanes[0], reverse, rtol=1e-11)
        np.testing.assert_allclose(lanes[1], gradient(batch[1]), rtol=1e-11)
        steps = 1e-6 * np.diag(np.asarray(values))
        many = jax.jit(jax.vmap(latency))
        difference = (many(values[None] + steps) - many(values[None] - steps)) / (2 * np.diag(steps))
        # The simulated latency jumps at whole units: its derivative there is the closed form's.
        checked = len(DURATIONS) if fidelity == "fluid" else len(names)
        np.testing.assert_allclose(reverse[:checked], difference[:checked], rtol=2e-5, atol=1e-4)
        assert reverse[-1] < 0
        assert np.all(reverse[: len(DURATIONS)] > 0)


def test_rounding_is_straight_through():
    design, capacity = pimjax.build(pimjax.reference_config(d_model=512, d_ff=300, start_len=4))

    def latency(mvm_ns):
        changed = design.set({"hardware.mvm_latency_ns": mvm_ns})
        return reference_cost(changed, capacity=capacity, fidelity="closed", critical=False).latency_ns

    value, slope = jax.jit(jax.vmap(jax.value_and_grad(latency)))(jnp.array([129.5, 130.0, 130.5]))
    assert value[0] == value[1] < value[2]
    assert np.all(slope == slope[0])
    assert slope[0] > 1


@pytest.mark.parametrize("kind", [phases.LAST, phases.MIDDLE], ids=["last", "middle"])
def test_walk_back_equals_plain_differentiation(kind):
    """The derivative from the log is the one that JAX gets through the simulation itself, and differences agree."""
    with jax.enable_x64(True):
        stages, rng = len(kind.single), np.random.default_rng(3)
        width = jnp.where(jnp.array(kind.single), 1.0, jnp.asarray(rng.integers(3, 12, stages), float))
        size, units = 8, jnp.float64(9)
        tokens = jnp.float64(size)
        weights = jnp.asarray(rng.uniform(size=size))

        def plain(durations):
            done, _ = fluid.run_events(kind, size, durations, width, tokens, units)
            return jnp.sum(weights * (done if kind.queued < 0 else jax.lax.cummax(done)))

        def summed(durations):
            return fluid_gradient._summed(kind, durations, width, tokens, units, weights)

        through, value = jax.jit(jax.vmap(jax.jacfwd(plain))), jax.jit(jax.vmap(summed))
        back = jax.jit(jax.vmap(jax.grad(summed)))
        trips = len(fluid.returning_stages(kind))
        scales = np.array([1500.0] * stages + [90.0] * trips + [60.0, 5.0])
        durations = jnp.asarray(scales * rng.uniform(0.2, 1.0, (6, len(scales))))
        np.testing.assert_allclose(back(durations), through(durations), rtol=1e-10, atol=1e-10)
        for index in range(len(scales)):
            step = 1e-6 * (np.arange(len(scales)) == index)[None]
            difference = (value(durations + step) - value(durations - step)) / 2e-6
            np.testing.assert_allclose(back(durations)[:, index], difference, atol=2e-4)
        done = jax.vmap(lambda one: fluid.run_events(kind, size, one, width, tokens, units)[0])(durations)
        assert np.all(done > 0)  # the loop is long enough for every token
        euler = jnp.sum(durations * back(durations), axis=1)
        np.testing.assert_allclose(euler, value(durations), rtol=1e-12)


def test_fluid_equals_hand_worked_schedules():
    """Two tokens, one single of 10 ns, then 4 chains of 5 ns each, one unit in all: bursts of low tokens go first."""
    one = jnp.ones(())
    width = jnp.array([1.0, 4.0])
    phase = phases.Phase(jnp.array([10.0, 20.0]), width, jnp.array([2.0, 0.0]), width, one, one, 0 * one)
    times = functools.partial(fluid.finish_times, phase, phases.EMBEDDING, 3 * one, 2 * one, size=2)
    # units 1: token 0 single 3..13, tiles (in 1, MVM 3, rest of the trip) until 18; token 1 single 13..23 holds the
    # unit past 18; token 0's burst 23..43, token 1's 43..63
    assert times(one).tolist() == [43.0, 63.0]
    # units 4: singles 3..13 and 6..16; token 0 returns at 18 and takes all 4 units until 23; token 1's burst 23..28
    assert times(4 * one).tolist() == [23.0, 28.0]
    # units 6: token 0's burst 18..23 on 4 units; token 1 returns at 21 (the tiles are shared), two units are left
    assert times(6 * one).tolist() == [23.0, 27.0]


@pytest.mark.parametrize("fidelity", ["fluid", "closed"])
def test_float32_follows_float64(fidelity):
    inputs = {"d_model": 1024, "start_len": 12, "new_length": 3}
    capacity = Capacity(max_tokens=16, max_experts=16)
    cost = functools.partial(reference_cost, capacity=capacity, fidelity=fidelity, critical=False)
    single = jax.jit(cost)(padded_design(inputs))
    double = fast(fidelity, inputs)
    assert single.latency_ns.dtype == jnp.float32
    for name in ("latency_ns", "flops", "peak_memory_bytes", "busy_ns", "component_energy_nj", "op_counts"):
        np.testing.assert_allclose(getattr(single, name), getattr(double, name), rtol=1e-5, err_msg=name)


def test_longer_passes_continue_at_the_closed_rate():
    """Beyond the scanned tokens each further token costs the steady interval."""
    limit = fluid.MAX_SCANNED_TOKENS
    capacity = Capacity(max_tokens=2 * limit, max_experts=16, max_top_k=8)

    @jax.jit
    def phases_ns(tokens):
        design, _ = pimjax.build(pimjax.reference_config(d_model=512, d_ff=300))
        design = design.set({"workload.prompt_tokens": tokens})
        cost = reference_cost(design, capacity=capacity, fidelity="fluid", critical=False)
        b, t = phases.blocks(design), phases.timings(design, jnp.ones(len(COMPONENTS)))
        units = jnp.float32(design.hardware.num_digital_units)
        every = phases.embedding_phase(b, t), phases.layer_phase(design, b, t, moe=True, kind=phases.LAST)
        rate = sum(closed.steady_interval_ns(phase, t.mvm, units) for phase in every)
        return cost.latency_ns - cost.busy_ns[COMPONENT_INDEX["mha_comp"]], rate

    short, rate = phases_ns(jnp.int32(limit))
    long, _ = phases_ns(jnp.int32(limit + 20))
    assert float(long - short) == pytest.approx(20 * float(rate), rel=1e-5)
