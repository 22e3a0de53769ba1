"""The HTML report: what its contents say, and, in headless Chromium, that the page draws and answers the mouse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from chromium import Browser

from pimjax.batch.store import Store
from pimjax.batch.sweep_config import load_sweep
from pimjax.cli.app import main
from pimjax.config import load_config
from pimjax.errors import ConfigError
from pimjax.report.cache_contents import cache_combinations, resident_bytes
from pimjax.report.page import render_page
from pimjax.report.report import make_report
from pimjax.report.run_contents import run_contents
from pimjax.report.schedule_contents import schedule_contents
from pimjax.report.sweep_contents import non_default, sweep_contents
from pimjax.report.tune_contents import tune_contents
from pimjax.schedule import schedule_cost
from pimjax.trace import RoutingTrace

AXES = {"workload.go_cache": ["none", "authors"], "hardware.num_digital_units": [2.0, 5.0, 10.0]}
FIRST_POINT = """(() => { const box = document.querySelector('#pareto .points path').getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2, byId('pareto').data[1].customdata[0]]; })()"""


def hover_first_point(browser: Browser) -> list[float]:
    """Move the mouse onto the first point and wait for its label; place and row of the point."""
    browser.move(5, 5)
    browser.wait("!document.querySelector('#pareto .hoverlayer .hovertext')")
    place = browser.evaluate(FIRST_POINT)
    browser.move(place[0] - 3, place[1])
    browser.move(place[0], place[1])
    browser.wait("document.querySelector('#pareto .hoverlayer .hovertext')")
    return place


@pytest.fixture(scope="module")
def sweep_folder(tmp_path_factory) -> Path:
    """A small sweep's output, in the store's own format, with numbers that are easy to check."""
    sweep = load_sweep(
        {
            "name": "units",
            "base": "paper_reference",
            "axes": [{"field": name, "values": values} for name, values in AXES.items()],
            "columns": ["latency_ns", "area_mm2"],
            "format": "json",
        }
    )
    folder = tmp_path_factory.mktemp("sweep") / "results"
    store = Store(folder, "json")
    store.open(
        {
            "schema_version": 1, "digest": "0" * 16, "sweep": sweep.model_dump(mode="json", exclude={"output"}),
            "base": {"name": "paper_reference", "digest": load_config("paper_reference").digest()}, "traces": {},
            "chunks": {"count": 1, "points": 6},
            "made": {"versions": {"pimjax": "0"}, "device": "cpu", "platform": "cpu", "git_revision": None, "started": "now"},
        }
    )  # fmt: skip
    columns = {
        "point": np.arange(6),
        "trace": np.array(["workload"] * 6),
        "workload.go_cache": np.repeat(AXES["workload.go_cache"], 3),
        "hardware.num_digital_units": np.tile(AXES["hardware.num_digital_units"], 2),
        "status": np.zeros(6, int),
        "latency_ns": np.array([300.0, 200.0, 100.0, 320.0, 220.0, 150.0]),
        "area_mm2": np.array([10.0, 20.0, 30.0, 11.0, 21.0, 31.0]),
    }
    store.write(store.part("points", 0), columns, {})
    return folder


@pytest.fixture(scope="module")
def run_page(tmp_path_factory) -> Path:
    """A page about the paper's reference chip."""
    path = tmp_path_factory.mktemp("page") / "run.html"
    return make_report("paper_reference", path, fidelity="event", caches=False)


def test_breakdowns_add_up_to_the_estimate() -> None:
    from pimjax.estimation import estimate

    config = load_config("paper_reference")
    result = estimate(config, fidelity="event")
    contents = run_contents(config, result, "event")
    for chart, total in zip(
        contents["breakdowns"], (result.latency_ns, result.energy_nj, result.area_mm2), strict=True
    ):
        assert sum(part["share"] for part in chart["parts"]) == pytest.approx(1.0)
        scale = {"us": 1e3, "uJ": 1e3, "mm2": 1}[chart["unit"]]
        assert sum(part["value"] for part in chart["parts"]) * scale == pytest.approx(float(total))
    assert contents["cards"][0]["value"] == "244.3"


