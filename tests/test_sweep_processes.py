"""Sweeps as real processes: killed at any moment, two at once, one of two dying."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pimjax.batch.store import Store

pytest.importorskip("pyarrow", reason="the sweep extra is not installed: pip install 'pimjax[sweep]'")

SWEEP = """
base: paper_reference
axes:
  - {field: hardware.mvm_latency_ns, grid: {start: 50, stop: 250, count: 80}}
  - {field: hardware.num_digital_units, values: [2, 5, 10, 20]}
columns: [latency_ns]
select: {top: [{metric: latency_ns, count: 3}]}
chunk_points: 8
"""
CHUNKS = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    (folder / "sweep.yaml").write_text(SWEEP)
    return folder


def _start(place: Path, output: str, *more: str, devices: int = 4) -> subprocess.Popen[str]:
    environment = os.environ | {
        "PIMJAX_CACHE": str(place / "programs"),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PIMJAX_TYPECHECK": "0",
    }
    command = [sys.executable, "-m", "pimjax", "sweep", "-c", "sweep.yaml", "-o", output, "--json", *more]
    return subprocess.Popen(
        command, cwd=place, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def _finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, err
    return out, err


def _rows(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    store = Store(folder, "parquet")
    parts = [store.read(store.part("points", chunk))[0] for chunk in sorted(store.done("points"))]
    return tuple(np.concatenate([part[name] for part in parts]) for name in ("point", "latency_ns"))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> tuple[np.ndarray, np.ndarray]:
    out, _ = _finish(_start(place, "whole"))
    assert json.loads(out)["complete"]  # stdout is one JSON document
    return _rows(place / "whole")


def _parts(folder: Path) -> int:
    return len(list(folder.glob("points/part-*")))


def _killed_while_writing(place: Path, output: str, after: int, pause: float) -> bool:
    """Kill -9 once `after` parts are there and `pause` seconds more have passed; False if it was done before."""
    process = _start(place, output)
    while _parts(place / output) < after and process.poll() is None:
        time.sleep(0.002)
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def _check_complete(place: Path, output: str, undisturbed: tuple[np.ndarray, np.ndarray]) -> None:
    out, _ = _finish(_start(place, output))
    assert json.loads(out)["complete"]
    points, latency = _rows(place / output)
    assert points.tolist() == list(range(320))  # none lost, none doubled
    np.testing.assert_array_equal(latency, undisturbed[1])
    whole, again = (json.loads((place / name / "summary.json").read_text()) for name in ("whole", output))
    assert whole == again


def test_killed_twice_and_rerun(place: Path, undisturbed: tuple[np.ndarray, np.ndarray]) -> None:
    draw = random.Random(1)
    killed = [
        _killed_while_writing(place, "twice", 1 + draw.randrange(12), draw.uniform(0, 0.02)),
        _killed_while_writing(place, "twice", 14 + draw.randrange(12), draw.uniform(0, 0.02)),
    ]
    assert any(killed)
    _check_complete(place, "twice", undisturbed)


@pytest.mark.slow
def test_killed_at_twenty_random_moments(place: Path, undisturbed: tuple[np.ndarray, np.ndarray]) -> None:
    draw = random.Random(2)
    for _ in range(20):
        process = _start(place, "twenty")
        have, begin, limit = _parts(place / "twenty"), time.monotonic(), draw.uniform(0.3, 6)
        more = draw.randrange(4)
        while process.poll() is None and time.monotonic() - begin < limit and _parts(place / "twenty") <= have + more:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    _check_complete(place, "twenty", undisturbed)


def test_two_at_once_in_one_folder(place: Path, undisturbed: tuple[np.ndarray, np.ndarray]) -> None:
    """The second waits for the first and says so, then finds everything there."""
    both = [_start(place, "shared") for _ in range(2)]
    results = [_finish(process) for process in both]
    documents = [json.loads(out) for out, _ in results]
    assert all(document["complete"] for document in documents)
    assert sorted(document["computed"] for document in documents) == [0, 320]
    said = [err for _, err in results if "waiting until it ends" in err]
    assert len(said) <= 1  # none if the first was done before the second began
    assert all("is writing there" in err for err in said)
    assert not (place / "shared" / ".lock").exists()
    _check_complete(place, "shared", undisturbed)


def test_a_dead_owner_blocks_nobody(place: Path, undisturbed: tuple[np.ndarray, np.ndarray]) -> None:
    assert _killed_while_writing(place, "dead", 1, 0)
    assert (place / "dead" / ".lock").exists()
    _check_complete(place, "dead", undisturbed)


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _pair(place: Path, output: str) -> list[subprocess.Popen[str]]:
    port = _port()
    return [
        _start(place, output, "--coordinator", f"127.0.0.1:{port}", "--num-processes", "2", "--process-id", str(i))
        for i in range(2)
    ]


def test_two_processes_of_four_devices_give_the_bits_of_one(
    place: Path, undisturbed: tuple[np.ndarray, np.ndarray]
) -> None:
    pair = _pair(place, "pair")
    computed = [json.loads(_finish(process)[0])["computed"] for process in pair]
    assert computed == [160, 160]
    points, latency = _rows(place / "pair")
    assert points.tolist() == list(range(320))
    np.testing.assert_array_equal(latency, undisturbed[1])
    selections = [Store(place / name, "parquet").read(place / name / "selection.csv")[0] for name in ("whole", "pair")]
    for name, column in selections[0].items():
        np.testing.assert_array_equal(selections[1][name], column)


def test_one_of_two_processes_dies(place: Path, undisturbed: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = _pair(place, "dying")
    while second.poll() is None and not list((place / "dying").glob("points/part-0000002*")):
        time.sleep(0.002)
    second.send_signal(signal.SIGKILL)
    second.communicate()
    _, err = _finish(first, 3)
    said = " ".join(err.split())
    assert "another process of the sweep has ended" in said
    assert "run the same commands again" in said
    _check_complete(place, "dying", undisturbed)
