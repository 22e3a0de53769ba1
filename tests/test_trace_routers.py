"""Routers against plain loops over the definitions of expert choice."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimjax.errors import TraceError
from pimjax.trace import causal_expert_choice, expert_capacity, expert_choice, gate_scores, round_to_float16, route
from pimjax.trace import token_choice as token_choice_kernel

TOKENS, EXPERTS = 7, 4  # one padded shape, so that every example shares one compiled program


def capacity(length, top_k, rule, prompt, longest):
    """C(L) from its definition, with exact fractions."""
    ceiling = lambda n: min(n, int(-(-Fraction(top_k * n, EXPERTS) // 1)))  # noqa: E731
    return {"growing": ceiling(length), "frozen": ceiling(prompt), "fixed": min(length, ceiling(longest))}[rule]


def members(scores, expert, length, count):
    """M_e(L): the tokens of the prefix with the largest scores, the older first among equals."""
    return set(sorted(range(length), key=lambda t: (-scores[t, expert], t))[:count])


def admissions(scores, length, top_k, rule, prompt, longest):
    """A* from the definition: the prompt together, every later token on arrival."""
    admitted = np.zeros((TOKENS, EXPERTS), bool)
    prompt = min(prompt, length)
    for expert in range(EXPERTS):
        for token in range(length):
            if token < prompt:
                inside = members(scores, expert, prompt, capacity(prompt, top_k, rule, prompt, longest))
            else:
                inside = members(scores, expert, token + 1, capacity(token + 1, top_k, rule, prompt, longest))
            admitted[token, expert] = token in inside
    return admitted


CAUSAL = {
    rule: jax.jit(
        lambda s, k, p, n, m, rule=rule: causal_expert_choice(
            s, k, prompt_tokens=p, num_tokens=n, rule=rule, max_tokens=m
        )
    )
    for rule in ("growing", "frozen", "fixed")
}
CHOICE = jax.jit(lambda s, c, n: expert_choice(s, c, num_tokens=n))
TOKEN = {k: jax.jit(lambda s, n, k=k: token_choice_kernel(s, k, num_tokens=n)) for k in (1, 3)}
few_scores = st.lists(
    st.sampled_from([0.1, 0.1 + 1e-6, 0.2, 0.3, 0.25]), min_size=TOKENS * EXPERTS, max_size=TOKENS * EXPERTS
).map(lambda values: np.array(values, np.float32).reshape(TOKENS, EXPERTS))


@settings(max_examples=80)
@given(few_scores, st.integers(1, EXPERTS), st.integers(1, TOKENS), st.integers(1, TOKENS), st.integers(TOKENS, 20))
def test_causal_expert_choice_is_its_definition(scores, top_k, length, prompt, longest):
    half = scores.astype(np.float16)
    for rule, kernel in CAUSAL.items():
        prompt_used = min(prompt, length) if rule == "frozen" else prompt
        expected = admissions(half, length, top_k, rule, prompt_used, longest)
        assert np.array_equal(kernel(scores, top_k, prompt_used, length, longest), expected), rule


@settings(max_examples=60)
@given(few_scores, st.integers(1, TOKENS + 2), st.integers(1, TOKENS))
def test_expert_choice_is_its_definition(scores, count, length):
    found = np.asarray(CHOICE(scores, count, length))
    for expert in range(EXPERTS):
        expected = members(scores.astype(np.float16), expert, length, count)
        assert set(np.flatnonzero(found[:, expert])) == expected


def test_admission_depends_on_older_tokens_only():
    scores = gate_scores(jax.random.normal(jax.random.key(0), (40, 16)))
    kernel = jax.jit(lambda s, n: causal_expert_choice(s, 4, num_tokens=n))
    whole = kernel(scores, 40)
    for length in (1, 2, 17, 39):
        other = scores.at[length:].set(0.9)  # what comes later may not matter
        assert np.array_equal(kernel(other, 40)[:length], whole[:length])
        assert np.array_equal(kernel(scores, length), whole & (np.arange(40) < length)[:, None])
    assert whole[0].all()  # the first token is admitted by every expert


def test_whole_sequence_as_prompt_gives_equal_loads():
    scores = gate_scores(jax.random.normal(jax.random.key(1), (33, 16)))
    chosen = jax.jit(lambda s: causal_expert_choice(s, 4, prompt_tokens=33))(scores)
    assert chosen.sum(axis=0).tolist() == [9] * 16  # ceil(4 * 33 / 16)
    assert np.array_equal(chosen, CHOICE(scores, 9, 33))


def test_equal_scores_prefer_the_older_token_and_the_lower_expert():
    flat = jnp.full((6, 4), 0.25)
    assert np.asarray(jax.jit(expert_choice)(flat, 2)).T.tolist() == [[True, True, False, False, False, False]] * 4
    assert jax.jit(token_choice_kernel, static_argnums=1)(flat, 2).expert_order.tolist() == [[0, 1]] * 6
    # where the capacity grows, the best rejected old token comes back and not the new one of equal score
    assert np.asarray(jax.jit(causal_expert_choice)(flat, 2))[:, 0].tolist() == [True] + [False] * 5


@settings(max_examples=40)
@given(few_scores, st.integers(1, TOKENS), st.sampled_from([1, 3]))
def test_token_choice_picks_the_highest(scores, length, top_k):
    found = TOKEN[top_k](scores, length)
    for token in range(TOKENS):
        best = sorted(range(EXPERTS), key=lambda e: (-scores[token, e], e))[:top_k]
        assert found.expert_order[token].tolist() == (best if token < length else [-1] * top_k)
        assert set(np.flatnonzero(found.choices[token])) == (set(best) if token < length else set())


def test_capacity_is_exact_for_all_small_sizes():
    for experts in (1, 3, 8, 16):
        for top_k in range(1, experts + 1):
            lengths = np.arange(1, 60)
            expected = [min(n, -(-top_k * n // experts)) for n in lengths.tolist()]
            assert expert_capacity(lengths, experts, top_k).tolist() == expected
            assert set(np.diff(expected)) <= {0, 1}


def test_capacity_rules_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="needs max_tokens"):
        expert_capacity(3, 4, 1, rule="fixed")
    with pytest.raises(ValueError, match="must be one of growing"):
        expert_capacity(3, 4, 1, rule="shrinking")


def test_rounding_is_float16_for_every_value_midpoint_and_neighbour():
    halves = np.arange(0, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middle = (halves[1:] + halves[:-1]) / 2
    values = np.concatenate(
        [halves, middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))]
    )
    values = np.concatenate([values, -values, np.float32([65519, 65520, 1e30, np.inf, -np.inf])])
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16).astype(np.float32)
    assert np.array_equal(jax.jit(round_to_float16)(values), expected)
    assert np.isnan(round_to_float16(jnp.float32(jnp.nan)))


def test_rounding_of_float64_happens_once():
    value = 1 + 2**-11 + 2**-40  # a double step through float32 would make it a tie and round it down
    with jax.enable_x64(True):
        assert float(round_to_float16(jnp.float64(value))) == float(np.float64(value).astype(np.float16)) > 1


def test_rounding_is_straight_through():
    assert jax.grad(lambda x: round_to_float16(x) * 3)(0.3).item() == 3


def test_kernels_vmap_and_keep_padding_out():
    scores = gate_scores(jax.random.normal(jax.random.key(2), (3, TOKENS, EXPERTS)))
    lengths = jnp.array([2, 5, 7])
    batch = jax.jit(jax.vmap(lambda s, n: causal_expert_choice(s, 2, num_tokens=n)))(scores, lengths)
    for row, one, length in zip(batch, scores, lengths.tolist(), strict=True):
        expected = admissions(np.asarray(one, np.float16), length, 2, "growing", 1, length)
        assert np.array_equal(row, expected)


def test_route_makes_a_checked_trace():
    scores = np.asarray(gate_scores(jax.random.normal(jax.random.key(3), (2, 9, 8))))
    chosen = route(scores, 2)
    assert chosen.expert_order.shape == (2, 9, 2)
    assert np.array_equal(chosen.choices.sum(axis=-1), np.full((2, 9), 2))
    prefill = route(scores, 2, router="expert_choice", num_tokens=8)
    assert prefill.choices.sum(axis=1).tolist() == [[2] * 8] * 2
    assert not prefill.choices[:, 8].any()
    assert (prefill.gate_scores[:, 8] == -np.inf).all()
    decode = route(scores, 2, router="expert_choice", prompt_tokens=1)
    assert decode.choices[:, 0].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 5}, "only num_experts = 4"),
        ({"top_k": 0}, "top_k is 0"),
        ({"router": "hash"}, "router is 'hash'"),
        ({"capacity_rule": "x", "router": "expert_choice"}, "capacity_rule is 'x'"),
        ({"prompt_tokens": 4, "router": "expert_choice"}, "only 3 tokens"),
        ({"num_tokens": 4}, "num_tokens is 4"),
        ({"gate_scores": np.full((3, 4), np.nan)}, "is nan"),
        ({"gate_scores": np.zeros((0, 4))}, "empty"),
        ({"gate_scores": np.zeros(4)}, r"\[tokens, experts\]"),
    ],
)
def test_route_refuses_bad_input(options, message):
    arguments = {"gate_scores": np.full((3, 4), 0.25), "top_k": 2, **options}
    with pytest.raises(TraceError, match=message):
        route(arguments.pop("gate_scores"), arguments.pop("top_k"), **arguments)
