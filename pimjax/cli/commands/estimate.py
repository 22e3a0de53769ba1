"""`pimjax estimate`: one chip, one request, with breakdowns and, on demand, where every number comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pimjax.cli.explanation import show_explanation
from pimjax.cli.header import show_head
from pimjax.cli.metrics import metric_name, metric_value
from pimjax.cli.notes import show_notes
from pimjax.cli.options import JsonOption, RequestOption, SetOption, TraceOption, again, parse_overrides
from pimjax.cli.output import emit_json, next_step, shown, stderr, stdout, table, with_unit
from pimjax.cli.program_cache import use_compilation_cache
from pimjax.cli.progress import Progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("estimate")(estimate)


def estimate(
    config: Annotated[str, typer.Argument(metavar="[CONFIG]", help="YAML file or preset.")] = "paper_multiplexed",
    trace: TraceOption = None,
    request: RequestOption = 0,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Use only the first tokens.")] = None,
    fidelity: Annotated[
        Literal["event", "fluid", "closed"], typer.Option(help="event: exact; fluid, closed: fast, error published.")
    ] = "fluid",
    accuracy: Annotated[
        Literal["none", "sqnr", "perplexity"],
        typer.Option(
            help="sqnr: signal-to-noise ratio of a crossbar product; perplexity: also of a small language model."
        ),
    ] = "none",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what bounds the run and every number's source.")
    ] = False,
    uncertainty: Annotated[
        int,
        typer.Option(
            "--uncertainty", min=0, metavar="N", help="Interval of each metric from N draws of the hardware's numbers."
        ),
    ] = 0,
    perfetto: Annotated[
        Path | None,
        typer.Option("--perfetto", metavar="FILE", help="Event runs: timeline for https://ui.perfetto.dev."),
    ] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate area, latency and energy of one run.

    [dim]Examples:[/dim]  pimjax estimate   |   pimjax estimate gpt_oss_20b --trace gptoss20b-decode.npz --request 3
    |   pimjax estimate paper_reference --fidelity event --explain
    """
    from pimjax.chips import CHIPS, without_effect
    from pimjax.config import load_config
    from pimjax.estimation import estimate as run
    from pimjax.estimation.balance import advice
    from pimjax.estimation.explain import explain as explanation
    from pimjax.estimation.free_wires import free_wires
    from pimjax.estimation.leaning import leaning

    use_compilation_cache()
    loaded = load_config(config, parse_overrides(settings))
    routing = None
    if trace is not None:
        from pimjax.trace import open_traces

        requests = open_traces(trace, max_tokens=max_tokens)
        batch = loaded.workload.batch_size
        routing = requests.request(request) if batch == 1 else requests
    kind = f"estimate {loaded.name} {fidelity} {accuracy} {uncertainty}"
    with Progress(f"estimating {loaded.name}, {fidelity}", key=kind) as progress:
        result = run(loaded, routing, fidelity, accuracy=accuracy, timeline=perfetto)
        leans = [one.sentence for one in leaning(loaded, result, routing)]
        report = {**explanation(loaded, result), "leaning": leans} if explain else None
        hints = [hint for hint in (advice(loaded, result), free_wires(loaded, result)) if hint]
        drawn = None
        if uncertainty:
            from pimjax.estimation.uncertainty import uncertainty as intervals

            progress.say(f"{uncertainty} draws of the hardware's numbers")
            drawn = intervals(loaded, routing, "fluid" if fidelity == "event" else fidelity, samples=uncertainty)
    facts: dict[str, Any] = {"config": loaded.name, "digest": loaded.digest(), "chip_model": loaded.chip_model,
                             "fidelity": fidelity, "semantics": loaded.workload.semantics}  # fmt: skip
    if as_json:
        more = {
            "explain": report,
            "leaning": leans,
            "uncertainty": drawn,
            "advice": hints,
            "notes": without_effect(loaded, accuracy=accuracy != "none"),
        }
        emit_json({**facts, **result.to_dict(), **{key: value for key, value in more.items() if value}})
        return
    show_head(loaded, fidelity, routing=routing, trace=trace, request=request)
    stdout.print()
    _show(result.to_dict(), {spec.name: spec.plain for spec in CHIPS[loaded.chip_model].components})
    for sentence in leans:
        stderr.note(sentence)
    for hint in hints:
        stderr.note(hint, "advice:")
    show_notes(loaded, accuracy=accuracy != "none")
    if trace is not None and not CHIPS[loaded.chip_model].takes_routing:
        stderr.note(f"--trace has no effect: the {loaded.chip_model} chip takes no routing")
    if perfetto is not None:
        stderr.print(f"timeline of the first pass: {perfetto} (open it at https://ui.perfetto.dev)")
    if drawn:
        _show_uncertainty(drawn)
    if report:
        show_explanation(report)
    same = again(config, trace=trace, settings=settings)
    next_step(f"pimjax report {same}" if explain else f"pimjax estimate {same} --explain")


