"""Byte formulas against Python integers, the authors' published numbers and the flag table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import cache as oracle

from pimjax.cache import traffic
from pimjax.cache.reference_traffic import reference_traffic
from pimjax.cache.traffic import CacheWidths
from pimjax.config.workload import GO_CACHES


@given(st.data())
def test_step_bytes(data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    n = dict(L=draw(1, 4096), E=draw(1, 64), d=draw(1, 8192), b_s=draw(1, 4), b_a=draw(1, 4), C_max=draw(1, 4096))
    n |= dict(n=draw(0, n["E"]), taken=draw(0, n["E"]), C=draw(1, n["L"]))
    for code, variant in enumerate(GO_CACHES):
        got = traffic.gate_output_step(
            code, CacheWidths(n["b_s"], n["b_a"], n["d"]), num_tokens=n["L"], num_experts=n["E"], admitted=n["n"],
            taken=n["taken"], capacity=n["C"], largest_capacity=n["C_max"],
        )  # fmt: skip
        np.testing.assert_allclose((got.read, got.written), oracle.step_bytes(variant, **n), rtol=3e-7)
        resident = {
            "full": n["L"] * n["E"] * n["b_s"] + n["E"] * n["C"] * n["d"] * n["b_a"],
            "threshold": n["E"] * n["C_max"] * n["b_s"],
            "authors": n["L"] * n["E"] + n["E"] * n["d"],
            "none": 0,
        }[variant]
        np.testing.assert_allclose(got.resident, resident, rtol=3e-7)


def test_variants_lengths_and_widths_are_data():
    """One compiled program for a mixed batch; each lane as alone."""
    calls = 0

    def step(code, length, score_bytes):
        nonlocal calls
        calls += 1
        return traffic.gate_output_step(
            code, CacheWidths(score_bytes, 1, 64), num_tokens=length, num_experts=16, admitted=4, taken=5,
            capacity=9, largest_capacity=16,
        )  # fmt: skip

    lanes = (jnp.arange(4), jnp.array([33, 40, 50, 60]), jnp.array([2, 4, 2, 1]))
    batch = jax.jit(jax.vmap(step))(*lanes)
    assert calls == 1
    for i in range(4):
        alone = step(*(int(lane[i]) for lane in lanes))
        np.testing.assert_array_equal([leaf[i] for leaf in batch], alone)


def test_prefill_bytes():
    def prefill(variant, prompt, longest):
        return traffic.gate_output_prefill(
            GO_CACHES.index(variant), CacheWidths(2, 1, 64), prompt_tokens=prompt, num_experts=4,
            capacity=-(-prompt // 4), largest_capacity=longest,
        )  # fmt: skip

    assert [float(leaf) for leaf in prefill("full", 8, 4)] == [0, 8 * 4 * 2 + 4 * 2 * 64, 8 * 4 * 2 + 4 * 2 * 64]
    assert [float(leaf) for leaf in prefill("threshold", 8, 4)] == [0, 4 * 4 * 2, 4 * 4 * 2]
    assert [float(leaf) for leaf in prefill("threshold", 8, 16)] == [0, 4 * 8 * 2, 4 * 16 * 2]
    for variant in ("none", "authors"):
        assert float(sum(prefill(variant, 8, 4))) == 0


def test_published_reference_numbers():
    """gen8 with both caches: 7 steps from L = 33; 12,391 ns at the first, 86.8 us and 21.4 uJ in all."""
    with jax.enable_x64(True):
        steps = reference_traffic(np.arange(33, 40), 16, 4096)
        assert float(steps.kv_ns[0]) == 50701
        assert float(steps.gate_output_ns[0]) == 12391
        assert float(steps.gate_output_ns.sum()) == pytest.approx(86.8e3, abs=50)
        assert float(steps.gate_output_nj.sum()) == pytest.approx(21.4e3, abs=50)
        assert float(steps.kv_bytes[0]) == 2 * 33 * 4096


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 40))
def test_sums_over_a_run(first, last, window):
    want = sum(min(n, window) if window else n for n in range(first, last + 1))
    assert float(traffic.sum_visible_tokens(first, last, window)) == want


def test_kv_bytes():
    step = traffic.kv_step(576 * 2, jnp.array([3, 128, 5000]), 128)
    assert step.read.tolist() == [1152 * 3, 1152 * 128, 1152 * 128]
    assert step.written.tolist() == [1152.0] * 3
    prompt = traffic.kv_prefill(1152, 5000, 128)
    assert [float(leaf) for leaf in prompt] == [0, 1152 * 5000, 1152 * 128]


@pytest.mark.parametrize(
    ("kv", "go", "chooses", "attention", "experts", "reads_kv", "reads_outputs"),
    [
        (False, False, True, 33, 33, False, False),
        (True, False, True, 33, 33, False, False),
        (False, True, True, 33, 1, False, True),
        (True, True, True, 1, 1, True, False),
        (False, False, False, 33, 33, False, False),
        (True, False, False, 1, 1, True, False),
        (False, True, False, 33, 33, False, False),
        (True, True, False, 1, 1, True, False),
    ],
)
def test_flag_table(kv, go, chooses, attention, experts, reads_kv, reads_outputs):
    work = traffic.decode_work(33, kv_cache=kv, go_cache=go, expert_choice=chooses)
    assert int(work.attention_queries) == int(work.router_tokens) == attention
    assert int(work.expert_tokens) == experts
    assert (bool(work.reads_kv), bool(work.reads_summed_outputs)) == (reads_kv, reads_outputs)


def test_summed_outputs():
    step, prompt = (
        traffic.summed_outputs(CacheWidths(2, 1, 64), 9),
        traffic.summed_outputs(CacheWidths(2, 1, 64), 8, new_tokens=8),
    )
    assert [float(leaf) for leaf in step] == [9 * 64, 64, 9 * 64]
    assert [float(leaf) for leaf in prompt] == [0, 8 * 64, 8 * 64]
