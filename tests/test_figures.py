"""Figures for papers: every one draws in every format, fonts are embedded, and their numbers are the package's."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from pimjax.chips import CHIPS
from pimjax.cli.app import main
from pimjax.errors import ConfigError
from pimjax.report.figures import FIGURES, area, breakdown, cache, draw_figure, perplexity, regimes, schedule, tuned
from pimjax.report.figures.studies import StudyMissingError, study
from pimjax.report.palette import FAMILIES, OKABE_ITO
from pimjax.reproduction.lines import published
from pimjax.schedule import POLICIES, schedule_slots


@pytest.fixture
def quick(monkeypatch) -> None:
    """Numbers that take programs to compile, replaced: these tests are about drawing."""
    monkeypatch.setattr(area, "multiplexed", lambda: {policy: [1.0, 1.5, 2.0, 1.7] for policy in POLICIES})
    monkeypatch.setattr(area, "authors_method", lambda: {name + end: 2.0 for name in ("U1", "S2") for end in "CO"})
    runs = {(count, name): {"latency_ns": 1e6 * count, "energy_nj": 2e6 * count, "published": None}
            for count in (8, 32) for name in ("no cache", "kv+go")}  # fmt: skip
    runs[8, "kv"] = runs[8, "go"] = {
        "latency_ns": 1e6,
        "energy_nj": 1e6,
        "published": {"latency_ns": 1e6, "energy_nj": 1e6},
    }
    monkeypatch.setattr(cache, "runs", lambda: runs)
    rows = {name: ("paper_reference", {}, "event") for name in ("one", "two")}
    monkeypatch.setattr(breakdown, "ROWS", rows)
    case = {"base": {"latency_ns": 2.0, "energy_nj": 2.0, "area_mm2": 2.0}, "tuned": {"latency_ns": 1.0, "energy_nj": 2.0, "area_mm2": 2.0}}  # fmt: skip
    monkeypatch.setattr(tuned, "cases", lambda: {"paper_multiplexed_S2O_equal_area": case})


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", list(FIGURES))
def test_every_figure_draws(name, tmp_path) -> None:
    for width, ending in (("page", "png"), ("column", "pdf")):
        try:
            path = draw_figure(name, tmp_path / f"{name}.{ending}", width, dpi=100)
        except StudyMissingError as error:
            pytest.skip(str(error))  # names the script that measures it
        content = path.read_bytes()
        if ending == "png":
            assert content[:4] == b"\x89PNG"
            assert int.from_bytes(content[16:20], "big") == 716  # 7.16 inches
        else:
            assert b"/FontFile2" in content  # TrueType, embedded
            assert b"/Type3" not in content
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_svg_needs_no_font(tmp_path) -> None:
    text = draw_figure("schedule", tmp_path / "schedule.svg", "column").read_text()
    assert "<text" not in text
    again = draw_figure("schedule", tmp_path / "again.svg", "column").read_text()
    assert text == again  # the same file every time


def test_schedule_example_is_the_papers(golden_folder) -> None:
    choices, groups = schedule.example()
    slots = {policy: len(schedule_slots(choices, groups, policy=policy)) for policy in POLICIES}
    assert slots == {"token_wise": 10, "compact": 7, "reschedule": 7, "packed": 7}


def test_authors_area_efficiency_comes_from_the_runs() -> None:
    gains = area.authors_method()
    known = {
        run["args"].split("--prefix ")[1].split("_")[0]: run for run in published()["runs"] if "--prefix" in run["args"]
    }
    exact = known["1"]["latency_ns"] / known["S2O"]["latency_ns"] / 0.6
    assert gains["S2O"] == pytest.approx(exact, rel=2e-3)  # fluid against the authors' run


def test_breakdown_shares_add_up() -> None:
    chip = CHIPS["multiplexed"]
    assert {spec.family for spec in chip.components} == set(FAMILIES) - {"other"}
    values = np.arange(1.0, 1 + len(chip.component_names))
    assert sum(breakdown.shares(chip, values).values()) == pytest.approx(1.0)


def test_regime_map_names_the_best_plan() -> None:
    rows = [
        {"units": units, "t_load/t_stage": ratio, "s": s, "policy": "packed", "grouping": "sorted", "g": 2,
         "gain_over_token_wise": 2.0, "gain_over_best_without_sharing": 1 + ratio * s}
        for units in (5.0, 512.0) for ratio in (0.1, 1.5) for s in (0.4, 0.8)
    ]  # fmt: skip
    figure = Figure()
    regimes.draw_rows(figure, True, rows)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts.count("P2") == len(rows)


def test_perplexity_front_is_not_beaten() -> None:
    rows = study("perplexity", "-")["rows"]
    points = [(row["tile_energy_nj"], row["perplexity"]) for row in rows]
    kept = perplexity.front(points)
    for energy, value in kept:
        assert not any(e <= energy and p < value for e, p in points)


def test_colours_differ_in_lightness_or_hue() -> None:
    def lightness(colour: str) -> float:
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    values = sorted(lightness(colour) for colour in OKABE_ITO.values())
    assert min(np.diff(values)) > 3  # told apart in grey too


@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        (("nothing",), "unknown"),
        (("schedule", "--out", "figure.jpg"), "names no format"),
        (("schedule", "--out", "missing-folder/figure.png"), "does not exist"),
        ((), "choose one of"),
    ],
)
def test_mistakes_are_one_sentence(arguments, piece, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["figure", *arguments])
    assert stop.value.code == 2
    assert piece in " ".join(capsys.readouterr().err.split())


def test_list_names_every_figure(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["figure", "--list"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out for name in FIGURES)


def test_unknown_width_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="column, page"):
        draw_figure("schedule", tmp_path / "a.png", "poster")
