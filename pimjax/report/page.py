"""One self-contained HTML page: the contents as JSON, styles and scripts inlined, the plotting library inlined once."""

from __future__ import annotations

import functools
import importlib.util
import json
import math
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from pimjax.errors import MissingExtraError, visible
from pimjax.report.sections import SECTIONS

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("common.js", "run.js", "schedule.js", "cache.js", "sweep.js", "tune.js", "serving.js", "main.js")
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<link rel="icon" href="data:,">
<style>
$css</style>
</head>
<body>
<header><div><h1>$title</h1><p>$subtitle</p></div></header>
<nav><div>$links</div></nav>
<main>
$sections
<footer>Made by pimjax. This page needs no network: everything is inside it.</footer>
</main>
<script type="application/json" id="report-data">$data</script>
<script>$plotly</script>
<script>
$script</script>
</body>
</html>
""")


def render_page(contents: dict[str, Any]) -> str:
    """The page's HTML.

    Args:
        contents: `title`, `subtitle`, `provenance` (rows), and any of `run`, `schedule`, `cache`, `sweep`, `tune`, `serving`.

    Raises:
        MissingExtraError: plotly is not installed.
    """
    contents = _visible(contents)
    shown = [(name, title, body(contents)) for name, title, body in SECTIONS if contents.get(name)]
    return _PAGE.substitute(
        title=escape(contents["title"]),
        subtitle=escape(contents["subtitle"]),
        css=(_ASSETS / "report.css").read_text(encoding="utf-8"),
        links="".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in shown),
        sections="\n".join(f'<section id="{name}"><h2>{escape(title)}</h2>\n{body}</section>' for name, title, body in shown),
        data=_embedded(contents),
        plotly=plotly_script(),
        script="\n".join((_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS),
    )  # fmt: skip


def _visible(value: Any) -> Any:
    """Contents whose texts hold no control characters, which a page may be shown with in a terminal."""
    if isinstance(value, str):
        return value if value.isprintable() else "\n".join(visible(line) for line in value.split("\n"))
    if isinstance(value, dict):
        return {_visible(key): _visible(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not (value and isinstance(value[0], (int, float))):
        return [_visible(item) for item in value]
    return value


def write_page(contents: dict[str, Any], path: Path) -> Path:
    """Write the page so that it is there whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(render_page(contents), encoding="utf-8")
    partial.replace(path)
    return path


@functools.cache
def plotly_script() -> str:
    """The plotting library's minified source, as the plotly package ships it."""
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        raise MissingExtraError("plotly", "report", "pimjax report")
    return (Path(found.origin).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def _embedded(contents: dict[str, Any]) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(_finite(contents), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
