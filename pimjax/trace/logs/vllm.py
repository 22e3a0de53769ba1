"""vLLM's ``RequestOutput.routed_experts`` (vllm-project/vllm PR 28284): integers ``[tokens, layers, k]``.

The buffer has a row for every layer of the model, also for those without experts, and is cleared to zero: dense layers,
and tokens whose pass did not run, are zeros. SGLang's ``return_routed_experts`` sends the same axes, flat and in base64.
"""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import TraceError, shown
from pimjax.trace.logs.containers import as_array
from pimjax.trace.logs.model import Converted, LogModel, first_bad, need
from pimjax.trace.routing import RoutingTrace

PROMPT_KEY, TOKENS_KEY = "prompt_routed_experts", "routed_experts"


def is_vllm(entry: Any) -> bool:
    """Whether a dictionary holds routed experts under the names that vLLM and SGLang give them."""
    return isinstance(entry, dict) and next(_parts(entry), None) is not None


def _parts(entry: dict[str, Any]) -> Any:
    """Pairs of (name, value) of one response: the prompt, then what was generated."""
    if entry.get(PROMPT_KEY) is not None:
        yield PROMPT_KEY, entry[PROMPT_KEY]
    holders: list[Any] = [entry]
    for key in ("choices", "outputs"):
        several = entry.get(key)
        holders += several[:1] if isinstance(several, list) else []
    for holder in list(holders):
        if isinstance(holder, dict):
            holders += [holder[key] for key in ("meta_info", "sgl_ext") if isinstance(holder.get(key), dict)]
    for holder in holders:
        if isinstance(holder, dict) and holder.get(TOKENS_KEY) is not None:
            yield TOKENS_KEY, holder[TOKENS_KEY]
            return


def requests_of(content: Any) -> list[tuple[str, list[Any]]]:
    """(name, arrays to join along the tokens) of every request of a file."""
    if isinstance(content, np.ndarray):
        return [("0", [content])]
    entries = content if isinstance(content, list) else [content]
    if isinstance(content, dict) and not is_vllm(content):  # one array per request, under its name
        return [(str(name), [value]) for name, value in content.items()]
    if entries and not any(isinstance(entry, dict) for entry in entries):
        return [("0", [content])]
    found = []
    for index, entry in enumerate(entries):
        if not is_vllm(entry):
            raise TraceError(f"request {index} holds no {TOKENS_KEY}: every request of a vLLM log needs it")
        name = next((entry[key] for key in ("request_id", "id", "rid", "request") if key in entry), index)
        found.append((str(name), [value for _, value in _parts(entry)]))
    return found


def convert(content: Any, model: LogModel) -> Converted:
    """Requests of a vLLM log.

    Raises:
      TraceError: no model, other layers or k than the model's, ids out of range.
    """
    if model.moe_layers is None:
        raise TraceError(
            "a vLLM log does not say which layers have experts (dense layers are zeros, as expert 0 is): "
            "give the model (--model, model=)"
        )
    found = Converted()
    for name, parts in requests_of(content):
        arrays = [_decoded(part, model, name) for part in parts]
        if len({array.shape[1:] for array in arrays}) > 1:
            raise TraceError(f"request {shown(name)}: its prompt and its generated tokens have other layers or k")
        trace, unfilled = _one(np.concatenate(arrays), model, name)
        found.add(name, trace, left_out=unfilled)
    return found


def _decoded(part: Any, model: LogModel, name: str) -> HostArray:
    what = f"{TOKENS_KEY} of request {shown(name)}"
    if isinstance(part, str):
        part = _from_base64(part, model, what)
    array = as_array(part, what)
    if array.ndim != 3 or 0 in array.shape or not np.issubdtype(array.dtype, np.integer):
        raise TraceError(
            f"{what} is {array.dtype} of shape {list(array.shape)}: vLLM writes whole numbers [tokens, layers, k]"
        )
    return array


def _from_base64(text: str, model: LogModel, what: str) -> HostArray:
    try:
        data = base64.b64decode(text, validate=True)
        if data.startswith(b"\x93NUMPY"):
            return np.load(io.BytesIO(data), allow_pickle=False)
    except (binascii.Error, ValueError, EOFError, OSError) as error:
        raise TraceError(f"{what} is text, but no base64 of an array: it is damaged") from error
    width = need(model.num_layers, "its number of layers", "--model") * need(model.top_k, "k", "--top-k")
    if not data or len(data) % (4 * width):
        raise TraceError(
            f"{what} has {len(data)} bytes, which is not a whole number of tokens of {model.num_layers} layers x "
            f"{model.top_k} experts of 4 bytes: is it a log of this model?"
        )
    return np.frombuffer(data, "<i4").reshape(-1, model.num_layers or 1, model.top_k or 1)


def _one(array: HostArray, model: LogModel, name: str) -> tuple[RoutingTrace, int]:
    tokens, layers, k = array.shape
    what = f"{TOKENS_KEY} of request {shown(name)}"
    if not model.fits_layers(layers) and model.fits_layers(tokens):
        raise TraceError(
            f"{what} has shape {list(array.shape)}: vLLM writes [tokens, layers, k], but here the layers come first; "
            "say --format sglang, or transpose it"
        )
    rows = model.pick(layers, what) or []
    if k != model.top_k:
        raise TraceError(f"{what} has {k} experts per token but the model's top_k is {model.top_k}: is it its log?")
    dense = np.setdiff1d(np.arange(layers), rows)
    if array[:, dense].any():
        token, layer, _ = first_bad(array[:, dense] != 0)
        raise TraceError(
            f"{what} has experts in layer {int(dense[layer])} (token {token}), which has none in the model: is it a log of "
            "this model?"
        )
    ids = np.moveaxis(array[:, rows], 0, 1)
    unfilled = 0
    if k > 1:  # a pass that did not run leaves zeros, and no token visits expert 0 twice
        filled = np.flatnonzero((ids != 0).any(axis=(0, 2)))
        unfilled = tokens - (int(filled[-1]) + 1 if len(filled) else 0)
        if unfilled == tokens:
            raise TraceError(f"{what} holds zeros only: no token was recorded")
        ids = ids[:, : tokens - unfilled]
    experts = need(model.num_experts, "the number of experts", "--num-experts")
    try:
        trace = RoutingTrace.from_expert_ids(ids, experts, layer_ids=model.moe_layers)
    except TraceError as error:
        raise TraceError(f"{what}, turned to [layers, tokens, k]: {error}") from error
    return trace, unfilled
