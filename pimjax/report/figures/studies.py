"""Results of studies that ship with the package (made by benchmarks/pages/figure_data.py from committed benchmark results)."""

from __future__ import annotations

import functools
import json
from typing import Any

from pimjax.errors import PimjaxError
from pimjax.resources import data_folder


class StudyMissingError(PimjaxError):
    """A figure needs the results of a study that this version does not ship."""


@functools.cache
def _studies() -> dict[str, Any]:
    return json.loads((data_folder() / "studies.json").read_text(encoding="utf-8"))


def study(name: str, script: str) -> dict[str, Any]:
    """The condensed results of one study.

    Raises:
        StudyMissingError: it is not among the shipped ones; names the script that measures it.

    >>> study("schedule_figure", "-")["groups"]
    [[1, 2], [3, 4], [5, 6], [7, 8]]
    """
    found = _studies().get(name)
    if found is None:
        raise StudyMissingError(
            f"this figure needs the results of {script}, which this version of pimjax does not ship; in a checkout run "
            f"`python {script}`, then `python benchmarks/pages/figure_data.py`"
        )
    return found