def test_schedules_agree_with_their_cost() -> None:
    rng = np.random.default_rng(3)
    ids = np.argsort(rng.random((12, 8)), axis=1)[:, :2]
    config = load_config(
        {"model": {"num_experts": 8, "top_k": 2}, "plan": {"group_size": 2}, "workload": {"prompt_tokens": 12}}
    )
    trace = RoutingTrace.from_expert_ids(ids, 8)
    contents = schedule_contents(config, trace)
    assert contents is not None
    layer = contents["layers"][0]
    group = np.empty(8, int)
    for index, members in enumerate(layer["groups"]):
        group[members] = index
    for policy, chart in layer["policies"].items():
        cost = schedule_cost(np.asarray(trace.choices)[0], group, policy=policy)
        assert len(chart["loads"]) == int(cost.makespan)
        assert sum(chart["loads"]) == int(cost.loads) >= layer["bound"]
        passes = sum(token is not None for row in chart["slots"] for token in row)
        assert passes == 24, policy  # 12 tokens x 2 experts, each in one slot


def test_bytes_held_by_caches() -> None:
    settings = {"model.routing": "expert_choice", "workload.prompt_tokens": 32, "workload.generated_tokens": 1}
    config = load_config("paper_multiplexed", {**settings, "workload.go_cache": "full"})
    scores, outputs = 32 * 16 * 2, 16 * 8 * 4096  # capacity 8 = 4 * 32 / 16
    assert resident_bytes(config) == config.model.num_moe_layers * (scores + outputs)
    assert "KV + GO" in cache_combinations(config)


def test_smallest_mapping_gives_the_same_configuration() -> None:
    for name in ("paper_reference", "paper_multiplexed", "qwen3_30b_a3b", "deepseek_v2_lite"):
        config = load_config(name)
        assert load_config(non_default(config)).digest() == config.digest()


def test_sweep_folder_is_read_back(sweep_folder) -> None:
    sweep = sweep_contents(sweep_folder)
    assert sweep["axes"] == list(AXES)
    assert sweep["metrics"] == ["latency_ns", "area_mm2"]
    assert sweep["columns"]["hardware.num_digital_units"] == [2.0, 5.0, 10.0] * 2
    assert sweep["complete"]
    few = sweep_contents(sweep_folder, max_points=4)
    assert few["shown"] == 4
    assert few["on_disk"] == 6


def test_tuning_history_is_read_back(tmp_path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "stage": ["descent"] * 4 + ["finished"],
        "step": [0, 0, 1, 1, -1],
        "start": [0, 1, 0, 1, 0],
        "variant": [0, 0, 0, 0, 0],
        "objective": [2.0, 3.0, 1.0, 2.0, 1.5],
        "excess": [0.0, 0.5, 0.0, 0.0, 0.0],
        "evaluations": [8, 8, 16, 16, 99],
        "hardware.num_digital_units": [None, None, None, None, 12.0],
    }
    parquet.write_table(arrow.table(columns), tmp_path / "history.parquet")
    tune = tune_contents(tmp_path)
    assert tune["starts"][1]["objective"] == pytest.approx(np.exp([3.0, 2.0]))
    assert tune["starts"][1]["feasible"] == [False, True]
    assert tune["finished"][0]["settings"] == {"hardware.num_digital_units": 12.0}
    assert tune["evaluations"] == 99
    page = make_report(tmp_path, tmp_path / "tune.html")
    with Browser() as browser:
        browser.open(page)
        assert browser.errors == []
        assert browser.evaluate("document.querySelectorAll('#tune-path .scatterlayer .trace').length") == 4


def test_a_folder_of_something_else_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="neither a sweep"):
        make_report(tmp_path, tmp_path / "page.html")


def test_page_is_self_contained(run_page) -> None:
    text = run_page.read_text(encoding="utf-8")
    assert text.count("plotly.js v") == 1
    assert "<script src" not in text
    assert '<link rel="stylesheet"' not in text


def test_text_from_files_cannot_leave_its_place() -> None:
    evil = "</script><script>window.evil = 1</script>"
    contents = {"title": evil, "subtitle": evil, "provenance": [("command", evil)], "yaml": evil}
    text = render_page(contents)
    assert evil not in text


