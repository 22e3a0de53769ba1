"""Generation views: pieces add up to the run, agree with the event engine, do not grow; the roofline by hand."""

from functools import partial

import jax
import numpy as np
import pytest

from pimjax.chips.multiplexed import multiplexed_cost, simulate
from pimjax.config import build, load_config
from pimjax.config.gpu import load_gpu
from pimjax.errors import ConfigError
from pimjax.estimation.generation import CACHE_SETS, estimate_generation
from pimjax.estimation.generation_lanes import lane_configs, piece_edges
from pimjax.estimation.gpu import gpu_run
from pimjax.runs import inputs_of_parts, resolve, run_routing

SMALL = {
    "model.routing": "expert_choice",
    "model.d_model": 512,
    "model.d_ff": 256,
    "model.vocab_size": 1024,
    "workload.prompt_tokens": 12,
    "workload.generated_tokens": 6,
}


@pytest.fixture(scope="module")
def cases():
    config = load_config("paper_crossbars", SMALL)  # one slow channel: there is something to wait for
    return estimate_generation(config, batch_sizes=(1, 3), group_sizes=(2, 4), gpus=("h100_sxm",), pieces=5)


def test_every_combination_in_order(cases):
    got = [(case.batch_size, case.group_size, case.caches) for case in cases]
    assert got == [(b, g, name) for b in (1, 3) for g in (2, 4) for name in CACHE_SETS]
    assert all(case.status == 0 or case.to_dict()["status_text"] for case in cases)


def test_pieces_add_up_to_the_run(cases):
    """Up to the time that the first step waits for the prompt's writes."""
    for case in cases:
        waits = case.latency_ns - case.first_token_ns - (case.token_ns * case.steps).sum()
        if "go" in case.caches:  # the full variant writes many outputs
            assert 0 < waits < 0.3 * case.latency_ns
        else:
            assert abs(waits) < 1e-9 * case.latency_ns
        energy = case.first_token_nj + (case.token_nj * case.steps).sum() * case.batch_size
        assert energy == pytest.approx(case.energy_nj, rel=0.05)
        assert case.context.tolist() == [13, 14, 15, 16, 17]
        assert case.tokens_per_s * case.decode_ns == pytest.approx(5e9 * case.batch_size)


def test_the_event_engine_agrees(cases):
    """Run, prefill and every step against exact simulations of the same lanes."""
    for case in cases:
        if case.batch_size > 1 or case.group_size != 2:
            continue
        held = case.caches.split("+")
        config = load_config(
            "paper_crossbars",
            SMALL | {"workload.kv_cache": "kv" in held, "workload.go_cache": "full" if "go" in held else "none"},
        )
        config, requests = resolve(config, None)
        cost = simulate(config, requests).cost
        assert case.latency_ns == pytest.approx(float(cost.latency_ns), rel=0.03)
        assert case.energy_nj == pytest.approx(float(np.sum(cost.component_energy_nj)), rel=0.005)


def test_caches_save_work_and_traffic_costs(cases):
    by_name = {case.caches: case for case in cases if case.batch_size == 1 and case.group_size == 2}
    assert by_name["kv"].latency_ns == by_name["none"].latency_ns  # expert choice: the router needs all hidden states
    assert by_name["kv+go"].energy_nj < by_name["go"].energy_nj < by_name["none"].energy_nj
    assert by_name["none"].token_ns[-1] > by_name["none"].token_ns[0]


@pytest.mark.parametrize("caches", ["none", "kv+go"])
def test_program_does_not_grow_with_length(caches):
    def program(prompt, tokens):
        held = caches.split("+")
        changes = {
            "workload.prompt_tokens": prompt,
            "workload.generated_tokens": tokens,
            "workload.kv_cache": "kv" in held,
            "workload.go_cache": "threshold" if "go" in held else "none",
        }
        config, requests = resolve(load_config("paper_multiplexed", SMALL | changes), None)
        edges = piece_edges(tokens - 1, 2)
        design, capacity = build(config)
        schedules = inputs_of_parts(
            config, run_routing(config, requests), lane_configs(config, edges), edges, fidelity="closed", capacity=capacity
        )  # fmt: skip
        kernel = partial(multiplexed_cost, capacity=capacity, fidelity="closed", critical=False)
        return [leaf.shape for leaf in jax.tree.leaves(schedules[0])], len(str(jax.make_jaxpr(kernel)(design, schedules[2])))  # fmt: skip

    assert program(8, 20) == program(300, 150)


