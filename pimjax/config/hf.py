"""A model from a Hugging Face config.json, validated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pimjax.config.model import ModelConfig
from pimjax.errors import ConfigError
from pimjax.imports import read_hf


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
