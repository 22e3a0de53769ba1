"""Step costs of chips: tables against direct calls, routing that matters, many chips, derivatives; and figures of runs."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pimjax
from pimjax.errors import ServingError
from pimjax.serving import (
    ChipSteps,
    Server,
    StepBatch,
    StepGrid,
    StepTable,
    TableSteps,
    generate_requests,
    make_requests,
    make_step_table,
    request_times,
    serving_gradients,
    serving_sweep,
    simulate,
    simulate_batch,
    simulate_exactly,
    slo_capacity,
    summary,
    timeline,
    tune_serving,
)
from pimjax.trace import RoutingTrace

CONFIG = pimjax.load_config("paper_multiplexed")
LONGEST = 256


@functools.cache
def grid() -> StepGrid:
    return StepGrid(ChipSteps(CONFIG, longest_context=LONGEST), max_num_seqs=8)


@functools.cache
def reference_steps() -> ChipSteps:
    return ChipSteps(pimjax.load_config("paper_reference"), longest_context=64)


def test_table_is_near_direct_calls() -> None:
    """On random batches of real tokens; benchmarks/validation/serving_steps.py publishes the errors."""
    steps, table = grid().steps, grid().table()
    reader, draw = TableSteps(table, steps.loads), np.random.default_rng(0)
    for _ in range(12):
        size = int(draw.integers(1, 9))
        decodes = [(int(draw.integers(0, 99)), int(draw.integers(1, LONGEST))) for _ in range(size)]
        requests: Any = make_requests(np.zeros(100), 1, 1)
        batch = StepBatch(decodes, [], size)
        np.testing.assert_allclose(reader.rank_cost(batch, requests), steps.rank_cost(batch, requests), rtol=0.02)
    for length in (1, 20, 130, LONGEST):
        prompt = StepBatch([], [(0, 0, length)], 1)
        np.testing.assert_allclose(reader.rank_cost(prompt, None), steps.rank_cost(prompt, None), rtol=0.15)


def test_pieces_of_a_prompt_cost_the_whole() -> None:
    steps = grid().steps
    whole = steps.rank_cost(StepBatch([], [(0, 0, 64)], 1), None)
    pieces = [steps.rank_cost(StepBatch([], [(0, start, 16)], 0), None) for start in range(0, 64, 16)]
    np.testing.assert_allclose(np.sum(pieces, axis=0), whole, rtol=1e-12)


def test_one_sequence_is_the_estimate_of_a_decode_step() -> None:
    steps = grid().steps
    config = pimjax.load_config(
        "paper_multiplexed",
        {"workload.prefill": False, "workload.generated_tokens": 2, "workload.prompt_tokens": 100, "workload.kv_cache": True,
         "workload.max_context_tokens": LONGEST},
    )  # fmt: skip
    ns, nj = steps.rank_cost(StepBatch([(0, 100)], [], 1), None)
    estimate = pimjax.estimate(config, fidelity="closed")
    np.testing.assert_allclose(ns, float(estimate.latency_ns), rtol=0.01)  # groups come from all recorded requests
    np.testing.assert_allclose(nj, float(estimate.energy_nj), rtol=0.01)


def test_same_lengths_with_other_routing_give_another_tpot() -> None:
    """Tokens that all visit one group wait for each other; tokens that spread do not."""
    spread = np.stack([[(4 * t + i + r) % 16 for i in range(4)] for r in range(8) for t in range(8)]).reshape(
        8, 1, 8, 4
    )
    crowded = np.tile(np.arange(4), (8, 1, 8, 1))
    requests = make_requests(np.zeros(8), 16, 12)
    server = Server(max_num_seqs=8)
    found = {}
    # memory so fast that experts decide
    plain = {"plan.grouping": "uniform", "plan.policy": "compact", "hardware.dram_bandwidth_gb_per_s": 1e5}
    for name, ids in (("spread", spread), ("crowded", crowded)):
        one = [RoutingTrace.from_expert_ids(row, 16) for row in ids]
        config = pimjax.load_config("paper_multiplexed", plain)
        steps = ChipSteps(config, pimjax.trace.stack_traces(one), longest_context=32)
        table = StepGrid(steps, max_num_seqs=8).table()
        run = simulate(requests, server, table, loads=steps.loads, compiled=False)
        exact = simulate_exactly(requests, server, steps)
        found[name] = request_times(run)["tpot"].mean()
        np.testing.assert_allclose(found[name], request_times(exact)["tpot"].mean(), rtol=0.02)
    assert found["crowded"] > 1.02 * found["spread"]


def test_routing_of_gpt_oss_decides_a_tpot() -> None:
    """Eight requests of a real trace against eight others, same lengths; memory so fast that experts decide."""
    path = Path(os.environ.get("PIMJAX_TRACES", "../shared/traces")) / "gptoss20b-decode.npz"
    if not path.is_file():
        pytest.skip(f"{path.parent} (PIMJAX_TRACES) has no {path.name}")
    traces = pimjax.load_traces(path)
    config = pimjax.load_config(
        "gpt_oss_20b",
        {"plan.policy": "compact", "hardware.dram_bandwidth_gb_per_s": 1e5, "workload.trace.kind": "uniform"},
    )
    requests = make_requests(np.zeros(8), 8, 6)
    found = []
    for first in (0, 30):
        chosen = pimjax.trace.stack_traces([traces.request(first + i) for i in range(8)])
        steps = ChipSteps(config, chosen, longest_context=16)
        found.append(request_times(simulate_exactly(requests, Server(max_num_seqs=8), steps))["tpot"].mean())
        fast = simulate(
            requests, Server(max_num_seqs=8), StepGrid(steps, max_num_seqs=8).table(), loads=steps.loads, compiled=False
        )
        np.testing.assert_allclose(request_times(fast)["tpot"].mean(), found[-1], rtol=0.02)
    assert abs(found[1] / found[0] - 1.0) > 1e-3


def test_a_chip_that_decodes_one_at_a_time_takes_them_in_turn() -> None:
    steps = reference_steps()
    one, four = (steps.rank_cost(StepBatch([(0, 20)] * n, [], n), None)[0] for n in (1, 4))
    assert steps.one_at_a_time
    assert four == pytest.approx(4 * one)


def test_tables_of_many_chips() -> None:
    many = grid().tables({"mvm_latency_ns": [130.0, 400.0]})
    own = StepGrid(
        ChipSteps(pimjax.load_config(CONFIG.model_dump(), {"hardware.mvm_latency_ns": 400.0}), longest_context=LONGEST),
        max_num_seqs=8,
    ).table()
    for batched, nominal, changed in zip(many, grid().table(), own, strict=True):
        np.testing.assert_allclose(batched[0], nominal, rtol=1e-9, atol=1e-6)
        np.testing.assert_allclose(batched[1], changed, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("hardware", [{}, {"no such": [1.0]}, {"mvm_latency_ns": [np.nan]}, {"out_links": [1.0]}])
def test_tables_refuse(hardware) -> None:
    with pytest.raises(ServingError, match="hardware"):
        grid().tables(hardware)


def test_expert_choice_is_refused() -> None:
    config = pimjax.load_config("paper_multiplexed", {"model.routing": "expert_choice"})
    with pytest.raises(ServingError, match="token-choice"):
        ChipSteps(config, longest_context=8)


def test_batches_are_single_runs() -> None:
    table = grid().tables({"mvm_latency_ns": [130.0, 400.0]})
    requests = generate_requests("poisson", count=20, rate_per_s=3000.0, prompt_tokens=20, output_tokens=6, seed=2)
    server = Server(max_num_seqs=8)
    host = simulate_batch(requests, server, table)
    scan = simulate_batch(requests, server, table, engine="scan")
    for index in range(2):
        own = StepTable(*(leaf[index] for leaf in table))
        run = simulate(requests, server, own, compiled=False)
        np.testing.assert_allclose(host.finish_ns[index], run.finish_ns, rtol=1e-9)
        np.testing.assert_allclose(scan.finish_ns[index], run.finish_ns, rtol=1e-9)
        np.testing.assert_allclose(host.tpot_ns[index], request_times(run)["tpot"])


def test_derivatives_are_finite_differences() -> None:
    requests = generate_requests("poisson", count=6, rate_per_s=2000.0, prompt_tokens=20, output_tokens=5, seed=4)
    server, names = Server(max_num_seqs=4), ["mvm_latency_ns", "mvm_energy_nj"]
    found = serving_gradients(grid(), requests, server, names)
    for name in names:
        value = float(getattr(grid().base_hardware, name))
        step = 1e-4 * value
        table = grid().tables({name: [value - step, value + step]})
        below, above = (
            simulate(requests, server, StepTable(*(leaf[i] for leaf in table)), compiled=False) for i in range(2)
        )
        for surrogate, key in (("mean_ttft_ns", "ttft"), ("mean_tpot_ns", "tpot"), ("mean_latency_ns", "latency")):
            slope = (request_times(above)[key].mean() - request_times(below)[key].mean()) / (2 * step)
            assert found[surrogate][name] == pytest.approx(slope, rel=1e-4, abs=1e-6)
        slope = (above.energy_nj.mean() - below.energy_nj.mean()) / (2 * step)
        assert found["energy_per_request_nj"][name] == pytest.approx(slope, rel=1e-4, abs=1e-6)
    assert found["mean_tpot_ns"]["mvm_latency_ns"] > 0
    assert found["mean_tpot_ns"]["mvm_energy_nj"] == 0


def test_figures_of_a_run_by_hand() -> None:
    """Two requests, steps of 1 ms: the first decodes alone from 1 to 2 ms, both until 4 ms, the second until 5 ms."""
    requests = make_requests([0.0, 1.5e6], 8, [4, 3])
    table = make_step_table(tokens=[[1e6], [2.0]])
    run = simulate(requests, Server(), table, compiled=False)
    assert run.finish_ns.tolist() == [4e6, 5e6]
    figures = summary(run, ttft_slo_ns=1e6, tpot_slo_ns=1e6)
    assert figures["ttft_ns"]["mean"] == pytest.approx(1.25e6)  # 1 ms, and half a step of waiting
    assert figures["queueing_ns"]["p99"] == pytest.approx(0.495e6)
    assert figures["output_tokens_per_s"] == pytest.approx(1400)
    assert figures["goodput_per_s"] == pytest.approx(200)  # the second's first token came after 1.5 ms
    assert figures["energy_nj"] == pytest.approx(10.0)
    assert figures["mean_running"] == pytest.approx(1.4)
    assert timeline(run, 5)["running"].tolist() == pytest.approx([1, 1, 2, 2, 1])
    assert timeline(run, 5)["power_w"].tolist() == pytest.approx([2e-6] * 5)


def test_capacity_of_a_server_that_is_a_queue() -> None:
    """Steps of 1 ms for one request of 4 tokens: 250 a second at most, and just below it without waiting."""
    requests = make_requests(np.arange(400) * 1e7, 8, 4)
    found = slo_capacity(
        requests, Server(max_num_seqs=1), make_step_table(tokens=[1e6]), ttft_slo_ns=2e6, tpot_slo_ns=1.5e6,
        low_per_s=10.0, high_per_s=1000.0, rounds=6, points=5,
    )  # fmt: skip
    assert found.rate_per_s[0] <= found.fails_at_per_s[0] <= 1.01 * found.rate_per_s[0]
    assert found.rate_per_s[0] == pytest.approx(250.0, rel=0.02)


def test_capacity_that_never_or_always_holds() -> None:
    requests = make_requests(np.arange(20) * 1e7, 8, 4)
    options = {"ttft_slo_ns": 1.0, "tpot_slo_ns": 1e12, "low_per_s": 1.0, "high_per_s": 10.0, "rounds": 2}
    table = make_step_table(tokens=[1e3])
    never = slo_capacity(requests, Server(), table, **options)
    always = slo_capacity(requests, Server(), table, **{**options, "ttft_slo_ns": 1e12})
    assert (never.rate_per_s[0], always.rate_per_s[0]) == pytest.approx((0.0, 10.0))
    assert np.isinf(always.fails_at_per_s[0])


GPU = pimjax.load_config("h100")
GPT_ON_GPU = {"chip_model": "gpu", "hardware": "h100", "model": "gpt_oss_20b", "workload": {"kv_bytes": 2}}


def mixed_batches(longest: int, count: int = 6) -> list[StepBatch]:
    """Steps of decoding sequences alone, beside one piece of a prompt, beside a later piece, and pieces alone."""
    draw, found = np.random.default_rng(3), []
    for index in range(count):
        size = int(draw.integers(1, 8))
        decodes = [(int(draw.integers(0, 99)), int(draw.integers(1, longest - 1))) for _ in range(size)]
        whole, later = [(7, 0, int(draw.integers(8, 60)))], [(8, 40, 24)]
        chunks = ([], whole, whole + later, later)[index % 4]
        kept = decodes if index != 3 else []
        found.append(StepBatch(kept, chunks, max(1, len(kept) + bool(chunks))))
    return found


@pytest.mark.parametrize("base", [{}, {"model.num_experts": 0, "workload.trace.kind": "uniform"}])
@pytest.mark.parametrize("mixed", [1.0, 2.5])
def test_table_of_a_chip_whose_step_is_one_pass(base, mixed) -> None:
    """The GPU: prompts and new tokens share products and experts; the table against the chip asked for every step."""
    config = pimjax.load_config(GPU.model_dump(), base)
    steps = ChipSteps(config, longest_context=LONGEST, mixed_attention=mixed)
    reader = TableSteps(StepGrid(steps, max_num_seqs=8).table(), steps.loads)
    requests: Any = make_requests(np.zeros(100), 1, 1)
    for batch in mixed_batches(LONGEST):
        np.testing.assert_allclose(reader.rank_cost(batch, requests), steps.rank_cost(batch, requests), rtol=0.05)


def test_one_pass_reads_weights_once() -> None:
    """A piece of a prompt beside decoding sequences costs less than both apart, and no less than the longer."""
    steps = ChipSteps(GPU, longest_context=64)
    decodes, chunks = [(i, 20) for i in range(4)], [(9, 0, 16)]
    apart = [steps.rank_cost(StepBatch(*parts), None)[0] for parts in ((decodes, [], 4), ([], chunks, 1))]
    both = steps.rank_cost(StepBatch(decodes, chunks, 5), None)[0]
    assert max(apart) < both < 0.8 * sum(apart)


def test_one_pass_without_chunks_is_the_estimate() -> None:
    """A step of decoding sequences alone is the chip's own decode step, and a lone prompt its own prefill."""
    steps = ChipSteps(GPU, longest_context=64)
    tokens = [(i, 20) for i in range(4)]
    np.testing.assert_allclose(
        steps.rank_cost(StepBatch(tokens, [], 4), None), steps.cost_of(steps.decode_point(tokens, 20)), rtol=1e-12
    )
    prompt = StepBatch([], [(0, 0, 48)], 1)
    np.testing.assert_allclose(steps.rank_cost(prompt, None), steps.cost_of(steps.prefill_point(0, 48)), rtol=1e-12)


