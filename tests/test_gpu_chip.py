"""The GPU as a chip: its sums against the operators in sequence, and what the real routing does to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pimjax
from pimjax.chips import CHIPS
from pimjax.chips.gpu.loads import Loads, loads_of_run, padded
from pimjax.chips.gpu.operators.attention import DecodeNumbers, PrefillNumbers, decode_attention, prefill_attention
from pimjax.chips.gpu.operators.device import Device, together
from pimjax.chips.gpu.operators.experts import TILE_ROWS, ExpertNumbers, ExpertShape, ExpertWork, expert_layer
from pimjax.chips.gpu.operators.products import TILES, ProductNumbers, product
from pimjax.chips.gpu.operators.small import AllToAllNumbers, all_to_all_ns
from pimjax.cli import main
from pimjax.estimation.explain import assumptions
from pimjax.estimation.generation import estimate_generation
from pimjax.runs.requests import resolve
from pimjax.runs.routing import run_routing
from pimjax.trace import fit_trace

ROOT = Path(pimjax.__file__).parent.parent
SMALL = {
    "model.d_model": 64, "model.d_ff": 48, "model.num_heads": 4, "model.num_layers": 2, "model.num_experts": 4,
    "model.top_k": 2, "model.vocab_size": 100, "workload.prompt_tokens": 9, "workload.generated_tokens": 4,
    "workload.trace.kind": "zipf",
}  # fmt: skip
LATENT = {"model.kv_lora_rank": 16, "model.nope_head_dim": 8, "model.rope_head_dim": 8, "model.v_head_dim": 8, "model.head_dim": 16}  # fmt: skip
H100 = Device(3350.0, 989.4, 50e6, 132.0)
NUMBERS = ExpertNumbers(27e3, 0.93, 0.57, 0.14, 3.2, 0.58, 0.13, 1.0)


def small(**more: Any) -> pimjax.Config:
    return pimjax.load_config("h100", {**SMALL, **{key.replace("__", "."): value for key, value in more.items()}})


@pytest.mark.parametrize("fidelity", ["closed", "event"])
@pytest.mark.parametrize(("generated", "tokens"), [(1, 2 * 9), (4, 2 * 4)])
def test_throughput_counts_emitted_tokens_and_of_prompts_alone_their_own(generated, tokens, fidelity) -> None:
    found = pimjax.estimate(small(workload__generated_tokens=generated, workload__batch_size=2), fidelity=fidelity)
    assert found.tokens_per_s == pytest.approx(tokens / found.latency_ns * 1e9)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_sums_are_the_operators_in_sequence(data) -> None:
    draw = data.draw
    more = {
        "workload.prompt_tokens": draw(st.integers(1, 20)),
        "workload.generated_tokens": draw(st.integers(1, 4)),
        "workload.batch_size": draw(st.integers(1, 3)),
        "workload.kv_cache": draw(st.booleans()),
        "model.first_dense_layers": draw(st.integers(0, 2)),
        "model.num_shared_experts": draw(st.integers(0, 2)),
        "model.activation": draw(st.sampled_from(["relu", "gelu", "swiglu"])),
        "model.weight_format": draw(st.sampled_from(["bf16", "fp8", "mxfp4"])),
        "model.sliding_window": draw(st.sampled_from([0, 5])),
        "model.sliding_window_period": draw(st.integers(1, 2)),
        "hardware.gpus": draw(st.sampled_from([1, 2, 4])),
        "model.attention": draw(st.sampled_from(["gqa", "mla"])),
    }
    if more["model.attention"] == "mla":
        more |= {"model.q_lora_rank": draw(st.sampled_from([0, 24])), **LATENT}
        more["model.sliding_window"] = 0
    for name in ("expert_parallel", "attention_data_parallel"):
        more[f"hardware.{name}"] = draw(st.sampled_from([n for n in (1, 2, 4) if n <= more["hardware.gpus"]]))
    config = pimjax.load_config("h100", {**SMALL, **more})
    event, closed = (pimjax.estimate(config, fidelity=fidelity) for fidelity in ("event", "closed"))
    for field in ("latency_ns", "energy_nj", "busy_ns", "critical_ns", "component_energy_nj"):
        np.testing.assert_allclose(getattr(event, field), getattr(closed, field), rtol=1e-9, err_msg=field)
    assert float(np.sum(closed.critical_ns)) == pytest.approx(float(closed.latency_ns))


def work_of(loads: np.ndarray, tokens: int) -> ExpertWork:
    tiles = np.array([np.ceil(loads / rows).sum() for rows in TILE_ROWS])
    return ExpertWork(float(tokens), float(loads.sum()), float((loads > 0).sum()), tiles)


def test_a_batch_with_other_experts_of_the_same_size_has_another_time() -> None:
    shape = ExpertShape(2048.0, 768.0, 128.0, 2.0, 2.0, 2.0)
    apart, together_ = np.zeros(128), np.zeros(128)
    apart[:64], together_[:8] = 1, 8  # 8 tokens with 8 experts each
    times = [float(expert_layer(H100, NUMBERS, shape, work_of(loads, 8)).total) for loads in (apart, together_)]
    assert times[0] > 3 * times[1]
    # and so in a whole run: the same tokens, once with one pair of experts, once with all of them
    config = small(
        workload__prompt_tokens=16,
        workload__generated_tokens=1,
        model__num_experts=8,
        model__d_model=2048,
        model__d_ff=2048,
    )
    same = pimjax.RoutingTrace.from_expert_ids([[0, 1]] * 16, 8)
    spread = pimjax.RoutingTrace.from_expert_ids([[(2 * t) % 8, (2 * t + 1) % 8] for t in range(16)], 8)
    one, many = (
        pimjax.estimate(config, fit_trace(trace, config, allow=["repeat_layers"]), fidelity="closed")
        for trace in (same, spread)
    )
    assert float(many.latency_ns) > 1.05 * float(one.latency_ns)


@given(st.integers(1, 300), st.integers(1, 16), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_the_layer_follows_its_stated_law(tokens: int, experts: int, seed: int) -> None:
    """A plain version: loops over experts and tiles, as the kernel walks over them."""
    random = np.random.default_rng(seed)
    loads = np.bincount(random.integers(0, experts, tokens), minlength=experts).astype(float)
    width, hidden = 512.0, 40_000.0
    rows = 16 if tokens <= 32 else 32 if tokens <= 96 else 64 if tokens <= 512 else 128
    total = NUMBERS.fixed_ns
    for columns, depth in ((2 * hidden, width), (width, hidden)):
        matrix, traffic, flops = columns * depth * 2.0, 0.0, 0.0
        again = 0.0 if tokens // experts > 128 else min(max(matrix / (3.2 * 50e6) - 1, 0), 1)
        for load in loads:
            for tile in range(int(-(-load // rows))):
                traffic += matrix * (1.0 if tile == 0 else again)
                flops += 2 * rows * columns * depth
            traffic += load * (columns + depth) * 2
        read, computed = traffic / (3350 * 0.93), flops / (989.4e3 * 0.57 * (rows / 128) ** 0.14)
        total += max(read, computed) + 0.13 * min(read, computed)
    total += 2 * (tokens * 3 * hidden + 2 * tokens * width) / (3350 * 0.58)
    shape = ExpertShape(width, hidden, float(experts), 2.0, 2.0, 2.0)
    found = expert_layer(H100, NUMBERS, shape, work_of(loads, tokens)).total
    assert float(found) == pytest.approx(total, rel=1e-9)


@given(st.integers(1, 400), st.integers(1, 6), st.integers(1, 300), st.sampled_from([0, 100, 300]), st.integers(1, 150))
@settings(max_examples=60, deadline=None)
def test_decode_attention_follows_its_stated_law(sequences, kv_heads, context, window, group) -> None:
    """A plain version: tiles one after the other, each given to the multiprocessor that is free first."""
    numbers = DecodeNumbers(1e4, 0.9, 0.4, 2e3, 1400.0, 2600.0, 20.0)
    context *= 40
    seen = min(context, window) if window else context
    blocks = -(-seen // 128) + (1 if window and context > window else 0)
    tiles = sequences * kv_heads * -(-group // 64)
    parts = min(max(132 // tiles, 1), blocks)
    free = [0.0] * 132
    for _ in range(tiles):  # parts of a tile run beside each other, so that a tile is as long as its longest part
        first = free.index(min(free))
        free[first] += 2e3 + -(-blocks // parts) * 1400.0
    walked = max(free)
    read = sequences * seen * kv_heads * 256 * 2 / (3350 * 0.9)
    total = 1e4 + max(walked, read) + 0.4 * min(walked, read)
    total += (2600.0 if blocks > 1 else 0.0) + (20.0 * sequences if sequences <= 512 else 0.0)
    found = decode_attention(
        H100, numbers, sequences=float(sequences), context=float(context), window=float(window),
        heads=float(kv_heads * group), kv_heads=float(kv_heads), key_width=128.0, value_width=128.0, cached_width=256.0,
        cache_bytes=2.0,
    )  # fmt: skip
    assert float(found.total) == pytest.approx(total, rel=1e-9)


@given(st.integers(1, 6), st.integers(1, 700), st.sampled_from([0, 100]), st.integers(1, 3), st.sampled_from([1, 4]))
@settings(max_examples=30, deadline=None)
def test_prefill_attention_follows_its_stated_law(sequences, tokens, window, kv_heads, group) -> None:
    """A plain version: pairs counted query by query, then the mean multiprocessor and the longest tile."""
    numbers = PrefillNumbers(1e4, 0.8, 0.9, 0.7, 1500.0, 400.0, 4.0, 1.0)
    pairs = sum(min(query + 1, window) if window else query + 1 for query in range(tokens))
    tiles = -(-tokens * group // 128)
    blocks = max(pairs * tiles * 128 / tokens / 128**2 + 0.5 * tiles, tiles)
    longest = -(-(min(tokens, window) if window else tokens) // 128) + (1 if window and tokens > window else 0)
    block = 2 * 128**2 * 256 / (989.4e3 * 0.9 / 132) + 400.0
    waves = sequences * kv_heads * tiles / 132
    mean = sequences * kv_heads * (blocks * block + tiles * 1500.0) / 132
    computed = max(mean * np.ceil(waves) / waves, longest * block + 1500.0)
    read = sequences * tokens * (kv_heads * group + 4 * kv_heads) * 256 * 2 / (3350 * 0.8)
    found = prefill_attention(
        H100, numbers, sequences=float(sequences), tokens=float(tokens), window=float(window),
        heads=float(kv_heads * group), kv_heads=float(kv_heads), key_width=128.0, value_width=128.0, value_bytes=2.0,
    )  # fmt: skip
    assert float(found.total) == pytest.approx(1e4 + max(read, computed) + 0.7 * min(read, computed), rel=1e-9)


@given(st.integers(1, 3000), st.integers(1, 9000), st.integers(1, 9000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_product_follows_its_stated_law(m, n, k, splits) -> None:
    """A plain version: every tile of every size, wave by wave."""
    numbers = ProductNumbers(3e3, 0.9, 0.8, 0.3, 2.0, 3000.0 if splits else 0.0, 1.0, 0.0)
    best = np.inf
    for rows, columns in TILES:
        tiles = -(-m // int(rows)) * -(-n // int(columns))
        filled = min(rows, 16 * -(-m // 16))
        one = k * (2 * filled * columns / (989.4e3 * 0.8 / 132) + 2e-3 * (rows + columns))
        parts = min(max(132 // tiles, 1), max(k / 256, 1))
        if splits and parts > 1:
            one = min(one, one / parts + 3000.0)
        best = min(best, -(-tiles // 132) * one)
    read = (2 * n * k + 2 * m * (n + k)) / (3350 * 0.9)
    total = 3e3 + max(read, best) + 0.3 * min(read, best) + m
    found = product(H100, numbers, float(m), float(n), float(k), 2.0, 2.0).total
    assert float(found) == pytest.approx(total, rel=1e-9)


def test_experts_are_dealt_out_to_ranks() -> None:
    """The slowest rank decides: with every token at one rank's experts the others wait."""
    more = {"model.num_experts": 8, "model.d_model": 2048, "model.d_ff": 2048, "workload.generated_tokens": 1}
    more |= {"hardware.gpus": 4, "workload.prompt_tokens": 16}
    base = pimjax.load_config("h100", {**SMALL, **more})
    same = pimjax.RoutingTrace.from_expert_ids([[0, 1]] * 16, 8)
    spread = pimjax.RoutingTrace.from_expert_ids([[(2 * t) % 8, (2 * t + 1) % 8] for t in range(16)], 8)
    found = {}
    for ranks in (1, 4):
        config = pimjax.load_config(base.model_dump(), {"hardware.expert_parallel": ranks})
        for name, trace in (("same", same), ("spread", spread)):
            fitted = fit_trace(trace, config, allow=["repeat_layers"])
            found[name, ranks] = float(pimjax.estimate(config, fitted, fidelity="closed").moe_latency_ns)
    # split over all GPUs, 2 experts are a quarter of 8; dealt out, they are all of one rank's
    assert found["same", 4] == pytest.approx(found["spread", 4], rel=0.02)
    assert found["same", 1] < found["spread", 1]
    wrong = {"hardware.gpus": 4, "hardware.expert_parallel": 3}
    with pytest.raises(pimjax.ConfigError, match="divi"):
        pimjax.load_config("h100", wrong)


