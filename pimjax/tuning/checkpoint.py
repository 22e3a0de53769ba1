"""State of a descent on disk (orbax): an interrupted run goes on where it stopped, and only if it is the same run."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from pimjax.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from pimjax.tuning.descent import Lanes
    from pimjax.tuning.problem import Problem

_STATE, _IDENTITY = "state", "identity.json"


def identity(problem: Problem) -> str:
    """Hash of everything that decides a run: description, configurations, and the arrays made from the trace."""
    digest = hashlib.sha256(problem.config.model_dump_json().encode())
    for config in problem.configs:
        digest.update(config.digest().encode())
    for leaf in jax.tree.leaves(problem.arrays):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def save_lanes(folder: Path, problem: Problem, lanes: Lanes) -> None:
    """Write the state; the previous one is replaced only when the new one is complete."""
    orbax = _orbax()
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _IDENTITY).write_text(json.dumps({"identity": identity(problem)}), encoding="utf-8")
    fresh, state = folder / "next", folder / _STATE
    if fresh.exists():
        shutil.rmtree(fresh)
    with jax.enable_x64(True), orbax.StandardCheckpointer() as checkpointer:
        checkpointer.save(fresh, _tree(lanes))
        checkpointer.wait_until_finished()
    if state.exists():
        shutil.rmtree(state)
    fresh.rename(state)


def restore_lanes(folder: Path, problem: Problem, like: Lanes) -> Lanes | None:
    """The state in `folder`, None if there is none yet.

    Raises:
        ConfigError: the folder holds the state of another run.
    """
    folder = folder.resolve()
    if not (folder / _STATE).is_dir():
        return None
    known = json.loads((folder / _IDENTITY).read_text(encoding="utf-8"))["identity"]
    if known != identity(problem):
        raise ConfigError(
            f"{folder}: holds the checkpoint of another tuning run (configuration, trace or seed differ); give another folder"
        )
    orbax = _orbax()
    with jax.enable_x64(True), orbax.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(folder / _STATE, _tree(like))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _tree(lanes: Lanes) -> dict[str, Any]:
    """Leaves by position: orbax needs no knowledge of optax's classes."""
    return {f"{index:03d}": np.asarray(leaf) for index, leaf in enumerate(jax.tree.leaves(lanes))}


def _orbax() -> Any:
    try:
        import orbax.checkpoint as orbax
    except ImportError:
        raise MissingExtraError("orbax-checkpoint", "tune", "checkpointing a tuning run") from None
    return orbax
