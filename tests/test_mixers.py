"""Kinds of attention, states and blocks: crossbars, times, bytes and operations by hand; fast models against event."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pimjax
from pimjax.cache.traffic import sum_visible_tokens, visible_tokens
from pimjax.chips.multiplexed import simulate
from pimjax.chips.multiplexed.attention import attention_cost, attention_total
from pimjax.chips.multiplexed.geometry import geometry
from pimjax.chips.run_cost import COMPONENT_INDEX, OP_INDEX
from pimjax.config import build, from_hf, load_config
from pimjax.config.layer_kinds import LAYER_KINDS
from pimjax.config.mixers import mixer_table
from pimjax.config.uncosted import uncosted_features
from pimjax.runs.traffic import prompt_traffic, step_traffic

TINY = json.loads((Path(__file__).parent / "golden" / "hf_tiny_configs.json").read_text())
#: one of each kind, and the models that mix them
FAMILIES = (
    "llama4", "gemma4", "qwen3_5_moe", "deepseek_v32", "glm_moe_dsa reusing indexers", "nemotron_h", "granite hybrid",
    "gpt_oss", "glm4", "afmoe",
)  # fmt: skip
SMALL = {
    "crossbar_rows": 16.0,
    "crossbar_cols": 16.0,
    "mvm_latency_ns": 100.0,
    "mvm_energy_nj": 1.0,
    "core_area_mm2": 0.1,
}


def config(model, plan=None, hardware=None, **workload):
    """A configuration with a small crossbar."""
    workload = {"prompt_tokens": 11, "trace": {"kind": "zipf", "tokens": 40, "seed": 3}, **workload}
    if isinstance(model, str):
        model = from_hf(TINY[model])
    return load_config(
        {"model": model, "hardware": {**SMALL, **(hardware or {})}, "plan": plan or {}, "workload": workload}
    )


def blocks(width: int) -> int:
    """Crossbars along one side."""
    return ceil(width / 16)


def matrix(rows: int, *columns: int) -> int:
    """Crossbars of matrices that read the same input."""
    return blocks(rows) * sum(map(blocks, columns))


# --- crossbars --------------------------------------------------------------------------------------------------------


def test_crossbars_of_a_linear_attention_layer_by_hand():
    """Queries, keys and values in one matrix, the gate, decay and step; then the output projection."""
    one = config("qwen3_5_moe")
    table, made = mixer_table(one.model), geometry(build(one)[0])
    linear, full = table.of_block[0], table.of_block[1]
    assert float(made.qkv.tiles[linear]) == matrix(48, 3 * 8 * 2 + 6 * 12, 72, 12)
    assert float(made.output.tiles[linear]) == matrix(72, 48)
    assert float(made.qkv.tiles[full]) == matrix(48, 60, 20, 20, 60)  # the last is the output gate
    assert float(made.expand.tiles.sum()) == 0
    layers = 3 * (matrix(48, 120, 72, 12) + matrix(72, 48)) + 3 * (matrix(48, 60, 20, 20, 60) + matrix(60, 48))
    experts = 6 * (7 * (matrix(48, 24, 24) + matrix(24, 48)) + matrix(48, 30, 30) + matrix(30, 48))
    beside = 6 * matrix(48, 7 + 1) + matrix(48, 97)  # the router with the gate of the shared block; the head
    assert float(made.moe_tiles + made.dense_tiles) == layers + experts + beside


def test_crossbars_of_sparse_attention_by_hand():
    """The indexer has keys and weights on the layer's input, queries on the compressed ones."""
    one = config("glm_moe_dsa reusing indexers")
    table, made = mixer_table(one.model), geometry(build(one)[0])
    own, reusing = table.of_block[0], table.of_block[-1]
    assert (table.rows[own].index_heads, table.rows[reusing].index_heads) == (4, 0)
    compressed = [28, 20 + 6]
    assert float(made.qkv.tiles[own]) == matrix(48, *compressed, 10, 4)
    assert float(made.qkv.tiles[reusing]) == matrix(48, *compressed)
    expanded = matrix(20, 6 * (9 + 11)) + matrix(28, 6 * (9 + 6))
    assert float(made.expand.tiles[own]) == expanded + matrix(28, 4 * 10)
    assert float(made.expand.tiles[reusing]) == expanded


