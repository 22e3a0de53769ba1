"""What most families say in the same fields: widths, heads, activation, windows, which layers have experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pimjax.imports.fields import MAX_LIST, Fields

Keys = dict[str, Any]

#: names of layer kinds in config.json -> kinds of pimjax.config.layer_kinds
KINDS = {
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear",
    "indexed_attention": "sparse",
}
_GATED = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu"}
_PLAIN = {"relu": "relu", "relu2": "relu2", "gelu": "gelu"}


def decoder(fields: Fields, *, tied: bool = False, gated: bool = True, activation: Sequence[str] = ("hidden_act",),
            act: str = "silu", head_dim: int | None = None) -> Keys:  # fmt: skip
    """Keys of every decoder. `tied`, `act`, `head_dim` are the defaults of the family's class."""
    width, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    head = fields.count("head_dim", default=head_dim)
    if head is None and width % heads:
        # transformers rounds down; the keys of a model say the width of a head then
        head = max(1, width // heads)
    return {
        "d_model": width,
        "vocab_size": fields.count("vocab_size"),
        "num_layers": fields.count("num_hidden_layers", most=MAX_LIST),
        "num_heads": heads,
        "num_kv_heads": fields.count("num_key_value_heads", default=heads),
        "head_dim": head if head is not None else width // heads,
        "activation": _activation(fields, activation, act, gated),
        "tied_embeddings": fields.flag("tie_word_embeddings", tied),
        "num_experts": 0,
        "top_k": 1,
    }


def dense(fields: Fields, **defaults: Any) -> Keys:
    """A decoder with one feed-forward block in each layer."""
    return {**decoder(fields, **defaults), "d_ff": fields.count("intermediate_size")}


def _activation(fields: Fields, names: Sequence[str], default: str, gated: bool) -> str:
    word = fields.word(*names, default=default).lower()
    base = "gelu" if word.startswith("gelu") else word
    known = _GATED if gated else _PLAIN
    if base not in known:
        kind = "gated" if gated else "plain"
        raise fields.wrong(names[0], word, f"activations of {kind} feed-forward blocks: {', '.join(known)}")
    return known[base]


def routed(fields: Fields, width: int, experts: int, top_k: int, **keys: Any) -> Keys:
    """Keys of routed experts; a token cannot visit more experts than there are."""
    if top_k > experts:
        raise fields.wrong("experts per token", top_k, f"it can be at most the number of experts, {experts}")
    return {"d_ff": width, "num_experts": experts, "top_k": top_k, **keys}


def shared(fields: Fields, count: int, width: int, gate: bool = False) -> Keys:
    """Keys of `count` shared experts that make one block of hidden width `width`."""
    if not count or not width:
        return {}
    return {"num_shared_experts": count, "shared_d_ff": width, "shared_gate": gate}


def expert_layers(layers: int, has_experts: Callable[[int], bool]) -> Keys:
    """Which layers have experts, said as briefly as the keys allow.

    >>> expert_layers(6, lambda layer: layer % 2 == 1)
    {'moe_frequency': 2, 'moe_offset': 1}
    >>> expert_layers(4, lambda layer: layer >= 1), expert_layers(4, lambda layer: layer in (0, 1, 3))
    ({'first_dense_layers': 1}, {'moe_layers': (0, 1, 3)})
    """
    chosen = tuple(layer for layer in range(layers) if has_experts(layer))
    if chosen == tuple(range(layers)):
        return {}
    if chosen and chosen == tuple(range(chosen[0], layers)):
        return {"first_dense_layers": chosen[0]}
    if (
        len(chosen) > 1
        and (step := chosen[1] - chosen[0]) > chosen[0]
        and chosen == tuple(range(chosen[0], layers, step))
    ):
        return {"moe_frequency": step, "moe_offset": chosen[0]}
    return {"moe_layers": chosen}


def no_experts(keys: Keys) -> Keys:
    """A model none of whose layers has experts is dense: its blocks are as wide as its dense layers."""
    if keys.get("moe_layers") != ():
        return keys
    kept = {key: value for key, value in keys.items() if not key.startswith(("router_", "shared_", "num_shared"))}
    for key in ("moe_layers", "routed_scale", "normalised_top_k", "moe_norms", "expert_bias"):
        kept.pop(key, None)
    return {**kept, "num_experts": 0, "top_k": 1, "d_ff": kept.pop("dense_d_ff", kept["d_ff"])}


def dense_then_sparse(fields: Fields, layers: int, first: int) -> Keys:
    """Expert layers from `mlp_layer_types`, or all but the `first` ones."""
    words = fields.items("mlp_layer_types", str, "'dense' and 'sparse'")
    if words is None:
        return expert_layers(layers, lambda layer: layer >= first)
    if len(words) != layers or set(words) - {"dense", "sparse"}:
        raise fields.wrong("mlp_layer_types", words, f"it must say 'dense' or 'sparse' for each of the {layers} layers")
    return expert_layers(layers, lambda layer: words[layer] == "sparse")


def windows(fields: Fields, layers: int, default: Callable[[int], str], window: int | None = None,
            known: Sequence[str] = ("full", "sliding")) -> Keys:  # fmt: skip
    """Attention kind of each layer, from `layer_types` or the class's rule, and the window of the sliding ones.

    Args:
        default: layer -> kind where the file has no `layer_types`.
        window: the class's default of `sliding_window`; a null in the file is no window.
        known: kinds this family may have.
    """
    words = fields.items("layer_types", str, ", ".join(KINDS))
    size = fields.count("sliding_window", default=None, least=0) if fields.has("sliding_window") else window
    if words is None:
        kinds = [default(layer) for layer in range(layers)]
    elif len(words) != layers:
        raise fields.wrong("layer_types", words, f"it must have one entry for each of the {layers} layers")
    else:
        kinds = [KINDS.get(word, word) for word in words]
    for kind in kinds:
        if kind not in known:
            raise fields.wrong("layer_types", kind, "this family has layers of " + " and ".join(known) + " attention")
    if not size:  # without a window, a sliding layer sees everything
        kinds = ["full" if kind == "sliding" else kind for kind in kinds]
    keys = {"layer_types": pattern(kinds)}
    return keys | ({"sliding_window": size} if "sliding" in kinds else {})


def every_layer_windowed(fields: Fields, window: int | None = None) -> Keys:
    """One window for all layers; `window` is the class's default, a null in the file is no window."""
    size = fields.count("sliding_window", default=None, least=0) if fields.has("sliding_window") else window
    return {"sliding_window": size} if size else {}


def pattern(kinds: Sequence[str]) -> tuple[str, ...] | None:
    """The shortest pattern that repeats to these kinds; None if every layer is full.

    >>> pattern(["sliding", "full", "sliding", "full"]), pattern(["full", "full"])
    (('sliding', 'full'), None)
    """
    if set(kinds) == {"full"}:
        return None
    # Length of the longest proper prefix that is also a suffix, of every prefix: what is left is the period.
    borders = [0]
    for kind in kinds[1:]:
        border = borders[-1]
        while border and kinds[border] != kind:
            border = borders[border - 1]
        borders.append(border + (kinds[border] == kind))
    return tuple(kinds[: len(kinds) - borders[-1]])


def grouped_choice(fields: Fields) -> Keys:
    """Sigmoid scores with a correction bias and group-limited choice, as DeepSeek-V3 and its heirs route."""
    groups = fields.count("n_group", default=1)
    return {
        "router_scoring": "sigmoid",
        "router_correction": "buffer",
        "router_groups": groups,
        "router_groups_kept": fields.count("topk_group", default=1) if groups > 1 else 1,
        "normalised_top_k": fields.flag("norm_topk_prob", True),
        "routed_scale": fields.number("routed_scaling_factor", 1.0),
    }
