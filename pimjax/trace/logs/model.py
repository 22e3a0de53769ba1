"""What a model says about a routing log of it: which layers have experts, how many, and how many a token visits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import TraceError, shown
from pimjax.trace.arguments import check_sizes
from pimjax.trace.checks import check_num_experts
from pimjax.trace.routing import RoutingTrace, stack_traces


@dataclass(frozen=True)
class LogModel:
    """The model behind a log, as far as it is known.

    Attributes:
      num_layers: all decoder layers; None: not known.
      moe_layers: numbers of the layers with experts; None: not known.
      num_experts, top_k: E and k; None: not known.
      router: options of :func:`~pimjax.trace.route` that the model's router has.
    """

    num_layers: int | None
    moe_layers: tuple[int, ...] | None
    num_experts: int | None
    top_k: int | None
    router: dict[str, Any]

    def pick(self, layers: int, what: str) -> list[int] | None:
        """Which of a log's `layers` layers have experts: positions, one per MoE layer; None where the model is unknown.

        Raises:
          TraceError: the log has another number of layers than the model, or than its layers with experts.
        """
        if self.moe_layers is None or self.num_layers is None:
            return None
        if layers == len(self.moe_layers):
            return list(range(layers))
        if layers == self.num_layers:
            return list(self.moe_layers)
        raise TraceError(
            f"{what} has {layers} layers, but the model has {self.num_layers}, of which {len(self.moe_layers)} have "
            "experts: give the model of this log (--model), or its other format (--format)"
        )

    def fits_layers(self, count: int) -> bool:
        """Whether an axis of this length can be that of the layers."""
        return self.moe_layers is not None and count in (self.num_layers, len(self.moe_layers))


class Converted:
    """Requests of a log, as they are found, and what was left out."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.traces: list[RoutingTrace] = []
        self.first_token: list[int] = []
        self.left_out: list[int] = []

    def add(self, name: str, trace: RoutingTrace, *, first_token: int = 0, left_out: int = 0) -> None:
        """One more request; `left_out` counts its tokens without routing."""
        self.names.append(name)
        self.traces.append(trace)
        self.first_token.append(first_token)
        self.left_out.append(left_out)

    def stacked(self, log_format: str) -> RoutingTrace:
        """All requests ``[R, ...]``, with their names.

        Raises:
          TraceError: there is none.
        """
        if not self.traces:
            raise TraceError("it holds no request with routed tokens")
        notes: dict[str, Any] = {"log_format": log_format, "request_names": np.array(self.names)}
        if any(self.first_token):
            notes["first_token"] = np.array(self.first_token, np.int32)
        if any(self.left_out):
            notes["tokens_left_out"] = np.array(self.left_out, np.int32)
        return stack_traces(self.traces).with_metadata(notes)


def model_section(model: Any) -> Any:
    """The model section of a configuration, of a preset's name or of a file.

    Raises:
      TraceError: it is none of these.
      ConfigError: the preset or file cannot be read.

    >>> model_section("mixtral_8x7b").num_experts
    8
    """
    if isinstance(model, (str, os.PathLike)):
        from pimjax.config.loader import load_config

        model = load_config(os.fspath(model))
    section = getattr(model, "model", model)
    if not hasattr(section, "is_moe_layer"):
        raise TraceError(
            f"model is {shown(model)}: give a configuration, its model section, the name of a preset or a file"
        )
    return section


def log_model(model: Any, num_experts: int | None, top_k: int | None) -> LogModel:
    """From a configuration, its model section, a preset's name or a YAML file; or from E and k alone.

    >>> log_model("deepseek_v2_lite", None, None).moe_layers[:2]
    (1, 2)
    """
    if num_experts is not None:
        check_num_experts(num_experts)
    if top_k is not None:
        check_sizes(top_k=top_k)
    if model is None:
        return LogModel(None, None, num_experts, top_k, {})
    section = model_section(model)
    for name, given in (("num_experts", num_experts), ("top_k", top_k)):
        if given is not None and given != getattr(section, name):
            raise TraceError(f"{name} is {given}, but the model has {getattr(section, name)}: leave one of them out")
    layers = tuple(layer for layer in range(section.num_layers) if section.is_moe_layer(layer))
    if not layers:
        raise TraceError("the model has no layer with experts: a dense model needs no routing log")
    return LogModel(section.num_layers, layers, section.num_experts, section.top_k, _router(section))


def _router(section: Any) -> dict[str, Any]:
    """How the model's router chooses, where its section says so."""
    found: dict[str, Any] = {}
    if (scoring := getattr(section, "router_scoring", None)) is not None:
        found["kind"] = scoring
    if (groups := getattr(section, "router_groups", 1)) > 1:
        found.update(num_groups=groups, top_groups=section.router_groups_kept)
    if getattr(section, "router_correction", "none") != "none":
        found["correction_bias"] = None  # there is one, and the log must hold it
    return found


def need(value: Any, name: str, flag: str) -> Any:
    """A fact that the log does not hold.

    Raises:
      TraceError: it was not given.
    """
    if value is None:
        raise TraceError(f"this log does not say {name}: give the model (--model, model=) or {flag}")
    return value


def first_bad(mask: HostArray) -> tuple[int, ...]:
    """Where the first true entry lies."""
    return tuple(int(index) for index in np.argwhere(mask)[0])
