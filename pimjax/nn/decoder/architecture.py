"""What config.json says of a decoder: the static shape of every layer, and the numbers its functions need."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
from flax import struct

from pimjax.array_typing import Array
from pimjax.config.hf import from_hf
from pimjax.config.model import ModelConfig
from pimjax.errors import ConfigError, shown
from pimjax.imports.fields import Fields
from pimjax.imports.registry import read_hf
from pimjax.nn.decoder.rope import attention_growth, rope_of

#: families whose forward pass equals that of transformers (tests/test_checkpoint_models.py)
FAMILIES = ("mixtral", "qwen3_moe", "olmoe", "gpt_oss", "deepseek_v2", "deepseek_v3")
_WIDEST_WINDOW = 2**30


@dataclasses.dataclass(frozen=True)
class LayerShape:
    """Everything of one layer that shapes its program; static, hashable. Layers of one shape share a compiled program.

    Attributes:
      attention: "gqa" or "mla".
      num_heads, num_kv_heads, head_dim: of queries; of keys and values; values of one head (MLA: `nope` + `rope`).
      rope_dim, nope_dim, value_dim: MLA: part of a head that turns, part that does not, values of a head.
      interleaved: pairs that turn are neighbours.
      qk_norm: norms on queries and keys: "none", each "head", or over all heads ("full").
      num_experts, top_k: routed experts; 0: the layer is dense.
      scoring: weights of experts from scores: "softmax", "softmax_of_chosen" or "sigmoid".
      groups, groups_kept, group_score: experts are chosen within the groups of the best "max" or "top2" score.
      normalised: weights of the chosen are divided by their sum.
      activation: "swiglu", or "clamped_swiglu" (gpt-oss).
    """

    attention: Literal["gqa", "mla"]
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    interleaved: bool
    qk_norm: str
    num_experts: int
    top_k: int
    scoring: str
    groups: int
    groups_kept: int
    group_score: Literal["max", "top2"]
    normalised: bool
    activation: Literal["swiglu", "clamped_swiglu"]

    @property
    def cached_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Shape of what one token leaves in a key-value cache; None for MLA, whose first width is a weight's."""
        if self.attention == "mla":
            return None
        return (self.num_kv_heads, self.head_dim), (self.num_kv_heads, self.head_dim)


