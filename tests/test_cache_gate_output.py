"""Gate-output cache: decisions, sets, lists and bytes against sorting everything anew."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles import cache as oracle

from pimjax import status
from pimjax.cache.capacity import capacity_at, capacity_law, list_length
from pimjax.cache.full import full_init, full_prefill, full_step
from pimjax.cache.gate_output import (
    gate_output_decode,
    gate_output_init,
    gate_output_request,
    prompt_admissions,
)
from pimjax.cache.score_keys import EMPTY, check_scores, score_keys
from pimjax.cache.threshold import threshold_init, threshold_prefill
from pimjax.cache.traffic import CacheWidths
from pimjax.errors import ConfigError, TraceError
from pimjax.trace.routers import causal_expert_choice

ROWS = 20  # one compile: lengths, prompts, k, E and rules are data
EXPERTS = 5
WIDTHS = CacheWidths(score_bytes=2.0, activation_bytes=1.0, d_model=24.0)

decode = jax.jit(gate_output_decode)


@jax.jit
def run_threshold(scores, law, num_tokens):
    step = gate_output_request(scores, law, WIDTHS, steps=ROWS, size=ROWS, num_tokens=num_tokens)
    return step, prompt_admissions(scores, law)


@jax.jit
def run_full(scores, law, num_tokens, revise):
    state = full_prefill(scores, law.prompt_tokens, law, max_tokens=ROWS)
    index = law.prompt_tokens + jnp.arange(ROWS)

    def body(state, token):
        row, real = token
        state, out = full_step(state, row, law, WIDTHS, revise=revise, is_token=real)
        return state, (out, state.stored.sum(), state.member)

    arriving = jnp.take(scores, index, axis=0, mode="clip")
    return state, *jax.lax.scan(body, state, (arriving, index < num_tokens))


EXPERT_COUNTS = st.integers(1, EXPERTS)


@st.composite
def cases(draw, experts=EXPERT_COUNTS):
    experts = draw(experts)
    top_k = draw(st.integers(1, experts))
    tokens = draw(st.integers(1, ROWS))
    prompt = draw(st.integers(1, tokens))
    longest = draw(st.integers(tokens, ROWS))
    rule = draw(st.sampled_from(["growing", "frozen", "fixed"]))
    # few distinct values, so that ties are the rule; 0.5001 rounds to 0.5
    values = st.sampled_from([0.0, 1e-7, 3e-7, 0.25, 0.5, 0.5001, 0.50025, 0.75, 1.0])
    flat = draw(st.lists(values, min_size=tokens * experts, max_size=tokens * experts))
    return np.asarray(flat, np.float32).reshape(tokens, experts), top_k, prompt, longest, rule


def padded(scores):
    full = np.full((ROWS, EXPERTS), -np.inf, np.float32)
    full[: scores.shape[0], : scores.shape[1]] = scores
    return full


TIES = (np.full((ROWS, 3), 0.25, np.float32), 2, 1, ROWS, "growing")
ONE_EXPERT = (np.linspace(1, 0, ROWS, dtype=np.float32)[:, None], 1, 3, ROWS, "growing")
ALL_FIT = (np.linspace(0, 1, 2 * ROWS, dtype=np.float32).reshape(ROWS, 2), 2, 1, ROWS, "growing")  # C(L) = L


@settings(max_examples=60)
@given(cases())
@example(TIES)
@example(ONE_EXPERT)
@example(ALL_FIT)
def test_decisions_and_bytes_against_sorting_anew(case):
    scores, top_k, prompt, longest, rule = case
    tokens, experts = scores.shape
    law = capacity_law(experts, top_k, max_tokens=longest, prompt_tokens=prompt, rule=rule)
    wanted = oracle.admissions(scores, top_k, rule, prompt, longest)
    changes = oracle.set_changes(scores, top_k, rule, prompt, longest)
    step, at_prompt = jax.tree.map(np.asarray, run_threshold(padded(scores), law, tokens))
    start, _, (out, stored, member) = jax.tree.map(np.asarray, run_full(padded(scores), law, tokens, False))
    largest = oracle.capacity(longest, experts, top_k, rule, prompt, longest)

    np.testing.assert_array_equal(at_prompt[:prompt, :experts], wanted[:prompt])
    assert not at_prompt[prompt:].any()
    np.testing.assert_array_equal(
        start.member[:tokens, :experts] & (np.arange(tokens) < prompt)[:, None],
        wanted * (np.arange(tokens) < prompt)[:, None],
    )
    lists = [sorted(scores[:prompt, e].astype(np.float16), reverse=True)[:largest] for e in range(experts)]
    resident = (
        prompt * experts * 2
        + experts * min(oracle.capacity(prompt, experts, top_k, rule, prompt, longest), prompt) * 24
    )
    entries = sum(len(scores_) for scores_ in lists)
    for i in range(tokens - prompt):
        t = prompt + i
        for got in (step, out.step):
            np.testing.assert_array_equal(got.admitted[i, :experts], wanted[t])
            np.testing.assert_array_equal(got.hits[i, :experts], [change[0] for change in changes[i]])
            np.testing.assert_array_equal(got.evicted[i, :experts], [change[1] >= 0 for change in changes[i]])
            np.testing.assert_array_equal(got.readmitted[i, :experts], [change[2] >= 0 for change in changes[i]])
            assert not got.admitted[i, experts:].any()
            assert not got.hits[i, experts:].any()
            assert got.capacity[i] == oracle.capacity(t + 1, experts, top_k, rule, prompt, longest)
            assert got.status[i] == status.OK
        np.testing.assert_array_equal(step.near_tie[i], out.step.near_tie[i])
        np.testing.assert_array_equal(out.evicted_token[i, :experts], [change[1] for change in changes[i]])
        np.testing.assert_array_equal(out.readmitted_token[i, :experts], [change[2] for change in changes[i]])
        sets = oracle.members(scores[: t + 1], int(out.step.capacity[i]))
        np.testing.assert_array_equal(
            member[i, :tokens, :experts], [[u in chosen for chosen in sets] for u in range(tokens)]
        )
        # bytes of the full variant; what was stored = what was evicted + what is resident
        passes = int(wanted[t].sum())
        numbers = dict(L=t + 1, E=experts, n=passes, d=24, b_s=2, b_a=1, C_max=largest)
        assert (out.step.bytes_read[i], out.step.bytes_written[i]) == oracle.step_bytes("full", **numbers)
        resident += out.step.bytes_stored[i] - out.step.bytes_evicted[i]
        assert resident == (t + 1) * experts * 2 + stored[i] * 24
        # bytes of the threshold variant
        taken = 0
        for e in range(experts):
            value = scores[t, e].astype(np.float16)
            takes = len(lists[e]) < largest or value > lists[e][-1]
            assert step.taken[i, e] == takes
            taken += takes
            lists[e] = sorted([*lists[e], value], reverse=True)[:largest]
        numbers["taken"] = taken
        assert (step.bytes_read[i], step.bytes_written[i]) == oracle.step_bytes("threshold", **numbers)
        entries += (step.bytes_stored[i] - step.bytes_evicted[i]) / 2
        assert entries == sum(len(one) for one in lists)
        assert step.bytes_resident[i] == experts * largest * 2
    for late in (step, out.step):
        for name in ("admitted", "hits", "evicted", "readmitted", "taken", "near_tie", "bytes_read", "bytes_written",
                     "bytes_stored", "bytes_evicted"):  # fmt: skip
            assert not getattr(late, name)[tokens - prompt :].any(), name


@settings(max_examples=25)
@given(cases())
def test_revise_stores_every_member(case):
    scores, top_k, prompt, longest, rule = case
    tokens, experts = scores.shape
    law = capacity_law(experts, top_k, max_tokens=longest, prompt_tokens=prompt, rule=rule)
    _, final, (out, stored, member) = jax.tree.map(np.asarray, run_full(padded(scores), law, tokens, True))
    np.testing.assert_array_equal(final.stored, final.member)
    for i in range(tokens - prompt):
        assert stored[i] == member[i].sum() == experts * out.step.capacity[i]
        passes = out.step.admitted[i].sum() + out.step.readmitted[i].sum()
        assert out.step.bytes_written[i] == experts * 2 + passes * 24 + 24
        grew = out.step.capacity[i] > oracle.capacity(prompt + i, experts, top_k, rule, prompt, longest)
        assert passes == experts if grew else not out.step.readmitted[i].any()


@partial(jax.jit, static_argnames="rule")
def run_once(scores, top_k, prompt, num_tokens, longest, rule):
    return causal_expert_choice(
        scores, top_k, prompt_tokens=prompt, num_tokens=num_tokens, rule=rule, max_tokens=longest
    )


@settings(max_examples=40)
@given(cases(experts=st.just(EXPERTS)))
def test_one_forward_pass_rule_agrees(case):
    scores, top_k, prompt, longest, rule = case
    tokens, experts = scores.shape
    law = capacity_law(experts, top_k, max_tokens=longest, prompt_tokens=prompt, rule=rule)
    step, at_prompt = jax.tree.map(np.asarray, run_threshold(padded(scores), law, tokens))
    once = run_once(padded(scores), top_k, prompt, tokens, longest, rule)
    both = np.concatenate([at_prompt[:prompt], step.admitted[: tokens - prompt]])
    np.testing.assert_array_equal(both, once[:tokens])


def test_prefill_equals_stepping():
    scores = jax.nn.softmax(jax.random.normal(jax.random.key(3), (ROWS, EXPERTS)))
    law = capacity_law(EXPERTS, 2, max_tokens=ROWS)
    stepped, _ = decode(threshold_init(EXPERTS, 8), scores, law)
    at_once = threshold_prefill(scores, ROWS, EXPERTS, list_length=8)
    np.testing.assert_array_equal(stepped.keys, at_once.keys)
    assert int(stepped.num_tokens) == int(at_once.num_tokens) == ROWS
    want = oracle.largest_old(np.asarray(scores), 8)
    np.testing.assert_array_equal(at_once.keys, score_keys(jnp.asarray(want)))
    # lists longer than the prompt keep empty places
    short = threshold_prefill(scores, 3, EXPERTS, list_length=8)
    assert (np.asarray(short.keys) == EMPTY).sum(axis=1).tolist() == [5] * EXPERTS


@pytest.mark.parametrize("variant", ["threshold", "full"])
def test_padding_rows_change_nothing(variant):
    scores = jax.nn.softmax(jax.random.normal(jax.random.key(4), (6, 3)))
    law = capacity_law(3, 1, max_tokens=16)
    holes = jnp.insert(scores, jnp.array([0, 2, 2, 6]), -jnp.inf, axis=0)
    dense_state, dense = decode(gate_output_init(variant, 3, size=16), scores, law)
    state, sparse = decode(gate_output_init(variant, 3, size=16), holes, law)
    real = np.isfinite(np.asarray(holes)).all(axis=1)
    np.testing.assert_array_equal(sparse.admitted[real], dense.admitted)
    assert not np.asarray(sparse.admitted)[~real].any()
    jax.tree.map(np.testing.assert_array_equal, state, dense_state)


def test_vmapped_designs_equal_single_ones():
    laws = [capacity_law(4, 1, max_tokens=12, prompt_tokens=2), capacity_law(6, 3, max_tokens=9, rule="fixed"),
            capacity_law(5, 5, max_tokens=12, prompt_tokens=7, rule="frozen")]  # fmt: skip
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *laws)
    scores = jax.nn.softmax(jax.random.normal(jax.random.key(5), (3, 12, 6)))
    size = list_length([4, 6, 5], [1, 3, 5], [12, 9, 12])

    def run(row, law):
        return gate_output_request(row, law, WIDTHS, steps=10, size=size, num_tokens=law.max_tokens)

    single = jax.jit(run)
    together = jax.jit(jax.vmap(run))(scores, stacked)
    for i, law in enumerate(laws):
        alone = single(scores[i], law)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_array_equal(a[i], b), together, alone)


def test_status_bits():
    law = capacity_law(2, 1, max_tokens=8)
    bad = jnp.array([[0.5, 0.5], [jnp.nan, 0.5], [0.5, 0.5]])
    _, step = decode(threshold_init(2, 4), bad, law)
    assert step.status.tolist() == [status.OK, status.NON_FINITE, status.OK]
    one_expert = capacity_law(1, 1, max_tokens=8)
    assert decode(threshold_init(2, 8), bad[:, ::-1], one_expert)[1].status.tolist() == [0, 0, 0]
    _, step = decode(threshold_init(2, 3), bad[:1], law)
    assert step.status.tolist() == [status.CAPACITY_EXCEEDED]
    _, step = decode(full_init(2, 1), bad[::2], law)
    assert step.status.tolist() == [status.OK, status.CAPACITY_EXCEEDED]
    with pytest.raises(TraceError, match=r"\[1, 0\] is NaN"):
        check_scores(bad)


def test_near_ties_are_counted():
    half = np.float16(0.5)
    up = np.nextafter(half, np.float16(1))
    scores = np.array([[half], [up], [half], [np.float16(0.25)]], np.float32)
    law = capacity_law(4, 1, max_tokens=4)
    _, step = decode(threshold_init(4, 2), jnp.tile(jnp.asarray(scores), (1, 4)), law)
    assert step.near_tie.all(axis=1).tolist() == [False, True, True, False]


def test_reference_statistics():
    """Passes per step, exchangeable scores: mean E C(L)/L; under revise, all experts at each growth."""
    scores = jax.nn.softmax(jax.random.normal(jax.random.key(6), (8, 128, 16)))
    law = capacity_law(16, 4, max_tokens=128, prompt_tokens=64)

    @jax.jit
    @jax.vmap
    def passes(row):
        state = full_prefill(row, 64, law, max_tokens=128)
        step = gate_output_decode(state, row[64:], law, WIDTHS, revise=True)[1]
        return step.admitted.sum(-1), step.readmitted.sum(-1)

    newest, again = passes(scores)
    lengths = np.arange(65, 129)
    expected = 16 * np.asarray(capacity_at(law, lengths)) / lengths
    assert abs(newest.mean() - expected.mean()) < 0.15
    assert 6.6 < (newest + again).mean() < 7.2


@pytest.mark.parametrize(
    "arguments",
    [(4, 5, {"max_tokens": 8}), (4, 0, {"max_tokens": 8}), (4, 2, {"max_tokens": 8, "prompt_tokens": 9}),
     (4, 2, {"max_tokens": 8, "prompt_tokens": 0}), (4, 2, {"max_tokens": 8, "rule": "shrinking"}),
     (4, 4, {"max_tokens": 2**30})],
)  # fmt: skip
def test_laws_are_checked(arguments):
    experts, top_k, others = arguments
    with pytest.raises(ConfigError):
        capacity_law(experts, top_k, **others)


@given(st.integers(1, 40), st.integers(1, 64), st.data())
def test_capacity(length, experts, data):
    top_k = data.draw(st.integers(1, experts))
    prompt = data.draw(st.integers(1, length))
    for rule in ("growing", "frozen", "fixed"):
        law = capacity_law(experts, top_k, max_tokens=40, prompt_tokens=prompt, rule=rule)
        assert int(capacity_at(law, length)) == oracle.capacity(length, experts, top_k, rule, prompt, 40)
    assert list_length(experts, top_k, 40) == oracle.capacity(40, experts, top_k, "growing", 1, 40)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keys_round_once(dtype):
    """Bit for bit NumPy's rounding, midpoints and subnormal numbers included; order and zeros."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 0x7BFF, 4000).astype(np.uint16)
    low, high = (b.view(np.float16).astype(np.float64) for b in (bits, (bits + 1).astype(np.uint16)))
    middle = (low + high) / 2
    values = np.concatenate([low, middle, middle * (1 + 2.0**-30), middle * (1 - 2.0**-30), rng.random(4000),
                             [np.inf, 65519.0, 65520.0, 1e9]]).astype(dtype)  # fmt: skip
    values = np.concatenate([values, -values])
    with jax.enable_x64(dtype == np.float64), np.errstate(over="ignore"):
        keys = np.asarray(jax.jit(score_keys)(jnp.asarray(values)))
        half = values.astype(np.float16)
    order = np.argsort(keys, kind="stable")
    assert (np.diff(half[order].astype(np.float32)[np.isfinite(half[order])]) >= 0).all()
    pattern = half.view(np.uint16)
    pattern = np.where(pattern == 0x8000, 0, pattern)  # one zero
    np.testing.assert_array_equal(keys, np.where(pattern >= 0x8000, ~pattern, pattern | 0x8000))
