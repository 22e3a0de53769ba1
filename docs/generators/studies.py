"""Tables and figures of studies: perplexity, tuning, learned grouping, validation."""

from __future__ import annotations

from typing import Any

from generators.results import RESULTS, at, load, machine, shown, table

#: Figures of benchmarks/results that pages show; copied to generated/images.
FIGURES = ("perplexity_study.png", "tune_proof.png")


def figure(name: str, caption: str) -> str:
    """Markdown of a figure; nothing where it has not been drawn."""
    return f"![{caption}](generated/images/{name})\n" if (RESULTS / name).is_file() else ""


def perplexity() -> str:
    """Perplexity against ADC bits, cell bits, rows, noise, drift, sharing."""
    document = load("perplexity_study")
    if document is None:
        return machine("perplexity_study")
    rows = [(row["sweep"].replace("_", " "), row["value"], row["perplexity"], _range(row)) for row in document["rows"]]
    front = [
        (row["sweep"].replace("_", " "), row["value"], row["perplexity"], row["tile_energy_nj"], row["tile_area_mm2"])
        for row in document["pareto_perplexity_energy_area"]
    ]
    return "\n".join(
        [
            figure("perplexity_study.png", "Perplexity of a small language model on crossbars"),
            "Not beaten in perplexity, energy per product and tile area at once:",
            "",
            table(("sweep", "value", "perplexity", "tile energy, nJ", "tile area, mm2"), front),
            "All points:",
            "",
            table(("sweep", "value", "perplexity", "range over drawn chips"), rows),
            machine("perplexity_study"),
        ]
    )


def joint_view() -> str:
    """Perplexity beside energy, area and latency of the same configuration."""
    document = load("joint_view")
    if document is None:
        return machine("joint_view")
    keys = ("adc_bits", "columns_per_adc", "sqnr_db", "perplexity", "energy_nj", "area_mm2", "latency_ns")
    head = (
        "ADC bits", "columns per ADC", "signal to noise, dB", "perplexity", "energy, nJ", "area, mm2", "latency, ns",
    )  # fmt: skip
    text = f"Base: {document['config']}, `{document['fidelity']}`; exact perplexity {shown(document['exact_perplexity'])}. "
    return table(head, ([row[key] for key in keys] for row in document["rows"])) + "\n" + text + machine("joint_view")


def _range(row: dict[str, Any]) -> str:
    low, high = row.get("least"), row.get("most")
    return f"{shown(low)} to {shown(high)}" if low is not None and high is not None else ""


def tune_proof() -> str:
    """Evaluations to within 1 % of the optimum, four methods."""
    document = load("tune_proof")
    if document is None:
        return machine("tune_proof")
    rows = []
    for name, problem in document["problems"].items():
        found = [_evaluations(problem["methods"].get(method)) for method in ("gradient", "random", "cma", "tpe")]
        ratio = problem.get("times_fewer_than_best_baseline")
        rows.append(
            (
                f"`{name}`",
                problem["parameters"],
                problem["legal_points"] or "continuous",
                *found,
                ratio,
                "yes" if problem["success"] else "no",
            )
        )
    head = (
        "problem", "parameters", "legal points", "gradient", "random", "CMA-ES", "TPE",
        "times fewer than the best baseline", "goal of 3 met",
    )  # fmt: skip
    return "\n".join(
        [
            figure("tune_proof.png", "Best objective against evaluations, four methods"),
            f"Evaluations to within 1 % of the optimum, median of {document['seeds']} seeds; a gradient counts as "
            f"{document['gradient_counts_as']} evaluations, and so does that of every limit at the same point; a dash: never "
            f"within the budget of {_budgets(document['problems'], 'gradient')} evaluations (TPE, which is slow itself: "
            f"{_budgets(document['problems'], 'tpe')}). Results marked (earlier) were measured before the method and the "
            "models last changed.",
            "",
            table(head, rows),
            _exhaustion(document["problems"]),
            machine("tune_proof"),
        ]
    )