def test_components_add_up() -> None:
    """What some components take and what the others take is what all take."""
    every = pimjax.chips.CHIPS["gpu"].component_names
    some = ("experts", "attention")
    parts = (None, some, tuple(name for name in every if name not in some))
    batch = StepBatch([(0, 20), (1, 30)], [(2, 0, 16)], 3)
    whole, one, other = (
        np.array(ChipSteps(GPU, longest_context=64, components=names).rank_cost(batch, None)) for names in parts
    )
    np.testing.assert_allclose(one + other, whole, rtol=1e-9)


@pytest.mark.parametrize(("config", "names"), [(GPU, ["no such"]), (CONFIG, ["attention"])])
def test_components_refused(config, names) -> None:
    with pytest.raises(ServingError, match="components"):
        ChipSteps(config, longest_context=8, components=names)


@pytest.mark.parametrize("name", ["paper_reference", "paper_multiplexed", "h100"])
def test_a_step_beyond_the_longest_context_is_refused(name) -> None:
    """After as many cached tokens as the context holds there is no room for the new one."""
    steps = ChipSteps(pimjax.load_config(name), longest_context=16)
    assert steps.rank_cost(StepBatch([(0, 15)], [], 1), None)[0] > 0
    for batch in (StepBatch([(0, 16)], [], 1), StepBatch([(0, 16), (1, 1)], [], 2), StepBatch([], [(0, 12, 5)], 1)):
        with pytest.raises(ServingError, match="reaches 17 tokens but longest_context is 16"):
            steps.rank_cost(batch, None)


