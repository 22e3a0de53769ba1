"""Checkpoints and descriptions of tuning runs that are damaged, foreign, impossible or written with old words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pimjax.cli import main
from pimjax.errors import ConfigError, PimjaxError
from pimjax.tuning import load_tune_config, tune

pytest.importorskip("orbax.checkpoint", reason="the tune extra is not installed: pip install 'pimjax[tune]'")

RUN = {
    "base": "paper_reference",
    "set": {"plan.whole_ns": False},
    "parameters": {"core_speed": {"low": 0.5, "high": 2.0, "start": 1.0, "drives": {"hardware.mvm_latency_ns": -1}}},
    "objective": {"latency_ns": 1},
    "starts": 2,
    "optimiser": {"steps": 4, "chunk_steps": 2, "cutting_steps": 2, "polish_sweeps": 2, "last_mile_steps": 1},
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after two of four steps."""
    folder = tmp_path_factory.mktemp("stopped") / "state"

    def stop(sentence: str) -> None:
        if sentence.startswith("step 2 of 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(RUN, checkpoint=folder, progress=stop, recheck=False)
    return folder


@pytest.fixture(scope="module")
def undisturbed() -> dict:
    return tune(RUN, recheck=False).to_dict()


def _identity(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "identity.json").write_bytes(content)


def _largest(folder: Path) -> Path:
    return max((p for p in folder.glob("state-*/**/*") if p.is_file()), key=lambda p: p.stat().st_size)


def _each_file(change: Callable[[Path], object]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        for path in [p for p in folder.glob("state-*/**/*") if p.is_file()]:
            change(path)

    return apply


DAMAGES: dict[str, Callable[[Path], object]] = {
    "identity garbage": _identity(b"\xff\x00garbage"),
    "identity empty": _identity(b""),
    "identity without keys": _identity(b"{}"),
    "identity a list": _identity(b"[]"),
    "identity half-written": lambda f: (f / "identity.json").write_bytes((f / "identity.json").read_bytes()[:9]),
    "identity deep": _identity(b"[" * 100_000),
    "identity lost": lambda f: (f / "identity.json").unlink(),
    "state lost": lambda f: [shutil.rmtree(p) for p in f.glob("state-*")],
    "one file lost": lambda f: _largest(f).unlink(),
    "one file cut short": lambda f: _largest(f).write_bytes(_largest(f).read_bytes()[:5]),
    "every file empty": _each_file(lambda path: path.write_bytes(b"")),
    "every file garbage": _each_file(lambda path: path.write_bytes(b"\x93garbage" * 9)),
    "checksums lost": lambda f: next(f.glob("state-*/checksums.json")).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_left_and_said(damage: str, stopped: Path, undisturbed: dict, tmp_path: Path) -> None:
    folder = shutil.copytree(stopped, tmp_path / "state")
    DAMAGES[damage](folder)
    said: list[str] = []
    result = tune(RUN, checkpoint=folder, progress=said.append, recheck=False)
    assert result.to_dict() == undisturbed
    assert any("begins again from its starts" in sentence for sentence in said)
    said.clear()
    tune(RUN, checkpoint=folder, progress=said.append, recheck=False)  # whole again
    assert not any("begins again" in sentence or sentence.startswith("step") for sentence in said)


def test_an_undamaged_checkpoint_goes_on(stopped: Path, undisturbed: dict, tmp_path: Path) -> None:
    folder = shutil.copytree(stopped, tmp_path / "state")
    (folder / "state-00000009").mkdir()  # of a save that was killed before it counted
    said: list[str] = []
    assert tune(RUN, checkpoint=folder, progress=said.append, recheck=False).to_dict() == undisturbed
    assert [sentence.split(":")[0] for sentence in said if sentence.startswith("step")] == ["step 4 of 4"]
    assert sorted(path.name for path in folder.iterdir()) == ["identity.json", "state-00000004"]


def test_other_runs_and_other_folders_are_refused(stopped: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another tuning run"):
        tune(RUN | {"seed": 1}, checkpoint=stopped, recheck=False)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="not empty"):
        tune(RUN, checkpoint=tmp_path, recheck=False)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "file", "file/below"])
def test_impossible_folders_are_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for option in ("checkpoint", "history"):
        if option == "history" and name == "file":
            continue
        with pytest.raises(PimjaxError) as error:
            tune(RUN, **{option: tmp_path / name}, recheck=False)  # type: ignore[arg-type]
        assert "\n" not in str(error.value)
        assert "\0" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": -1}, "seed"),
        ({"starts": 0}, "starts"),
        ({"starts": 10**9}, "65536"),
        ({"optimiser": {"steps": -1}}, "steps"),
        ({"optimiser": {"chunk_steps": 0}}, "chunk_steps"),
        ({"optimiser": {"polished_starts": 0}}, "polished_starts"),
        ({"optimiser": {"budget": 0}}, "budget"),
        ({"method": "magic"}, "gradients"),
        ({"base": 7}, "base"),
        ({"config": "paper_reference"}, "config is the old word"),
        ({"parameters": {"plan.policy": {"kind": "categorical", "choices": ["packed", "packed"]}}}, "twice"),
        ({"parameters": {"hardware.tiers": {"kind": "levels", "levels": list(range(1, 3000))}}}, "at most 1,024"),
    ],
)
def test_mistakes_in_descriptions(change: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        load_tune_config(RUN | change)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("source", [None, 7, ["x"], "a\0b", "x" * 5000, "/".join(["y" * 200] * 30), b"x"])
def test_impossible_descriptions(source: object) -> None:
    with pytest.raises(ConfigError) as error:
        load_tune_config(source)  # type: ignore[arg-type]
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    "arguments", [{"trace": "x"}, {"quality": 3}, {"checkpoint": 3}, {"history": 1.5}, {"progress": "x"}]
)
def test_wrong_arguments(arguments: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        tune(RUN, **arguments)


def test_the_old_word_for_base_is_read_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = {key: value for key, value in RUN.items() if key != "base"} | {"config": "paper_reference"}
    loaded = load_tune_config(old)
    assert loaded.base == "paper_reference"
    assert "now called base" in loaded.notes[0]
    assert load_tune_config(RUN).notes == ()
    assert loaded.model_dump() == load_tune_config(RUN).model_dump()
    file = tmp_path / "tune.yaml"
    file.write_text(json.dumps(old))
    with pytest.raises(SystemExit):
        main(["tune", "--config", str(file), "--sensitivity"])
    captured = capsys.readouterr()
    assert "now called base" in captured.err.replace("\n", " ")
    assert "now called base" not in captured.out


def test_a_base_may_be_a_mapping() -> None:
    made = load_tune_config(RUN | {"base": {"chip_model": "reference", "name": "mine"}})
    assert made.base_name == "mine"
