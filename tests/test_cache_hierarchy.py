"""SRAM in front of DRAM against a dictionary; streams of a decode against their closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles import cache as oracle

from pimjax.cache.capacity import capacity_law
from pimjax.cache.full import full_init, full_step
from pimjax.cache.hierarchy import NO_LINE, POLICIES, hierarchy_traffic, hit_rate_curve, sram_run
from pimjax.cache.streams import expert_output_stream, score_table_stream, token_row_stream
from pimjax.cache.traffic import sum_visible_tokens
from pimjax.errors import ConfigError

PLACES, ACCESSES = 6, 48
run = jax.jit(partial(sram_run, places=PLACES))


def stream(length=ACCESSES):
    access = st.tuples(st.integers(-1, 9), st.booleans())
    return st.lists(access, min_size=0, max_size=length)


def padded(accesses):
    lines = np.full(ACCESSES, NO_LINE, np.int32)
    writes = np.ones(ACCESSES, bool)  # a write flag on padding must not matter
    for i, (line, write) in enumerate(accesses):
        lines[i], writes[i] = line, write
    return lines, writes


@settings(max_examples=150)
@given(stream(), st.integers(0, PLACES), st.sampled_from(POLICIES))
@example([(line, True) for line in range(10)] * 4, 0, "lru")
@example([(line, False) for line in range(7)] * 6, 6, "lru")  # cyclic: LRU never hits
@example([(line, True) for line in (1, 1, 1, 2, 3, 4, 5, 6, 7, 1)], 6, "lfu")
def test_every_access_against_a_dictionary(accesses, capacity, policy):
    lines, writes = padded(accesses)
    state, out = jax.tree.map(np.asarray, run(lines, writes, capacity, POLICIES.index(policy)))
    sram = oracle.Sram(capacity, policy)
    for i, (line, write) in enumerate(accesses):
        want = (False, NO_LINE, False, False) if line == NO_LINE else sram.access(line, write)
        assert (out.hit[i], out.evicted[i], out.written_back[i], out.fetched[i]) == want, i
    assert not out.hit[len(accesses) :].any()
    assert not (out.fetched | out.written_back)[len(accesses) :].any()
    resident = {int(line): bool(dirty) for line, dirty in zip(state.line, state.dirty, strict=True) if line != NO_LINE}
    assert resident == {line: entry.dirty for line, entry in sram.lines.items()}
    # lines that came = lines that left + lines that are here
    came = sum(line != NO_LINE for line, _ in accesses) - out.hit.sum() if capacity else 0
    assert came == (out.evicted != NO_LINE).sum() + len(resident)


@settings(max_examples=40)
@given(stream())
def test_curve_over_capacities_is_one_call_of_equal_lanes(accesses):
    lines, writes = padded(accesses)
    capacities = np.arange(PLACES + 1, dtype=np.int32)
    for policy in range(2):
        curve = jax.tree.map(np.asarray, hit_rate_curve(lines, writes, capacities, policy, places=PLACES))
        for capacity in capacities:
            _, out = run(lines, writes, capacity, policy)
            assert curve.hits[capacity] == out.hit.sum()
            assert curve.dram_reads[capacity] == out.fetched.sum()
            assert curve.dram_writes[capacity] == out.written_back.sum()
        if policy == 0:  # LRU contains the content of every smaller LRU cache
            assert (np.diff(curve.hits) >= 0).all()
        assert (curve.accesses == (lines[: len(accesses)] != NO_LINE).sum()).all()


def test_lru_hits_are_the_stack_distances():
    """Mattson: an access hits at every capacity above the number of distinct lines since its last use."""
    rng = np.random.default_rng(0)
    lines = rng.zipf(1.5, 400).clip(max=30).astype(np.int32)
    capacities = np.arange(1, 17, dtype=np.int32)
    curve = hit_rate_curve(lines, np.zeros(400, bool), capacities, places=16)
    distance = []
    for i, line in enumerate(lines):
        before = np.flatnonzero(lines[:i] == line)
        if before.size:
            distance.append(len(set(lines[before[-1] + 1 : i])))
    want = [(np.asarray(distance) < capacity).sum() for capacity in capacities]
    assert curve.hits.tolist() == want


def test_policies_mix_in_one_batch():
    rng = np.random.default_rng(1)
    lines = rng.zipf(1.3, 300).clip(max=40).astype(np.int32)
    both = hit_rate_curve(lines, lines % 3 == 0, np.array([8, 8], np.int32), np.array([0, 1]), places=8)
    alone = [hierarchy_traffic(lines, lines % 3 == 0, 8, policy, places=8) for policy in (0, 1)]
    jax.tree.map(lambda a, b, c: np.testing.assert_array_equal(a, [b, c]), both, *alone)
    assert both.hits[0] != both.hits[1]


@pytest.mark.parametrize("window", [0, 3])
def test_decode_stream_moves_the_closed_form_bytes(window):
    got = token_row_stream(4, 5, 24, line_bytes=16, num_layers=2, window=window)
    reads, writes = (~got.is_write).sum(), got.is_write.sum()
    assert reads == 2 * 2 * float(sum_visible_tokens(5, 9, window))  # two layers, two lines per row
    assert writes == 2 * 2 * 5
    assert got.lines.max() < got.num_lines == 2 * 9 * 2
    # with room for everything only the prompt's rows are ever fetched, once; with none, every access goes to DRAM
    curve = hit_rate_curve(got.lines, got.is_write, np.array([0, 36], np.int32), places=36)
    seen_prompt = (4 if not window else 2) * 2 * 2
    assert curve.dram_reads.tolist() == [reads, seen_prompt]
    assert curve.dram_writes.tolist() == [writes, 0]
    assert curve.dirty_left.tolist() == [0, writes]


def test_score_table_stream():
    got = score_table_stream(5, 3, 32, line_bytes=64, num_layers=1)
    assert got.lines.tolist() == [0, 1, 2, 2, 0, 1, 2, 3, 0, 1, 2, 3, 3]
    assert got.is_write.tolist() == [i in (3, 7, 12) for i in range(13)]
    assert got.num_lines == 4


def test_expert_outputs_reuse_the_places_of_the_evicted():
    law = capacity_law(4, 2, max_tokens=24)
    scores = jax.nn.softmax(jax.random.normal(jax.random.key(0), (24, 4)))
    state, out = jax.lax.scan(lambda state, row: full_step(state, row, law), full_init(4, 24), scores)
    got = expert_output_stream(np.zeros((0, 4), bool), out.step.admitted, out.evicted_token, 64, line_bytes=32)
    assert len(got.lines) == 2 * int(out.step.admitted.sum())
    assert got.is_write.all()
    assert got.num_lines <= 2 * 4 * 12
    assert len(set(got.lines)) == got.num_lines >= 2 * int(state.stored.sum())


def test_streams_are_checked():
    with pytest.raises(ConfigError, match="row_bytes is 0"):
        token_row_stream(1, 1, 0, line_bytes=16)
    with pytest.raises(ConfigError, match="longer lines"):
        token_row_stream(1, 1, 2**34, line_bytes=1)
    assert hit_rate_curve(jnp.zeros(0, jnp.int32), jnp.zeros(0, bool), jnp.array([1]), places=1).hits.tolist() == [0]
