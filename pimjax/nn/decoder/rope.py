"""Rotary position embeddings: their frequencies for long contexts, and the rotation itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import Array, HostArray
from pimjax.errors import ConfigError, shown

RULES = ("default", "linear", "llama3", "yarn")


class Rope(NamedTuple):
    """Angle per position of each pair of a head's values ``[width / 2]``, and the factor on sine and cosine."""

    frequencies: HostArray
    scale: float


def rope_of(settings: Mapping[str, Any], width: int, *, where: str = "rope_parameters", longest: float = 0) -> Rope:
    """Frequencies ``theta^(-2i/width)`` and what a rule for longer contexts makes of them.

    Args:
        settings: `rope_type` (one of `RULES`), `rope_theta` and the rule's own numbers, as in config.json.
        width: values of a head that turn, even.
        where: for the sentence.
        longest: `max_position_embeddings`, where the settings do not say the original context.

    Raises:
        ConfigError: an unknown rule, or a number that is none.

    Sources: RoFormer, arXiv 2104.09864; position interpolation ("linear"), arXiv 2306.15595; Llama 3.1's rule as its
    model card states it; YaRN, arXiv 2309.00071, equations 17 to 22.

    >>> rope_of({"rope_theta": 100.0}, 4).frequencies.tolist()
    [1.0, 0.10000000149011612]
    """
    number = _Numbers(settings, where)
    rule = settings.get("rope_type", settings.get("type", "default"))
    if rule not in RULES:
        raise ConfigError(f"{where}: rope_type is {shown(rule)}; rules that are computed: {', '.join(RULES)}")
    theta = number.of("rope_theta", 10_000.0)
    if theta <= 1:
        raise ConfigError(f"{where}: rope_theta is {theta}; it must be above 1")
    plain = theta ** -(np.arange(0, width, 2, dtype=np.float64) / width)
    if rule == "default":
        return Rope(plain.astype(np.float32), 1.0)
    factor = number.of("factor")
    if rule == "linear":
        return Rope((plain / factor).astype(np.float32), 1.0)
    original = number.of("original_max_position_embeddings", longest or None)
    if rule == "llama3":
        return Rope(_llama3(plain, factor, original, number).astype(np.float32), 1.0)
    return _yarn(plain, factor, original, width, number)


def mscale(factor: float, weight: float) -> float:
    """YaRN's growth of attention logits with the context, 0.1 weight ln(factor) + 1 (arXiv 2309.00071, equation 22)."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def _llama3(plain: HostArray, factor: float, original: float, number: _Numbers) -> HostArray:
    """Long waves are slowed by the factor, short ones kept, those between mixed."""
    low, high = number.of("low_freq_factor"), number.of("high_freq_factor")
    if not high > low:
        raise ConfigError(f"{number.where}: high_freq_factor is {high}; it must exceed low_freq_factor = {low}")
    turns = original * plain / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return kept * plain + (1 - kept) * plain / factor


def _yarn(plain: HostArray, factor: float, original: float, width: int, number: _Numbers) -> Rope:
    theta = number.of("rope_theta", 10_000.0)
    fast, slow = number.of("beta_fast", 32.0), number.of("beta_slow", 1.0)
    # pair whose wave turns this many times in the original context
    low, high = (width * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta)) for turns in (fast, slow))
    if number.flag("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    ramp = np.clip((np.arange(width // 2) - low) / (high - low if high != low else 0.001), 0, 1)
    given = number.optional("attention_factor")
    own, over_all = number.optional("mscale"), number.optional("mscale_all_dim")
    if given is not None:
        scale = given
    elif own and over_all:
        scale = mscale(factor, own) / mscale(factor, over_all)
    else:
        scale = mscale(factor, 1.0)
    return Rope((plain * (1 - ramp) + plain / factor * ramp).astype(np.float32), scale)


def attention_growth(settings: Mapping[str, Any], where: str = "rope_parameters") -> float:
    """Factor on attention logits of DeepSeek's latent attention in a context that a rule makes longer; 1 without one.

    >>> attention_growth({"rope_type": "yarn", "factor": 1.0, "mscale_all_dim": 1.0})
    1.0
    """
    number = _Numbers(settings, where)
    over_all = number.optional("mscale_all_dim")
    if settings.get("rope_type", settings.get("type", "default")) == "default" or over_all is None:
        return 1.0
    return mscale(number.of("factor"), over_all) ** 2


class _Numbers:
    """The numbers of a mapping, each finite and above 0."""

    def __init__(self, settings: Mapping[str, Any], where: str) -> None:
        self.settings, self.where = settings, where

    def of(self, name: str, default: float | None = None) -> float:
        value = self.settings.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e12:
            raise ConfigError(f"{self.where}: {name} is {shown(value)}; it must be a number above 0")
        return float(value)

    def optional(self, name: str) -> float | None:
        return self.of(name) if self.settings.get(name) else None

    def flag(self, name: str, default: bool) -> bool:
        value = self.settings.get(name, default)
        if not isinstance(value, bool):
            raise ConfigError(f"{self.where}: {name} is {shown(value)}; it must be true or false")
        return value


def rotate_pairs(vectors: Array, positions: Array, frequencies: Array, scale: Array, *, interleaved: bool) -> Array:
    """Turn pairs of values by position times frequency, times `scale`.

    Args:
        vectors: ``[T, h, width]``.
        positions: int ``[T]``, from 0.
        frequencies: ``[width / 2]``.
        scale: ``[]``.
        interleaved: static; pairs are neighbours (0, 1), (2, 3), .. instead of (0, width/2), (1, width/2 + 1), ..

    >>> turned = rotate_pairs(jnp.ones((1, 1, 2)), jnp.array([1]), jnp.array([jnp.pi]), jnp.ones(()), interleaved=True)
    >>> turned.round(3).tolist()
    [[[-1.0, -1.0]]]
    """
    angle = positions.astype(frequencies.dtype)[:, None] * frequencies[None, :]
    cosine, sine = (jnp.cos(angle) * scale)[:, None, :], (jnp.sin(angle) * scale)[:, None, :]
    if interleaved:
        first, second = vectors[..., ::2], vectors[..., 1::2]
        turned = jnp.stack([first * cosine - second * sine, first * sine + second * cosine], axis=-1)
        return turned.reshape(vectors.shape)
    half = vectors.shape[-1] // 2
    first, second = vectors[..., :half], vectors[..., half:]
    return jnp.concatenate([first * cosine - second * sine, first * sine + second * cosine], axis=-1)
