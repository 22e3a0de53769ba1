"""Ways to draw the experts of a model whose routing is not at hand: as many experts and layers, skews of a recorded one."""

from __future__ import annotations

import jax
import numpy as np

import pimjax
from benchmarks.lib.paths import DECODE_TRACES, trace_folder
from benchmarks.lib.served_models import MODELS
from pimjax.trace import RoutingTrace, generate_traces
from pimjax.trace.fitting import fit_generator
from pimjax.trace.generators import generate_from_parameters
from pimjax.trace.synthetic import GeneratorParameters

REQUESTS, TOKENS = 12, 96


def sizes_of(model: str) -> dict[str, int]:
    """Arguments of `generate_traces`."""
    sizes = MODELS[model]
    return {
        "layers": sizes["num_layers"],
        "experts": sizes["num_experts"],
        "top_k": sizes["top_k"],
        "requests": REQUESTS,
        "tokens": TOKENS,
    }


def expert_draws(model: str, *, quick: bool = False) -> dict[str, RoutingTrace]:
    """Name -> trace of the model's experts and layers.

    "uniform": all alike. "GPT-OSS popularity": log odds of GPT-OSS-20B's recorded loads, layer by layer, stretched to as many
    experts (quantiles), tokens independent. "GPT-OSS fitted": the generator fitted to its traces, which also knows that
    tokens of a request and consecutive tokens resemble each other. The last two need the recorded traces.
    """
    size = sizes_of(model)
    layers, experts, top_k = size["layers"], size["experts"], size["top_k"]
    found = {"uniform": generate_traces("uniform", **size)}
    path = trace_folder() / DECODE_TRACES
    if quick or not path.is_file():
        print(
            f"draws by recorded routing are left out: {'--quick' if quick else f'{path} is not there (PIMJAX_TRACES)'}"
        )
        return found
    fitted = fit_generator(pimjax.load_traces(path), iterations=12).parameters
    place = np.resize(np.arange(fitted.num_layers), layers)
    old, new = ((np.arange(n) + 0.5) / n for n in (fitted.num_experts, experts))
    popularity = np.array([np.interp(new, old, np.sort(np.asarray(fitted.popularity)[layer])) for layer in place])
    # a request's own preferences make popular experts less certain; without them the recorded loads are matched by a flatter law
    own = np.asarray(fitted.request_spread)[place]
    flat = popularity / np.sqrt(1.0 + own[:, None] ** 2 / 2.0)
    zero, mixing = np.zeros(layers), np.tile(np.eye(experts), (layers, 1, 1))
    keys = jax.random.split(jax.random.key(5), REQUESTS)
    for name, odds, spread, slope in (
        ("GPT-OSS popularity", flat, zero, zero),
        ("GPT-OSS fitted", popularity, own, np.asarray(fitted.persistence)[place]),
    ):
        made = GeneratorParameters(*(np.float32(leaf) for leaf in (odds, spread, slope, mixing)), top_k=top_k)
        found[name] = generate_from_parameters(made, keys, TOKENS)
    return found
