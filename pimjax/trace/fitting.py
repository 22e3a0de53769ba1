"""Fitting the synthetic generator to a recorded trace, and showing how well it fits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.array_typing import HostArray
from pimjax.errors import TraceError, shown
from pimjax.trace.arguments import check_seed, check_sizes
from pimjax.trace.checks import check_path
from pimjax.trace.generators import generate_from_parameters
from pimjax.trace.npz import read_npz, write_npz
from pimjax.trace.routing import RoutingTrace
from pimjax.trace.statistics import TraceStatistics, trace_statistics
from pimjax.trace.synthetic import GeneratorParameters, check_parameters, synthesize_token_choice

_SIMULATED_TOKENS = 4096  # at least this many per iteration, so that loads are known to a few percent
_SMALLEST_EIGENVALUE = 1e-3


class _Moments(NamedTuple):
    """What is matched: inclusion ``[L, E]``, pairs ``[L, E, E]``, overlap of neighbours ``[L]``, spread ``[L]``."""

    inclusion: Any
    pairs: Any
    overlap: Any
    spread: Any


@dataclasses.dataclass(frozen=True)
class GeneratorFit:
    """Fitted parameters, and the trace's statistics beside those of freshly generated requests.

    Attributes:
      parameters: what :func:`~pimjax.trace.generate_from_parameters` takes.
      measured: statistics of the recorded trace.
      regenerated: statistics of as many requests of the median length, from random numbers the fit never saw.
      load_correlation: correlation over experts of measured and regenerated loads, per layer ``[L]``.
    """

    parameters: GeneratorParameters
    measured: TraceStatistics
    regenerated: TraceStatistics
    load_correlation: HostArray

    def comparison(self) -> dict[str, dict[str, float]]:
        """Statistic -> measured and regenerated, means over layers."""
        rows = {
            name: (getattr(self.measured, name), getattr(self.regenerated, name))
            for name in ("experts_per_token", "imbalance", "imbalance_per_request", "shared_by_chance")
        }
        rows["coactivation_excess"] = (self.measured.coactivation_excess, self.regenerated.coactivation_excess)
        for lag in self.measured.shared.keys() & self.regenerated.shared.keys():
            rows[f"shared_at_lag_{lag}"] = (self.measured.shared[lag], self.regenerated.shared[lag])
        return {
            name: {"measured": float(np.mean(pair[0])), "regenerated": float(np.mean(pair[1]))}
            for name, pair in rows.items()
        }


def fit_generator(
    trace: RoutingTrace,
    *,
    seed: int = 0,
    iterations: int = 30,
    progress: Callable[[int, float], None] | None = None,
) -> GeneratorFit:
    """Generator parameters whose traces look like a recorded token-choice trace.

    Matched by simulation, layer by layer: the share of every expert (popularity), the experts shared by consecutive
    tokens (persistence), the variation of loads between requests (request spread) and which experts meet (mixing).
    Each iteration moves every parameter by what its own statistic lacks; random numbers are the same in all iterations.

    Args:
      trace: one request or, better, stacked requests, every token with the same number of experts.
      seed: of the simulations.
      iterations: of the matching.
      progress: called with (iteration, largest deviation of an expert's share from the recorded one).

    Raises:
      TraceError: the number of experts per token varies, or all experts are always chosen.

    >>> from pimjax.trace import default_traces
    >>> fit = fit_generator(default_traces(max_tokens=64), iterations=2)
    >>> fit.parameters.popularity.shape
    (3, 16)
    """
    check_seed(seed)
    check_sizes(iterations=iterations)
    if progress is not None and not callable(progress):
        raise TraceError(f"progress is {shown(progress)}: give a function of (iteration, deviation), or None")
    top_k = _constant_top_k(trace)
    lengths = np.atleast_1d(np.asarray(trace.num_tokens))
    tokens = int(np.median(lengths))
    target = _measure_host(trace)
    count = int(np.clip(-(-_SIMULATED_TOKENS // tokens), 8, 128))
    key_fit, key_show = jax.random.split(jax.random.key(seed))
    keys = jax.random.split(key_fit, count)
    odds = np.log(target.inclusion) - np.log1p(-target.inclusion)
    spread = np.where(target.spread > 0, 0.5, 0.0)
    slope = np.zeros(trace.num_layers)
    correlation = np.tile(np.eye(trace.num_experts), (trace.num_layers, 1, 1))
    for number in range(iterations):
        parameters = _assemble(odds, spread, slope, correlation, top_k)
        found = _Moments(*(np.asarray(part, np.float64) for part in _simulate(keys, parameters, tokens=tokens)))
        if progress is not None:
            progress(number + 1, float(np.abs(found.inclusion - target.inclusion).max()))
        share = np.clip(found.inclusion, 0.5 / (count * tokens), 1 - 1e-6)
        odds = odds + 0.8 * (_logit(target.inclusion) - _logit(share))
        spread = np.clip(spread * (target.spread / np.maximum(found.spread, 1e-6)) ** 0.8, 0.0, 10.0)
        slope = slope + 0.8 * (_logit(target.overlap / top_k) - _logit(found.overlap / top_k))
        correlation = _nearest_correlation(correlation + 1.5 * (_phi(target) - _phi(found)))
    parameters = _assemble(odds, spread, slope, correlation, top_k)
    again = generate_from_parameters(parameters, jax.random.split(key_show, len(lengths)), tokens)
    measured, regenerated = trace_statistics(trace), trace_statistics(again)
    shares = zip(target.inclusion, _measure_host(again).inclusion, strict=True)
    similar = np.array([_correlation(first, second) for first, second in shares])
    return GeneratorFit(parameters, measured, regenerated, similar)


def save_generator(path: str | os.PathLike[str], parameters: GeneratorParameters) -> None:
    """Write parameters to an ``.npz`` file.

    Raises:
      TraceError: no parameters, or the file cannot be written.
    """
    check_parameters(parameters)
    arrays = {name: np.asarray(getattr(parameters, name)) for name in _ARRAYS}
    write_npz(path, {**arrays, "top_k": np.int32(parameters.top_k)})


def load_generator(path: str | os.PathLike[str]) -> GeneratorParameters:
    """Parameters from :func:`save_generator`.

    Raises:
      TraceError: damaged file, or one that holds no generator.
    """
    arrays = read_npz(path)
    named = shown(check_path(path, "generator parameters"))
    missing = [name for name in (*_ARRAYS, "top_k") if name not in arrays]
    if missing:
        raise TraceError(f"{named} lacks {missing[0]!r}: it holds no generator parameters")
    layers, experts = arrays["popularity"].shape if arrays["popularity"].ndim == 2 else (0, 0)
    shapes = {
        "popularity": (layers, experts),
        "request_spread": (layers,),
        "persistence": (layers,),
        "mixing": (layers, experts, experts),
    }
    for name, shape in shapes.items():
        number = np.issubdtype(arrays[name].dtype, np.floating)
        if not number or arrays[name].shape != shape or 0 in shape or not np.isfinite(arrays[name]).all():
            raise TraceError(f"{named}: {name} of shape {list(arrays[name].shape)} must be finite, {list(shape)}")
    stored = arrays["top_k"]
    top_k = int(stored.reshape(())) if stored.size == 1 and np.issubdtype(stored.dtype, np.integer) else 0
    if not 1 <= top_k <= experts:
        raise TraceError(f"{named}: top_k is {shown(stored)}, but must lie between 1 and the {experts} experts")
    if (np.abs(arrays["persistence"]) >= 1).any() or (arrays["request_spread"] < 0).any():
        raise TraceError(f"{named}: persistence must lie between -1 and 1, and request_spread be 0 or more")
    return GeneratorParameters(*(jnp.asarray(arrays[name], jnp.float32) for name in _ARRAYS), top_k=top_k)


_ARRAYS = ("popularity", "request_spread", "persistence", "mixing")


def _constant_top_k(trace: RoutingTrace) -> int:
    statistics = trace_statistics(trace)
    least, most = statistics.min_experts_per_token, statistics.max_experts_per_token
    if least != most or least < 1:
        raise TraceError(
            f"the trace visits {least} to {most} experts per token: only token choice with a constant k is fitted"
        )
    if least == trace.num_experts:
        raise TraceError(f"every token visits all {least} experts: there is nothing to fit")
    return least


def _moments(choices: Any, real: Any, xp: Any) -> _Moments:
    """Moments of choices ``[R, L, T, E]`` as floats and real ``[R, T]``; `xp` is numpy or jax.numpy."""
    lengths = real.sum(axis=1)
    tokens = lengths.sum()
    loads = choices.sum(axis=2)
    shares = loads / lengths[:, None, None]
    pairs = xp.einsum("rlte,rltf->lef", choices, choices) / tokens
    common = (choices[:, :, 1:] * choices[:, :, :-1]).sum(axis=(0, 2, 3))
    overlap = common / xp.maximum((lengths - 1).sum(), 1)
    return _Moments(loads.sum(axis=0) / tokens, pairs, overlap, xp.sqrt(shares.var(axis=0).mean(axis=-1)))


def _measure_host(trace: RoutingTrace) -> _Moments:
    choices = np.asarray(trace.choices, np.float32)
    choices = choices if trace.is_stacked else choices[None]
    lengths = np.atleast_1d(np.asarray(trace.num_tokens))
    found = _moments(choices, np.arange(choices.shape[2])[None, :] < lengths[:, None], np)
    least = 0.5 / lengths.sum()
    inclusion = np.clip(found.inclusion.astype(np.float64), least, 1 - least)
    return found._replace(inclusion=inclusion, overlap=found.overlap.astype(np.float64))


@partial(jax.jit, static_argnames="tokens")
def _simulate(keys: Any, parameters: GeneratorParameters, *, tokens: int) -> _Moments:
    traces = jax.vmap(lambda key: synthesize_token_choice(key, parameters, tokens))(keys)
    return _moments(traces.choices.astype(jnp.float32), jnp.ones((keys.shape[0], tokens), jnp.float32), jnp)


def _assemble(odds: Any, spread: Any, slope: Any, correlation: Any, top_k: int) -> GeneratorParameters:
    values, vectors = np.linalg.eigh(correlation)
    root = (vectors * np.sqrt(np.maximum(values, 0))[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    centred = odds - odds.mean(axis=-1, keepdims=True)
    persistence = np.clip(np.tanh(slope), -0.999, 0.999)
    parts = (jnp.asarray(part, jnp.float32) for part in (centred, spread, persistence, root))
    return GeneratorParameters(*parts, top_k=top_k)


def _phi(moments: _Moments) -> HostArray:
    """Correlation coefficients ``[L, E, E]`` of the 0/1 choices of two experts, zero on the diagonal."""
    share = np.clip(np.asarray(moments.inclusion, np.float64), 1e-6, 1 - 1e-6)
    deviation = np.sqrt(share * (1 - share))
    covariance = np.asarray(moments.pairs, np.float64) - share[:, :, None] * share[:, None, :]
    phi = covariance / (deviation[:, :, None] * deviation[:, None, :])
    return np.clip(phi, -1, 1) * (1 - np.eye(share.shape[1]))


def _nearest_correlation(matrix: HostArray) -> HostArray:
    """A correlation matrix near `matrix`: eigenvalues cut from below, then diagonal scaled to 1."""
    values, vectors = np.linalg.eigh(0.5 * (matrix + np.swapaxes(matrix, 1, 2)))
    positive = (vectors * np.maximum(values, _SMALLEST_EIGENVALUE)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    scale = np.sqrt(np.diagonal(positive, axis1=1, axis2=2))
    return positive / (scale[:, :, None] * scale[:, None, :])


def _logit(share: HostArray) -> HostArray:
    inside = np.clip(share, 1e-6, 1 - 1e-6)
    return np.log(inside) - np.log1p(-inside)


def _correlation(first: HostArray, second: HostArray) -> float:
    spread = np.std(first) * np.std(second)
    return float(np.mean((first - first.mean()) * (second - second.mean())) / spread) if spread > 0 else 1.0
