"""Checkpoint folders that are none, or want to be read from elsewhere: one sentence, and nothing is ever executed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimjax.errors import CheckpointError, PimjaxError
from pimjax.nn import load_checkpoint, open_checkpoint
from pimjax.nn.checkpoint.folder import INDEX, SINGLE, CheckpointFolder
from pimjax.nn.checkpoint.safetensors_file import DTYPES, MAX_HEADER_BYTES, SafetensorsFile

FOLDER = Path(__file__).parent / "golden" / "checkpoints"


def entry(begin: int, end: int, shape: list[int] | None = None, dtype: str = "U8") -> dict:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def write(path: Path, header, content: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + content)
    return path


@pytest.mark.parametrize(
    ("header", "content", "words"),
    [
        ({"a": entry(0, 4), "b": entry(2, 6)}, b"123456", "overlaps 'a'"),
        ({"a": entry(0, 4), "b": entry(0, 4)}, b"1234", "overlaps 'a'"),
        ({"a": entry(0, 2), "b": entry(4, 6)}, b"123456", "leaves a gap after 'a'"),
        ({"a": entry(1, 3)}, b"123", "leaves a gap after the header"),
        ({"a": entry(0, 4)}, b"12", "take 4 bytes, but 2 follow"),
        ({"a": entry(0, 2)}, b"1234", "take 2 bytes, but 4 follow"),
        ({"a": entry(0, 2**62)}, b"12", "take 4,611,686,018,427,387,904 bytes"),
        ({"a": entry(0, 4, [2, 3])}, b"1234", "its shape"),
        ({"a": entry(0, 4, [2**40, 2**40])}, b"1234", "its shape"),
        ({"a": entry(0, 4, [1] * 9)}, b"1234", "at most 8 whole numbers"),
        ({"a": entry(0, 4, [-4])}, b"1234", "whole numbers from 0"),
        ({"a": entry(0, 4, [4.0])}, b"1234", "whole numbers from 0"),
        ({"a": entry(0, 4, [True, 4])}, b"1234", "whole numbers from 0"),
        ({"a": {**entry(0, 4), "data_offsets": [4, 0]}}, b"1234", r"\[begin, end\]"),
        ({"a": {**entry(0, 4), "data_offsets": [0]}}, b"1234", r"\[begin, end\]"),
        ({"a": {**entry(0, 4), "data_offsets": "04"}}, b"1234", r"\[begin, end\]"),
        ({"a": {**entry(0, 4), "dtype": 3}}, b"1234", "dtype is 3"),
        ({"a": {"dtype": "U8"}}, b"", "must have dtype, shape and data_offsets"),
        ({"a": [1, 2]}, b"", "must have dtype, shape and data_offsets"),
        ([1, 2], b"", "must be a JSON object"),
        (b"{", b"", "not valid JSON"),
        (b'{"a": NaN}', b"", "finite"),
        (b"\xff\xfe", b"", "not UTF-8"),
        (b"[" * 50_000, b"", "nested too deeply"),
        (b"\x80\x04}q\x00.", b"", "not UTF-8"),  # a pickle's bytes
    ],
)  # fmt: skip
def test_headers_that_are_none(tmp_path, header, content, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        SafetensorsFile(write(tmp_path / "a.safetensors", header, content))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize("length", [9, 2**31, MAX_HEADER_BYTES + 1, 2**62, 2**64 - 1])
def test_huge_headers_are_not_read(tmp_path, length):
    path = write(tmp_path / "a.safetensors", b"{}", length=length)
    with path.open("ab") as stream:
        stream.truncate(10_000_000_000 if length > 9 else 12)  # sparse
    begin = time.perf_counter()
    with pytest.raises(CheckpointError, match="its header has"):
        SafetensorsFile(path)
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize("content", [b"", b"1234567"])
def test_files_shorter_than_a_length(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="no safetensors file, or cut short"):
        SafetensorsFile(tmp_path / "a.safetensors")


def test_numbers_of_a_kind_that_is_not_read(tmp_path):
    file = SafetensorsFile(write(tmp_path / "a.safetensors", {"a": entry(0, 4, [8], "F4")}, b"1234"))
    with pytest.raises(CheckpointError, match="numbers of kind 'F4'"):
        file.array("a")
    with pytest.raises(CheckpointError, match="has no tensor 'b'"):
        file.array("b")


@pytest.mark.parametrize("kind", DTYPES)
def test_every_kind_of_numbers_is_a_view_of_the_file(tmp_path, kind):
    dtype = np.dtype(DTYPES[kind])
    stored = np.arange(6).astype(dtype).reshape(2, 3)
    header = {"__metadata__": {"format": "pt"}, "x": entry(0, 1), "a": entry(1, 1 + stored.nbytes, [2, 3], kind)}
    file = SafetensorsFile(write(tmp_path / "a.safetensors", header, b"0" + stored.tobytes()))
    read = file.array("a")  # not aligned, as a file may be
    assert read.dtype == dtype
    assert np.array_equal(read.astype(np.float64), stored.astype(np.float64))
    base = read
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        read[0, 0] = 0


def test_the_library_reads_the_same(tmp_path):
    """Files of the library in our reader; our reader refuses what the library refuses."""
    library = pytest.importorskip("safetensors", reason="the library's reader is the oracle")
    from safetensors.numpy import save_file

    draw = np.random.default_rng(0)
    tensors = {"b": draw.normal(size=(3, 4)).astype(np.float32), "a": draw.integers(0, 9, 5), "none": np.zeros((0, 3))}
    save_file(tensors, tmp_path / "a.safetensors")
    own = SafetensorsFile(tmp_path / "a.safetensors")
    assert own.tensors.keys() == tensors.keys()
    assert all(np.array_equal(own.array(name), value) for name, value in tensors.items())
    for name in sorted(path.name for path in FOLDER.iterdir()):
        for file in (FOLDER / name).glob("*.safetensors"):
            with library.safe_open(file, framework="flax") as other:
                mine = SafetensorsFile(file)
                assert set(other.keys()) == mine.tensors.keys()
                assert all(np.array_equal(mine.array(one), np.asarray(other.get_tensor(one))) for one in mine.tensors)


def read_all(path: Path) -> None:
    file = SafetensorsFile(path)
    for name in file.tensors:  # a kind of numbers that is none is said where it is read
        file.array(name)


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 1999), value=st.integers(0, 255), cut=st.booleans())
def test_what_the_library_refuses_is_refused(tmp_path_factory, place, value, cut):
    library = pytest.importorskip("safetensors", reason="the library's reader is the oracle")
    folder = tmp_path_factory.mktemp("changed")
    content = bytearray((FOLDER / "mixtral" / "model-00004-of-00004.safetensors").read_bytes())
    content = content[: len(content) - place - 1] if cut else content
    content[place if place < len(content) else 0] = value
    path = folder / "a.safetensors"
    path.write_bytes(content)
    try:
        with library.safe_open(path, framework="flax") as other:
            names = set(other.keys())
    except Exception:
        with pytest.raises(CheckpointError):
            read_all(path)
        return
    assert SafetensorsFile(path).tensors.keys() == names


# --- folders ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sharded(tmp_path) -> Path:
    shutil.copytree(FOLDER / "mixtral", tmp_path / "model")
    return tmp_path / "model"


def place(folder: Path, file: object) -> None:
    """Say that the embedding is in another file."""
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["model.embed_tokens.weight"] = file
    (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize(
    "file",
    ["../secret.safetensors", "/etc/passwd", "/tmp/a.safetensors", "a/b.safetensors", "..\\a.safetensors", "C:\\a.safetensors",
     "~/a.safetensors", ".hidden.safetensors", "model.bin", "", ".", "..", "a\0.safetensors", "a\n.safetensors", 3, None, ["a"], {},
     "x" * 5000 + ".safetensors", "file:///a.safetensors", "\x1b[31m.safetensors", "model-00001-of-00004.safetensors/"],
)  # fmt: skip
def test_shards_outside_the_folder(sharded, file):
    place(sharded, file)
    with pytest.raises(CheckpointError, match="a shard must be a file") as caught:
        load_checkpoint(sharded)
    assert str(caught.value).isprintable()


def test_links(sharded, tmp_path):
    shard = sharded / "model-00001-of-00004.safetensors"
    outside = tmp_path / "elsewhere.safetensors"
    shutil.move(shard, outside)
    shard.symlink_to(outside)
    with pytest.raises(CheckpointError, match="outside the checkpoint; copy the file"):
        load_checkpoint(sharded)
    shard.unlink()
    shutil.move(outside, sharded / "held.safetensors")
    shard.symlink_to("held.safetensors")
    assert load_checkpoint(sharded)(np.arange(1, 4)).logits.shape == (3, 61)
    for wrong, words in (
        ("/dev/zero", "not a plain file"),
        ("/no/such", "cannot be read"),
        (shard.name, "cannot be read"),
    ):
        shard.unlink()
        shard.symlink_to(wrong)
        with pytest.raises(CheckpointError, match=words):
            load_checkpoint(sharded)


def test_the_cache_of_the_hub_is_links_into_its_blobs(tmp_path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted((FOLDER / "mixtral").glob("*"))):
        shutil.copy(file, blobs / f"hash{number}")
        (snapshot / file.name).symlink_to(f"../../blobs/hash{number}")
    assert load_checkpoint(snapshot)(np.arange(1, 4)).logits.shape == (3, 61)


def test_pipes_and_folders_in_place_of_files(sharded):
    shard = sharded / "model-00001-of-00004.safetensors"
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(CheckpointError, match="not a plain file"):
        load_checkpoint(sharded)
    shard.unlink()
    shard.mkdir()
    with pytest.raises(CheckpointError, match="not a plain file"):
        load_checkpoint(sharded)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not valid JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "weight_map"),
        ('{"weight_map": {}}', "weight_map"),
        ('{"weight_map": ["a"]}', "weight_map"),
        ('{"weight_map": {"a": "none.safetensors"}}', "cannot be read"),
        ('{"weight_map": {"no.such": "model-00001-of-00004.safetensors"}}', "does not hold it"),
        ('{"weight_map": {"model.norm.weight": "model-00004-of-00004.safetensors"}}', "lacks the tensor"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_indices_that_are_none(sharded, content, words):
    (sharded / INDEX).write_text(content)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(sharded)


def test_a_file_of_a_gigabyte_is_not_read(sharded):
    for name in (INDEX, "config.json"):
        with (sharded / name).open("wb") as stream:
            stream.truncate(1_000_000_000)  # sparse
        begin = time.perf_counter()
        with pytest.raises(PimjaxError, match="at most"):
            load_checkpoint(sharded)
        assert time.perf_counter() - begin < 5


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "model.ckpt", "weights.pkl"])
def test_pickles_are_refused_and_not_executed(tmp_path, name):
    folder, trap = tmp_path / "model", tmp_path / "executed"
    folder.mkdir()
    shutil.copy(FOLDER / "mixtral" / "config.json", folder)
    (folder / name).write_bytes(pickle.dumps(Trap(trap)))
    for path in (folder, folder / name):
        with pytest.raises(CheckpointError, match="is a pickle, which can run any program"):
            load_checkpoint(path)
    # the same bytes under the name of a safetensors file
    shutil.copy(folder / name, folder / SINGLE)
    with pytest.raises(CheckpointError, match="no safetensors file"):
        load_checkpoint(folder)
    assert not trap.exists()
    pickle.loads((folder / name).read_bytes())  # the trap is one
    assert trap.exists()


@pytest.mark.parametrize("path", ["", "no such", "a\0b", "x" * 5000, 3, None, b"a", "/dev/zero", "/etc/passwd"])
def test_paths_that_are_none(path):
    for function in (load_checkpoint, open_checkpoint):
        with pytest.raises(PimjaxError):
            function(path)


def test_a_folder_without_weights(tmp_path):
    shutil.copy(FOLDER / "mixtral" / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match="it holds no safetensors file"):
        CheckpointFolder(tmp_path)
    shutil.copy(FOLDER / "mixtral" / "model-00001-of-00004.safetensors", tmp_path)
    with pytest.raises(CheckpointError, match=r"but no model\.safetensors\.index\.json"):
        CheckpointFolder(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(PimjaxError, match="is not a file"):
        CheckpointFolder(tmp_path)


def test_weights_that_are_whole_numbers(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(FOLDER / "olmoe", folder)
    content = (folder / SINGLE).read_bytes().replace(b'"F16"', b'"I16"')
    (folder / SINGLE).write_bytes(content)
    with pytest.raises(CheckpointError, match="without scales that are read"):
        load_checkpoint(folder)


def test_float8_with_block_scales(tmp_path):
    """DeepSeek-V3's files: float8 weights beside the scales of their blocks, read as their product."""
    folder = tmp_path / "model"
    shutil.copytree(FOLDER / "deepseek_v3", folder)
    held = SafetensorsFile(folder / SINGLE)
    tensors = {name: np.array(held.array(name)) for name in held.tensors}
    exact = dict(tensors)
    for name, value in list(tensors.items()):
        if "_proj" in name and name.endswith("weight"):
            rows, columns = -(-value.shape[0] // 8), -(-value.shape[1] // 4)
            scales = np.linspace(0.5, 2, rows * columns, dtype=np.float32).reshape(rows, columns)
            tensors[name] = value.astype(jnp.float8_e4m3fn)
            tensors[f"{name}_scale_inv"] = scales
            wide = np.kron(scales, np.ones((8, 4), np.float32))[: value.shape[0], : value.shape[1]]
            exact[name] = tensors[name].astype(np.float32) * wide
    config = json.loads((folder / "config.json").read_text())
    for name, stored, extra in (
        ("packed", tensors, {"quantization_config": {"quant_method": "fp8", "weight_block_size": [8, 4]}}),
        ("exact", exact, {}),
    ):
        own = tmp_path / name
        own.mkdir()
        (own / "config.json").write_text(json.dumps(config | extra))
        _save(own / SINGLE, stored)
    tokens = np.arange(1, 9)
    packed, plain = (load_checkpoint(tmp_path / name)(tokens).logits for name in ("packed", "exact"))
    assert np.array_equal(packed, plain)
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": "8x4"}
    (tmp_path / "packed" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="weight_block_size"):
        load_checkpoint(tmp_path / "packed")


def _save(path: Path, tensors: dict[str, np.ndarray]) -> None:
    kinds = {np.dtype(dtype): kind for kind, dtype in DTYPES.items()}
    header, content = {}, b""
    for name, value in tensors.items():
        header[name] = entry(len(content), len(content) + value.nbytes, list(value.shape), kinds[value.dtype])
        content += value.tobytes()
    write(path, header, content)
