"""Another checkout of the project beside this one: a folder, or a commit that is checked out for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lib.paths import ROOT


@contextlib.contextmanager
def checkout(what: str) -> Iterator[Path]:
    """The folder `what`, or a temporary one that holds the commit `what` of this repository."""
    if Path(what).is_dir():
        folder = Path(what).resolve()
        if not (folder / "pimjax" / "__init__.py").is_file():
            raise SystemExit(f"{folder} holds no pimjax: give a checkout of the project, or a commit")
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="pimjax-") as scratch:
        place = Path(scratch) / "tree"
        done = _git("worktree", "add", "--detach", str(place), what)
        if done.returncode:
            raise SystemExit(f"{what} is neither a folder nor a commit of this repository: {done.stderr.strip()}")
        try:
            yield place
        finally:
            _git("worktree", "remove", "--force", str(place))


def label(tree: Path) -> str:
    """Short hash of a tree's commit, with `+` where files differ from it; its name where it is no checkout."""
    found = _git("rev-parse", "--short", "HEAD", where=tree)
    if found.returncode:
        return tree.name
    changed = _git("status", "--porcelain", "--untracked-files=no", where=tree).stdout.strip()
    return found.stdout.strip() + ("+" if changed else "")


def environment_of(tree: Path, **more: str) -> dict[str, str]:
    """Environment of a process that imports `tree` and no other checkout, with caches of its own if `more` names them."""
    dropped = ("PYTHONPATH", "JAX_COMPILATION_CACHE_DIR", "PIMJAX_CACHE", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    return kept | {"PYTHONPATH": str(tree)} | more


def _git(*arguments: str, where: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(where), *arguments], capture_output=True, text=True, check=False)
