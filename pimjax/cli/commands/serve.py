"""`pimjax serve`: a chip under load: time to first token, time per token, goodput, energy, and the rate it can take."""

from __future__ import annotations

import importlib.util
from typing import Annotated, Any, Literal

import typer

from pimjax.cli.options import ConfigArgument, JsonOption, SetOption, TraceOption, again, parse_overrides
from pimjax.cli.output import emit_json, next_step, shown, stderr, stdout, table, with_unit
from pimjax.cli.program_cache import use_compilation_cache
from pimjax.cli.progress import Progress

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 48


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
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
    trace: TraceOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve requests with continuous batching on a chip, as vLLM's scheduler does.

    [dim]Examples:[/dim]  pimjax serve --rate 20   |   pimjax serve gpt_oss_20b --requests azure_2023_conv.csv --count 500
    |   pimjax serve --capacity --slo-tpot-ms 20
    """
    from pimjax.config import load_config
    from pimjax.serving import (
        ChipSteps,
        Server,
        StepGrid,
        generate_requests,
        load_requests,
        simulate,
        slo_capacity,
        summary,
        timeline,
    )

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
    found = None
    with Progress(
        "costs of steps", key=f"serve {loaded.name} {served.longest_context} {len(served)} {capacity}"
    ) as progress:
        steps = ChipSteps(loaded, routing, longest_context=max(2, served.longest_context))
        grid = StepGrid(steps, max_num_seqs=max_num_seqs).table()
        progress.say(f"serving {len(served):,} requests")
        run = simulate(served, server, grid, loads=steps.loads)
        figures = summary(run, **limits)
        if capacity:
            progress.say("searching the largest rate")
            most = max(1e3 * served.rate_per_s, 1.0) if served.rate_per_s < float("inf") else 1e6
            found = slo_capacity(
                served, server, grid, **limits, low_per_s=most * 1e-6, high_per_s=most, rounds=5, points=7
            )
    facts = {"config": loaded.name, "digest": loaded.digest(), "chip_model": loaded.chip_model}
    if found is not None:
        figures["capacity_per_s"] = float(found.rate_per_s[0])
    if as_json:
        emit_json({**facts, "server": vars(server), "slo": limits, **figures, "timeline": timeline(run, 100)})
        return
    stdout.heading(loaded.name, loaded.digest())
    _show(figures, run, server, slo_ttft_ms, slo_tpot_ms)
    if steps.one_at_a_time:
        stderr.note(
            f"the {loaded.chip_model} chip decodes one sequence at a time: a batch takes as long as all of them"
        )
    if importlib.util.find_spec("numba") is None and len(served) > 2000:
        stderr.note("numba is not installed: the loop runs uncompiled; pip install 'pimjax\\[fast]'".replace("\\", ""))
    same = again(config, trace=trace, settings=settings)
    next_step(f"pimjax serve {same} --capacity" if found is None else f"pimjax estimate {same} --explain")


def _show(figures: dict[str, Any], run: Any, server: Any, ttft_ms: float, tpot_ms: float) -> None:
    from pimjax.serving import timeline

    offered = figures["offered_per_s"]
    memory = "no limit" if server.kv_tokens is None else f"{server.kv_tokens:,} tokens"
    rows = [
        ("requests", f"{figures['requests']:,}, {'all at once' if offered is None else f'{shown(offered)} per second'}"),
        ("server", f"{server.max_num_seqs} at once, {server.max_num_batched_tokens:,} tokens a step, memory for keys and values: "
                   f"{memory}{f', {server.ranks} ranks' if server.ranks > 1 else ''}"),
        ("ran", f"{figures['steps']:,} steps in {with_unit(figures['span_s'] * 1e9, 'ns')}, busy {figures['busy']:.0%}, "
                f"{shown(figures['mean_running'])} running and {shown(figures['mean_waiting'])} waiting on average"),
    ]  # fmt: skip
    stdout.print(table(None, ("", ""), rows, text=2))
    stdout.print()
    names = {
        "ttft": "first token",
        "tpot": "per further token",
        "latency": "whole answer",
        "queueing": "before first step",
    }
    columns = ("mean", "p50", "p90", "p95", "p99")
    times = [
        (
            plain,
            *("-" if figures[f"{key}_ns"][c] is None else with_unit(figures[f"{key}_ns"][c], "ns") for c in columns),
        )
        for key, plain in names.items()
    ]
    stdout.print(table("time", ("", *columns), times))
    stdout.print()
    goodput = f"{shown(figures['goodput_per_s'])} requests/s within {ttft_ms:g} ms to the first and {tpot_ms:g} ms per further token ({figures['met_slo']:.1%})"
    rows = [
        ("throughput", f"{shown(figures['output_tokens_per_s'])} tokens/s, {shown(figures['requests_per_s'])} requests/s"),
        ("goodput", goodput),
        ("energy", f"{with_unit(figures['energy_per_request_nj'], 'nJ')} a request, "
                   f"{with_unit(figures['energy_per_output_token_nj'], 'nJ')} a token of an answer, steps alone"),
    ]  # fmt: skip
    if figures["preemptions"]:
        rows.append(("preemptions", f"{figures['preemptions']:,}"))
    if "capacity_per_s" in figures:
        rows.append(("capacity", f"{shown(figures['capacity_per_s'])} requests/s with 99 % within both limits"))
    line = timeline(run, _WIDTH)
    rows += [
        (name, _bars(line[key])) for name, key in (("batch", "running"), ("queue", "waiting"), ("memory", "kv_tokens"))
    ]
    stdout.print(table(None, ("", ""), rows, text=2))


def _bars(values: Any) -> str:
    top = float(values.max())
    if top <= 0:
        return "empty all the time"
    marks = "".join(_BLOCKS[min(7, int(8 * value / top))] if value > 0 else " " for value in values)
    return f"{marks.rstrip()}  max {shown(top)}"
