"""`pimjax accuracy`: what a chip's crossbars do to the perplexity of a checkpoint, for a batch of device settings."""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any

import typer

from pimjax.cli.options import JsonOption, SetOption, complete_preset, parse_overrides
from pimjax.cli.output import emit_json, next_step, shown, stderr, stdout, table
from pimjax.cli.program_cache import use_compilation_cache
from pimjax.cli.progress import Progress
from pimjax.errors import ConfigError
from pimjax.errors import shown as quoted

MAX_SETTINGS = 256


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("accuracy")(accuracy)


def accuracy(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Hugging Face checkpoint: config.json, safetensors.")],
    text: Annotated[
        str,
        typer.Option(
            "--text", metavar="FILE", help="UTF-8 text (needs the folder's tokenizer.json), or token ids: .json, .npy."
        ),
    ],
    config: Annotated[
        str,
        typer.Option(
            "--chip", metavar="CONFIG", help="Whose crossbars: YAML file or preset.", autocompletion=complete_preset
        ),
    ] = "paper_multiplexed",
    adc_bits: Annotated[str | None, typer.Option("--adc-bits", metavar="LIST", help="For example 6,7,8.")] = None,
    cell_bits: Annotated[
        str | None, typer.Option("--cell-bits", metavar="LIST", help="Bits of a cell, weights in slices: 1,2,4.")
    ] = None,
    noise: Annotated[
        str | None, typer.Option("--noise", metavar="LIST", help="Factors on the device's noise: 0,0.5,1.")
    ] = None,
    drift: Annotated[
        str | None, typer.Option("--drift", metavar="LIST", help="Seconds since programming: 20,86400.")
    ] = None,
    analog: Annotated[
        list[str] | None,
        typer.Option(
            "--analog",
            metavar="WHAT",
            help="On crossbars: all, attention, experts, down:0-3, up:2:0,5, ..; default all.",
        ),
    ] = None,
    digital: Annotated[
        list[str] | None, typer.Option("--digital", metavar="WHAT", help="What of these is not, e.g. router or output.")
    ] = None,
    window: Annotated[int, typer.Option("--window", min=1, max=131_072, help="Tokens that are read together.")] = 256,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Tokens of the text to predict at most.")] = 2048,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Activations a matrix's ranges are fitted on.")] = 64,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Perplexity and signal-to-noise ratio of each layer of a checkpoint whose matrices are on a chip's crossbars.

    One layer is in memory at a time; all settings run in one program.

    [dim]Examples:[/dim]  pimjax accuracy ./Mixtral-8x7B-v0.1 --text wiki.txt --adc-bits 6,7,8
    |   pimjax accuracy ./gpt-oss-20b --text ids.npy --set numerics.device=pcm --noise 0,1 --drift 20,86400 --digital router
    """
    from pimjax.config import load_config
    from pimjax.nn import analog_map, evaluate_checkpoint, open_checkpoint
    from pimjax.nn.checkpoint.text import into_windows, read_tokens
    from pimjax.numerics.from_config import crossbar_from_config

    use_compilation_cache()
    axes = {
        "hardware.adc_bits": _numbers("--adc-bits", adc_bits, whole=True),
        "numerics.cell_bits": _numbers("--cell-bits", cell_bits, whole=True),
        "numerics.noise_scale": _numbers("--noise", noise),
        "numerics.drift_seconds": _numbers("--drift", drift),
    }
    axes = {name: values for name, values in axes.items() if values}
    changes: dict[str, Any] = {"numerics.weight_encoding": "sliced"} if "numerics.cell_bits" in axes else {}
    changes |= parse_overrides(settings)
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if len(points) > MAX_SETTINGS:
        raise ConfigError(
            f"the lists make {len(points)} settings; at most {MAX_SETTINGS} run at once: give shorter lists"
        )
    loaded = [load_config(config, changes | point) for point in points]
    first = loaded[0]
    if first.numerics.device == "ideal" and {"numerics.noise_scale", "numerics.drift_seconds"} & axes.keys():
        raise ConfigError(
            "numerics.device is 'ideal', which has neither noise nor drift; add --set numerics.device=pcm"
        )
    words = list(digital or ()) + (["router"] if first.plan.router == "digital" else [])
    chosen = analog_map(analog or "all", words)
    checkpoint = open_checkpoint(folder)
    windows = into_windows(read_tokens(text, folder), window, tokens)
    with Progress("layers", key=f"accuracy {folder} {windows.shape} {len(points)}") as progress:
        found = evaluate_checkpoint(
            checkpoint,
            windows,
            [crossbar_from_config(one) for one in loaded],
            analog=chosen,
            method=first.numerics.adc_range,
            percentile=first.numerics.adc_range_percentile,
            samples=samples,
            seed=first.numerics.seed,
            random=_is_random(first),
            progress=lambda done, of: progress.say(f"layer {done} of {of}"),
        )
    model = checkpoint.architecture.model
    facts = {
        "checkpoint": folder, "family": checkpoint.architecture.family, "config": first.name, "digest": first.digest(),
        "num_tokens": found.num_tokens, "windows": list(windows.shape), "analog": analog or ["all"], "digital": words,
        "analog_weights": found.analog_weights, "exact_perplexity": found.exact_perplexity,
        "tokens_per_s": found.tokens_per_s, "seconds": found.seconds, "left_out": list(model.left_out),
        "settings": [
            {**point, "perplexity": float(found.perplexity[row]), "layer_sqnr_db": found.layer_sqnr_db[row].tolist(),
             "stream_sqnr_db": found.stream_sqnr_db[row].tolist(), "moved_visits": found.moved[row].tolist()}
            for row, point in enumerate(points)
        ],
    }  # fmt: skip
    if as_json:
        emit_json(facts)
        return
    _show(facts, model, list(axes))


def _show(facts: dict[str, Any], model: Any, axes: list[str]) -> None:
    stdout.heading(facts["checkpoint"], f"{facts['family']} on {facts['config']} {facts['digest']}")
    seconds, made = facts["seconds"], facts["settings"]
    rows = [
        ("text", f"{facts['num_tokens']:,} tokens predicted, {facts['windows'][0]:,} window{'s' if facts['windows'][0] > 1 else ''} of {facts['windows'][1] - 1:,}"),
        ("analog", f"{facts['analog_weights'] / 1e6:,.3f} M weights on crossbars: {', '.join(facts['analog'])}"
                   f"{' but ' + ', '.join(facts['digital']) if facts['digital'] else ''}"),
        ("exact", f"perplexity {facts['exact_perplexity']:,.2f}"),
        ("speed", f"{shown(facts['tokens_per_s'])} tokens/s in {1 + len(made)} passes; compiling {shown(seconds['compiling'])} s"),
    ]  # fmt: skip
    rows += [("left out", line) for line in facts["left_out"]]
    stdout.print(table(None, ("", ""), rows, text=2))
    stdout.print()
    names = [axis.rpartition(".")[2] for axis in axes]
    columns = (*names, "perplexity", "worst layer dB", "in layer", "last stream dB", "moved visits")
    lines = []
    for one in made:
        layers = one["layer_sqnr_db"]
        worst = min(range(len(layers)), key=layers.__getitem__)
        lines.append(
            (*(shown(one[axis]) for axis in axes), f"{one['perplexity']:,.2f}", _decibel(layers[worst]), str(worst),
             _decibel(one["stream_sqnr_db"][-1]), f"{sum(one['moved_visits']) / max(model.num_moe_layers, 1):.1%}")
        )  # fmt: skip
    stdout.print(table("settings", columns, lines, text=0))
    stdout.print()
    lines = [
        (str(layer), *(_decibel(one["layer_sqnr_db"][layer]) for one in made[:6]))
        for layer in range(len(made[0]["layer_sqnr_db"]))
    ]
    heads = [",".join(shown(one[axis]) for axis in axes) or "as configured" for one in made[:6]]
    stdout.print(table("what each layer adds, against its error [dB]", ("layer", *heads), lines))
    if len(made) > 6:
        stderr.note(f"the table shows 6 of {len(made)} settings; --json has all")
    next_step(f"pimjax estimate {facts['checkpoint']}/config.json")


def _decibel(value: float) -> str:
    """A ratio in dB; a layer whose matrices are all digital has no error."""
    return "exact" if math.isinf(value) else f"{value:.1f}"


def _numbers(option: str, text: str | None, *, whole: bool = False) -> list[float]:
    """The numbers of a list between commas."""
    if text is None:
        return []
    try:
        made = [int(part) if whole else float(part) for part in text.split(",")]
    except (ValueError, OverflowError):
        kind = "whole numbers" if whole else "numbers"
        raise ConfigError(
            f"{option} is {quoted(text)}; it must be {kind} with commas between, for example 6,7,8"
        ) from None
    return made


def _is_random(config: Any) -> bool:
    numerics = config.numerics
    return numerics.device != "ideal" or numerics.stuck_fraction > 0 or numerics.adc_gain_spread > 0
