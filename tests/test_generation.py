"""Generation views: pieces add up to the run, agree with the event engine, do not grow; another chip beside them."""

from functools import partial

import jax
import numpy as np
import pytest

from pimjax.chips.multiplexed import multiplexed_cost, simulate
from pimjax.config import build, load_config
from pimjax.errors import ConfigError
from pimjax.estimation.beside import same_run
from pimjax.estimation.generation import CACHE_SETS, estimate_generation
from pimjax.estimation.generation_lanes import lane_configs, piece_edges
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
    return estimate_generation(config, batch_sizes=(1, 3), group_sizes=(2, 4), gpus=("h100",), pieces=5)


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
        estimate_generation(load_config("paper_reference", {"workload.generated_tokens": 8}), gpus=("h100",))


@pytest.mark.parametrize("routing", ["token_choice", "expert_choice"])
def test_a_gpu_beside_a_run_is_its_own_estimate(routing):
    """Its numbers are those of a generation on it, whatever chip the run is on; its cache has its own width."""
    changes = SMALL | {"model.routing": routing, "workload.batch_size": 2}
    config = load_config("paper_multiplexed", changes)
    cases = estimate_generation(config, caches=("none", "kv"), gpus=("h100", "h200"), pieces=3)
    for index, name in enumerate(("h100", "h200")):
        own = estimate_generation(same_run(config, load_config(name)), caches=("none", "kv"), pieces=3)
        for beside, alone in zip((case.gpus[index] for case in cases), own, strict=True):
            assert beside.name == name
            for field in (
                "first_token_ns",
                "latency_ns",
                "energy_nj",
                "area_mm2",
                "tokens_per_s",
                "energy_per_token_nj",
            ):
                assert getattr(beside, field) == pytest.approx(getattr(alone, field), rel=1e-6), field
            np.testing.assert_allclose(beside.token_ns, alone.token_ns, rtol=1e-6)
            assert beside.fits
    assert cases[0].gpus[1].token_ns[0] <= cases[0].gpus[0].token_ns[0]


def test_mistakes_are_named():
    config = load_config("paper_multiplexed", SMALL)
    for arguments, text in (
        (dict(caches=("both",)), "both"),
        (dict(fidelity="event"), "event"),
        (dict(gpus=("h10",)), "h100"),
        (dict(gpus=("paper_reference",)), "takes no routing"),
    ):
        with pytest.raises(ConfigError, match=text):
            estimate_generation(config, **arguments)
    with pytest.raises(ConfigError, match="at least 2"):
        estimate_generation(load_config("paper_multiplexed"))


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
            assert "h100" in out
            assert "equal model" in out
            assert "tokens/s" in out
