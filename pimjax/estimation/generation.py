"""`estimate_generation`: what generating costs token by token, with and without caches, next to a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pimjax import checks
from pimjax import status as status_bits
from pimjax.array_typing import HostArray
from pimjax.chips import CHIPS
from pimjax.config.build import Capacity, capacity_of
from pimjax.config.config import Config
from pimjax.errors import ConfigError, shown
from pimjax.estimation.beside import GpuCase, case_beside, load_beside
from pimjax.estimation.generation_lanes import LaneCosts, lane_configs, piece_edges, run_lanes
from pimjax.estimation.kernel import KERNEL_FIDELITIES
from pimjax.progress import part, report
from pimjax.runs.cache_flags import cache_use
from pimjax.runs.passes import LENGTH_SAMPLES
from pimjax.runs.requests import resolve
from pimjax.runs.routing import RunRouting, run_routing
from pimjax.trace.routing import RoutingTrace

#: Cache sets of the paper's figure: which of the two caches a run has.
CACHE_SETS = ("none", "kv", "go", "kv+go")
PIECES = 16
_NAMES = checks.each(checks.text, "a list of names")
_SIZES = checks.each(checks.whole(1), "a list of whole numbers of at least 1")
_COUNTED = 0.8
"""Share of the time that schedules take where there are many; the rest compiles and runs."""


@dataclass(frozen=True)
class GenerationCase:
    """One run: `P` prompt tokens, `N` generated, `B` requests together; `K` pieces of the decode phase.

    A step produces one token of every request. `first_token_ns` is the whole prefill: prompts pass one after the other,
    so it is when the last request's first token is there. The pieces leave out what the first step waits for the
    prompt's writes to the caches; the run has it.
    """

    caches: str
    group_size: int
    batch_size: int
    prompt_tokens: int
    generated_tokens: int
    latency_ns: float  # whole run
    energy_nj: float
    area_mm2: float
    first_token_ns: float
    first_token_nj: float
    context: HostArray  # [K] mean length of the sequences in a piece
    steps: HostArray  # [K] steps of a piece
    token_ns: HostArray  # [K] mean time of a step
    token_nj: HostArray  # [K] mean energy of one request's token
    status: int
    gpus: tuple[GpuCase, ...]

    @property
    def decode_ns(self) -> float:
        """The run without its prefill."""
        return self.latency_ns - self.first_token_ns

    @property
    def tokens_per_s(self) -> float:
        """Tokens of all requests per second in the decode phase."""
        return 1e9 * self.batch_size * (self.generated_tokens - 1) / self.decode_ns

    @property
    def energy_per_token_nj(self) -> float:
        """Energy of one token in the decode phase."""
        return (self.energy_nj - self.first_token_nj) / (self.batch_size * (self.generated_tokens - 1))

    def to_dict(self) -> dict[str, Any]:
        """Plain Python numbers, as `--json` prints them."""
        out = {name: _plain(getattr(self, name)) for name in self.__dataclass_fields__ if name != "gpus"}
        out |= {name: _plain(getattr(self, name)) for name in ("decode_ns", "tokens_per_s", "energy_per_token_nj")}
        out["status_text"] = status_bits.describe(self.status)
        out["gpus"] = [{name: _plain(getattr(gpu, name)) for name in gpu.__dataclass_fields__} for gpu in self.gpus]
        return out


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


@checks.checked(
    ConfigError,
    config=checks.instance(Config, "a Config from pimjax.load_config"),
    trace=checks.instance(RoutingTrace, "a RoutingTrace"),
    fidelity=checks.text,
    caches=_NAMES,
    group_sizes=_SIZES,
    batch_sizes=_SIZES,
    gpus=_NAMES,
    pieces=checks.whole(1, 65_536),
)
def estimate_generation(
    config: Config,
    trace: RoutingTrace | None = None,
    fidelity: str = "closed",
    *,
    caches: Sequence[str] | None = None,
    group_sizes: Sequence[int] | None = None,
    batch_sizes: Sequence[int] | None = None,
    gpus: Sequence[str] = (),
    pieces: int = PIECES,
) -> list[GenerationCase]:
    """Generate `workload.generated_tokens` tokens with every cache set, group size and batch size.

    Host function, float64. One compiled program serves all cases; nothing in it grows with the lengths.

    Args:
        config: the run; at least 2 generated tokens. Its gate-output variant is used where a cache set has one
            ("full" if it names none).
        trace: as for :func:`pimjax.estimate`; a shorter one is repeated.
        fidelity: "closed" or "fluid" (differs in the prefill only).
        caches: of :data:`CACHE_SETS`; default all, or without gate-output caches under token choice, where they are
            void.
        group_sizes: experts that share peripherals; default the plan's.
        batch_sizes: requests that decode together; default the workload's.
        gpus: configurations of GPUs to set beside it (presets such as "h100", or YAML files): their chip with this model and run.
        pieces: most points of the per-token curve.

    Returns:
        One :class:`GenerationCase` per combination, batch sizes outermost, cache sets innermost.

    Raises:
        ConfigError: fewer than 2 tokens, an unknown cache set, or a combination that the chip model does not have.

    >>> from pimjax import load_config
    >>> run = load_config("paper_reference", {"workload.generated_tokens": 8})
    >>> plain, *_, cached = estimate_generation(run)
    >>> round((plain.latency_ns - plain.first_token_ns) / (cached.latency_ns - cached.first_token_ns), 1)
    4.2
    """
    if fidelity not in KERNEL_FIDELITIES:
        raise ConfigError(f"fidelity: {shown(fidelity)} is not for generation; allowed: {', '.join(KERNEL_FIDELITIES)}")
    if config.workload.generated_tokens < 2:
        raise ConfigError(
            f"workload.generated_tokens is {config.workload.generated_tokens}; generation needs at least 2, of which the "
            "prefill emits the first"
        )
    runs = _runs(config, caches, group_sizes, batch_sizes)
    chip = CHIPS[config.chip_model]
    if gpus and not chip.takes_routing:
        raise ConfigError(f"gpus: chip_model {chip.name!r} takes no routing to compare on; leave gpus out")
    devices = [load_beside(name) for name in gpus]  # a name that is not there is known before the work
    edges = piece_edges(config.workload.generated_tokens - 1, pieces)
    report("routing of every case")

    def resolved_run(run: Config) -> tuple[Config, RoutingTrace | None]:
        return resolve(run, trace) if chip.takes_routing else (_with_prompt(run), None)

    resolved = [(name, *resolved_run(run)) for name, run in runs]
    capacity = _union([capacity_of(run) for _, run, _ in resolved])
    lanes, inputs = [], []
    routed: dict[tuple[int, int], RunRouting | None] = {}
    costs_of_counting = np.cumsum([0.0, *(_weight(run) for _, run, _ in resolved)])
    shares = _COUNTED * costs_of_counting / costs_of_counting[-1]
    for index, (name, run, requests) in enumerate(resolved):
        report(
            f"scheduling case {index + 1} of {len(resolved)} ({name}, batch {run.workload.batch_size})", shares[index]
        )
        key = (run.plan.group_size, run.workload.batch_size)  # caches do not change who visits whom
        if key not in routed:
            routed[key] = None if requests is None else run_routing(run, requests)
        parts = lane_configs(run, edges)
        lanes += parts
        with part(shares[index], shares[index + 1]):
            inputs += chip.inputs_of_parts(run, routed[key], parts, edges, fidelity=fidelity, capacity=capacity)
    report("costs of all cases: compiling one program, running it", _COUNTED)
    costs = _run_split(lanes, inputs, fidelity, len(edges) + 1)
    cases = []
    for i, (name, run, _) in enumerate(resolved):
        routing = routed[run.plan.group_size, run.workload.batch_size]
        beside = [case_beside(run, routing, edges, device) for device in devices if routing is not None]
        cases.append(_case(name, run, edges, LaneCosts(*(leaf[i] for leaf in costs)), beside))
    return cases


def _weight(run: Config) -> float:
    """How long the schedules of a case take, relative to those of one prefill."""
    prefixes = LENGTH_SAMPLES / 2 if cache_use(run).experts_all else 0.0
    return run.workload.batch_size * (1.0 + prefixes)


def _runs(
    config: Config,
    caches: Sequence[str] | None,
    group_sizes: Sequence[int] | None,
    batch_sizes: Sequence[int] | None,
) -> list[tuple[str, Config]]:
    """The configuration of every case."""
    if caches is None:
        caches = CACHE_SETS if CHIPS[config.chip_model].go_caches(config) else ("none", "kv")
    for name in caches:
        if name not in CACHE_SETS:
            raise ConfigError(f"caches: {shown(name)} is unknown; allowed: {', '.join(CACHE_SETS)}")
    variant = config.workload.go_cache if config.workload.go_cache != "none" else "full"
    runs = []
    for batch in batch_sizes or (config.workload.batch_size,):
        for size in group_sizes or (config.plan.group_size,):
            for name in caches:
                held = name.split("+")
                workload = {
                    "prefill": True,
                    "batch_size": int(batch),
                    "kv_cache": "kv" in held,
                    "go_cache": variant if "go" in held else "none",
                }
                plan: dict[str, Any] = {"group_size": int(size)}
                if group_sizes is not None:
                    plan["group_of_expert"] = None  # an explicit map has a size of its own
                runs.append((name, _revalidated(config, workload, plan)))
    return runs


def _revalidated(config: Config, workload: dict[str, Any], plan: dict[str, Any]) -> Config:
    from pimjax.config.loader import load_config

    changes = {f"workload.{key}": value for key, value in workload.items()}
    return load_config(config.model_dump(), changes | {f"plan.{key}": value for key, value in plan.items()})


def _union(capacities: Sequence[Capacity]) -> Capacity:
    whole = capacities[0]
    for one in capacities[1:]:
        whole = whole.union(one)
    return whole


def _run_split(lanes: list[Config], inputs: list[Any], fidelity: str, per_case: int) -> LaneCosts:
    """Costs `[cases, lanes of a case]`. Fluid differs from closed in the prefill only, so the pieces are closed."""
    count = len(lanes) // per_case
    if fidelity == "closed":
        return LaneCosts(*(leaf.reshape(count, per_case) for leaf in run_lanes(lanes, inputs, fidelity="closed")))
    early = [i for i in range(len(lanes)) if i % per_case < 2]
    late = [i for i in range(len(lanes)) if i % per_case >= 2]
    first = run_lanes([lanes[i] for i in early], [inputs[i] for i in early], fidelity=fidelity)
    rest = run_lanes([lanes[i] for i in late], [inputs[i] for i in late], fidelity="closed")
    return LaneCosts(
        *(np.concatenate([a.reshape(count, 2), b.reshape(count, -1)], axis=1) for a, b in zip(first, rest, strict=True))
    )


def _with_prompt(run: Config) -> Config:
    """A run whose prompt length is its own, not left to a trace."""
    workload = run.workload.model_copy(update={"prompt_tokens": run.workload.num_prompt_tokens})
    return run.model_copy(update={"workload": workload})


def _case(name: str, run: Config, edges: HostArray, costs: LaneCosts, gpus: Sequence[GpuCase]) -> GenerationCase:
    workload = run.workload
    steps, prompt, batch = np.diff(edges), workload.num_prompt_tokens, workload.batch_size
    return GenerationCase(
        caches=name,
        group_size=run.plan.group_size,
        batch_size=batch,
        prompt_tokens=prompt,
        generated_tokens=workload.generated_tokens,
        latency_ns=float(costs.latency_ns[0]),
        energy_nj=float(costs.energy_nj[0]),
        area_mm2=float(costs.area_mm2[0]),
        first_token_ns=float(costs.latency_ns[1]),
        first_token_nj=float(costs.energy_nj[1]),
        context=prompt + (edges[:-1] + edges[1:] + 1) / 2,
        steps=steps,
        token_ns=costs.latency_ns[2:] / steps,
        token_nj=costs.energy_nj[2:] / (steps * batch),
        status=int(np.bitwise_or.reduce(costs.status)),
        gpus=tuple(gpus),
    )
