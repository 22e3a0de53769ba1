"""Damaged, truncated, missing and foreign files in a sweep's folder: computed again or refused, never called complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pimjax.batch.progress import SweepProgress
from pimjax.batch.store import StorageError, Store
from pimjax.batch.sweep import SweepOutcome, run_sweep
from pimjax.batch.sweep_config import SweepConfig, load_sweep
from pimjax.errors import ConfigError, PimjaxError
from pimjax.report.sweep_contents import sweep_contents

pytest.importorskip("pyarrow", reason="the sweep extra is not installed: pip install 'pimjax[sweep]'")


def _sweep(**more: object) -> SweepConfig:
    return load_sweep(
        {
            "base": "paper_reference",
            "axes": [
                {"field": "hardware.mvm_latency_ns", "values": [100.0, 120.0, 140.0]},
                {"field": "hardware.num_digital_units", "values": [2.0, 5.0, 10.0]},
            ],
            "columns": ["latency_ns", "area_mm2"],
            "select": {"pareto": ["latency_ns", "area_mm2"]},
            "chunk_points": 3,
            **more,
        }
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete sweep of three chunks, and another one of the same shape beside it."""
    place = tmp_path_factory.mktemp("whole")
    assert run_sweep(_sweep(), place / "own").complete
    assert run_sweep(_sweep(set={"hardware.mvm_energy_nj": 12.0}), place / "other").complete
    return place


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole / "own", tmp_path / "own")


def _content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.parent != folder}


def _cut(name: str, keep: float) -> Callable[[Path, Path], object]:
    def apply(folder: Path, other: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * keep)])

    return apply


def _flip(name: str) -> Callable[[Path, Path], object]:
    def apply(folder: Path, other: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(bytes(content))

    return apply


def _put(name: str, content: bytes) -> Callable[[Path, Path], object]:
    return lambda folder, other: (folder / name).write_bytes(content)


def _lose(*names: str) -> Callable[[Path, Path], object]:
    return lambda folder, other: [(folder / name).unlink() for name in names]


def _foreign(*names: str) -> Callable[[Path, Path], object]:
    return lambda folder, other: [shutil.copy(other / name, folder / name) for name in names]


POINTS, SELECTED, DONE = "points/part-00000001.parquet", "selected/part-00000001.json", "done/chunk-00000001.json"
DAMAGES = {
    "points cut short": _cut(POINTS, 0.6),
    "points empty": _cut(POINTS, 0),
    "points with one wrong bit": _flip(POINTS),
    "points lost": _lose(POINTS),
    "points of another chunk": lambda folder, other: shutil.copy(
        folder / "points/part-00000000.parquet", folder / POINTS
    ),
    "points of another sweep": _foreign(POINTS),
    "a chunk of another sweep": _foreign(POINTS, SELECTED, DONE),
    "selected cut short": _cut(SELECTED, 0.5),
    "selected empty": _cut(SELECTED, 0),
    "selected with one wrong bit": _flip(SELECTED),
    "selected lost": _lose(SELECTED),
    "selected of another sweep": _foreign(SELECTED),
    "record cut short": _cut(DONE, 0.5),
    "record a list": _put(DONE, b"[]"),
    "record without parts": _put(DONE, b"{}"),
    "record of odd kinds": _put(DONE, b'{"sweep": 3, "chunk": [], "parts": 7}'),
    "record deep": _put(DONE, b"[" * 100_000),
    "record lost": _lose(DONE),
    "manifest lost": _lose("manifest.json"),
    "manifest a list": _put("manifest.json", b"[]"),
    "manifest empty": _put("manifest.json", b""),
    "manifest without keys": _put("manifest.json", b"{}"),
    "manifest half-written": _cut("manifest.json", 0.5),
    "manifest garbage": _put("manifest.json", b"\xff\xfe\x00"),
    "manifest of odd kinds": _put(
        "manifest.json", b'{"schema_version": "2", "digest": [], "sweep": 1, "chunks": null}'
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_computed_again(damage: str, whole: Path, folder: Path) -> None:
    DAMAGES[damage](folder, whole / "other")
    outcome = run_sweep(_sweep(), folder)
    assert outcome.complete
    assert _content(folder) == _content(whole / "own")  # to the same bytes
    assert (folder / "selection.csv").read_bytes() == (whole / "own" / "selection.csv").read_bytes()
    assert outcome.computed == (0 if damage.startswith("manifest") else 3)
    assert bool(outcome.repaired) == (not damage.startswith("manifest"))
    assert run_sweep(_sweep(), folder).computed == 0


def test_stopped_while_repairing_is_not_complete(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for chunk in range(2):
        (folder / f"points/part-0000000{chunk}.parquet").write_bytes(b"")

    class Stopped(SweepProgress):
        def advance(self, points: int) -> None:
            self.stopping.set()

    outcome = run_sweep(_sweep(), folder, progress=Stopped)
    assert outcome.interrupted
    assert not outcome.complete
    assert not list(folder.glob("selection.*"))
    assert not (folder / "summary.json").exists()
    assert run_sweep(_sweep(), folder).computed == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m | {"schema_version": 1}, "pimjax .*layout 1.*layout 2.*go on with that version"),
        (lambda m: m | {"made": {"versions": {"pimjax": "0.9.1"}}}, r"written by pimjax 0\.9\.1.*choose"),
        (lambda m: m | {"made": []}, "written by pimjax unknown"),
        (lambda m: m | {"digest": "0" * 16}, "another sweep"),
    ],
)
def test_other_versions_and_sweeps_are_named(folder: Path, change: Callable, words: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(change(manifest)))
    before = _content(folder)
    with pytest.raises(ConfigError, match=words) as error:
        run_sweep(_sweep(), folder)
    assert "\n" not in str(error.value)
    assert _content(folder) == before


def test_a_damaged_manifest_over_another_sweep_is_refused(whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole / "other", tmp_path / "other")
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"damaged.*choose another folder"):
        run_sweep(_sweep(), folder)
    with pytest.raises(ConfigError, match="damaged"):
        sweep_contents(folder)


