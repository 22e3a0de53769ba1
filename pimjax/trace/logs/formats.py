"""Which program wrote a routing log: told by the user, or by what only one program writes; never by a guess."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pimjax.errors import TraceError, shown
from pimjax.trace.checks import check_choice, check_path
from pimjax.trace.jsonl import has_router_lines, read_router_log
from pimjax.trace.logs import router_logits, sglang, vllm
from pimjax.trace.logs.containers import read_container
from pimjax.trace.logs.model import LogModel
from pimjax.trace.route import SCORE_KINDS
from pimjax.trace.routing import RoutingTrace

#: Format -> what it is.
FORMATS: dict[str, str] = {
    "auto": "told by its contents, where they leave no doubt",
    "pimjax": "pimjax's own .npz",
    "jsonl": "JSON Lines, one token in one layer per line",
    "vllm": "routed_experts of vLLM or SGLang requests, [tokens, layers, k]",
    "sglang": "SGLang's expert distribution recorder per token, [layers, tokens, k or more]",
    "transformers": "router_logits of transformers, per layer [batch x sequence, experts]",
}
_COUNTS = (
    "logical_count",
    "global_physical_count",
    "expert_count",
    "expert_counts",
    "expert_load",
    "expert_loads",
    "tokens_per_expert",
    "count",
    "counts",
    "loads",
)


def read_log(
    file: Path,
    log_format: str,
    about: LogModel,
    *,
    kind: str | None = None,
    physical_to_logical: Any = None,
    max_bytes: int,
) -> RoutingTrace:
    """Stacked requests ``[R, ...]`` of a log that is not pimjax's own ``.npz``; see :func:`pimjax.trace.load_traces`."""
    check_choice("format", log_format, tuple(FORMATS))
    if kind is not None:
        check_choice("kind", kind, tuple(SCORE_KINDS))
    if file.suffix == ".csv":
        raise TraceError(_only_counts(file))
    if log_format == "jsonl" or (log_format == "auto" and file.suffix == ".jsonl" and has_router_lines(file)):
        return read_router_log(file, about.num_experts, max_bytes=max_bytes)
    content = read_container(file, max_bytes)
    chosen = _detect(content, file, about) if log_format == "auto" else log_format
    if _holds_only_counts(content):
        raise TraceError(_only_counts(file))
    try:
        match chosen:
            case "vllm":
                found = vllm.convert(content, about)
            case "sglang":
                found = sglang.convert(content, about, _beside(physical_to_logical, max_bytes))
            case _:
                found = router_logits.convert(content, about, {} if kind is None else {"kind": kind})
        return found.stacked(chosen)
    except TraceError as error:
        raise TraceError(f"{shown(file)}: {error}") from error


def _beside(mapping: Any, max_bytes: int) -> Any:
    """The map itself, or what the file beside the log holds."""
    if not isinstance(mapping, (str, os.PathLike)):
        return mapping
    content = read_container(check_path(mapping, "a physical-to-logical map"), max_bytes)
    if not isinstance(content, dict):
        return content
    found = next((content[key] for key in sglang.MAP_KEYS if key in content), None)
    if found is None and len(content) == 1:
        found = next(iter(content.values()))
    if found is None:
        raise TraceError(f"{shown(Path(mapping))} holds no {' or '.join(sglang.MAP_KEYS)}")
    return found


def _detect(content: Any, file: Path, model: LogModel) -> str:
    first = content[0] if isinstance(content, list) and content else content
    if _holds_only_counts(content):
        raise TraceError(_only_counts(file))
    for name, test in (
        ("sglang", sglang.is_sglang),
        ("vllm", vllm.is_vllm),
        ("transformers", router_logits.is_router_logits),
    ):
        if test(first):
            return name
    value = content
    if isinstance(content, dict) and len(content) == 1:
        value = next(iter(content.values()))
    array = value if isinstance(value, np.ndarray) else None
    if array is None and isinstance(value, list):
        try:
            array = np.asarray(value)
        except ValueError:
            array = None
    if array is not None and array.ndim == 3 and array.dtype != object:
        return _by_shape(array, file, model)
    raise TraceError(f"{shown(file)} holds {_contents(content)}, which {_WRITERS}")


def _by_shape(array: np.ndarray, file: Path, model: LogModel) -> str:
    """The format of an array without a name: only where one reading fits the model."""
    if np.issubdtype(array.dtype, np.floating):
        if model.num_experts is None or array.shape[2] == model.num_experts:
            return "transformers"
    elif model.moe_layers is not None:
        layers_first, tokens_first = model.fits_layers(array.shape[0]), model.fits_layers(array.shape[1])
        if layers_first != tokens_first:
            return "sglang" if layers_first else "vllm"
    raise TraceError(f"{shown(file)} holds an array of shape {list(array.shape)}, which {_WRITERS}")


_WRITERS = (
    "several programs could have written: say --format vllm ([tokens, layers, k]), sglang ([layers, tokens, k]), "
    "transformers (router logits per layer) or jsonl, and give the model (--model)"
)


def _contents(content: Any) -> str:
    if isinstance(content, dict):
        return f"the keys {shown(sorted(map(str, content)))}"
    if isinstance(content, list) and content and isinstance(content[0], dict):
        return f"objects with the keys {shown(sorted(map(str, content[0])))}"
    return f"a {type(content).__name__}"


def _holds_only_counts(content: Any) -> bool:
    """Counts per layer and expert and nothing per token."""
    first = content[0] if isinstance(content, list) and content else content
    if isinstance(first, dict):
        records = first.get("records")
        inner = records[0] if isinstance(records, list) and records and isinstance(records[0], dict) else first
        if sglang.is_sglang(first) or vllm.is_vllm(first) or router_logits.is_router_logits(first):
            return False
        names = [str(key).lower() for key in inner]
        return any(name in _COUNTS or name.endswith(("_loads", "_counts", "_count")) for name in names)
    return isinstance(content, np.ndarray) and content.ndim == 2 and np.issubdtype(content.dtype, np.integer)


def _only_counts(file: Path) -> str:
    return (
        f"{shown(file)} holds only counts per layer and expert and so no routing of tokens: a schedule needs the experts "
        "of every token; counts serve as loads, from which pimjax.trace.generator_parameters(numpy.log(counts), top_k) "
        "and generate_from_parameters make requests"
    )