def test_crossbars_of_mamba_and_of_single_blocks_by_hand():
    one = config("nemotron_h")
    table, made = mixer_table(one.model), geometry(build(one)[0])
    assert table.of_block == (0, 1, 0, 0)  # ME *- ME M
    assert (table.is_moe, table.has_feed_forward) == ((True, False, True, False), (True, True, True, False))
    mamba = matrix(48, 40 + (40 + 2 * 2 * 6) + 8) + matrix(40, 48)
    full = matrix(48, 60, 20, 20) + matrix(60, 48)
    moe = 8 * (matrix(48, 24) + matrix(24, 48)) + matrix(48, 36) + matrix(36, 48) + matrix(48, 8)
    dense = matrix(48, 40) + matrix(40, 48)
    wanted = 3 * mamba + full + 2 * moe + dense + matrix(48, 97)
    assert float(made.moe_tiles + made.dense_tiles) == wanted


def test_full_layers_have_heads_of_their_own():
    one = config("gemma4")
    table, made = mixer_table(one.model), geometry(build(one)[0])
    windowed, full = table.of_block[0], table.of_block[5]
    assert float(made.qkv.tiles[windowed]) == matrix(48, 60, 20, 20)
    assert float(made.qkv.tiles[full]) == matrix(48, 6 * 14, 14)  # one key head, whose keys are the values
    assert float(made.output.tiles[full]) == matrix(6 * 14, 48)


@pytest.mark.parametrize(("count", "width", "blocks_of_width"), [(4, None, 88), (2, 70, 5), (1, None, 22)])
def test_shared_experts_are_one_block_of_crossbars(count, width, blocks_of_width):
    model = {"d_model": 64, "d_ff": 352, "num_heads": 4, "num_experts": 4, "top_k": 2, "activation": "swiglu"}
    one = config({**model, "num_shared_experts": count, "shared_d_ff": width})
    made = geometry(build(one)[0])
    assert float(made.shared_up.tiles + made.shared_down.tiles) == 3 * 4 * blocks_of_width
    # one result, whatever it is made of: no token's chain of additions is longer
    plain = geometry(build(config(model))[0])
    assert float(made.expert_tiles) == float(plain.expert_tiles)


# --- attention and states -----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(0, 50), st.integers(1, 12), st.booleans())
def test_visible_tokens_are_those_of_a_mask(first, more, window, chunked):
    last = first + more
    query, key = np.arange(1, last + 1)[:, None], np.arange(1, last + 1)[None]
    near = (query - 1) // window == (key - 1) // window if chunked else query - key < window
    seen = ((key <= query) & near).sum(axis=1)
    lengths = np.arange(1, last + 1)
    assert visible_tokens(lengths, window, chunked=np.bool_(chunked)).tolist() == seen.tolist()
    total = sum_visible_tokens(first, last, window, chunked=np.bool_(chunked))
    assert float(total) == seen[first - 1 :].sum()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("whole", [True, False])
def test_sums_over_lengths_equal_single_lengths(name, whole):
    design = build(config(name))[0]
    for mixer in range(len(mixer_table(from_hf(TINY[name])).rows)):
        total = attention_total(design, 4, 61, whole=whole, mixer=mixer)
        singles = [attention_cost(design, float(length), whole=whole, mixer=mixer) for length in range(4, 62)]
        for field in ("time", "energy", "pairs", "flops"):
            assert float(getattr(total, field)) == pytest.approx(sum(float(getattr(one, field)) for one in singles))


def test_sparse_attention_costs_picked_tokens_and_all_pairs_of_the_indexer():
    """pairs = min(L, top_k) of each query, and L x heads x dim of the indexer."""
    one = config("deepseek_v32", hardware={"num_attention_units": 4.0})
    design, length = build(one)[0], 50
    kappa, energy = one.hardware.attention_latency_ns_per_pair, one.hardware.attention_energy_nj_per_pair
    found = attention_cost(design, float(length), whole=False)
    main, index = 16 * 6 * (9 + 6), length * 4 * 10
    assert float(found.pairs) == 16
    assert float(found.energy) == pytest.approx(energy * (main + index))
    assert float(found.time) == pytest.approx(kappa * (main * 2 / 6 + index * 1 / 4))
    whole = attention_cost(design, float(length), whole=True)
    main = sum(min(query, 16) for query in range(1, length + 1)) * 6 * 15
    assert float(whole.energy) == pytest.approx(energy * (main + length * (length + 1) / 2 * 4 * 10))
    assert float(whole.flops) == pytest.approx(4 * main + 3 * main / 90 + 2 * length * (length + 1) / 2 * (4 * 10 + 4))