def test_tokens_travel_where_attention_is_dealt_out() -> None:
    both = {"hardware.gpus": 4, "hardware.expert_parallel": 4, "hardware.attention_data_parallel": 4}
    configs = [small(**{key.replace(".", "__"): value for key, value in more.items()}) for more in (both, {"hardware.gpus": 4})]  # fmt: skip
    travels, sums = (pimjax.estimate(config, fidelity="closed") for config in configs)
    links = [dict(zip(one.components, one.busy_ns, strict=True))["links"] for one in (travels, sums)]
    assert links[0] == pytest.approx(4 * 2 * (all_to_all_ns(_sent(), 450.0, 0.5, 128.0, 2.0, 4.0)), rel=0.2)
    assert links[1] > 0


def _sent() -> AllToAllNumbers:
    hardware: Any = pimjax.load_config("h100").hardware
    return AllToAllNumbers(*(getattr(hardware, f"all_to_all_{name}") for name in AllToAllNumbers._fields))


def test_a_batch_over_ranks_is_its_single_estimates() -> None:
    """Inputs depend on the number of ranks: designs that differ in it do not share them."""
    base = small(hardware__gpus=4, model__num_experts=8, workload__prompt_tokens=16, workload__generated_tokens=1)
    ids = np.random.default_rng(0).permuted(np.tile(np.arange(8), (16, 1)), axis=1)[:, :2]
    trace = fit_trace(pimjax.RoutingTrace.from_expert_ids(ids, 8), base, allow=["repeat_layers"])
    configs = [pimjax.load_config(base.model_dump(), {"hardware.expert_parallel": ranks}) for ranks in (1, 2, 4)]
    many = pimjax.estimate_batch(configs, trace, precision="float64", fields=("latency_ns", "moe_latency_ns"))
    for index, config in enumerate(configs):
        one = pimjax.estimate(config, trace, fidelity="closed")
        assert float(np.ravel(many.moe_latency_ns)[index]) == pytest.approx(float(one.moe_latency_ns), rel=1e-6)
        assert float(np.ravel(many.latency_ns)[index]) == pytest.approx(float(one.latency_ns), rel=1e-6)


