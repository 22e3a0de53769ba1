"""What a run routes: the experts of every token of every pass, and who shares peripherals. Host, NumPy.

Decisions where the definitions leave room:

- *Layers*: MoE layers are matched by number (:mod:`pimjax.trace.belonging`); a trace that may be repeated is, in order.
- *Length*: a run longer than the trace repeats the request from its start.
- *Batch*: sequence i is request i modulo the number of requests; a repeated request is rotated so that no two
  sequences are in step.
- *Prefill of a batch*: one pass per sequence, one after the other; decode steps take all sequences together.
- *Expert choice*: with gate scores in the trace, the prompt's sets and every step's admissions follow the capacity
  law; without, the trace's choices are taken as they are.
- *Groups* are made per layer, from the loads of all requests of the trace; of experts on one kind of tile only, unless that took
  more groups.
- *Copies* go one by one to the expert with the largest load per copy.
- *A chip that holds a part of the experts* is visited by its places (:mod:`pimjax.runs.residency`); their groups are made from
  how often the requests of the trace, each beginning anew, visit each place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.cache.capacity import CapacityLaw, capacity_at, capacity_law, largest_capacity
from pimjax.config.config import Config
from pimjax.config.digital_map import digital_experts, grouped_apart
from pimjax.errors import ConfigError, TraceError
from pimjax.runs.expert_choice import admissions
from pimjax.runs.residency import ExpertWrites, chosen_places, loads_of_places, resident_experts, swapped
from pimjax.schedule import deal_copies, group_experts
from pimjax.trace.belonging import fit_trace
from pimjax.trace.expert_admissions import chosen_sets
from pimjax.trace.routing import RoutingTrace


@dataclass(frozen=True)
class RunRouting:
    """Routing of one run; `L` counts MoE layers, `E` experts with their copies, or the places for them.

    Attributes:
        group_of_expert: int32 `[L, E]`.
        num_groups: G.
        prompt: bool `[B, L, P, E]`, experts of the prompt's tokens, per sequence.
        steps: bool `[B, L, N-1, E]`, experts that really run for the token of each decode step.
        taken: float `[B, L, N-1]`, threshold lists that store the new token's score (expert choice).
        scores: float32 `[B, L, P+N-1, E]` or None: gate scores for recomputing prefixes (expert choice).
        copy_of: int `[L, E]`, expert behind each member.
        config: the configuration.
        writes: experts that are written over others; None: all are there.
    """

    group_of_expert: HostArray
    num_groups: int
    prompt: HostArray
    steps: HostArray
    taken: HostArray
    scores: HostArray | None
    copy_of: HostArray
    config: Config = field(repr=False)
    writes: ExpertWrites | None = None

    @property
    def num_layers(self) -> int:
        """MoE layers."""
        return len(self.group_of_expert)

    def prefix(self, sequence: int, length: int) -> HostArray:
        """bool `[L, length, E]`: experts of all tokens when a sequence is recomputed at `length` tokens."""
        if self.writes is not None and (sequence, length) in self.writes.prefixes:
            return chosen_places(self.writes.prefixes[sequence, length], self.writes.places)
        if self.scores is not None:
            chosen = _chosen_sets(self.config, self.scores[sequence], length)
            return np.stack([_deal(layer, copies) for layer, copies in zip(chosen, self.copy_of, strict=True)])
        return np.concatenate([self.prompt[sequence], self.steps[sequence]], axis=1)[:, :length]


@checks.checked(
    ConfigError,
    config=checks.instance(Config, "a Config from pimjax.load_config"),
    trace=checks.instance(RoutingTrace, "a RoutingTrace"),
)
def run_routing(config: Config, trace: RoutingTrace) -> RunRouting:
    """Experts and groups of every pass of a run.

    Args:
        config: the configuration.
        trace: one request or stacked requests.

    Raises:
        TraceError: the trace is none of this model (experts, experts per token, layers).

    >>> from pimjax.config.config import Config
    >>> from pimjax.config.loader import load_config
    >>> config = load_config({"model": {"num_experts": 4, "top_k": 2}, "workload": {"prompt_tokens": 3}})
    >>> run_routing(config, RoutingTrace.from_expert_ids([[0, 1], [2, 3]], 4)).prompt.shape
    (1, 1, 3, 4)
    """
    model, workload = config.model, config.workload
    trace = fit_trace(trace, config)
    length = workload.num_prompt_tokens + workload.generated_tokens - 1
    layers = np.arange(model.num_moe_layers)
    choices, scores = _sequences(trace, workload.batch_size, length, layers)
    loads, places = _loads(trace, layers), resident_experts(config)
    if places is not None:
        loads = loads_of_places(_requests(trace, layers), places, config.system.replacement)
    copy_of = _copies(loads.sum(axis=0), config.plan.copies)
    groups, num_groups = _groups(config, loads, copy_of)
    prompt = choices[:, :, : workload.num_prompt_tokens]
    steps = choices[:, :, workload.num_prompt_tokens :]
    taken = np.zeros(steps.shape[:3])
    if model.routing == "expert_choice":
        if scores is not None:
            prompt = _chosen_sets(config, scores, workload.num_prompt_tokens)
            steps, taken = _admissions(config, scores)
        else:
            taken = np.broadcast_to(_mean_taken(config), steps.shape[:3]).copy()
    made = RunRouting(
        group_of_expert=groups,
        num_groups=num_groups,
        prompt=_deal_all(prompt, copy_of) if places is None else prompt,
        steps=_deal_all(steps, copy_of) if places is None else steps,
        taken=taken,
        scores=scores if model.routing == "expert_choice" else None,
        copy_of=copy_of,
        config=config,
    )
    return made if places is None else swapped(config, made)


def _requests(trace: RoutingTrace, layers: HostArray) -> list[HostArray]:
    """Choices of every request, bool `[L, T, E]` each."""
    singles = [trace.request(index) for index in range(trace.num_requests)] if trace.is_stacked else [trace]
    return [np.asarray(one.choices, bool)[layers][:, : int(np.asarray(one.num_tokens))] for one in singles]


def _sequences(trace: RoutingTrace, batch: int, length: int, layers: HostArray) -> tuple[HostArray, HostArray | None]:
    """choices bool `[B, L, length, E]` and gate scores (or None) of every sequence."""
    requests = trace.num_requests
    rounds = -(-batch // requests)
    has_scores = trace.gate_scores is not None
    choices, scores = [], []
    for sequence in range(batch):
        one = trace.request(sequence % requests) if trace.is_stacked else trace
        tokens = int(np.asarray(one.num_tokens))
        if tokens < 1:
            raise TraceError(f"request {sequence % requests} of the trace has no tokens")
        index = (np.arange(length) + (sequence // requests) * tokens // rounds) % tokens
        choices.append(np.asarray(one.choices, bool)[layers][:, index])
        if has_scores:
            scores.append(np.asarray(one.gate_scores, np.float32)[layers][:, index])
    return np.stack(choices), np.stack(scores) if has_scores else None


def _loads(trace: RoutingTrace, layers: HostArray) -> HostArray:
    """float [requests, L, E]: tokens that visit each expert."""
    choices = np.asarray(trace.choices, bool)
    choices = choices if trace.is_stacked else choices[None]
    return choices[:, layers].sum(axis=2).astype(np.float64)


def _copies(loads: HostArray, copies: int) -> HostArray:
    """int [L, E + copies]: expert of each member; copies go to the largest load per copy."""
    layers, experts = loads.shape
    members = np.tile(np.arange(experts), (layers, 1))
    count = np.ones((layers, experts))
    for _ in range(copies):
        hottest = np.argmax(loads / count, axis=1)
        count[np.arange(layers), hottest] += 1
        members = np.concatenate([members, hottest[:, None]], axis=1)
    return members


def _groups(config: Config, loads: HostArray, copy_of: HostArray) -> tuple[HostArray, int]:
    """Group map per layer `[L, E]` and the number of groups."""
    plan = config.plan
    layers, members = copy_of.shape
    if plan.share == "none":
        return np.tile(np.arange(members, dtype=np.int32), (layers, 1)), members
    if plan.group_of_expert is not None:
        fixed = np.asarray(plan.group_of_expert, np.int32)
        return np.tile(fixed, (layers, 1)), int(fixed.max()) + 1
    maps = []
    for layer in range(layers):
        shares = np.bincount(copy_of[layer], minlength=loads.shape[2])  # members of each expert
        per_member = (loads[:, layer] / shares)[:, copy_of[layer]]
        maps.append(_like_with_like(config, per_member, _is_digital(config, layer, copy_of[layer])))
    return np.asarray(maps, np.int32).reshape(layers, members), -(-members // plan.group_size)


def _is_digital(config: Config, layer: int, copy_of: HostArray) -> HostArray:
    """bool [members]: which lie on digital macros; places of a swapping chip are all of one kind."""
    if config.plan.expert_tile != "mixed" or resident_experts(config) is not None:
        return np.zeros(len(copy_of), bool)
    return digital_experts(config)[layer, copy_of]


def _like_with_like(config: Config, loads: HostArray, digital: HostArray) -> HostArray:
    """int [members]: groups of one kind of tile each, where that takes no more of them; else of both."""
    plan, seed = config.plan, config.workload.trace.seed
    kinds = grouped_apart(digital, plan.group_size)
    found, first = np.zeros(len(digital), np.int32), 0
    for mine in kinds:
        found[mine] = first + group_experts(loads[:, mine], min(plan.group_size, len(mine)), plan.grouping, seed=seed)
        first = int(found[mine].max()) + 1
    return found


def _deal(choices: HostArray, copies: HostArray) -> HostArray:
    """One layer `[T, E]` -> `[T, members]`: tokens dealt to the copies of an expert in turn."""
    if len(copies) == choices.shape[-1]:
        return choices
    return np.asarray(deal_copies(choices, copies), bool)


def _deal_all(choices: HostArray, copy_of: HostArray) -> HostArray:
    """`[B, L, T, E]` -> `[B, L, T, members]`."""
    if copy_of.shape[1] == choices.shape[-1]:
        return choices
    return np.stack([[_deal(layer, copies) for layer, copies in zip(one, copy_of, strict=True)] for one in choices])


def _law(config: Config) -> CapacityLaw:
    model, workload = config.model, config.workload
    return capacity_law(
        model.num_experts,
        model.top_k,
        max_tokens=workload.context_tokens,
        prompt_tokens=workload.num_prompt_tokens,
        rule=workload.capacity_rule,
    )


def _chosen_sets(config: Config, scores: HostArray, length: int) -> HostArray:
    """bool [..., length, E]: the sets M_e(length)."""
    return chosen_sets(scores[..., :length, :], int(capacity_at(_law(config), np.int32(length))))


def _admissions(config: Config, scores: HostArray) -> tuple[HostArray, HostArray]:
    """Decode steps: admitted bool [B, L, N-1, E] and lists that take the score, float [B, L, N-1]."""
    prompt, law = config.workload.num_prompt_tokens, _law(config)
    lengths = np.arange(prompt + 1, scores.shape[2] + 1, dtype=np.int32)
    return admissions(scores, prompt, np.asarray(capacity_at(law, lengths)), int(largest_capacity(law)))


def _mean_taken(config: Config) -> HostArray:
    """Mean number of threshold lists that take a new score: E min(1, C_max / L), float [N-1]."""
    workload = config.workload
    length = workload.num_prompt_tokens + 1 + np.arange(workload.generated_tokens - 1)
    return config.model.num_experts * np.minimum(1.0, int(largest_capacity(_law(config))) / length)
