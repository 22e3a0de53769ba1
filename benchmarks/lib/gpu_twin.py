"""Step tables of the recorded deployments from `chip_model: gpu` with the boards' presets.

A dense model: the chip as it is (`gpus`: tensor parallel). A mixture of experts on data-parallel ranks that share the experts:
every rank computes all but the experts for its own tokens; experts, dealt out to as many GPUs, see the tokens of all ranks;
before and after them each layer exchanges tokens, padded to those of the largest rank (half of what a layer's two
sums over the GPUs take in the chip).
"""

from __future__ import annotations

import json

import numpy as np

from benchmarks.lib.expert_draws import sizes_of
from benchmarks.lib.paths import COMMITTED
from benchmarks.lib.served_models import MODELS, board_config, recorded
from pimjax.chips import CHIPS
from pimjax.serving import ChipSteps, StepGrid, StepTable
from pimjax.trace import RoutingTrace, generate_traces


def mixed_attention(board: str, model: str) -> float:
    """Fitted on the profile of this board and model; of another model: on one with as many query heads per key head."""
    found = json.loads((COMMITTED / "fit_gpu_profiles.json").read_text())["numbers"][board]["mixed_attention"]
    own = next((value for stem, value in found.items() if model in stem), None)
    heads = {name: sizes["num_heads"] / sizes["num_kv_heads"] for name, sizes in MODELS.items()}
    near = min(found, key=lambda stem: abs(heads[recorded(stem).model] - heads[model]))
    return found[near] if own is None else own


def twin_table(
    board: str, model: str, *, longest: int, max_num_seqs: int, tensor_parallel: int = 1, ranks: int = 1,
    trace: RoutingTrace | None = None,
) -> StepTable:  # fmt: skip
    """A step table; `ranks` data-parallel ranks that share the experts (dealt out), `tensor_parallel` GPUs that share layers."""
    every = CHIPS["gpu"].component_names
    given = {"longest_context": longest, "mixed_attention": mixed_attention(board, model)}

    def table(gpus: int, components: tuple[str, ...] | None, **hardware: float) -> StepTable:
        steps = ChipSteps(board_config(board, model, gpus, **hardware), trace, components=components, **given)
        return StepGrid(steps, max_num_seqs=max_num_seqs).table()

    if ranks == 1:
        found = table(tensor_parallel, None)
        if tensor_parallel > 1:  # the logits of all devices are gathered: one way of a sum over the GPUs
            hardware = board_config(board, model).hardware.model_dump()
            share = (tensor_parallel - 1) / tensor_parallel * MODELS[model]["vocab_size"] * 2
            each = share / (hardware["link_gb_per_s"] * hardware["all_reduce_efficiency"])
            gathered = np.maximum(found.samples_grid, 1) * each + 0.5 * hardware["all_reduce_fixed_ns"]
            found = found._replace(samples=found.samples + np.stack([gathered, 0 * gathered]))
        return found
    trace = generate_traces("uniform", **sizes_of(model)) if trace is None else trace
    alone = table(tensor_parallel, tuple(name for name in every if name != "experts"))
    experts = table(ranks, ("experts",), expert_parallel=ranks, attention_data_parallel=ranks)
    links = table(ranks, ("links",))
    exchanged = 0.5 * np.stack([np.interp(ranks * alone.tokens_grid, links.tokens_grid, row) for row in links.tokens])
    return alone._replace(
        tokens=alone.tokens + exchanged,
        joint_grid=experts.tokens_grid,
        joint=experts.tokens,
    )
