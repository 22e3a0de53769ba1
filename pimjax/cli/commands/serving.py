"""`pimjax serving` (or `serve`): a chip under load: time to first token, time per token, goodput, energy, and the rate it can take."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pimjax.cli.options import ConfigArgument, JsonOption, SetOption, TraceOption, again, parse_overrides
from pimjax.cli.output import emit_json, next_step, stderr, stdout
from pimjax.cli.program_cache import use_compilation_cache
from pimjax.cli.progress import Progress
from pimjax.errors import ServingError, visible

_MOST_CHIPS = 100_000


def register(app: typer.Typer) -> None:
    """Add the command, and the verb that it is often typed as."""
    app.command("serving")(serving)
    app.command("serve", hidden=True)(serving)


def serving(
    config: ConfigArgument = "paper_multiplexed",
    requests: Annotated[
        str | None,
        typer.Option("--requests", metavar="FILE", help="Recorded requests: Azure CSV, vLLM or Mooncake JSON Lines."),
    ] = None,
    arrivals: Annotated[
        Literal["poisson", "gamma", "bursts"], typer.Option(help="Without a file: how requests arrive.")
    ] = "poisson",
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", min=1e-9, help="Requests per second; a file is replayed at it. Default 1, or the file's."
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Requests; default 300, or all of a file.")
    ] = None,
    prompt: Annotated[int, typer.Option("--prompt", min=1, help="Tokens of a prompt.")] = 128,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Tokens of an answer.")] = 32,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the arrivals.")] = 0,
    max_num_seqs: Annotated[int, typer.Option("--max-num-seqs", min=1, help="Requests that run at once.")] = 64,
    max_num_batched_tokens: Annotated[
        int, typer.Option("--max-num-batched-tokens", min=1, help="Tokens of one step.")
    ] = 2048,
    kv_tokens: Annotated[
        int | None, typer.Option("--kv-tokens", min=1, help="Tokens whose keys and values fit; default: no limit.")
    ] = None,
    ranks: Annotated[
        int, typer.Option("--ranks", min=1, help="Chips side by side, each with a copy of the model.")
    ] = 1,
    slo_ttft_ms: Annotated[
        float, typer.Option("--slo-ttft-ms", min=1e-9, help="Longest time to first token.")
    ] = 1000.0,
    slo_tpot_ms: Annotated[
        float, typer.Option("--slo-tpot-ms", min=1e-9, help="Longest time per further token.")
    ] = 100.0,
    capacity: Annotated[
        bool, typer.Option("--capacity", help="Also search the largest rate at which 99 % keep both limits.")
    ] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            "--sweep", metavar="KEY=V,V,...", help="Also other chips: values of a hardware number; repeat for a grid."
        ),
    ] = None,
    tune: Annotated[
        list[str] | None,
        typer.Option(
            "--tune", metavar="KEY=LOW:HIGH", help="Also search hardware numbers for the best --objective; repeat."
        ),
    ] = None,
    objective: Annotated[
        Literal[
            "goodput_per_s",
            "goodput_per_w",
            "goodput_per_mm2",
            "energy_per_request_nj",
            "ttft_p99_ns",
            "tpot_p99_ns",
            "mean_latency_ns",
        ],
        typer.Option(help="Of --tune."),
    ] = "goodput_per_w",
    page: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Also write an HTML page.")] = None,
    trace: TraceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve requests with continuous batching on a chip, as vLLM's scheduler does.

    [dim]Examples:[/dim]  pimjax serving --rate 20   |   pimjax serving gpt_oss_20b --requests azure_2023_conv.csv --count 500
    |   pimjax serving --capacity --report page.html   |   pimjax serving --sweep mvm_latency_ns=60,130,260
    |   pimjax serving --tune mvm_latency_ns=60:260 --objective goodput_per_w
    """
    from pimjax.config import load_config
    from pimjax.serving import (
        ChipSteps,
        Server,
        StepGrid,
        generate_requests,
        load_requests,
        serving_sweep,
        simulate,
        slo_capacity,
        summary,
        timeline,
        tune_serving,
    )

    swept, bounds = _grid(sweep or []), _bounds(tune or [])
    if page is not None:
        from pimjax.report.report import check_page

        check_page(page)
    from pimjax.cli.serving_tables import show_chips, show_run, show_search

    use_compilation_cache()
    loaded = load_config(config, parse_overrides(settings))
    server = Server(
        max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens, kv_tokens=kv_tokens, ranks=ranks
    )
    if requests is not None:
        served = load_requests(requests, drop_empty=True)
        served = served if count is None else served.first(min(count, len(served)))
        if rate is not None and 0 < served.rate_per_s < float("inf"):
            served = served.scaled(rate / served.rate_per_s)
    else:
        lengths: dict[str, Any] = {"prompt_tokens": prompt, "output_tokens": tokens}
        served = generate_requests(arrivals, count=count or 300, rate_per_s=rate or 1.0, seed=seed, **lengths)
    server.check(served)
    routing = None
    if trace is not None:
        from pimjax.trace import open_traces

        routing = open_traces(trace)
    limits = {"ttft_slo_ns": slo_ttft_ms * 1e6, "tpot_slo_ns": slo_tpot_ms * 1e6}
    found: Any = None
    others: Any = None
    best: Any = None
    with Progress(
        "costs of steps", key=f"serve {loaded.name} {served.longest_context} {len(served)} {capacity}"
    ) as progress:
        steps = ChipSteps(loaded, routing, longest_context=max(2, served.longest_context))
        sampled = StepGrid(steps, max_num_seqs=max_num_seqs)
        grid = sampled.table()
        progress.say(f"serving {len(served):,} requests")
        run = simulate(served, server, grid, loads=steps.loads)
        figures = summary(run, **limits, idle_power_w=steps.idle_power_w(), area_mm2=steps.area_mm2() or None)
        if capacity:
            progress.say("searching the largest rate")
            most = max(1e3 * served.rate_per_s, 1.0) if served.rate_per_s < float("inf") else 1e6
            found = slo_capacity(
                served, server, grid, **limits, low_per_s=most * 1e-6, high_per_s=most, rounds=5, points=7
            )
        if swept:
            progress.say("other chips")
            others = serving_sweep(sampled, served, server, swept, **limits)
        if bounds:
            progress.say("searching chips")
            best = tune_serving(sampled, served, server, bounds, **limits, objective=objective)
    facts = {"config": loaded.name, "digest": loaded.digest(), "chip_model": loaded.chip_model}
    if found is not None:
        figures["capacity_per_s"] = float(found.rate_per_s[0])
    if page is not None:
        from pimjax.report.report import make_serving_report

        make_serving_report(loaded, run, figures, page, capacity=found, **limits)
    if as_json:
        document = {**facts, "server": vars(server), "slo": limits, **figures, "timeline": timeline(run, 100)}
        if others is not None:
            document["sweep"] = {**{key: list(values) for key, values in swept.items()}, **others}
        if best is not None:
            document["tune"] = {
                "objective": objective,
                **{k: getattr(best, k) for k in ("hardware", "figures", "base")},
            }
        emit_json(document)
        return
    stdout.heading(loaded.name, loaded.digest())
    show_run(figures, run, server, slo_ttft_ms, slo_tpot_ms)
    if others is not None:
        show_chips(swept, others)
    if best is not None:
        show_search(best, objective)
    if page is not None:
        stdout.print(f"\nwrote {page} ({page.stat().st_size / 1e6:.1f} MB)")
    if steps.one_at_a_time:
        stderr.note(
            f"the {loaded.chip_model} chip decodes one sequence at a time: a batch takes as long as all of them"
        )
    if importlib.util.find_spec("numba") is None and len(served) > 2000:
        stderr.note("numba is not installed: the loop runs uncompiled; pip install 'pimjax\\[fast]'".replace("\\", ""))
    same = again(config, trace=trace, settings=settings)
    next_step(f"pimjax serving {same} --capacity" if found is None else f"pimjax estimate {same} --explain")


def _grid(given: list[str]) -> dict[str, list[float]]:
    """Values of every chip by key: all combinations of `KEY=V,V,...`."""
    values = {}
    for text in given:
        key, _, rest = text.partition("=")
        try:
            values[key.strip()] = [float(part) for part in rest.split(",")]
        except ValueError:
            raise ServingError(f"--sweep {visible(text)}: give a hardware number and its values, such as mvm_latency_ns=60,130") from None  # fmt: skip
    chips = list(itertools.product(*values.values()))
    if len(chips) > _MOST_CHIPS:
        raise ServingError(f"--sweep makes {len(chips):,} chips; at most {_MOST_CHIPS:,} are served in one run")
    return {key: [chip[index] for chip in chips] for index, key in enumerate(values)}


def _bounds(given: list[str]) -> dict[str, tuple[float, float]]:
    found = {}
    for text in given:
        key, _, rest = text.partition("=")
        low, _, high = rest.partition(":")
        try:
            found[key.strip()] = (float(low), float(high))
        except ValueError:
            raise ServingError(f"--tune {visible(text)}: give a hardware number and its bounds, such as mvm_latency_ns=60:260") from None  # fmt: skip
    return found
