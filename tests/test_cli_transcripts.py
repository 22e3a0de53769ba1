"""What every command prints at 80 columns, word by word: `python tests/test_cli_transcripts.py` writes it anew.

Digits of results are masked (0 for each, # where even their number depends on the machine), so that the transcripts show
what people read and where it stands, on every machine.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from pimjax.cli import progress
from pimjax.cli.app import main

FOLDER = Path(__file__).parent / "transcripts"
CHECKPOINT = Path(__file__).parent / "golden" / "checkpoints" / "gpt_oss"
WIDTH = 80

SWEEP = """\
base: paper_multiplexed
axes:
  - {field: hardware.mvm_latency_ns, values: [100, 130, 160]}
  - {field: plan.group_size, values: [1, 2, 4]}
select: {pareto: [latency_ns, area_mm2]}
"""
TUNE = """\
base: paper_reference
objective: {edp_nj_ns: 1}
limits:
  - {measure: area_mm2, at_most: 1.0, of_base: true}
parameters:
  hardware.num_digital_units: {kind: levels, levels: [2, 4, 5, 8]}
  hardware.num_attention_units: {kind: levels, levels: [2, 4]}
"""
HOSTILE = """\
name: "[/red]x \\e[31m:smile:"
description: "\\e]0;title\\a"
hardware: {mvm_latency_ns: {value: 150, source: "a\\nmodel: {num_experts: 1}"}}
"""

#: name of the transcript -> commands, run one after the other in one folder
CASES: dict[str, list[str]] = {
    "estimate": [
        "estimate",
        "estimate --set workload.batch_size=8 --set workload.generated_tokens=4 --fidelity closed",
        "estimate paper_crossbars --fidelity closed",
    ],
    "estimate_explain": ["estimate paper_reference --explain", "estimate paper_reference --trace token_choice"],
    "residency": [
        "estimate paper_crossbars --set system.residency=swap --set system.resident_experts=8 --fidelity closed --explain",
        "estimate paper_crossbars --set system.residency=swap --set system.resident_experts=2",
        "estimate paper_crossbars --set system.resident_experts=8 --fidelity closed",
    ],
    "generate": [
        "generate --prompt 16 --tokens 8 --batch-sizes 1,2 --gpu h100",
        "generate paper_reference --prompt 16 --tokens 8",
    ],
    "accuracy": [
        "accuracy my_model --text token_ids.json --adc-bits 6,8 --digital output",
        "accuracy my_model --text my_model/config.json",
        "accuracy my_model --text token_ids.json --noise 0,1",
    ],
    "serving": [
        "serving --count 40 --rate 20 --prompt 32 --tokens 8 --max-num-seqs 8 --kv-tokens 256 --slo-tpot-ms 1",
        "serve paper_reference --count 6 --rate 50 --prompt 8 --tokens 4 --max-num-seqs 4",
        "serving --count 4 --prompt 64 --kv-tokens 32",
        "serving --count 6 --prompt 8 --tokens 4 --max-num-seqs 2 --sweep mvm_latency_ns=60,260",
        "serving --count 6 --prompt 8 --tokens 4 --sweep mvm_latency_ns=fast",
    ],
    "size": [
        "size paper_multiplexed --within 8dies --set workload.prompt_tokens=32 -o sized.yaml",
        "size paper_multiplexed --within 3mm2 --goal latency --set workload.prompt_tokens=32",
        "size paper_multiplexed --within 3",
        "size paper_reference",
    ],
    "compare": [
        "compare paper_multiplexed paper_chip --fidelity closed",
        "compare paper_multiplexed h100 --same-run --fidelity closed",
    ],
    "sweep": ["sweep -c sweep.yaml --dry-run", "sweep -c sweep.yaml -o results", "sweep -c sweep.yaml -o results"],
    "tune": ["tune --config tune.yaml --output best.yaml", "tune --config tune.yaml --sensitivity --rows 6"],
    "report": ["report paper_reference --no-caches --out page.html"],
    "reproduce": ["reproduce"],
    "presets": ["presets", "presets paper_multiplexed"],
    "init": ["init chip.yaml --from paper_chip", "init chip.yaml", "init chip.yaml --force --set plan.group_size=4"],
    "validate": ["validate gpt_oss_20b", "validate hostile.yaml", "validate paper_chip --set hardware.node_nm=22"],
    "schema": ["schema --out schema.json", "schema chips"],
    "doctor": ["doctor"],
    "figure": ["figure --list", "figure schedule --out schedule.svg", "figure nothing"],
    "trace": [
        "trace generate zipf --tokens 64 --requests 2 --output made.npz",
        "trace inspect made.npz",
        "trace convert made.npz made.jsonl",
        "trace fit made.npz --iterations 2 --output fitted.npz",
        "trace inspect made.jsonl --num-experts 8",
    ],
    "mistakes": [
        "estimate papr_chip",
        "estimate --set hardware.num_digital_units=0",
        "estimate --set plan.group_size=64",
        "estimate --set hardware.num_digital_unit=5",
        "estimate --set plan.group_size",
        "estimate hostile.yaml --set name=1",
        "generate --tokens 5000000",
        "generate --batch-sizes 1,0",
        "generate --batch-sizes 1,x",
        "trace generate uniform --requests 0 --output x.npz",
        "trace inspect missing.npz",
        "sweep --config missing.yaml",
        "sweep --config sweep.yaml",
        "tune --config missing",
    ],
}  # fmt: skip

#: without results
EXACT = ("init", "validate", "schema", "figure", "mistakes")
#: beginnings of lines that say what ran
KEPT = ("$ ", "(exit ", "chip ", "run ", "model ", "plan ", "routing ", "next: ")
NUMBER = re.compile(r"(?<![\w.])\d[\d.,]*(?:e[+-]?\d+)?")
#: what differs between machines in more than its digits
VOLATILE = [
    (r"\b[0-9a-f]{16}\b", "0" * 16),
    (r"(?m)^(speed|compiling) .*$", r"\1  #"),
    (r"(?m)^((?:ok|note)\s+(?:python|jax|device|PIMJAX_TRACES) ).*$", r"\1 #"),
    (r"\(\d+\.\d+ MB\)", "(# MB)"),
    (r"\d+ programs in [\d.]+ s", "# programs in # s"),
]


def transcript(commands: list[str], folder: Path) -> str:
    """What the commands print, one after the other."""
    for name, text in (("sweep", SWEEP), ("tune", TUNE), ("hostile", HOSTILE)):
        (folder / f"{name}.yaml").write_text(text)
    if any(command.startswith("accuracy") for command in commands):
        shutil.copytree(CHECKPOINT, folder / "my_model", dirs_exist_ok=True)
        (folder / "token_ids.json").write_text(str(list(range(1, 26))))
    parts = []
    for command in commands:
        out, err, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(folder):
            try:
                main(command.split())
            except SystemExit as stop:
                code = int(stop.code or 0)
        parts.append(f"$ pimjax {command}\n{out.getvalue()}")
        parts += [f"(stderr)\n{err.getvalue()}"] if err.getvalue() else []
        parts += [f"(exit {code})\n"] if code else []
    return "\n".join(parts)


def masked(text: str, name: str) -> str:
    """The text without what differs between machines, and of results without their digits."""
    for pattern, replacement in VOLATILE:
        text = re.sub(pattern, replacement, text)
    if name in EXACT:
        return text
    return "\n".join(line if line.startswith(KEPT) else NUMBER.sub(_zeros, line) for line in text.splitlines()) + "\n"


def _zeros(number: re.Match[str]) -> str:
    return re.sub(r"\d", "0", number[0])


@pytest.fixture(autouse=True)
def _one_kind_of_terminal(monkeypatch, tmp_path_factory) -> None:
    _environment(monkeypatch.setenv)
    monkeypatch.setenv("PIMJAX_CACHE", str(tmp_path_factory.getbasetemp() / "transcripts"))
    monkeypatch.setattr(progress, "AFTER_S", 1e6)


def _environment(set_one) -> None:
    set_one("COLUMNS", str(WIDTH))
    set_one("PIMJAX_TRACES", "traces")
    set_one("NO_COLOR", "1")


@pytest.mark.parametrize("name", CASES)
def test_transcript(name, tmp_path) -> None:
    assert masked(transcript(CASES[name], tmp_path), name) == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_lines_fit_and_nothing_is_obeyed(name) -> None:
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert all(line.isprintable() for line in text.splitlines())
    if name != "presets":  # YAML keeps its lines
        long = [line for line in text.splitlines() if len(line) > WIDTH and not line.startswith(("next: ", "$ "))]
        assert not [line for line in long if " " in line[:WIDTH].strip()]


def test_every_command_has_a_transcript() -> None:
    from pimjax.cli import commands
    from pimjax.cli.app import app

    commands.register(app)
    names = {command.name for command in app.registered_commands} | {"trace"}
    assert names <= {line.split()[0] for lines in CASES.values() for line in lines}


if __name__ == "__main__":
    import tempfile

    _environment(os.environ.__setitem__)
    progress.AFTER_S = 1e6
    FOLDER.mkdir(exist_ok=True)
    for one in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as place:
            (FOLDER / f"{one}.txt").write_text(masked(transcript(CASES[one], Path(place)), one), encoding="utf-8")
            print(one)