def test_files_that_no_chunk_has_are_refused(folder: Path, whole: Path) -> None:
    extra = folder / "points" / "part-00000007.parquet"
    shutil.copy(whole / "other" / POINTS, extra)
    with pytest.raises(StorageError, match=r"part-00000007.*move it away"):
        run_sweep(_sweep(), folder)
    extra.unlink()
    (folder / "points" / ".part-00000001.parquet.77.partial").touch()  # of a killed run
    assert run_sweep(_sweep(), folder).computed == 0
    assert not list((folder / "points").glob(".*"))


@pytest.mark.parametrize(
    "name", ["x" * 300, "/".join(["y" * 200] * 30), "a\0b", "file", "file/below", "/proc/nothing/here"]
)
def test_impossible_folders_are_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PimjaxError) as error:
        run_sweep(_sweep(), tmp_path / name)
    text = str(error.value)
    assert "\n" not in text
    assert "\0" not in text
    assert len(text) < 500


def test_folders_where_parts_should_be_and_parts_where_folders_should_be(folder: Path) -> None:
    for name in (POINTS, DONE):
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()
        with pytest.raises(StorageError):
            run_sweep(_sweep(), folder)
        (folder / name).rmdir()
    shutil.rmtree(folder / "selected")
    (folder / "selected").touch()
    with pytest.raises(StorageError, match="a file lies where a folder should be"):
        run_sweep(_sweep(), folder)


def _selected(outcome: SweepOutcome) -> list[int]:
    assert outcome.selected is not None
    return outcome.selected["point"].tolist()


@pytest.mark.parametrize("keeps", ["all", "selected"])
def test_one_glob_reads_one_set_of_rows(keeps: str, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    outcome = run_sweep(_sweep(store=keeps), tmp_path / "out")
    rows = duckdb.sql(f"select point from '{tmp_path}/out/**/*.parquet'").fetchall()
    assert [point for (point,) in rows] == (list(range(9)) if keeps == "all" else _selected(outcome))
    table = duckdb.sql(f"select point from '{Store(tmp_path / 'out', 'parquet').selection(keeps)}'").fetchall()
    assert [point for (point,) in table] == _selected(outcome)
    assert outcome.selected is not None
    assert list(outcome.selected)[:3] == ["kind", "point", "trace"]
    assert {"hardware.num_digital_units", "latency_ns", "area_mm2"} <= set(outcome.selected)


def test_folders_of_the_first_layout_can_still_be_read(folder: Path) -> None:
    """Selections were Parquet files beside the points'."""
    store, old = Store(folder, "parquet"), Store(folder, "parquet", 1)
    manifest = json.loads((folder / "manifest.json").read_text()) | {"schema_version": 1}
    columns, metadata = store.read(store.part("selected", 0))
    old.write(old.part("selected", 0), columns, metadata)
    chosen = store.read(store.selection("all"))[0]
    old.write(old.selection("all"), chosen, {})
    (folder / "selection.csv").unlink()
    shutil.rmtree(folder / "done")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    contents = sweep_contents(folder, max_points=2)
    assert contents["complete"]
    assert contents["shown"] >= len(np.unique(chosen["point"]))