@pytest.mark.parametrize(("name", "products"), [
    ("qwen3_5_moe", 4 * 6 * 8 * 12 + 4 * 120 + 72),  # the state four times, the convolution, the gate
    ("nemotron_h", 3 * 40 * 6 + 3 * 64 + 2 * 40),  # three times, the convolution, skip and gate
])  # fmt: skip
def test_states_cost_the_same_for_every_token(name, products):
    one = config(name)
    design, energy = build(one)[0], one.hardware.attention_energy_nj_per_pair
    row = mixer_table(one.model).of_block[0]
    for length in (1, 7, 1000):
        step = attention_cost(design, float(length), whole=False, mixer=row)
        assert float(step.energy) == pytest.approx(energy * products / 2)
        assert float(step.flops) == 2 * products
        whole = attention_cost(design, float(length), whole=True, mixer=row)
        assert float(whole.energy) == pytest.approx(length * float(step.energy))
        assert float(whole.time) == pytest.approx(length * float(step.time))


def test_an_output_gate_is_one_multiplication_for_each_channel():
    one = config("qwen3_5_moe")
    found = attention_cost(build(one)[0], 9.0, whole=False, mixer=mixer_table(one.model).of_block[1])
    assert float(found.energy) == pytest.approx(one.hardware.attention_energy_nj_per_pair * 60 * (9 + 0.5))


def test_a_chunk_as_long_as_the_run_is_full_attention():
    chunked = from_hf({**TINY["llama4"], "attention_chunk_size": 64})
    full = chunked.model_copy(update={"layer_types": None})
    found = [pimjax.estimate(config(model), fidelity="event") for model in (chunked, full)]
    assert float(found[0].latency_ns) == pytest.approx(float(found[1].latency_ns), rel=1e-12)
    assert float(found[0].energy_nj) == pytest.approx(float(found[1].energy_nj), rel=1e-12)


# --- memory -------------------------------------------------------------------------------------------------------------


def step(one, row, length):
    """Bytes read and written by a decode step."""
    own = mixer_table(one.model).rows[row]
    window = own.window or (one.model.sliding_window if own.is_sliding else 0)
    seen = float(visible_tokens(length, window, chunked=np.bool_(own.is_chunked)))
    moved = step_traffic(build(one)[0], float(length), seen, is_moe=False, admitted=0.0, taken=0.0, mixer=row)
    return float(moved.kv_read), float(moved.kv_written)


def prompt(one, row):
    """Bytes written by a prefill."""
    return float(prompt_traffic(build(one)[0], is_moe=np.array([False]), mixer=np.array([row])).kv_written[0])


def test_states_are_read_and_written_by_every_decode_step():
    one = config("qwen3_5_moe", generated_tokens=2, kv_cache=True, kv_bytes=2)
    row = mixer_table(one.model).of_block[0]
    state, convolution = 6 * 8 * 12, 120
    for length in (12, 500):
        assert step(one, row, length) == (2 * (state + 3 * convolution), 2 * (state + convolution))
    assert prompt(one, row) == 2 * (state + 3 * convolution)  # held on the chip until the end of the prefill
    assert step(config("qwen3_5_moe", generated_tokens=2), row, 12) == (0, 0)  # no cache: everything is recomputed


def test_sparse_attention_reads_what_it_picked_and_all_keys_of_the_indexer():
    one = config("deepseek_v32", generated_tokens=2, kv_cache=True)
    latent, index = 20 + 6, 10
    assert step(one, 0, 12) == (12 * latent + 12 * index, latent + index)
    assert step(one, 0, 50) == (16 * latent + 50 * index, latent + index)
    assert prompt(one, 0) == 11 * (latent + index)


