"""What the fast fidelities know of a run's routing: a pytree of counts, free of hardware.

Axes: `L` blocks of the model (its layers, but for models whose layers are single blocks) padded to the capacity (layers without experts hold zeros), `G` groups, `S` slots, `K` sampled
lengths (0: nothing is generated after the prefill), `Q` kinds of one-token windows. Every leaf is an array; stack two schedules of equal shapes with
`jax.tree.map` to batch them.
"""

from __future__ import annotations

from typing import Any

from flax import struct


@struct.dataclass
class PassWindows:
    """MoE windows of one pass (or the mean over several passes: then counts are fractions)."""

    tokens: Any  # [] tokens offered to the experts in one pass
    passes: Any  # [L] expert passes
    makespan: Any  # [L] slots of all windows
    loads: Any  # [L] token loads
    first_loads: Any  # [L] loads of the first slot
    load_hist: Any  # [L, G+1] later slots by their loads; the first slot of a later window counts as 0 loads
    busy_hist: Any  # [L, G+1, G+1] the same slots by (loads, busy groups); None: mean busy groups
    open_max: Any  # [L] most tokens begun and not finished
    tail_adds: Any  # [L, W] most additions that one token's results of the last 1, 2, .. W slots cause
    tail_loads: Any  # [L, W] loads of the last, last but one, .. slot (0 where a window opens)
    tail_busy: Any  # [L, W] busy groups of those slots
    gap_hist: Any  # [L, B] pauses of groups between two passes of the window, by the bit length of their idle slots
    gap_slots: Any  # [L, B] idle slots of those pauses
    unrouted: Any  # [L] tokens that no expert takes
    last_token_slots: Any  # [L] slots the last token spans, its first to its last pass
    digital: Any = None  # [L] passes of experts on digital macros; None: there are no macros
    reach: Any = (
        None  # [L, G+1, G+1] tokens that groups a to b - 1 along the silicon serve; None: no system around the chip
    )
    lead: Any = None  # [L, 3, R] slots that decide when the last sum is back over links, see pimjax.runs.reach.leads_of


@struct.dataclass
class SlotProfile:
    """Slot by slot, for the fluid recurrence; zeros from the makespan on."""

    loads: Any  # [L, S]
    returns: Any  # [L, S] passes that start in the slot
    adds: Any  # [L, S] additions that its results cause (a token's first result is free)
    chains: Any  # [L, S] most of these additions for one token: they follow each other
    ends: Any  # [L, S] tokens whose last pass starts in the slot
    opens: Any  # [L, S] first slot of a window


@struct.dataclass
class TokenSteps:
    """Decode steps of one sequence, by kind: each kind is a window of one token."""

    share: Any  # [L, Q] fraction of the steps
    begins: Any  # [L, Q] 1 at the kind of the first step
    slots: Any  # [Q]
    passes: Any  # [Q]
    first: Any  # [Q] results of the first slot
    last: Any  # [Q] results of the last slot


@struct.dataclass
class SwapCounts:
    """Experts that a run writes over others, where its chip holds a part of them."""

    prompt: Any  # [L] of one prefill: the mean over the sequences
    step: Any  # [L] of one decode step, all sequences: the mean over the steps
    most: Any  # [] writes of the place that is written most, in the whole run
    left_out: Any  # [] experts of a layer without a place


@struct.dataclass
class RunCounts:
    """Routing of one run as counts; made by :func:`pimjax.runs.inputs.schedule_inputs`."""

    is_moe: Any  # [L] bool, layer has routed experts
    has_feed_forward: Any  # [L] bool, something feeds forward behind the mixer; None: in every layer
    mixer: Any  # [L] int, row of the model's table of mixers: what attention, or which state, the layer has
    group_sizes: Any  # [L, G] members of each group; 0: no such group
    prompt: PassWindows  # one prefill pass
    prompt_profile: SlotProfile | None  # fluid only
    step: PassWindows  # one decode step with caches, all sequences: mean over the steps
    token_steps: TokenSteps  # the same for a single sequence, exactly
    taken: Any  # [L] threshold lists that take a new score, mean over steps and sequences
    lengths: Any  # [K] lengths at which recomputed passes were sampled
    weights: Any  # [K] decode steps that each sample stands for; sums to the number of decode steps
    recomputed: PassWindows  # [K, ...] decode passes that recompute the whole prefix
    digital_sizes: Any = None  # [L, G] members of each group on digital macros; None: there are no macros
    die_places: Any = None  # [D] dies that a layer may reach over: 1 with a system, 0 without; None: no run has one
    swaps: SwapCounts | None = None  # None: chips hold every expert
