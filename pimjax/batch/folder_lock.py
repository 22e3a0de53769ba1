"""One writer per folder: a second run waits for the first and then goes on with what is left.

The lock is the operating system's (`flock`) on a hidden file that names its owner. It ends with its owner, however that
ends, so a dead one blocks nobody.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pimjax.batch.store import failures

try:
    import fcntl
except ImportError:  # Windows: folders are not locked there
    fcntl = None

NAME = ".lock"


@contextlib.contextmanager
def only_writer(folder: Path, say: Callable[[str], Any]) -> Iterator[None]:
    """Hold the lock of a folder, which is made if need be. Waits for another owner, and says so once.

    Args:
        folder: of the results.
        say: called with a sentence where there is something to wait for.

    Raises:
        StorageError: the folder cannot be made or written.
    """
    if fcntl is None:
        yield
        return
    with failures(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stream = _locked(folder / NAME, say, fcntl)
    with stream:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(folder / NAME)


def _locked(path: Path, say: Callable[[str], Any], fcntl: ModuleType) -> Any:
    while True:
        stream = open(path, "a+b")  # noqa: SIM115  # the caller closes it
        try:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{path.parent}: {_owner(path)} is writing there; waiting until it ends (Ctrl-C stops waiting)")
                fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                stream.close()
                raise
            say(f"{path.parent}: its file system has no locks; start no second run there until this one ends")
        except BaseException:
            stream.close()
            raise
        if _is_there(path, stream):
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
            stream.truncate(0)
            stream.write(json.dumps(owner).encode())
            stream.flush()
            return stream
        stream.close()  # its last owner removed it while we waited: what we hold is no longer in the folder


def _is_there(path: Path, stream: Any) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def _owner(path: Path) -> str:
    try:
        found = json.loads(path.read_bytes())
        return f"process {int(found['pid'])} on {str(found['host'])[:100]} (since {str(found['since'])[:40]})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"
