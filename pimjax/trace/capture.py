"""Recording the routing of a running transformers model: what its routers return, token by token, and nothing recomputed.

Routers are recognised by their class's name (it ends in "Router"; Hunyuan's in "MoEV1Gate") and by what they return
(transformers 5):

- (logits, weights ``[N, k]``, ids ``[N, k]``): Mixtral, Qwen3-MoE, OLMoE, GPT-OSS, DeepSeek-V2 and V3 and their kin;
- (scores ``[N, E]``, logits ``[N, E]``): Llama-4, whose scores are 0 outside the top k;
- logits ``[N, E]`` alone: DBRX, whose block takes the top k of them;
- (dispatch ``[B, S, E]`` of 0 and 1, probabilities, logits): Switch, which drops tokens beyond an expert's capacity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import TraceError, shown
from pimjax.trace.routing import RoutingTrace, stack_traces

_ROUTER = re.compile(r"(Router|MoEV\d+Gate)$")
_LAYER = re.compile(r"(?:^|\.)(?:layers?|blocks?|h)\.(\d+)\.")


class RouterRecorder:
    """What :func:`capture` has recorded so far."""

    def __init__(self, layers: list[int], prefix: str) -> None:
        self._layers = layers
        self._prefix = prefix  # of the arguments that belong to the recorded stack: "decoder_" or nothing
        self._mask: HostArray | None = None
        self._continues = False
        self._pass: dict[int, tuple[HostArray, HostArray]] = {}
        self._requests: list[list[dict[int, tuple[HostArray, HostArray]]]] = []
        self._batch: list[int] = []  # requests of the rows of the running batch

    def trace(self) -> RoutingTrace:
        """Requests ``[R, ...]``: a row of a batch each, padding left out; steps of generation follow their prompt.

        Raises:
          TraceError: no pass of the model has run.
        """
        if not self._requests:
            raise TraceError("nothing was recorded: run the model inside 'with capture(model) as recorder:'")
        layers = self._layers
        traces = []
        for passes in self._requests:
            chosen, weights = (
                np.stack([np.concatenate([one[layer][part] for one in passes]) for layer in layers]) for part in (0, 1)
            )
            traces.append(_one(chosen, weights, tuple(layers)))
        return stack_traces(traces).with_metadata({"log_format": "capture"})

    def _begin(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        names = (self._prefix + "input_ids", self._prefix + "inputs_embeds")
        given = [kwargs[name] for name in names if kwargs.get(name) is not None]
        ids = given[0] if given else (args[0] if args and not self._prefix else None)
        if ids is None:
            raise TraceError(f"the model ran without {names[0]}: its batch and padding are not known; pass it by name")
        shape = tuple(ids.shape[:2])
        mask = kwargs.get(self._prefix + "attention_mask", args[1] if len(args) > 1 and not self._prefix else None)
        if mask is None or getattr(mask, "ndim", 0) != 2:
            self._mask = np.ones(shape, bool)
        else:  # with a cache the mask also covers older tokens
            self._mask = _host(mask)[:, -shape[1] :].astype(bool)
        caches = [
            value for value in kwargs.values() if hasattr(value, "get_seq_length")
        ]  # whatever its argument's name
        self._continues = any(int(cache.get_seq_length()) > 0 for cache in caches)
        self._pass = {}

    def _router(self, layer: int, top_k: int | None, output: Any) -> None:
        if self._mask is None:
            return
        self._pass[layer] = _chosen(output, top_k)

    def _end(self) -> None:
        mask, self._mask = self._mask, None
        if mask is None or not self._pass:
            return
        missing = sorted(set(self._layers) - set(self._pass))
        if missing:
            raise TraceError(
                f"the router of layer {missing[0]} did not run in this pass, but those of other layers did"
            )
        rows, length = mask.shape
        if not self._continues or len(self._batch) != rows:
            self._batch = list(range(len(self._requests), len(self._requests) + rows))
            self._requests += [[] for _ in range(rows)]
        for row, request in enumerate(self._batch):
            keep = np.arange(row * length, (row + 1) * length)[mask[row]]
            self._requests[request].append({layer: (c[keep], w[keep]) for layer, (c, w) in self._pass.items()})


def _one(chosen: HostArray, weights: HostArray, layers: tuple[int, ...]) -> RoutingTrace:
    """One request from chosen bool ``[L, T, E]`` and their weights."""
    counts = chosen.sum(axis=-1)
    if (counts == counts.flat[0]).all() and counts.flat[0]:
        ranked = np.where(chosen, weights, -np.inf)
        order = np.argsort(-ranked, axis=-1, kind="stable")[..., : int(counts.flat[0])]
        return RoutingTrace.from_expert_ids(order, chosen.shape[-1], gate_scores=weights, layer_ids=layers)
    return RoutingTrace.from_choices(chosen, gate_scores=weights, layer_ids=layers)  # Switch drops tokens


def _chosen(output: Any, top_k: int | None) -> tuple[HostArray, HostArray]:
    """bool and float32 ``[N, E]``: what a router chose, and with which weights."""
    if hasattr(output, "topk"):  # a tensor
        output = (output.float().softmax(dim=-1), output)
    if len(output) == 3 and not output[2].is_floating_point():
        logits, weights, ids = output
        indices = _host(ids).reshape(-1, ids.shape[-1])
        chosen = np.zeros((len(indices), logits.shape[-1]), bool)
        np.put_along_axis(chosen, indices, True, axis=1)
        values = np.zeros(chosen.shape, np.float32)
        np.put_along_axis(values, indices, _host(weights.float()).reshape(indices.shape), axis=1)
        return chosen, values
    if len(output) == 3:
        dispatch, probabilities, logits = output
        chosen = _host(dispatch).reshape(-1, logits.shape[-1]).astype(bool)
        return chosen, np.where(chosen, _host(probabilities.float()).reshape(-1, 1), 0).astype(np.float32)
    scores, logits = output
    if top_k is None:
        raise TraceError("a router returns scores and logits but has no top_k: this model is not known")
    indices = _host(logits.topk(top_k, dim=-1).indices).reshape(-1, top_k)
    chosen = np.zeros((len(indices), logits.shape[-1]), bool)
    np.put_along_axis(chosen, indices, True, axis=1)
    return chosen, np.where(chosen, _host(scores.float()).reshape(chosen.shape), 0).astype(np.float32)


def _host(tensor: Any) -> HostArray:
    return tensor.detach().cpu().numpy()


@contextmanager
def capture(model: Any, *, part: str | None = None) -> Iterator[RouterRecorder]:
    """Record the routing of a transformers model (extra ``hf``) while it runs.

    ::

        with capture(model) as recorder:
            model.generate(**tokenizer(texts, return_tensors="pt", padding=True))
        trace = recorder.trace()

    Every row of every batch is a request; padding is left out by the attention mask, and the steps of ``generate`` follow
    their prompt. The trace knows its layers (``layer_ids``), so that it is matched with a model's configuration.

    Args:
      model: a PyTorch module of transformers with routers.
      part: where a model has several stacks of layers: the beginning of the routers' names to record ("encoder").

    Raises:
      TraceError: the model has no routers that are known, or several for one layer number.
    """
    if not hasattr(model, "named_modules") or not hasattr(model, "register_forward_pre_hook"):
        raise TraceError(f"model is {shown(model)}: give a PyTorch module of transformers")
    routers: dict[int, tuple[str, Any, int | None]] = {}
    modules = dict(model.named_modules())
    for name, module in modules.items():
        layer = _LAYER.search(name)
        if not _ROUTER.search(type(module).__name__) or layer is None or not name.startswith(part or ""):
            continue
        number = int(layer[1])
        if number in routers:
            raise TraceError(
                f"layer {number} has two routers, {routers[number][0]} and {name}: say which to record with part= "
                "(part='encoder', part='decoder')"
            )
        block = modules.get(name.rpartition(".")[0])  # of some families it is the block that knows k
        routers[number] = (name, module, getattr(module, "top_k", getattr(block, "top_k", None)))
    if not routers:
        raise TraceError(
            f"{shown(type(model))} has no router that is known{f' under {part!r}' if part else ''}: modules whose class ends "
            "in 'Router', as transformers 5 names them; its router_logits can be converted (--format transformers)"
        )
    prefix = "decoder_" if part is not None and part.startswith("decoder") else ""
    recorder = RouterRecorder(sorted(routers), prefix)
    hooks = [model.register_forward_pre_hook(recorder._begin, with_kwargs=True)]
    hooks += [
        module.register_forward_hook(lambda _, __, output, number=number, k=k: recorder._router(number, k, output))
        for number, (_, module, k) in routers.items()
    ]
    hooks.append(model.register_forward_hook(lambda *_: recorder._end()))
    try:
        yield recorder
    finally:
        for hook in hooks:
            hook.remove()
