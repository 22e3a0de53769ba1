"""The benchmark table and the README's numbers: read from results, and drift is found."""

from __future__ import annotations

import sys

import pytest

from benchmarks import run_all
from benchmarks.lib import headlines
from benchmarks.lib.paths import ROOT
from benchmarks.pages import figure_data, readme_numbers


def test_every_headline_is_in_its_result() -> None:
    for headline in headlines.HEADLINES:
        found = headlines.document(headline.file)
        if found is not None:
            assert headlines.value_at(found, headline.path) is not None, f"{headline.file} has no {headline.path}"
            assert found["environment"]["command"].startswith("python ")


def test_every_script_is_in_the_table() -> None:
    names = run_all.script_names()
    rows = run_all.summary(names)
    assert {row["benchmark"] for row in rows} == set(names)
    assert all(row["versions"]["jax"] for row in rows if row["value"] is not None)
    with pytest.raises(SystemExit, match="there are"):
        run_all.script_names(["no_such_benchmark"])


def test_readme_block_is_written_and_drift_is_found(tmp_path, monkeypatch, capsys) -> None:
    numbers = readme_numbers
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{numbers.BEGIN}\n{numbers.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["readme_numbers.py", "--readme", str(readme)])
    numbers.main()
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "`python benchmarks/speed/event_engine.py`" in text
    monkeypatch.setattr(sys, "argv", ["readme_numbers.py", "--check", "--readme", str(readme)])
    numbers.main()
    readme.write_text(text.replace("187,015", "187,016"))
    with pytest.raises(SystemExit, match="not those"):
        numbers.main()
    readme.write_text("no markers\n")
    with pytest.raises(SystemExit, match="no markers"):
        numbers.main()
    assert "numbers are those" in capsys.readouterr().out


def test_figure_data_keeps_what_figures_need(capsys) -> None:
    data = figure_data.collect()
    assert data["schedule_figure"]["groups"] == [[1, 2], [3, 4], [5, 6], [7, 8]]
    for name, entry in data.items():
        if name != "note":
            assert (ROOT / entry["from"]).is_file()
    capsys.readouterr()