def test_run_page_draws_in_chromium(run_page) -> None:
    with Browser() as browser:
        browser.open(run_page)
        assert browser.errors == []
        assert [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")  # readable at 1280 px
        assert browser.evaluate("document.querySelectorAll('[id^=breakdown-] .bars .point').length") > 5
        assert browser.evaluate("document.querySelectorAll('[id^=gantt-] .hm').length") == 4
        # a click on a token highlights it in all four panels, the second click shows all again
        browser.evaluate("byId('gantt-packed').scrollIntoView({block: 'center'})")
        place = browser.evaluate(
            "(() => { const r = document.querySelector('#gantt-packed .hm').getBoundingClientRect();"
            "return [r.x + 8, r.y + 6]; })()"
        )
        browser.click(*place)
        browser.wait("byId('schedule-token').textContent.includes('highlighted')")
        assert (
            browser.evaluate("byId('gantt-compact').data[0].colorscale.filter((pair) => pair[1] === '#e4e7eb').length")
            > 0
        )
        browser.evaluate("byId('schedule-all').click()")
        longest = browser.evaluate("byId('gantt-token_wise').data[1].y.length")
        assert browser.evaluate("byId('gantt-packed').layout.xaxis.range[1]") == longest - 0.5
        assert browser.errors == []


def test_pareto_explorer_in_chromium(sweep_folder, tmp_path) -> None:
    page = make_report(sweep_folder, tmp_path / "sweep.html")
    with Browser() as browser:
        browser.open(page)
        assert browser.errors == []
        # hover shows the configuration
        browser.evaluate("byId('pareto').scrollIntoView({block: 'center'})")
        hover_first_point(browser)
        hover = browser.evaluate("document.querySelector('#pareto .hoverlayer').textContent")
        assert "hardware.num_digital_units" in hover
        # choosing another axis draws it
        browser.evaluate(
            "(() => { const s = byId('pareto-x'); s.value = 'hardware.num_digital_units'; s.dispatchEvent(new Event('change')); })()"
        )
        assert "num_digital_units" in browser.evaluate("byId('pareto').layout.xaxis.title.text")
        assert set(browser.evaluate("byId('pareto').data[1].x")) == set(AXES["hardware.num_digital_units"])
        # a click pins the point: its YAML is the sweep's base with the point's values
        row = hover_first_point(browser)
        browser.click(row[0], row[1])
        browser.wait("document.querySelector('.pin pre')")
        text = browser.evaluate("document.querySelector('.pin pre').textContent")
        assert browser.errors == []
    point = {name: sweep_contents(sweep_folder)["columns"][name][row[2]] for name in AXES}
    path = tmp_path / "point.yaml"
    path.write_text(text)
    assert load_config(path).digest() == load_config("paper_reference", point).digest()
    assert yaml.safe_load(text)["hardware"]["num_digital_units"] == point["hardware.num_digital_units"]


def test_command_writes_the_page(sweep_folder, tmp_path, capsys) -> None:
    target = tmp_path / "out.html"
    with pytest.raises(SystemExit) as stop:
        main(["report", str(sweep_folder), "--out", str(target), "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == target.stat().st_size
    with pytest.raises(SystemExit) as stop:
        main(["report", str(sweep_folder), "--out", str(tmp_path / "missing" / "out.html")])
    assert stop.value.code == 2


@pytest.fixture(scope="module")
def serving_page(tmp_path_factory) -> Path:
    """A run under load with its capacity, through the command."""
    page = tmp_path_factory.mktemp("serving") / "page.html"
    options = "--count 30 --rate 200000 --prompt 16 --tokens 8 --max-num-seqs 4 --kv-tokens 256 --capacity"
    with pytest.raises(SystemExit) as stop:
        main(["serving", *options.split(), "--report", str(page), "--json"])
    assert stop.value.code == 0
    return page


def test_serving_page_holds_the_run(serving_page, tmp_path, capsys) -> None:
    """Batch, queue and memory over time add up to what was served; distributions rise; capacity lies between its rates."""
    text = serving_page.read_text(encoding="utf-8")
    found = json.loads(text.split('id="report-data">')[1].split("</script>")[0])["serving"]
    lines = {line["key"]: np.array(line["values"]) for line in found["lines"]}
    assert 0 < lines["running"].max() <= 4 + 1e-9
    assert lines["kv_tokens"].max() <= found["kv_limit"] + 1e-9
    assert lines["waiting"].max() > 0
    for times in found["times"]:
        assert (np.diff(times["values"]) >= 0).all()
    assert found["figures"]["requests"] == 30
    assert min(found["slo"]["rate"]) <= found["slo"]["capacity"] <= max(found["slo"]["rate"])
    with pytest.raises(SystemExit) as stop:
        main(["serving", "--count", "2", "--report", str(tmp_path / "missing" / "page.html")])
    assert stop.value.code == 2
    assert "create it first" in capsys.readouterr().err


def test_serving_page_draws_in_chromium(serving_page) -> None:
    with Browser() as browser:
        browser.open(serving_page)
        assert browser.errors == []
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert browser.evaluate("document.querySelectorAll('#serving-times .scatterlayer .trace').length") == 4
        assert browser.evaluate("document.querySelectorAll('#serving-slo .scatterlayer .trace').length") == 2
        assert browser.evaluate("document.querySelectorAll('[id^=serving-running] .scatterlayer .trace').length") == 1
