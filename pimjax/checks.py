"""Checks of arguments, stated once beside a function: `@checked(ConfigError, rows=whole(1), policy=word(*NAMES))`.

A rule looks at one value and returns None, or what the value must be; the decorator makes the sentence. Rules run on the
host and cost next to nothing: a default is not looked at, of traced arrays only kind and axes are, and the values of
arrays on a device stay there. What depends on several arguments is checked inside the function.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from pimjax.errors import PimjaxError, shown

Rule = Callable[[Any], str | None]
"""What a value must be ("a whole number from 0 to 7"), or None where it is that."""

LARGEST_WHOLE = 2**31 - 1

_P = ParamSpec("_P")
_R = TypeVar("_R")


def checked(error: type[PimjaxError], /, **rules: Rule) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Check arguments by name before the function runs; a wrong one raises `error` with one sentence.

    Args:
        error: class of the error.
        **rules: for each argument that is checked. An argument that is its default is right.

    >>> from pimjax.errors import ConfigError
    >>> @checked(ConfigError, count=whole(1))
    ... def repeated(word, count=None):
    ...     return word * (count or 1)
    >>> repeated("ab", 2)
    'abab'
    >>> repeated("ab", 0)
    Traceback (most recent call last):
    ...
    pimjax.errors.ConfigError: count is 0: it must be a whole number from 1 to 2147483647
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        parameters = inspect.signature(function).parameters
        names = tuple(parameters)
        defaults = {name: one.default for name, one in parameters.items()}
        if set(rules) - set(names):
            raise TypeError(f"{function.__qualname__} has no argument {sorted(set(rules) - set(names))[0]!r}")

        @functools.wraps(function)
        def with_checks(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            for name, value in (*zip(names, args, strict=False), *kwargs.items()):
                rule = rules.get(name)
                if rule is not None and value is not defaults[name]:
                    require(error, name, value, rule)
            return function(*args, **kwargs)

        return with_checks

    return decorate


def require(error: type[PimjaxError], name: str, value: Any, rule: Rule) -> None:
    """Raise `error` unless one value keeps a rule.

    >>> require(PimjaxError, "top", 3, whole(1))
    """
    wanted = rule(value)
    if wanted is not None:
        raise error(f"{name} is {shown(value)}: it must be {wanted}")


# --- one value --------------------------------------------------------------------------------------------------


def whole(least: int = 0, most: int = LARGEST_WHOLE) -> Rule:
    """One whole number known before compilation, from `least` to `most`."""
    wanted = f"a whole number from {least} to {most}"

    def rule(value: Any) -> str | None:
        fine = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and least <= value <= most
        return None if fine else wanted

    return rule


def word(*allowed: str) -> Rule:
    """One of some names."""
    names = list(map(repr, allowed))
    wanted = " or ".join(names) if len(names) < 3 else f"one of {', '.join(names)}"

    def rule(value: Any) -> str | None:
        return None if isinstance(value, str) and value in allowed else wanted

    return rule


def text(value: Any) -> str | None:
    """Text that is not empty and no whole file."""
    return None if isinstance(value, str) and 0 < len(value) <= 4096 else "text of 1 to 4,096 characters"


def flag(value: Any) -> str | None:
    """True or False, known before compilation."""
    return None if isinstance(value, (bool, np.bool_)) else "True or False"


def function(value: Any) -> str | None:
    """Something that can be called."""
    return None if callable(value) else "a function"


def mapping(value: Any) -> str | None:
    """A mapping by names."""
    return None if isinstance(value, Mapping) and all(isinstance(one, str) for one in value) else "a mapping by names"


def instance(kind: type | tuple[type, ...], meaning: str) -> Rule:
    """An object of a class; `meaning` says which and how it is made."""
    return lambda value: None if isinstance(value, kind) else meaning


def having(*names: str, meaning: str) -> Rule:
    """An object with some attributes."""
    return lambda value: None if all(hasattr(value, name) for name in names) else meaning


def floating(value: Any) -> str | None:
    """A floating-point kind of numbers."""
    wanted = "a floating-point dtype (jax.numpy.float32)"
    if isinstance(value, str) and value not in ("float16", "bfloat16", "float32", "float64"):
        return wanted
    try:
        return None if value is not None and jnp.issubdtype(jnp.dtype(value), jnp.floating) else wanted
    except (TypeError, ValueError):
        return wanted


def path(value: Any) -> str | None:
    """A path that the system accepts; whether anything is there is not asked."""
    wanted = "the path of a file or folder as text"
    if not isinstance(value, (str, os.PathLike)):
        return wanted
    plain = os.fspath(value)
    if isinstance(plain, bytes) or not plain:
        return wanted
    problem = path_problem(plain)
    return None if problem is None else f"{wanted} that the system accepts ({problem})"


def path_problem(plain: str) -> str | None:
    """Why the system does not accept a path at all: a NUL in it, a name that is too long, a loop of links.

    >>> path_problem("a.yaml") is None, path_problem("x" * 5000) is None
    (True, False)
    """
    try:
        os.stat(plain)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (ValueError, OSError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def optional(rule: Rule) -> Rule:
    """None, or what a rule says."""

    def either(value: Any) -> str | None:
        wanted = None if value is None else rule(value)
        return None if wanted is None else f"{wanted}, or None"

    return either


def any_of(*rules: Rule) -> Rule:
    """What one of several rules says."""

    def either(value: Any) -> str | None:
        wanted = [rule(value) for rule in rules]
        return None if None in wanted else " or ".join(str(one) for one in wanted)

    return either


def each(rule: Rule, meaning: str, *, least: int = 0) -> Rule:
    """A list or tuple of at least `least` entries that all keep a rule."""

    def all_keep(value: Any) -> str | None:
        fine = isinstance(value, Sequence) and not isinstance(value, (str, bytes)) and len(value) >= least
        return None if fine and all(rule(one) is None for one in value) else meaning

    return all_keep


def named(names: Mapping[str, Any], meaning: str) -> Rule:
    """A mapping from some of `names` to real numbers."""
    number = numbers()

    def rule(value: Any) -> str | None:
        fine = isinstance(value, Mapping) and all(key in names and number(one) is None for key, one in value.items())
        return None if fine else meaning

    return rule


# --- arrays that may be traced ------------------------------------------------------------------------------------


def is_traced(value: Any) -> bool:
    """Whether JAX is tracing: the number is not known, and only its axes and kind can be checked."""
    return isinstance(value, jax.core.Tracer)


def numbers(
    least: float = -np.inf,
    most: float = np.inf,
    *,
    dims: int | tuple[int, ...] | None = None,
    integer: bool = False,
    above: bool = False,
    infinite: bool = False,
    filled: bool = False,
    valued: bool = True,
) -> Rule:
    """Real numbers: a Python number, or an array of them on the host, on a device or traced.

    Args:
        least, most: bounds of every entry.
        dims: how many axes there must be (one of these); None: any.
        integer: whole numbers of an integer kind only.
        above: `least` itself is not allowed.
        infinite: infinity is allowed.
        filled: no axis may be empty.
        valued: False leaves the values alone.
    """
    allowed = (dims,) if isinstance(dims, int) else dims
    kind = np.integer if integer else np.number
    noun = "axis" if allowed == (1,) else "axes"
    size = "" if allowed is None else f" with {' or '.join(map(str, allowed))} {noun}" if allowed != (0,) else ""
    noun = f"{'whole' if integer else 'real'} {'number' if allowed == (0,) else 'numbers'}"
    article = "one " if allowed == (0,) else ""
    bounds = f" {'above' if above else 'of at least'} {least:g}" if least > -np.inf else ""
    bounds += f"{' and' if bounds else ' of'} at most {most:g}" if most < np.inf else ""
    wanted = f"{article}{'' if infinite or integer else 'finite '}{noun}{size}{bounds}{', not empty' if filled else ''}"

    simple = (allowed is None or 0 in allowed) and not integer and not filled

    def rule(value: Any) -> str | None:
        if simple and type(value) in (float, np.float64):  # by far the most, on the way of one estimate
            fine = (value > least if above else value >= least) and value <= most
            return None if not valued or (fine and (infinite or abs(value) < np.inf)) else wanted
        array = value
        if not isinstance(value, (jax.Array, np.ndarray)):
            if isinstance(value, (str, bytes, bool, Mapping, set)) or value is None:
                return wanted
            try:
                array = np.asarray(value)
            except (ValueError, TypeError, OverflowError):
                return wanted
        dtype = array.dtype
        real = jnp.issubdtype(dtype, kind) and not jnp.issubdtype(dtype, np.complexfloating)
        if not real or (allowed is not None and array.ndim not in allowed) or (filled and 0 in array.shape):
            return wanted
        if isinstance(array, jax.Array) or not valued:  # values are traced, or stay on their device
            return None
        low = array > least if above else array >= least
        fine = bool((low & (array <= most)).all()) and (infinite or bool(np.isfinite(array).all()))
        if integer and fine:
            fine = bool(((array <= LARGEST_WHOLE) & (array >= -LARGEST_WHOLE)).all())
        return None if fine else wanted

    return rule


def flags(*, dims: int | tuple[int, ...] | None = None, meaning: str = "booleans, or 0 and 1") -> Rule:
    """Booleans, or numbers that are 0 or 1; of any axes, or of `dims`."""
    allowed = (dims,) if isinstance(dims, int) else dims

    def rule(value: Any) -> str | None:
        array = value
        if not isinstance(value, (jax.Array, np.ndarray)):
            try:
                array = np.asarray(value)
            except (ValueError, TypeError, OverflowError):
                return meaning
        if not (array.dtype == bool or jnp.issubdtype(array.dtype, np.number)):
            return meaning
        if allowed is not None and array.ndim not in allowed:
            return meaning
        if isinstance(array, jax.Array) or array.dtype == bool or np.isin(array, (0, 1)).all():
            return None
        return meaning

    return rule


def is_key(value: Any, dims: int = 0) -> bool:
    """Whether a value is an array of `dims` axes of keys of `jax.random`, typed or as numbers.

    >>> is_key(jax.random.key(0)), is_key(0)
    (True, False)
    """
    typed = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    raw = isinstance(value, (jax.Array, np.ndarray)) and value.dtype == np.uint32 and value.shape[-1:] == (2,)
    return bool((typed and value.ndim == dims) or (raw and value.ndim == dims + 1))


def key(value: Any) -> str | None:
    """One key of `jax.random`."""
    return None if is_key(value) else "one key: jax.random.key(seed)"
