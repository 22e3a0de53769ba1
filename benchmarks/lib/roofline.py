"""What a program must at least do: operations counted from its jaxpr, bytes that enter and leave, peaks of devices."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax

#: part of a device's name -> bytes per second of its memory, operations per second in float32 and in bfloat16 (dense).
#: Sources: NVIDIA's data sheets of the H200, H100 SXM and A100 80 GB SXM.
PEAKS: dict[str, tuple[float, float, float]] = {
    "H200": (4.8e12, 67e12, 989e12),
    "H100": (3.35e12, 67e12, 989e12),
    "A100": (2.04e12, 19.5e12, 312e12),
}
_FREE = frozenset(
    [
        "broadcast_in_dim",
        "reshape",
        "transpose",
        "squeeze",
        "slice",
        "dynamic_slice",
        "dynamic_update_slice",
        "concatenate",
        "pad",
        "gather",
        "iota",
        "copy",
        "convert_element_type",
        "bitcast_convert_type",
        "stop_gradient",
        "rev",
        "split",
        "optimization_barrier",
        "device_put",
        "expand_dims",
    ]
)
"""Primitives that move values and compute none."""


class Work(NamedTuple):
    """Least work of one call: `operations` and `bytes`; `loops` says that the body of a loop of unknown length counts once."""

    operations: float
    bytes: float
    loops: bool


def work_of(function: Any, *arguments: Any) -> Work:
    """Operations of `function(*arguments)` and the bytes of its arguments and results.

    Every element of a result counts one operation, a matrix product two per multiply-add, a reduction one per element
    read, a scan its length times its body. Where a loop's length is data its body counts once: the bound then lies
    below what must be done.

    >>> import jax.numpy as jnp
    >>> work = work_of(lambda x, y: (x @ y).sum(), jnp.zeros((8, 4)), jnp.zeros((4, 2)))
    >>> work.operations, work.bytes
    (144.0, 164.0)
    """
    closed, out = jax.make_jaxpr(function, return_shape=True)(*arguments)
    operations, loops = _operations(closed.jaxpr)
    leaves = [*jax.tree.leaves(arguments), *jax.tree.leaves(out)]
    moved = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves if hasattr(leaf, "dtype"))
    return Work(float(operations), float(moved), loops)


def _operations(jaxpr: Any) -> tuple[float, bool]:
    total, loops = 0.0, False
    for equation in jaxpr.eqns:
        name, inner = equation.primitive.name, _inner(equation.params)
        size = sum(_size(variable) for variable in equation.outvars)
        if name == "dot_general":
            (left, _), _ = equation.params["dimension_numbers"]
            total += 2.0 * size * math.prod(equation.invars[0].aval.shape[axis] for axis in left)
        elif inner:
            parts = [_operations(one) for one in inner]
            # of a branch at least the cheapest part runs; of everything else all parts do
            cost = min(part[0] for part in parts) if name == "cond" else sum(part[0] for part in parts)
            total += cost * (equation.params["length"] if name == "scan" else 1)
            loops |= name == "while" or any(part[1] for part in parts)
        elif name.startswith(("reduce", "arg", "cum", "sort")):
            total += sum(_size(variable) for variable in equation.invars)
        elif name not in _FREE:
            total += size
    return total, loops


def _inner(params: dict[str, Any]) -> list[Any]:
    """Programs inside an equation's parameters."""
    found = []
    for value in params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            one = getattr(one, "jaxpr", one)
            if hasattr(one, "eqns"):
                found.append(one)
    return found


def _size(variable: Any) -> int:
    return math.prod(getattr(variable.aval, "shape", ()))


def peaks(device_kind: str) -> dict[str, float] | None:
    """Peaks of a device; None where they are not known here.

    >>> peaks("NVIDIA H200")["bytes_per_s"]
    4800000000000.0
    >>> peaks("cpu") is None
    True
    """
    for part, (memory, single, half) in PEAKS.items():
        if part in device_kind:
            return {"bytes_per_s": memory, "float32_per_s": single, "bfloat16_per_s": half}
    return None


def against_bound(work: Work, seconds: float, device_kind: str, *, operands: str = "float32") -> dict[str, Any]:
    """Least time of `work` on a device and the fraction of it that was reached; None where the device's peaks are unknown."""
    known = peaks(device_kind)
    out: dict[str, Any] = {"operations": work.operations, "bytes": work.bytes, "loop_bodies_counted_once": work.loops}
    if known is None:
        return out | {"bound_s": None, "bound_by": None, "roofline_fraction": None}
    computing, moving = work.operations / known[f"{operands}_per_s"], work.bytes / known["bytes_per_s"]
    by = f"{operands} operations" if computing >= moving else "bytes"
    return out | {
        "bound_s": max(computing, moving),
        "bound_by": by,
        "roofline_fraction": max(computing, moving) / seconds,
    }
