"""State of a descent on disk (orbax): an interrupted run goes on where it stopped, and only if it is the same run.

```
folder/identity.json     hash of the run and the name of its newest state
folder/state-00000020/   orbax files of the state after 20 steps, and checksums.json of all of them
```
A state is written beside the old one; `identity.json`, written last and atomically, says that it counts. A state that is
damaged or lost is not used: the run begins again from its starts, and says so.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from pimjax.batch.store import StorageError, failures, write_bytes
from pimjax.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from pimjax.tuning.descent import Lanes
    from pimjax.tuning.problem import Problem

_IDENTITY, _CHECKSUMS = "identity.json", "checksums.json"
_LAYOUT = 2


def identity(problem: Problem) -> str:
    """Hash of everything that decides a run: description, configurations, and the arrays made from the trace."""
    digest = hashlib.sha256(problem.config.model_dump_json().encode())
    for config in problem.configs:
        digest.update(config.digest().encode())
    for leaf in jax.tree.leaves(problem.arrays):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def save_lanes(folder: Path, problem: Problem, lanes: Lanes) -> None:
    """Write the state; the previous one is left only when the new one is complete.

    Raises:
        StorageError: the folder cannot be written.
    """
    orbax = _orbax()
    with failures(folder):
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        state = folder / f"state-{int(lanes.step):08d}"
        if state.exists():
            shutil.rmtree(state)
        with jax.enable_x64(True), orbax.StandardCheckpointer() as checkpointer:
            checkpointer.save(state, _tree(lanes))
            checkpointer.wait_until_finished()
        write_bytes(state / _CHECKSUMS, json.dumps(_checksums(state)).encode())
        known = {"layout": _LAYOUT, "identity": identity(problem), "state": state.name}
        write_bytes(folder / _IDENTITY, json.dumps(known).encode())
        for old in folder.glob("state-*"):
            if old != state:
                shutil.rmtree(old, ignore_errors=True)


def restore_lanes(
    folder: Path, problem: Problem, like: Lanes, say: Callable[[str], Any] = lambda sentence: None
) -> Lanes | None:
    """The state in `folder`, None if there is none yet or it is damaged (then `say` is told).

    Raises:
        ConfigError: the folder holds the state of another run, or files of something else.
        StorageError: it cannot be read.
    """
    with failures(folder):
        folder = folder.resolve()
        if folder.exists() and not folder.is_dir():
            raise StorageError(f"{str(folder)[:200]}: is a file; give a folder for the checkpoint")
        if not folder.is_dir() or not any(folder.iterdir()):
            return None
        known = _known(folder)
    again = "the run begins again from its starts"
    if known is None:
        if not any(folder.glob("state*")):
            raise ConfigError(
                f"{folder}: is not empty and holds no checkpoint of a tuning run; give an empty folder, or delete this one"
            )
        say(f"{folder}: the checkpoint's {_IDENTITY} is missing or damaged: {again}")
        return None
    if known.get("identity") != identity(problem):
        raise ConfigError(
            f"{folder}: holds the checkpoint of another tuning run (configuration, trace or seed differ) or of another "
            "version; give another folder"
        )
    state = folder / f"{known.get('state')}"
    if known.get("layout") != _LAYOUT or state.parent != folder or not _is_whole(state):
        say(f"{folder}: the checkpoint's state is missing or damaged: {again}")
        return None
    orbax = _orbax()
    try:
        with jax.enable_x64(True), orbax.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore(state, _tree(like))
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
        if [leaf.shape for leaf in leaves] != [np.shape(leaf) for leaf in jax.tree.leaves(like)]:
            raise ValueError("other shapes")
    except Exception as error:  # orbax raises whatever its storage layers do
        say(f"{folder}: the checkpoint's state cannot be read ({type(error).__name__}): {again}")
        return None
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _known(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / _IDENTITY).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("identity"), str) else None


def _checksums(state: Path) -> dict[str, int]:
    files = [path for path in sorted(state.rglob("*")) if path.is_file() and path.name != _CHECKSUMS]
    return {str(path.relative_to(state)): zlib.crc32(path.read_bytes()) for path in files}


def _is_whole(state: Path) -> bool:
    """Whether the files of a state are those that were written."""
    try:
        return state.is_dir() and json.loads((state / _CHECKSUMS).read_bytes()) == _checksums(state)
    except (OSError, ValueError, RecursionError):
        return False


def _tree(lanes: Lanes) -> dict[str, Any]:
    """Leaves by position: orbax needs no knowledge of optax's classes."""
    return {f"{index:03d}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(lanes))}


def _orbax() -> Any:
    try:
        import orbax.checkpoint as orbax
    except ImportError:
        raise MissingExtraError("orbax-checkpoint", "tune", "checkpointing a tuning run") from None
    return orbax
