"""Several processes on one sweep: JAX's own runtime says who is who; results meet in the folder.

One command per host, with the same sweep file and a folder that all hosts see:

```
pimjax sweep --config sweep.yaml --output results --coordinator host0:1234 --num-processes 2 --process-id 0
pimjax sweep --config sweep.yaml --output results --coordinator host0:1234 --num-processes 2 --process-id 1
```
Work is divided by chunk number; processes exchange nothing but two barriers (start and end).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

from pimjax.errors import ConfigError, PimjaxError

_HEARTBEAT_S = 20


class Processes(NamedTuple):
    """This process among all."""

    index: int = 0
    count: int = 1


class LostProcessError(PimjaxError):
    """Another process of a sweep ended before it was done."""


def join(coordinator: str | None, count: int | None, index: int | None) -> Processes:
    """Join the other processes of a sweep. Call before any other use of JAX.

    Args:
        coordinator: HOST:PORT of process 0; None: this process is alone.
        count: number of processes.
        index: of this one, from 0.

    Raises:
        ConfigError: options that do not go together.
        LostProcessError: the others do not answer.
    """
    if coordinator is None:
        if (count or 1) != 1 or (index or 0) != 0:
            raise ConfigError("--num-processes and --process-id need --coordinator HOST:PORT (of process 0)")
        return Processes()
    if count is None or index is None or not 0 <= index < count:
        raise ConfigError(
            f"--coordinator needs --num-processes N and --process-id 0..N-1, not {count} and {index}: "
            "start one process with each id"
        )
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator, count, index, initialization_timeout=120, heartbeat_timeout_seconds=_HEARTBEAT_S
        )
    except RuntimeError as error:
        raise LostProcessError(
            f"the {count} processes of the sweep did not meet at {coordinator} within 120 s ({_first(error)}): "
            "check that all are started with the same --coordinator and --num-processes"
        ) from None
    return Processes(index, count)


def meet(processes: Processes, where: str) -> None:
    """Wait until all processes are here.

    Raises:
        LostProcessError: one of them has ended.
    """
    if processes.count == 1:
        return
    import jax
    from jax.experimental import multihost_utils

    try:
        with _stdout_to_stderr():  # the transport greets its peers on stdout, which may be a JSON document
            multihost_utils.sync_global_devices(f"pimjax sweep {where}")
    except (RuntimeError, jax.errors.JaxRuntimeError) as error:
        raise LostProcessError(
            f"another process of the sweep has ended ({_first(error)}). Process {processes.index} has finished its own "
            "chunks; run the same commands again to compute what is missing"
        ) from None


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