def _show(out: dict[str, Any], plain: dict[str, str]) -> None:
    rows = [
        ("latency", with_unit(out["latency_ns"], "ns")),
        ("energy", f"{with_unit(out['energy_nj'], 'nJ')}: {with_unit(out['dynamic_energy_nj'], 'nJ')} dynamic, "
                   f"{with_unit(out['static_energy_nj'], 'nJ')} static ({_share(out['static_energy_nj'], out['energy_nj'])})"),
        ("area", f"{shown(out['area_mm2'])} mm2, {shown(out['crossbars'])} crossbars, {_dies(out)}"),
        ("power", _power(out)),
        ("utilisation", f"what multiplies weights is busy for {out['utilisation'] or 0:.2%} of the time"),
        ("throughput", f"{shown(out['tokens_per_s'])} tokens/s with one request in flight, {shown(out['pipeline_tokens_per_s'])} with one "
                       f"per layer; {shown(out['gops'])} GOPS"),
        ("efficiency", f"{shown(out['gops_per_w'])} GOPS/W, {shown(out['gops_per_w_per_mm2'])} GOPS/W/mm2 of the chip, "
                       f"{shown(out['moe_gops_per_w_per_mm2'])} of the MoE part"),
    ]  # fmt: skip
    if out["moe_latency_ns"]:
        rows.append(("expert phases", f"{with_unit(out['moe_latency_ns'], 'ns')} on {shown(out['moe_area_mm2'])} mm2"))
    if (out["expert_hit_rate"] or 0.0) < 1:
        rows.append(("experts", _residency(out)))
    if "sqnr_db" in out:
        rows.append(("accuracy", _accuracy(out)))
    titles = (
        ("critical_ns", "latency from"),
        ("component_energy_nj", "energy from"),
        ("component_area_mm2", "area from"),
    )
    for key, title in titles:
        parts = sorted(((v, k) for k, v in out[key].items() if v), reverse=True)
        whole = sum(value for value, _ in parts) or 1
        shares = [
            f"{plain.get(name, name)} {value / whole:.1%}" for value, name in parts[:6] if value / whole >= 0.0005
        ]
        rows.append((title, ", ".join(shares)))
    stdout.print(table(None, ("", ""), rows, text=2))
    for sentence in out["status_text"]:
        stderr.note(sentence)


def _power(out: dict[str, Any]) -> str:
    """Mean, and what a die is like at the peak, where the chip says more of it than the mean."""
    mean, peak = out["power_w"] or 0.0, out["peak_power_w"] or 0.0
    if peak <= mean:
        return f"{shown(mean)} W"
    density, junction = shown(out["power_density_w_per_mm2"]), shown(out["junction_c"])
    return f"{shown(mean)} W, at its peak {shown(peak)} W and {density} W/mm2, where a die would be at {junction} C"


def _residency(out: dict[str, Any]) -> str:
    """How often experts were on the chip, and how long its devices last.

    >>> _residency({"expert_hit_rate": 0.9, "lifetime_years": 0.25}), _residency({"expert_hit_rate": 0.9, "lifetime_years": None})
    ('90.0% of the visits find them on the chip; devices last 91.31 days', '90.0% of the visits find them on the chip; nothing wears')
    """
    years = out["lifetime_years"]
    wear = "nothing wears" if years is None else f"devices last {with_unit(years, 'years')}"
    return f"{out['expert_hit_rate'] or 0.0:.1%} of the visits find them on the chip; {wear}"


def _share(part: float | None, whole: float | None) -> str:
    return f"{part / whole:.1%}" if part is not None and whole else "-"


def _dies(out: dict[str, Any]) -> str:
    """Dies and packages of the system; without one, the reticles that the area fills.

    >>> _dies({"dies": 1, "packages": 0}), _dies({"dies": 169, "packages": 43})
    ('1 reticle', '169 dies in 43 packages')
    """

    def several(count: float, what: str) -> str:
        return f"{shown(count)} {what}{'s' if count != 1 else ''}"

    if not out["packages"]:
        return several(out["dies"], "reticle")
    return f"{several(out['dies'], 'die')} in {several(out['packages'], 'package')}"


def _accuracy(out: dict[str, Any]) -> str:
    text = f"signal to noise of a product {out['sqnr_db']:.1f} dB"
    if "digital_sqnr_db" in out:
        text += f", of its digital parts {out['digital_sqnr_db']:.1f} dB"
    if "perplexity" in out:
        text += f", perplexity {out['perplexity']:.3f} (exact {out['exact_perplexity']:.3f}) of the project's language model"
    return text


def _movers(moved_by: list[dict[str, Any]], draws: int) -> str:
    """The first three shares that so few draws can tell from chance: n rho^2 is about chi-square with one degree of
    freedom, and the largest of fifty idle constants stays below 12 in 97 runs of 100.

    >>> _movers([{"name": "a", "share": 0.6}, {"name": "b", "share": 0.1}], 64)
    'a 60%'
    """
    clear = [item for item in moved_by[:3] if item["share"] * draws > 12]
    return ", ".join(f"{item['name']} {item['share']:.0%}" for item in clear) or "too few draws to tell"


def _show_uncertainty(drawn: dict[str, Any]) -> None:
    draws = drawn["samples"] - drawn["failed"]
    metrics = drawn["metrics"].items()
    rows = [
        (metric_name(k), *(metric_value(k, row[which]) for which in ("nominal", "low", "high"))) for k, row in metrics
    ]
    stdout.print()
    stdout.print(table(f"{drawn['level']:.0%} intervals from {draws} draws", ("", "nominal", "low", "high"), rows))
    stdout.print()
    movers = [(metric_name(key), _movers(row["moved_by"], draws)) for key, row in metrics]
    stdout.print(table(None, ("", "moved most by"), movers, text=2))
    unstated = f"{len(drawn['unstated'])} of {len(drawn['drawn'])}"
    stdout.print(f"Published numbers without a spread are drawn within 10 %: {unstated}.", style="dim")
