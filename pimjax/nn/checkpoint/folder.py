"""A checkpoint folder: config.json and safetensors files, one or many with an index; nothing else is ever opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pimjax.array_typing import HostArray
from pimjax.errors import CheckpointError, shown
from pimjax.imports.json_file import read_json
from pimjax.nn.checkpoint.safetensors_file import SafetensorsFile, StoredTensor, plain_file

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
#: an index has about 100 bytes for each tensor; the largest public models have some 100,000
MAX_INDEX_BYTES = 100_000_000
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}\.safetensors")


class CheckpointFolder:
    """The tensors of a folder by name, each as a view of a mapped file.

    Args:
        path: the folder of a Hugging Face checkpoint: `config.json` and `model.safetensors`, or shards with
            `model.safetensors.index.json`.

    Attributes:
        config: content of config.json.

    Raises:
        CheckpointError: no such folder, only pickled weights (which are never opened), a shard outside the folder, a
            damaged file; one sentence. ConfigError: a config.json that is none.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.suffix in _PICKLES:
            raise CheckpointError(_pickled(self.path.name, self.path))
        if not self.path.is_dir():
            raise CheckpointError(f"{self.path}: is not a folder; give the folder of a Hugging Face checkpoint")
        self.config: dict[str, Any] = read_json(self.path)
        self._file_of: dict[str, SafetensorsFile] = {}
        for file, names in _shards(self.path):
            opened = SafetensorsFile(file)
            for name in opened.tensors if names is None else names:
                if name not in opened.tensors:
                    raise CheckpointError(
                        f"{self.path / INDEX}: says that {shown(name)} is in {file.name}, which does not hold it"
                    )
                self._file_of[name] = opened

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def stored(self, name: str) -> StoredTensor:
        """Kind and shape of one tensor.

        Raises:
            CheckpointError: the folder lacks it.
        """
        if name not in self._file_of:
            raise CheckpointError(f"{self.path}: lacks the tensor {shown(name)}, which its config.json asks for")
        return self._file_of[name].tensors[name]

    def array(self, name: str) -> HostArray:
        """One tensor as a read-only view of a mapped file; see :meth:`stored` for errors."""
        self.stored(name)
        return self._file_of[name].array(name)

    def close(self) -> None:
        """Let all maps go; the next tensor maps its file anew."""
        for file in self._file_of.values():
            file.close()

    @property
    def num_bytes(self) -> int:
        """Bytes of all files that hold tensors."""
        return sum(path.stat().st_size for path in {file.path for file in self._file_of.values()})


def _shards(folder: Path) -> list[tuple[Path, list[str] | None]]:
    """Files that hold tensors, with the tensors that the index places in each (None: all of a single file)."""
    index = folder / INDEX
    if index.exists() or index.is_symlink():
        content = read_json(index, most=MAX_INDEX_BYTES, what="the index of a checkpoint", error=CheckpointError)
        places = content.get("weight_map")
        if not isinstance(places, dict) or not places:
            raise CheckpointError(f"{index}: weight_map is {shown(places)}; it must map each tensor to its file")
        names: dict[str, list[str]] = {}
        for tensor, file in places.items():
            if not isinstance(file, str) or not _FILE_NAME.fullmatch(file):
                raise CheckpointError(
                    f"{index}: {shown(tensor)} is said to be in {shown(file)}; a shard must be a file "
                    "name.safetensors of the same folder, without a path"
                )
            names.setdefault(file, []).append(tensor)
        return [(_inside(folder, file), tensors) for file, tensors in names.items()]
    if (folder / SINGLE).exists() or (folder / SINGLE).is_symlink():
        return [(_inside(folder, SINGLE), None)]
    found = sorted(path.name for path in folder.iterdir())
    pickles = [name for name in found if name.endswith(_PICKLES)]
    if pickles:
        raise CheckpointError(_pickled(pickles[0], folder))
    tensors = [name for name in found if name.endswith(".safetensors")]
    hint = f"it holds {tensors[0]}, but no {INDEX}" if tensors else "it holds no safetensors file"
    raise CheckpointError(f"{folder}: has neither {SINGLE} nor {INDEX}; {hint}")


def _inside(folder: Path, name: str) -> Path:
    """The file of a folder. A link may lead into the folder, or to the blobs of the hub cache that the folder is of."""
    path = folder / name
    plain_file(path, f"a checkpoint folder with its {name}")
    if path.is_symlink():
        target, allowed = path.resolve(), [folder.resolve()]
        if folder.resolve().parent.name == "snapshots":
            allowed.append(folder.resolve().parent.parent / "blobs")
        if target.parent not in allowed:
            raise CheckpointError(
                f"{path}: is a link to {shown(str(target))}, outside the checkpoint; copy the file into the folder"
            )
    return path


def _pickled(name: str, where: Path) -> str:
    return (
        f"{where}: {shown(name)} is a pickle, which can run any program when it is read, and is not opened; save the "
        "model as safetensors (model.save_pretrained(folder) in transformers)"
    )
