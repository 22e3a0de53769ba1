"""`Chip`: what the rest of pimjax asks of a chip model. A chip is one folder (or one file) with one object of this class.

To add one, subclass :class:`Chip`, and either put a line into `pimjax/registry.py`, call `CHIPS.register(chip)`, or
declare an entry point of the group `pimjax.chips`. Everything else (estimates, batches, sweeps, tuning, explanations,
reports) works from there; docs/extending.md builds one in 150 lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.chips.ledger import ComponentSpec, Reader
from pimjax.chips.run_cost import OP_KINDS, RunCost
from pimjax.chips.sizes import Sized
from pimjax.config.build import Capacity, Design
from pimjax.config.config import Config
from pimjax.config.hardware import HardwareSection
from pimjax.errors import ConfigError
from pimjax.runs.routing import RunRouting
from pimjax.trace.routing import RoutingTrace


class Counted(NamedTuple):
    """A number of units, and what they are."""

    count: float
    what: str


@dataclass(frozen=True)
class EventOptions:
    """What an exact run may be given beside a configuration and a trace; a chip names those it knows.

    Attributes:
        expert_choices: one entry of k distinct ids per (pass, MoE layer, token).
        seed: for drawing experts where none are given.
        timeline: file for the first pass's timeline.
        passes: equal passes of several runs that are given the same dictionary are computed once.
        memory: also the exact peak of the buffers, where that takes more time.
    """

    expert_choices: Sequence[Sequence[int]] | None = None
    seed: int = 0
    timeline: Any = None
    passes: dict[Any, Any] | None = None
    memory: bool = True


class Chip:
    """A chip model: its section of a configuration, its components, its fast kernels and its exact simulation.

    Attributes:
        name: what `chip_model` calls it.
        about: one line for people.
        hardware: class of its `hardware` section.
        components: its ledger, in the order of the `[C]` axes of its results.
        readers: what else reads keys.
        op_kinds: names along the `[O]` axis of `op_counts`.
        takes_routing: whether its fast fidelities depend on a trace; then `inputs` is called with the requests.
        event_options: fields of :class:`EventOptions` that it knows.
        input_fields: hardware numbers that `inputs` depends on.
        sequence_components: where all tokens of a serving step share one pass (weights are read once for prompts and new
            tokens together): the components that work on each sequence by itself. None: the chip takes prompts and new
            tokens one after the other. Only for chips whose latency is the sum of their components' busy times.
        plain_layers_only: whether it knows attention of one kind of head, full or windowed, with two norms in each
            layer, and no more (see :mod:`pimjax.config.uncosted`); models with anything else are refused.
        swaps_experts: whether it may hold a part of a layer's experts (`system.residency: swap`).
    """

    name: ClassVar[str]
    about: ClassVar[str] = ""
    hardware: ClassVar[type[HardwareSection]]
    components: ClassVar[tuple[ComponentSpec, ...]]
    readers: ClassVar[tuple[Reader, ...]] = ()
    op_kinds: ClassVar[tuple[str, ...]] = OP_KINDS
    takes_routing: ClassVar[bool] = False
    event_options: ClassVar[frozenset[str]] = frozenset()
    input_fields: ClassVar[tuple[str, ...]] = ()
    sequence_components: ClassVar[tuple[str, ...] | None] = None
    plain_layers_only: ClassVar[bool] = True
    swaps_experts: ClassVar[bool] = False

    # --- what a run needs ---------------------------------------------------------------------------------------

    def check(self, config: Config) -> None:
        """Raise ConfigError where the chip does not have what a configuration asks for (cheap: at every validation)."""

    def check_core(self, config: Config) -> None:
        """Raise ConfigError where the numbers are beyond what physics allows (asked once per estimate)."""

    def check_options(self, config: Config, options: EventOptions) -> None:
        """Raise where options do not fit a run, also for fidelities that do not look at them."""

    def inputs(self, config: Config, requests: RoutingTrace | None, *, fidelity: str, capacity: Capacity) -> Any:
        """What the kernel needs of a run beside its design: a pytree of arrays, or None. Host.

        Args:
            config: with its prompt length filled in.
            requests: stacked requests `[B, ...]`; None where `takes_routing` is False.
            fidelity: "fluid" or "closed".
            capacity: shapes.
        """
        return None

    def inputs_of_many(
        self,
        runs: Sequence[tuple[Config, RoutingTrace | None]],
        *,
        fidelity: str,
        capacity: Capacity,
        layers: int | None = None,
    ) -> list[Any]:
        """`inputs` of many runs whose configurations differ in their lengths alone; `layers`: shorter layer axes."""
        return [self.inputs(config, requests, fidelity=fidelity, capacity=capacity) for config, requests in runs]

    def inputs_of_parts(
        self,
        config: Config,
        routing: RunRouting | None,
        parts: Sequence[Config],
        edges: Any,
        *,
        fidelity: str,
        capacity: Capacity,
    ) -> list[Any]:
        """`inputs` of the whole run, its prefill, and each piece of its decode phase (see estimation/generation).

        Args:
            config: the whole run.
            routing: of the whole run; None where `takes_routing` is False.
            parts: configurations of the whole, the prefill and each piece.
            edges: int `[K + 1]`, decode steps at which the pieces begin and end.
            fidelity, capacity: as :meth:`inputs`.
        """
        return [self.inputs(part, None, fidelity=fidelity, capacity=capacity) for part in parts]

    def spread_of_layers(self, config: Config, routing: RunRouting) -> tuple[Any, int] | None:
        """How a run's groups lie over dies: int `[layers with experts, G]`, place of each group along its layer's silicon,
        and the most dies a layer is followed over. None: no system is described around the chip."""
        return None

    def alike(self, inputs: Sequence[Any]) -> list[Any]:
        """Inputs of different runs with the same leaves and shapes, so that they can be stacked."""
        return list(inputs)

    # --- what it costs ------------------------------------------------------------------------------------------

    def cost(self, design: Design, inputs: Any, *, capacity: Capacity, fidelity: str, critical: bool = True) -> RunCost:
        """Primitive costs of one run. Kernel: pure, unbatched, differentiable in every leaf of `design.hardware`.

        Args:
            design: leaves scalars.
            inputs: from :meth:`inputs`.
            capacity: static.
            fidelity: static, "fluid" or "closed".
            critical: static; False leaves `critical_ns` zero and saves what it takes.
        """
        raise NotImplementedError

    def runs_on_host(self, inputs: Any) -> bool:
        """Whether `cost` also runs on NumPy leaves with these inputs, so that a single estimate compiles nothing."""
        return False

    def simulate(
        self, config: Config, requests: RoutingTrace | None, *, capacity: Capacity, options: EventOptions
    ) -> RunCost:
        """The same exactly: NumPy, float64.

        Raises:
            ConfigError: the chip has no exact model.
        """
        raise ConfigError(f"chip_model {self.name!r} has no fidelity 'event'; use fluid or closed")

    def run_cost(
        self,
        *,
        latency_ns: Any,
        critical_ns: Mapping[str, Any],
        busy_ns: Mapping[str, Any],
        energy_nj: Mapping[str, Any],
        area_mm2: Mapping[str, Any],
        op_counts: Mapping[str, Any],
        flops: Any,
        tokens: Any,
        capacity: Capacity,
        **more: Any,
    ) -> RunCost:
        """A :class:`RunCost` from values by name; what is left out is zero (the pipeline's interval: the latency; the area
        that gets hot: all of it).

        Works on NumPy and on JAX values. `more`: further fields of :class:`RunCost`.
        """
        xp: Any = jnp if isinstance(latency_ns, jax.Array) else np
        like = xp.asarray(latency_ns)
        zero = xp.zeros_like(like)

        def vector(names: Sequence[str], values: Mapping[str, Any]) -> Any:
            return xp.stack([xp.broadcast_to(values.get(name, zero), like.shape).astype(like.dtype) for name in names])

        scalars = ("peak_memory_bytes", "crossbars", "moe_latency_ns", "moe_energy_nj", "moe_flops", "moe_area_mm2",
                   "utilisation", "peak_power_w")  # fmt: skip
        area = vector(self.component_names, area_mm2)
        fields = {
            **dict.fromkeys(scalars, zero),
            "moe_last_pass_ns": xp.zeros(capacity.max_layers, like.dtype),
            "pipeline_interval_ns": like,
            "hot_area_mm2": area.sum(),
            "status": xp.zeros((), np.int32),
            **more,
        }
        return RunCost(
            latency_ns=like,
            flops=flops,
            tokens=tokens,
            critical_ns=vector(self.component_names, critical_ns),
            busy_ns=vector(self.component_names, busy_ns),
            component_energy_nj=vector(self.component_names, energy_nj),
            component_area_mm2=area,
            op_counts=vector(self.op_kinds, op_counts),
            **fields,
        )

    # --- what people see ----------------------------------------------------------------------------------------

    def counted(self, config: Config, result: Any) -> dict[str, Counted]:
        """Units of components that `op_counts` does not count, by component."""
        return {}

    def details(self, config: Config, result: Any) -> dict[str, Any]:
        """Further entries of `pimjax estimate --explain`; see :func:`pimjax.estimation.explain.explain`."""
        return {}

    def source_of(self, config: Config, component: str, key: str) -> str | None:
        """Where a component's hardware number comes from, where the configuration does not decide it."""
        return None

    def uncertain_constants(self, config: Config, design: Design) -> UncertainConstants | None:
        """Constants with ranges of their own that a run's costs follow from beside the hardware's numbers, for intervals."""
        return None

    def sizes(self, config: Config) -> tuple[Sized, ...]:
        """What `pimjax size` may choose for the model of a configuration; empty: nothing."""
        return ()

    def go_caches(self, config: Config) -> tuple[str, ...]:
        """Variants of the gate-output cache that have an effect on a run; empty: the cache is void."""
        return ("full", "threshold") if config.model.routing == "expert_choice" else ()

    # --- names --------------------------------------------------------------------------------------------------

    @property
    def static_components(self) -> tuple[bool, ...]:
        """Along the `[C]` axes: whether a component's energy is a power times the run's time."""
        by_time = {spec.name: spec.by_run_time for spec in self.components}
        return tuple(by_time.get(name, False) for name in self.component_names)

    @property
    def component_names(self) -> tuple[str, ...]:
        """Names along the `[C]` axes."""
        return tuple(spec.name for spec in self.components)

    def spec(self, component: str) -> ComponentSpec:
        """The ledger's entry of a component."""
        return next(spec for spec in self.components if spec.name == component)


class UncertainConstants(NamedTuple):
    """Constants of circuits (:data:`pimjax.circuit.CONSTANTS`) behind a chip's costs.

    Attributes:
        names: of those that are read.
        cost: :meth:`Chip.cost` with a further keyword `constants`: values by name.
    """

    names: tuple[str, ...]
    cost: Callable[..., RunCost]
