"""A GPU as a chip: everything else reaches this folder through it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from pimjax.arrays import larger
from pimjax.chips.chip import Chip, EventOptions
from pimjax.chips.gpu.hardware import GpuHardware, hardware_of
from pimjax.chips.gpu.ledger import COMPONENTS as LEDGER
from pimjax.chips.gpu.ledger import READERS
from pimjax.chips.run_cost import RunCost
from pimjax.config.build import Capacity, Design, build
from pimjax.config.config import Config
from pimjax.errors import ConfigError
from pimjax.runs.routing import RunRouting, run_routing
from pimjax.trace.routing import RoutingTrace


class GpuChip(Chip):
    """A GPU: operators in sequence, each bound by traffic, arithmetic or fixed cost; the routing decides what experts cost."""

    name = "gpu"
    about = "a GPU: kernels fitted to measured times, experts from the real routing"
    hardware = GpuHardware
    components = LEDGER
    readers = READERS
    op_kinds = ("product", "expert_layer", "attention")
    takes_routing = True
    sequence_components = ("attention",)
    input_fields = ("expert_parallel",)

    def check(self, config: Config) -> None:
        """Ranks are whole shares of the GPUs."""
        hardware = hardware_of(config)
        for name in ("expert_parallel", "attention_data_parallel"):
            ranks = getattr(hardware, name)
            if hardware.gpus % ranks:
                raise ConfigError(
                    f"hardware.{name} is {ranks:g}, which does not divide hardware.gpus ({hardware.gpus:g}); choose a divisor"
                )

    def inputs(self, config: Config, requests: RoutingTrace | None, *, fidelity: str, capacity: Capacity) -> Any:
        """Loads of every pass."""
        from pimjax.chips.gpu.loads import loads_of_run

        assert requests is not None
        return loads_of_run(config, run_routing(config, requests))

    def inputs_of_many(
        self,
        runs: Sequence[tuple[Config, RoutingTrace | None]],
        *,
        fidelity: str,
        capacity: Capacity,
        layers: int | None = None,
    ) -> list[Any]:
        """The same for each, of one shape."""
        from pimjax.chips.gpu.loads import cut

        each = [self.inputs(config, requests, fidelity=fidelity, capacity=capacity) for config, requests in runs]
        return self.alike([cut(one, layers) for one in each])

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
        """Passes of the whole run, dealt out."""
        from pimjax.chips.gpu.loads import loads_of_run, passes

        assert routing is not None
        whole = loads_of_run(config, routing)
        first = int(config.workload.prefill)
        pieces = itertools.pairwise(edges)
        return [whole, passes(whole, 0, first), *(passes(whole, first + int(a), first + int(b)) for a, b in pieces)]

    def alike(self, inputs: Sequence[Any]) -> list[Any]:
        """As many passes and layers as the longest has."""
        from pimjax.chips.gpu.loads import padded

        longest = max(one.assignments.shape[0] for one in inputs)
        layers = max(one.assignments.shape[1] for one in inputs)
        ranks = max(one.assignments.shape[2] for one in inputs)
        return [padded(one, longest, layers, ranks) for one in inputs]

    def cost(self, design: Design, inputs: Any, *, capacity: Capacity, fidelity: str, critical: bool = True) -> RunCost:
        """Sums of the operators' times: on one stream nothing overlaps, so that fluid and closed are the same."""
        from pimjax.chips.gpu.cost import sums
        from pimjax.chips.gpu.passes import in_one_type, operators

        design, loads = in_one_type(design, inputs)
        layers = operators(design, loads)
        return self._costs(design, loads, sums(design, loads, layers), layers, capacity)

    def runs_on_host(self, inputs: Any) -> bool:
        """Always."""
        return True

    def simulate(
        self, config: Config, requests: RoutingTrace | None, *, capacity: Capacity, options: EventOptions
    ) -> RunCost:
        """See :func:`.event.simulate`."""
        from pimjax.chips.gpu.event import simulate
        from pimjax.chips.gpu.passes import in_one_type, operators

        inputs = self.inputs(config, requests, fidelity="closed", capacity=capacity)
        design, loads = in_one_type(build(config)[0], inputs)
        return self._costs(design, loads, simulate(config, design, loads), operators(design, loads), capacity)

    def _costs(self, design: Any, loads: Any, busy: Any, layers: Any, capacity: Capacity) -> RunCost:
        from pimjax.chips.gpu.cost import energy_nj, flops_of, peak_bytes, status_of, tokens_of

        hardware, model = design.hardware, design.model
        times = {name: time.total for name, time in busy.items()}
        latency = sum(times.values())
        energy = {name: energy_nj(hardware, time) for name, time in busy.items() if name not in ("links", "host")}
        flops, of_experts = flops_of(design, loads)
        runs = loads.runs.sum()
        largest = larger(hardware.memory_bound_power_w, hardware.compute_bound_power_w)
        return self.run_cost(
            latency_ns=latency,
            critical_ns=times,
            busy_ns=times,
            energy_nj={**energy, "idle": hardware.idle_power_w * hardware.gpus * latency},
            area_mm2={"die": hardware.die_area_mm2 * hardware.gpus},
            op_counts={
                "product": runs * (2 * model.num_layers + 2 * (model.num_layers - model.num_moe_layers) + 1),
                "expert_layer": runs * model.num_moe_layers,
                "attention": runs * model.num_layers,
            },
            flops=flops,
            tokens=tokens_of(design, loads),
            capacity=capacity,
            peak_memory_bytes=peak_bytes(design, loads),
            utilisation=sum(time.arithmetic for time in busy.values()) / larger(latency, 1e-9),
            peak_power_w=hardware.gpus * larger(largest, hardware.idle_power_w),
            moe_latency_ns=times["experts"],
            moe_energy_nj=energy["experts"],
            moe_flops=of_experts,
            status=status_of(design, loads, latency),
        )

    def details(self, config: Config, result: Any) -> dict[str, Any]:
        """What is not modelled."""
        return {
            "not_modelled": [
                "Area is that of the logic dies; memory dies are not counted.",
                "Kernels follow each other on one stream; requests that arrive and leave are not scheduled.",
            ]
        }


CHIP = GpuChip()
