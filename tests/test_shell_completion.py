"""Shell completion and `--version`: what the shell asks for and what people paste into bug reports."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import pytest

import pimjax
from pimjax.cli.app import main
from pimjax.cli.commands.figure import complete_figure
from pimjax.cli.commands.schema import complete_kind
from pimjax.cli.options import complete_preset


def _complete(line: str, words: int) -> list[str]:
    """What bash is offered for a command line, as its completion function asks."""
    asked = {"_PIMJAX_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(words)}
    program = "import sys; sys.argv = ['pimjax']; from pimjax.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | asked, capture_output=True, text=True, check=False
    )
    return done.stdout.split()


def test_bash_is_offered_commands_presets_and_figures() -> None:
    assert {"report", "reproduce"} <= set(_complete("pimjax rep", 1))
    assert "paper_reference" in _complete("pimjax report paper", 2)


def test_completions_begin_with_what_was_typed() -> None:
    assert complete_figure("per") == ["perplexity"]
    assert complete_kind("swe") == ["sweep"]
    assert complete_preset("mix") == ["mixtral_8x7b"]


def test_version_names_jax_and_device(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert f"pimjax {pimjax.__version__}" in out
    assert f"jax {jax.__version__}" in out
    assert f"{jax.device_count()} x {jax.devices()[0].device_kind}" in out


def test_completion_can_be_shown_and_installed(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert "--install-completion" in out
    assert "--show-completion" in out