def tune_choices() -> str:
    """Random problems with choices: distance from the optimum, and evaluations."""
    document = load("tune_choices")
    if document is None:
        return machine("tune_choices")
    rows = [
        (
            "known" if one["seed"] < 0 else one["seed"],
            one["points"],
            one["keep_limits"],
            f"{max(one['gap'], 0.0):.2%}",
            one["evaluations"],
            f"{one['share']:.1%}",
            "yes" if one["legal"] else "no",
        )
        for one in document["problems"]
    ]
    head = (
        "seed",
        "legal points",
        "keep the limits",
        "above the optimum",
        "evaluations",
        "of the points",
        "keeps the limits",
    )
    return "\n".join([table(head, rows), machine("tune_choices")])


def _budgets(problems: dict[str, Any], method: str) -> str:
    found = {part["methods"][method]["budget"] for part in problems.values() if method in part["methods"]}
    return " to ".join(f"{budget:,}" for budget in sorted({min(found), max(found)})) if found else "none"


def _evaluations(method: dict[str, Any] | None) -> Any:
    """Median of a method's seeds; marked where it is a result from before runs were stored."""
    if method is None:
        return None
    found = method["median_evaluations_to_1_percent"]
    return found if "seeds" in method else f"{shown(found) if found else '-'} (earlier)"


def _exhaustion(problems: dict[str, Any]) -> str:
    rows = [
        (
            f"`{name}`",
            problem["exhaustive"]["points"],
            problem["exhaustive"]["optimum"],
            problem["exhaustive"]["event_objective_over_closed_percent"]["worst"],
            problem["exhaustive"]["rank_by_event_of_closed_optimum"],
            problem["exhaustive"]["event_regret_of_closed_optimum_percent"],
        )
        for name, problem in problems.items()
        if "exhaustive" in problem
    ]
    head = (
        "problem", "points evaluated", "optimum", "event against closed, worst %", "rank of the closed optimum by event",
        "its regret by event, %",
    )  # fmt: skip
    return "Where every legal point was evaluated, the best were run by the event engine too:\n\n" + table(head, rows)


def learned_grouping() -> str:
    """Held-out makespan of the learned and the combinatorial grouping."""
    document = load("learned_grouping")
    if document is None:
        return machine("learned_grouping")
    rows = []
    for traces, part in document.items():
        if not isinstance(part, dict) or "layers" not in part:
            continue
        for size, result in part.items():
            if isinstance(result, dict):
                cells = [_interval(result[key]) for key in ("balanced", "learned", "learned_over_balanced")]
                rows.append((traces.replace("_", " "), size, *cells, result["beats_combinatorial"]))
    head = (
        "traces", "group size", "balanced against sorted", "learned against sorted", "learned against balanced",
        "learned wins",
    )  # fmt: skip
    return table(head, rows) + "\nGain in held-out makespan, %, mean and 95 % interval. " + machine("learned_grouping")


def _interval(values: dict[str, float]) -> str:
    return f"{values['mean']:.1f} ({values['low']:.1f} to {values['high']:.1f})"


def tune_case_study() -> str:
    """Tuned against published chips; empty where the study has not been run."""
    document = load("tune_case_study")
    if document is None:
        return machine("tune_case_study")
    rows = []
    for name, part in document.items():
        if not isinstance(part, dict) or "event_ratio" not in part:
            continue
        ratio = part["event_ratio"]
        moved = ", ".join(
            f"{key.split('.')[-1]} {shown(a, 3)} to {shown(b, 3)}" for key, (a, b) in part["moved"].items()
        )
        cells = [ratio.get(key) for key in ("latency_ns", "energy_nj", "area_mm2")]
        rows.append((name.replace("_", " "), part["improvement"], *cells, part["feasible"], moved))
    head = (
        "chip and target", "objective, times better", "latency", "energy", "area", "limits hold", "what moved",
    )  # fmt: skip
    return (
        table(head, rows)
        + "\nLatency, energy and area of the tuned chip over the published one's, both by the event engine. "
        + machine("tune_case_study")
        + _undone(document)
    )