def test_chunks_and_full_layers_read_their_own_tokens():
    one = config("llama4", generated_tokens=2, kv_cache=True)
    row, token = mixer_table(one.model).of_block[0], 2 * 2 * 10
    assert [step(one, row, length)[0] for length in (15, 16, 17, 33)] == [15 * token, 16 * token, token, token]
    one = config("gemma4", generated_tokens=2, kv_cache=True)
    assert step(one, mixer_table(one.model).of_block[5], 20)[0] == 20 * 2 * 14


# --- whole runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_counts_are_those_of_the_event_graph(name):
    one = config(name)
    found = simulate(*with_trace(one))
    graph = found.passes[0].log.jobs
    jobs = {kind: int((graph.kind == index).sum()) for index, kind in enumerate(graph.kinds)}
    counts = dict(zip(OP_INDEX, np.asarray(found.cost.op_counts), strict=True))
    assert counts["digital_add"] == jobs["add"] + jobs["combine"] + jobs["residual"]
    assert counts["layer_norm"] == jobs["norm"] + jobs["gate"]
    assert counts["mha"] == jobs["attention"] == len(mixer_table(one.model).of_block)
    assert (counts["expert_pass"] > 0) == (one.model.num_experts > 0)


def with_trace(one):
    """A configuration with its prompt filled in, and its routing."""
    from pimjax.estimation.routing import resolve

    return resolve(one, None)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("workload", [
    {}, {"prompt_tokens": 1}, {"generated_tokens": 6, "kv_cache": True},
    {"generated_tokens": 4, "kv_cache": True, "batch_size": 3}, {"generated_tokens": 3},
])  # fmt: skip
@pytest.mark.parametrize("accumulate", ["local", "digital"])
def test_fast_models_follow_the_event_model(name, workload, accumulate):
    """Within what they differ by on models of one kind of layer; energy, area and counts are one code."""
    one = config(name, {"accumulate": accumulate}, **workload)
    found = {fidelity: pimjax.estimate(one, fidelity=fidelity) for fidelity in ("event", "fluid", "closed")}
    exact = float(found["event"].latency_ns)
    for fidelity in ("fluid", "closed"):
        assert float(found[fidelity].latency_ns) == pytest.approx(exact, rel=0.08)
        assert float(found[fidelity].area_mm2) == float(found["event"].area_mm2)
        assert float(found[fidelity].flops) == float(found["event"].flops)


@pytest.mark.parametrize("combine", ["digital", "inline"])
def test_pairs_of_single_blocks_are_the_layers_of_other_models(combine):
    """[norm, mixer, addition] and [norm, feed-forward, addition] are one layer with two norms."""
    layer = {"d_model": 48, "d_ff": 24, "num_heads": 6, "head_dim": 10, "num_experts": 8, "top_k": 3, "vocab_size": 97}
    whole = {**layer, "num_layers": 3, "moe_layers": [1, 2], "dense_d_ff": 40}
    single = {**layer, "num_layers": 6, "single_block_layers": True, "norms_per_layer": 1, "dense_d_ff": 40,
              "layer_types": ["full", "none"], "moe_layers": [3, 5]}  # fmt: skip
    for fidelity in ("event", "fluid", "closed"):
        made = [
            pimjax.estimate(
                config(model, {"combine": combine}, generated_tokens=3, kv_cache=True), fidelity=fidelity
            ).to_dict()
            for model in (whole, single)
        ]
        for key in ("latency_ns", "energy_nj", "area_mm2", "flops", "crossbars"):
            assert made[0][key] == pytest.approx(made[1][key], rel=1e-12)


def test_norms_after_attention_and_experts_take_their_time():
    """Each token of a pass is one norm later for each that stands in its way, where units are free."""
    model = {"d_model": 64, "d_ff": 32, "num_heads": 4, "num_experts": 4, "top_k": 2, "vocab_size": 50}
    units = {"num_digital_units": 64.0}
    runs = {
        norms: pimjax.estimate(
            config({**model, "norms_per_layer": norms[0], "moe_norms": norms[1]}, hardware=units, prompt_tokens=1),
            fidelity="event",
        )
        for norms in ((2, 0), (4, 0), (4, 3))
    }
    norm = 50 * 64 / 256
    assert float(runs[4, 0].latency_ns - runs[2, 0].latency_ns) == pytest.approx(2 * norm)
    assert float(runs[4, 3].latency_ns - runs[2, 0].latency_ns) == pytest.approx(5 * norm)
    index = COMPONENT_INDEX["layer_norm"]
    energy = 0.02096 / 256 * 64
    assert float(runs[4, 3].component_energy_nj[index] - runs[2, 0].component_energy_nj[index]) == pytest.approx(
        5 * energy
    )


