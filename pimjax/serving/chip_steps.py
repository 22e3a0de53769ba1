"""`ChipSteps`: what a step costs on any chip, asked of the chip's closed form for the very tokens of the step. Host.

- *Decode*: one run without prefill that decodes one token of `n` sequences after `c` cached tokens, with the experts that
  these tokens visit. A closed form takes one context for all: the mean, rounded; it is exact where the cost is affine
  in the context. A chip that decodes one sequence at a time (it refuses a batch) takes them one after the other.
- *Prefill*: a piece of a prompt costs what the prompt up to its end costs more than up to its beginning, so pieces add up
  to the whole prompt; sequences follow each other, as in every run of a batch (:mod:`pimjax.runs.routing`).
- A step with both takes one after the other on a chip whose weights stay where they are (crossbars): nothing is paid
  twice, and what the two could overlap is left out. On a chip that computes all tokens of a step in one pass (a GPU;
  `Chip.sequence_components`) the tokens of pieces and of decoding sequences share it, so that weights are read once and
  experts are those of all of them; attention is added up per sequence, a later piece of a prompt with a launch of its own.

What a chip draws between steps is `idle_power_w`; :func:`~pimjax.serving.summary` adds it where it is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from pimjax import checks
from pimjax.array_typing import HostArray
from pimjax.arrays import namespace
from pimjax.chips import CHIPS
from pimjax.config.build import build
from pimjax.config.config import Config
from pimjax.config.uncosted import refuse_uncosted
from pimjax.errors import ConfigError, ServingError
from pimjax.runs.requests import stacked, workload_trace
from pimjax.runs.routing import RunRouting, run_routing
from pimjax.serving.loads import RoutingLoads, make_loads
from pimjax.serving.requests import MAX_TOKENS, Requests
from pimjax.serving.step_parts import counted_components, paid_by_time, parts_of_cost
from pimjax.serving.step_table import StepBatch
from pimjax.trace.belonging import fit_trace
from pimjax.trace.routing import RoutingTrace

Point = tuple[Config, Any]
"""A run of one step, and what the chip's kernel needs of it."""


