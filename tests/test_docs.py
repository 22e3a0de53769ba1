"""The documentation: its examples run, its pages are reachable, its tables say what the committed results say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
sys.path.insert(0, str(DOCS))

from generators import configuration, numbers, performance, results, studies  # noqa: E402

from pimjax.config.config import SECTIONS, section_keys  # noqa: E402


@pytest.mark.slow
def test_examples_of_the_pages_run():
    """Every `>>>` in the pages, in a process of its own: examples register components."""
    pages = [str(page) for page in PAGES if ">>>" in page.read_text(encoding="utf-8")]
    assert len(pages) >= 5
    done = subprocess.run([sys.executable, "-m", "doctest", *pages], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_every_page_is_in_the_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^([a-z-]+)$", index, re.MULTILINE))
    assert listed == {page.stem for page in PAGES} - {"index"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_numbers_and_parts_of_a_page_exist(page):
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"{{ (\w+) }}", text)) <= set(numbers.substitutions())
    from generate import TABLES

    parts = set(re.findall(r"generated/tables/(\w+)\.md", text))
    assert parts <= set(TABLES)


def test_numbers_come_from_the_results():
    worst = results.at("validate_goldens", "reference_small", "worst_energy_relative")
    assert numbers.substitutions()["golden_energy"] == results.shown(worst, 2)
    assert results.at("no_such_result", "anything") is None
    with pytest.raises(FileNotFoundError, match="no_such_result"):
        results.machine("no_such_result")  # a page that quotes a script that is not there


def test_configuration_reference_has_every_key():
    text = configuration.configuration_reference()
    for name in SECTIONS:
        part = text.partition(f"### `{name}`")[2]
        for key in section_keys(name):
            assert f"| `{key}` |" in part or f"#### `{name}.{key}`" in part
    row = next(line for line in text.splitlines() if line.startswith("| `shareable_fraction`"))
    assert [cell.strip() for cell in row.split("|")[2:7]] == [
        "number",
        "1",
        "`0.8`",
        "at least 0, at most 1",
        "0.4 to 0.8",
    ]


def test_performance_rows_keep_compile_time_apart():
    document = {"quick": {"batch": {"8": {"compile_s": 2.0, "median_s": 0.5, "per_s": 16.0, "ratio_to_numpy": 3.0}}}}
    assert list(performance._rows(document)) == [
        ("quick / batch / 8", "500 ms", "16 per s", "2 s", "ratio to numpy: 3")
    ]


def test_figures_exist_where_they_are_shown():
    for name in studies.FIGURES:
        shown = studies.figure(name, "caption")
        assert (results.RESULTS / name).is_file() == bool(shown)
