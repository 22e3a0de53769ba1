"""Every command of the page "Your model in ten minutes", in its order, on a tiny model; and `pimjax accuracy`."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from pimjax.cli.app import main

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your-model.md").read_text(encoding="utf-8")
COMMANDS = [line[2:] for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def prepare(folder: Path) -> None:
    """A checkpoint, what vLLM recorded of it, and a text as token ids."""
    shutil.copytree(ROOT / "tests" / "golden" / "checkpoints" / "gpt_oss", folder / "my_model")
    draw = np.random.default_rng(0)
    routed = np.stack([[draw.permutation(6)[:2] for _ in range(2)] for _ in range(24)])  # [tokens, all layers, k]
    np.save(folder / "routed_experts.npy", routed.astype(np.int16))
    (folder / "token_ids.json").write_text(json.dumps(draw.integers(1, 61, 25).tolist()))


def run(command: str, folder: Path) -> tuple[int, str, str]:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(folder):
        try:
            main(shlex.split(command)[1:])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("model")
    prepare(made)
    return made


@pytest.mark.slow
def test_every_command_of_the_page_runs(folder):
    assert len(COMMANDS) >= 9
    assert {command.split()[1] for command in COMMANDS} >= {"validate", "estimate", "init", "trace", "accuracy"}
    for command in COMMANDS:
        code, out, err = run(command, folder)
        assert code == 0, f"{command}: {err}"
        assert out.strip(), command
        if command.endswith("--json"):
            found = json.loads(out)
            assert [one["numerics.cell_bits"] for one in found["settings"]] == [2, 4]
            assert found["tokens_per_s"] > 0
            assert found["settings"][0]["perplexity"] != found["settings"][1]["perplexity"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--adc-bits 6,x", "--adc-bits is '6,x'"), ("--adc-bits 6.5", "whole numbers"), ("--cell-bits ,", "--cell-bits is"),
        ("--adc-bits 6,99", "adc_bits"), ("--noise -1", "noise_scale"), ("--noise 0,1", "neither noise nor drift"),
        ("--drift 20 --set numerics.device=pcm --noise nan", "noise_scale"),
        ("--noise " + ",".join(map(str, range(300))), "at most 256"), ("--analog weights", "names no matrix"),
        ("--digital up:0:x", "no list of numbers"), ("--chip none", "none"), ("--text missing.json", "cannot be read"),
        ("--text routed_experts.npy", "whole numbers"), ("--text my_model", "not a plain file"), ("--window 0", "--window"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(folder, options, words):
    text = "" if "--text" in options else "--text token_ids.json "
    code, out, err = run(f"pimjax accuracy my_model {text}{options}", folder)
    assert code == 2
    assert not out
    assert err.startswith("error: ")
    assert words in " ".join(err.split())


def test_folders_that_are_none(folder):
    for name in ("missing", "token_ids.json", "my_model/config.json"):
        code, _, err = run(f"pimjax accuracy {name} --text token_ids.json", folder)
        assert code == 2
        assert "is not a folder" in " ".join(err.split())
