"""Numbers in the prose of the pages: `{{ name }}` is replaced by a value from the committed results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from generators import analog, worth
from generators.results import at, shown


class Number(NamedTuple):
    """Where a number comes from: file, path inside it, factor, significant digits."""

    file: str
    path: tuple[str | int, ...]
    factor: float = 1.0
    digits: int = 2


def _reference(part: str) -> dict[str, Number]:
    return {
        f"reference_{fidelity}_{what}": Number("reference_error", (part, fidelity, f"{what}_percent"))
        for fidelity in ("fluid", "closed")
        for what in ("mean", "p99", "max")
    }


def _multiplexed() -> dict[str, Number]:
    return {
        f"multiplexed_{fidelity}_{what}": Number(
            "multiplexed_error", ("results", "prefill", "summary", fidelity, "latency", what), 100
        )
        for fidelity in ("fluid", "closed")
        for what in ("mean", "p95", "max")
    } | {
        f"multiplexed_{mode}_{what}": Number(
            "multiplexed_error", ("results", mode, "summary", "closed", "latency", what), 100
        )
        for mode in ("cached", "batch")
        for what in ("mean", "max")
    }


def _power() -> dict[str, Number]:
    return {
        **{
            f"power_{fidelity}_{what}": Number("power_error", ("summary", "all", fidelity, "leakage", what), 100)
            for fidelity in ("fluid", "closed")
            for what in ("mean", "p95", "largest")
        },
        **{
            f"power_static_{what}": Number("power_error", ("summary", "all", "closed", "static", what), 100)
            for what in ("mean", "p95")
        },
        **{
            f"power_{mode}_mean": Number("power_error", ("summary", mode, "closed", "leakage", "mean"), 100)
            for mode in ("prefill", "decode", "recompute")
        },
        "power_batch_mean": Number("power_error", ("summary", "batch", "closed", "leakage", "mean"), 100),
        "power_cases": Number("power_error", ("summary", "all", "configurations"), 1, 4),
        "full_die_density": Number("power_error", ("chips", "full_die", "g=1", "density_w_per_mm2"), 1000, 3),
        "full_die_rise": Number("power_error", ("chips", "full_die", "g=1", "rise_k")),
        **{
            f"full_die_watts_{size}": Number("power_error", ("chips", "full_die", f"g={size}", "w_per_reticle"), 1, 3)
            for size in (1, 2, 4)
        },
        "gpt_oss_utilisation": Number("power_error", ("chips", "gpt_oss_20b", "utilisation"), 100),
        "gpt_oss_static": Number("power_error", ("chips", "gpt_oss_20b", "static_share"), 100),
    }


def _grouping() -> dict[str, Number]:
    return {
        f"grouping_{name}_{size}{suffix}": Number("grouping_constants", (f"g={size}", name, *path), 1, 3)
        for name in ("nested", "shipped")
        for size in (2, 4, 8)
        for suffix, path in (
            ("", ("gain_over_sorted_percent", "mean")),
            ("_low", ("gain_over_sorted_percent", "low")),
            ("_high", ("gain_over_sorted_percent", "high")),
            ("_total", ("gain_of_total_percent",)),
        )
    }


def _caches() -> dict[str, Number]:
    """Speed-ups of the sweeps of caches: axis, place on it, place of the cache set."""
    places = {
        "go_first": ("prompt tokens P", 0, 2),
        "both_short": ("prompt tokens P", 0, 3),
        "both": ("prompt tokens P", 2, 3),
        "both_slow": ("bandwidth [GB/s]", 1, 3),
    }
    return {
        f"caches_{name}": Number("generation_study", ("sweeps", "axes", axis, at, "cases", case, "speedup"), 1, 3)
        for name, (axis, at, case) in places.items()
    } | {
        f"caches_{name}_saving": Number(
            "generation_study", ("sweeps", "axes", "prompt tokens P", at, "cases", 3, "energy_saving"), 1, 3
        )
        for name, at in (("both", 2), ("both_long", 5))
    }


DOCS = Path(__file__).parents[1]
#: Page -> the code it describes, shown where the page is not part of this build.
LINKS = {"schedules": "pimjax/schedule", "caches": "pimjax/cache"}

NUMBERS: dict[str, Number] = {
    **_reference("published"),
    **_multiplexed(),
    **_power(),
    **_grouping(),
    **_caches(),
    "event_prefill_s": Number("event_engine", ("prefill_compiled", "simulate", "wall_s")),
    "event_prefill_plain_s": Number("event_engine", ("prefill_uncompiled", "simulate", "wall_s")),
    "event_operations": Number("event_engine", ("prefill_compiled", "operations"), 1, 6),
    "fluid_per_s": Number("reference_speed", ("fidelity", "fluid", "best_per_s")),
    "closed_per_s": Number("reference_speed", ("fidelity", "closed", "best_per_s")),
    "perplexity_exact": Number("perplexity_study", ("exact_perplexity",), 1, 4),
    "perplexity_tokens": Number("perplexity_study", ("held_out_tokens",), 1, 4),
    "macro_energy_fold": Number("validate_macros", ("survey", "blind", "tops_per_w", "median_fold"), 1, 3),
    "macro_energy_worst": Number("validate_macros", ("survey", "blind", "tops_per_w", "worst_fold")),
    "macro_area_fold": Number("validate_macros", ("survey", "blind", "area_mm2", "median_fold"), 1, 3),
    "macro_first_energy_fold": Number(
        "validate_macros_first_run", ("survey", "blind", "tops_per_w", "median_fold"), 1, 3
    ),
    "macro_first_area_fold": Number("validate_macros_first_run", ("survey", "blind", "area_mm2", "median_fold"), 1, 3),
    "macro_energy_rows": Number("validate_macros", ("survey", "blind", "tops_per_w", "rows")),
    "macro_scaled_energy": Number(
        "validate_macros", ("survey", "one_scale_per_chip", "median_relative_error", "tops_per_w"), 100
    ),
    "zigzag_arrays": Number("validate_zigzag", ("arrays",)),
    "golden_cases": Number("validate_goldens", ("reference_small", "cases")),
    "golden_energy": Number("validate_goldens", ("reference_small", "worst_energy_relative")),
}


def substitutions() -> dict[str, str]:
    """Name -> text for every number (`(not measured)` where the file is missing) and for links to pages of studies."""
    numbers = {name: _text(number) for name, number in NUMBERS.items()}
    return (
        numbers
        | worth.numbers()
        | {"zigzag_worst": _zigzag_worst()}
        | analog.numbers()
        | {f"{page}_page": _link(page, code) for page, code in LINKS.items()}
    )


def _link(page: str, code: str) -> str:
    return f"[]({page}.md)" if (DOCS / f"{page}.md").is_file() else f"`{code}`"


def _text(number: Number) -> str:
    value: Any = at(number.file, *number.path)
    if value is None:
        return "(not measured)"
    return shown(value if isinstance(value, int) else value * number.factor, number.digits)


def _zigzag_worst() -> str:
    worst = at("validate_zigzag", "worst_relative_error")
    return shown(max(worst.values()), 2) if worst else "(not measured)"
