"""`sweep.yaml`: axes, points, and a sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimjax.batch.chunks import make_grid, share_of
from pimjax.batch.points import DecodedLanes, DeviceAxis, space_of
from pimjax.batch.rows import RowMaker, lane_parameters
from pimjax.batch.sweep_config import SweepConfig, load_sweep
from pimjax.config.build import Capacity
from pimjax.errors import ConfigError
from pimjax.resources import config_folder

MVM = {"field": "hardware.mvm_latency_ns", "values": [100, 130, 160]}


def _sweep(*axes: dict, **more: object) -> SweepConfig:
    return load_sweep({"base": "paper_reference", "axes": list(axes), **more})


def test_axes_become_lanes_and_variants() -> None:
    space = space_of(
        _sweep(
            {"field": "plan.policy", "values": ["compact", "packed"]},
            MVM,
            {"zip": {"hardware.num_digital_units": [2, 5], "hardware.tiles": [7000, None]}},
            {"field": "hardware.mvm_energy_nj", "log": {"start": 1, "stop": 100, "count": 3}},
        )
    )
    assert [setting["plan.policy"] for setting in space.settings] == ["compact", "packed"]
    assert space.num_lanes == 3 * 2 * 3
    values = space.table_values(np.arange(18))
    assert values["hardware.mvm_latency_ns"][[0, 6, 12]].tolist() == [100, 130, 160]
    assert values["hardware.tiles"][[0, 3]].tolist() == [7000, np.inf]
    np.testing.assert_allclose(values["hardware.mvm_energy_nj"][:3], [1, 10, 100])


def test_the_device_decodes_what_the_host_lists() -> None:
    space = space_of(
        _sweep(
            MVM,
            {"zip": {"hardware.num_digital_units": [2, 5], "hardware.core_area_mm2": [0.5, 0.7]}},
            {"sample": "random", "count": 7, "ranges": {
                "hardware.mvm_energy_nj": {"low": 9, "high": 16},
                "hardware.dram_bandwidth_gb_per_s": {"low": 1, "high": 100, "scale": "log"}}},
        )
    )  # fmt: skip
    grid = make_grid(1, space.num_lanes, 1, 1000)
    rows = RowMaker(space, grid, ["workload"], 3, np.dtype("float32")).columns(np.arange(space.num_lanes))
    parameters = lane_parameters(space, Capacity(), 3, np.dtype("float32"), space.variants[0])
    designs = jax.jit(jax.vmap(lambda lane: space.lanes(parameters, lane)))(np.arange(space.num_lanes, dtype=np.int32))
    for name in space.fields:
        decoded = np.asarray(getattr(designs.hardware, name.removeprefix("hardware.")))
        np.testing.assert_allclose(decoded, rows[name], rtol=1e-6)
    bandwidth = rows["hardware.dram_bandwidth_gb_per_s"]
    assert 1 <= bandwidth.min() < bandwidth.max() < 100
    assert len(np.unique(bandwidth)) == 7  # one draw per point of the axis, whatever the other axes
    again = RowMaker(space, grid, ["workload"], 4, np.dtype("float32")).columns(np.arange(space.num_lanes))
    assert not np.array_equal(again["hardware.mvm_energy_nj"], rows["hardware.mvm_energy_nj"])


def test_sobol_axis_fills_its_box_evenly() -> None:
    space = space_of(
        _sweep({"sample": "sobol", "count": 64, "ranges": {
            "hardware.mvm_latency_ns": {"low": 100, "high": 200},
            "hardware.mvm_energy_nj": {"low": 1, "high": 100, "scale": "log"}}})
    )  # fmt: skip
    values = space.table_values(np.arange(64))
    assert np.histogram(values["hardware.mvm_latency_ns"], 8, (100, 200))[0].tolist() == [8] * 8
    assert np.histogram(np.log10(values["hardware.mvm_energy_nj"]), 8, (0, 2))[0].tolist() == [8] * 8


def test_a_billion_points_store_nothing() -> None:
    axes = tuple(DeviceAxis(1000, (f"hardware.{name}",), ((1.0, 2.0, "linear"),)) for name in
                 ("mvm_latency_ns", "mvm_energy_nj", "core_area_mm2"))  # fmt: skip
    lanes = DecodedLanes(axes)
    base = space_of(_sweep()).variants[0]
    parameters = lane_parameters(space_of(_sweep()), Capacity(), 0, np.dtype("float32"), base)
    decode = jax.jit(lambda lane: lanes.values(parameters, lane))
    first, last = decode(np.int32(0)), decode(np.int32(999_999_999))
    for name in first:
        assert 1 <= float(first[name]) < 2
        assert float(first[name]) != float(last[name])


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 9), st.integers(1, 50), st.integers(1, 4))
def test_chunks_cover_every_point_once(variants: int, lanes: int, requests: int, points: int, processes: int) -> None:
    grid = make_grid(variants, lanes, requests, points)
    seen = []
    for process in range(processes):
        for index in share_of(grid.num_chunks, process, processes):
            chunk = grid.chunk(index)
            assert chunk.points <= max(points, requests)
            seen.append(grid.number(chunk, np.arange(chunk.points)))
    numbers = np.sort(np.concatenate(seen))
    np.testing.assert_array_equal(numbers, np.arange(grid.points))
    v, lane, r = grid.place(numbers)
    np.testing.assert_array_equal((v * lanes + lane) * requests + r, numbers)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"axs": []}, ["axs", "axes"]),
        ({"axes": [{"field": "hardware.mvm_latency_ns"}]}, ["exactly one of"]),
        ({"axes": [{"field": "hardware.mvm_latency_n", "values": [1]}]}, ["mvm_latency_n", "mvm_latency_ns"]),
        ({"axes": [{"field": "hardware.mvm_latency_ns", "values": [-1]}]}, ["mvm_latency_ns", "-1", "above 0"]),
        ({"axes": [{"field": "hardware.mvm_latency_ns", "values": ["fast"]}]}, ["'fast'", "number"]),
        ({"axes": [{"field": "hardware.mvm_latency_ns", "log": {"start": 0, "stop": 1, "count": 2}}]}, ["positive"]),
        ({"axes": [MVM, MVM]}, ["two axes"]),
        ({"axes": [{"zip": {"hardware.tiles": [1], "hardware.tiers": [1, 2]}}]}, ["equal length"]),
        ({"axes": [{"sample": "random", "count": 3, "ranges": {"model.d_ff": {"low": 1, "high": 2}}}]}, ["model.d_ff"]),
        ({"axes": [{"sample": "sobol", "count": 1 << 23, "ranges": {"hardware.tiles": {"low": 1, "high": 2}}}]}, ["Sobol"]),
        ({"axes": [{"sample": "random", "count": 3, "ranges": {"hardware.tiles": {"low": 2, "high": 1}}}]}, ["below"]),
        ({"axes": [{"field": "plan.policy", "values": ["best"]}]}, ["plan.policy", "reschedule"]),
        ({"axes": [{"field": "model.d_ff", "values": list(range(1, 70_000))}]}, ["65,536"]),
        ({"columns": ["latency"]}, ["latency", "latency_ns"]),
        ({"select": {"constraints": ["area <= 3"]}}, ["area <= 3", "area_mm2"]),
        ({"store": "selected"}, ["nothing would be kept"]),
        ({"fidelity": "event"}, ["fidelity", "closed"]),
        ({"base": ["x"]}, ["base"]),
    ],
)  # fmt: skip
def test_mistakes_are_sentences(data: dict, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        space_of(load_sweep(data))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "axes: !!python/object/apply:os.system ['touch owned']",
        "base: &a [*a]",
        "axes: " + "[" * 5000,
        "name: " + "x" * 1_100_000,
        "axes: {",
        "- 1",
    ],
)
def test_hostile_yaml_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_sweep(path)
    assert not (tmp_path / "owned").exists()


def test_shipped_sweeps_are_valid() -> None:
    files = sorted((config_folder() / "experiments").glob("sweep_*.yaml"))
    assert files
    for path in files:
        assert space_of(load_sweep(path)).num_lanes > 1
