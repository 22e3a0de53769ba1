"""Wires, flows, dies: check values, hand arithmetic, limits, gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import system as oracle

import pimjax.system as system
from pimjax.chips.multiplexed.geometry import geometry
from pimjax.config import build, load_config
from pimjax.config.system import DIE_LINKS, SystemSection, system_twin
from pimjax.errors import ConfigError

PITCH = float(system.core_pitch_mm(0.634))
SHAPE = system.PassShape(2880, 2880, 256, 12, 24, 288, 12, 12, 144, 1, 8, 4, 4, 858, 345, PITCH)


def shapes():
    count, size = st.integers(1, 64), st.floats(1, 900)
    return st.builds(
        lambda width, hidden, up, strips, down, across, gated, m, area, group: system.PassShape(
            width, hidden, 256, up, strips, up * strips, down, across, down * across, gated, 8, m, m, area, group, PITCH
        ),
        st.integers(1, 8192), st.integers(1, 8192), count, count, count, count, st.integers(0, 1), st.integers(1, 16), size, size,
    )  # fmt: skip


def test_check_values_of_the_specification() -> None:
    numbers = SystemSection().arrays()
    length = system.multicast_length_mm(4, 858)
    assert float(length) == pytest.approx(44.5, abs=0.05)
    wire = system.along(length, PITCH)
    assert round(float(wire.hops)) == 56
    only_wire = numbers.replace(router_energy_pj_per_bit=0.0)
    only_routers = numbers.replace(wire_energy_pj_per_bit_mm=0.0)
    assert float(system.wire_energy_nj(23_040, wire, only_wire)) == pytest.approx(82, abs=0.5)
    assert float(system.wire_energy_nj(23_040, wire, only_routers)) == pytest.approx(104, abs=0.5)
    assert float(system.die_yield(858, numbers)) == pytest.approx(0.47, abs=0.005)
    assert int(system.dies_needed(139_358, 858, numbers).dies) == 163


@pytest.mark.parametrize(("group_size", "reticles"), [(2, 6.8), (4, 4.7), (8, 3.7)])
def test_a_layer_of_gpt_oss_fills_the_reticles_that_the_specification_says(group_size: int, reticles: float) -> None:
    config = load_config("gpt_oss_20b", {"plan.group_size": group_size})
    made = geometry(build(config)[0])
    assert float(made.moe_tiles) == 331_776
    assert float(made.dense_tiles) == 20_088
    share = 0.2 + 0.8 / group_size
    area = 0.634 * (float(made.moe_tiles) * share + float(made.dense_tiles)) / 24
    assert area / 858 == pytest.approx(reticles, abs=0.06)


def test_links_are_half_of_what_is_published_for_both_directions() -> None:
    assert DIE_LINKS["ucie_standard"].bandwidth_gb_per_s_per_mm == 112
    assert DIE_LINKS["ucie_advanced"].bandwidth_gb_per_s_per_mm == 658
    assert DIE_LINKS["bonded_3d"].bandwidth_gb_per_s_per_mm == 2000
    bonded = system.die_port(SystemSection(die_link="bonded_3d").arrays())
    assert float(bonded.edge_mm) == 0
    assert float(bonded.phy_area_mm2) == 1
    assert float(bonded.bandwidth_gb_per_s) == 2000


def test_own_numbers_of_a_link_replace_those_of_its_kind() -> None:
    numbers = SystemSection(die_link="ucie_standard", die_link_energy_pj_per_bit=0.7).arrays()
    assert float(numbers.die_link_energy_pj_per_bit) == 0.7
    assert float(numbers.die_link_bandwidth_gb_per_s_per_mm) == 112


@settings(max_examples=100)
@given(shapes(), st.integers(1, 50), st.integers(1, 200), st.integers(0, 90), st.integers(0, 20))
def test_the_table_of_flows_sums_to_the_network_energy(shape, loads, passes, crossings, moves) -> None:
    section = SystemSection()
    counts = system.FlowCounts(float(loads), float(passes), 7.0, float(crossings), 0.0, float(moves), 0.0)
    found = system.network_energy_nj(system.pass_flows(shape, section.arrays()), counts)
    want = oracle.network_energy(shape, section, loads, passes, 7, crossings, moves)
    assert float(found) == pytest.approx(want, rel=1e-12)


def test_every_flow_has_a_resource_an_event_and_costs_something() -> None:
    for inline, missing in ((False, "results up a combining tree"), (True, "results to the combine point")):
        table = system.pass_flows(SHAPE, SystemSection().arrays(), inline=inline)
        for flow in table:
            assert flow.resource in system.RESOURCES
            assert flow.per in system.FlowCounts._fields
            assert (float(flow.energy_nj) > 0) == (flow.name != missing), flow
    events = {flow.per for flow in table}
    assert events == set(system.FlowCounts._fields)


def test_a_combining_tree_is_shorter_than_separate_results_and_local_sums_than_remote_ones() -> None:
    counts = system.FlowCounts(1.0, 4.0, 1.0)
    numbers = SystemSection().arrays()

    def energy(**options: bool) -> float:
        return float(system.network_energy_nj(system.pass_flows(SHAPE, numbers, **options), counts))

    assert energy(inline=True) < energy() < energy(local_sums=False)


def test_energies_and_latencies_of_zero_are_no_network() -> None:
    section = SystemSection(
        wire_energy_pj_per_bit_mm=0, router_energy_pj_per_bit=0, die_link_energy_pj_per_bit=0,
        package_link_energy_pj_per_bit=0, wire_latency_ns_per_mm=0, router_latency_ns=0,
    )  # fmt: skip
    counts = system.FlowCounts(*(5.0,) * 7)
    assert float(system.network_energy_nj(system.pass_flows(SHAPE, section.arrays()), counts)) == 0
    assert float(system.pass_fill_ns(SHAPE, section.arrays())) == 0


def test_kernels_equal_their_host_values_and_their_gradients_finite_differences() -> None:
    with jax.enable_x64(True):
        numbers = SystemSection().arrays()
        counts = system.FlowCounts(3.0, 9.0, 3.0, 2.0, 1.0, 1.0, 1.0)

        def total(leaves):
            energy = system.network_energy_nj(system.pass_flows(SHAPE, leaves), counts)
            dies = system.silicon_area_mm2(
                system.dies_needed(9000.5, system.usable_die_area_mm2(2.0, leaves), leaves).dies, leaves
            )
            return energy + system.pass_fill_ns(SHAPE, leaves) + system.load_ns(SHAPE, leaves) + dies

        device = jax.tree.map(jnp.asarray, numbers)
        assert float(jax.jit(total)(device)) == pytest.approx(float(total(numbers)), rel=1e-12)
        slope = jax.jit(jax.grad(total))(device)
        for name in ("wire_energy_pj_per_bit_mm", "router_latency_ns", "die_link_energy_pj_per_bit", "accumulator_bits", "defect_density_per_cm2", "injection_bandwidth_gb_per_s"):  # fmt: skip
            value = float(getattr(numbers, name))
            step = 1e-5 * value
            up, down = (float(total(numbers.replace(**{name: np.float64(value + sign * step)}))) for sign in (1, -1))
            assert float(getattr(slope, name)) == pytest.approx((up - down) / (2 * step), rel=1e-5), name
        for leaf in jax.tree.leaves(slope):
            assert np.isfinite(leaf)


def test_multicast_has_a_finite_slope_at_no_target_and_grows() -> None:
    slopes = jax.vmap(jax.grad(system.multicast_length_mm), (0, None))(jnp.array([0.0, 0.5, 1.0, 4.0]), 858.0)
    assert np.isfinite(slopes).all()
    lengths = system.multicast_length_mm(np.array([0.0, 0.5, 1.0, 2.0, 8.0]), 858.0)
    assert lengths[0] == 0
    assert (np.diff(lengths) > 0).all()


def test_random_trees_are_as_long_as_the_law_says() -> None:
    """Steiner ratio: a rectilinear spanning tree is at most 1.5 times the Steiner tree; measured about 1.12 times."""
    generator = np.random.default_rng(0)
    for m in (4, 8, 16):
        lengths = []
        for _ in range(200):
            points = generator.uniform(size=(m + 1, 2))
            reached, length = [0], 0.0
            apart = np.abs(points[:, None] - points[None]).sum(-1)
            while len(reached) <= m:
                rest = [one for one in range(m + 1) if one not in reached]
                table = apart[np.ix_(reached, rest)]
                length += table.min()
                reached.append(rest[int(np.unravel_index(table.argmin(), table.shape)[1])])
            lengths.append(length)
        law = float(system.multicast_length_mm(m, 1.0))
        assert law < np.mean(lengths) < 1.5 * law


def test_dies_are_never_fewer_with_more_area_and_packages_follow() -> None:
    numbers = SystemSection(dies_per_package=4).arrays()
    made = system.dies_needed(np.linspace(1, 9000, 50), 800.0, numbers)
    assert (np.diff(made.dies) >= 0).all()
    assert (made.packages == np.ceil(made.dies / 4)).all()
    assert (made.filled <= 1).all()
    assert made.dies[0] == 1


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("die_area_mm2", 900.0, "858"),
        ("placement", (0, 2), "without gaps"),
        ("placement", "random", "contiguous"),
        ("dies_per_package", 1.5, "whole"),
        ("resident_experts", 4.0, "swap"),
        ("die_link", "ucie", "ucie_standard"),
    ],
)
def test_a_wrong_section_is_refused(key: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SystemSection(**{key: value})


def test_every_number_is_a_float_leaf_with_unit_and_source() -> None:
    numbers = SystemSection().arrays()
    assert isinstance(numbers, system_twin())
    for leaf in jax.tree.leaves(numbers):
        assert np.asarray(leaf).dtype == np.float64
    for name, field in SystemSection.model_fields.items():
        facts = field.json_schema_extra
        if isinstance(facts, dict) and "unit" in facts:
            assert facts["unit"], name
            assert facts["source"], name
            if facts["assumed"]:
                assert facts.get("spread"), f"{name} is assumed and has no range"


def test_wrong_arguments_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match="local_sums"):
        system.pass_flows(SHAPE, SystemSection().arrays(), local_sums="yes")
    with pytest.raises(ConfigError, match="numbers"):
        system.die_port(3)


def test_no_area_has_no_way_and_no_slope() -> None:
    """A layer without crossbars spreads over nothing: its derivative is 0 and not the root's infinite one."""
    with jax.enable_x64(True):
        for way in (lambda area: system.multicast_length_mm(4.0, area), lambda area: system.farthest(area, PITCH).hops):
            assert float(way(jnp.float64(0.0))) == pytest.approx(0.0, abs=1e-12)
            assert float(jax.grad(way)(jnp.float64(0.0))) == 0.0
            assert float(jax.grad(way)(jnp.float64(4.0))) > 0.0