def test_routing_of_gpt_oss_decides_a_tpot_of_a_gpu() -> None:
    """As on the crossbars: the same lengths with other requests' routing touch other experts."""
    path = Path(os.environ.get("PIMJAX_TRACES", "../shared/traces")) / "gptoss20b-decode.npz"
    if not path.is_file():
        pytest.skip(f"{path.parent} (PIMJAX_TRACES) has no {path.name}")
    traces, config = pimjax.load_traces(path), pimjax.load_config(GPT_ON_GPU)
    requests, found = make_requests(np.zeros(8), 8, 6), []
    for first in (0, 30):
        chosen = pimjax.trace.stack_traces([traces.request(first + i) for i in range(8)])
        steps = ChipSteps(config, chosen, longest_context=16)
        found.append(request_times(simulate_exactly(requests, Server(max_num_seqs=8), steps))["tpot"].mean())
    assert abs(found[1] / found[0] - 1.0) > 1e-3


def test_energy_between_steps() -> None:
    """Steps of 1 ms from 0 to 1 and 3 to 4: half the time nothing runs."""
    run = simulate(make_requests([0.0, 3e6], 8, 1), Server(), make_step_table(tokens=[[1e6], [2.0]]), compiled=False)
    figures = summary(run, idle_power_w=3.0, area_mm2=10.0, ttft_slo_ns=2e6)
    assert figures["step_energy_nj"] == pytest.approx(4.0)
    assert figures["idle_energy_nj"] == pytest.approx(3.0 * 2e6)
    assert figures["energy_per_request_nj"] == pytest.approx((4.0 + 6e6) / 2)
    assert figures["goodput_per_w"] == pytest.approx(500.0 / figures["mean_power_w"])
    assert figures["goodput_per_mm2"] == pytest.approx(50.0)
    several = summary(simulate(run.requests, Server(ranks=2), make_step_table(tokens=[1e6]), compiled=False), idle_power_w=3.0)  # fmt: skip
    assert several["idle_energy_nj"] == pytest.approx(3.0 * 6e6)


