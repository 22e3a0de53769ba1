"""A model from a Hugging Face config.json, validated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pimjax.config.model import ModelConfig
from pimjax.errors import ConfigError
from pimjax.imports import read_hf
from pimjax.imports.json_file import FILE_NAME


def from_hf(source: str | Path | Mapping[str, Any]) -> ModelConfig:
    """Read the config.json of a checkpoint.

    Args:
        source: path of a config.json, the folder that holds one, or its content.

    Returns:
        The text model; `left_out` says what the published model has beside it (vision tower, MTP layers).

    Raises:
        ConfigError: one sentence that names the field or the kind of layer that cannot be read.

    >>> from_hf({"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    ...          "intermediate_size": 16, "vocab_size": 32}).d_ff
    16
    """
    model = read_hf(source)
    try:
        return ModelConfig.model_validate(model.keys)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "config.json" if isinstance(source, Mapping) else str(source)
        key = ".".join(str(part) for part in first["loc"])
        reason = str(first.get("ctx", {}).get("error", f"model.{key}: {first['msg']}"))
        raise ConfigError(f"{where}: describes a model that is not accepted: {reason}") from None


def is_hf(text: str, beside: Path | None = None) -> bool:
    """Whether a text means a config.json: a name that ends so, or a folder that holds one (perhaps `beside` a file).

    >>> is_hf("models/config.json"), is_hf("gpt_oss_20b")
    (True, False)
    """
    return text.lower().endswith(".json") or _holds_one(_located(text, beside))


def hf_keys(value: Any, folder: Path | None, where: str) -> dict[str, Any]:
    """The keys of the section `model` for `model: {hf: path}` in a file in `folder`."""
    if not isinstance(value, str):
        raise ConfigError(f"{where}: model.hf must be the path of a config.json or of a folder that holds one")
    return read_hf(_located(value, folder)).keys


def config_of_hf(path: str) -> dict[str, Any]:
    """A configuration with the model of a config.json; the chip and the plan are the default ones."""
    file = Path(path)
    name = file.name if _holds_one(file) else file.parent.name if file.name == FILE_NAME else file.stem
    model = read_hf(file)
    parts = f"; left out: {', '.join(model.left_out)}" if model.left_out else ""
    about = f"text model of a config.json on the default chip{parts}"
    name = name if name.isprintable() and name else "model"
    return {"name": name, "description": about, "model": model.keys, "workload": hf_workload()}


def hf_workload() -> dict[str, Any]:
    """What a model from a config.json does where nothing else is said: a prefill whose routing is drawn."""
    return {"trace": {"kind": "zipf", "tokens": 128}}


def _located(text: str, beside: Path | None) -> Path:
    """A path as it stands, or beside the file that names it."""
    path = Path(text)
    other = beside / text if beside else path
    try:
        return path if path.exists() or not other.exists() else other
    except (OSError, ValueError):  # too long, or with a NUL: reading it says so
        return path


def _holds_one(path: Path) -> bool:
    try:
        return path.is_dir() and (path / FILE_NAME).is_file()
    except (OSError, ValueError):
        return False
