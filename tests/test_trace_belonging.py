"""A trace belongs to a model: experts, experts per token and layers by number, or one sentence."""

from __future__ import annotations

import numpy as np
import pytest

import pimjax
from pimjax.config.model import ModelConfig
from pimjax.errors import TraceError
from pimjax.estimation.routing import resolve
from pimjax.trace import (
    RoutingTrace,
    check_trace,
    fit_trace,
    load_traces,
    read_router_log,
    stack_traces,
    write_router_log,
)
from pimjax.trace.belonging import first_choices


def trace_of(layers, tokens=5, experts=8, k=2, seed=0, **options):
    rng = np.random.default_rng(seed)
    ids = np.stack([[rng.permutation(experts)[:k] for _ in range(tokens)] for _ in range(layers)])
    return RoutingTrace.from_expert_ids(ids, experts, **options)


MODEL = ModelConfig(num_experts=8, top_k=2, num_layers=6, first_dense_layers=2)  # experts in layers 2, 3, 4, 5


def test_moe_layers_in_order():
    trace = trace_of(4)
    fitted = fit_trace(trace, MODEL)
    assert fitted.choices is trace.choices
    assert fitted.layer_ids == (2, 3, 4, 5)
    check_trace(fitted, MODEL)


def test_all_layers_of_the_model():
    trace = trace_of(6)
    fitted = fit_trace(trace, MODEL)
    assert np.array_equal(fitted.choices, trace.choices[2:])
    assert np.array_equal(fitted.expert_order, trace.expert_order[2:])


def test_layers_by_number():
    trace = trace_of(5, layer_ids=[1, 2, 3, 4, 5])
    assert np.array_equal(fit_trace(trace, MODEL).choices, trace.choices[1:])
    stacked = stack_traces([trace, trace])
    assert np.array_equal(fit_trace(stacked, MODEL).choices, stacked.choices[:, 1:])
    with pytest.raises(TraceError, match="4 layers without number 5"):
        fit_trace(trace_of(4, layer_ids=[1, 2, 3, 4]), MODEL)  # as many as the model's, but not the same


def test_every_other_layer():
    model = ModelConfig(num_experts=8, top_k=2, num_layers=4, moe_frequency=2)
    trace = trace_of(2, layer_ids=[0, 2])
    assert fit_trace(trace, model).choices is trace.choices
    with pytest.raises(TraceError, match="without number 0"):
        check_trace(trace_of(2, layer_ids=[1, 3]), model)


def test_other_layers_only_where_allowed():
    trace = trace_of(3)
    with pytest.raises(TraceError, match="3 layers but the model has 4 MoE layers of 6 layers: convert"):
        check_trace(trace, MODEL)
    fitted = fit_trace(trace, MODEL, allow=["repeat_layers"])
    assert np.array_equal(fitted.choices, trace.choices[[0, 1, 2, 0]])
    check_trace(fitted, MODEL)


def test_axes_of_vllm_are_recognised():
    """20 tokens of a 48-layer model, [tokens, layers, k]: 20 layers of 48 tokens were taken once, in silence."""
    config = pimjax.load_config("qwen3_30b_a3b")
    trace = trace_of(20, 48, 128, 8)
    with pytest.raises(
        TraceError, match=r"20 layers and 48 tokens, but the model has 48 MoE layers: its axes look like"
    ):
        pimjax.estimate(config, trace, fidelity="closed")


