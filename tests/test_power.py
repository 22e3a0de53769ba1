"""Power states, static energy, peak power and heat of the multiplexed chip, exact and fast."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pimjax
from benchmarks.lib.unsized import unsized
from pimjax import status
from pimjax.chips import CHIPS
from pimjax.chips.multiplexed import event
from pimjax.chips.multiplexed.explained import full_die
from pimjax.chips.multiplexed.geometry import geometry
from pimjax.chips.multiplexed.power import STATIC
from pimjax.chips.multiplexed.power_event import largest_mean
from pimjax.config import build, load_config
from pimjax.estimation.result import from_run_cost
from pimjax.runs.counts import count_windows
from pimjax.runs.inputs import schedule_inputs
from pimjax.runs.requests import resolve
from pimjax.runs.windows import layer_windows
from pimjax.schedule import IDLE, POLICIES
from pimjax.schedule.counts import GAP_BINS
from pimjax.trace.routing import RoutingTrace

#: idle peripherals leak twenty times what gated ones do
GATING = {
    "hardware.active_power_w_per_mm2": 0.0,
    "hardware.idle_power_w_per_mm2": 8e-4,
    "hardware.gated_power_w_per_mm2": 4e-5,
    "hardware.wake_latency_ns": 10.0,
    "hardware.wake_energy_nj_per_mm2": 1.0,
}
SMALL = {
    "model.d_model": 512, "model.d_ff": 256, "model.num_heads": 4, "model.num_layers": 3, "model.vocab_size": 900,
    "model.num_experts": 8, "model.top_k": 2, "workload.trace.kind": "zipf", "workload.prompt_tokens": 12,
}  # fmt: skip
DIES = {"system": "dies", "system.die_area_mm2": 20.0, "system.dies_per_package": 2}
RATES = ("die_link_bandwidth_gb_per_s_per_mm", "package_link_bandwidth_gb_per_s")
ENERGIES = (
    "wire_energy_pj_per_bit_mm", "router_energy_pj_per_bit", "die_link_energy_pj_per_bit", "package_link_energy_pj_per_bit",
)  # fmt: skip
DECODING = {"workload.generated_tokens": 4, "workload.kv_cache": True}
RUNS: dict[str, dict[str, Any]] = {
    "prefill": {},
    "decode": DECODING,
    "batch": {**DECODING, "workload.batch_size": 3},
    "recomputed": {"workload.generated_tokens": 3},
    "digital": {"plan.accumulate": "digital", "plan.router": "digital", **DECODING},
    "crossbar embedding": {"plan.embedding": "crossbar", "model.first_dense_layers": 1, "model.dense_d_ff": 600},
    "two channels": {**DECODING, "memory.channels": 2, "hardware.sram_cache_bytes": 3000.0, "plan.share": "pair"},
    "inline": {"plan.combine": "inline", "plan.policy": "compact", **DECODING},
    "dies": {**DIES, **DECODING, "workload.batch_size": 2},
    "one die": {"system": "dies", "plan.accumulate": "digital"},
    "instant links": {**DIES, **{f"system.{name}": 1e8 for name in RATES}},
    "dear links": {
        **DIES, "system.dies_per_package": 1, "system.package_link_energy_pj_per_bit": 400.0,
        "system.package_link_bandwidth_gb_per_s": 20.0,
    },
}  # fmt: skip
APART = {  # sequences in different layers, on dear links
    **DIES, **DECODING, "workload.batch_size": 4, "plan.barrier": False, "plan.policy": "token_wise",
    "system.die_link_energy_pj_per_bit": 300.0,
}  # fmt: skip


def small(*more: dict[str, Any]):
    return load_config("paper_crossbars", {**SMALL, **{key: value for one in more for key, value in one.items()}})


def leakage(result) -> dict[str, float]:
    named = dict(zip(result.components, np.asarray(result.component_energy_nj).tolist(), strict=True))
    return {name: named[name] for name in ("leakage_idle", "leakage_gated")}


# --- states -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fidelity", ["event", "fluid", "closed"])
def test_where_nothing_is_gated_all_peripherals_draw_their_power_all_the_time(fidelity):
    config = load_config("paper_crossbars")
    result = pimjax.estimate(config, fidelity=fidelity)
    shape = geometry(build(config)[0])
    sets = 8 * float(shape.expert_tiles) + float(shape.dense_tiles)
    found = leakage(result)
    assert found["leakage_gated"] == 0
    assert found["leakage_idle"] == pytest.approx(1e-4 * 0.8 * 0.634 * sets * float(result.latency_ns), rel=1e-12)


def test_static_components_are_those_of_the_ledger():
    chip = CHIPS["multiplexed"]
    named = [name for name, flag in zip(chip.component_names, chip.static_components, strict=True) if flag]
    assert sorted(named) == sorted(STATIC)


@pytest.mark.parametrize("fidelity", ["event", "closed"])
def test_equal_busy_time_with_other_pauses_costs_other_static_energy(fidelity):
    """Two groups of twelve passes each, one after the other or in turns: only in turns do they wait between passes."""
    own = {**SMALL, "model.num_layers": 1, "model.num_experts": 2, "model.top_k": 1, "plan.group_size": 1,
           "plan.policy": "token_wise", "workload.prompt_tokens": None, **GATING}  # fmt: skip
    config = load_config("paper_crossbars", own)
    blocks, turns = (np.array(order)[:, None] for order in ([0] * 12 + [1] * 12, [0, 1] * 12))
    first, second = (
        pimjax.estimate(config, RoutingTrace.from_expert_ids(order, 2), fidelity=fidelity) for order in (blocks, turns)
    )
    assert float(first.latency_ns) == pytest.approx(float(second.latency_ns), rel=1e-12)
    assert np.asarray(first.busy_ns) == pytest.approx(np.asarray(second.busy_ns), rel=1e-12)
    assert float(first.dynamic_energy_nj) == pytest.approx(float(second.dynamic_energy_nj), rel=1e-12)
    # 11 pauses of a slot in either group; the blocks wait for no more than the product is shorter than a slot
    design = build(config)[0]
    sets, area = float(geometry(design).expert_tiles), 0.8 * 0.634
    more = 2 * 11 * 130.0 * sets * area * (8e-4 - 4e-5)
    assert float(second.static_energy_nj - first.static_energy_nj) == pytest.approx(more, rel=0.05)


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from(sorted(RUNS)),
    st.floats(0, 1e-2),
    st.floats(0, 1),
    st.floats(0, 12),
    st.floats(0, 10),
    st.sampled_from(["event", "closed"]),
)
def test_leakage_is_never_negative_and_gating_never_costs(run, idle, ratio, wake, energy, fidelity):
    keys = ("active_power_w_per_mm2", "idle_power_w_per_mm2", "gated_power_w_per_mm2", "wake_latency_ns",
            "wake_energy_nj_per_mm2")  # fmt: skip

    def found(gated):
        values = dict(zip((f"hardware.{key}" for key in keys), (0.0, idle, gated, wake, energy), strict=True))
        return pimjax.estimate(small(RUNS[run], values), fidelity=fidelity)

    with_gating, without = found(ratio * idle), found(idle)
    assert min(leakage(with_gating).values()) >= 0
    # the first load takes at least as long as waking up, so that the runs take equally long
    assert float(with_gating.latency_ns) == pytest.approx(float(without.latency_ns), rel=1e-9)
    assert float(with_gating.static_energy_nj) <= float(without.static_energy_nj) * (1 + 1e-9)


@pytest.mark.parametrize("fidelity", ["event", "closed"])
def test_without_leakage_there_is_none(fidelity):
    nothing = {f"hardware.{state}_power_w_per_mm2": 0.0 for state in ("active", "idle", "gated")}
    assert sum(leakage(pimjax.estimate(small(DECODING, nothing), fidelity=fidelity)).values()) == 0


@pytest.mark.parametrize("run", sorted(RUNS))
def test_fast_models_are_near_the_exact_pauses(run):
    config = small(RUNS[run], GATING)
    exact = sum(leakage(pimjax.estimate(config, fidelity="event")).values())
    for fidelity in ("fluid", "closed"):
        assert sum(leakage(pimjax.estimate(config, fidelity=fidelity)).values()) == pytest.approx(exact, rel=0.15)


def test_waking_up_takes_time_only_beyond_the_first_load():
    slow = {**GATING, "hardware.wake_latency_ns": 5000.0}
    for fidelity in ("event", "fluid", "closed"):
        quick, late = (pimjax.estimate(small(states), fidelity=fidelity) for states in (GATING, slow))
        more = float(late.latency_ns - quick.latency_ns)
        assert 0 < more <= 3 * 5000.0
    never = {**slow, "hardware.gated_power_w_per_mm2": 8e-4}
    for fidelity in ("event", "closed"):
        without, plain = (pimjax.estimate(small(states), fidelity=fidelity) for states in (never, {}))
        assert float(without.latency_ns) == float(plain.latency_ns)


@given(st.integers(0, 10**6), st.sampled_from(sorted(POLICIES)))
@settings(max_examples=30, deadline=None)
def test_pauses_of_groups_equal_a_plain_count(seed, policy):
    rng = np.random.default_rng(seed)
    choices = rng.random((int(rng.integers(1, 40)), 8)) < rng.choice([0.05, 0.2, 0.5])
    table = layer_windows(choices, np.arange(8) // 2, policy=policy, num_groups=4)
    hist, slots = np.zeros((2, GAP_BINS), int)
    for column in table.token.T:
        for idle in np.diff(np.flatnonzero(column != IDLE)) - 1:
            place = min(int(idle).bit_length(), GAP_BINS - 1)
            hist[place] += 1
            slots[place] += idle
    found = count_windows(table, hold=False)
    assert found["gap_hist"].tolist() == hist.tolist()
    assert found["gap_slots"].tolist() == slots.tolist()


# --- energy of jobs, peak power -----------------------------------------------------------------------------------------


def metered(config):
    """An exact estimate with its meter, and how long writes go on after its last pass [ns]."""
    meters = []
    collect = event._collect

    def kept(bench, results, capacity):
        meters.append((bench.meter, results[-1].leftover_ns))
        return collect(bench, results, capacity)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event, "_collect", kept)
        return pimjax.estimate(config, fidelity="event"), *meters[0]


@pytest.mark.parametrize("run", [*sorted(RUNS), "apart"])
def test_jobs_of_a_run_draw_its_dynamic_energy(run):
    config = small({"apart": APART, **RUNS}[run])
    result, meter, leftover = metered(config)
    # writes that go on after the last pass are not part of the run's time
    beyond = leftover * config.hardware.memory_energy_pj_per_bit * 8e-3
    beyond *= config.hardware.memory_bandwidth_gb_per_s * config.hardware.memory_channels
    assert meter.energy_nj + beyond == pytest.approx(float(result.dynamic_energy_nj), rel=1e-9)


@pytest.mark.parametrize("run", sorted(RUNS))
def test_the_fast_peak_is_never_below_the_exact_one(run):
    for states in ({}, GATING):
        config = small(RUNS[run], states)
        exact, closed = (pimjax.estimate(config, fidelity=fidelity) for fidelity in ("event", "closed"))
        assert float(exact.power_w) <= float(exact.peak_power_w) <= float(closed.peak_power_w) * (1 + 1e-9)


SYSTEMS = st.fixed_dictionaries(
    {
        "system.die_area_mm2": st.floats(8, 200),
        "system.dies_per_package": st.integers(1, 5),
        "system.die_link": st.sampled_from(["ucie_standard", "ucie_advanced", "bonded_3d"]),
        "system.die_link_energy_pj_per_bit": st.floats(0, 500),
        "system.package_link_energy_pj_per_bit": st.floats(0, 500),
        "system.package_link_bandwidth_gb_per_s": st.floats(0.5, 1e4),
        "system.wire_energy_pj_per_bit_mm": st.floats(0, 1),
        "workload.batch_size": st.integers(1, 4),
        "workload.trace.seed": st.integers(0, 99),
        "plan.barrier": st.booleans(),
    }
)


@given(SYSTEMS, st.floats(0.05, 50), st.sampled_from([{}, DECODING]))
@settings(max_examples=25, deadline=None)
def test_wires_and_links_count_in_the_peak_and_no_peak_is_above_the_fast_one(system, rate, run):
    more = {"system": "dies", "system.die_link_bandwidth_gb_per_s_per_mm": rate, "plan.policy": "token_wise"}
    config = small(run, more, system)
    exact, meter, leftover = metered(config)
    closed = pimjax.estimate(config, fidelity="closed")
    beyond = leftover * config.hardware.memory_energy_pj_per_bit * 8e-3
    beyond *= config.hardware.memory_bandwidth_gb_per_s * config.hardware.memory_channels
    assert meter.energy_nj + beyond == pytest.approx(float(exact.dynamic_energy_nj), rel=1e-9)
    assert float(exact.power_w) <= float(exact.peak_power_w) <= float(closed.peak_power_w) * (1 + 1e-9)
    # wires and links are part of the dynamic energy, and without what they take the peak is lower
    free = {f"system.{name}": 0.0 for name in ENERGIES}
    free = [pimjax.estimate(small(run, more, system, free), fidelity=fidelity) for fidelity in ("event", "closed")]
    for costs, without in zip((exact, closed), free, strict=True):
        spent = float(costs.network_energy_nj)
        assert float(costs.dynamic_energy_nj - without.dynamic_energy_nj) == pytest.approx(spent, rel=1e-6)
        assert float(without.peak_power_w) < float(costs.peak_power_w) or spent == 0


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_the_largest_mean_equals_a_plain_search(seed):
    rng = np.random.default_rng(seed)
    count, window = int(rng.integers(1, 9)), float(rng.integers(1, 12))
    begin = rng.integers(0, 30, count).astype(float)
    end = begin + rng.integers(1, 20, count)
    watts = rng.integers(1, 5, count).astype(float)
    energy = np.zeros(60)
    for first, last, power in zip(begin.astype(int), end.astype(int), watts, strict=True):
        energy[first:last] += power
    sums = [energy[at : at + int(window)].sum() for at in range(60)]
    assert largest_mean(begin, end, watts, window) == pytest.approx(max(sums) / window, rel=1e-12)


# --- heat ---------------------------------------------------------------------------------------------------------------


def test_a_die_all_of_whose_cores_work():
    one, two = (full_die(load_config("paper_crossbars", {"plan.group_size": size})) for size in (1, 2))
    assert round(1e3 * one["density_w_per_mm2"]) == 151
    assert round(one["w_per_reticle"]) == 130
    assert round(one["rise_k"]) == 12
    assert round(two["w_per_reticle"]) == 108


def test_density_is_that_of_the_crossbars_at_work_and_heats_in_proportion():
    config = load_config(unsized("gpt_oss_20b"))
    result = pimjax.estimate(config, fidelity="closed")
    full = full_die(config)
    assert 0.9 * full["density_w_per_mm2"] < float(result.power_density_w_per_mm2) < 1.1 * 0.151
    assert float(result.junction_c) == pytest.approx(35 + 80 * float(result.power_density_w_per_mm2))
    assert 0.0012 < float(result.utilisation) < 0.0014


@pytest.mark.parametrize("fidelity", ["event", "fluid", "closed"])
def test_density_is_that_of_one_die_of_the_system(fidelity):
    """What works at once is smaller than a die: all of its power leaves through one."""
    for area in (40.0, 80.0):
        whole = small({"system": "dies", "system.die_area_mm2": area})
        other = small({"system": "dies", "system.die_area_mm2": area, "hardware.reticle_area_mm2": 10.0})
        found, same = (pimjax.estimate(config, fidelity=fidelity) for config in (whole, other))
        assert float(found.dies) > 1
        assert float(found.power_density_w_per_mm2) == pytest.approx(float(found.peak_power_w) / area, rel=1e-12)
        assert float(same.power_density_w_per_mm2) == float(found.power_density_w_per_mm2)
    # without a system, through one reticle; a chip smaller than its die, through all of the chip
    alone = small({"hardware.reticle_area_mm2": 40.0})
    found = pimjax.estimate(alone, fidelity=fidelity)
    assert float(found.power_density_w_per_mm2) == pytest.approx(float(found.peak_power_w) / 40.0, rel=1e-12)
    found = pimjax.estimate(small({"system": "dies"}), fidelity=fidelity)
    assert float(found.power_density_w_per_mm2) == pytest.approx(float(found.peak_power_w / found.area_mm2), rel=1e-12)


@pytest.mark.parametrize("preset", ["paper_reference", "paper_multiplexed", "h100"])
def test_every_chip_says_what_it_draws_at_most(preset):
    config = load_config(preset)
    result = pimjax.estimate(config, fidelity="closed")
    whole = float(result.dynamic_energy_nj + result.static_energy_nj)
    assert whole == pytest.approx(float(result.energy_nj), rel=1e-12)
    assert float(result.peak_power_w) >= float(result.power_w) > 0
    assert 0 < float(result.utilisation) < 1
    assert not int(result.status) & status.TOO_HOT
    hot = pimjax.estimate(load_config(preset, {"hardware.cooling_k_mm2_per_w": 1e5}), fidelity="closed")
    assert int(hot.status) & status.TOO_HOT


def test_utilisation_is_products_over_what_could_be_made():
    for fidelity in ("event", "closed"):
        result = pimjax.estimate(small(DECODING), fidelity=fidelity)
        products = result.to_dict()["op_counts"]["tier_linear"]
        whole = float(result.latency_ns) * float(result.crossbars)
        assert float(result.utilisation) == pytest.approx(products * 130.0 / whole, rel=1e-9)


# --- gradients, batches -------------------------------------------------------------------------------------------------


def test_gradients_equal_finite_differences():
    config, trace = resolve(small(DECODING, GATING), None)
    design, capacity = build(config)
    schedule = schedule_inputs(config, trace, fidelity="closed", capacity=capacity)

    def found(hardware, kernel):
        point = design.replace(hardware=hardware)
        cost = CHIPS["multiplexed"].cost(point, kernel, capacity=capacity, fidelity="closed", critical=False)
        result = from_run_cost(cost, hardware, CHIPS["multiplexed"])
        return 1e-3 * result.static_energy_nj + result.peak_power_w + result.junction_c

    with jax.enable_x64(True):
        on_device = jax.tree.map(jnp.asarray, schedule)
        made = jax.jit(jax.grad(lambda hardware: found(hardware, on_device)))(design.hardware)
    for name in (
        "idle_power_w_per_mm2",
        "gated_power_w_per_mm2",
        "wake_energy_nj_per_mm2",
        "mvm_energy_nj",
        "mvm_latency_ns",
    ):
        at = float(getattr(design.hardware, name))
        step = 1e-5 * at
        above, below = (
            found(design.hardware.replace(**{name: np.float64(at + way * step)}), schedule) for way in (1, -1)
        )
        expected = (float(above) - float(below)) / (2 * step)
        assert float(getattr(made, name)) == pytest.approx(expected, rel=1e-4, abs=1e-9), name


def test_a_batch_of_states_is_one_program():
    config = small(DECODING)
    idle = np.array([1e-4, 8e-4, 8e-3])
    axes = {"hardware.idle_power_w_per_mm2": idle, "hardware.gated_power_w_per_mm2": np.array([1e-4, 4e-5, 0.0])}
    design, _ = build(config)
    found = pimjax.estimate_batch(design.set(axes), fidelity="closed")
    for index in range(3):
        alone = small(DECODING, {key: float(values[index]) for key, values in axes.items()})
        single = pimjax.estimate(alone, fidelity="closed")
        assert float(np.ravel(found.static_energy_nj)[index]) == pytest.approx(float(single.static_energy_nj), rel=1e-4)
