"""Generators, their fitting, the paper's statistics, the shipped recordings, and the statistics themselves."""

from __future__ import annotations

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pimjax.errors import TraceError
from pimjax.resources import data_folder
from pimjax.schedule import schedule_cost
from pimjax.trace import (
    GENERATORS,
    RECORDED_ROUTERS,
    RoutingTrace,
    causal_expert_choice,
    coactivation,
    coactivation_excess,
    default_trace,
    default_traces,
    expert_loads,
    fit_generator,
    generate_from_parameters,
    generate_traces,
    generator_parameters,
    load_generator,
    load_imbalance,
    save_generator,
    shared_experts,
    stack_traces,
    synthesize_paper,
    token_choice,
    trace_statistics,
)


def test_one_expert_per_token_follows_the_given_odds():
    odds = np.array([0.4, 0.3, 0.2, 0.1])
    trace = generate_from_parameters(
        generator_parameters(np.log(odds)[None], 1), jax.random.split(jax.random.key(0), 4), 2000
    )
    share = expert_loads(trace).sum(axis=0)[0] / 8000
    assert np.abs(share - odds).max() < 4 * np.sqrt(0.25 / 8000)


@pytest.mark.parametrize("kind", GENERATORS)
def test_every_generator_is_repeatable_and_well_formed(kind):
    sizes = {"requests": 2, "layers": 2, "tokens": 24}
    trace = generate_traces(kind, **sizes, seed=3)
    again = generate_traces(kind, **sizes, seed=3)
    other = generate_traces(kind, **sizes, seed=4)
    assert trace.choices.shape == (2, 2, 24, 16)
    assert np.array_equal(trace.choices, again.choices)
    assert not np.array_equal(trace.choices, other.choices)
    assert not np.array_equal(trace.choices[0], trace.choices[1])
    if kind == "expert_choice":
        assert trace.expert_order is None
        assert (trace.choices.sum(axis=2) == 6).all()  # every expert takes k T / E tokens of the prompt
    else:
        assert (trace.choices.sum(axis=-1) == 4).all()
        assert np.array_equal(np.take_along_axis(trace.choices, trace.expert_order, -1), np.ones((2, 2, 24, 4), bool))
    if trace.gate_scores is not None:
        assert np.array_equal(trace.gate_scores, trace.gate_scores.astype(np.float16))


@pytest.mark.parametrize("kind", GENERATORS)
def test_generators_draw_the_same_in_64_bit_mode(kind):
    sizes = {"requests": 2, "layers": 2, "tokens": 24}
    narrow = generate_traces(kind, **sizes, seed=3)
    with jax.enable_x64(True):
        wide = generate_traces(kind, **sizes, seed=3)
    for one, other in zip(jax.tree.leaves(narrow), jax.tree.leaves(wide), strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.asarray(one).dtype == np.asarray(other).dtype


def test_choices_are_those_of_the_scores():
    sticky = generate_traces("sticky", tokens=24)
    assert np.array_equal(token_choice(sticky.gate_scores[0, 0], 4).expert_order, sticky.expert_order[0, 0])
    chosen = generate_traces("expert_choice", tokens=24, prompt_tokens=10)
    kernel = jax.jit(lambda scores: causal_expert_choice(scores, 4, prompt_tokens=10))
    assert np.array_equal(kernel(chosen.gate_scores[0, 0]), chosen.choices[0, 0])
    assert chosen.metadata["prompt_tokens"].tolist() == [10]


def test_popularity_and_stickiness_do_what_they_say():
    flat = generate_traces("uniform", requests=4, tokens=400)
    steep = generate_traces("zipf", requests=4, tokens=400, exponent=1.5)
    assert load_imbalance(expert_loads(flat).sum(axis=0)).item() < 1.1
    assert load_imbalance(expert_loads(steep).sum(axis=0)).item() > 2.5
    assert shared_experts(flat).item() == pytest.approx(1.0, abs=0.08)  # k * k / E
    sticky = generate_traces("sticky", requests=8, tokens=400, experts=32)
    assert shared_experts(sticky).item() == pytest.approx(1.88, abs=0.06)  # what GPT-OSS-20B does
    opposite = generate_traces("sticky", requests=4, tokens=400, persistence=-0.8)
    assert shared_experts(opposite).item() < 0.6
    spread = generate_traces("sticky", requests=4, tokens=400, persistence=0.0, request_spread=1.5)
    assert load_imbalance(expert_loads(spread)).mean() > 1.5 * load_imbalance(expert_loads(flat)).mean()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("nonsense", {}, "does not exist: choose one of uniform"),
        ("uniform", {"exponent": 1.0}, "has no option 'exponent'"),
        ("uniform", {"top_k": 17}, "only num_experts = 16"),
        ("uniform", {"tokens": 0}, "tokens is 0"),
        ("uniform", {"requests": 1.5}, "requests is 1.5"),
        ("zipf", {"exponent": -1.0}, "exponent is -1.0"),
        ("zipf", {"exponent": float("nan")}, "exponent is nan"),
        ("dirichlet", {"concentration": 0}, "concentration is 0"),
        ("sticky", {"persistence": 1.0}, "persistence is 1.0"),
        ("sticky", {"request_spread": -1.0}, "request_spread is -1.0"),
        ("expert_choice", {"prompt_tokens": 200}, "only 128 tokens"),
        ("expert_choice", {"capacity_rule": "x"}, "capacity_rule is 'x'"),
        ("paper", {"experts": 8}, "fitted to 16 experts"),
    ],
)
def test_bad_generator_options(kind, options, message):
    with pytest.raises(TraceError, match=message):
        generate_traces(kind, **options)


