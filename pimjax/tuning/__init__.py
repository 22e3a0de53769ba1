"""Differentiable hardware tuning: objectives, limits, gradient descent over legal hardware, sensitivities."""

from pimjax.tuning.measures import MEASURES as MEASURES
from pimjax.tuning.problem import make_problem as make_problem
from pimjax.tuning.tune import TuneResult as TuneResult
from pimjax.tuning.tune import tune as tune
from pimjax.tuning.tune_config import TuneConfig as TuneConfig
from pimjax.tuning.tune_config import load_tune_config as load_tune_config
