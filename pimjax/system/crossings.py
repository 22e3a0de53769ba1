"""Which dies a token visits, and the bytes between every two dies: counted from choices and a placement. NumPy or JAX.

A token leaves the home die of a layer once for every other die that holds one of its experts, and one sum of results comes
back from each. Afterwards it goes on to the next layer's home die. Nothing is a mean: two traces with equal loads and other
expert sets give other bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimjax import checks
from pimjax.array_typing import AnyArray, ArrayLike
from pimjax.arrays import namespace, real_dtype
from pimjax.errors import ConfigError

_CHOICES = checks.flags(dims=2, meaning="booleans or 0 and 1 of [tokens, experts]")
_HOLDS = checks.flags(dims=2, meaning="booleans or 0 and 1 of [experts, dies]")
_BYTES = checks.numbers(0, dims=0)


class Crossings(NamedTuple):
    """What one layer sends between dies.

    Attributes:
        visits: bool `[T, D]`, the token has an expert on the die.
        crossings: `[]`, tokens sent to dies that are not the home; as many sums come back.
        pair_bytes: `[D, D]`, bytes from the first die to the second.
    """

    visits: AnyArray
    crossings: AnyArray
    pair_bytes: AnyArray


@checks.checked(ConfigError, choices=_CHOICES, holds=_HOLDS)
def die_visits(choices: ArrayLike, holds: ArrayLike) -> AnyArray:
    """Which dies each token visits: bool `[T, D]`. Kernel.

    Args:
        choices: bool `[T, E]`; padding chooses nothing.
        holds: bool `[E, D]`, the die has crossbars of the expert (an expert may span dies).

    >>> die_visits(np.array([[1, 1, 0], [0, 1, 1]]), np.array([[1, 0], [1, 0], [0, 1]])).tolist()
    [[True, False], [True, True]]
    """
    xp = namespace(choices, holds)
    dtype = real_dtype(choices, holds)
    chosen, held = xp.asarray(choices).astype(dtype), xp.asarray(holds).astype(dtype)
    if chosen.shape[1] != held.shape[0]:
        raise ConfigError(
            f"choices has {chosen.shape[1]} experts and holds {held.shape[0]}: give one row of holds per expert"
        )
    return chosen @ held > 0


@checks.checked(
    ConfigError,
    choices=_CHOICES,
    holds=_HOLDS,
    home=checks.numbers(0, dims=0, integer=True),
    token_bytes=_BYTES,
    result_bytes=_BYTES,
)
def layer_crossings(
    choices: ArrayLike, holds: ArrayLike, home: ArrayLike, *, token_bytes: ArrayLike, result_bytes: ArrayLike
) -> Crossings:
    """Crossings and bytes of one layer. Kernel: pure, unbatched; `vmap` over layers, traces and placements.

    Args:
        choices: bool `[T, E]`.
        holds: bool `[E, D]`.
        home: int `[]`, die on which tokens start and results meet.
        token_bytes: of a token's activations.
        result_bytes: of one die's sum of results.

    >>> made = layer_crossings(np.array([[1, 1, 0], [0, 1, 1]]), np.array([[1, 0], [1, 0], [0, 1]]), 0, token_bytes=8, result_bytes=16)
    >>> float(made.crossings), made.pair_bytes.tolist()
    (1.0, [[0.0, 8.0], [16.0, 0.0]])
    """
    visits = die_visits(choices, holds)
    xp, dtype = namespace(visits), real_dtype(choices, holds, token_bytes)
    dies = visits.shape[1]
    away = xp.arange(dies) != home
    sent = visits.sum(axis=0).astype(dtype) * away
    at_home = (~away).astype(dtype)
    there = at_home[:, None] * sent[None, :] * token_bytes
    back = sent[:, None] * at_home[None, :] * result_bytes
    return Crossings(visits, sent.sum(), there + back)


@checks.checked(
    ConfigError,
    choices=checks.flags(dims=3, meaning="booleans or 0 and 1 of [layers, tokens, experts]"),
    holds=checks.flags(dims=3, meaning="booleans or 0 and 1 of [layers, experts, dies]"),
    homes=checks.numbers(0, dims=1, integer=True),
    num_tokens=checks.numbers(0, dims=0),
    token_bytes=_BYTES,
    result_bytes=_BYTES,
)
def model_pair_bytes(
    choices: ArrayLike,
    holds: ArrayLike,
    homes: ArrayLike,
    num_tokens: ArrayLike,
    *,
    token_bytes: ArrayLike,
    result_bytes: ArrayLike,
) -> AnyArray:
    """Bytes between every two dies for all layers of a request `[D, D]`, moves from layer to layer included. Kernel.

    Args:
        choices: bool `[L, T, E]`.
        holds: bool `[L, E, D]`, D all dies of the system.
        homes: int `[L]`.
        num_tokens: tokens that move from layer to layer.
        token_bytes, result_bytes: as :func:`layer_crossings`; a move carries `result_bytes`.

    >>> choices = np.ones((2, 3, 2), bool)
    >>> holds = np.array([[[1, 0, 0], [1, 0, 0]], [[0, 1, 0], [0, 0, 1]]])
    >>> model_pair_bytes(choices, holds, np.array([0, 1]), 3, token_bytes=1, result_bytes=2).tolist()
    [[0.0, 6.0, 0.0], [0.0, 0.0, 3.0], [0.0, 6.0, 0.0]]
    """
    (layers, experts), held_shape = (np.shape(choices)[0], np.shape(choices)[2]), np.shape(holds)
    if held_shape[:2] != (layers, experts) or np.shape(homes) != (layers,):
        raise ConfigError(
            f"choices has {layers} layers and {experts} experts, holds has shape {list(held_shape)} and homes "
            f"{list(np.shape(homes))}: give [{layers}, {experts}, dies] and one home per layer"
        )
    xp, dtype = namespace(choices, holds, homes, num_tokens), real_dtype(choices, holds, token_bytes)
    chosen, held = xp.asarray(choices).astype(dtype), xp.asarray(holds).astype(dtype)
    starts: Any = xp.asarray(homes)
    dies = held.shape[-1]
    at_home = (xp.arange(dies)[None] == starts[:, None]).astype(dtype)  # [L, D]
    sent = (xp.matmul(chosen, held) > 0).sum(axis=1).astype(dtype) * (1 - at_home)  # [L, D]
    there = xp.einsum("la,lb->ab", at_home, sent) * token_bytes
    back = xp.einsum("la,lb->ab", sent, at_home) * result_bytes
    moves = xp.einsum("la,lb->ab", at_home[:-1], at_home[1:]) * (num_tokens * result_bytes)
    return there + back + moves * (1 - xp.eye(dies, dtype=dtype))


__all__ = ["Crossings", "die_visits", "layer_crossings", "model_pair_bytes"]
