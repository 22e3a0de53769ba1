"""The numbers that sum up each benchmark: where they lie in its committed JSON, how they read, what they mean.

`benchmarks/run_all.py` shows all of them in one table; `benchmarks/pages/readme_numbers.py` writes those marked for the README.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.lib.paths import COMMITTED


class Headline(NamedTuple):
    """One number: `file` without ending, `path` inside it, what it says, its unit.

    `factor` scales it, `digits` are significant, `readme` puts it into the README.
    """

    file: str
    path: str
    about: str
    unit: str = ""
    factor: float = 1.0
    digits: int = 3
    readme: bool = False


HEADLINES: tuple[Headline, ...] = (
    Headline("validate_goldens", "reference_small.cases", "small runs of the authors' simulator recomputed exactly", "runs", readme=True),
    Headline("validate_goldens", "reference_small.worst_energy_relative", "worst relative energy error on them"),
    Headline("event_engine", "prefill_compiled.simulate.wall_s", "exact engine, compiled: one published prefill, 187,015 operations", "s", readme=True),
    Headline("event_engine", "prefill_uncompiled.simulate.wall_s", "the same without numba", "s"),
    Headline("reference_error", "published.fluid.mean_percent", "fluid against exact, authors' chip at published scale: mean latency error", "%", readme=True),
    Headline("reference_error", "published.fluid.max_percent", "the same, worst of 300", "%"),
    Headline("reference_error", "published.closed.mean_percent", "closed against exact, authors' chip: mean latency error", "%", readme=True),
    Headline("multiplexed_error", "results.prefill.summary.fluid.latency.mean", "fluid against exact, multiplexed chip, 300 random prefills: mean latency error", "%", 100, readme=True),
    Headline("multiplexed_error", "results.prefill.summary.closed.latency.mean", "closed against exact, multiplexed chip: mean latency error", "%", 100, readme=True),
    Headline("system_error", "all.fluid.mean_percent", "fluid against exact, the chip with dies, wires and links, 300 random systems: mean latency error", "%", readme=True),
    Headline("system_error", "all.fluid.p95_percent", "the same: 95th percentile", "%", readme=True),
    Headline("reference_speed", "fidelity.fluid.best_per_s", "fluid estimates of the authors' chip", "per second", readme=True),
    Headline("reference_speed", "fidelity.closed.best_per_s", "closed estimates of the authors' chip", "per second", readme=True),
    Headline("batch_speed", "product.wall_s", "1,000 configurations x 1,000 traces, closed, schedules beside", "s"),
    Headline("batch_speed", "product.pairs_per_s", "the same: pairs of hardware and trace", "per second"),
    Headline("batch_speed", "fluid.ratio_to_bare", "fluid sweep with results written, over the bare kernel", "x"),
    Headline("batch_speed", "start.sweep.wall_s", "second start of `pimjax sweep` to its first result", "s"),
    Headline("contention_study", "gptoss20b.policies.g=2.sorted.reschedule.loads_per_token.mean", "loads per token, the paper's schedule: GPT-OSS-20B routing, groups of 2", "", readme=True),
    Headline("contention_study", "gptoss20b.policies.g=2.sorted.packed.loads_per_token.mean", "loads per token, packed schedule: same slots, same routing", "", readme=True),
    Headline("contention_study", "gptoss20b.policies.g=2.sorted.packed.loads_over_bound.mean", "packed loads over the bound that no schedule beats", "x", digits=4, readme=True),
    Headline("link_error", "fluid.mean_percent", "fluid against exact, links of an expert phase, 300 random systems: mean error", "%"),
    Headline("link_error", "closed.mean_percent", "closed against exact, links of an expert phase: mean error", "%"),
    Headline("placement_study", "dies=7.crossings_saved_percent.mean", "co-activated experts on one die: crossings saved on unseen requests, GPT-OSS-20B, 7 dies a layer", "%"),
    Headline("sized_presets", "rows.0.dies", "dies of the chip sized for GPT-OSS-20B", "dies", readme=True),
    Headline("sized_presets", "rows.0.tokens_per_s", "one request on it: 64 tokens after a prompt of 128", "tokens/s", digits=5, readme=True),
    Headline("residency_study", "rows.1.hit_rate", "GPT-OSS-20B with half of its experts on the chip, LRU: hits", "%", 100),
    Headline("cache_bookkeeping", "rows.0.sequence_steps_per_s", "expert-choice cache decisions, 1,024 sequences at once", "per second"),
    Headline("crossbar_speed", "analog.ratio_to_products", "analog crossbar product against a plain matrix product", "x"),
    Headline("crossbar_speed", "crosssim_method_analog.speedup_of_pimjax", "speed against CrossSim's method on the same machine", "x", readme=True),
    Headline("validate_zigzag", "arrays", "arrays on which every term equals ZigZag-IMC's", "arrays"),
    Headline("validate_macros_first_run", "survey.blind.tops_per_w.median_fold", "fabricated macros, frozen before the first comparison: median factor on energy", "x"),
    Headline("validate_macros_first_run", "survey.blind.area_mm2.median_fold", "the same on area", "x"),
    Headline("validate_macros", "survey.blind.tops_per_w.median_fold", "fabricated macros, nothing fitted, descriptions reviewed since: median factor on energy", "x"),
    Headline("validate_macros", "survey.blind.area_mm2.median_fold", "the same on area", "x"),
    Headline("perplexity_study", "exact_perplexity", "perplexity of the shipped language model in float32", "", digits=4),
    Headline("tune_proof", "problems.prefill_edp_area.times_fewer_than_best_baseline", "tuning by gradient: times fewer evaluations than the best search, first problem", "x"),
    Headline("tune_speed", "prefill_edp_area_mixed.1024.gradient_steps_per_s", "gradient steps of 1,024 starts", "per second"),
    Headline("serving_vllm", "rows.4.error_percent.tpot.mean", "a run of vLLM on GPUs replayed, Qwen3-30B-A3B: mean time per token", "%"),
    Headline("serving_steps", "rows.1.step_error_percent.own tokens.mean_absolute", "step table against the chip's closed form, gpt-oss-20b: decode steps, mean", "%"),
    Headline("serving_speed", "rows.6.seconds", "1,000 chips serve 300 requests each, host engine", "s"),
    Headline("expert_choice_gap", "rows.-1.median_relative_gap", "gap between cached decoding and recomputing a prefix, deepest stack: median", "%", 100),
)  # fmt: skip


def document(name: str, folder: Path = COMMITTED) -> dict[str, Any] | None:
    """A committed result, or None where it was not measured."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def value_at(found: Any, path: str) -> float | int | None:
    """The number at a dotted path; None where the result has no such entry or it is no number.

    >>> value_at({"a": [{"b": 2}]}, "a.0.b")
    2
    """
    for part in path.split("."):
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.lstrip("-").isdigit() and -len(found) <= int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found if isinstance(found, (int, float)) and not isinstance(found, bool) else None


def shown(headline: Headline, value: float | int | None) -> str:
    """The number with its unit, for people.

    >>> shown(Headline("a", "b", "", "%", 100), 0.00461)
    '0.461 %'
    """
    if value is None:
        return "not measured"
    if isinstance(value, int) and headline.factor == 1:
        text = f"{value:,}"
    else:
        rounded = float(f"{value * headline.factor:.{headline.digits}g}")
        text = f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:.{headline.digits}g}"
    return f"{text} {headline.unit}".strip()
