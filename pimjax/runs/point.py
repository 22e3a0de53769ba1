"""One design point, ready for formulas: every number of one floating-point type, every option a flag with a name.

Numbers are converted once, here, and only those that a formula reads; flags are compared once. Formulas below take a
:class:`Point` or a design; :func:`point_of` is where they begin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

import jax

from pimjax import arrays
from pimjax.config.build import Design
from pimjax.config.model import ACTIVATIONS, ATTENTION_KINDS
from pimjax.config.plan import (
    ACCUMULATE_KINDS,
    ATTENTION_LAWS,
    COMBINE_KINDS,
    EMBEDDING_KINDS,
    MEMORY_IDLE_KINDS,
    OVERLAP_KINDS,
    ROUTER_KINDS,
    SHARE_KINDS,
    TILE_KINDS,
)
from pimjax.config.workload import GO_CACHES
from pimjax.runs.cache_flags import CacheUse, cache_use

_Made = TypeVar("_Made")


class _Numbers:
    """A section of a design; each number is converted when it is first read."""

    def __init__(self, section: Any, dtype: Any, device: bool) -> None:
        self._section, self._dtype, self._device = section, dtype, device

    def __getattr__(self, name: str) -> Any:
        value = arrays.as_real(getattr(self._section, name), self._dtype, device=self._device)
        setattr(self, name, value)
        return value


class Point:
    """A design point. Flags are bool scalars, data as everything else.

    Attributes:
        design: as given; its integers are exact.
        constants: of circuits, by name, that are not the nominal ones.
        hardware, model, workload, plan: its numbers, in `dtype`.
    """

    hardware: Any
    model: Any
    workload: Any
    plan: Any

    def __init__(self, design: Design, *others: Any, constants: Mapping[str, Any] | None = None) -> None:
        leaves = jax.tree.leaves((design, others, constants))
        self.design, self.constants = design, constants
        self._made: dict[Any, Any] = {}
        self.device = arrays.on_device(*leaves)
        # of other chips' designs only what they have in common is read: their caches
        self.dtype = arrays.real_dtype(getattr(design.hardware, "mvm_latency_ns", 0.0), *leaves)
        for name in ("hardware", "model", "workload", "plan"):
            setattr(self, name, _Numbers(getattr(design, name), self.dtype, self.device))

    def real(self, tree: Any) -> Any:
        """`tree` in this point's numbers; flags stay."""
        return arrays.as_real(tree, self.dtype, device=self.device)

    def once(self, function: Callable[[Point], _Made]) -> _Made:
        """`function` of this point, computed at the first call."""
        if function not in self._made:
            self._made[function] = function(self)
        return self._made[function]

    def _is(self, section: str, leaf: str, kinds: tuple[str, ...], kind: str) -> Any:
        return getattr(getattr(self.design, section), leaf) == kinds.index(kind)

    @cached_property
    def one(self) -> Any:
        """1, in a way that no compiler sees: for :func:`pimjax.arrays.apart`."""
        return arrays.fixed(1.0 + 0.0 * self.hardware.crossbar_rows)

    # --- plan ---------------------------------------------------------------------------------------------------

    @cached_property
    def local(self) -> Any:
        """Partial sums are added beside the converters, not on digital units."""
        return self._is("plan", "accumulate", ACCUMULATE_KINDS, "local")

    @cached_property
    def inline(self) -> Any:
        """Expert outputs are added in the return links."""
        return self._is("plan", "combine", COMBINE_KINDS, "inline")

    @cached_property
    def pairs(self) -> Any:
        """The two stages of an expert share peripherals."""
        return self._is("plan", "share", SHARE_KINDS, "pair")

    @cached_property
    def unshared(self) -> Any:
        """Every expert is a group of its own."""
        return self._is("plan", "share", SHARE_KINDS, "none")

    @cached_property
    def slices(self) -> Any:
        """Crossbars that hold the slices of one block of weights; a digital macro holds all bits."""
        return arrays.where(self._is("plan", "tile", TILE_KINDS, "digital_sram"), 1.0, self.hardware.weight_slices)

    @cached_property
    def routes_on_units(self) -> Any:
        """The router's linear layer runs on a digital unit."""
        return self._is("plan", "router", ROUTER_KINDS, "digital")

    @cached_property
    def looks_up(self) -> Any:
        """Embeddings come from the memory."""
        return self._is("plan", "embedding", EMBEDDING_KINDS, "lookup")

    @cached_property
    def prefetches(self) -> Any:
        """Keys and values are read ahead."""
        return self._is("plan", "dram_overlap", OVERLAP_KINDS, "prefetch")

    @cached_property
    def streams(self) -> Any:
        """Keys and values are read while attention runs, and a prompt's embeddings before it."""
        return self._is("plan", "dram_overlap", OVERLAP_KINDS, "stream")

    @cached_property
    def always_idles(self) -> Any:
        """The memory draws its idle power whatever lives there."""
        return self._is("plan", "memory_idle", MEMORY_IDLE_KINDS, "always")

    @cached_property
    def linear_attention(self) -> Any:
        """Attention is linear in its pairs; else the authors' fit."""
        return self._is("plan", "attention", ATTENTION_LAWS, "linear")

    # --- model --------------------------------------------------------------------------------------------------

    @cached_property
    def is_mla(self) -> Any:
        """Attention is compressed."""
        return self._is("model", "attention", ATTENTION_KINDS, "mla")

    @cached_property
    def activation_is(self) -> tuple[Any, ...]:
        """One flag per kind of activation, in the order of ACTIVATIONS."""
        return tuple(self._is("model", "activation", ACTIVATIONS, kind) for kind in ACTIVATIONS)

    def by_activation(self, *values: Any) -> Any:
        """The value of this model's activation; one per kind, in the order of ACTIVATIONS."""
        chosen = values[-1]
        for flag, value in zip(self.activation_is[-2::-1], values[-2::-1], strict=True):
            chosen = arrays.where(flag, value, chosen)
        return chosen

    @cached_property
    def router_outputs(self) -> Any:
        """Outputs of a router: one for each expert, and the gate of the shared block."""
        return self.model.num_experts + arrays.where(self.design.model.shared_gate, 1.0, 0.0 * self.model.num_experts)

    # --- caches (docs/caches.md) --------------------------------------------------------------------------------

    @cached_property
    def _use(self) -> CacheUse:
        return cache_use(self.design)

    @property
    def go_used(self) -> Any:
        """A gate-output cache exists and counts (expert choice)."""
        return self._use.go_used

    @cached_property
    def go_is_threshold(self) -> Any:
        """It keeps thresholds."""
        return self._is("workload", "go_cache", GO_CACHES, "threshold")

    @cached_property
    def go_costs(self) -> Any:
        """It costs time and energy."""
        return self.go_used & (self.design.workload.go_cache != GO_CACHES.index("authors"))

    @property
    def reads_kv(self) -> Any:
        """One query per sequence in a decode step."""
        return self._use.reads_kv

    @property
    def dense_all(self) -> Any:
        """Decode steps recompute q/k/v/o, attention and router of the whole prefix."""
        return self._use.dense_all

    @property
    def experts_all(self) -> Any:
        """They recompute its experts too."""
        return self._use.experts_all


def point_of(design: Design | Point) -> Point:
    """The point of a design, or the point itself.

    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> point = point_of(build(Config())[0])
    >>> float(point.model.d_model), bool(point.local)
    (4096.0, True)
    """
    return design if isinstance(design, Point) else Point(design)
