"""Limits of the system around the multiplexed chip, at random designs and at every fidelity."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pimjax
from pimjax.batch.tile import compile_count
from pimjax.chips.run_cost import COMPONENT_INDEX
from pimjax.config.presets import list_presets
from pimjax.status import IMPOSSIBLE

FIDELITIES = ("event", "fluid", "closed")
SMALL = {
    "model.d_model": 512, "model.d_ff": 300, "model.num_heads": 4, "model.num_layers": 3, "model.vocab_size": 1000,
    "model.num_experts": 8, "model.top_k": 2, "workload.trace.kind": "zipf", "plan.grouping": "uniform", "system": "dies",
}  # fmt: skip
COSTS = (
    "wire_energy_pj_per_bit_mm", "router_energy_pj_per_bit", "wire_latency_ns_per_mm", "router_latency_ns",
    "die_link_energy_pj_per_bit", "die_link_latency_ns", "package_link_energy_pj_per_bit", "package_link_latency_ns",
)  # fmt: skip
LINK_RATES = ("package_link_bandwidth_gb_per_s", "die_link_bandwidth_gb_per_s_per_mm")
INSTANT = 1e8
FREE = {f"system.{name}": 0.0 for name in COSTS}
FREE |= {f"system.{name}": INSTANT for name in (*LINK_RATES, "injection_bandwidth_gb_per_s")}

RUNS = st.fixed_dictionaries(
    {
        "workload.prompt_tokens": st.integers(2, 12),
        "workload.generated_tokens": st.sampled_from([1, 3]),
        "workload.kv_cache": st.just(True),
        "workload.batch_size": st.integers(1, 2),
        "workload.trace.seed": st.integers(0, 99),
        "model.first_dense_layers": st.integers(0, 1),
        "model.activation": st.sampled_from(["relu", "swiglu"]),
        "plan.group_size": st.sampled_from([1, 2, 4]),
        "plan.policy": st.sampled_from(["compact", "token_wise", "reschedule", "packed"]),
        "plan.accumulate": st.sampled_from(["local", "digital"]),
        "plan.combine": st.sampled_from(["digital", "inline"]),
        "plan.barrier": st.booleans(),
        "hardware.tiers": st.integers(1, 3),
        "memory": st.sampled_from(["lpddr4", "hbm2", "hbm3"]),
    }
)
SYSTEMS = st.fixed_dictionaries(
    {
        "system.die_area_mm2": st.floats(20, 200),
        "system.dies_per_package": st.integers(1, 6),
        "system.die_link": st.sampled_from(["ucie_standard", "ucie_advanced", "bonded_3d"]),
        "system.placement": st.sampled_from(["contiguous", "coactivation"]),
        "system.die_link_bandwidth_gb_per_s_per_mm": st.floats(0.3, 100),
        "system.package_link_bandwidth_gb_per_s": st.floats(1, 1000),
        "system.package_link_latency_ns": st.floats(0, 500),
        "system.die_link_latency_ns": st.floats(0, 50),
    }
)


def found(fidelity: str, *parts: dict[str, Any]) -> Any:
    merged = dict(SMALL)
    for part in parts:
        merged |= part
    if not merged["plan.barrier"]:  # only one policy can begin without the window's routing
        merged["plan.policy"] = "token_wise"
    return pimjax.estimate(pimjax.load_config("paper_crossbars", merged), fidelity=fidelity)


def value(result: Any, name: str) -> float:
    return float(np.asarray(getattr(result, name)))


def part(result: Any, name: str, field: str = "component_energy_nj") -> float:
    return float(np.asarray(getattr(result, field))[COMPONENT_INDEX[name]])


@pytest.mark.parametrize("fidelity", FIDELITIES)
@settings(max_examples=8, deadline=None)
@given(run=RUNS, system=SYSTEMS)
def test_a_network_that_costs_nothing_is_the_chip_without_one(fidelity: str, run: Any, system: Any) -> None:
    alone, free = found(fidelity, run, {"system": "none"}), found(fidelity, run, system, FREE)
    for name in (
        "latency_ns",
        "energy_nj",
        "moe_latency_ns",
        "pipeline_interval_ns",
        "dynamic_energy_nj",
        "static_energy_nj",
    ):
        assert value(free, name) == pytest.approx(value(alone, name), rel=1e-6), name
    np.testing.assert_allclose(free.component_energy_nj, alone.component_energy_nj, rtol=1e-6, atol=1e-9)
    area, links = np.asarray(free.component_area_mm2).copy(), COMPONENT_INDEX["d2d"]
    area[links] = 0.0
    np.testing.assert_array_equal(area, np.asarray(alone.component_area_mm2))
    assert value(free, "network_energy_nj") == value(alone, "network_energy_nj") == 0


@pytest.mark.parametrize("fidelity", FIDELITIES)
@settings(max_examples=8, deadline=None)
@given(run=RUNS, system=SYSTEMS)
def test_one_die_is_the_chip_and_its_wires(fidelity: str, run: Any, system: Any) -> None:
    system = {**system, "system.die_area_mm2": 858.0}
    alone, one = found(fidelity, run, {"system": "none"}), found(fidelity, run, system)
    assert value(one, "dies") == value(one, "packages") == 1
    for field in ("component_energy_nj", "component_area_mm2", "busy_ns", "critical_ns"):
        assert part(one, "d2d", field) == 0, field
    for name in ("die_crossings_per_token", "link_busy_share"):
        assert value(one, name) == 0
    assert value(one, "area_mm2") == value(alone, "area_mm2")
    wires = part(one, "noc")
    assert wires > 0
    assert value(one, "network_energy_nj") == pytest.approx(wires, rel=1e-12)
    assert value(one, "dynamic_energy_nj") - value(alone, "dynamic_energy_nj") == pytest.approx(wires, rel=1e-6)
    assert value(one, "latency_ns") >= value(alone, "latency_ns")
    # without time on the wires the rest is the chip alone
    instant = {f"system.{name}": 0.0 for name in ("wire_latency_ns_per_mm", "router_latency_ns")}
    instant["system.injection_bandwidth_gb_per_s"] = INSTANT
    assert value(found(fidelity, run, system, instant), "latency_ns") == pytest.approx(
        value(alone, "latency_ns"), rel=1e-9
    )


@pytest.mark.parametrize("fidelity", FIDELITIES)
@settings(max_examples=6, deadline=None)
@given(run=RUNS, system=SYSTEMS)
def test_one_package_asks_nothing_of_links_between_packages(fidelity: str, run: Any, system: Any) -> None:
    system = {**system, "system.dies_per_package": 64}
    dear = {
        "system.package_link_energy_pj_per_bit": 1e3,
        "system.package_link_latency_ns": 1e6,
        "system.package_link_bandwidth_gb_per_s": 1e-3,
    }
    one, same = found(fidelity, run, system), found(fidelity, run, system, dear)
    assert value(one, "packages") == 1
    for name in ("latency_ns", "energy_nj", "network_energy_nj", "link_busy_share", "peak_power_w"):
        assert value(same, name) == value(one, name), name
    # nor do dies that every one is its own package ask anything of links between dies
    apart = {**system, "system.dies_per_package": 1}
    free = {"system.die_link_energy_pj_per_bit": 1e3, "system.die_link_latency_ns": 1e4}
    one, same = found(fidelity, run, apart), found(fidelity, run, apart, free)
    for name in ("latency_ns", "energy_nj", "network_energy_nj"):
        assert value(same, name) == value(one, name), name


@pytest.mark.parametrize("fidelity", FIDELITIES)
@settings(max_examples=6, deadline=None)
@given(run=RUNS, system=SYSTEMS)
def test_faster_links_are_never_slower_and_converge(fidelity: str, run: Any, system: Any) -> None:
    rates = [0.1, 1.0, 10.0, 1e4, 1e6, INSTANT]
    chips = [found(fidelity, run, system, {f"system.{name}": rate for name in LINK_RATES}) for rate in rates]
    latency = np.array([value(chip, "latency_ns") for chip in chips])
    # first come, first served is not the best order, so that the exact run may lose a little where messages come sooner
    slack = 0.02 if fidelity == "event" else 1e-9
    assert np.all(np.diff(latency) <= slack * latency[1:]), latency
    assert latency[-2] == pytest.approx(latency[-1], rel=1e-3)
    energy = [value(chip, "network_energy_nj") for chip in chips]
    assert energy == pytest.approx([energy[0]] * len(energy), rel=1e-6)  # PHYs are as large at any rate


@pytest.mark.parametrize("fidelity", FIDELITIES)
@settings(max_examples=6, deadline=None)
@given(run=RUNS, system=SYSTEMS)
def test_without_leakage_crossbars_have_no_static_energy(fidelity: str, run: Any, system: Any) -> None:
    none = {f"hardware.{state}_power_w_per_mm2": 0.0 for state in ("active", "idle", "gated")}
    with_it, without = found(fidelity, run, system), found(fidelity, run, system, none)
    assert part(without, "leakage_idle") == part(without, "leakage_gated") == 0
    assert part(with_it, "leakage_idle") > 0
    assert value(without, "static_energy_nj") == pytest.approx(part(without, "passive"), rel=1e-12)
    assert value(without, "dynamic_energy_nj") == pytest.approx(value(with_it, "dynamic_energy_nj"), rel=1e-9)


MEMORIES = st.fixed_dictionaries(
    {
        "memory": st.sampled_from(list_presets("memory")),
        "plan.dram_overlap": st.sampled_from(["none", "prefetch", "stream"]),
        "workload.generated_tokens": st.just(3),
        "workload.kv_cache": st.just(True),
        "plan.memory_idle": st.just("always"),
        "plan.barrier": st.just(True),
    }
)


@pytest.mark.parametrize("fidelity", FIDELITIES)
@settings(max_examples=6, deadline=None)
@given(run=RUNS, memory=MEMORIES, channels=st.integers(1, 4), system=st.sampled_from(["none", "dies"]))
def test_more_stacks_are_never_slower_and_a_byte_never_costs_less(
    fidelity: str, run: Any, memory: Any, channels: int, system: str
) -> None:
    each = [
        found(fidelity, run, memory, {"memory.channels": many, "system": system})
        for many in (channels, channels + 1, 3 * channels)
    ]
    for fewer, more in itertools.pairwise(each):
        assert value(more, "latency_ns") <= value(fewer, "latency_ns") * (1 + 1e-9)
        for name in ("dram_kv", "embedding"):
            assert part(more, name) >= part(fewer, name) * (1 - 1e-12)
        # idle power of every channel is drawn on top
        drawn = [part(one, "passive") / value(one, "latency_ns") for one in (fewer, more)]
        assert drawn[1] > drawn[0]


@pytest.mark.parametrize("fidelity", FIDELITIES)
@settings(max_examples=6, deadline=None)
@given(run=RUNS, memory=MEMORIES, rate=st.floats(1, 4000))
def test_a_byte_costs_the_same_at_any_bandwidth(fidelity: str, run: Any, memory: Any, rate: float) -> None:
    own, other = found(fidelity, run, memory), found(fidelity, run, memory, {"memory.bandwidth_gb_per_s": rate})
    for name in ("dram_kv", "embedding"):
        assert part(other, name) == pytest.approx(part(own, name), rel=1e-12)
        assert part(own, name) > 0


def test_dies_that_are_nothing_but_links_are_impossible() -> None:
    """Four links of 2.5 mm2 on a die of 8: a chip of several dies cannot be, a chip of one needs no link."""
    links = {
        "plan.barrier": True,
        "system.die_link": "ucie_standard",
        "system.dies_per_package": 9,
        "workload.prompt_tokens": 2,
    }
    for fidelity in ("fluid", "closed"):
        many = found(fidelity, links, {"system.die_area_mm2": 8.0})
        assert int(many.status) & IMPOSSIBLE
        with pytest.raises(pimjax.PimjaxError, match="links between dies take all"):
            many.raise_if_bad()
    with pytest.raises(pimjax.ConfigError, match="die_area_mm2 is 8: the links to a die's neighbours take all of it"):
        found("event", links, {"system.die_area_mm2": 8.0})
    tiny = {
        "model.d_model": 64,
        "model.d_ff": 64,
        "model.num_layers": 1,
        "model.vocab_size": 64,
        "model.num_experts": 2,
    }
    tiny |= {"memory.phy_area_mm2": 0.0, "hardware.num_digital_units": 1, "hardware.num_attention_units": 1}
    tiny |= {"hardware.attention_unit_area_mm2": 0.1, "system.die_area_mm2": 8.0, "plan.group_size": 2}
    for fidelity in FIDELITIES:
        for parts in ((links, {"system.die_area_mm2": 80.0}), (links, tiny)):
            assert not int(found(fidelity, *parts).status) & IMPOSSIBLE
    assert value(found("closed", links, tiny), "dies") == 1


def test_memories_dies_tiers_and_states_are_data_of_one_program() -> None:
    """And every lane is what its own configuration is."""
    states = {"hardware.idle_power_w_per_mm2": 8e-4, "hardware.gated_power_w_per_mm2": 4e-5}
    lanes: list[dict[str, Any]] = [
        {},
        {"system": "none", "memory": "lpddr4"},
        {"memory": "hbm3", "hardware.tiers": 2, **states},
        {"memory": "hbm2", "memory.channels": 3, "system.die_area_mm2": 20.0, "system.dies_per_package": 2},
        {"memory": "sram", "system.die_link": "bonded_3d", "system.die_area_mm2": 14.0, "hardware.tiers": 4, **states},
        {
            "memory": "hbm3e",
            "system.placement": "coactivation",
            "system.die_area_mm2": 40.0,
            "hardware.num_digital_units": 9,
        },
        {
            "memory": "lpddr5x",
            "plan.dram_overlap": "stream",
            "system.die_link_energy_pj_per_bit": 2.0,
            "system.die_area_mm2": 30.0,
        },
    ]
    run = {"workload.generated_tokens": 3, "workload.kv_cache": True, "workload.prompt_tokens": 6, "plan.group_size": 4}
    configs = [pimjax.load_config("paper_crossbars", {**SMALL, **run, **lane}) for lane in lanes]
    fields = ["latency_ns", "energy_nj", "area_mm2", "dies", "static_energy_nj", "peak_power_w", "network_energy_nj"]
    design, _ = pimjax.build(configs)
    before = compile_count()
    batch = pimjax.estimate_batch(design, fields=fields)
    assert compile_count() - before == 1
    # other values of all of them run in the program that is there
    moved = {
        "hardware.tiers": 3.0,
        "hardware.memory_channels": 2.0,
        "hardware.system_die_area_mm2": 25.0,
        "hardware.gated_power_w_per_mm2": 1e-6,
    }
    pimjax.estimate_batch(design.set({key: np.full(len(lanes), one) for key, one in moved.items()}), fields=fields)
    assert compile_count() - before == 1
    for index, config in enumerate(configs):
        alone = pimjax.estimate(config, fidelity="closed")
        for name in fields:
            got = np.asarray(getattr(batch, name)).reshape(-1)[index]
            np.testing.assert_allclose(got, value(alone, name), rtol=1e-4, atol=1e-6, err_msg=f"{index} {name}")
