"""Files of a Hugging Face checkpoint, changed: its config.json, its index, headers and bytes of its shards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fuzz.inputs import changed_bytes, changed_mappings
from fuzz.runner import NotPhysical
from pimjax.nn import open_checkpoint
from pimjax.nn.checkpoint.folder import INDEX
from pimjax.nn.decoder.architecture import architecture_of

_FOLDER = Path(__file__).parents[1] / "golden" / "checkpoints" / "mixtral"
_SHARD = "model-00004-of-00004.safetensors"


@st.composite
def checkpoint_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """(name, content) of one file of a valid folder, changed."""
    name = draw(st.sampled_from(["config.json", INDEX, _SHARD, _SHARD]))
    content = (_FOLDER / name).read_bytes()
    if draw(st.integers(0, 2)) == 0:
        return name, draw(changed_bytes([content]))
    if name != _SHARD:
        return name, json.dumps(draw(changed_mappings([json.loads(content)])), default=str).encode()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(draw(changed_mappings([json.loads(content[8:end])])), default=str).encode()
    length = len(header) if draw(st.integers(0, 5)) else draw(st.integers(0, 2**64 - 1))
    return name, length.to_bytes(8, "little") + header + content[end:]


def configurations() -> list[dict[str, Any]]:
    """config.json of a checkpoint of each family whose weights are loaded, also with rules for longer contexts."""
    made = [json.loads(file.read_text()) for file in sorted(_FOLDER.parent.glob("*/config.json"))]
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16, "truncate": False,
            "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "attention_factor": 1.0}  # fmt: skip
    llama3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 16}  # fmt: skip
    return made + [one | {"rope_parameters": rule} for one in made for rule in (yarn, llama3)]


def read_architecture(content: dict[str, Any], folder: Path) -> None:
    """The shape and the numbers of every layer."""
    for numbers in architecture_of(content).numbers:
        finite = [np.isfinite(np.asarray(leaf)).all() for name, leaf in vars(numbers).items() if name != "clip"]
        if not all(finite):
            raise NotPhysical(f"numbers {numbers}")


def read_checkpoint(value: tuple[str, bytes], folder: Path) -> None:
    """Every layer of a folder in which one file is changed."""
    own = folder / "model"
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(_FOLDER, own)
    name, content = value
    (own / name).write_bytes(content)
    opened = open_checkpoint(own)
    arrays = [opened.outside(), *(opened.layer(number).arrays for number in range(opened.num_layers))]
    wrong = [key for part in arrays for key, array in part.items() if array.dtype != np.float32 or 0 in array.shape]
    if wrong:
        raise NotPhysical(f"weights {wrong}")
