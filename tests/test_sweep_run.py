"""`run_sweep` in this process: rows, selection, resuming, traces, disks."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import pimjax
from pimjax.batch import estimate_batch, store
from pimjax.batch.progress import SweepProgress
from pimjax.batch.store import StorageError, Store
from pimjax.batch.sweep import SweepOutcome, plan_of, run_sweep
from pimjax.batch.sweep_config import SweepConfig, load_sweep
from pimjax.batch.tables import coded
from pimjax.batch.trace_source import TraceSource
from pimjax.errors import CapacityError, ConfigError, TraceError
from pimjax.trace import generate_traces

pytest.importorskip("pyarrow", reason="the sweep extra is not installed: pip install 'pimjax[sweep]'")

LATENCIES = [100.0, 110.0, 120.0, 130.0, 140.0, 150.0, 160.0]
UNITS = [2.0, 5.0, 10.0]


def _sweep(**more: object) -> SweepConfig:
    return load_sweep(
        {
            "base": "paper_reference",
            "axes": [
                {"field": "hardware.mvm_latency_ns", "values": LATENCIES},
                {"field": "hardware.num_digital_units", "values": UNITS},
            ],
            "columns": ["latency_ns", "energy_nj", "area_mm2"],
            "chunk_points": 4,
            **more,
        }
    )


def _rows(outcome: SweepOutcome) -> dict[str, np.ndarray]:
    results = Store(outcome.folder, "parquet")
    parts = [results.read(results.part("points", chunk))[0] for chunk in sorted(results.done("points"))]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(rows["point"])
    return {name: column[order] for name, column in rows.items()}


def test_rows_resume_and_selection(tmp_path: Path) -> None:
    select = {"pareto": ["latency_ns", "area_mm2"], "top": [{"metric": "energy_nj", "count": 2}],
              "histograms": [{"metric": "latency_ns", "start": 1e5, "stop": 1e6, "count": 3}],
              "constraints": ["latency_ns > 0"]}  # fmt: skip
    sweep = _sweep(select=select)
    outcome = run_sweep(sweep, tmp_path / "out")
    assert outcome.complete
    assert outcome.computed == 21
    assert outcome.timings.compiles == 2  # points, and selecting from them
    rows = _rows(outcome)
    assert rows["point"].tolist() == list(range(21))
    assert rows["hardware.num_digital_units"].tolist() == UNITS * 7
    # every row is the estimate of its values
    design, _ = pimjax.build(pimjax.load_config("paper_reference"))
    expected = estimate_batch(
        design.set({name: rows[name] for name in ("hardware.mvm_latency_ns", "hardware.num_digital_units")}),
        fields=("latency_ns", "energy_nj", "area_mm2"),
    )
    for name in ("latency_ns", "energy_nj", "area_mm2"):
        np.testing.assert_allclose(rows[name], getattr(expected, name)[:, 0], rtol=1e-6)
    # selection over all chunks is brute force over the rows
    goals = np.stack([rows["latency_ns"], rows["area_mm2"]], axis=1)
    front = [i for i in range(21) if not any((goals[j] <= goals[i]).all() and ((goals[j] < goals[i]).any() or j < i)
                                             for j in range(21) if j != i)]  # fmt: skip
    results = Store(tmp_path / "out", "parquet")
    selection, _ = results.read(tmp_path / "out" / "selection.csv")
    assert selection["point"][selection["kind"] == "pareto"].tolist() == front
    best = sorted(range(21), key=lambda i: (rows["energy_nj"][i], i))[:2]
    assert selection["point"][selection["kind"] == "top 0"].tolist() == best
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["counts"]["selected_from"] == 21
    histogram = summary["histograms"][0]
    assert histogram["below"] + sum(histogram["bins"]) + histogram["above"] == 21
    # a lost part and a torn one are computed again, to the same bytes; complete ones are not touched
    lost, kept = results.part("points", 3), results.part("points", 1)
    content, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    (lost.parent / f".{lost.name}.99.partial").write_bytes(content[:10])
    again = run_sweep(sweep, tmp_path / "out")
    assert again.computed == 4
    assert again.resumed == 17
    assert lost.read_bytes() == content
    assert kept.stat().st_mtime_ns == stamp
    assert not list(lost.parent.glob(".*"))
    # another configuration is refused, also one that differs in one number only
    with pytest.raises(ConfigError, match=r"another sweep.*precision"):
        run_sweep(_sweep(select=select, precision="float64"), tmp_path / "out")
    with pytest.raises(ConfigError, match="another sweep"):
        run_sweep(_sweep(select=select, set={"hardware.mvm_energy_nj": 12.0}), tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    cut = manifest | {"chunks": manifest["chunks"] | {"chunk_lanes": 3, "count": 7}}  # as another version might
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(cut))
    with pytest.raises(ConfigError, match="other chunks"):
        run_sweep(sweep, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="not empty"):
        run_sweep(sweep, tmp_path / "full")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {"digest", "seed", "schema_version", "made", "chunks"} <= set(manifest)
    assert {"versions", "device", "git_revision"} <= set(manifest["made"])


@pytest.mark.parametrize("reader", ["pyarrow.dataset", "duckdb", "polars", "pandas"])
def test_one_line_reads_all_points(reader: str, tmp_path: Path) -> None:
    module = pytest.importorskip(reader, reason=f"{reader} is not installed")
    (tmp_path / "points").mkdir()
    results = Store(tmp_path, "parquet")
    for chunk in range(2):
        columns = {"point": np.arange(3) + 3 * chunk, "trace": np.array(["a", "b", "a"]), "latency_ns": np.ones(3)}
        results.write(results.part("points", chunk), columns, {"chunk": chunk})
    pattern = str(tmp_path / "points" / "*.parquet")
    count = {
        "pyarrow.dataset": lambda: module.dataset(tmp_path / "points").count_rows(),
        "duckdb": lambda: module.sql(f"select count(*) from '{pattern}'").fetchall()[0][0],
        "polars": lambda: module.read_parquet(pattern).height,
        "pandas": lambda: len(module.read_parquet(tmp_path / "points")),
    }[reader]
    assert count() == 6
    columns, metadata = results.read(results.part("points", 1))
    assert columns["trace"].tolist() == ["a", "b", "a"]
    assert metadata == {"schema_version": 2, "chunk": 1}


@pytest.mark.parametrize("form", ["parquet", "json"])
def test_every_kind_of_column_comes_back(form: str, tmp_path: Path) -> None:
    texts = np.array(["long name", "", "ü", "never used"])
    columns = {
        "count": np.arange(4) - 2,
        "flag": np.array([True, False, False, True]),
        "text": np.array(["b", "a", "b", "b"]),
        "coded": coded(texts).at(np.array([2, 0, 1, 0])),
        "number": np.array([1.5, -0.0, 3e38, 1e-38], np.float32)[::-1],  # not contiguous
    }
    results = Store(tmp_path, form)
    path = tmp_path / f"x.{results.suffix}"
    results.write(path, columns, {"chunk": 7})
    found, metadata = results.read(path)
    assert metadata["chunk"] == 7
    assert list(found) == list(columns)
    for name in ("count", "flag", "text"):
        assert found[name].tolist() == columns[name].tolist()
    assert found["coded"].tolist() == ["ü", "long name", "", "long name"]
    np.testing.assert_array_equal(found["number"].astype(np.float32), columns["number"])
    results.write(
        path, {name: column[:0] if name != "coded" else coded(texts[:0]) for name, column in columns.items()}, {}
    )
    assert [len(column) for column in results.read(path)[0].values()] == [0] * 5


def test_small_results_as_csv_and_selected_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_sweep(_sweep(format="csv"), tmp_path / "csv")
    lines = (outcome.folder / "points.csv").read_text().splitlines()
    assert len(lines) == 22
    assert lines[0].startswith("point,trace,hardware.mvm_latency_ns,hardware.num_digital_units,")
    # Ctrl-C after the first chunk: it is written, the run says so, the next one goes on
    advance = SweepProgress.advance

    def stop(self: SweepProgress, points: int) -> None:
        advance(self, points)
        os.kill(os.getpid(), signal.SIGINT)

    sweep = _sweep(store="selected", select={"top": [{"metric": "latency_ns", "count": 1}]}, format="json")
    with monkeypatch.context() as patch:
        patch.setattr(SweepProgress, "advance", stop)
        first = run_sweep(sweep, tmp_path / "sel")
    assert first.interrupted
    assert not first.complete
    assert capsys.readouterr().err == "stopping after this chunk (Ctrl-C again: at once)\n"  # else silent: no terminal
    assert first.computed == 4
    second = run_sweep(sweep, tmp_path / "sel")
    assert second.complete
    assert second.resumed == 4
    assert not list((tmp_path / "sel" / "points").iterdir())
    best = json.loads((tmp_path / "sel" / "selection.json").read_text())["columns"]
    assert best["hardware.mvm_latency_ns"] == [100.0]
    assert best["hardware.num_digital_units"] == [10.0]
    # a full disk: one sentence, what is complete stays, and the sweep goes on once there is room
    full = tmp_path / "disk"
    calls = []
    opened = store._opened

    def filling(path: Path):  # type: ignore[no-untyped-def]
        calls.append(path)
        return opened(Path("/dev/full")) if len(calls) == 4 else opened(path)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_opened", filling)
        with pytest.raises(StorageError, match="disk is full"):
            run_sweep(_sweep(format="csv"), full)
    kept = len(Store(full, "csv").done("points"))
    assert 1 <= kept < 6
    assert run_sweep(_sweep(format="csv"), full).resumed == 4 * kept
    assert (full / "points.csv").read_text() == (outcome.folder / "points.csv").read_text()


def test_any_failed_write_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(store.os, "replace", refuse)
    with pytest.raises(StorageError, match="Input/output error"):
        store.write_bytes(tmp_path / "x", b"1")
    assert not list(tmp_path.iterdir())


def test_progress_on_a_terminal_shows_device_rate_and_compile_time() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    with SweepProgress(100, 20, "sweep on 1 x cpu", console) as shown:
        shown.compile_s = 1.25
        shown.begin -= 11.25
        shown.advance(30)
        assert shown.rate == pytest.approx(3.0, rel=0.1)  # 30 points in 10 s; the 20 of an earlier run do not count
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("sweep on 1 x cpu", "points/s", "compiled in 1.2 s", "50.0%"):
        assert word in text


def test_one_unreadable_trace_among_a_thousand(tmp_path: Path) -> None:
    path = tmp_path / "good.npz"
    generate_traces("uniform", requests=1, layers=1, tokens=3, experts=4, top_k=1, seed=0).save(path)
    content = path.read_bytes()
    for index in range(1000):
        (tmp_path / f"t{index:04d}.npz").write_bytes(content if index != 500 else content[:100])
    source = TraceSource(load_sweep({"traces": {"files": [str(tmp_path / "t*.npz")], "on_unreadable": "skip"}}).traces)
    assert len(source) == 999
    assert [name.split("/")[0] for name in source.names[499:501]] == ["t0499", "t0501"]
    [sentence] = source.skipped
    assert "t0500.npz" in sentence


def test_rows_name_their_request(tmp_path: Path) -> None:
    traces = generate_traces("uniform", requests=3, layers=1, tokens=6, experts=16, top_k=4, seed=0)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        traces.save(tmp_path / folder / "t.npz")
    spec = {"files": [str(tmp_path / "*" / "t.npz")], "requests": [0, 2]}
    names = TraceSource(load_sweep({"traces": spec}).traces).names
    assert names == [f"{tmp_path / folder / 't'}/{request}" for folder in "ab" for request in (0, 2)]
    path = tmp_path / "sweep.yaml"
    path.write_text("traces: {files: [a/t.npz, expert_choice], requests: [2]}\n")  # the second one is shipped
    names = TraceSource(load_sweep(path).traces).names
    assert names[0] == "t/2"
    assert names[1].startswith("expert_choice/")


def test_too_many_rows_for_a_small_format_are_refused_at_once(tmp_path: Path) -> None:
    axes = [{"field": f"hardware.{name}", "grid": {"start": 1, "stop": 2, "count": 1001}}
            for name in ("mvm_latency_ns", "mvm_energy_nj")]  # fmt: skip
    with pytest.raises(CapacityError, match="1,002,001"):
        run_sweep(_sweep(axes=axes, format="csv"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unreadable_traces_are_refused_or_skipped(tmp_path: Path) -> None:
    traces = generate_traces("uniform", requests=2, layers=1, tokens=6, experts=16, top_k=4, seed=0)
    for index in range(3):
        traces.save(tmp_path / f"t{index}.npz")
    (tmp_path / "t1.npz").write_bytes(b"PK\x03\x04 torn")
    np.savez(tmp_path / "t9.npz", expert_ids=np.array([object()], dtype=object))  # a pickle inside
    path = tmp_path / "sweep.yaml"
    path.write_text("axes: []\ntraces: {files: ['t*.npz']}\n")
    with pytest.raises(TraceError, match=r"t1\.npz.*on_unreadable"):
        TraceSource(load_sweep(path).traces)
    path.write_text("axes: []\ntraces: {files: ['t*.npz'], on_unreadable: skip}\n")
    source = TraceSource(load_sweep(path).traces)
    assert len(source) == 4
    assert len(source.skipped) == 2
    assert [request.num_tokens for request in source.requests] == [6] * 4
    blocks = [source.block(start, start + 2) for start in (0, 2)]
    assert [len(block) for block in blocks] == [2, 2]
    assert plan_of(load_sweep(path))["points"] == 4
    # other contents, other sweep
    before = source.digest
    dataclasses.replace(traces, choices=traces.choices[:, :, ::-1], expert_order=None).save(tmp_path / "t0.npz")
    assert TraceSource(load_sweep(path).traces).digest != before
