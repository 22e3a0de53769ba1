"""What a model may have that the chips do not cost: named and refused, never approximated in silence."""

from __future__ import annotations

from pimjax.config.config import Config
from pimjax.config.layer_kinds import PLAIN_NAMES
from pimjax.config.mixers import lone_feed_forward_layers
from pimjax.config.model import ModelConfig
from pimjax.errors import ConfigError
from pimjax.registry import CHIPS

#: kinds of layers that the authors' fit of attention (plan.attention fit) speaks of
_FITTED = ("full", "sliding", "none")


def uncosted_features(model: ModelConfig) -> list[str]:
    """One sentence for each feature of a model that no chip costs; an empty list: all of it is costed.

    >>> uncosted_features(ModelConfig())
    []
    >>> print(uncosted_features(ModelConfig(norms_per_layer=1))[0])
    model.norms_per_layer is 1: layers with attention and feed-forward side by side (parallel blocks) are not costed
    """
    found = []
    if lone := lone_feed_forward_layers(model):
        found.append(
            f"{lone} of {model.num_layers} layers are {PLAIN_NAMES['none']} layers without a mixer (attention or a state) "
            "between them and the one before, whose cost is not modelled"
        )
    if model.v_head_dim and model.attention == "gqa" and model.v_head_dim != model.head_width:
        found.append(
            f"model.v_head_dim is {model.v_head_dim}: grouped-query attention layers whose values are not as wide as "
            f"their keys ({model.head_width}) are not costed"
        )
    if model.output_gate and model.attention == "mla":
        found.append(
            "model.output_gate: layers of multi-head latent attention (MLA) with an output gate are not costed"
        )
    if model.expert_latent_width and model.num_moe_layers:
        found.append(
            f"model.expert_latent_width is {model.expert_latent_width}: layers whose experts work on a projection "
            "(latent experts) are not costed"
        )
    if model.norms_per_layer == 1 and not model.single_block_layers:
        found.append(
            "model.norms_per_layer is 1: layers with attention and feed-forward side by side (parallel blocks) are not "
            "costed"
        )
    elif model.norms_per_layer not in (2, 4) and not model.single_block_layers:
        found.append(f"model.norms_per_layer is {model.norms_per_layer}: decoder layers are costed with 2 or 4 norms")
    elif model.single_block_layers and model.norms_per_layer != 1:
        found.append(
            f"model.norms_per_layer is {model.norms_per_layer}: decoder layers of a single block are costed with 1 norm"
        )
    return found


def beyond_plain_layers(model: ModelConfig) -> list[str]:
    """One sentence for each feature that only a chip costs which says so (`Chip.plain_layers_only` is False).

    >>> beyond_plain_layers(ModelConfig())
    []
    """
    found = []
    for kind in dict.fromkeys(model.layer_kind(layer) for layer in range(model.num_layers)):
        if kind not in _FITTED:
            count = model.count_layers(kind)
            found.append(f"{count} of {model.num_layers} layers are {PLAIN_NAMES[kind]} layers")
    named = {
        "single_block_layers": model.single_block_layers,
        "full_layers": model.full_layers is not None and model.count_layers("full") > 0,
        "output_gate": model.output_gate,
        "norms_per_layer": model.norms_per_layer != 2,
        "moe_norms": model.moe_norms > 0 and model.num_moe_layers > 0,
    }
    found += [f"model.{key} is not the default" for key, is_used in named.items() if is_used]
    if model.activation == "relu2":
        found.append("model.activation is relu2")
    return found


def uncosted_plan(config: Config) -> list[str]:
    """One sentence for each choice of a plan that does not go with what the model has.

    >>> uncosted_plan(Config())
    []
    """
    model, plan, found = config.model, config.plan, []
    if plan.attention == "fit":
        kinds = dict.fromkeys(model.layer_kind(layer) for layer in range(model.num_layers))
        for kind in kinds:
            if kind not in _FITTED:
                found.append(
                    f"plan.attention is 'fit', the authors' fit of full attention, but the model has {PLAIN_NAMES[kind]} "
                    "layers: use plan.attention linear"
                )
    if plan.combine == "inline" and model.num_moe_layers and (model.norms_per_layer > 2 or model.moe_norms > 1):
        found.append(
            "plan.combine is 'inline', which adds experts and residual in the return links, but the layers with experts "
            "of this model norm the experts' sum before they add it: use plan.combine digital"
        )
    return found


def not_costed(config: Config) -> list[str]:
    """One sentence for each thing in a configuration that its chip does not cost.

    >>> not_costed(Config())
    []
    """
    found = []
    if CHIPS[config.chip_model].plain_layers_only:
        others = " or ".join(repr(name) for name, chip in CHIPS.items() if not chip.plain_layers_only)
        found += [
            f"model: {sentence}, which chip_model {config.chip_model!r} does not cost: use chip_model {others}"
            for sentence in beyond_plain_layers(config.model)
        ]
    found += uncosted_plan(config)
    found += [f"model: {sentence}" for sentence in uncosted_features(config.model)]
    return found


def refuse_uncosted(config: Config) -> None:
    """Raise ConfigError with one sentence if a configuration's model has what its chip does not cost.

    >>> refuse_uncosted(Config())
    """
    if found := not_costed(config):
        more = f" ({len(found) - 1} more: pimjax validate lists them)" if len(found) > 1 else ""
        raise ConfigError(f"{found[0]}; no estimate is made of an approximation{more}")
