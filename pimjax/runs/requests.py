"""The requests of a run: the trace that the user gave or the one that the workload describes, and its prompt length."""

from __future__ import annotations

import jax
import numpy as np

from pimjax import checks
from pimjax.config.config import Config
from pimjax.config.uncosted import refuse_uncosted
from pimjax.config.workload import TraceSpec
from pimjax.errors import ConfigError, TraceError
from pimjax.trace.belonging import first_choices, fit_trace
from pimjax.trace.defaults import default_traces
from pimjax.trace.generators import generate_traces
from pimjax.trace.routing import RoutingTrace

_CONFIG = checks.instance(Config, "a Config from pimjax.load_config")
_TRACE = checks.instance(RoutingTrace, "a RoutingTrace")


def workload_trace(config: Config) -> RoutingTrace:
    """Stacked requests `[R, ...]` that `workload.trace` describes, for this model's experts.

    Raises:
        TraceError: the recorded traces do not have this model's experts.

    >>> from pimjax.config import Config
    >>> workload_trace(Config()).choices.shape[-1]
    16
    """
    spec, model = config.workload.trace, config.model
    requests = max(spec.requests, config.workload.batch_size)
    if spec.kind == "recorded" and model.num_experts:
        recorded = default_traces(model.routing)
        if recorded.choices.shape[-1] != model.num_experts:
            raise TraceError(
                f"workload.trace.kind: 'recorded' has {recorded.choices.shape[-1]} experts but model.num_experts is "
                f"{model.num_experts}; give a trace (--trace FILE) or a generator (workload.trace.kind zipf, sticky, ...)"
            )
        available = recorded.choices.shape[0]
        # a batch beyond the recorded requests is filled by whoever routes it, with sequences that are not in step
        take = np.arange(max(spec.requests, min(requests, available))) % available
        chosen = jax.tree.map(lambda leaf: np.asarray(leaf)[take], recorded)
        chosen = chosen.replace(metadata=recorded.metadata.select(take.tolist()))
        return fit_trace(first_choices(chosen, model.top_k), config)
    kind = "expert_choice" if model.routing == "expert_choice" else spec.kind
    if not model.num_experts:
        kind = "uniform"  # of one expert: a dense model takes nothing but lengths from it
    tokens = config.workload.num_prompt_tokens + config.workload.generated_tokens - 1
    return generate_traces(
        kind,
        requests=requests,
        layers=max(1, model.num_moe_layers),  # a dense model routes nothing
        tokens=tokens,
        experts=max(1, model.num_experts),
        top_k=model.top_k if model.num_experts else 1,
        seed=spec.seed,
        **_generator_options(kind, spec),
    )


def _generator_options(kind: str, spec: TraceSpec) -> dict[str, float]:
    match kind:
        case "zipf":
            return {"exponent": spec.zipf_exponent}
        case "dirichlet":
            return {"concentration": spec.dirichlet_concentration}
        case "sticky":
            return {"persistence": spec.stickiness}
        case _:
            return {}


@checks.checked(ConfigError, config=_CONFIG, trace=checks.optional(_TRACE))
def resolve(config: Config, trace: RoutingTrace | None) -> tuple[Config, RoutingTrace]:
    """The configuration with its prompt length filled in, and the requests to run, stacked `[B, ...]`.

    Where `workload.prompt_tokens` is null the trace decides: its tokens less the generated ones. A given trace must
    be one of the model (:func:`~pimjax.trace.check_trace`).

    Raises:
        TraceError: a given trace is none of this model (experts, experts per token, layers), or it holds several
            requests where the batch size is 1.
    """
    chosen = workload_trace(config) if trace is None else stacked(fit_trace(trace, config))
    count, batch = chosen.choices.shape[0], config.workload.batch_size
    if trace is not None and count > 1 and batch == 1:
        raise TraceError(
            f"estimate takes one request but the trace holds {count}: choose one (trace.request(i), --request i), set "
            "workload.batch_size to decode them together, or use estimate_batch"
        )
    config = with_prompt(config, chosen)
    refuse_uncosted(config)
    return config, chosen


@checks.checked(ConfigError, config=_CONFIG, trace=_TRACE)
def with_prompt(config: Config, trace: RoutingTrace) -> Config:
    """The configuration with its prompt length filled in.

    Where `workload.prompt_tokens` is null the trace decides: the tokens of its longest request that runs (one per
    sequence of the batch) less the generated ones.

    Raises:
        TraceError: no token is left for the prompt.

    >>> trace = RoutingTrace.from_expert_ids([[0], [1], [1]], 2)
    >>> with_prompt(Config(), trace).workload.prompt_tokens
    3
    """
    tokens = np.atleast_1d(np.asarray(trace.num_tokens))
    return with_longest(config, int(tokens[: config.workload.batch_size].max()))


def with_longest(config: Config, longest: int) -> Config:
    """The same from the number of tokens of the longest request.

    >>> with_longest(Config(), 40).workload.prompt_tokens
    40
    """
    if config.workload.prompt_tokens is not None:
        return config
    prompt = longest - (config.workload.generated_tokens - 1)
    if prompt < 1:
        raise TraceError(
            f"the trace has {longest} tokens but workload.generated_tokens is {config.workload.generated_tokens}: "
            "no token is left for the prompt; set workload.prompt_tokens (a short trace is then repeated)"
        )
    workload = config.workload.model_copy(update={"prompt_tokens": prompt})
    return config.model_copy(update={"workload": workload})


def stacked(trace: RoutingTrace) -> RoutingTrace:
    """A trace as stacked requests `[R, ...]`.

    Raises:
        TraceError: it is no trace.
    """
    if not isinstance(trace, RoutingTrace):
        raise TraceError(
            f"trace is a {type(trace).__name__}; give a RoutingTrace (RoutingTrace.from_expert_ids, load_traces) or None"
        )
    if np.ndim(trace.choices) == 4:
        return trace
    return jax.tree.map(lambda leaf: np.asarray(leaf)[None], trace)
