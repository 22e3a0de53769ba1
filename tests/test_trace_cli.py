"""`pimjax trace`: every command through the program's own entry point, as a user runs it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from pimjax.cli.trace import trace_app
from pimjax.errors import PimjaxError, TraceError
from pimjax.trace import RoutingTrace, load_generator, load_traces, open_traces, read_router_log, write_router_log

RUNNER = CliRunner()


def run(*arguments, ok=True):
    result = RUNNER.invoke(trace_app, [str(argument) for argument in arguments])
    if ok:
        assert result.exit_code == 0, (result.output, result.exception)
    return result


def test_generate_inspect_convert(tmp_path):
    made, log, back = (tmp_path / name for name in ("made.npz", "log.jsonl", "back.npz"))
    document = json.loads(run("generate", "zipf", "-o", made, "--requests", 2, "--tokens", 20, "--json").stdout)
    assert document["statistics"]["requests"] == 2
    assert json.loads(run("inspect", made, "--json").stdout)["statistics"] == document["statistics"]
    run("convert", made, log)
    run("convert", log, back, "-r", 1, "-r", -2, "--max-tokens", 7)
    assert read_router_log(log).choices.shape == (2, 1, 20, 16)
    assert (load_traces(back).choices == load_traces(made, [1, 0], 7).choices).all()
    assert "imbalance" in run("inspect", log, "--max-tokens", 5).stdout


def test_inspect_shows_the_shipped_trace_without_arguments():
    document = json.loads(run("inspect", "--json").stdout)
    assert document["statistics"]["experts"] == 16
    assert len(document["metadata"]["text_sha256"]) == 64


def test_fit_then_generate_from_the_fit(tmp_path):
    fitted, made = tmp_path / "fit.npz", tmp_path / "made.npz"
    arguments = ("fit", "token_choice", "--max-tokens", 32, "--iterations", 2, "-o", fitted)
    result = run(*arguments, "--json")
    document = json.loads(result.stdout)  # progress is on stderr
    assert "round 2" in result.stderr
    assert document["fit"]["experts_per_token"] == {"measured": 4.0, "regenerated": 4.0}
    assert load_generator(fitted).top_k == document["top_k"] == 4
    run("generate", fitted, "-o", made, "--tokens", 9)
    assert load_traces(made).choices.shape == (1, 3, 9, 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "nonsense", "-o", "x.npz"), "does not exist"),
        (("generate", "uniform", "-o", "x.txt"), "ends in .txt"),
        (("generate", "uniform", "-o", "x.npz", "--exponent", "2"), "has no option"),
        (("generate", "x.npz", "-o", "y.npz", "--exponent", "2"), "--exponent does not apply"),
        (("inspect", "none.npz"), "is not a file"),
        (("inspect", "none"), "ends in nothing"),
        (("inspect", "token_choice", "-r", "99"), "request 99"),
        (("inspect", "token_choice", "--max-tokens", "0"), "max_tokens is 0"),
        (("convert", "token_choice", "x.csv"), "ends in .csv"),
        (("fit", "token_choice", "-o", "x.json"), "ends in .npz"),
        (("fit", "expert_choice"), "constant k"),
    ],
)
def test_mistakes_are_sentences_for_the_main_program(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, ok=False)
    assert isinstance(result.exception, PimjaxError)
    assert message in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_a_plain_name_is_looked_up_in_the_trace_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PIMJAX_TRACES", str(tmp_path / "shelf"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shelf").mkdir()
    write_router_log(RoutingTrace.from_expert_ids([[7], [1], [2]], 8), tmp_path / "shelf" / "model.jsonl")
    assert json.loads(run("inspect", "model.jsonl", "--json").stdout)["statistics"]["experts"] == 8
    write_router_log(RoutingTrace.from_expert_ids([[0], [1], [3]], 4), tmp_path / "model.jsonl")  # comes first
    assert open_traces("model.jsonl", [0], 2).choices.shape == (1, 1, 2, 4)
    with pytest.raises(TraceError, match=r"other\.npz is not a file here, nor in the trace folder .*shelf"):
        open_traces("other.npz")
    with pytest.raises(TraceError, match=r"deep/model\.jsonl is not a file here: give a path"):
        open_traces("deep/model.jsonl")