def test_a_model_that_the_gpu_does_not_cost_is_left_out_of_a_comparison() -> None:
    from pimjax.config.hf import from_hf
    from pimjax.estimation.beside import costed_beside

    tiny = json.loads((ROOT / "tests" / "golden" / "hf_tiny_configs.json").read_text(encoding="utf-8"))
    states = pimjax.load_config({"model": from_hf(tiny["qwen3_5_moe"]), "workload": {"trace": {"kind": "zipf"}}})
    kept, sentences = costed_beside(states, ["h100"])
    assert not kept
    assert "h100 is left out" in sentences[0]
    assert costed_beside(pimjax.load_config("olmoe_1b_7b"), ["h100", "b200"]) == (["h100", "b200"], [])


def test_windows_keep_less() -> None:
    window, whole = (small(model__sliding_window=w, workload__prompt_tokens=60, workload__generated_tokens=2) for w in (5, 0))  # fmt: skip
    kept = [float(pimjax.estimate(config, fidelity="closed").peak_memory_bytes) for config in (window, whole)]
    row = 2 * 2 * 4 * 16  # bytes of keys and values of a token and layer
    assert kept[1] - kept[0] == pytest.approx(2 * row * (61 - 5), rel=0.02)


def test_traffic_and_arithmetic_overlap_but_for_a_part() -> None:
    assert float(together(4.0, 1.0, 0.0)) == 4.0
    assert float(together(1.0, 4.0, 1.0)) == 5.0


