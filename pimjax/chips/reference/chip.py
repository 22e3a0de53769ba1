"""The authors' simulator as a chip: everything else reaches this folder through it."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimjax.chips.chip import Chip, Counted, EventOptions
from pimjax.chips.reference.hardware import ReferenceHardware, hardware_of
from pimjax.chips.reference.ledger import COMPONENTS as LEDGER
from pimjax.chips.reference.ledger import READERS
from pimjax.chips.run_cost import COMPONENT_INDEX, COMPONENTS, RunCost
from pimjax.config.build import Capacity, Design
from pimjax.config.config import Config
from pimjax.errors import ConfigError, TraceError
from pimjax.trace.routing import RoutingTrace


class ReferenceChip(Chip):
    """The authors' simulator, exactly; its fast fidelities do not depend on routing."""

    name = "reference"
    about = "the authors' simulator, exactly"
    hardware = ReferenceHardware
    components = LEDGER
    component_names = COMPONENTS
    readers = READERS
    event_options = frozenset({"expert_choices", "seed"})

    def check(self, config: Config) -> None:
        """Batch 1 only."""
        if config.workload.batch_size != 1:
            raise ConfigError(
                f"workload.batch_size is {config.workload.batch_size} but chip_model 'reference' describes batch 1 only: "
                "use chip_model 'multiplexed'"
            )

    def check_options(self, config: Config, options: EventOptions) -> None:
        """Expert choices fit the run, also where a fidelity does not look at them."""
        from pimjax.chips.reference.config import check_choices

        if options.expert_choices is not None:
            check_choices(config, options.expert_choices)

    def cost(self, design: Design, inputs: Any, *, capacity: Capacity, fidelity: str, critical: bool = True) -> RunCost:
        """See :func:`.kernel.reference_cost`."""
        from pimjax.chips.reference.kernel import reference_cost

        return reference_cost(design, capacity=capacity, fidelity=fidelity, critical=critical)  # pyrefly: ignore[bad-argument-type]

    def simulate(
        self, config: Config, requests: RoutingTrace | None, *, capacity: Capacity, options: EventOptions
    ) -> RunCost:
        """See :func:`.config.simulate_config`; experts are drawn where neither choices nor a trace are given."""
        from pimjax.chips.reference.config import simulate_config

        choices, seed = options.expert_choices, options.seed
        if choices is None and requests is not None:
            choices = _choices_of_trace(config, requests)
        if choices is None and config.workload.trace.seed:
            seed = config.workload.trace.seed
        more = {"cache": options.passes, "with_memory": options.memory}
        return simulate_config(config, choices, seed=seed, max_layers=capacity.max_layers, **more)[0]

    def counted(self, config: Config, result: Any) -> dict[str, Counted]:
        """Bytes, crossbars, units."""
        from pimjax.chips.reference.config import crossbar_counts

        hardware = hardware_of(config)
        needed, experts = crossbar_counts(config)
        busy = np.asarray(result.busy_ns)
        return {
            **{
                name: Counted(float(busy[COMPONENT_INDEX[name]]) * hardware.dram_bandwidth_gb_per_s, "")
                for name in ("dram_kv", "dram_go")
            },
            "moe_crossbars": Counted(float(experts), ""),
            "dense_crossbars": Counted(float(needed - experts), ""),
            "digital_units": Counted(float(hardware.num_digital_units), ""),
            "attention_units": Counted(float(hardware.num_attention_units), ""),
            "passive": Counted(float(np.asarray(result.latency_ns)), "ns of the run"),
        }

    def details(self, config: Config, result: Any) -> dict[str, Any]:
        """The crossbar core, what writing weights costs, and what is not modelled."""
        from pimjax.chips.parts.core_parts import measured_core
        from pimjax.chips.parts.weights import weight_writing
        from pimjax.chips.reference.config import crossbar_counts

        experts = config.model.num_moe_layers * config.model.num_experts
        per_expert = crossbar_counts(config)[1] / experts if experts else 0.0
        return {
            "tile": measured_core(),
            "weights": weight_writing(config, float(np.asarray(result.crossbars)), per_expert),
            "not_modelled": [
                "DRAM is off-chip: its area is not counted.",
                "Writing weights is outside the run (they are resident): its time and energy are shown apart.",
            ],
        }

    def go_caches(self, config: Config) -> tuple[str, ...]:
        """The authors' one variant, whatever the router."""
        return ("authors",)


def _choices_of_trace(config: Config, trace: RoutingTrace) -> list[list[int]]:
    """Expert choices of a prefill from a trace that has the model's layers, experts, k and tokens."""
    if trace.is_stacked:
        trace = trace.request(0)
    order = trace.expert_order
    wanted = (config.model.num_moe_layers, config.workload.num_prompt_tokens, config.model.top_k)
    if config.workload.generated_tokens > 1 or order is None or np.shape(order) != wanted:
        raise TraceError(
            "chip_model 'reference' takes a trace only for a prefill, with expert_order of shape "
            f"[MoE layers, tokens, k] = {wanted}; this one has {None if order is None else np.shape(order)}: give "
            "expert_choices instead"
        )
    return [list(map(int, row)) for row in np.asarray(order).reshape(-1, wanted[-1])]


CHIP = ReferenceChip()
