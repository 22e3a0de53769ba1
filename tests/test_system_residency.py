"""Experts in crossbars as a cache: hits against dictionaries, costs against hand arithmetic."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import system as oracle

import pimjax.system as system
from pimjax.circuit import crossbar_write
from pimjax.config.system import SystemSection
from pimjax.errors import ConfigError
from pimjax.trace import RoutingTrace, stack_traces

EXPERTS = 8
MEMORY = {"bandwidth_gb_per_s": 819.0, "energy_pj_per_bit": 5.0, "numbers": SystemSection().arrays()}
EXPERT = {"expert_bytes": 3 * 2880 * 2880.0, "crossbars": 432.0, "rows": 256.0}


@settings(max_examples=60)
@given(st.lists(st.integers(-1, EXPERTS - 1), min_size=40, max_size=40), st.sampled_from(["lru", "lfu"]))
def test_hits_against_dictionaries(accesses, policy) -> None:
    capacities = np.arange(1, EXPERTS + 1)
    curve = system.residency_curve(np.array([accesses, accesses[::-1]]), capacities, policy)
    for layer, stream in enumerate((accesses, accesses[::-1])):
        real = sum(expert >= 0 for expert in stream)
        for index, capacity in enumerate(capacities):
            hits = oracle.residency(stream, capacity, policy)
            assert int(curve.hits[layer, index]) == hits
            assert int(curve.accesses[layer, index]) == real
            assert int(curve.writes[layer, index].sum()) == real - hits
            assert (np.asarray(curve.writes[layer, index, capacity:]) == 0).all()
        # a chip that holds all experts writes each once, which is what loading the model does
        assert int(curve.hits[layer, -1]) == real - len({one for one in stream if one >= 0})


def test_accesses_of_a_trace_are_in_the_order_of_ranks_and_padding_is_none() -> None:
    short = RoutingTrace.from_expert_ids([[[3, 0]]], EXPERTS)
    long = RoutingTrace.from_expert_ids([[[1, 2], [7, 5]]], EXPERTS)
    assert system.expert_accesses(stack_traces([short, long])).tolist() == [[[3, 0, -1, -1]], [[1, 2, 7, 5]]]
    plain = RoutingTrace.from_choices([[0, 1, 1], [0, 0, 1]])
    assert system.expert_accesses(plain).tolist() == [[1, 2, 2, -1]]


def test_costs_of_a_miss() -> None:
    write = crossbar_write()
    analog, digital = (
        system.swap_cost("pcm", **EXPERT, **MEMORY, pcm_write=write),
        system.swap_cost("sram", **EXPERT, **MEMORY),
    )
    assert float(analog.time_ns) == float(analog.write_ns) == 256 * 10 * 25 * 130
    assert float(digital.write_ns) == 256
    assert float(digital.time_ns) == float(digital.fetch_ns) == EXPERT["expert_bytes"] / 819
    fetched = EXPERT["expert_bytes"] * 8 * 5e-3
    assert float(analog.energy_nj) == pytest.approx(fetched + 432 * float(write.energy_nj))
    assert float(digital.energy_nj) == pytest.approx(fetched + EXPERT["expert_bytes"] * 8 * 0.0145e-3)
    slow = system.swap_cost("pcm", **EXPERT, **{**MEMORY, "bandwidth_gb_per_s": 1.0}, pcm_write=write)
    assert float(slow.time_ns) == EXPERT["expert_bytes"]
    assert float(analog.cycles) == 10
    assert float(digital.cycles) == 0


def test_lifetime_is_endurance_over_wear() -> None:
    numbers = SystemSection(pcm_endurance_cycles=1e6).arrays()
    seconds = float(system.lifetime_years(2.0, 10.0, numbers)) * 365.25 * 86_400
    assert seconds == pytest.approx(1e6 / 20)
    assert float(system.lifetime_years(0.0, 10.0, numbers)) == np.inf == float(system.lifetime_years(2.0, 0.0, numbers))
    assert np.isfinite(float(system.lifetime_years(jnp.float32(2.0), 10.0, numbers)))


def test_whether_the_memory_holds_the_experts() -> None:
    assert bool(system.weights_fit(100, 1e6, 0.1))
    assert not bool(system.weights_fit(101, 1e6, 0.1))


def test_analog_swaps_need_the_cost_of_writing() -> None:
    with pytest.raises(ConfigError, match="crossbar_write"):
        system.swap_cost("pcm", **EXPERT, **MEMORY)
