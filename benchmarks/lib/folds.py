"""Requests in folds: groupings are fitted on four folds (request index mod 5) and judged on the fifth."""

from __future__ import annotations

import numpy as np

from pimjax.trace import RoutingTrace

FOLDS = 5


def makespans(loads: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Compact makespan of each request `[R]`."""
    return (loads @ np.eye(groups.max() + 1)[groups]).max(axis=1)


def bootstrap(values: np.ndarray, generator: np.random.Generator) -> dict[str, float]:
    """Mean over layers and requests of `[L, R]` values with a 95 % interval over requests (NaN: not judged)."""
    per_request = values[:, ~np.isnan(values).all(axis=0)].mean(axis=0)
    draws = generator.integers(0, len(per_request), (4000, len(per_request)))
    low, high = np.percentile(per_request[draws].mean(axis=1), (2.5, 97.5))
    return {"mean": float(per_request.mean()), "low": float(low), "high": float(high)}


class Requests:
    """Choices and loads of one trace file, with its folds."""

    def __init__(self, traces: RoutingTrace, layers: list[int] | None) -> None:
        choices = np.asarray(traces.choices)
        real = np.arange(choices.shape[2])[None, :] < np.asarray(traces.num_tokens)[:, None]
        self.layers = list(range(choices.shape[1])) if layers is None else layers
        self.choices = (choices & real[:, None, :, None])[:, self.layers]
        self.num_tokens = np.asarray(traces.num_tokens)
        self.loads = self.choices.sum(axis=2).transpose(1, 0, 2).astype(float)  # [L, R, E]
        self.fold = np.arange(len(choices)) % FOLDS
        flat = self.choices.astype(np.float32)
        self.together = np.einsum("rlte,rltf->rlef", flat, flat, optimize=True).astype(float)

    def training(self, layer: int, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Loads `[R', E]` and co-activation `[E, E]` of the requests outside a fold."""
        train = self.fold != fold
        return self.loads[layer, train], self.together[train, layer].sum(axis=0)
