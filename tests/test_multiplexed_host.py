"""The multiplexed chip's formulas on the host: the same numbers as the compiled kernel, and no compiler."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pimjax
from pimjax import status
from pimjax.chips.multiplexed import multiplexed_cost, schedule_inputs
from pimjax.chips.multiplexed.core import core
from pimjax.chips.multiplexed.durations import durations
from pimjax.chips.multiplexed.geometry import geometry
from pimjax.config import build, load_config
from pimjax.config.build import Capacity
from pimjax.estimation.routing import resolve
from pimjax.trace.routing import RoutingTrace

SIZES = {"max_layers": 4, "max_groups": 8, "max_slots": 128, "max_experts": 16, "max_tokens": 32, "max_top_k": 4}


def random_config(seed):
    """A configuration with every option drawn; `out_links` stays null, so that schedules have one structure."""
    rng = np.random.default_rng(seed)

    def one(*values):
        return values[int(rng.integers(len(values)))]

    layers, steps = int(rng.integers(1, 5)), one(1, 1, 4, 9, 20)
    mla = {
        "attention": "mla", "kv_lora_rank": 100, "q_lora_rank": one(0, 300), "rope_head_dim": 16, "nope_head_dim": 32,
        "v_head_dim": 32,
    }  # fmt: skip
    return load_config(
        {
            "model": {
                "num_experts": 8, "top_k": one(1, 2), "num_layers": layers, "d_model": one(512, 1000, 2048),
                "d_ff": one(300, 688), "activation": one("relu", "gelu", "swiglu"), "num_heads": 8,
                "routing": one("token_choice", "expert_choice"), "num_shared_experts": one(0, 0, 2),
                "first_dense_layers": one(0, layers // 2), "sliding_window": one(0, 7), "dense_d_ff": one(None, 777),
                **one({"num_kv_heads": 2}, mla),
            },
            "plan": {
                "policy": one("token_wise", "compact", "reschedule", "packed"), "share": one("position", "pair"),
                "group_size": one(2, 4), "grouping": "uniform", "accumulate": one("local", "digital"),
                "combine": one("digital", "inline"), "input_hold": one(True, False),
                "router": one("crossbar", "digital"), "attention": one("linear", "fit"),
                "embedding": one("lookup", "crossbar"), "dram_overlap": one("none", "prefetch"),
                "window_tokens": one(None, 5), "energy_scale_with_sharing": one(True, False),
                "tile": one("calibrated", "parametric"),
            },
            "hardware": {
                "num_digital_units": one(1.0, 3.0, 8.0), "num_attention_units": one(1.0, 5.0),
                "input_links": one(None, 1.0), "out_buffer_slots": one(None, 0.0, 4.0),
                "sram_cache_bytes": one(0.0, 5e3, 1e9), "kv_prefetch_bytes": one(0.0, 1e6), "tiles": one(None, 100.0),
                "mvm_latency_ns": float(rng.uniform(60, 300)),
            },
            "workload": {
                "prompt_tokens": int(rng.integers(1, 12)), "generated_tokens": steps, "prefill": True if steps == 1 else one(True, False),
                "kv_cache": one(True, False), "go_cache": one("none", "full", "threshold", "authors"),
                "capacity_rule": one("growing", "frozen", "fixed"), "batch_size": one(1, 3),
                "trace": {"kind": "zipf", "seed": seed},
            },
        }
    )  # fmt: skip


def inputs(config, fidelity, kinds):
    """Design, schedule and capacity in the shapes that all configurations share."""
    config, trace = resolve(config, None)
    capacity = Capacity(**SIZES, tile_kinds=kinds)
    design = build(config)[0]
    groups = np.full(capacity.max_experts, -1, np.int32)
    groups[: len(design.plan.group_of_expert)] = design.plan.group_of_expert
    design = design.replace(plan=design.plan.replace(group_of_expert=groups))
    return design, schedule_inputs(config, trace, fidelity=fidelity, capacity=capacity), capacity


@functools.cache
def program(fidelity, shapes, capacity):
    """Compiled once for each shape of schedule."""
    return jax.jit(functools.partial(multiplexed_cost, capacity=capacity, fidelity=fidelity))


@pytest.mark.parametrize("seed", range(20))
def test_host_equals_kernel(seed):
    config = random_config(seed)
    for fidelity in ("closed", "fluid"):
        design, schedule, capacity = inputs(config, fidelity, ("calibrated", "parametric"))
        on_host = multiplexed_cost(
            design, schedule, capacity=dataclasses.replace(capacity, tile_kinds=(config.plan.tile,)), fidelity=fidelity
        )
        assert all(isinstance(leaf, (np.ndarray, np.generic)) for leaf in jax.tree.leaves(on_host))
        shapes = str([leaf.shape for leaf in jax.tree.leaves(schedule)])
        with jax.enable_x64(True):
            compiled = program(fidelity, shapes, capacity)(design, schedule)
        for field in dataclasses.fields(on_host):
            if field.name == "system" or getattr(on_host, field.name) is None:
                assert getattr(compiled, field.name) is None  # nothing is around these chips, and nothing swaps
                continue
            found, expected = (np.asarray(getattr(cost, field.name)) for cost in (on_host, compiled))
            scale = np.abs(expected).max(initial=0.0) if field.name == "critical_ns" else 0.0
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * scale, err_msg=field.name)
        assert float(on_host.critical_ns.sum()) == pytest.approx(float(on_host.latency_ns), rel=1e-12)


@pytest.fixture
def compilations():
    """Events of tracing and compiling."""
    events: list[str] = []

    def listen(name, *_, **__):
        if "compile" in name or "trace" in name:
            events.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("fidelity", ["event", "closed", "fluid"])
def test_an_estimate_compiles_nothing(fidelity, compilations):
    jax.jit(lambda x: x + 1)(np.ones(17))
    assert compilations, "the listener hears of nothing"
    compilations.clear()
    rng = np.random.default_rng(5)
    trace = RoutingTrace.from_choices(rng.random((3, 11, 8)) < 0.3)
    config = load_config(
        {
            "model": {"num_experts": 8, "num_layers": 3},
            "plan": {"grouping": "uniform"},
            "workload": {"kv_cache": True, "prompt_tokens": 7, "generated_tokens": 5},
        }
    )
    compilations.clear()  # of the trace
    found = pimjax.estimate(config, trace, fidelity=fidelity)
    assert not compilations
    assert found.latency_ns.dtype == np.float64
    assert type(found.latency_ns) is np.ndarray


def test_a_design_reads_its_kind_of_tile():
    calibrated, parametric = (build(load_config({"plan": {"tile": tile}}))[0] for tile in ("calibrated", "parametric"))
    assert float(core(calibrated).area_mm2) == 0.634
    assert float(core(parametric).area_mm2) == pytest.approx(0.634, rel=1e-6)
    assert float(core(parametric).mvm_latency_ns) == pytest.approx(130.0, rel=1e-6)
    finer = parametric.set({"hardware.node_nm": 28.0})
    assert float(core(finer).area_mm2) != float(core(parametric).area_mm2)
    assert float(core(calibrated.set({"hardware.node_nm": 28.0})).area_mm2) == 0.634


def test_a_design_of_another_tile_is_flagged():
    config = load_config({"plan": {"tile": "parametric"}, "workload": {"prompt_tokens": 4}})
    design, schedule, capacity = inputs(config, "closed", ("calibrated",))
    cost = multiplexed_cost(design, schedule, capacity=capacity, fidelity="closed")
    assert int(cost.status) & status.CAPACITY_EXCEEDED
    right = dataclasses.replace(capacity, tile_kinds=("parametric",))
    assert (
        not int(multiplexed_cost(design, schedule, capacity=right, fidelity="closed").status) & status.CAPACITY_EXCEEDED
    )
    jitted = jax.jit(functools.partial(multiplexed_cost, capacity=capacity, fidelity="closed", critical=False))
    assert int(jitted(design, schedule).status) & status.CAPACITY_EXCEEDED


def test_numbers_are_those_of_the_arrays_given():
    design = build(load_config({}))[0]
    on_device = jax.tree.map(jnp.asarray, design)
    for made in (geometry, functools.partial(durations, largest_group=2)):
        on_host, traced = jax.tree.leaves(made(design)), jax.tree.leaves(jax.jit(made)(on_device))
        assert all(isinstance(leaf, (np.ndarray, np.generic)) for leaf in on_host)
        assert all(leaf.dtype == jnp.float32 for leaf in traced)
        np.testing.assert_allclose(np.array(on_host, float), np.array(traced, float), rtol=1e-6)