def test_a_squared_relu_takes_two_steps():
    model = {"d_model": 64, "d_ff": 32, "num_heads": 4, "num_experts": 4, "top_k": 2, "vocab_size": 50}
    one, two = (
        pimjax.estimate(
            config({**model, "activation": name}, {"accumulate": "digital"}, prompt_tokens=1), fidelity="event"
        )
        for name in ("relu", "relu2")
    )
    index = COMPONENT_INDEX["digital_relu"]
    assert float(two.component_energy_nj[index]) == pytest.approx(2 * float(one.component_energy_nj[index]))
    assert float(two.busy_ns[index]) == pytest.approx(2 * float(one.busy_ns[index]))


@pytest.mark.parametrize("fidelity", ["closed", "fluid"])
def test_models_of_several_kinds_are_one_batch(fidelity):
    base = {"model_type": "nemotron_h", **TINY["nemotron_h"]}
    patterns = ("ME*-MEM", "ME*EMM-")  # as many layers with experts, other mixers that stand alone
    several = [config(from_hf({**base, "hybrid_override_pattern": pattern})) for pattern in patterns]
    plain = from_hf(TINY["mixtral"]).model_copy(update={"num_layers": 2, "num_experts": 8, "top_k": 3})
    several.append(config(plain))
    trace = with_trace(several[0])[1]
    made = pimjax.estimate_batch(several, [trace], fidelity=fidelity)
    for index, one in enumerate(several):
        single = pimjax.estimate(one, trace, fidelity=fidelity)
        assert float(np.asarray(made.latency_ns)[index].ravel()[0]) == pytest.approx(float(single.latency_ns), rel=2e-5)
        assert float(np.asarray(made.energy_nj)[index].ravel()[0]) == pytest.approx(float(single.energy_nj), rel=2e-5)


@pytest.mark.parametrize(
    ("change", "plan", "words"),
    [
        ({"norms_per_layer": 1}, {}, "parallel blocks"),
        ({"norms_per_layer": 3}, {}, "2 or 4 norms"),
        ({"v_head_dim": 8}, {}, "grouped-query attention layers whose values"),
        ({"expert_latent_width": 8}, {}, "latent experts"),
        ({"single_block_layers": True, "norms_per_layer": 1, "layer_types": ["full", "none", "none"], "num_layers": 3},
         {}, "attention-free feed-forward layers without a mixer"),
        ({"single_block_layers": True, "layer_types": ["full", "none"], "num_layers": 2}, {}, "single block"),
        ({"layer_types": ["chunked"], "chunk_tokens": 4}, {"attention": "fit"}, "chunked-attention layers: use plan.attention"),
        ({"norms_per_layer": 4}, {"combine": "inline"}, "use plan.combine digital"),
    ],
)  # fmt: skip
def test_what_is_not_costed_is_refused_in_one_sentence_that_names_the_layers(change, plan, words):
    model = {"d_model": 64, "d_ff": 32, "num_heads": 4, "num_experts": 4, "top_k": 2, "vocab_size": 50}
    with pytest.raises(pimjax.ConfigError, match=words) as caught:
        pimjax.estimate(config({**model, **change}, plan), fidelity="closed")
    assert "\n" not in str(caught.value)


def test_chips_that_say_nothing_cost_plain_layers_only():
    one = load_config("paper_reference", {"model.layer_types": ["chunked"], "model.chunk_tokens": 4})
    with pytest.raises(pimjax.ConfigError, match=r"chunked-attention layers, which chip_model 'reference'"):
        pimjax.estimate(one, fidelity="closed")


def test_every_kind_of_layer_is_costed_by_some_family():
    """No kind is left without a test above."""
    kinds = {kind for name in FAMILIES for kind in (from_hf(TINY[name]).layer_types or ("full",))}
    assert kinds == set(LAYER_KINDS)
    assert not any(uncosted_features(from_hf(TINY[name])) for name in FAMILIES)
