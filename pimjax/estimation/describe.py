"""What ran, in words: the run, the model, the plan and the routing of an estimate, for terminals and pages."""

from __future__ import annotations

from collections.abc import Sequence

from pimjax.chips.ledger import every_read
from pimjax.config.config import Config
from pimjax.registry import CHIPS


def what_ran(
    config: Config, *, trace: str | None = None, request: int = 0, tokens: Sequence[int] = ()
) -> dict[str, str]:
    """Short sentences by topic: `run`, `model`, and of a model with experts `routing` and, where the chip reads it, `plan`.

    Args:
        config: with its prompt length filled in.
        trace: what the user named as the routing; None: what the workload describes.
        request: which request of the trace.
        tokens: of every request that the trace has; what is longer or shorter than the run is said.

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
    chip = CHIPS[config.chip_model]
    if any(read.key in ("plan.group_size", "plan.policy") for _, read, _ in every_read(chip)):
        grouping = "own map" if plan.group_of_expert is not None else plan.grouping
        found["plan"] = f"groups of {plan.group_size:,} ({grouping}), {plan.policy}"
    if not chip.takes_routing:
        found["routing"] = "the chip model's own; it takes no trace"
    else:
        shown = trace or f"{workload.trace.kind} (workload.trace)"
        which = f"request {request}" if workload.batch_size == 1 else f"{workload.batch_size:,} requests"
        found["routing"] = f"{shown}, {which}{_lengths(tokens, prompt + steps, workload.batch_size)}"
    return found


def _lengths(tokens: Sequence[int], wanted: int, batch: int) -> str:
    """What is done to requests that are not as long as the run.

    >>> _lengths([128], 128, 1), _lengths([128], 64, 1), _lengths([128], 512, 1)
    ('', ' (first 64 of 128 tokens)', ' (128 tokens, repeated to 512)')
    >>> _lengths([60, 128], 128, 2), _lengths([60, 128], 128, 3)
    (' of 60 to 128 tokens, shorter ones repeated to 128', ' of 60 to 128 tokens, shorter ones repeated to 128; 2 recorded, used again')
    """
    used = list(tokens)[:batch]
    if not used:
        return ""
    low, high = min(used), max(used)
    if batch == 1:
        if low == wanted:
            return ""
        return (
            f" (first {wanted:,} of {low:,} tokens)" if low > wanted else f" ({low:,} tokens, repeated to {wanted:,})"
        )
    text = f" of {low:,} tokens" if low == high else f" of {low:,} to {high:,} tokens"
    if low < wanted:
        text += f", {'shorter ones ' if high >= wanted else ''}repeated to {wanted:,}"
    if high > wanted:
        text += f", {'longer ones ' if low <= wanted else ''}cut to {wanted:,}"
    return text + (f"; {len(used):,} recorded, used again" if len(used) < batch else "")
