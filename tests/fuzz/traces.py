"""Files of routing traces and logs, changed in their bytes, arrays and records."""

from __future__ import annotations

import functools
import io
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

import pimjax
from fuzz.inputs import (
    changed_bytes,
    changed_mappings,
)
from fuzz.runner import NotPhysical
from pimjax.config.model import ModelConfig
from pimjax.trace import RoutingTrace

MODEL = ModelConfig(num_layers=1, num_experts=4, top_k=2)


@functools.cache
def _trace_files() -> dict[str, list[bytes]]:
    """Valid files by ending."""
    made: dict[str, list[bytes]] = {"npz": [], "jsonl": [], "npy": [], "json": []}
    ids = np.array([[0, 1], [1, 2], [2, 3]])
    trace = RoutingTrace.from_expert_ids(ids, 4)
    with tempfile.TemporaryDirectory() as place:
        for ending in ("npz", "jsonl"):
            target = Path(place) / f"trace.{ending}"
            if ending == "npz":
                trace.save(target)
            else:
                pimjax.trace.write_router_log(trace, target)
            made[ending].append(target.read_bytes())
    buffer = io.BytesIO()
    np.save(buffer, ids.reshape(3, 1, 2).astype(np.int32))
    made["npy"].append(buffer.getvalue())
    made["json"].append(json.dumps({"routed_experts": ids.reshape(3, 1, 2).tolist()}).encode())
    return made


def read_trace(value: tuple[str, bytes, str], folder: Path) -> None:
    ending, content, log_format = value
    file = folder / f"trace.{ending}"
    file.write_bytes(content)
    options: dict[str, Any] = {} if ending == "npz" else {"model": MODEL}
    trace = pimjax.load_traces(file, format=log_format, **options)
    choices = np.asarray(trace.choices)
    if choices.dtype != bool or choices.ndim not in (3, 4) or 0 in choices.shape:
        raise NotPhysical(f"choices of shape {choices.shape}")


_FORMATS = st.sampled_from(["auto", "auto", "auto", "pimjax", "vllm", "sglang", "transformers"])


def trace_bytes(ending: str) -> st.SearchStrategy[tuple[str, bytes, str]]:
    formats = st.just("vllm") if ending in ("npy", "json") else _FORMATS
    return st.tuples(st.just(ending), changed_bytes(_trace_files()[ending]), formats)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, bytes, str]:
    """An .npz file whose arrays have odd names, kinds and shapes."""
    names = (
        "choices",
        "num_tokens",
        "gate_scores",
        "expert_order",
        "layer_ids",
        "metadata",
        "schema_version",
        "kind",
        "routed_experts",
    )
    arrays: dict[str, Any] = {"choices": np.eye(4, dtype=bool)[None], "num_tokens": np.int32(4)}
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True)):
        shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
        dtype = draw(
            st.sampled_from(
                ["bool", "int32", "int64", "uint8", "float16", "float32", "float64", "U5", "complex64", "S3"]
            )
        )
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arrays[name] = np.full(shape, draw(st.sampled_from([0, 1, 2, 255, -1, 0.5])), "float64").astype(dtype)
    if draw(st.booleans()):
        arrays.pop(draw(st.sampled_from(sorted(arrays))))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return "npz", buffer.getvalue(), draw(_FORMATS)


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, bytes, str]:
    """A JSON Lines log with odd records."""
    header = {"num_experts": 4, "top_k": 2}
    records = [
        {"request": "a", "layer": 0, "token": index, "experts": [index % 4, (index + 1) % 4]} for index in range(3)
    ]
    changed = [
        draw(changed_mappings([header, *records])) if draw(st.booleans()) else record for record in [header, *records]
    ]
    return "jsonl", "\n".join(json.dumps(record, default=str) for record in changed).encode(), draw(_FORMATS)
