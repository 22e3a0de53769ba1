"""Options that several commands share, and how `--set key=value` is read."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from pimjax.cli.places import typed
from pimjax.errors import ConfigError, shown

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key by dotted path, e.g. hardware.num_digital_units=10."
    ),
]
TraceOption = Annotated[
    str | None,
    typer.Option(
        "--trace",
        metavar="TRACE",
        help="Routing trace: .npz or .jsonl file (also one of the folder PIMJAX_TRACES), token_choice, expert_choice. "
        "Default: what the workload describes.",
    ),
]
RequestOption = Annotated[int, typer.Option("--request", min=0, help="Which request of the trace.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout and nothing else.")]


def complete_preset(incomplete: str) -> list[str]:
    """Names of shipped presets that begin with what was typed, for shell completion."""
    from pimjax.config.presets import list_presets

    return [name for name in list_presets() if name.startswith(incomplete)]


ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="YAML file or name of a preset.", autocompletion=complete_preset)
]


def again(config: str, *, trace: str | None = None, settings: list[str] | None = None) -> str:
    """The arguments of a run as a shell takes them, for the line that says what to do next.

    >>> again("my chip.yaml", settings=["plan.policy=packed"])
    "'my chip.yaml' --set plan.policy=packed"
    """
    parts = [config, *(("--trace", trace) if trace else ()), *(x for one in settings or () for x in ("--set", one))]
    return shlex.join(parts)


def parse_overrides(settings: list[str] | None) -> dict[str, Any]:
    """`["hardware.tiles=100"]` -> `{"hardware.tiles": 100}`; values are read as YAML.

    Raises:
        ConfigError: a setting has no `=`.

    >>> parse_overrides(["hardware.mvm_latency_ns=1e2", "plan.policy=packed"])
    {'hardware.mvm_latency_ns': 100.0, 'plan.policy': 'packed'}
    """
    from pimjax.config.yaml_reader import parse_yaml

    overrides = {}
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"--set {shown(setting)} is not KEY=VALUE; write for example --set hardware.num_digital_units=10"
            )
        typed(key.strip(), "--set")
        overrides[key.strip()] = parse_yaml(f"value: {value}", f"--set {key.strip()}")[0]["value"]
    return overrides
