"""`pimjax generate`: what generating tokens costs with every cache, per token and per run, next to a GPU's roofline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from pimjax.cli.notes import show_notes
from pimjax.cli.options import ConfigArgument, JsonOption, SetOption, TraceOption, parse_overrides
from pimjax.cli.output import emit_json, stderr, stdout, table, with_unit
from pimjax.errors import ConfigError, shown

_BLOCKS = "▁▂▃▄▅▆▇█"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("generate")(generate)


def generate(
    config: ConfigArgument = "paper_multiplexed",
    prompt: Annotated[int | None, typer.Option("--prompt", min=1, help="Tokens of the prompt.")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", min=2, help="Tokens to generate; default 128.")] = None,
    caches: Annotated[
        str | None,
        typer.Option("--caches", help="Of none, kv, go, kv+go, by commas; default: all that the routing has."),
    ] = None,
    group_sizes: Annotated[
        str | None, typer.Option("--group-sizes", help="Experts that share peripherals, by commas, e.g. 1,2,4.")
    ] = None,
    batch_sizes: Annotated[
        str | None, typer.Option("--batch-sizes", help="Requests that decode together, by commas, e.g. 1,8.")
    ] = None,
    gpu: Annotated[
        str, typer.Option("--gpu", help="GPUs to set beside it, by commas: presets, YAML files, or none.")
    ] = "h100_sxm",
    trace: TraceOption = None,
    fidelity: Annotated[Literal["fluid", "closed"], typer.Option(help="They differ in the prefill only.")] = "closed",
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate tokens with and without caches: time to first token, time and energy per token, a GPU beside it.

    [dim]Examples:[/dim]  pimjax generate --set model.routing=expert_choice --prompt 1024
    |   pimjax generate gpt_oss_20b --prompt 2048 --tokens 256 --batch-sizes 1,8 --gpu h100_sxm,a100_sxm
    """
    from pimjax.chips import CHIPS
    from pimjax.config import load_config
    from pimjax.estimation.generation import estimate_generation

    overrides = parse_overrides(settings)
    loaded = load_config(config, overrides)
    if prompt is not None:
        overrides["workload.prompt_tokens"] = prompt
    if tokens is not None or loaded.workload.generated_tokens < 2:
        overrides["workload.generated_tokens"] = tokens or 128
    loaded = load_config(config, overrides)
    if loaded.workload.prompt_tokens is None and trace is None:
        overrides["workload.prompt_tokens"] = loaded.workload.trace.tokens
        loaded = load_config(config, overrides)
    routing = None
    if trace is not None:
        from pimjax.trace import open_traces

        requests = open_traces(trace)
        several = max(_whole("--batch-sizes", batch_sizes) or [loaded.workload.batch_size]) > 1
        routing = requests if several else requests.request(0)
    gpus = [] if gpu == "none" or not CHIPS[loaded.chip_model].takes_routing else gpu.split(",")
    cases = estimate_generation(
        loaded,
        routing,
        fidelity,
        caches=None if caches is None else [name.strip() for name in caches.split(",")],
        group_sizes=_whole("--group-sizes", group_sizes),
        batch_sizes=_whole("--batch-sizes", batch_sizes),
        gpus=gpus,
    )
    facts = {
        "config": loaded.name,
        "digest": loaded.digest(),
        "chip_model": loaded.chip_model,
        "fidelity": fidelity,
        "semantics": loaded.workload.semantics,
        "routing": loaded.model.routing,
    }
    show_notes(loaded)
    if as_json:
        emit_json({**facts, "cases": [case.to_dict() for case in cases]})
        return
    _show(facts, cases)


def _whole(option: str, text: str | None) -> list[int] | None:
    """`"1,2,4"` -> `[1, 2, 4]`."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"{option} {shown(text)} is not a list of whole numbers; write for example {option} 1,2,4"
        ) from None


def sparkline(values: Sequence[float]) -> str:
    """A curve in one line of text, lowest to highest value.

    >>> sparkline([1.0, 2.0, 3.0])
    '▁▅█'
    """
    low, high = min(values), max(values)
    if high - low <= 1e-9 * abs(high):
        return _BLOCKS[0] * len(values)
    return "".join(_BLOCKS[round((value - low) / (high - low) * 7 + 1e-9)] for value in values)


def _show(facts: dict[str, Any], cases: Sequence[Any]) -> None:
    first = cases[0]
    stdout.print(
        f"[bold]{facts['config']}[/bold]  [dim]{facts['chip_model']} chip, {facts['routing'].replace('_', ' ')}, "
        f"{facts['fidelity']}, {facts['digest']}[/dim]\n"
        f"prompt {first.prompt_tokens:,} tokens, {first.generated_tokens:,} generated\n"
    )
    several_groups = len({case.group_size for case in cases}) > 1
    several_batches = len({case.batch_size for case in cases}) > 1
    names = ["caches", *(["group"] if several_groups else []), *(["batch"] if several_batches else [])]
    columns = [
        *names,
        "per token",
        "",
        "first token",
        "tokens/s",
        "energy/token",
        "run",
        "energy",
        "speed-up",
        "saving",
    ]
    base: dict[tuple[int, int], Any] = {}
    rows = []
    for case in cases:
        plain = base.setdefault((case.group_size, case.batch_size), case)
        labels = [case.caches]
        labels += [str(case.group_size)] if several_groups else []
        labels += [str(case.batch_size)] if several_batches else []
        rows.append(
            (
                *labels,
                f"{with_unit(float(case.token_ns[0]), 'ns')} to {with_unit(float(case.token_ns[-1]), 'ns')}",
                sparkline(case.token_ns.tolist()),
                with_unit(case.first_token_ns, "ns"),
                case.tokens_per_s,
                with_unit(case.energy_per_token_nj, "nJ"),
                with_unit(case.latency_ns, "ns"),
                with_unit(case.energy_nj, "nJ"),
                f"{plain.latency_ns / case.latency_ns:.2f}x",
                f"{plain.energy_nj / case.energy_nj:.2f}x",
            )
        )
    stdout.print(table("This chip", columns, rows, text=len(names) + 2), soft_wrap=True)
    stdout.print(
        f"[dim]speed-up and saving: whole run against {first.caches!r}; tokens/s and energy/token: decode phase[/dim]"
    )
    _show_gpus(cases, names)
    for sentence in first.to_dict()["status_text"]:
        stderr.print(f"[yellow]note[/yellow] {sentence}", soft_wrap=True)


def _show_gpus(cases: Sequence[Any], names: Sequence[str]) -> None:
    if not cases[0].gpus:
        return
    rows = []
    for case in cases:
        labels = {"caches": case.caches, "group": str(case.group_size), "batch": str(case.batch_size)}
        for gpu in case.gpus:
            rows.append(
                (
                    *(labels[name] for name in names),
                    gpu.name + ("" if gpu.fits else " (does not fit)"),
                    with_unit(gpu.first_token_ns, "ns"),
                    gpu.tokens_per_s,
                    with_unit(gpu.energy_per_token_nj, "nJ"),
                    f"{case.tokens_per_s / gpu.tokens_per_s:.3g}x",
                    f"{gpu.energy_per_token_nj / case.energy_per_token_nj:.3g}x",
                )
            )
    columns = (*names, "GPU", "first token", "tokens/s", "energy/token", "chip's speed", "chip's saving")
    stdout.print()
    stdout.print(table("The same run on a GPU's roofline", columns, rows, text=len(names) + 1), soft_wrap=True)
    stdout.print(
        "[dim]roofline: max(FLOPs / peak, bytes / bandwidth) at full power, nothing lost: a real GPU is slower[/dim]"
    )
