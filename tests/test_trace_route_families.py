"""Router choices against plain NumPy, written another way: no token of 100,000 may differ, in any family."""

from __future__ import annotations

import numpy as np
import pytest

from pimjax.errors import TraceError
from pimjax.trace import causal_expert_choice, route

TOKENS = 100_000


def logits(experts: int, seed: int, spread: float = 3.0, offset: float = 0.0) -> np.ndarray:
    """Raw float32 logits, with some exact ties among them."""
    rng = np.random.default_rng(seed)
    values = rng.normal(offset, spread, (TOKENS, experts)).astype(np.float32)
    values[::7] = np.round(values[::7])  # every seventh token has many equal logits
    return values


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Ids of the k largest, best first, one maximum after the other: argmax takes the lowest id among equals."""
    left, order = scores.astype(np.float64), []
    for _ in range(k):
        order.append(left.argmax(axis=1))
        left[np.arange(len(left)), order[-1]] = -np.inf
    return np.stack(order, axis=1)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.float32(1) / (np.float32(1) + np.exp(-x))


def differing(trace, expected: np.ndarray) -> int:
    return int((trace.expert_order[0] != expected).any(axis=1).sum())


def test_softmax_then_top_k():
    x = logits(128, 0)
    assert differing(route(x, 8, kind="softmax"), best(softmax(x), 8)) == 0
    assert differing(route(softmax(x), 8), best(softmax(x), 8)) == 0


@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_softmax_of_chosen(offset):
    x = logits(32, 1, offset=offset)
    trace = route(x, 4, kind="softmax_of_chosen")
    order = best(x, 4)
    assert differing(trace, order) == 0
    weights = softmax(np.take_along_axis(x, order, axis=1))
    assert np.allclose(np.take_along_axis(trace.gate_scores[0], order, axis=1), weights, atol=1e-6)
    assert np.allclose(trace.gate_scores[0].sum(axis=1), 1, atol=1e-5)
    assert differing(route(x, 4), order) == 0  # raw logits, compared as they are


def test_sigmoid_with_correction_bias_and_groups():
    """DeepSeek-V3: 8 groups ranked by the sum of their two best, 4 kept, 8 experts of 256."""
    x = logits(256, 2, spread=1.0)
    bias = np.random.default_rng(3).normal(0, 0.02, 256).astype(np.float32)
    gates = sigmoid(x)
    biased = gates + bias
    groups = biased.reshape(TOKENS, 8, 32)
    first = groups.max(axis=2)
    rest = groups.copy()
    np.put_along_axis(rest, groups.argmax(axis=2)[..., None], -np.inf, axis=2)
    kept = np.zeros((TOKENS, 8), bool)
    np.put_along_axis(kept, best(first + rest.max(axis=2), 4), True, axis=1)
    expected = best(np.where(kept[..., None], groups, -np.inf).reshape(TOKENS, 256), 8)
    trace = route(x, 8, kind="sigmoid", correction_bias=bias, num_groups=8, top_groups=4)
    assert differing(trace, expected) == 0
    assert np.array_equal(trace.gate_scores[0], gates)  # the bias decides, but it is no part of the score


def test_groups_ranked_by_their_best():
    """DeepSeek-V2: softmax, groups by their best expert."""
    x = logits(64, 4)
    groups = softmax(x).reshape(TOKENS, 8, 8)
    kept = np.zeros((TOKENS, 8), bool)
    np.put_along_axis(kept, best(groups.max(axis=2), 3), True, axis=1)
    expected = best(np.where(kept[..., None], groups, -np.inf).reshape(TOKENS, 64), 6)
    assert differing(route(x, 6, kind="softmax", num_groups=8, top_groups=3), expected) == 0


def test_switch_top_1():
    x = logits(64, 5)
    assert differing(route(x, 1, kind="softmax"), softmax(x).argmax(axis=1)[:, None]) == 0


def test_llama_4_sigmoid_after_top_1():
    x = logits(128, 6, spread=30.0)  # many sigmoids are exactly 1, so that only logits tell experts apart
    trace = route(x, 1, kind="sigmoid_of_chosen")
    chosen = x.argmax(axis=1)[:, None]
    assert differing(trace, chosen) == 0
    assert np.array_equal(
        np.take_along_axis(trace.gate_scores[0], chosen, 1), sigmoid(np.take_along_axis(x, chosen, 1))
    )


def test_expert_choice_of_a_prompt():
    scores = softmax(logits(16, 7))
    half = scores.astype(np.float16)
    count = -(-4 * TOKENS // 16)
    expected = np.zeros((TOKENS, 16), bool)
    for expert in range(16):
        order = np.lexsort((np.arange(TOKENS), -half[:, expert].astype(np.float64)))
        expected[order[:count], expert] = True
    assert np.array_equal(route(scores, 4, router="expert_choice").choices[0], expected)
    assert np.array_equal(route(logits(16, 7), 4, router="expert_choice", kind="softmax").choices[0], expected)


def test_expert_choice_of_decoding():
    """Every later token counts its older rivals one by one."""
    scores = softmax(logits(4, 8))
    half = scores.astype(np.float16)
    found = route(scores, 1, router="expert_choice", prompt_tokens=1).choices[0]
    for token in [*range(1, 600), *range(600, TOKENS, 997), TOKENS - 1]:
        capacity = -(-(token + 1) // 4)
        rivals = (half[:token] >= half[token]).sum(axis=0)
        assert np.array_equal(found[token], rivals < capacity), token
    assert found[0].all()


@pytest.mark.parametrize("rule", ["growing", "frozen", "fixed"])
@pytest.mark.parametrize("prompt", [1, 40, 300])
def test_long_recordings_are_admitted_as_the_kernel_admits(rule, prompt):
    scores = softmax(logits(8, 9)[:700])
    kernel = causal_expert_choice(scores, 2, prompt_tokens=prompt, rule=rule, max_tokens=700)
    found = route(scores, 2, router="expert_choice", prompt_tokens=prompt, capacity_rule=rule)
    assert np.array_equal(found.choices[0], kernel)


def test_scores_keep_their_precision():
    values = np.array([[0.5, 0.5 + 1e-9, 0.25]])
    assert route(values, 1).expert_order.item() == 1
    assert route(values.astype(np.float32), 1).expert_order.item() == 0
    assert route(values.astype(np.float16), 1).expert_order.item() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "logits"}, "kind is 'logits': it must be one of scores, softmax"),
        ({"router": "expert_choice", "gate_scores": np.full((3, 4), -2.0)}, "say kind='softmax'"),
        ({"router": "expert_choice", "kind": "softmax_of_chosen"}, "does not go with router"),
        ({"router": "expert_choice", "correction_bias": np.zeros(4)}, "does not go with router"),
        ({"prompt_tokens": 2}, "is for router 'expert_choice'"),
        ({"correction_bias": np.zeros(3)}, r"must be floats \[4\]"),
        ({"correction_bias": [0, 0, 0, 1]}, "is int64"),
        ({"correction_bias": np.full(4, np.inf)}, "must be finite"),
        ({"kind": "softmax_of_chosen", "correction_bias": np.zeros(4)}, "hold their bias already"),
        ({"num_groups": 3, "top_groups": 1}, "does not divide"),
        ({"num_groups": 2}, "top_groups is missing"),
        ({"num_groups": 4, "top_groups": 1}, "must hold top_k = 2"),
        ({"num_groups": 2, "top_groups": 3}, "at most num_groups = 2"),
        ({"num_groups": 2, "top_groups": 1, "group_score": "mean"}, "group_score is 'mean'"),
    ],
)
def test_refusals(options, message):
    arguments = {"gate_scores": np.full((3, 4), 0.25), "top_k": 2, **options}
    with pytest.raises(TraceError, match=message):
        route(arguments.pop("gate_scores"), arguments.pop("top_k"), **arguments)
