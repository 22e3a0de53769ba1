"""Differentiable hardware tuning: objectives, limits, gradient descent over legal hardware, sensitivities."""

from pimjax.tuning.measures import MEASURES
from pimjax.tuning.problem import make_problem
from pimjax.tuning.sizing import SizeResult, size, size_problem
from pimjax.tuning.tune import TuneResult, tune
from pimjax.tuning.tune_config import TuneConfig, load_tune_config

__all__ = [
    "MEASURES",
    "SizeResult",
    "TuneConfig",
    "TuneResult",
    "load_tune_config",
    "make_problem",
    "size",
    "size_problem",
    "tune",
]
