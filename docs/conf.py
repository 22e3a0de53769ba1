"""Sphinx settings: Markdown by MyST; API and configuration pages, tables and numbers made at build time."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import generate
from generators import api, numbers

import pimjax

generate.write_all(Path(__file__).parent / "generated")

project = "pimjax"
author = "The pimjax developers"
copyright = "2026, the pimjax developers"
version = release = pimjax.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 4
# Every number in the prose: {{ name }}, from benchmarks/results; an unknown name stops the build.
myst_substitutions = numbers.substitutions()
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["generated/tables"]  # included by pages
# Docstrings name a neighbour (:func:`run`) without its module; two modules may have one of that name.
suppress_warnings = ["ref.python"]
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_preserve_defaults = True
html_theme = "furo"
html_title = "pimjax"
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False


def close_examples(app: Any, name: str, source: list[str]) -> None:
    """Examples end with an empty line, without which doctest takes the closing fence for output; readers need none."""
    source[0] = re.sub(r"\n\n```(?=\n|$)", "\n```", source[0])


def setup(app: Any) -> None:
    """Hooks: examples of the pages, descriptions of the API."""
    app.connect("source-read", close_examples)
    app.connect("autodoc-process-docstring", api.code_in_backticks, priority=100)
    app.connect("autodoc-process-docstring", api.add_field_comments)
    app.connect("autodoc-skip-member", api.skip_aliases)
