"""Gaussian-process regression of one quantity over legal hardware: what a few evaluations say about all the others.

Covariance: Matern 5/2 with a length per numeric parameter, times `exp(-tau)` per categorical parameter that differs;
constant mean; no noise. Lengths and taus maximise the marginal likelihood under wide log-normal priors (Rasmussen and
Williams, Gaussian Processes for Machine Learning, 2006, ch. 5); mean and variance are profiled out. NumPy, float64.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from pimjax.array_typing import HostArray

_NUGGET = 1e-8
_LENGTH, _LENGTH_SPREAD = np.log(1.5), 1.0
"""Prior of the logarithm of a length, in parts of a parameter's range."""
_TAU, _TAU_SPREAD = -2.0, 2.0
_BOUNDS = ((-1.6, 2.5), (-9.0, 1.5))
_ITERATIONS = 25
_FLAT = 1e-12


@dataclasses.dataclass
class Regression:
    """One quantity over places `[N, P]` (0 to 1 on each parameter's scale) and choices `[N, C]` (numbers of values)."""

    theta: HostArray  # [P + C] logarithms of lengths, then of taus

    @classmethod
    def wide(cls, num_places: int, num_choices: int) -> Regression:
        """Before anything is known."""
        return cls(np.concatenate([np.full(num_places, _LENGTH), np.full(num_choices, _TAU)]))

    def fit(self, places: HostArray, choices: HostArray, values: HostArray, *, adapt: bool) -> None:
        """Take evaluations in; `adapt`: fit the lengths anew. `values` `[N]`."""
        self.places, self.choices = places, choices
        self.flat = float(np.ptp(values)) < _FLAT
        self.mean, self.variance = float(values[0]), 0.0
        if self.flat:
            return
        if adapt:
            squares = np.square(places[:, None] - places[None]).transpose(2, 0, 1)
            differ = (choices[:, None] != choices[None]).transpose(2, 0, 1).astype(float)
            bounds = [_BOUNDS[0]] * places.shape[1] + [_BOUNDS[1]] * choices.shape[1]
            found = minimize(
                _misfit, self.theta, (squares, differ, values), "L-BFGS-B", jac=True, bounds=bounds,
                options={"maxiter": _ITERATIONS},
            )  # fmt: skip
            self.theta = found.x
        covariance = self._correlation(places, choices)
        covariance[np.diag_indices_from(covariance)] += _NUGGET
        self.factor = np.linalg.cholesky(covariance)
        both = np.stack([np.ones(len(values)), values], axis=1)
        ones, own = np.asarray(solve_triangular(self.factor, both, lower=True)).T
        self.mean = float(ones @ own / (ones @ ones))
        rest = own - self.mean * ones
        self.variance = float(rest @ rest / len(values))
        self.weights = solve_triangular(self.factor, rest, lower=True, trans=1)

    def predict(self, places: HostArray, choices: HostArray) -> tuple[HostArray, HostArray]:
        """Mean and standard deviation `[K]` at places `[K, P]` and choices `[K, C]`."""
        if self.flat:
            return np.full(len(places), self.mean), np.zeros(len(places))
        near = self._correlation(places, choices)
        known = solve_triangular(self.factor, near.T, lower=True)
        spread = np.sqrt(np.maximum(self.variance * (1 - np.square(known).sum(axis=0)), 0.0))
        return self.mean + near @ self.weights, spread

    def _correlation(self, places: HostArray, choices: HostArray) -> HostArray:
        count = places.shape[1]
        lengths, taus = np.exp(self.theta[:count]), np.exp(self.theta[count:])
        one, other = places / lengths, self.places / lengths
        squares = np.square(one).sum(axis=1)[:, None] + np.square(other).sum(axis=1)[None] - 2 * one @ other.T
        away = np.sqrt(5 * np.maximum(squares, 0.0))
        found = (1 + away + away**2 / 3) * np.exp(-away)
        for index, tau in enumerate(taus):
            found *= np.where(choices[:, None, index] == self.choices[None, :, index], 1.0, np.exp(-tau))
        return found


def _misfit(theta: HostArray, squares: HostArray, differ: HostArray, values: HostArray) -> tuple[float, HostArray]:
    """Negative logarithm of the marginal likelihood times the prior, and its gradient; mean and variance profiled out."""
    count, size = len(squares), len(values)
    scaled = squares / np.exp(2 * theta[:count])[:, None, None]
    taus = np.exp(theta[count:])
    away = np.sqrt(5 * scaled.sum(axis=0))
    fading = np.exp(-away - np.tensordot(taus, differ, 1))
    correlation = (1 + away + away**2 / 3) * fading
    covariance = correlation.copy()
    covariance[np.diag_indices_from(covariance)] += _NUGGET
    off = np.concatenate([(theta[:count] - _LENGTH) / _LENGTH_SPREAD**2, (theta[count:] - _TAU) / _TAU_SPREAD**2])
    spreads = np.concatenate([np.full(count, _LENGTH_SPREAD), np.full(len(taus), _TAU_SPREAD)])
    prior = 0.5 * float(np.square(off * spreads).sum())
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return 1e9, np.zeros_like(theta)
    inverse = np.asarray(cho_solve((factor, True), np.eye(size)))
    sums = inverse.sum(axis=1)
    rest = values - sums @ values / sums.sum()
    pulled = inverse @ rest
    variance = max(float(rest @ pulled) / size, 1e-300)
    weight = inverse - np.outer(pulled, pulled) / variance
    slope = np.concatenate(
        [
            0.5 * np.tensordot(scaled, 5 / 3 * (1 + away) * fading * weight, 2),
            -0.5 * taus * np.tensordot(differ, correlation * weight, 2),
        ]
    )
    return 0.5 * size * np.log(variance) + float(np.log(np.diag(factor)).sum()) + prior, slope + off