@struct.dataclass
class LayerNumbers:
    """Numbers of one layer; data, so that layers that differ in them only share one program. All ``[]`` but the first.

    Attributes:
      rope_frequencies: ``[width / 2]`` angle per position.
      rope_scale: factor on sine and cosine.
      attention_scale: factor on attention logits.
      window: tokens a query sees, itself included; int.
      norm_epsilon, latent_epsilon: of RMS norms; of MLA's inner ones.
      routed_scale: factor on the routed experts' sum.
      gate_slope, gate_limit: of the clamped SwiGLU.
      clip: queries, keys and values are clipped to +- this.
    """

    rope_frequencies: Array
    rope_scale: Array
    attention_scale: Array
    window: Array
    norm_epsilon: Array
    latent_epsilon: Array
    routed_scale: Array
    gate_slope: Array
    gate_limit: Array
    clip: Array


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A decoder that can be run: its description, and for each layer a shape and numbers."""

    family: str
    model: ModelConfig
    shapes: tuple[LayerShape, ...]
    numbers: tuple[LayerNumbers, ...]


def architecture_of(content: Mapping[str, Any], where: str = "config.json") -> Architecture:
    """The decoder that a config.json describes.

    Args:
        content: the file's content.
        where: for sentences.

    Raises:
        ConfigError: a family, a layer or a rule that is not computed; one sentence.

    >>> tiny = {"model_type": "mixtral", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    ...         "intermediate_size": 16, "vocab_size": 32, "num_local_experts": 4, "num_experts_per_tok": 2}
    >>> architecture_of(tiny).shapes[0].head_dim
    4
    """
    family = read_hf(content).family
    family = "deepseek_v3" if family == "kimi_k2" else family
    if family not in FAMILIES:
        raise ConfigError(
            f"{where}: the weights of model_type {family!r} are not loaded, only its config.json; families whose "
            f"weights are: {', '.join(FAMILIES)}"
        )
    model = from_hf(content)
    fields = Fields(content, where)
    if model.activation != "swiglu":
        raise ConfigError(
            f"{where}: the activation {model.activation!r} is not computed with loaded weights; only silu is"
        )
    if family == "deepseek_v2" and fields.flag("norm_topk_prob", False):
        raise fields.wrong("norm_topk_prob", True, "implementations of DeepSeek-V2 differ in what it does")
    shape = _shape(family, model, fields)
    shapes = tuple(
        shape if model.is_moe_layer(layer) else dataclasses.replace(shape, **_DENSE)
        for layer in range(model.num_layers)
    )
    common = _numbers(family, model, fields)
    numbers = tuple(
        dataclasses.replace(
            common, window=jnp.int32(model.sliding_window if model.is_windowed_layer(layer) else _WIDEST_WINDOW)
        )
        for layer in range(model.num_layers)
    )
    return Architecture(family, model, shapes, numbers)


_DENSE: dict[str, Any] = {
    "num_experts": 0, "top_k": 0, "scoring": "softmax", "groups": 1, "groups_kept": 1, "normalised": False,
}  # fmt: skip


def _shape(family: str, model: ModelConfig, fields: Fields) -> LayerShape:
    latent = model.attention == "mla"
    return LayerShape(
        attention=model.attention,
        num_heads=model.num_heads,
        num_kv_heads=model.kv_heads,
        head_dim=model.head_width,
        rope_dim=model.rope_head_dim if latent else model.head_width,
        nope_dim=model.nope_head_dim if latent else 0,
        value_dim=model.v_head_dim if latent else model.head_width,
        interleaved=family == "deepseek_v2" or (family == "deepseek_v3" and fields.flag("rope_interleave", True)),
        qk_norm=model.qk_norm,
        num_experts=model.num_experts,
        top_k=model.top_k,
        scoring=model.router_scoring,
        groups=model.router_groups,
        groups_kept=model.router_groups_kept,
        group_score="max" if family == "deepseek_v2" else "top2",
        normalised=model.normalised_top_k and model.router_scoring != "softmax_of_chosen",
        activation="clamped_swiglu" if family == "gpt_oss" else "swiglu",
    )


#: what the classes of transformers 5.24 take where config.json says nothing
_EPSILON = {"mixtral": 1e-5, "olmoe": 1e-5, "gpt_oss": 1e-5}
_THETA = {"mixtral": 1e6, "gpt_oss": 150_000.0}
_ROPE_OF_GPT_OSS = {
    "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
    "original_max_position_embeddings": 4096,
}  # fmt: skip
_LATENT_EPSILON = 1e-6  # the inner norms of MLA do not follow rms_norm_eps


def _numbers(family: str, model: ModelConfig, fields: Fields) -> LayerNumbers:
    latent = model.attention == "mla"
    settings = dict(fields.mapping("rope_parameters") or fields.mapping("rope_scaling") or {})
    if not settings and family == "gpt_oss":
        settings = dict(_ROPE_OF_GPT_OSS)
    if settings.get("rope_theta") is None:
        settings["rope_theta"] = fields.number("rope_theta", _THETA.get(family, 10_000.0))
    partial = settings.get("partial_rotary_factor", fields.data.get("partial_rotary_factor"))
    if partial not in (None, 1, 1.0):
        raise ConfigError(f"{fields.where}: partial_rotary_factor is {shown(partial)}; only whole heads are turned")
    width = model.rope_head_dim if latent else model.head_width
    if width % 2:
        raise ConfigError(
            f"{fields.where}: {width} values of a head turn with the position; they must be even in number"
        )
    longest = fields.number("max_position_embeddings", 0.0)
    rope = rope_of(settings, width, where=f"{fields.where}: rope_parameters", longest=longest)
    scale = model.head_width**-0.5
    if latent:
        scale *= attention_growth(settings, f"{fields.where}: rope_parameters")
    value = {
        "rope_frequencies": rope.frequencies,
        "rope_scale": rope.scale,
        "attention_scale": scale,
        "norm_epsilon": fields.number("rms_norm_eps", _EPSILON.get(family, 1e-6)),
        "latent_epsilon": _LATENT_EPSILON,
        "routed_scale": model.routed_scale,
        "gate_slope": fields.number("swiglu_alpha", 1.702),
        "gate_limit": fields.number("swiglu_limit", 7.0),
        "clip": fields.number("clip_qkv", jnp.inf) if family == "olmoe" else jnp.inf,
    }
    return LayerNumbers(**{name: jnp.asarray(one, jnp.float32) for name, one in value.items()}, window=jnp.int32(0))