def test_paper_trace_has_the_published_slots_and_compact_loads(golden_folder):
    published = json.loads((golden_folder / "paper_schedule_figure.json").read_text())["paper_trace_statistics"]
    choices = jax.jit(synthesize_paper)(jax.random.key(77)).choices[0]
    tokens, ascending = choices.shape[0], np.argsort(np.asarray(choices.sum(axis=0)), kind="stable")
    for name in published["slots_per_token"]:
        size = int(name[1])
        groups = np.arange(16) // size
        if name[0] == "S":
            for group in range(16 // size):
                half = size // 2
                groups[ascending[half * group : half * (group + 1)]] = group
                groups[ascending[16 - half * (group + 1) : 16 - half * group]] = group
        cost = schedule_cost(choices, jnp.asarray(groups), policy="compact", num_groups=16 // size)
        assert int(cost.makespan) / tokens == pytest.approx(published["slots_per_token"][name], rel=0.03)
        assert int(cost.loads) / tokens == pytest.approx(published["loads_per_token_C"][name], rel=0.03)


def test_fit_recovers_what_made_the_trace():
    odds = np.log(np.array([[8.0, 6, 4, 3, 2, 2, 1, 1]]))
    made = generator_parameters(odds, 2, persistence=0.7, request_spread=0.6)
    trace = generate_from_parameters(made, jax.random.split(jax.random.key(5), 24), 256)
    rounds = []
    fit = fit_generator(trace, iterations=20, progress=lambda number, deviation: rounds.append(deviation))
    assert rounds[-1] < 0.02 < rounds[0]
    assert fit.parameters.persistence.item() == pytest.approx(0.7, abs=0.1)
    assert fit.parameters.request_spread.item() == pytest.approx(0.6, abs=0.25)
    assert fit.load_correlation.item() > 0.9  # 24 requests with preferences of their own
    row = fit.comparison()["shared_at_lag_1"]
    assert row["regenerated"] == pytest.approx(row["measured"], abs=0.1)


def test_fit_recovers_which_experts_meet():
    generator = np.random.default_rng(0)
    first = generator.integers(0, 4, (6, 1, 300))  # experts 2 i and 2 i + 1 always meet
    ids = np.stack([2 * first, 2 * first + 1], axis=-1)
    trace = stack_traces([RoutingTrace.from_expert_ids(one, 8) for one in ids])
    fit = fit_generator(trace, iterations=15)
    assert fit.measured.coactivation_excess.item() == pytest.approx(6 / 7, abs=0.02)
    assert fit.regenerated.coactivation_excess.item() > 0.5


def test_fit_survives_degenerate_traces():
    single = RoutingTrace.from_expert_ids([[0, 1]], 4)
    assert np.isfinite(fit_generator(single, iterations=2).parameters.popularity).all()
    with pytest.raises(TraceError, match="constant k"):
        fit_generator(RoutingTrace.from_choices([[1, 0], [1, 1]]))
    with pytest.raises(TraceError, match="nothing to fit"):
        fit_generator(RoutingTrace.from_choices([[1, 1]]))


def test_generator_files(tmp_path):
    made = generator_parameters(np.zeros((2, 4)), 2, persistence=[0.1, 0.2])
    save_generator(tmp_path / "g.npz", made)
    back = load_generator(tmp_path / "g.npz")
    assert back.top_k == 2
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, made, back)))
    RoutingTrace.from_choices([[1]]).save(tmp_path / "t.npz")
    with pytest.raises(TraceError, match="holds no generator"):
        load_generator(tmp_path / "t.npz")
    save_generator(tmp_path / "g.npz", made.replace(persistence=jnp.array([0.1, jnp.nan])))
    with pytest.raises(TraceError, match="persistence of shape"):
        load_generator(tmp_path / "g.npz")


