"""JSON schemas: every shipped file is valid, mistakes are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pimjax.cli.app import main
from pimjax.cli.json_schema import FILES as CLASSES
from pimjax.cli.json_schema import KINDS, json_schema
from pimjax.config.yaml_reader import parse_yaml, read_yaml
from pimjax.errors import ConfigError
from pimjax.resources import config_folder

jsonschema = pytest.importorskip("jsonschema", reason="pip install jsonschema")


def _kind(path: Path) -> str:
    folder = path.parent.name
    if folder == "experiments":
        return path.stem.partition("_")[0]
    return folder if folder in CLASSES else "config"


FOLDERS = ("", "experiments", *CLASSES)
FILES = [path for folder in FOLDERS for path in sorted((config_folder() / folder).glob("*.yaml"))]


@pytest.fixture(scope="module")
def validators() -> dict:
    made = {}
    for kind in KINDS:
        schema = json_schema(kind)
        jsonschema.Draft202012Validator.check_schema(schema)
        made[kind] = jsonschema.Draft202012Validator(schema)
    return made


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(config_folder())))
def test_every_shipped_file_is_valid(path, validators) -> None:
    validators[_kind(path)].validate(read_yaml(path)[0])


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("config", "hardware: {mvm_latency: 130}"),
        ("config", "hardware: {mvm_latency_ns: fast}"),
        ("config", "hardware: {mvm_latency_ns: {value: 130, unit: us}}"),
        ("config", "plan: {policy: fastest}"),
        ("config", "model: no_such_preset"),
        ("sweep", "axes: [{field: hardware.mvm_latency_ns, valuess: [1]}]"),
        ("sweep", "columns: [latency]"),
        ("tune", "objective: {speed: 1}"),
        ("workload", "trace: {kind: guessed}"),
    ],
)
def test_mistakes_are_found(kind, text, validators) -> None:
    assert not validators[kind].is_valid(parse_yaml(text)[0])


def test_what_init_writes_is_valid_and_names_its_schema(tmp_path, validators, monkeypatch) -> None:
    monkeypatch.setenv("PIMJAX_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "chip.yaml"
    with pytest.raises(SystemExit) as stop:
        main(["init", str(path), "--from", "gpt_oss_20b"])
    assert stop.value.code == 0
    first = path.read_text().splitlines()[0]
    schema = Path(first.partition("$schema=")[2])
    assert json.loads(schema.read_text()) == json_schema("config")
    validators["config"].validate(read_yaml(path)[0])


def test_the_command_prints_or_writes(tmp_path, capsys) -> None:
    target = tmp_path / "sweep.json"
    for arguments in (["schema", "sweep", "--out", str(target)], ["schema", "tune"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
    assert json.loads(target.read_text())["title"] == "pimjax sweep"
    assert '"title": "pimjax tune"' in capsys.readouterr().out
    with pytest.raises(ConfigError, match="allowed"):
        json_schema("nothing")
