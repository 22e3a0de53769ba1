"""`pimjax generate`: what generating tokens costs with every cache, per token and per run, next to a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from pimjax.cli.header import head_rows, resolved
from pimjax.cli.metrics import LEANS, ratio
from pimjax.cli.notes import show_notes
from pimjax.cli.options import ConfigArgument, JsonOption, SetOption, TraceOption, again, parse_overrides
from pimjax.cli.output import emit_json, next_step, stderr, stdout, table, with_unit
from pimjax.cli.places import typed
from pimjax.cli.program_cache import use_compilation_cache
from pimjax.cli.progress import Progress
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
        str | None,
        typer.Option("--gpu", help="GPUs to set beside it, by commas: presets, YAML files, or none; default h100."),
    ] = None,
    trace: TraceOption = None,
    fidelity: Annotated[Literal["fluid", "closed"], typer.Option(help="They differ in the prefill only.")] = "closed",
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate tokens with and without caches: time to first token, time and energy per token, a GPU beside it.

    [dim]Examples:[/dim]  pimjax generate --set model.routing=expert_choice --prompt 1024
    |   pimjax generate gpt_oss_20b --prompt 2048 --tokens 256 --batch-sizes 1,8 --gpu h100,b200
    """
    from pimjax.chips import CHIPS
    from pimjax.config import load_config
    from pimjax.estimation.beside import costed_beside
    from pimjax.estimation.generation import estimate_generation

    use_compilation_cache()
    overrides = parse_overrides(settings)
    loaded = load_config(config, overrides)
    if prompt is not None:
        overrides["workload.prompt_tokens"] = prompt
        typed("workload.prompt_tokens", "--prompt")
    if tokens is not None or loaded.workload.generated_tokens < 2:
        overrides["workload.generated_tokens"] = tokens or 128
        typed("workload.generated_tokens", "--tokens")
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
    gpus = [] if gpu == "none" or not CHIPS[loaded.chip_model].takes_routing else (gpu or "h100").split(",")
    if gpu is None:
        gpus, left_out = costed_beside(loaded, gpus)
        for sentence in left_out:
            stderr.note(sentence)
    for option, key in (("--group-sizes", "plan.group_size"), ("--batch-sizes", "workload.batch_size")):
        if (group_sizes if option == "--group-sizes" else batch_sizes) is not None:
            typed(key, option)
    lengths = (
        f"{loaded.workload.num_prompt_tokens} {loaded.workload.generated_tokens} {group_sizes} {batch_sizes} {caches}"
    )
    with Progress("opening the routing", key=f"generate {loaded.name} {fidelity} {lengths}"):
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
    first = cases[0]
    show_notes(loaded)
    if as_json:
        emit_json({**facts, "cases": [case.to_dict() for case in cases]})
        return
    several = {name: {getattr(case, name) for case in cases} for name in ("group_size", "batch_size")}
    largest = loaded.workload.model_copy(update={"batch_size": max(several["batch_size"])})
    ran, lengths_of = resolved(loaded.model_copy(update={"workload": largest}), routing)
    rows = dict(head_rows(ran, fidelity, trace=trace, tokens=lengths_of))
    generated = f"{first.generated_tokens:,} tokens generated after a prompt of {first.prompt_tokens:,}"
    varied = {"group_size": "groups of", "batch_size": "requests together"}
    for name, plain in varied.items():
        if len(several[name]) > 1:
            generated += f"; {plain}: {', '.join(map(str, sorted(several[name])))}"
    rows["run"] = f"{generated}; caches: {', '.join(dict.fromkeys(case.caches for case in cases))}"
    stdout.heading(loaded.name, loaded.digest())
    stdout.print(table(None, ("", ""), rows.items(), text=2))
    stdout.print()
    _show(cases)
    same = again(config, trace=trace, settings=settings)
    next_step(f"pimjax report {same}")


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


def _show(cases: Sequence[Any]) -> None:
    first = cases[0]
    varied = [name for name in ("group_size", "batch_size") if len({getattr(case, name) for case in cases}) > 1]
    labels: dict[int, tuple[str, ...]] = {
        id(case): (str(case.caches), *(f"{getattr(case, name):,}" for name in varied)) for case in cases
    }
    names = ("caches", *(name.removesuffix("_size") for name in varied))
    base: dict[tuple[int, int], Any] = {}
    runs, tokens = [], []
    for case in cases:
        plain = base.setdefault((case.group_size, case.batch_size), case)
        runs.append(
            (
                *labels[id(case)],
                with_unit(case.first_token_ns, "ns"),
                with_unit(case.latency_ns, "ns"),
                with_unit(case.energy_nj, "nJ"),
                ratio(case.latency_ns, plain.latency_ns),
                ratio(case.energy_nj, plain.energy_nj),
            )
        )
        tokens.append(
            (
                *labels[id(case)],
                with_unit(float(case.token_ns[0]), "ns"),
                with_unit(float(case.token_ns[-1]), "ns"),
                sparkline(case.token_ns.tolist()),
                case.tokens_per_s,
                with_unit(case.energy_per_token_nj, "nJ"),
            )
        )
    heads = (*names, "first token", "run", "energy", f"time / {first.caches}", f"energy / {first.caches}")
    stdout.print(table("The whole run", heads, runs, text=len(names)))
    stdout.print()
    heads = (*names, "first step", "last step", "in between", "tokens/s", "energy/token")
    stdout.print(table("The decode phase", heads, tokens, text=len(names)))
    for index in range(len(first.gpus)):
        stdout.print()
        _show_gpu(cases, index, names, labels)
    for sentence in first.to_dict()["status_text"]:
        stderr.note(sentence)


def _show_gpu(cases: Sequence[Any], index: int, names: Sequence[str], labels: dict[int, tuple[str, ...]]) -> None:
    rows = []
    for case in cases:
        gpu = case.gpus[index]
        speed = case.tokens_per_s / gpu.tokens_per_s
        rows.append(
            (
                *labels[id(case)],
                with_unit(gpu.first_token_ns, "ns"),
                gpu.tokens_per_s,
                with_unit(gpu.energy_per_token_nj, "nJ"),
                ratio(case.tokens_per_s, gpu.tokens_per_s),
                ratio(speed * gpu.area_mm2, case.area_mm2),
                ratio(gpu.energy_per_token_nj, case.energy_per_token_nj),
            )
        )
    heads = (*names, "first token", "tokens/s", "energy/token", "equal model", "area", "power")
    gpu = cases[0].gpus[index]
    fits = "" if all(case.gpus[index].fits for case in cases) else "; not every case fits its memory"
    stdout.print(
        table(
            f"The same run on {gpu.name} ({gpu.area_mm2:,.0f} mm2 of logic dies; memory dies not counted)",
            heads,
            rows,
            text=len(names),
        )
    )
    stdout.print(f"last three: tokens/s of the chip over those of the GPU{fits}. {LEANS}", style="dim")
