"""Fluid and closed fidelities: equal to event where the model says so, limits, gradients, batches, generation."""

from __future__ import annotations

import functools
import json

import jax
import numpy as np
import pytest

from pimjax import status
from pimjax.chips.multiplexed import multiplexed_cost, simulate
from pimjax.config import Capacity, build, load_config
from pimjax.errors import CapacityError, ConfigError
from pimjax.runs.inputs import schedule_inputs
from pimjax.trace.belonging import fit_trace
from pimjax.trace.routing import RoutingTrace

CAPACITY = Capacity(max_tokens=16, max_experts=8, max_top_k=4, max_layers=2, max_groups=8, max_slots=64)
MEASURES = ("latency_ns", "moe_latency_ns", "moe_last_pass_ns")


@functools.cache
def program(fidelity, _):
    """One compiled program per fidelity and schedule shape: only the times, which compiles quickly."""

    def times(design, schedule):
        cost = multiplexed_cost(design, schedule, capacity=CAPACITY, fidelity=fidelity)
        return {name: getattr(cost, name) for name in MEASURES} | {"status": cost.status}

    return jax.jit(times)


def evaluate(config, trace, fidelity, changes=None):
    """The times of one configuration, float64."""
    schedule = schedule_inputs(config, trace, fidelity=fidelity, capacity=CAPACITY)
    design = build(config)[0]
    groups = np.full(CAPACITY.max_experts, -1, np.int32)
    groups[: len(design.plan.group_of_expert)] = design.plan.group_of_expert
    design = design.replace(plan=design.plan.replace(group_of_expert=groups)).set(changes or {})
    shape = str([leaf.shape for leaf in jax.tree.leaves(schedule)])
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, program(fidelity, shape)(design, schedule))


def configuration(*, tokens=None, hardware=None, plan=None, model=None, workload=None):
    return load_config(
        {
            "memory": "lpddr4",
            "model": {"num_experts": 8, **(model or {})},
            "hardware": hardware or {},
            "plan": {
                "policy": "compact",
                "group_of_expert": [0, 0, 1, 1, 2, 2, 3, 3],
                "dram_overlap": "none",
                **(plan or {}),
            },
            "workload": {"prompt_tokens": tokens, **(workload or {})},
        }
    )


@pytest.fixture(scope="module")
def figure(golden_folder):
    facts = json.loads((golden_folder / "paper_schedule_figure.json").read_text())
    return RoutingTrace.from_expert_ids(np.array(facts["token_experts"]) - 1, 8)


@pytest.mark.parametrize("fidelity", ["fluid", "closed"])
@pytest.mark.parametrize("policy", ["token_wise", "compact", "reschedule"])
def test_last_pass_equals_the_check_values(golden_folder, figure, fidelity, policy):
    golden = json.loads((golden_folder / "multiplexed_check.json").read_text())["last_pass_end"]
    for links, name in ((None, "t_load_12"), (1.0, "t_load_192")):
        config = configuration(tokens=6, hardware={"input_links": links}, plan={"policy": policy, "barrier": True})
        found = evaluate(config, figure, fidelity)
        assert round(float(found["moe_last_pass_ns"][0]), 3) == golden[name][policy]


@pytest.mark.parametrize("seed", range(10))
def test_last_pass_equals_event_where_q_is_idle(seed):
    rng = np.random.default_rng(seed)
    tokens = int(rng.integers(1, 13))
    trace = RoutingTrace.from_choices(rng.random((2, tokens, 8)) < 0.4)
    config = configuration(
        tokens=tokens,
        model={"num_layers": 2, "d_model": int(rng.choice([512, 2048]))},
        hardware={
            "num_digital_units": float(rng.choice([64, 200])), "input_links": float(rng.choice([1, 4])),
            "out_buffer_slots": None, "mvm_latency_ns": float(rng.uniform(90, 200)),
        },
        plan={
            "policy": str(rng.choice(["token_wise", "compact", "reschedule", "packed"])), "barrier": True,
            "input_hold": bool(rng.random() < 0.5), "share": str(rng.choice(["position", "pair"])),
        },
    )  # fmt: skip
    exact = simulate(config, trace).cost
    for fidelity in ("fluid", "closed"):
        found = evaluate(config, trace, fidelity)
        assert found["moe_last_pass_ns"][:2] == pytest.approx(exact.moe_last_pass_ns[:2], rel=1e-6)


def test_fluid_follows_back_pressure(figure):
    config = configuration(
        tokens=6, hardware={"num_digital_units": 1.0}, plan={"policy": "token_wise", "barrier": True}
    )
    assert round(float(evaluate(config, figure, "fluid")["moe_last_pass_ns"][0]), 3) == 1688.488


@pytest.mark.parametrize(
    "mode", ["token_choice_kv", "batch", "recompute", "full", "threshold", "gate_output_alone", "prefetch"]
)
def test_decode_steps_against_event(mode):
    rng = np.random.default_rng(5)
    by_experts = mode in ("full", "threshold", "gate_output_alone")
    workload = {"generated_tokens": 5, "prefill": False, "kv_cache": mode not in ("recompute", "gate_output_alone")}
    workload["batch_size"] = 3 if mode == "batch" else 1
    workload["go_cache"] = mode if mode in ("full", "threshold") else ("full" if by_experts else "none")
    scores = rng.dirichlet(np.ones(8), size=(2, 10)).astype(np.float16).astype(np.float32)
    ids = np.argsort(-scores, axis=-1)[..., :2]
    trace = RoutingTrace.from_expert_ids(ids, 8, gate_scores=scores)
    config = configuration(
        tokens=6,
        model={"num_layers": 2, "d_model": 1024, "top_k": 2, "routing": "expert_choice" if by_experts else "token_choice"},
        hardware={"num_digital_units": 8.0},
        plan={"dram_overlap": "prefetch" if mode == "prefetch" else "none"},
        workload=workload,
    )  # fmt: skip
    exact = float(simulate(config, trace).cost.latency_ns)
    tolerance = {"token_choice_kv": 1e-6, "full": 1e-6, "threshold": 1e-6}.get(mode, 0.06)
    assert float(evaluate(config, trace, "closed")["latency_ns"]) == pytest.approx(exact, rel=tolerance)


