"""`pimjax trace`: generate, inspect, convert and fit routing traces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pimjax.cli.options import JsonOption, again
from pimjax.cli.output import emit_json, next_step, stdout, table
from pimjax.cli.progress import Progress
from pimjax.errors import TraceError

if TYPE_CHECKING:
    from pimjax.trace import RoutingTrace, TraceStatistics

trace_app = typer.Typer(name="trace", help="Generate, inspect, convert and fit routing traces.", no_args_is_help=True)

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="TRACE",
        help="A trace or routing log, .npz, .jsonl, .npy, .json or .pt (also one of the folder PIMJAX_TRACES), or a shipped "
        "trace: token_choice, expert_choice.",
    ),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="File to write: .npz, or .jsonl where it is a trace.")
]
RequestsOption = Annotated[
    list[str] | None, typer.Option("--request", "-r", help="Request to use, by index or name; may be repeated.")
]
TokensOption = Annotated[int | None, typer.Option("--max-tokens", help="Use the first tokens of each request only.")]
ExpertsOption = Annotated[
    int | None, typer.Option("--num-experts", help="Number of experts, for a .jsonl file without header.")
]


@trace_app.command()
def generate(
    kind: Annotated[
        str, typer.Argument(help="uniform, zipf, dirichlet, sticky, expert_choice, paper, or a file written by fit.")
    ],
    output: OutputOption,
    requests: Annotated[int, typer.Option(help="Number of requests.")] = 1,
    layers: Annotated[int, typer.Option(help="MoE layers (a fitted file has its own number).")] = 1,
    tokens: Annotated[int, typer.Option(help="Tokens of each request.")] = 128,
    experts: Annotated[int, typer.Option(help="Experts of a layer (a fitted file has its own number).")] = 16,
    top_k: Annotated[int, typer.Option("--top-k", help="Experts per token (a fitted file has its own).")] = 4,
    seed: Annotated[int, typer.Option(help="The same seed gives the same traces.")] = 0,
    exponent: Annotated[float | None, typer.Option(help="zipf: popularity is rank to the power -EXPONENT.")] = None,
    concentration: Annotated[float | None, typer.Option(help="dirichlet: small values make few experts hot.")] = None,
    persistence: Annotated[float | None, typer.Option(help="Correlation of consecutive tokens, -1 to 1.")] = None,
    request_spread: Annotated[
        float | None, typer.Option(help="Standard deviation of a request's own preferences.")
    ] = None,
    prompt_tokens: Annotated[
        int | None, typer.Option(help="expert_choice: tokens that experts choose together; default all.")
    ] = None,
    capacity_rule: Annotated[str | None, typer.Option(help="expert_choice: growing, frozen or fixed capacity.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a synthetic trace."""
    from pimjax.trace import generate_traces
    from pimjax.trace.sources import check_trace_format

    check_trace_format(output)
    options = {
        "exponent": exponent,
        "concentration": concentration,
        "persistence": persistence,
        "request_spread": request_spread,
        "prompt_tokens": prompt_tokens,
        "capacity_rule": capacity_rule,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if kind.endswith(".npz"):
        if given:
            raise TraceError(f"{kind} holds fitted parameters: --{next(iter(given)).replace('_', '-')} does not apply")
        trace = _generate_fitted(kind, requests, tokens, seed)
    else:
        trace = generate_traces(
            kind, requests=requests, layers=layers, tokens=tokens, experts=experts, top_k=top_k, seed=seed, **given
        )
    _write(trace, output)
    _show(trace, as_json, {"output": str(output), "kind": kind, "seed": seed}, f"estimate --trace {again(str(output))}")


@trace_app.command()
def inspect(
    source: SourceArgument = "token_choice",
    requests: RequestsOption = None,
    max_tokens: TokensOption = None,
    num_experts: ExpertsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a trace holds: sizes, imbalance, stickiness, co-activation."""
    trace = _read(source, requests, max_tokens, num_experts)
    notes = {key: value for key, value in trace.metadata.items() if getattr(value, "size", 1) <= 64}
    _show(trace, as_json, {"source": source, "metadata": notes}, f"estimate --trace {again(source)}")


@trace_app.command()
def convert(
    source: SourceArgument,
    output: Annotated[Path, typer.Argument(help="File to write; its ending chooses the format: .npz or .jsonl.")],
    requests: RequestsOption = None,
    max_tokens: TokensOption = None,
    num_experts: ExpertsOption = None,
    log_format: Annotated[
        str, typer.Option("--format", help="Who wrote it: auto, pimjax, jsonl, vllm, sglang or transformers.")
    ] = "auto",
    model: Annotated[
        str | None,
        typer.Option("--model", help="The trace's model (preset or file): which layers have experts, how many, k."),
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Experts per token, where no model is given.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="What the router makes of logits: softmax, softmax_of_chosen, sigmoid, sigmoid_of_chosen, sqrt_softplus."
        ),
    ] = None,
    physical_to_logical: Annotated[
        str | None, typer.Option(help="SGLang: file of the map of replicated experts, if it is not in the log.")
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="May differ from the model: repeat_layers, any_top_k; may be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read routing logs (vLLM, SGLang, transformers, JSON Lines), check them against a model, cut requests out."""
    from pimjax.trace.sources import check_trace_format

    check_trace_format(output)
    options = {"top_k": top_k, "kind": kind, "physical_to_logical": physical_to_logical}
    trace = _read(
        source, requests, max_tokens, num_experts, format=log_format, model=model, allow=allow or (), **options
    )
    _write(trace, output)
    about = {"source": source, "format": str(trace.metadata.get("log_format", log_format)), "output": str(output)}
    if model is not None:
        about["model"] = model
    left_out = int(sum(trace.metadata.get("tokens_left_out", ())))
    if left_out:
        about["tokens without routing, left out"] = str(left_out)
    _show(trace, as_json, about, f"estimate {f'{again(model)} ' if model else ''}--trace {again(str(output))}")


@trace_app.command()
def fit(
    source: SourceArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the parameters to this .npz file.")
    ] = None,
    requests: RequestsOption = None,
    max_tokens: TokensOption = None,
    num_experts: ExpertsOption = None,
    iterations: Annotated[int, typer.Option(min=1, help="Rounds of simulated matching.")] = 30,
    seed: Annotated[int, typer.Option(help="Of the simulations.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Fit the generator to a token-choice trace and show measured beside regenerated statistics."""
    from pimjax.trace import fit_generator, save_generator

    if output is not None and output.suffix != ".npz":
        raise TraceError(f"{output}: fitted parameters are written to a file that ends in .npz")
    trace = _read(source, requests, max_tokens, num_experts)

    def progress(number: int, deviation: float) -> None:
        shown.say(f"round {number} of {iterations}: largest deviation of an expert's share {deviation:.4f}")

    with Progress("fitting", key=f"trace fit {source} {iterations}", keep=True) as shown:
        fitted = fit_generator(trace, seed=seed, iterations=iterations, progress=progress)
    if output is not None:
        save_generator(output, fitted.parameters)
    comparison = fitted.comparison()
    if as_json:
        emit_json(
            {
                "source": source,
                "output": None if output is None else str(output),
                "top_k": fitted.parameters.top_k,
                "parameters": {
                    name: getattr(fitted.parameters, name)
                    for name in ("popularity", "request_spread", "persistence", "mixing")
                },
                "load_correlation": fitted.load_correlation,
                "fit": comparison,
            }
        )
        return
    rows = [(name, row["measured"], row["regenerated"]) for name, row in comparison.items()]
    stdout.print(table("means over layers", ("statistic", "measured", "regenerated"), rows))
    stdout.print(f"loads of experts, correlation: lowest layer {fitted.load_correlation.min():.3f}")
    if output is not None:
        next_step(f"pimjax trace generate {again(str(output))} --output trace.npz")
    else:
        next_step(f"pimjax trace fit {again(source)} --output parameters.npz")


def _generate_fitted(path: str, requests: int, tokens: int, seed: int) -> RoutingTrace:
    import jax

    from pimjax.trace import generate_from_parameters, load_generator
    from pimjax.trace.arguments import check_sizes

    check_sizes(requests=requests, tokens=tokens)
    keys = jax.random.split(jax.random.key(seed), requests)
    return generate_from_parameters(load_generator(path), keys, tokens, {"generator": path, "seed": seed})


def _read(
    source: str, requests: list[str] | None, max_tokens: int | None, num_experts: int | None, **reading: Any
) -> RoutingTrace:
    from pimjax.trace import open_traces

    wanted = [int(r) if r.lstrip("-").isdigit() else r for r in requests] if requests else None
    return open_traces(source, wanted, max_tokens, num_experts=num_experts, **reading)


def _write(trace: RoutingTrace, path: Path) -> None:
    from pimjax.trace import write_router_log

    if path.suffix == ".npz":
        trace.save(path)
    else:
        write_router_log(trace, path)


def _show(trace: RoutingTrace, as_json: bool, about: dict[str, Any], then: str) -> None:
    from pimjax.trace import trace_statistics

    statistics = trace_statistics(trace)
    if as_json:
        emit_json({**about, "statistics": statistics.to_dict()})
        return
    for key, value in about.items():
        if not isinstance(value, dict):
            stdout.print(f"{key}: {value}")
    stdout.print(
        f"{statistics.requests} requests of {statistics.shortest} to {statistics.longest} tokens, "
        f"{statistics.layers} layers, {statistics.experts} experts, "
        f"{statistics.min_experts_per_token} to {statistics.max_experts_per_token} experts per token"
    )
    stdout.print(table(None, _COLUMNS, _layer_rows(statistics)))
    next_step(f"pimjax {then}")


_COLUMNS = ("layer", "per token", "imbalance", "in a request", "shared at lag 1", "by chance", "pair excess")


def _layer_rows(statistics: TraceStatistics) -> list[tuple[Any, ...]]:
    nothing = [None] * statistics.layers
    columns = (
        statistics.experts_per_token,
        statistics.imbalance,
        statistics.imbalance_per_request,
        statistics.shared.get(1, nothing),
        statistics.shared_by_chance,
        statistics.coactivation_excess,
    )
    return [(str(layer), *(column[layer] for column in columns)) for layer in range(statistics.layers)]
