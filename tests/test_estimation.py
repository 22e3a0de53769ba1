"""`estimate`: goldens through the public interface, routing rules, metrics, explanations."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

import pimjax
from pimjax.chips.run_cost import COMPONENTS, OP_KINDS
from pimjax.estimation.explain import explain
from pimjax.estimation.result import SCALARS


@pytest.fixture(scope="module")
def small_cases(golden_folder) -> list[dict]:
    return json.loads((golden_folder / "reference_small.json").read_text())["cases"]


def test_reference_goldens_through_estimate(small_cases) -> None:
    for case in small_cases:
        config = pimjax.reference_config(**case["inputs"])
        result = pimjax.estimate(config, fidelity="event", expert_choices=case["expert_choices"])
        wanted = case["outputs"]
        assert result.latency_ns == wanted["latency_ns"], case["name"]
        assert result.flops == wanted["flops"], case["name"]
        assert result.peak_memory_bytes == wanted["peak_memory_bytes"], case["name"]
        assert result.energy_nj == pytest.approx(wanted["energy_nJ"], rel=1e-9), case["name"]
        out = result.to_dict()
        assert {name: out["op_counts"][name] for name in wanted["counts"]} == wanted["counts"]
        for name, value in wanted["latency_breakdown_ns"].items():
            assert out["busy_ns"][name] == pytest.approx(value, rel=1e-9), (case["name"], name)
        for name, value in wanted["energy_breakdown_nJ"].items():
            if name != "dram_go":  # recorded by the authors' breakdown, not part of their total
                assert out["component_energy_nj"][name] == pytest.approx(value, rel=1e-9), (case["name"], name)
        assert result.critical_ns.sum() == pytest.approx(result.latency_ns, rel=1e-9)


@pytest.fixture(scope="module")
def figure(golden_folder) -> pimjax.RoutingTrace:
    """The paper's scheduling figure: 6 tokens, 8 experts."""
    ids = json.loads((golden_folder / "paper_schedule_figure.json").read_text())["token_experts"]
    return pimjax.RoutingTrace.from_expert_ids(np.asarray(ids) - 1, 8)


def _figure_chip(policy: str, **more: object) -> pimjax.Config:
    keys = {"model.num_experts": 8, "plan.policy": policy, "plan.grouping": "uniform", "system": "none", **more}
    return pimjax.load_config("paper_multiplexed", keys)


@pytest.mark.parametrize("policy", ["token_wise", "compact", "reschedule"])
def test_multiplexed_check_values_through_estimate(policy, figure, golden_folder) -> None:
    wanted = json.loads((golden_folder / "multiplexed_check.json").read_text())
    fast = pimjax.estimate(_figure_chip(policy), figure, "event")
    assert fast.moe_last_pass_ns[0] == pytest.approx(wanted["last_pass_end"]["t_load_12"][policy], abs=6e-4)
    assert fast.moe_latency_ns == pytest.approx(wanted["T_moe_t_load_12"]["c5"][policy], abs=6e-4)
    slow = pimjax.estimate(_figure_chip(policy, **{"hardware.input_links": 1}), figure, "event")
    assert slow.moe_last_pass_ns[0] == pytest.approx(wanted["last_pass_end"]["t_load_192"][policy], abs=6e-4)
    assert fast.op_counts[OP_KINDS.index("expert_pass")] == figure.choices.sum()


def test_every_result_is_float64_numpy_and_sums_up(figure) -> None:
    result = pimjax.estimate(_figure_chip("compact"), figure, "closed")
    for name in SCALARS:
        value = getattr(result, name)
        assert isinstance(value, np.ndarray), name
        assert value.dtype == np.float64, name
    assert result.critical_ns.shape == (len(COMPONENTS),)
    assert result.critical_ns.sum() == pytest.approx(result.latency_ns, rel=1e-9)
    assert result.component_energy_nj.sum() == pytest.approx(result.energy_nj, rel=1e-12)
    assert result.power_w == pytest.approx(result.energy_nj / result.latency_ns)
    assert not jax.config.jax_enable_x64


def test_the_trace_decides_the_length_unless_the_workload_does(figure) -> None:
    whole = pimjax.estimate(_figure_chip("compact"), figure, "event")
    half = pimjax.estimate(_figure_chip("compact", **{"workload.prompt_tokens": 3}), figure, "event")
    kind = OP_KINDS.index("expert_pass")
    assert whole.op_counts[kind] == 24
    assert half.op_counts[kind] == 12


def test_misuse_is_explained(figure) -> None:
    with pytest.raises(pimjax.TraceError, match=r"8 experts but model.num_experts is 16"):
        pimjax.estimate(pimjax.load_config("paper_multiplexed"), figure)
    with pytest.raises(pimjax.ConfigError, match=r"exact.*event, fluid, closed"):
        pimjax.estimate(_figure_chip("compact"), figure, "exact")
    small = pimjax.reference_config(d_model=512, d_ff=300, vocab=1000, k=2, experts=4, start_len=2)
    for fidelity in ("event", "fluid", "closed"):
        with pytest.raises(pimjax.TraceError, match="has 1 entries: 2 are needed"):
            pimjax.estimate(small, fidelity=fidelity, expert_choices=[[0, 1]])
    with pytest.raises(pimjax.TraceError, match="holds single numbers: each entry must be a list of k = 2"):
        pimjax.estimate(small, fidelity="closed", expert_choices=[0, 1])
    with pytest.raises(pimjax.ConfigError, match="expert_choices belongs to chip_model 'reference'"):
        pimjax.estimate(_figure_chip("compact"), figure, expert_choices=[[0, 1]])
    with pytest.raises(pimjax.ConfigError, match=r"pimjax\.load_config"):
        pimjax.estimate("paper_reference")
    two = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), figure)
    with pytest.raises(pimjax.TraceError, match="takes one request but the trace holds 2"):
        pimjax.estimate(_figure_chip("compact"), two)
    with pytest.raises(pimjax.TraceError, match="give a RoutingTrace"):
        pimjax.estimate(_figure_chip("compact"), np.zeros((6, 8), bool))


def test_explanation_names_the_bound_the_sources_and_the_assumptions() -> None:
    config = pimjax.load_config("paper_reference")
    report = explain(config, pimjax.estimate(config, fidelity="event"))
    # the published chip is bound by attention and digital column additions, not by the MVM
    assert [row["component"] for row in report["bounds"][:2]] == ["mha_comp", "digital_add"]
    assert sum(row["share"] for row in report["bounds"]) == pytest.approx(1)
    adds = next(row for row in report["energy_nj"] if row["component"] == "tier_linear")
    assert adds["count"] == 48080
    assert adds["unit_cost"] == pytest.approx(12.5)
    keys = {row["key"] for row in report["assumptions"]}
    programming = {f"hardware.program_{name}" for name in ("pulse_mvms", "verify_passes", "pulse_energy_pj")}
    assert keys == {*programming, "hardware.cooling_k_mm2_per_w"}
    assert all(row["range"] for row in report["assumptions"] if row["value"] not in (None, 0))
    for rows in (report["latency_ns"], report["energy_nj"], report["area_mm2"]):
        assert all(row["source"] for row in rows)


def test_a_run_whose_scratchpad_cannot_be_tracked_keeps_its_time() -> None:
    small = {"model.d_model": 256, "model.num_heads": 8, "model.vocab_size": 1000, "workload.generated_tokens": 3}
    result = pimjax.estimate(
        pimjax.load_config("paper_reference", small | {"workload.prompt_tokens": 54}), fidelity="event"
    )
    assert np.isfinite(result.latency_ns)
    assert np.isnan(result.peak_memory_bytes)
