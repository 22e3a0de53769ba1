"""Errors of a fast model in a few numbers."""

from __future__ import annotations

import numpy as np


def summary(errors: np.ndarray) -> dict[str, float]:
    """Mean and percentiles of absolute relative errors [%], and the mean with its sign.

    >>> summary(np.array([0.01, -0.03]))["max_percent"]
    3.0
    """
    size = 100 * np.abs(errors)
    return {
        "mean_percent": float(size.mean()),
        "p95_percent": float(np.percentile(size, 95)),
        "max_percent": float(size.max()),
        "bias_percent": float(100 * errors.mean()),
    }