def test_statistics_of_a_hand_made_trace():
    trace = RoutingTrace.from_expert_ids([[0, 1], [0, 1], [2, 1], [3, 2]], 5)
    found = trace_statistics(stack_traces([trace, trace.trim(2)]))
    assert (found.requests, found.tokens, found.shortest, found.longest) == (2, 6, 2, 4)
    assert expert_loads(trace).tolist() == [[2, 3, 2, 1, 0]]
    assert found.imbalance.tolist() == [5 * 5 / 12]
    assert found.unused_experts.tolist() == [1]
    assert found.shared[1].tolist() == [(2 + 1 + 1 + 2) / 4]
    assert coactivation(trace)[0, :3, :3].tolist() == [[2, 2, 0], [2, 3, 1], [0, 1, 2]]
    assert json.loads(json.dumps(found.to_dict()))["shared"]["1"] == [1.5]
    assert coactivation_excess(RoutingTrace.from_choices(np.eye(3, dtype=bool))).tolist() == [0.0]
    with pytest.raises(TraceError, match="lag is 0"):
        shared_experts(trace, 0)
    assert np.isnan(shared_experts(trace, 9)).all()


@pytest.mark.parametrize("router", RECORDED_ROUTERS)
def test_shipped_traces_are_the_recorded_ones(router):
    path = data_folder() / f"traces_{router}.npz"
    record = json.loads((data_folder().parents[1] / "benchmarks/results/train_language_models.json").read_text())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == record["models"][router]["traces_sha256"]
    traces = default_traces(router)
    assert traces.num_requests == 12
    assert traces.num_tokens.min() >= 128
    assert traces.metadata["text_sha256"].item() == record["text_sha256"]
    assert traces.metadata["weights_sha256"].item() == record["models"][router]["weights_sha256"]
    assert default_trace(router).choices.shape == (3, int(traces.num_tokens[0]), 16)


def test_shipped_files_are_small_and_the_kinds_are_named():
    assert sum(path.stat().st_size for path in data_folder().glob("traces_*.npz")) < 300_000
    assert sum(path.stat().st_size for path in data_folder().glob("language_model_*.npz")) < 1_000_000
    with pytest.raises(TraceError, match="token_choice, expert_choice"):
        default_traces("hash")


def test_shipped_expert_choice_scores_give_the_shipped_choices():
    traces = default_traces("expert_choice", [0, 7])
    kernel = jax.jit(jax.vmap(lambda s, n: jax.vmap(lambda g: causal_expert_choice(g, 4, num_tokens=n))(s)))
    assert np.array_equal(kernel(traces.gate_scores, traces.num_tokens), traces.choices)
