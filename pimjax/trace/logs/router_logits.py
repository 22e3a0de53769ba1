"""The ``router_logits`` of transformers (``output_router_logits=True``): per MoE layer ``[batch x sequence, E]``.

Padding is included; the attention mask ``[batch, sequence]`` of the same forward pass tells it from tokens.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import TraceError
from pimjax.trace.logs.containers import as_array
from pimjax.trace.logs.model import Converted, LogModel, need
from pimjax.trace.route import route

LOGITS_KEY, MASK_KEY, BIAS_KEY = "router_logits", "attention_mask", "correction_bias"
_NUMBERED = re.compile(r"(?:router_logits|layer|arr)[_.]?(\d+)")


def is_router_logits(entry: Any) -> bool:
    """Whether a dictionary holds router logits under the names that transformers gives them."""
    return isinstance(entry, dict) and (
        LOGITS_KEY in entry or any(key.startswith(LOGITS_KEY) and _NUMBERED.fullmatch(key) for key in entry)
    )


def convert(content: Any, model: LogModel, router: dict[str, Any]) -> Converted:
    """One request per row of the batch; one where there is no mask.

    Args:
      content: array ``[layers, tokens, E]``, list of one array per layer, or a dictionary with ``router_logits`` (or
        ``router_logits_0``, ...) and, if there is padding, ``attention_mask``.
      model: E and k, and which layers have experts.
      router: options of :func:`~pimjax.trace.route`; kind "softmax" where neither they nor the model say another.

    Raises:
      TraceError: other layers or experts than the model's, a mask of another size.
    """
    layers, mask, bias = _parts(content)
    width = layers[0].shape[1]
    if model.num_experts is not None and width != model.num_experts:
        raise TraceError(f"{LOGITS_KEY} has {width} experts but the model has {model.num_experts}: is it its log?")
    rows = model.pick(len(layers), LOGITS_KEY)
    layers = layers if rows is None else [layers[row] for row in rows]
    logits = np.stack(layers)
    options: dict[str, Any] = {"kind": "softmax", **model.router, **router}
    if bias is None and "correction_bias" in options:
        raise TraceError(
            f"the model's router adds a bias for choosing, and the log does not hold it: save it beside the logits as "
            f"{BIAS_KEY} [layers, experts] (e_score_correction_bias of transformers)"
        )
    if bias is not None:
        options["correction_bias"] = bias
    top_k = need(model.top_k, "k, the experts per token", "--top-k")
    found = Converted()
    tokens = np.ones((1, logits.shape[1]), bool) if mask is None else mask
    split = logits.reshape(len(logits), *tokens.shape, width)
    for index, row in enumerate(tokens):
        if not row.any():
            continue
        trace = route(split[:, index][:, row], top_k, **options)
        found.add(str(index), dataclasses.replace(trace, layer_ids=model.moe_layers))
    return found


def _parts(content: Any) -> tuple[list[HostArray], HostArray | None, HostArray | None]:
    """Logits per layer ``[N, E]``, the mask ``[B, S]`` and the correction bias."""
    mask = bias = None
    values = content
    if isinstance(content, dict):
        mask, bias = content.get(MASK_KEY), content.get(BIAS_KEY)
        if LOGITS_KEY in content:
            values = content[LOGITS_KEY]
        else:
            numbered = {int(m[1]): content[key] for key in content if (m := _NUMBERED.fullmatch(key))}
            if not numbered:
                raise TraceError(f"it holds no {LOGITS_KEY}: it needs that key, or {LOGITS_KEY}_0, {LOGITS_KEY}_1, ...")
            values = [numbered[key] for key in sorted(numbered)]
    if not isinstance(values, (list, tuple, np.ndarray)):
        raise TraceError(f"{LOGITS_KEY} is a {type(values).__name__}: it must hold one array per layer")
    layers = [
        as_array(value, f"{LOGITS_KEY} of layer {index}") for index, value in enumerate(values) if value is not None
    ]
    layers = [layer for layer in layers if layer.size]  # layers without a router, where a model writes them at all
    if layers and layers[0].ndim == 3:  # [layers][batch, sequence, E]
        if mask is None:
            mask = np.ones(layers[0].shape[:2], bool)
        layers = [layer.reshape(-1, layer.shape[-1]) for layer in layers]
    for layer in layers:
        if layer.ndim != 2 or layer.shape != layers[0].shape or not np.issubdtype(layer.dtype, np.floating):
            raise TraceError(
                f"{LOGITS_KEY} has a layer of {layer.dtype} and shape {list(layer.shape)}: every layer must be floats "
                "[batch x sequence, experts] of one size"
            )
    if not layers:
        raise TraceError(f"{LOGITS_KEY} is empty: it must hold one array per layer with experts")
    return layers, _mask(mask, len(layers[0])), None if bias is None else as_array(bias, BIAS_KEY)


def _mask(mask: Any, tokens: int) -> HostArray | None:
    if mask is None:
        return None
    array = np.atleast_2d(as_array(mask, MASK_KEY))
    if array.ndim != 2 or array.size != tokens or not np.isin(array, (0, 1)).all():
        raise TraceError(
            f"{MASK_KEY} has shape {list(array.shape)}, but the logits have {tokens} tokens: it must be 0 and 1, "
            "[batch, sequence], of the same forward pass"
        )
    return array.astype(bool)
