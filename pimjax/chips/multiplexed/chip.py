"""The multiplexed chip as an object: everything else reaches this folder through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pimjax.chips.chip import Chip, Counted, EventOptions, UncertainConstants
from pimjax.chips.multiplexed.hardware import MultiplexedHardware, hardware_of
from pimjax.chips.multiplexed.ledger import COMPONENTS as LEDGER
from pimjax.chips.multiplexed.ledger import READERS
from pimjax.chips.run_cost import COMPONENTS, RunCost
from pimjax.chips.sizes import Sized
from pimjax.config.build import Capacity, Design
from pimjax.config.config import Config
from pimjax.config.digital_map import check_digital_parts, has_digital_parts
from pimjax.config.residency import check_residency
from pimjax.errors import ConfigError
from pimjax.runs.routing import RunRouting
from pimjax.trace.routing import RoutingTrace

#: Slots beyond which the fluid recurrence is compiled: about 0.2 ms each on the host, and seconds to compile.
_LONG_PROFILE = 16_384
MEASURED_CORE = {"mvm_latency_ns": 130.0, "mvm_energy_nj": 12.48, "core_area_mm2": 0.634}
MEASURED_SIZE = (256.0, 256.0)
"""The calibrated crossbar: rows and columns that the numbers of `MEASURED_CORE` were measured at."""


class MultiplexedChip(Chip):
    """The physical chip: groups of experts share the peripherals of their crossbars, and routing decides what it costs."""

    name = "multiplexed"
    about = "experts share peripherals in groups; the routing decides what that costs"
    hardware = MultiplexedHardware
    components = LEDGER
    component_names = COMPONENTS
    readers = READERS
    takes_routing = True
    event_options = frozenset({"timeline"})
    input_fields = ("out_links",)
    plain_layers_only = False
    swaps_experts = True

    def check(self, config: Config) -> None:
        """A calibrated core has the size it was measured at; a read has one phase or four."""
        check_digital_parts(config)
        check_residency(config)
        hardware = hardware_of(config)
        if hardware.read_phases not in (1, 4):
            raise ConfigError(
                f"hardware.read_phases is {hardware.read_phases:g}: it must be 1 (all signs at once) or 4 (signs of inputs "
                "and weights one after the other)"
            )
        size = (hardware.crossbar_rows, hardware.crossbar_cols)
        kept = [name for name, value in MEASURED_CORE.items() if getattr(hardware, name) == value]
        if config.plan.tile == "calibrated" and size != MEASURED_SIZE and kept:
            raise ConfigError(
                f"hardware.crossbar_rows and crossbar_cols are {size[0]:g} x {size[1]:g}, but with plan.tile: calibrated "
                f"hardware.{kept[0]} ({MEASURED_CORE[kept[0]]:g}) is that of the measured 256 x 256 core: set plan.tile: "
                f"parametric, or give mvm_latency_ns, mvm_energy_nj and core_area_mm2 of your own core"
            )

    def check_core(self, config: Config) -> None:
        """Refuse a crossbar core, measured or computed, that cannot exist."""
        from pimjax.chips.multiplexed.physics import refuse_impossible_core

        refuse_impossible_core(config)

    def inputs(self, config: Config, requests: RoutingTrace | None, *, fidelity: str, capacity: Capacity) -> Any:
        """Counts of the run's routing."""
        from pimjax.runs.inputs import schedule_inputs

        assert requests is not None
        return schedule_inputs(config, requests, fidelity=fidelity, capacity=capacity)

    def inputs_of_many(
        self,
        runs: Sequence[tuple[Config, RoutingTrace | None]],
        *,
        fidelity: str,
        capacity: Capacity,
        layers: int | None = None,
    ) -> list[Any]:
        """Schedules are made on the device, many at once."""
        from pimjax.runs.inputs import inputs_of_many

        routed = [(config, requests) for config, requests in runs if requests is not None]
        return inputs_of_many(routed, fidelity=fidelity, capacity=capacity, layers=layers)

    def spread_of_layers(self, config: Config, routing: RunRouting) -> tuple[Any, int] | None:
        """See :func:`.placed.spread_of_layers`."""
        if config.system.network == "none":
            return None
        from pimjax.chips.multiplexed.placed import spread_of_layers

        return spread_of_layers(config, routing)

    def alike(self, inputs: Sequence[Any]) -> list[Any]:
        """Where some runs share return links, all count slots the same way."""
        from pimjax.runs.reshape import alike

        return alike(inputs)

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
        """Recomputed prefixes are sampled once for all parts."""
        from pimjax.runs.inputs import inputs_of_parts

        assert routing is not None
        return inputs_of_parts(config, routing, parts, edges, fidelity=fidelity, capacity=capacity)

    def cost(self, design: Design, inputs: Any, *, capacity: Capacity, fidelity: str, critical: bool = True) -> RunCost:
        """See :func:`.kernel.multiplexed_cost`."""
        from pimjax.chips.multiplexed.kernel import multiplexed_cost

        return multiplexed_cost(design, inputs, capacity=capacity, fidelity=fidelity, critical=critical)

    def runs_on_host(self, inputs: Any) -> bool:
        """Always, but for a fluid recurrence so long that compiling it takes less time than a loop in Python."""
        return inputs.prompt_profile is None or int(inputs.prompt.makespan.max()) <= _LONG_PROFILE

    def simulate(
        self, config: Config, requests: RoutingTrace | None, *, capacity: Capacity, options: EventOptions
    ) -> RunCost:
        """See :func:`.event.simulate`."""
        from pimjax.chips.multiplexed.event import simulate

        assert requests is not None
        run = simulate(config, requests)
        if options.timeline is not None:
            run.passes[0].log.to_perfetto(options.timeline)
        return run.cost

    def sizes(self, config: Config) -> tuple[Sized, ...]:
        """See :func:`.sizes.sizes_of`."""
        from pimjax.chips.multiplexed.sizes import sizes_of

        return sizes_of(config)

    def counted(self, config: Config, result: Any) -> dict[str, Counted]:
        """Bytes, strips, crossbars, units."""
        from pimjax.chips.multiplexed import explained

        return explained.counted(config, result)

    def details(self, config: Config, result: Any) -> dict[str, Any]:
        """The crossbar core, writing weights, what is not modelled."""
        from pimjax.chips.multiplexed import explained

        return explained.details(config, result)

    def source_of(self, config: Config, component: str, key: str) -> str | None:
        """A parametric core's numbers come from its circuits."""
        from pimjax.chips.multiplexed import explained

        return explained.source_of(config, component)

    def uncertain_constants(self, config: Config, design: Design) -> UncertainConstants | None:
        """Those of a computed core's circuits, and of the macros beside a measured one."""
        from pimjax.chips.multiplexed.core import constants_read
        from pimjax.chips.multiplexed.kernel import multiplexed_cost

        names = constants_read(design, macros=has_digital_parts(config))
        return UncertainConstants(names, multiplexed_cost) if names else None


CHIP = MultiplexedChip()
