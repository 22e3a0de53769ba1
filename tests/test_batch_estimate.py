"""`estimate_batch` against single estimates; memory, meshes, bad lanes."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import pimjax
from pimjax.batch import engine, estimate_batch, make_mesh
from pimjax.batch.columns import build_columns, common_capacity
from pimjax.batch.engine import TileShape, Timings
from pimjax.batch.lanes import configs_of_design
from pimjax.chips.multiplexed import multiplexed_cost
from pimjax.chips.multiplexed.experts import slots_time
from pimjax.chips.reference.kernel import reference_cost
from pimjax.config.plan import GROUPINGS
from pimjax.errors import CapacityError, ConfigError, TraceError
from pimjax.runs.inputs import schedule_inputs
from pimjax.schedule import GROUPING_STRATEGIES
from pimjax.trace import generate_traces
from pimjax.trace.routing import stack_traces

FEW = ("latency_ns", "energy_nj", "area_mm2")


def _reference_configs() -> list[pimjax.Config]:
    configs = [pimjax.reference_config(dpus=units, prefill=True) for units in (2, 5, 10)]
    return [*configs, pimjax.reference_config(new_length=8, kv=True, go=True)]


def _single(config: pimjax.Config) -> dict[str, float]:
    design, capacity = pimjax.build(config)
    with jax.enable_x64(True):
        cost = jax.jit(lambda d: reference_cost(d, capacity=capacity, fidelity="closed", critical=False))(design)
        return {
            "latency_ns": float(cost.latency_ns),
            "energy_nj": float(cost.component_energy_nj.sum()),
            "area_mm2": float(cost.component_area_mm2.sum()),
        }


@pytest.fixture(scope="module")
def in_float64() -> pimjax.estimation.Estimate:
    return estimate_batch(_reference_configs(), precision="float64", fields=FEW)


def test_every_lane_is_its_single_estimate(in_float64: pimjax.estimation.Estimate) -> None:
    configs = _reference_configs()
    for lane in (0, 3):
        for name, value in _single(configs[lane]).items():
            assert getattr(in_float64, name)[lane, 0] == pytest.approx(value, rel=1e-12)
    assert in_float64.latency_ns.dtype == np.float64
    assert isinstance(in_float64.latency_ns, np.ndarray)
    assert in_float64.busy_ns is None  # not asked for


def test_float32_pairings_and_designs(in_float64: pimjax.estimation.Estimate) -> None:
    configs = _reference_configs()
    timings = Timings()
    product = estimate_batch(configs, fields=FEW, timings=timings)
    assert timings.compiles == 1
    np.testing.assert_allclose(product.latency_ns, in_float64.latency_ns, rtol=2e-6)
    assert product.latency_ns.dtype == np.float32
    # the same lanes as arrays in one design, without pydantic
    design, _ = pimjax.build(configs[1])
    swept = estimate_batch(design.set({"hardware.num_digital_units": np.array([2.0, 5.0, 10.0])}), fields=FEW)
    np.testing.assert_allclose(swept.latency_ns, product.latency_ns[:3], rtol=1e-6)


def test_one_device_and_eight_give_the_same_bits() -> None:
    configs = [pimjax.reference_config(dpus=units, mvm_latency=ns) for units in (3, 7) for ns in (90, 130, 170)]
    eight = estimate_batch(configs, fields=FEW, mesh=make_mesh(), tile_points=1)
    one = estimate_batch(configs, fields=FEW, mesh=make_mesh(jax.local_devices()[:1]), tile_points=1)
    for name in FEW:
        np.testing.assert_array_equal(getattr(eight, name), getattr(one, name))


def test_a_lane_of_nan_stays_alone() -> None:
    design, _ = pimjax.build(pimjax.reference_config())
    mvm = np.array([130.0, np.nan, 130.0, np.inf])
    result = estimate_batch(design.set({"hardware.mvm_latency_ns": mvm}), fields=FEW, tile_points=4)
    good = result.latency_ns[[0, 2], 0]
    assert np.isfinite(good).all()
    assert good[0] == good[1]
    bad = result.status[:, 0] & pimjax.status.NON_FINITE
    assert (bad != 0).tolist() == [False, True, False, True]
    with pytest.raises(CapacityError, match="non_finite"):
        result.raise_if_bad()


def test_out_of_memory_halves_the_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    design, _ = pimjax.build(pimjax.reference_config())
    design = design.set({"hardware.mvm_latency_ns": np.linspace(100, 160, 32)})
    whole = estimate_batch(design, fields=("latency_ns",), tile_points=4)
    real = engine.Compiled.get
    sizes = []

    def get(self, program, arguments):  # type: ignore[no-untyped-def]
        lanes = len(arguments[2])
        sizes.append(lanes)
        if lanes > 8:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.")
        return real(self, program, arguments)

    monkeypatch.setattr(engine.Compiled, "get", get)
    timings = Timings()
    halved = estimate_batch(design, fields=("latency_ns",), tile_points=4, timings=timings)
    assert sizes[0] == 32
    assert timings.halvings == 2
    np.testing.assert_array_equal(whole.latency_ns, halved.latency_ns)


@pytest.mark.parametrize(
    "needed", [4_000, 4_000_000]
)  # a quarter of the tile fits; not even one point at a time is known to
def test_a_tile_known_to_be_too_large_is_cut_to_size_at_once(monkeypatch, needed) -> None:
    design, _ = pimjax.build(pimjax.reference_config())
    design = design.set({"hardware.mvm_latency_ns": np.linspace(100, 160, 32)})
    whole = estimate_batch(design, fields=("latency_ns",), tile_points=4)
    sizes = iter([needed, 1_000])
    monkeypatch.setattr(engine, "device_budget_bytes", lambda devices: 1_000)
    monkeypatch.setattr(engine, "program_bytes", lambda compiled: next(sizes))
    timings = Timings()
    cut = estimate_batch(design, fields=("latency_ns",), tile_points=4, timings=timings)
    assert (timings.compiles, timings.halvings) == (2, 2)
    np.testing.assert_array_equal(whole.latency_ns, cut.latency_ns)


def test_memory_is_probed_before_the_first_run() -> None:
    with pytest.raises(CapacityError, match="single design point"):
        TileShape(8, 1).halved(8)
    assert TileShape(64, 1024).halved(8) == (64, 512)
    assert TileShape(64, 4).halved(8) == (32, 4)
    assert TileShape(8, 3).halved(8) == (8, 2)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize(
    ("lanes", "columns", "points"), [(9216, 1, 1024), (1000, 1000, 16_384), (3, 50_000, 1000), (7, 5, 1)]
)
def test_tiles_divide_a_table_evenly(lanes: int, columns: int, points: int, devices: int) -> None:
    shape = engine.first_shape(lanes, columns, make_mesh(jax.local_devices()[:devices]), points)
    assert shape.lanes % devices == 0
    assert shape.lanes // devices * shape.columns <= points
    cut = list(engine.tiles(lanes, columns, shape))
    assert sum(tile.num_lanes * tile.num_columns for tile in cut) == lanes * columns
    across, down = -(-columns // shape.columns), -(-lanes // shape.lanes)
    assert across == -(-columns // min(columns, points))  # no more tiles than unequal ones would be
    assert down == -(-lanes // (devices * (points // shape.columns)))
    wasted = across * shape.columns * down * shape.lanes / (lanes * columns)
    assert wasted < 1.05 or lanes < 64  # whole lanes on each device


def test_multiplexed_lanes_share_one_program_for_unequal_requests_and_plans() -> None:
    stacked = generate_traces("zipf", requests=2, layers=1, tokens=12, experts=16, top_k=4, seed=3)
    short = stacked.request(0).trim(9)
    requests = stack_traces([short, stacked.request(1)])
    keys = [("reschedule", 5), ("compact", 5), ("compact", 2)]
    configs = [
        pimjax.load_config("paper_multiplexed", {"plan.policy": policy, "hardware.num_digital_units": units})
        for policy, units in keys
    ]
    timings = Timings()
    product = estimate_batch(configs, requests, precision="float64", fields=FEW, timings=timings)
    assert timings.compiles == 1
    assert product.latency_ns.shape == (3, 2)
    # an independent run of the kernel, one point at a time, in one program of the largest capacity
    capacity = pimjax.build(configs[0].model_copy(update={"workload": configs[0].workload.model_copy(update={"prompt_tokens": 12})}))[1]  # fmt: skip
    with jax.enable_x64(True):
        kernel = jax.jit(lambda d, s: multiplexed_cost(d, s, capacity=capacity, fidelity="closed", critical=False))
        for lane, column, tokens in ((0, 0, 9), (1, 1, 12), (2, 1, 12)):
            workload = configs[lane].workload.model_copy(update={"prompt_tokens": tokens})
            config = configs[lane].model_copy(update={"workload": workload})
            request = requests.request(column).trim()
            schedule = schedule_inputs(config, request, fidelity="closed", capacity=capacity)
            cost = kernel(pimjax.build(config)[0], schedule)
            assert product.latency_ns[lane, column] == pytest.approx(float(cost.latency_ns), rel=1e-12)
            energy = float(cost.component_energy_nj.sum())
            assert product.energy_nj[lane, column] == pytest.approx(energy, rel=1e-12)


def test_chips_with_and_without_shared_return_links_in_one_batch() -> None:
    request = generate_traces("zipf", requests=1, layers=1, tokens=8, experts=16, top_k=4, seed=1)
    free, shared = (
        pimjax.load_config("paper_multiplexed", {"hardware.out_links": links, "plan.policy": "compact"})
        for links in (None, 1.0)
    )
    timings = Timings()
    found = estimate_batch([free, shared], request, pairing="zip", fields=("latency_ns",), timings=timings).latency_ns
    assert timings.compiles == 1
    assert found[0] < found[1]  # one link for all groups is the bottleneck
    # the chip without limits takes as long as when it is counted alone
    capacity = common_capacity([free, shared], [request.request(0)])
    alone = build_columns([free], [request.request(0)], "closed", capacity).schedule.prompt
    beside = build_columns([free, shared], [request.request(0)], "closed", capacity).schedule.prompt
    assert alone.busy_hist is None
    time = SimpleNamespace(stage=100.0, load=60.0, out=0.0)
    with jax.enable_x64(True):
        expected, got = (np.asarray(slots_time(time, windows)) for windows in (alone, beside))  # type: ignore[arg-type]
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-12)
    assert expected.max() > 0


def test_a_design_says_what_its_configuration_said() -> None:
    assert GROUPINGS == GROUPING_STRATEGIES
    for overrides in (
        {"plan.policy": "packed", "plan.max_open_tokens": 7, "plan.grouping": "snake"},
        {"plan.group_size": 4, "workload.generated_tokens": 5, "workload.kv_cache": True},
        {"workload.prompt_tokens": 40, "plan.share": "pair", "plan.window_tokens": 16},
    ):
        config = pimjax.load_config("paper_multiplexed", overrides)
        _, [made] = configs_of_design(pimjax.build(config)[0])
        for section in ("plan", "workload"):
            for name in ("policy", "max_open_tokens", "grouping", "group_size", "share", "window_tokens",
                         "prompt_tokens", "generated_tokens", "kv_cache", "go_cache"):  # fmt: skip
                if hasattr(getattr(config, section), name):
                    assert getattr(getattr(made, section), name) == getattr(getattr(config, section), name)


def test_mistakes_are_sentences() -> None:
    config = pimjax.reference_config()
    with pytest.raises(ConfigError, match="event"):
        estimate_batch(config, fidelity="event")
    with pytest.raises(ConfigError, match="pairing"):
        estimate_batch(config, pairing="outer")
    with pytest.raises(ConfigError, match="precision"):
        estimate_batch(config, precision="float16")
    with pytest.raises(ConfigError, match="latncy"):
        estimate_batch(config, fields=["latncy"])
    with pytest.raises(ConfigError, match="non-empty"):
        estimate_batch([])
    with pytest.raises(TraceError, match="RoutingTrace"):
        estimate_batch(config, [3])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="axis 'H'"):
        estimate_batch(config, mesh=jax.make_mesh((8,), ("X",)))
    with pytest.raises(ConfigError, match="Auto"):
        estimate_batch(config, mesh=jax.make_mesh((8,), ("H",), axis_types=(jax.sharding.AxisType.Explicit,)))
    traces = generate_traces("uniform", requests=3, layers=1, tokens=4, experts=16, top_k=4, seed=0)
    with pytest.raises(ConfigError, match="zip"):
        estimate_batch([config, config], traces, pairing="zip")
    design, _ = pimjax.build(config)
    uneven = design.set({"hardware.mvm_latency_ns": np.ones(3), "hardware.mvm_energy_nj": np.ones(4)})
    with pytest.raises(ConfigError, match="different length"):
        estimate_batch(uneven)