def test_inline_tokens_that_follow_each_other_are_normed_once():
    """Without a barrier and with one unit, later tokens' gates already wait for earlier tokens' next norms."""
    rng = np.random.default_rng(3)
    trace = RoutingTrace.from_expert_ids(np.argsort(rng.random((2, 16, 8)), axis=-1)[..., :4], 8)
    config = configuration(
        tokens=16,
        model={"num_layers": 2, "d_model": 2048},
        hardware={"num_digital_units": 1.0},
        plan={"policy": "token_wise", "combine": "inline"},
    )
    exact = float(simulate(config, trace).cost.latency_ns)
    assert float(evaluate(config, trace, "closed")["latency_ns"]) == pytest.approx(exact, rel=0.03)


def test_limits(figure):
    """T rises with t_load, t_mvm and 1/c; at t_load = 0 the last pass ends at (S-1) t_stage + t_A + t_D."""
    config = configuration(tokens=6, plan={"policy": "reschedule"})
    for fidelity in ("fluid", "closed"):
        for key, values in {
            "hardware.input_links": [16.0, 4.0, 1.0, 0.5],
            "hardware.mvm_latency_ns": [50.0, 130.0, 400.0],
            "hardware.num_digital_units": [9.0, 5.0, 3.5, 2.0, 1.0],
        }.items():
            times = [float(evaluate(config, figure, fidelity, {key: value})["moe_latency_ns"]) for value in values]
            assert np.all(np.diff(times) >= -1e-12 * times[0])
            assert times[-1] > times[0]
        unlimited = evaluate(config, figure, fidelity, {"hardware.input_links": 1e9, "hardware.wake_latency_ns": 0.0})
        assert float(unlimited["moe_last_pass_ns"][0]) == pytest.approx(
            6 * 131.6219644 + 208.6219644 + 167.6219644, rel=1e-6
        )


def test_gradient_equals_finite_differences(figure):
    """Away from kinks; rows, columns and counts of units are straight-through or interpolated and left out."""
    config = configuration(tokens=6, model={"num_layers": 2}, plan={"policy": "reschedule"})
    trace = fit_trace(figure, config, allow=["repeat_layers"])
    schedule = schedule_inputs(config, trace, fidelity="fluid", capacity=CAPACITY)
    design = build(config)[0]
    names = ["mvm_latency_ns", "add_latency_ns_per_256", "norm_latency_ns_per_256", "link_latency_ns_per_256",
             "accumulator_frequency_ghz", "attention_latency_ns_per_pair", "memory_bandwidth_gb_per_s", "mux_on_resistance_kohm"]  # fmt: skip
    with jax.enable_x64(True):
        vector = np.array([getattr(design.hardware, name) for name in names])

        def latency(values):
            hardware = design.hardware.replace(**dict(zip(names, values, strict=True)))
            return multiplexed_cost(
                design.replace(hardware=hardware), schedule, capacity=CAPACITY, fidelity="fluid"
            ).latency_ns

        gradient = np.asarray(jax.jit(jax.jacfwd(latency))(vector))
        values = jax.jit(jax.vmap(latency))
        steps = 1e-6 * np.diag(vector)
        numeric = (np.asarray(values(vector + steps)) - np.asarray(values(vector - steps))) / (2e-6 * vector)
    assert gradient == pytest.approx(numeric, rel=1e-4, abs=1e-6)
    assert np.all(gradient[[0, 1, 2, 3]] > 0)


def test_batch_equals_single_points(figure):
    config = configuration(tokens=6)
    schedule = schedule_inputs(config, figure, fidelity="closed", capacity=CAPACITY)
    values = np.array([100.0, 130.0, 170.0])
    design = build(config)[0]

    def latency(mvm):
        point = design.replace(hardware=design.hardware.replace(mvm_latency_ns=mvm))
        return multiplexed_cost(point, schedule, capacity=CAPACITY, fidelity="closed").moe_latency_ns

    batched = jax.jit(jax.vmap(latency))(values.astype(np.float32))
    single = [
        float(evaluate(config, figure, "closed", {"hardware.mvm_latency_ns": value})["moe_latency_ns"])
        for value in values
    ]
    assert np.asarray(batched) == pytest.approx(single, rel=1e-5)


def test_ring_overflow_is_flagged(figure):
    config = configuration(tokens=6, hardware={"out_buffer_slots": 20.0})
    assert int(evaluate(config, figure, "fluid")["status"]) & status.RING_OVERFLOW
    assert not int(evaluate(config, figure, "closed")["status"]) & status.RING_OVERFLOW


def test_fluid_without_profile_is_refused(figure):
    config = configuration(tokens=6)
    schedule = schedule_inputs(config, figure, fidelity="closed", capacity=CAPACITY)
    with pytest.raises(ConfigError, match="schedule_inputs"):
        multiplexed_cost(build(config)[0], schedule, capacity=CAPACITY, fidelity="fluid")


def test_schedule_larger_than_the_capacity_is_refused(figure):
    config = configuration(tokens=6, model={"num_layers": 2})
    trace = fit_trace(figure, config, allow=["repeat_layers"])
    with pytest.raises(CapacityError, match="Capacity"):
        schedule_inputs(config, trace, capacity=Capacity(max_layers=1, max_groups=8, max_slots=64))
