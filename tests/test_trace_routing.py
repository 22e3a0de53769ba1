"""RoutingTrace: constructors, checks, stacking, and its life as a pytree."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimjax.errors import TraceError
from pimjax.trace import RoutingTrace, TraceMetadata, select_requests, stack_traces


@st.composite
def id_arrays(draw):
    experts = draw(st.integers(1, 9))
    top_k = draw(st.integers(1, experts))
    layers, tokens = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    ids = generator.random((layers, tokens, experts)).argsort(axis=-1)[..., :top_k]
    return ids, experts


@given(id_arrays())
def test_from_expert_ids_marks_exactly_the_chosen_experts(case):
    ids, experts = case
    trace = RoutingTrace.from_expert_ids(ids, experts)
    for layer, token in np.ndindex(ids.shape[:2]):
        assert set(np.flatnonzero(trace.choices[layer, token])) == set(ids[layer, token])
    assert np.array_equal(trace.expert_order, ids)
    assert (trace.choices.dtype, trace.num_tokens.dtype, trace.expert_order.dtype) == (np.bool_, np.int32, np.int32)
    assert trace.num_tokens.shape == ()


def test_two_axes_are_one_layer():
    assert RoutingTrace.from_choices(np.eye(3, dtype=int)).choices.shape == (1, 3, 3)
    assert RoutingTrace.from_expert_ids([[1], [0]], 2).choices.shape == (1, 2, 2)


def test_padding_is_cleared_everywhere():
    trace = RoutingTrace.from_expert_ids([[0, 1], [2, 0], [9, 9]], 3, num_tokens=2, gate_scores=np.full((1, 3, 3), 0.5))
    assert not trace.choices[0, 2].any()
    assert (trace.expert_order[0, 2] == -1).all()
    assert (trace.gate_scores[0, 2] == -np.inf).all()
    assert not RoutingTrace.from_choices(np.ones((3, 2)), num_tokens=1).choices[0, 1:].any()


def test_topk_weights_are_put_at_their_experts():
    trace = RoutingTrace.from_expert_ids([[2, 0]], 4, topk_weights=np.array([[0.75, 0.25]], np.float16))
    assert trace.gate_scores.tolist() == [[[0.25, 0.0, 0.75, 0.0]]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RoutingTrace.from_choices(np.zeros((2, 2, 2, 2), bool)), r"choices has shape \[2, 2, 2, 2\]"),
        (lambda: RoutingTrace.from_choices(np.zeros(3, bool)), r"\[tokens, experts\]"),
        (lambda: RoutingTrace.from_choices([[1, 0], [1]]), "ragged"),
        (lambda: RoutingTrace.from_choices(np.zeros((0, 4), bool)), "empty"),
        (lambda: RoutingTrace.from_choices([[0, 2]]), "only 0 and 1"),
        (lambda: RoutingTrace.from_choices([["a", "b"]]), "only 0 and 1"),
        (lambda: RoutingTrace.from_choices([[0, 1]], num_tokens=2), "num_tokens is 2"),
        (lambda: RoutingTrace.from_choices([[0, 1]], num_tokens=0), "num_tokens is 0"),
        (lambda: RoutingTrace.from_choices([[0, 1]], gate_scores=[[np.nan, 1.0]]), "nan"),
        (lambda: RoutingTrace.from_choices([[0, 1]], gate_scores=[[0.5]]), "they must be equal"),
        (lambda: RoutingTrace.from_choices([[0, 1]], gate_scores=[[0, 1]]), "floating-point"),
        (lambda: RoutingTrace.from_expert_ids([[0, 3]], 3), r"expert_ids\[0, 0, 1\] is 3"),
        (lambda: RoutingTrace.from_expert_ids([[0, -1]], 3), "between 0 and"),
        (lambda: RoutingTrace.from_expert_ids([[0, 1], [2, 2]], 3), r"expert_ids\[0, 1\] is \[2, 2\].*twice"),
        (lambda: RoutingTrace.from_expert_ids([[0, 1, 2]], 2), "k = 3 experts per token"),
        (lambda: RoutingTrace.from_expert_ids([[0.0, 1.0]], 2), "must be integers"),
        (lambda: RoutingTrace.from_expert_ids([[0]], 0), "num_experts is 0"),
        (lambda: RoutingTrace.from_expert_ids([[0]], 2.5), "num_experts is 2.5"),
        (lambda: RoutingTrace.from_expert_ids(np.zeros((1, 0), int), 2), "empty"),
        (lambda: RoutingTrace.from_expert_ids([[0]], 2, topk_weights=[[1.0, 2.0]]), "they must be equal"),
        (lambda: RoutingTrace.from_expert_ids([[0]], 2, topk_weights=[[np.nan]]), "nan"),
        (lambda: RoutingTrace.from_expert_ids([[0]], 2, topk_weights=[[1]]), "floating-point"),
        (lambda: RoutingTrace.from_expert_ids([[0]], 2, topk_weights=[[1.0]], gate_scores=[[1.0, 0.0]]), "not both"),
        (lambda: stack_traces([]), "no trace"),
        (lambda: stack_traces([RoutingTrace.from_choices([[1]]), RoutingTrace.from_choices([[1, 1]])]), "different"),
        (lambda: RoutingTrace.from_choices([[1]]).request(0), "holds one request"),
        (lambda: stack_traces([RoutingTrace.from_choices([[1]])]).request(1), "request 1 does not exist"),
        (lambda: RoutingTrace.from_choices([[1]]).trim(0), "max_tokens is 0"),
        (lambda: select_requests(RoutingTrace.from_choices([[1]]), []), "requests is empty"),
        (lambda: select_requests(RoutingTrace.from_choices([[1]]), ["x"]), "'x' does not exist"),
        (lambda: select_requests(RoutingTrace.from_choices([[1]]), [True]), "neither an index nor a name"),
        (lambda: select_requests(RoutingTrace.from_choices([[1]]), 1.5), "neither an index nor a name"),
        (lambda: RoutingTrace.from_choices([[1]], num_tokens="a"), "num_tokens is 'a'"),
        (lambda: RoutingTrace.from_choices([[1]], num_tokens=float("nan")), "num_tokens is nan"),
    ],
)
def test_bad_input_is_one_sentence(make, message):
    with pytest.raises(TraceError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_stacked_requests_come_back_unchanged():
    short = RoutingTrace.from_expert_ids([[0], [1]], 3, gate_scores=np.full((1, 2, 3), 0.25))
    long = RoutingTrace.from_expert_ids([[2]] * 5, 3, gate_scores=np.full((1, 5, 3), 0.5))
    stacked = stack_traces([short, long])
    assert [leaf.shape for leaf in jax.tree.leaves(stacked)] == [(2, 1, 5, 3), (2,), (2, 1, 5, 3), (2, 1, 5, 1)]
    assert (stacked.num_requests, stacked.num_layers, stacked.max_tokens, stacked.num_experts) == (2, 1, 5, 3)
    for index, trace in enumerate((short, long)):
        back = stacked.request(index).trim()
        assert all(jax.tree.leaves(jax.tree.map(np.array_equal, trace, back)))


def test_stacking_drops_what_not_every_request_has():
    scored = RoutingTrace.from_choices([[1, 0]], gate_scores=[[0.5, 0.5]])
    assert stack_traces([scored, RoutingTrace.from_choices([[1, 0]])]).gate_scores is None


def test_trace_is_a_pytree_under_jit_vmap_and_notes_cause_no_retrace():
    traces = 0

    @jax.jit
    def tokens_of_first_expert(trace):
        nonlocal traces
        traces += 1
        return jax.vmap(lambda one: one.choices[0, :, 0].sum())(trace)

    one = RoutingTrace.from_choices([[1, 0], [1, 1]])
    assert tokens_of_first_expert(stack_traces([one, one])).tolist() == [2, 2]
    other = stack_traces([one, one]).with_metadata({"model": "other"})
    assert tokens_of_first_expert(other).tolist() == [2, 2]
    assert traces == 1
    assert jax.tree.structure(other) == jax.tree.structure(stack_traces([one, one]))


def test_positional_construction_in_a_kernel():
    @jax.jit
    def make(choices):
        return RoutingTrace(choices, jnp.int32(2))

    made = make(jnp.ones((1, 2, 3), bool))
    assert made.gate_scores is None
    assert made.expert_order is None
    assert made.metadata == TraceMetadata()


def test_select_requests_takes_names_and_negative_indices():
    stacked = stack_traces([RoutingTrace.from_choices([[1, 0]]), RoutingTrace.from_choices([[0, 1]])])
    named = stacked.with_metadata({"request_names": np.array(["a", "b"])})
    assert select_requests(named, ["b", 0]).metadata["request_names"].tolist() == ["b", "a"]
    assert select_requests(named, [-1]).choices[0, 0, 0].tolist() == [False, True]