def test_experts_per_token():
    with pytest.raises(TraceError, match=r"visits 3 experts per token but model.top_k is 2"):
        check_trace(trace_of(4, k=3), MODEL)
    with pytest.raises(TraceError, match=r"visits 1 experts per token but model.top_k is 2"):
        check_trace(trace_of(4, k=1), MODEL)
    fitted = fit_trace(trace_of(4, k=3), MODEL, allow={"any_top_k"})
    check_trace(fitted, MODEL)  # what was allowed stays with the trace
    check_trace(trace_of(4, k=3), MODEL.model_copy(update={"routing": "expert_choice"}))  # a mean there
    dropped = np.array(trace_of(4).choices)
    dropped[1, 2] = False
    check_trace(RoutingTrace.from_choices(dropped), MODEL)  # a router that drops tokens


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((trace_of(4, experts=9), MODEL), "9 experts but model.num_experts is 8"),
        (("trace.npz", MODEL), "trace is 'trace.npz': give a RoutingTrace"),
        ((trace_of(4), "gpt_oss_20b"), "config is 'gpt_oss_20b': give a configuration"),
        ((trace_of(4), None), "config is None"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(TraceError, match=message):
        check_trace(*arguments)


@pytest.mark.parametrize("allow", ["repeat_layers", None, 3, ["everything"], [3]])
def test_what_can_be_allowed_is_named(allow):
    with pytest.raises(TraceError, match="repeat_layers, any_top_k"):
        fit_trace(trace_of(4), MODEL, allow=allow)


def test_layer_numbers_are_saved(tmp_path):
    trace = trace_of(3, layer_ids=[1, 3, 5])
    trace.save(tmp_path / "t.npz")
    assert RoutingTrace.load(tmp_path / "t.npz").layer_ids == (1, 3, 5)
    assert load_traces(tmp_path / "t.npz").layer_ids == (1, 3, 5)
    write_router_log(trace, tmp_path / "t.jsonl")
    assert read_router_log(tmp_path / "t.jsonl").layer_ids == (1, 3, 5)
    allowed = fit_trace(trace, MODEL, allow=["repeat_layers", "any_top_k"])
    allowed.save(tmp_path / "t.npz")
    assert load_traces(tmp_path / "t.npz").allow == ("any_top_k", "repeat_layers")
    write_router_log(allowed, tmp_path / "t.jsonl")
    assert read_router_log(tmp_path / "t.jsonl").allow == allowed.allow == stack_traces([allowed]).request(0).allow
    assert trace.trim(2).layer_ids == stack_traces([trace]).request(0).layer_ids == (1, 3, 5)


@pytest.mark.parametrize("numbers", [[0], [0, 0, 1], [2, 1, 0], [-1, 0, 1], [0.0, 1.0, 2.0], "abc", [[0], [1, 2]], []])
def test_layer_numbers_are_checked(numbers):
    with pytest.raises(TraceError, match="layer_ids"):
        trace_of(3, layer_ids=numbers)


def test_requests_of_other_layers_are_not_stacked():
    with pytest.raises(TraceError, match="requests of different layers"):
        stack_traces([trace_of(2, layer_ids=[0, 1]), trace_of(2, layer_ids=[0, 2])])


def test_recorded_default_is_made_for_the_model():
    """The shipped recordings have three layers and four experts per token; any depth and any k up to four is served."""
    config = pimjax.load_config("paper_multiplexed", {"model.num_layers": 5, "model.top_k": 2})
    _, trace = resolve(config, None)
    assert trace.layer_ids == (0, 1, 2, 3, 4)
    assert (trace.choices[0].sum(axis=-1).max(axis=-1) == 2).all()
    recorded = pimjax.default_traces()
    assert np.array_equal(trace.expert_order[0][0], recorded.expert_order[0][0][..., :2])
    with pytest.raises(TraceError, match="4 experts per token, but top_k is 5"):
        resolve(pimjax.load_config("paper_multiplexed", {"model.top_k": 5}), None)


def test_best_choices_of_a_padded_trace():
    short, long = trace_of(1, 2, k=3), trace_of(1, 4, k=3, seed=1)
    cut = first_choices(stack_traces([short, long]), 2)
    assert cut.choices.sum(axis=-1).tolist() == [[[2, 2, 0, 0]], [[2, 2, 2, 2]]]
    assert first_choices(short, 3) is short
