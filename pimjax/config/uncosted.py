"""What a model may have that the chips do not cost yet: named and refused, never approximated in silence."""

from __future__ import annotations

from pimjax.config.config import Config
from pimjax.config.layer_kinds import LAYER_KINDS, PLAIN_NAMES
from pimjax.config.model import ModelConfig
from pimjax.errors import ConfigError

#: kinds whose pairs, bytes and crossbars the chips know
COSTED_KINDS = ("full", "sliding")


def uncosted_features(model: ModelConfig, context_tokens: int | None = None) -> list[str]:
    """One sentence for each feature of a model that no chip costs; an empty list: all of it is costed.

    Args:
        model: the model.
        context_tokens: longest context of the run, if known: a chunk that holds all of it is full attention.

    >>> uncosted_features(ModelConfig())
    []
    >>> print(uncosted_features(ModelConfig(norms_per_layer=4))[0])
    model.norms_per_layer is 4 and model.moe_norms 0: the chips cost 2 norms in each layer
    """
    found = []
    for kind in LAYER_KINDS:
        if kind in COSTED_KINDS or (kind == "chunked" and 0 < (context_tokens or 0) <= model.chunk_tokens):
            continue
        if count := model.count_layers(kind):
            found.append(
                f"{count} of {model.num_layers} layers are {PLAIN_NAMES[kind]} layers, whose cost is not modelled"
            )
    if model.full_layers is not None and model.count_layers("full"):
        found.append("model.full_layers gives full-attention layers other heads than the windowed layers have")
    if model.v_head_dim and model.attention == "gqa":
        found.append(f"model.v_head_dim is {model.v_head_dim}: the chips cost values as wide as keys")
    if model.output_gate:
        found.append("model.output_gate multiplies attention's output by a gate that needs crossbars of its own")
    if model.expert_latent_width:
        found.append(
            f"model.expert_latent_width is {model.expert_latent_width}: experts on a projection are not costed"
        )
    if (
        model.num_moe_layers
        and model.num_shared_experts
        and model.shared_width != model.num_shared_experts * model.d_ff
    ):
        found.append(
            f"model.shared_d_ff is {model.shared_width}: the chips cost shared experts of "
            f"{model.num_shared_experts} x {model.d_ff} only"
        )
    if model.norms_per_layer != 2 or (model.moe_norms and model.num_moe_layers):
        found.append(
            f"model.norms_per_layer is {model.norms_per_layer} and model.moe_norms {model.moe_norms}: the chips cost 2 "
            "norms in each layer"
        )
    if model.activation == "relu2":
        found.append("model.activation is relu2: the square is one more product than the chips cost")
    return found


def refuse_uncosted(config: Config) -> None:
    """Raise ConfigError with one sentence if a configuration's model has what no chip costs.

    >>> refuse_uncosted(Config())
    """
    found = uncosted_features(config.model, config.workload.context_tokens)
    if found:
        more = f" ({len(found) - 1} more: pimjax validate lists them)" if len(found) > 1 else ""
        raise ConfigError(f"model: {found[0]}; no estimate is made of an approximation{more}")
