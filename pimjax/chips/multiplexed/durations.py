"""How long everything takes on the multiplexed chip [ns]: smooth, differentiable, every number data.

Source of every formula: the definition of the `multiplexed` model in docs/multiplexed-chip.md; laws of digital units and
links are the authors' simulator's, without its rounding to whole ns. `scale` multiplies each duration by its
component's entry, so that d latency / d scale is that component's share of the latency (latency is homogeneous in
the durations).

Decisions where the model's text leaves room:

- *Unshared linears* start a token every `max(t_mvm, t_x, t_col(row blocks))`.
- `accumulate = digital`: additions of a strip's partial sums are one chain per strip, held by one digital unit
  from its first to its last addition; t_A and t_D (for the pipeline depth D) are then the times without waiting.
- `share = none` makes every expert a group of its own: no multiplexer in the path.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from pimjax.array_typing import Array, ArrayLike
from pimjax.chips.multiplexed.core import Core, core
from pimjax.chips.multiplexed.geometry import Geometry, Linear, geometry
from pimjax.chips.multiplexed.smooth import as_real, whole_up
from pimjax.chips.run_cost import COMPONENT_INDEX, COMPONENTS
from pimjax.config.build import Design
from pimjax.config.model import ACTIVATIONS
from pimjax.config.plan import ACCUMULATE_KINDS, COMBINE_KINDS, EMBEDDING_KINDS, ROUTER_KINDS, SHARE_KINDS


class LinearTime(NamedTuple):
    """One unshared linear for one token [ns]."""

    issue: Array  # the next token may follow
    flight: Array  # from the token's arrival to its result, without digital additions
    chain: Array  # one strip's additions on a digital unit (0 if accumulated locally)
    strips: Array  # number of such chains


class Durations(NamedTuple):
    """Times of one design [ns]; float scalars."""

    mvm: Array
    mux: Array
    link: Array  # t_x: one block over one hop
    load: Array  # t_load
    stage: Array  # t_stage
    a: Array  # t_A
    d: Array  # t_D
    out: Array  # one group's results over one shared return link (nh blocks); 0 if links are not shared
    depth: Array  # D: slots a pass is in flight
    buffer_slots: Array  # Q
    up_link: Array  # digital accumulation: u(s) to the arrival of stage A's partial sums
    up_chain: Array
    up_strips: Array
    act_job: Array  # activation of a pass on a digital unit
    down_link_in: Array
    down_mvm: Array
    down_link_out: Array
    down_chain: Array
    down_strips: Array
    add: Array  # ADD(d)
    combine_add: Array  # ADD(d) if combination and residual of MoE layers run on digital units, else 0
    norm: Array  # NORM(d)
    gate: Array  # NORM(E)
    router_digital: Array  # router on a digital unit (0 if on crossbars)
    router: LinearTime
    qkv: LinearTime
    expand: LinearTime
    output: LinearTime
    head: LinearTime
    dense_up: LinearTime
    dense_down: LinearTime
    shared_up: LinearTime
    shared_down: LinearTime
    dense_act: Array  # activation of a dense block or shared expert: local, part of a flight
    dense_act_job: Array  # the same on a digital unit
    embed: Array  # one token's embedding: DRAM transfer, or crossbar read
    embed_flight: Array  # added after it (links of a crossbar read)
    sampling: Array
    scheduler: Array  # per token of a window


def durations(
    design: Design,
    largest_group: ArrayLike,
    scale: Array | None = None,
    *,
    shape: Geometry | None = None,
    tile: Core | None = None,
) -> Durations:
    """Every duration of a design. Kernel: pure, unbatched.

    Args:
        design: leaves scalars.
        largest_group: members of the largest group (1: nothing is shared).
        scale: float `[C]`, factor per component; default ones.
        shape, tile: `geometry(design)` and `core(design)` if already there.

    >>> from pimjax.config.build import build
    >>> from pimjax.config.config import Config
    >>> times = durations(build(Config())[0], 2)
    >>> [round(float(t), 3) for t in (times.stage, times.a, times.d)]
    [131.622, 208.622, 167.622]
    """
    hardware = as_real(design.hardware, design.hardware.mvm_latency_ns)
    model = as_real(design.model, hardware.mvm_latency_ns)
    workload = as_real(design.workload, hardware.mvm_latency_ns)
    plan = design.plan
    shape = geometry(design) if shape is None else shape
    scale = jnp.ones(len(COMPONENTS), hardware.mvm_latency_ns.dtype) if scale is None else scale

    def part(component: str, time: Array) -> Array:
        return scale[COMPONENT_INDEX[component]] * time

    columns = hardware.crossbar_cols
    local = plan.accumulate == ACCUMULATE_KINDS.index("local")
    mvm = part("tier_linear", (core(design) if tile is None else tile).mvm_latency_ns)
    members = jnp.where(plan.share == SHARE_KINDS.index("none"), 1.0, jnp.asarray(largest_group, mvm.dtype))
    capacitance = hardware.line_capacitance_pf + members * hardware.mux_capacitance_pf
    settling = jnp.log(2.0).astype(mvm.dtype) * (hardware.adc_bits + 1) * hardware.mux_on_resistance_kohm * capacitance
    mux = part("sharing_mux", jnp.where(members > 1, settling, 0.0))
    link = part("communication", hardware.link_latency_ns_per_256 * columns / 256)
    links = jnp.where(hardware.input_links > 0, hardware.input_links, shape.expert_up.rows)
    load = part("input_load", model.d_model * workload.activation_bytes / (links * hardware.link_bandwidth_gb_per_s))

    def column_sum(row_blocks: Array) -> Array:
        """t_col: local addition of partial sums, hidden behind the MVM where it is shorter."""
        cycle = columns / (hardware.accumulator_lanes * hardware.accumulator_frequency_ghz)
        time = part("local_accumulation", 4 + (row_blocks - 1) * cycle)
        return jnp.where(local, time, 0.0)

    def add_of(width: ArrayLike) -> Array:
        time = hardware.add_latency_ns_per_256 * width / 256 + hardware.add_latency_base_ns
        return part("digital_add", time)

    def norm_of(width: ArrayLike) -> Array:
        return part("layer_norm", hardware.norm_latency_ns_per_256 * width / 256)

    def activation(width: ArrayLike) -> Array:
        gelu = hardware.gelu_latency_ns_per_256 * width / 256 + hardware.gelu_latency_base_ns
        swiglu = hardware.swiglu_latency_ns_per_256 * width / 256 + hardware.swiglu_latency_base_ns
        kinds = (
            part("digital_relu", hardware.relu_latency_ns),
            part("digital_gelu", gelu),
            part("digital_swiglu", swiglu),
        )
        return jnp.where(
            design.model.activation == ACTIVATIONS.index("relu"),
            kinds[0],
            jnp.where(design.model.activation == ACTIVATIONS.index("gelu"), kinds[1], kinds[2]),
        )

    def chain_of(linear: Linear) -> Array:
        return jnp.where(local, 0.0, jnp.maximum(linear.rows - 1, 0) * add_of(columns))

    def linear_time(linear: Linear) -> LinearTime:
        sums = column_sum(jnp.maximum(linear.rows, 1))
        used = linear.tiles > 0
        return LinearTime(
            issue=jnp.where(used, jnp.maximum(jnp.maximum(mvm, link), sums), 0.0),
            flight=jnp.where(used, 2 * link + mvm + sums, 0.0),
            chain=jnp.where(used, chain_of(linear), 0.0),
            strips=linear.strips,
        )

    up, down = shape.expert_up, shape.expert_down
    sum_up, sum_down = column_sum(up.rows), column_sum(down.rows)
    act_local, act_job = jnp.where(local, activation(columns), 0.0), activation(model.d_ff)
    conversion = (mux + mvm) * jnp.where(plan.share == SHARE_KINDS.index("pair"), 2.0, 1.0)
    stage = jnp.stack([conversion, link, sum_up, sum_down, act_local]).max()
    a = jnp.where(local, mux + mvm + link + sum_up + act_local, mux + mvm + link + chain_of(up) + act_job)
    d = link + mux + mvm + link + jnp.where(local, sum_down, chain_of(down))
    out = jnp.where(hardware.out_links > 0, link * down.strips / jnp.maximum(hardware.out_links, 1e-9), 0.0)

    is_lookup = plan.embedding == EMBEDDING_KINDS.index("lookup")
    lookup = part("embedding", model.d_model * workload.activation_bytes / hardware.dram_bandwidth_gb_per_s)
    router_work = part("router", model.d_model * model.num_experts / hardware.router_values_per_ns)
    on_units = plan.combine == COMBINE_KINDS.index("digital")
    return Durations(
        mvm=mvm,
        mux=mux,
        link=link,
        load=load,
        stage=stage,
        a=a,
        d=d,
        out=out,
        depth=whole_up((a + d) / stage),
        buffer_slots=hardware.out_buffer_slots,
        up_link=mux + mvm + link,
        up_chain=chain_of(up),
        up_strips=up.strips,
        act_job=jnp.where(local, 0.0, act_job),
        down_link_in=link,
        down_mvm=mux + mvm,
        down_link_out=link,
        down_chain=chain_of(down),
        down_strips=down.strips,
        add=add_of(model.d_model),
        combine_add=jnp.where(on_units, add_of(model.d_model), 0.0),
        norm=norm_of(model.d_model),
        gate=norm_of(model.num_experts),
        router_digital=jnp.where(plan.router == ROUTER_KINDS.index("digital"), router_work, 0.0),
        router=linear_time(shape.router),
        qkv=linear_time(shape.qkv),
        expand=linear_time(shape.expand),
        output=linear_time(shape.output),
        head=linear_time(shape.head),
        dense_up=linear_time(shape.dense_up),
        dense_down=linear_time(shape.dense_down),
        shared_up=linear_time(shape.shared_up),
        shared_down=linear_time(shape.shared_down),
        dense_act=act_local,
        dense_act_job=jnp.where(local, 0.0, activation(model.dense_d_ff)),
        embed=jnp.where(is_lookup, lookup, mvm),
        embed_flight=jnp.where(is_lookup, 0.0, link),
        sampling=part("multinomial", hardware.sampling_latency_ns),
        scheduler=part("scheduler", hardware.scheduler_ns_per_token),
    )