def test_under_jit_vmap_and_grad() -> None:
    config = small(workload__batch_size=2)
    design, capacity = pimjax.build(config)
    chip = CHIPS["gpu"]
    _, requests = resolve(config, None)
    inputs = chip.inputs(config, requests, fidelity="closed", capacity=capacity)
    host = float(pimjax.estimate(config, fidelity="closed").latency_ns)  # generators draw otherwise in float64
    with jax.enable_x64(True):
        arrays = jax.tree.map(jnp.asarray, (design, inputs))

        def latency(hardware: Any) -> Any:
            changed = arrays[0].replace(hardware=hardware)
            return chip.cost(changed, arrays[1], capacity=capacity, fidelity="closed").latency_ns

        hardware = arrays[0].hardware
        assert float(jax.jit(latency)(hardware)) == pytest.approx(host, rel=1e-12)
        gradient = jax.jit(jax.grad(latency))(hardware)
        for name in ("device_memory_bandwidth_gb_per_s", "experts_fixed_ns", "decode_block_ns", "pass_fixed_ns"):
            value = getattr(hardware, name)
            step = 1e-5 * value
            up, down = (latency(hardware.replace(**{name: value + sign * step})) for sign in (1, -1))
            assert float(getattr(gradient, name)) == pytest.approx(float((up - down) / (2 * step)), rel=1e-3), name
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
        many = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), hardware.device_memory_bandwidth_gb_per_s)
        axes = jax.tree.map(lambda _: None, hardware).replace(device_memory_bandwidth_gb_per_s=0)
        both = jax.vmap(latency, in_axes=(axes,))(hardware.replace(device_memory_bandwidth_gb_per_s=many))
        assert float(both[0]) == pytest.approx(host, rel=1e-12)
        assert float(both[1]) < host