def _undone(document: dict[str, Any]) -> str:
    """What each move is worth: the change when it alone is taken back."""
    rows = [
        (
            name.replace("_", " "),
            f"`{key}`",
            *(change.get(m) for m in ("objective", "latency_ns", "energy_nj", "area_mm2")),
        )
        for name, part in document.items()
        if isinstance(part, dict)
        for key, change in part.get("undone", {}).items()
    ]
    if not rows:
        return ""
    head = ("chip and target", "move taken back", "objective, %", "latency, %", "energy, %", "area, %")
    return "\nChange when one move alone is taken back:\n\n" + table(head, rows)


def goldens() -> str:
    """How far the code is from the golden numbers."""
    document = load("validate_goldens")
    if document is None:
        return machine("validate_goldens")
    small, chip, codes = document["reference_small"], document["multiplexed_check"], document["crosssim"]
    rows: list[tuple[Any, ...]] = [
        (
            "authors' simulator, small seeded models",
            small["cases"],
            f"{len(small['unequal'])} of {small['cases'] * len(small['outputs_compared_bit_for_bit'])} outputs differ "
            "bit for bit",
            f"energy {shown(small['worst_energy_relative'], 2)} relative",
        ),
    ]
    published = document["reference_published"]
    for fidelity, worst in published["worst_relative"].items():
        rows.append(
            (
                f"authors' published runs, `{fidelity}`",
                published["compared"],
                f"latency {shown(100 * worst['latency'], 2)} %",
                f"energy {shown(100 * worst['energy'], 2)} %",
            )
        )
    rows.append(
        (
            "multiplexed chip, check values of an independent event program",
            chip["values"],
            f"{shown(chip['worst_difference_ns'], 2)} ns",
            f"the values are rounded to {chip['golden_rounded_to_ns']} ns",
        )
    )
    for name, label in (("A", "analog, 8-bit ADC"), ("B", "four slices, serial inputs, 6-bit ADC")):
        found = codes[name]
        rows.append(
            (
                f"CrossSim 3.2, {label}",
                found["results"],
                f"{found['codes_that_differ']} results differ by a code",
                f"largest difference {shown(found['worst'], 2)}",
            )
        )
    rows.append(
        ("CrossSim 3.2, wire resistance", codes["wires"]["results"], f"{shown(codes['wires']['worst'], 2)}", "float64")
    )
    return table(("compared with", "number", "largest deviation", "remark"), rows) + "\n" + machine("validate_goldens")


def macros() -> str:
    """Summary of the macro validation; the rows are on their own page."""
    if load("validate_macros") is None:
        return machine("validate_macros")
    rows = []
    for key, label in (("survey", "survey regression"), ("zigzag", "ZigZag-IMC closed form")):
        blind, scaled, covered = (
            at("validate_macros", key, part) for part in ("blind", "one_scale_per_chip", "coverage")
        )
        for measure, name in (("tops_per_w", "TOPS/W"), ("area_mm2", "area")):
            rows.append(
                (
                    label,
                    name,
                    blind[measure]["rows"],
                    blind[measure]["median_fold"],
                    blind[measure]["worst_fold"],
                    100 * scaled["median_relative_error"][measure],
                    covered[measure],
                )
            )
    targets = at("validate_macros", "targets")
    head = (
        "ADC model", "figure", "blind rows", "median ratio", "worst ratio", "one scale per chip: median error, %",
        "inside the 5-95 % interval",
    )  # fmt: skip
    return (
        table(head, rows)
        + f"\nTargets: {targets['energy_blind_fold']:g}x blind for energy, {targets['area_blind_fold']:g}x for area, "
        + f"{100 * targets['scaled_relative_error']:g} % with one scale per chip. "
        + machine("validate_macros")
    )