def test_sweep_is_single_runs() -> None:
    requests = generate_requests("poisson", count=12, rate_per_s=3000.0, prompt_tokens=20, output_tokens=6, seed=2)
    server, limits = Server(max_num_seqs=8), {"ttft_slo_ns": 2e6, "tpot_slo_ns": 4e5}
    found = serving_sweep(grid(), requests, server, {"mvm_latency_ns": [130.0, 400.0]}, **limits)
    chips = grid().chips({"mvm_latency_ns": [130.0, 400.0]})
    assert chips.area_mm2[0] == pytest.approx(grid().steps.area_mm2())
    assert chips.idle_power_w[0] == pytest.approx(grid().steps.idle_power_w())
    for index in range(2):
        own = StepTable(*(leaf[index] for leaf in chips.table))
        one = summary(
            simulate(requests, server, own, compiled=False),
            idle_power_w=chips.idle_power_w[index], area_mm2=chips.area_mm2[index], **limits,
        )  # fmt: skip
        for name in ("goodput_per_s", "goodput_per_w", "goodput_per_mm2", "energy_per_request_nj", "mean_power_w"):
            assert found[name][index] == pytest.approx(one[name], rel=1e-9), name
        assert found["tpot_p99_ns"][index] == pytest.approx(one["tpot_ns"]["p99"])