class ChipSteps:
    """Step costs of one chip by direct calls of its closed form.

    Args:
        config: chip, model and plan; its lengths, batch size and cache flags are replaced (keys and values are kept).
        trace: routing of recorded requests; None: what `workload.trace` describes.
        longest_context: tokens that prompt and answer reach at most; caches are sized for it, and longer steps refused.
        mixed_attention: what new tokens' attention takes beyond its launch in a step with pieces of prompts, in units of
            alone: kernels that take both at once do without what they do for new tokens (of chips whose step is one pass).
        components: count these components only, for parts that something else does (experts that ranks in lockstep
            share); of chips whose step is one pass.

    Attributes:
        loads: :class:`~pimjax.serving.RoutingLoads` of the trace, or None for a model without experts or a chip whose
            fast fidelities take no routing.

    Raises:
        ServingError: expert-choice routing, whose experts choose among the tokens of a whole sequence.
        TraceError: the trace does not fit the model.

    >>> import pimjax
    >>> steps = ChipSteps(pimjax.load_config("paper_multiplexed"), longest_context=64)
    >>> short, long = (steps.rank_cost(StepBatch([(0, c)], [], 1), None)[0] for c in (8, 48))
    >>> 0 < short < long
    True
    """

    @checks.checked(
        ServingError,
        config=checks.instance(Config, "a Config from pimjax.load_config"),
        trace=checks.optional(checks.instance(RoutingTrace, "a RoutingTrace")),
        longest_context=checks.whole(2, MAX_TOKENS),
        mixed_attention=checks.numbers(0, 100, dims=0),
        components=checks.optional(checks.each(checks.text, "names of the chip's components", least=1)),
    )
    def __init__(
        self,
        config: Config,
        trace: RoutingTrace | None = None,
        *,
        longest_context: int,
        mixed_attention: float = 1.0,
        components: Sequence[str] | None = None,
    ) -> None:
        if config.model.routing == "expert_choice":
            raise ServingError(
                "model.routing is 'expert_choice': its experts choose among the tokens of one whole sequence, which a step of "
                "several requests does not have; serve a token-choice model"
            )
        if config.system.residency != "all" and config.model.num_experts:
            raise ServingError(
                "system.residency is 'swap': which experts a step finds on the chip depends on all requests before it, which "
                "tables of steps do not know; serve a chip that holds them all (system.residency: all)"
            )
        self.chip = CHIPS[config.chip_model]
        self.chip.check_core(config)
        self.one_pass = self.chip.sequence_components is not None
        self.mixed_attention = float(mixed_attention)
        self._counted = counted_components(self.chip, components)
        base = {"kv_cache": True, "go_cache": "none", "prefill": True, "generated_tokens": 1, "prompt_tokens": 1}
        self.config = _with(config, **base, batch_size=1, max_context_tokens=int(longest_context))
        refuse_uncosted(self.config)
        self.longest_context = int(longest_context)
        self.one_at_a_time = _refuses_batch(self.chip, self.config)
        self._routing: RunRouting | None = None
        self.loads: RoutingLoads | None = None
        self._choices: HostArray = np.zeros((1, 0, 1, 1), bool)  # [Q, L, T, E]
        self._lengths: HostArray = np.ones(1, np.int64)
        self._prefixes: dict[tuple[int, int], HostArray] = {}
        if self.chip.takes_routing:
            self._route(config, trace)

    def _route(self, config: Config, trace: RoutingTrace | None) -> None:
        chosen = workload_trace(config) if trace is None else stacked(fit_trace(trace, self.config))
        self._lengths = np.atleast_1d(np.asarray(chosen.num_tokens, np.int64))
        longest = int(self._lengths.max())
        count = chosen.num_requests
        whole = _with(self.config, batch_size=count, prompt_tokens=longest, max_context_tokens=None)
        routing = run_routing(whole, chosen)  # groups from the loads of all requests
        self._routing, self._choices = routing, np.asarray(routing.prompt, bool)
        if routing.num_layers:
            self.loads = make_loads(self._choices, routing.group_of_expert, self._lengths)

    # --- one run each -------------------------------------------------------------------------------------------

    def decode_point(self, tokens: Sequence[tuple[int, int]], context: int) -> Point:
        """One decode step of sequences whose tokens are (recorded request, position), after `context` cached tokens."""
        self._reaches(int(context) + 1, f"a decode step after {int(context):,} cached tokens")
        count = 1 if self.one_at_a_time else len(tokens)
        config = _with(
            self.config, prefill=False, generated_tokens=2, prompt_tokens=max(1, int(context)), batch_size=count
        )
        steps = [self._token(*token) for token in tokens[:count]]
        return self._point(config, np.stack(steps)[:, :, :0], np.stack(steps), np.array([0, 1]))

    def prefill_point(self, request: int, length: int) -> Point:
        """The prefill of `length` tokens of one recorded request, repeated where it is shorter."""
        self._reaches(int(length), "a prompt")
        index = np.arange(length) % self._lengths[request % len(self._lengths)]
        return self.joint_point([(request, int(at)) for at in index])

    def joint_point(self, tokens: Sequence[tuple[int, int]]) -> Point:
        """One pass over tokens (recorded request, position) as if they were one prompt."""
        config = _with(self.config, prompt_tokens=len(tokens))
        requests, places = np.array(tokens).T
        requests = requests % len(self._lengths)
        prompt = self._choices[requests, :, places % self._lengths[requests]].transpose(1, 0, 2)[None]
        return self._point(config, prompt, prompt[:, :, :0], np.array([0]))

    def _reaches(self, tokens: int, what: str) -> None:
        if tokens > self.longest_context:
            raise ServingError(
                f"{what} reaches {tokens:,} tokens but longest_context is {self.longest_context:,}, for which caches are sized: "
                "raise it"
            )

    def _token(self, request: int, position: int) -> HostArray:
        request %= len(self._lengths)
        at = position % int(self._lengths[request])
        return self._choices[request][:, at : at + 1]

    def _point(self, config: Config, prompt: HostArray, steps: HostArray, edges: HostArray) -> Point:
        routing = None
        if self._routing is not None:
            routing = dataclasses.replace(
                self._routing,
                prompt=prompt,
                steps=steps,
                taken=np.zeros((len(steps), *steps.shape[1:3])),
                config=config,
            )
        capacity = build(config)[1]
        parts = [config] * (len(edges) + 1)
        made = self.chip.inputs_of_parts(config, routing, parts, edges, fidelity="closed", capacity=capacity)
        return config, made[-1]

    def cost_of(self, point: Point) -> tuple[float, float]:
        """ns and nJ of one run."""
        ns, nj = self.parts_of(point).sum(axis=-1)
        return float(ns), float(nj)

    def parts_of(self, point: Point) -> HostArray:
        """ns and nJ of one run: `[2, 2]`, of what all tokens share and of what every sequence does by itself."""
        config, inputs = point
        return np.asarray(self.parts(self._run(*build(config), inputs)), np.float64)

    def parts(self, cost: Any) -> Any:
        """The same of a RunCost or an Estimate; NumPy or JAX."""
        return parts_of_cost(self.chip, self._counted, cost)

    def power_between(self, cost: Any) -> Any:
        """W that components draw whose energy is a power times the run's time, of a RunCost or an Estimate."""
        return (
            namespace(cost.latency_ns).where(paid_by_time(self.chip), cost.component_energy_nj, 0.0).sum()
            / cost.latency_ns
        )

    def idle_power_w(self) -> float:
        """What the chip draws while it waits, as during a decode step of one sequence."""
        return float(self.power_between(self._one()))

    def area_mm2(self) -> float:
        """Area of the chip."""
        return float(np.sum(np.asarray(self._one().component_area_mm2)))

    def _one(self) -> Any:
        config, inputs = self.decode_point([(0, 0)], 1)
        return self._run(*build(config), inputs)

    def _run(self, design: Any, capacity: Any, inputs: Any) -> Any:
        """Costs of one run in float64, NumPy."""
        if self.chip.runs_on_host(inputs):
            with np.errstate(all="ignore"):
                return self.chip.cost(design, inputs, capacity=capacity, fidelity="closed", critical=False)
        from pimjax.estimation.api import run_kernel

        return run_kernel(design, inputs, capacity, self.chip, "closed")

    # --- what a simulation asks ---------------------------------------------------------------------------------

    def rank_cost(self, batch: StepBatch, requests: Requests | None) -> tuple[float, float]:
        """ns and nJ of one rank's part of a step; `requests` say whose routing a request follows (None: its number).

        Raises:
            ServingError: a sequence is longer than `longest_context`.
        """
        cost = np.zeros(2)
        if batch.decodes:
            context = round(sum(cached for _, cached in batch.decodes) / len(batch.decodes))
            tokens = [(_recorded(request, requests), cached) for request, cached in batch.decodes]
            self._reaches(max(cached for _, cached in batch.decodes) + 1, "a decode step")
            times = len(tokens) if self.one_at_a_time else 1
            parts = self.parts_of(self.decode_point(tokens, context))
            cost += times * (parts[:, 1] if self.one_pass else parts.sum(axis=1))
            if self.one_pass and batch.chunks:
                cost += (self.mixed_attention - 1.0) * (parts[:, 1] - self.launch())
        for request, start, length in batch.chunks:
            recorded = _recorded(request, requests)
            cost += self._prefix(recorded, start + length) - self._prefix(recorded, start)
            cost += self.launch() if self.one_pass and start else 0.0
        if self.one_pass and batch.tokens:
            cost += self._shared(batch, requests)
        return float(cost[0]), float(cost[1])

    def _shared(self, batch: StepBatch, requests: Requests | None) -> HostArray:
        """ns and nJ of what all tokens of a step share; the last layer's head sees `batch.samples` of them, at least one."""
        tokens = [(_recorded(request, requests), cached) for request, cached in batch.decodes]
        for request, start, length in batch.chunks:
            tokens += [(_recorded(request, requests), start + at) for at in range(length)]
        return self.parts_of(self.joint_point(tokens))[:, 0] + self.heads(tokens[: max(1, batch.samples)])

    def launch(self) -> HostArray:
        """ns and nJ of what a sequence does by itself that is as short as can be."""
        return self._prefix(0, 1)

    def heads(self, tokens: Sequence[tuple[int, int]]) -> HostArray:
        """ns and nJ of what sampling more than one of the tokens adds: one pass that emits all against one that emits one."""
        each = self.parts_of(self.decode_point(tokens, 1)), self.parts_of(self.joint_point(tokens))
        return each[0][:, 0] - each[1][:, 0]

    def joint_cost(self, tokens: int) -> tuple[float, float]:
        """Ranks share nothing."""
        return 0.0, 0.0

    def _prefix(self, request: int, length: int) -> HostArray:
        """ns and nJ of a prompt: all of it, or what its sequence does by itself."""
        if length == 0:
            return np.zeros(2)
        key = (request % len(self._lengths), length)
        if key not in self._prefixes:
            parts = self.parts_of(self.prefill_point(*key))
            self._prefixes[key] = parts[:, 1] if self.one_pass else parts.sum(axis=1)
        return self._prefixes[key]

    @property
    def recorded(self) -> HostArray:
        """int `[Q]`, tokens of the recorded requests."""
        return self._lengths

    def designs(self, points: Sequence[Point]) -> Any:
        """Designs and inputs of many points with a leading axis `[points]`, and their static sizes."""
        from pimjax.config.build import Capacity
        from pimjax.runs import reshape

        design, capacity = build([config for config, _ in points])
        inputs = [inputs for _, inputs in points]
        if self.chip.takes_routing:
            capacity = Capacity(tile_kinds=capacity.tile_kinds, digital_parts=capacity.digital_parts)
            return design, reshape.stacked(self.chip.alike(inputs)), capacity
        return design, jax.tree.map(lambda *leaves: np.stack(leaves), *inputs), capacity


def _recorded(request: int, requests: Requests | None) -> int:
    return request if requests is None else int(requests.routing[request])


def _with(config: Config, **workload: Any) -> Config:
    return config.model_copy(update={"workload": config.workload.model_copy(update=workload)})


def _refuses_batch(chip: Any, config: Config) -> bool:
    try:
        chip.check(_with(config, batch_size=2))
    except ConfigError:
        return True
    return False