def test_padding_costs_nothing() -> None:
    config = small(workload__generated_tokens=3)
    config, requests = resolve(config, None)
    assert requests is not None
    design, capacity = pimjax.build(config)
    loads = loads_of_run(config, run_routing(config, requests))
    costs = [
        CHIPS["gpu"].cost(design, one, capacity=capacity, fidelity="closed")
        for one in (loads, Loads(*padded(loads, 7, 5, 3)))
    ]
    for name in ("latency_ns", "flops", "tokens", "busy_ns", "component_energy_nj"):
        np.testing.assert_allclose(getattr(costs[0], name), getattr(costs[1], name), rtol=1e-12, err_msg=name)


def test_pieces_of_a_generation_add_up() -> None:
    [_, case] = estimate_generation(small(workload__generated_tokens=9), caches=("none", "kv"), pieces=3)
    assert float(np.sum(case.token_ns * case.steps)) + case.first_token_ns == pytest.approx(case.latency_ns, rel=1e-9)


def test_a_cache_a_faster_memory_and_narrower_weights_help() -> None:
    base = small(model__d_model=1024, model__d_ff=2048, workload__generated_tokens=6)
    [none, kv] = estimate_generation(base, caches=("none", "kv"))
    assert kv.latency_ns < none.latency_ns
    plain = pimjax.estimate(base, fidelity="closed")
    h200 = pimjax.load_config(base.model_dump(), {"hardware.device_memory_bandwidth_gb_per_s": 4800})
    assert float(pimjax.estimate(h200, fidelity="closed").latency_ns) < float(plain.latency_ns)
    two = pimjax.load_config(base.model_dump(), {"hardware.gpus": 2})
    links = dict(zip(plain.components, pimjax.estimate(two, fidelity="closed").busy_ns, strict=True))["links"]
    assert float(links) > 0


def test_power_stays_between_idle_and_compute_bound() -> None:
    for more in ({}, {"model__d_model": 4096, "model__d_ff": 8192, "workload__prompt_tokens": 512}):
        result = pimjax.estimate(small(**more), fidelity="closed")
        assert 120 <= float(result.energy_nj / result.latency_ns) <= 630


