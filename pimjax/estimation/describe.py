"""What ran, in words: the run, the model, the plan and the routing of an estimate, for terminals and pages."""

from __future__ import annotations

from pimjax.config.config import Config
from pimjax.registry import CHIPS


def what_ran(config: Config, *, trace: str | None = None, request: int = 0) -> dict[str, str]:
    """Short sentences by topic: `run`, `model`, `plan` (chips that take routing), `routing`.

    Args:
        config: with its prompt length filled in.
        trace: what the user named as the routing; None: what the workload describes.
        request: which request of the trace.

    >>> what_ran(Config())["run"]
    'prefill of 128 tokens'
    """
    workload, model, plan = config.workload, config.model, config.plan
    prompt, steps = workload.num_prompt_tokens, workload.generated_tokens - 1
    caches = [
        name
        for name, on in (("KV", workload.kv_cache), (f"GO ({workload.go_cache})", workload.go_cache != "none"))
        if on
    ]
    decode = f"{steps:,} decode step{'s' if steps > 1 else ''}, caches: {' and '.join(caches) or 'none'}"
    parts = [f"prefill of {prompt:,} token{'s' if prompt > 1 else ''}"] if workload.prefill else []
    parts += [decode if workload.prefill else f"{decode}, after {prompt:,} tokens"] if steps else []
    if workload.batch_size > 1:
        parts.append(f"{workload.batch_size:,} requests together")
    layers = f"{model.num_layers:,} layer{'s' if model.num_layers > 1 else ''}"
    if model.num_experts and model.num_moe_layers < model.num_layers:
        layers += f" ({model.num_moe_layers:,} with experts)"
    found = {"run": "; ".join(parts)}
    if not model.num_experts:
        return {**found, "model": f"{layers}, dense"}
    found["model"] = f"{layers}, {model.num_experts:,} experts, top {model.top_k:,}, {model.routing.replace('_', ' ')}"
    if CHIPS[config.chip_model].takes_routing:
        grouping = "own map" if plan.group_of_expert is not None else plan.grouping
        found["plan"] = f"groups of {plan.group_size:,} ({grouping}), {plan.policy}"
        shown = trace or f"{workload.trace.kind} (workload.trace)"
        found["routing"] = f"{shown}, request {request}" if workload.batch_size == 1 else shown
    return found
