"""Expert choice of a run whose gate scores are known: every decode step's admissions, and what its lists store.

Host, NumPy. How they are counted: :mod:`pimjax.trace.expert_admissions`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pimjax.array_typing import HostArray
from pimjax.trace.expert_admissions import older_rivals


class Admissions(NamedTuple):
    """Decode steps of one or more sequences."""

    admitted: HostArray  # bool [..., N, E] experts that take the step's token
    taken: HostArray  # float64 [..., N] threshold lists that store its score


def admissions(scores: HostArray, prompt: int, capacity: HostArray, largest: int) -> Admissions:
    """Who takes the token of every decode step.

    Args:
        scores: `[..., P + N, E]` gate scores.
        prompt: P.
        capacity: int `[N]`, C(L) of the lengths P + 1, .. P + N.
        largest: C(L_max), entries of a threshold list.

    >>> admissions(np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]]), 2, np.array([2]), 2).admitted.astype(int).tolist()
    [[0, 1]]
    """
    rivals = older_rivals(scores, prompt)
    return Admissions(rivals < capacity[:, None], (rivals < largest).sum(axis=-1).astype(np.float64))