@pytest.mark.parametrize("fidelity", ["closed", "event"])
@pytest.mark.parametrize("preset", ["h100", "h200", "b200", "a100"])
def test_a_run_that_only_moves_data_draws_memory_bound_power(preset, fidelity) -> None:
    """No fixed costs, arithmetic that takes no time: decoding is traffic alone."""
    no_other_time = {f"hardware.{name}": 0 for name in CHIPS["gpu"].hardware.model_fields if name.endswith("_ns")}
    no_other_time["hardware.bf16_tflops"] = 1e9
    decoding = {"workload.prefill": False, "workload.generated_tokens": 4}
    config = pimjax.load_config(preset, {**SMALL, **decoding, **no_other_time, "model.d_model": 1024})
    result = pimjax.estimate(config, fidelity=fidelity)
    asked = config.hardware.memory_bound_power_w
    assert float(result.energy_nj / result.latency_ns) == pytest.approx(asked, rel=1e-5)
    more = pimjax.load_config(config.model_dump(), {"hardware.memory_bound_power_w": 2 * asked})
    assert float(pimjax.estimate(more, fidelity=fidelity).energy_nj) == pytest.approx(2 * float(result.energy_nj), rel=1e-5)  # fmt: skip


def test_memory_bound_power_is_measured_on_one_board_and_assumed_for_the_others() -> None:
    for preset, assumed in {"h200": False, "h100": True, "b200": True, "a100": True}.items():
        keys = {row["key"] for row in assumptions(pimjax.load_config(preset))}
        assert ("hardware.memory_bound_power_w" in keys) == assumed, preset
    boards = {"h100": 700, "h200": 700, "b200": 1000, "a100": 400}
    powers = {name: pimjax.load_config(name).hardware.memory_bound_power_w / board for name, board in boards.items()}
    assert powers == pytest.approx(dict.fromkeys(boards, 300 / 700), abs=2e-3)


def test_the_memory_beside_crossbars_is_not_the_memory_of_a_gpu() -> None:
    """`memory` of a configuration names what stands beside crossbars; a GPU keeps its own under another key."""
    plain: Any = pimjax.load_config("h100").hardware
    for config in (
        pimjax.load_config("h100", {"memory": "hbm3"}),
        pimjax.load_config("h100", {"memory.bandwidth_gb_per_s": 100}),
        pimjax.load_config("paper_multiplexed", {"chip_model": "gpu"}),
    ):
        found: Any = config.hardware
        assert found.device_memory_bandwidth_gb_per_s == plain.device_memory_bandwidth_gb_per_s


def test_too_small_a_memory_is_said() -> None:
    from pimjax import status

    result = pimjax.estimate(small(hardware__device_memory_gb=1e-4), fidelity="closed")
    assert int(result.status) & status.DOES_NOT_FIT


def test_it_is_swept_tuned_reported_and_compared(tmp_path, capsys) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("optax")
    base = tmp_path / "gpu.yaml"
    model = {key.split(".")[1]: value for key, value in SMALL.items() if key.startswith("model.")}
    workload = {"prompt_tokens": 9, "trace": {"kind": "zipf"}, "kv_bytes": 2}
    base.write_text(json.dumps({"chip_model": "gpu", "hardware": "h100", "model": model, "workload": workload}))
    sweep = tmp_path / "sweep.yaml"
    axes = [
        {"field": "hardware.device_memory_bandwidth_gb_per_s", "values": [2000, 4000]},
        {"field": "model.top_k", "values": [1, 2]},
    ]
    sweep.write_text(json.dumps({"base": str(base), "axes": axes, "select": {"pareto": ["latency_ns", "energy_nj"]}}))
    runs = (
        ["sweep", "--config", str(sweep), "--output", str(tmp_path / "out"), "--json"],
        ["estimate", str(base), "--fidelity", "closed", "--explain"],
        ["generate", str(base), "--tokens", "4", "--gpu", "none"],
        ["compare", "paper_multiplexed", "h100", "--fidelity", "closed"],
        ["report", str(base), "--no-caches", "--out", str(tmp_path / "run.html")],
        ["report", str(tmp_path / "out"), "--out", str(tmp_path / "sweep.html")],
    )
    for arguments in runs:
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code in (0, None), arguments
    assert "host between passes" in capsys.readouterr().out
    assert "host between passes" in (tmp_path / "run.html").read_text(encoding="utf-8")
    assert "device_memory_bandwidth_gb_per_s" in (tmp_path / "sweep.html").read_text(encoding="utf-8")
    run = {
        "config": str(base),
        "parameters": {"hardware.device_memory_bandwidth_gb_per_s": {"low": 1000, "high": 8000, "scale": "log"}},
        "objective": {"latency_ns": 1},
        "optimiser": {"steps": 30},
    }
    result = pimjax.tune(pimjax.load_tune_config(run))
    assert result.settings["hardware.device_memory_bandwidth_gb_per_s"] == pytest.approx(8000, rel=1e-2)


