"""Compiled programs kept in a folder between runs of the command line: the next start neither traces nor compiles.

JAX's own cache of compiled programs saves compiling, but every start still traces Python into the program to look it
up, which takes longer than the rest of a small command. Here a program is found by what decides it: the package's
source, versions, devices, processor, static options, and the shapes of its arguments. Nothing is kept unless
:func:`keep_in` names a folder; a file that cannot be read, or belongs to somebody else, is ignored.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

_SUFFIX = ".program"
_KEPT = 64  # programs in the folder; the longest unused ones go
_SOURCES = Path(__file__).resolve().parents[1]

_folder: Path | None = None
_held: dict[str, Any] = {}


def keep_in(folder: Path | None) -> None:
    """Keep programs in `folder` (made for its owner alone) from now on; None: keep nothing."""
    global _folder
    _folder = None
    _held.clear()
    if folder is None:
        return
    with contextlib.suppress(OSError):  # a home that cannot be written: every start compiles
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _folder = folder


def is_on() -> bool:
    """Whether programs are kept: one process, and a folder was named."""
    return _folder is not None and jax.process_count() == 1


def compiled(
    function: Any,
    arguments: tuple[Any, ...],
    *,
    key: tuple[Any, ...],
    results: Any,
    devices: Sequence[Any] | None = None,
) -> Any:
    """The executable of a jitted function, loaded if it is kept, else compiled and kept.

    Args:
        function: jitted.
        arguments: what it will be called with (shapes and dtypes count).
        key: everything static that decides the program, with a `repr` that says it all.
        results: a tree of the shape that the function returns; its leaves may be anything.
        devices: that the program runs on; default the first one.

    Returns:
        A function of `*arguments`.

    >>> double = jax.jit(lambda x: {"y": 2 * x})
    >>> call = compiled(double, (jnp.ones(2),), key=("double",), results={"y": 0})
    >>> call(jnp.ones(2))["y"].tolist()
    [2.0, 2.0]
    """
    if not is_on():
        return function.lower(*arguments).compile()
    assert _folder is not None
    devices = jax.local_devices()[:1] if devices is None else list(devices)
    outputs = jax.tree.structure(results)
    digest = _digest((key, [device.id for device in devices]), arguments, outputs)
    if digest not in _held:
        path = _folder / (digest + _SUFFIX)
        made = _load(path, arguments, outputs, devices)
        if made is None:
            with _without_jax_cache():
                made = function.lower(*arguments).compile()
            _save(path, made)
        _held[digest] = made
    return _held[digest]


@contextlib.contextmanager
def _without_jax_cache() -> Iterator[None]:
    """Compile, whatever JAX's own cache of compiled programs holds.

    XLA saves a program that it loaded from there without its functions: the file would load and fail when it runs.
    """
    from jax.experimental.compilation_cache import compilation_cache

    was = getattr(jax.config, "jax_enable_compilation_cache", True)
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # JAX looks at its switch once only
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", was)
        compilation_cache.reset_cache()


def _digest(key: tuple[Any, ...], arguments: tuple[Any, ...], outputs: Any) -> str:
    leaves, structure = jax.tree.flatten(arguments)
    kinds = [(jnp.shape(leaf), str(jnp.result_type(leaf)), str(getattr(leaf, "sharding", ""))) for leaf in leaves]
    return hashlib.sha256(repr((key, str(outputs), str(structure), kinds, _environment())).encode()).hexdigest()[:40]


def _environment() -> tuple[Any, ...]:
    """What decides a program beside its own code and arguments."""
    import jaxlib

    devices = [(device.id, device.platform, device.device_kind) for device in jax.devices()]
    numbers = (str(jnp.result_type(float)), str(getattr(jax.config, "jax_default_matmul_precision", "")))
    flags = tuple(os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS"))
    return (jax.__version__, jaxlib.__version__, _source_digest(), devices, numbers, flags, *_machine())


@functools.cache
def _source_digest() -> str:
    content = hashlib.sha256()
    for path in sorted(_SOURCES.rglob("*.py")):
        content.update(path.relative_to(_SOURCES).as_posix().encode())
        content.update(path.read_bytes())
    return content.hexdigest()


@functools.cache
def _machine() -> tuple[str, ...]:
    """The processor: a program for one may not run on another that shares the home folder."""
    features = ""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
        features = next((line for line in stream if line.startswith(("flags", "Features"))), "")
    return platform.machine(), platform.processor(), features


def _load(path: Path, arguments: tuple[Any, ...], outputs: Any, devices: Sequence[Any]) -> Any:
    try:
        found = path.stat()
        if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
            return None  # another user could have written it
        content = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    from jax.experimental import serialize_executable

    inputs = jax.tree.structure((arguments, {}))
    try:
        return serialize_executable.deserialize_and_load(content, inputs, outputs, execution_devices=devices)
    except Exception:  # torn, or of a runtime that only looks the same: compile as if it were not there
        return None


def _save(path: Path, made: Any) -> None:
    from jax.experimental import serialize_executable

    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        content = serialize_executable.serialize(made)[0]
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(content)
        os.replace(partial, path)
        for old in sorted(path.parent.glob(f"*{_SUFFIX}"), key=lambda one: -one.stat().st_mtime)[_KEPT:]:
            old.unlink(missing_ok=True)
    except Exception:  # full disk, or a backend that cannot: the next start compiles again
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
