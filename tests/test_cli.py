"""The command line: JSON is one document on stdout, mistakes are one sentence and exit code 2."""

from __future__ import annotations

import json

import pytest

from pimjax.cli.app import main
from pimjax.cli.commands.reproduce import write_results
from pimjax.trace import RoutingTrace, write_router_log


def _run(capsys, *arguments: str) -> tuple[int, str, str]:
    try:
        main(arguments)
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


COMMANDS = [
    *("reproduce", "estimate", "generate", "sweep", "tune", "report", "figure", "compare", "presets", "init"),
    *("validate", "schema", "serving", "serve", "doctor", "trace"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_works(command, capsys) -> None:
    code, out, _ = _run(capsys, command, "--help")
    assert code == 0
    assert "Usage" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("presets",),
        ("presets", "gpt_oss_20b"),
        ("validate", "paper_multiplexed"),
        ("doctor",),
        ("estimate", "paper_reference", "--fidelity", "event", "--explain"),
    ],
)
def test_json_is_one_document(arguments, capsys) -> None:
    code, out, _ = _run(capsys, *arguments, "--json")
    assert code == 0
    assert json.loads(out)


def test_estimate_prints_what_people_read(capsys) -> None:
    code, out, err = _run(capsys, "estimate", "paper_reference", "--fidelity", "event")
    assert code == 0
    assert "244.3 us" in out
    assert "6,592 crossbars" in out
    assert "multi_die" in err  # five reticles: said, not hidden


@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        (("estimate", "papr_reference"), "did you mean 'paper_reference'"),
        (("estimate", "paper_reference", "--set", "hardware.num_digital_units"), "is not KEY=VALUE"),
        (("estimate", "paper_reference", "--set", "hardware.num_digital_units=0"), "at least 1"),
        (("estimate", "paper_multiplexed", "--trace", "missing.npz"), "missing.npz"),
        (("init", "missing-folder/chip.yaml"), "does not exist"),
        (("reproduce", "--out", "/dev/null/results"), "Not a directory /dev/null"),
        (("presets", "nothing"), "neither a YAML file nor a shipped configuration"),
    ],
)
def test_mistakes_are_one_sentence(arguments, piece, capsys) -> None:
    code, out, err = _run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    assert piece in " ".join(err.split())


def test_init_writes_a_file_that_loads_and_never_overwrites(tmp_path, capsys) -> None:
    path = tmp_path / "chip.yaml"
    assert _run(capsys, "init", str(path), "--from", "gpt_oss_20b", "--set", "plan.group_size=4")[0] == 0
    assert _run(capsys, "validate", str(path))[0] == 0
    code, _, err = _run(capsys, "init", str(path))
    assert code == 2
    assert "--force" in err


def test_reproduction_files(tmp_path) -> None:
    value = {"latency_ns": 1.0, "energy_nj": 2.0}
    line = {
        "args": "--x",
        "name": "run",
        "event": value,
        "fluid": value,
        "closed": value,
        "reference": None,
        "deviation": {},
    }
    claim = {
        "name": "area_efficiency",
        "published": 2.2,
        "authors_method": 2.1,
        "multiplexed": 2.0,
        "meaning": "",
        "terms": {},
        "ablation": [{"assumption": "other", "preset": "chip", "set": {"a.b": 1}, "value": 1.5}],
    }
    known = {**line, "name": "known", "reference": value}
    written = write_results({"lines": [line, known], "claims": [claim]}, tmp_path / "out")
    assert [path.name for path in written] == [
        *("lines.csv", "claims.csv", "ablations.csv", "results.json", "reproduction.png")
    ]
    assert (tmp_path / "out" / "ablations.csv").read_text().splitlines()[1] == (
        'area_efficiency,other,chip,"{""a.b"": 1}",value,1.5'
    )
    assert (tmp_path / "out" / "lines.csv").read_text().splitlines()[1].startswith("--x,run,1.0,2.0")
    assert written[-1].stat().st_size > 10_000


def test_estimate_reads_router_logs(capsys, tmp_path) -> None:
    log = tmp_path / "log.jsonl"
    write_router_log(RoutingTrace.from_expert_ids([[0, 1, 2, 3], [4, 5, 6, 7]], 16), log)
    code, out, err = _run(capsys, "estimate", "--trace", str(log), "--fidelity", "event", "--json")
    assert code == 0, err
    assert json.loads(out)["op_counts"]["mha"] == 1


@pytest.mark.parametrize(
    ("arguments", "pieces"),
    [
        (("estimate", "--fidelity", "exact"), ("--fidelity", "'exact'", "see pimjax estimate --help")),
        (("estimate", "--fidelty", "event"), ("--fidelty", "see pimjax estimate --help")),
        (("estimate", "a", "b"), ("see pimjax estimate --help",)),
        (("nothing",), ("'nothing'", "see pimjax --help")),
        (("trace", "inspect", "\x1b[31m[/red].npz"), ("\\x1b[31m[/red].npz",)),
        (("estimate", "--set", "\x1b[31m=1"), ("--set \\x1b[31m: unknown key",)),
        (("trace", "inspect", "x" * 5000 + ".npz"), ("xxx...",)),
    ],
)
def test_usage_mistakes_are_one_sentence_too(arguments, pieces, capsys) -> None:
    code, out, err = _run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert all(line.isprintable() for line in err.splitlines())
    assert all(piece in " ".join(err.split()) for piece in pieces), err


def test_a_pipe_has_one_line_a_row_and_a_narrow_terminal_blocks(capsys, monkeypatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    _, piped, _ = _run(capsys, "presets")
    assert (
        "paper_chip           multiplexed  The paper's chip with the authors' attention law and memory, embeddings on"
        in piped
    )
    monkeypatch.setenv("COLUMNS", "50")
    _, narrow, _ = _run(capsys, "presets")
    assert max(map(len, narrow.splitlines())) <= 61  # keys are never broken
    assert len(narrow.splitlines()) > len(piped.splitlines())


def test_a_device_that_is_not_there_is_one_sentence() -> None:
    import os
    import subprocess
    import sys

    for platform in ("foo", "cuda"):
        done = subprocess.run(
            [sys.executable, "-c", "from pimjax.cli import main; main()", "--version"],
            env={**os.environ, "JAX_PLATFORMS": platform},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:  # a machine may have the device
            assert done.returncode == 2
            assert done.stderr.startswith(f"error: JAX_PLATFORMS is '{platform}'")
            assert "Traceback" not in done.stderr


def test_long_work_says_what_it_does_and_how_long(capsys, monkeypatch, tmp_path) -> None:
    import time

    from pimjax import progress
    from pimjax.cli import progress as shown

    monkeypatch.setenv("PIMJAX_CACHE", str(tmp_path))
    monkeypatch.setattr(shown, "AFTER_S", 0.05)
    for _ in range(2):
        with shown.Progress("opening", key="a run"):
            progress.report("counting \x1b[31m[/red]", 0.01)
            time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("counting \\x1b[31m[/red]: 0 s")
    assert shown._durations()["a run"] > 0.2
    progress.report("nobody listens", 0.5)
    assert capsys.readouterr() == ("", "")