def _fit_rows() -> list[dict[str, Any]]:
    return json.loads((ROOT / "benchmarks" / "results" / "fit_gpu.json").read_text(encoding="utf-8"))["rows"]


@pytest.mark.parametrize("preset", ["h100", "h200", "b200", "a100"])
def test_presets_are_those_of_the_committed_fit(preset) -> None:
    """Files in configs/hardware come from benchmarks/results/fit_gpu.json, which names what they were fitted to."""
    from benchmarks.lib.gpu_presets import preset_text

    fitted = {(row["family"], row["system"]): row["numbers"] for row in _fit_rows() if "numbers" in row}
    assert (ROOT / "configs" / "hardware" / f"{preset}.yaml").read_text(encoding="utf-8") == preset_text(preset, fitted)


#: family -> most median and 90th percentile of the error [per cent] on shapes that were not fitted, H100
ASKED = {
    "experts bfloat16 vllm_unquantizedfusedmoe_triton_tritonexperts": (8, 25),
    "products bfloat16": (12, 100),
    "products fp8": (12, 100),
    "attention context bfloat16 cache vllm_flash_attn_fa3": (12, 100),
    "attention context fp8 cache vllm_flash_attn_fa3": (12, 100),
    "attention generation bfloat16 cache vllm_flash_attn_fa3": (12, 100),
    "attention generation fp8 cache vllm_flash_attn_fa3": (12, 100),
}


@pytest.mark.parametrize("family", ASKED)
def test_the_fit_meets_what_is_asked_of_shapes_that_it_has_not_seen(family) -> None:
    [row] = [row for row in _fit_rows() if row.get("system") == "h100_sxm" and row["family"] == family]
    held = row["held_out_shapes"]
    assert held["median"] <= ASKED[family][0]
    assert held["p90"] <= ASKED[family][1]


def test_another_devices_tables_are_judged_without_fitting(tmp_path) -> None:
    """Times that the committed numbers give on an H200, one of them doubled, have the error that was put in."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("scipy")
    pytest.importorskip("pyarrow")
    kernel = "vllm_unquantizedfusedmoe_triton_tritonexperts"
    shape = {"hidden_size": 2048, "inter_size": 768, "topk": 8, "num_experts": 128}
    rows = [{"system": "h200_sxm", "moe_dtype": "bfloat16", "kernel_source": kernel, "distribution": "balanced", "num_tokens": t, "latency_ms": 1.0, **shape} for t in (1, 16, 256, 4096)]  # fmt: skip
    table = pandas.DataFrame(rows)
    from benchmarks.lib.gpu_families import families

    table.to_parquet(tmp_path / "moe.parquet")
    [family] = families(tmp_path, ("h200_sxm",))
    [row] = [one for one in _fit_rows() if one.get("system") == "h100_sxm" and one["family"] == family.name]
    table["latency_ms"] = family.time(row["numbers"], family.every()) / 1e6 * np.array([1.0, 1.0, 1.0, 2.0])
    table.to_parquet(tmp_path / "moe.parquet")
    script = ROOT / "benchmarks" / "validation" / "fit_gpu.py"
    command = [sys.executable, str(script), "--check", str(tmp_path), "--system", "h200_sxm"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert f"experts bfloat16 {kernel}: 4 rows, 0 / 35" in found.stdout
    assert "from 1024 tokens 50" in found.stdout


@pytest.mark.skipif(
    "PIMJAX_SILICON" not in os.environ, reason="PIMJAX_SILICON does not name a folder of operator tables"
)
def test_the_committed_fit_is_what_the_tables_give() -> None:
    script = ROOT / "benchmarks" / "validation" / "fit_gpu.py"
    only = "experts bfloat16 vllm_unquantizedfusedmoe_triton_tritonexperts h100"
    command = [sys.executable, str(script), "--data", os.environ["PIMJAX_SILICON"], "--quick", "--only", only]
    out = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    row = json.loads(out.stdout.splitlines()[-1])
    assert row["own"]["median"] <= 8
