"""Axis letters, array aliases and the gated run-time type checker.

Axis letters are fixed for the whole project and repeated beside every array field:

====== =================================== ====== ====================================
letter axis                                letter axis
====== =================================== ====== ====================================
``H``  hardware points                     ``G``  expert groups
``R``  routing traces (requests)           ``S``  schedule slots
``L``  layers                              ``O``  operator kinds
``T``  tokens                              ``C``  components
``E``  experts                             ``B``  batch of a numerics kernel
====== =================================== ====== ====================================

Kernels are unbatched; ``H`` and ``R`` are added by ``jax.vmap`` in :mod:`pimjax.batch` only.
Set the environment variable ``PIMJAX_TYPECHECK=1`` (the test suite does) to check the shapes and dtypes that
annotated functions are called with; otherwise :func:`typechecked` costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

Array = jax.Array
HostArray = np.ndarray[Any, Any]
#: An array of either library: what formulas return in kernels and on the host (:mod:`pimjax.arrays`).
AnyArray = jax.Array | HostArray
#: What formulas take: arrays and scalars of either library and plain numbers, all real.
ArrayLike = AnyArray | np.bool | np.number | bool | int | float

_F = TypeVar("_F", bound=Callable[..., Any])


def typechecked(function: _F) -> _F:
    """Check jaxtyping annotations at run time when ``PIMJAX_TYPECHECK=1``.

    >>> @typechecked
    ... def double(x):
    ...     return 2 * x
    >>> double(3)
    6
    """
    if os.environ.get("PIMJAX_TYPECHECK", "0") != "1":
        return function
    import beartype
    import jaxtyping

    # pyrefly: ignore[bad-return]
    return jaxtyping.jaxtyped(function, typechecker=beartype.beartype)
