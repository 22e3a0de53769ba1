"""The event fidelity: published check values, and random small chips against the tick-by-tick oracle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from oracles.multiplexed_stepped import run_pass

from pimjax.chips.multiplexed import simulate
from pimjax.config import load_config
from pimjax.errors import ConfigError, TraceError
from pimjax.runs.windows import layer_windows
from pimjax.trace.belonging import fit_trace
from pimjax.trace.routing import RoutingTrace

PAIRS = [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.fixture(scope="module")
def golden(golden_folder):
    return json.loads((golden_folder / "multiplexed_check.json").read_text())


@pytest.fixture(scope="module")
def figure(golden_folder):
    facts = json.loads((golden_folder / "paper_schedule_figure.json").read_text())
    return RoutingTrace.from_expert_ids(np.array(facts["token_experts"]) - 1, 8)


def figure_run(figure, policy, **hardware):
    content = {
        "model": {"num_experts": 8},
        "hardware": hardware,
        "plan": {"policy": policy, "group_of_expert": PAIRS, "barrier": True},
    }
    return simulate(load_config(content), figure)


@pytest.mark.parametrize("policy", ["token_wise", "compact", "reschedule"])
def test_published_check_values(golden, figure, policy):
    fast = figure_run(figure, policy).cost
    slow_links = figure_run(figure, policy, input_links=1.0).cost
    one_unit = figure_run(figure, policy, num_digital_units=1.0).cost
    assert round(float(fast.moe_last_pass_ns[0]), 3) == golden["last_pass_end"]["t_load_12"][policy]
    assert round(float(slow_links.moe_last_pass_ns[0]), 3) == golden["last_pass_end"]["t_load_192"][policy]
    assert round(float(fast.moe_latency_ns), 3) == golden["T_moe_t_load_12"]["c5"][policy]
    assert round(float(one_unit.moe_latency_ns), 3) == golden["T_moe_t_load_12"]["c1"][policy]
    if policy == "token_wise":  # back-pressure
        assert round(float(one_unit.moe_last_pass_ns[0]), 3) == golden["last_pass_end_c1_token_wise"]


def small_chip(rng):
    """A random small configuration whose durations are whole ns."""
    pick = rng.choice
    policy = str(pick(["token_wise", "compact", "reschedule", "packed"]))
    hardware = {
        "crossbar_rows": 64.0, "crossbar_cols": 64.0, "mvm_energy_nj": 12.0,
        "core_area_mm2": 0.6, "mux_on_resistance_kohm": 0.0,
        "mvm_latency_ns": float(pick([7, 13, 20])), "norm_latency_ns_per_256": 16.0,
        "link_bandwidth_gb_per_s": float(pick([4, 8, 32])), "input_links": float(pick([1, 2])),
        "num_digital_units": float(pick([1, 2, 3, 5])), "num_attention_units": 1.0, "router_values_per_ns": 128.0,
        "attention_latency_ns_per_pair": 1 / 128, "scheduler_ns_per_token": float(pick([0, 0, 3])),
    }  # fmt: skip
    hardware["out_buffer_slots"] = None if rng.random() < 0.2 else float(pick([0, 1, 2, 4]))
    if rng.random() < 0.3:
        hardware["out_links"] = 2.0
    plan = {
        "policy": policy, "accumulate": str(pick(["local", "digital"])), "combine": str(pick(["digital", "inline"], p=[0.8, 0.2])),
        "share": str(pick(["position", "pair"])), "router": str(pick(["crossbar", "digital"])),
        "input_hold": bool(rng.random() < 0.3), "group_of_expert": [e // 4 for e in range(16)],
    }  # fmt: skip
    if rng.random() < 0.4:
        plan["window_tokens"] = int(pick([2, 3]))
    if policy == "token_wise" and rng.random() < 0.4:
        plan["barrier"] = True
    model = {
        "d_model": 128, "d_ff": int(pick([64, 128])), "vocab_size": 64, "num_layers": int(pick([1, 2])), "num_experts": 16,
        "top_k": 4, "num_heads": 2, "activation": str(pick(["relu", "gelu", "swiglu"])),
        "num_shared_experts": int(rng.choice([0, 1, 2], p=[0.75, 0.15, 0.1])),
    }  # fmt: skip
    channels = int(pick([1, 1, 2, 4]))
    hardware["memory_channels"], hardware["memory_bandwidth_gb_per_s"] = float(channels), 16.0 / channels
    hardware["memory_latency_ns"] = float(pick([0, 0, 9]))
    plan["dram_overlap"] = str(pick(["none", "stream"]))
    return hardware, plan, model


def tables(config, rows):
    """Slot tables of every layer for the oracle."""
    out = []
    for layer in rows:
        made = layer_windows(
            layer,
            np.array(config.plan.group_of_expert),
            policy=config.plan.policy,
            num_groups=4,
            window_tokens=config.plan.window_tokens,
            input_hold=config.plan.input_hold,
        )
        out.append((made.token, made.window, made.loads, made.first_token))
    return out


@pytest.mark.parametrize("seed", range(24))
def test_prefill_equals_the_stepped_oracle(seed):
    rng = np.random.default_rng(seed)
    hardware, plan, model = small_chip(rng)
    tokens = int(rng.integers(1, 8))
    config = load_config({"hardware": hardware, "plan": plan, "model": model, "workload": {"prompt_tokens": tokens}})
    choices = rng.random((model["num_layers"], tokens, 16)) < rng.choice([0.1, 0.25])
    trace = fit_trace(RoutingTrace.from_choices(choices), config, allow=["any_top_k"])
    end, layers = run_pass(config, tables(config, choices), tokens)
    found = simulate(config, trace)
    assert found.passes[0].last_pass_ns == pytest.approx([layer.last_pass for layer in layers], abs=1e-6)
    assert found.passes[0].moe_ns == pytest.approx([layer.moe for layer in layers], abs=1e-6)
    assert float(found.cost.latency_ns) == pytest.approx(end, abs=1e-6)


@pytest.mark.parametrize("seed", range(16))
def test_batched_decode_step_equals_the_stepped_oracle(seed):
    rng = np.random.default_rng(100 + seed)
    hardware, plan, model = small_chip(rng)
    batch, prompt = int(rng.integers(1, 6)), 3
    config = load_config(
        {
            "hardware": hardware,
            "plan": plan,
            "model": model,
            "workload": {"prompt_tokens": prompt, "generated_tokens": 2, "prefill": False, "kv_cache": True, "batch_size": batch},
        }
    )  # fmt: skip
    choices = rng.random((batch, model["num_layers"], prompt + 1, 16)) < 0.25
    trace = RoutingTrace(choices, np.full(batch, prompt + 1, np.int32))
    kv_read = (prompt + 1) * 2 * 128 // 16
    step = np.swapaxes(choices[:, :, -1], 0, 1)
    end, layers = run_pass(
        config, tables(config, step), batch, batch=True, kv_read=kv_read, kv_write=16, length=prompt + 1
    )
    found = simulate(config, trace)
    assert found.passes[0].moe_ns == pytest.approx([layer.moe for layer in layers], abs=1e-6)
    assert float(found.cost.latency_ns) == pytest.approx(end, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_units_never_pass_over_a_lower_token(seed):
    """Whenever a unit starts a job, every job of a lower token that can run has been started, also those whose last
    input arrives at that very instant: adders in the links hand a token on without a delay."""
    rng = np.random.default_rng(seed)
    config = load_config(
        {
            "model": {"d_model": 1000, "d_ff": 600, "num_experts": 16, "num_layers": 2, "num_heads": 8},
            "hardware": {
                "crossbar_rows": 128.0,
                "crossbar_cols": 128.0,
                "mvm_latency_ns": 129.0,
                "mvm_energy_nj": 12.0,
                "core_area_mm2": 0.6,
                "num_digital_units": 2.0,
            },
            "plan": {"accumulate": "digital", "combine": "inline", "policy": "packed"},
            "workload": {"prompt_tokens": 8},
        }
    )
    choices = np.argsort(rng.random((2, 8, 16)), axis=-1) < 4
    log = simulate(config, RoutingTrace.from_choices(choices)).passes[0].log
    jobs = log.jobs
    before = np.repeat(np.arange(jobs.num_jobs), np.diff(jobs.successor_offsets))
    ready = np.zeros(jobs.num_jobs)
    np.maximum.at(ready, jobs.successors, log.finish_ns[before])
    pools = np.flatnonzero([group.name == "digital units" for group in jobs.resources])
    first = int(sum(group.count for group in jobs.resources[: pools[0]]))
    on_units = np.flatnonzero(jobs.resource == first)
    start, ready, token = log.start_ns[on_units], ready[on_units], jobs.token[on_units]
    passed_over = (token[:, None] < token) & (ready[:, None] <= start + 1e-9) & (start[:, None] > start + 1e-9)
    assert len(on_units) > 100
    assert not passed_over.any()


def test_critical_path_and_layers_explain_the_latency(figure):
    found = figure_run(figure, "compact")
    assert found.cost.critical_ns.sum() == pytest.approx(float(found.cost.latency_ns))
    assert found.first_token_ns == pytest.approx(float(found.cost.latency_ns))


def test_timeline_is_written(figure, tmp_path):
    found = figure_run(figure, "compact")
    document = json.loads(found.passes[0].log.to_perfetto(tmp_path / "run.json").read_text())
    names = {event["name"] for event in document["traceEvents"]}
    assert {"pass", "combine", "residual", "attention"} <= names


def test_fraction_of_a_unit_is_refused(figure):
    with pytest.raises(ConfigError, match=r"num_digital_units.*whole"):
        figure_run(figure, "compact", num_digital_units=2.5)


def test_trace_of_another_model_is_refused(figure):
    with pytest.raises(TraceError, match="num_experts"):
        simulate(load_config({}), figure)