def test_reference_chip_gives_the_headline():
    plain, kv, go, both = estimate_generation(load_config("paper_reference", {"workload.generated_tokens": 8}))
    assert plain.decode_ns / both.decode_ns == pytest.approx(2053429.5 / 493518.8, rel=0.03)
    assert (plain.energy_nj - plain.first_token_nj) / (both.energy_nj - both.first_token_nj) == pytest.approx(10.1, rel=0.02)  # fmt: skip
    assert kv.decode_ns > go.decode_ns > both.decode_ns
    with pytest.raises(ConfigError, match="routing"):
        estimate_generation(load_config("paper_reference", {"workload.generated_tokens": 8}), gpus=("h100_sxm",))


def test_roofline_by_hand():
    """One dense-free layer, token choice with keys and values: bytes and FLOPs counted one by one."""
    changes = SMALL | {"model.routing": "token_choice", "workload.kv_cache": True, "workload.batch_size": 2}
    config, requests = resolve(load_config("paper_multiplexed", changes), None)
    routing = run_routing(config, requests)
    gpu = load_gpu("h100_sxm")
    run = gpu_run(config, routing, gpu)
    d, f, vocab, kv = 512, 256, 1024, 2 * 512 * 2  # bytes of keys and values of a token
    always = 4 * d * d + 16 * d
    for step in range(5):
        touched = routing.steps[:, 0, step].any(axis=0).sum()
        passes = routing.steps[:, 0, step].sum()
        bytes_ = 2 * (always + touched * 2 * d * f + d * vocab) + 2 * kv * (13 + step)
        flops = 2 * (2 * always + passes * 2 * d * f + 2 * d * vocab) + 4 * 2 * (13 + step) * d
        assert run.step_ns[step] == pytest.approx(max(bytes_ / 3350, flops / 989e3))
    assert run.memory_bound_steps == 1
    assert run.energy_nj == pytest.approx(700 * (run.first_token_ns + run.step_ns.sum()))
    assert run.fits


def test_mistakes_are_named(tmp_path):
    config = load_config("paper_multiplexed", SMALL)
    for arguments, text in (
        (dict(caches=("both",)), "both"),
        (dict(fidelity="event"), "event"),
        (dict(gpus=("h10",)), "h100_sxm"),
    ):
        with pytest.raises(ConfigError, match=text):
            estimate_generation(config, **arguments)
    with pytest.raises(ConfigError, match="at least 2"):
        estimate_generation(load_config("paper_multiplexed"))
    wrong = tmp_path / "gpu.yaml"
    wrong.write_text("name: x\nbandwidth_gb_per_s: {value: 3, unit: 'TB/s'}\n")
    with pytest.raises(ConfigError, match="TB/s"):
        load_gpu(wrong)


def test_batches_beyond_the_recorded_requests():
    """Twelve requests are recorded; sixteen sequences decode all the same, and no two are in step."""
    config, requests = resolve(load_config("paper_multiplexed", SMALL | {"workload.batch_size": 16}), None)
    steps = run_routing(config, requests).prompt
    assert steps.shape[0] == 16
    assert not (steps[0] == steps[12]).all()


def test_the_view_reads_well_and_json_is_one_document(capsys):
    import json

    from pimjax.cli.app import main

    small = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    for extra in ([], ["--json"]):
        with pytest.raises(SystemExit) as stop:
            main(["generate", *small, *extra])
        assert not stop.value.code
        out = capsys.readouterr().out
        if extra:
            cases = json.loads(out)["cases"]
            assert [case["caches"] for case in cases] == list(CACHE_SETS)
            assert cases[0]["gpus"][0]["tokens_per_s"] > 0
        else:
            assert "kv+go" in out
            assert "H100" in out
            assert "tokens/s" in out