def test_search_is_never_worse_than_its_start() -> None:
    requests = generate_requests("poisson", count=8, rate_per_s=3000.0, prompt_tokens=20, output_tokens=6, seed=2)
    found = tune_serving(
        grid(), requests, Server(max_num_seqs=8), {"hardware.mvm_latency_ns": (60.0, 240.0)},
        ttft_slo_ns=1e9, tpot_slo_ns=1e9, objective="mean_latency_ns", rounds=4, chips=8,
    )  # fmt: skip
    assert found.figures["mean_latency_ns"] < found.base["mean_latency_ns"]
    assert found.hardware["mvm_latency_ns"] == pytest.approx(60.0, rel=0.1)
    assert found.tried["value"].min() == pytest.approx(found.figures["mean_latency_ns"])


@pytest.mark.parametrize(
    "bounds", [{}, {"mvm_latency_ns": (2.0, 1.0)}, {"mvm_latency_ns": 3}, {"mvm_latency_ns": (0.0, 1.0)}, {"no such": (1.0, 2.0)}]
)  # fmt: skip
def test_search_refuses(bounds) -> None:
    with pytest.raises(ServingError, match="bounds"):
        tune_serving(
            grid(), make_requests([0.0], 8, 2), Server(max_num_seqs=2), bounds, ttft_slo_ns=1.0, tpot_slo_ns=1.0
        )
