"""Write docs/circuit-components.md: every component and every sourced constant, from the package's own register.

python benchmarks/pages/circuit_catalogue.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.paths import DOCS
from pimjax.circuit import catalogue_markdown, explain_tile, hermes_scales, hermes_tile

PAGE = DOCS / "circuit-components.md"


def page() -> str:
    """The page's text."""
    lines = [
        "# Circuit components and their constants",
        "",
        "Written by `python benchmarks/pages/circuit_catalogue.py` from the register that `--explain` uses. Costs are per",
        "unit: area [mm2], energy per action [nJ], latency [ns]. [U] marks an unverified assumption; uncertainty studies",
        "sample the ranges.",
        "",
        catalogue_markdown(),
        "## The HERMES tile from its parts",
        "",
        "| part | count | area [mm2] | share | energy per MVM [nJ] | share | time [ns] |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in explain_tile(hermes_tile()):
        lines.append(
            f"| {row.part} | {row.count:g} | {row.area_mm2:.4f} | {row.area_share:.1%} | {row.energy_nj:.3f} | "
            f"{row.energy_share:.1%} | {row.latency_ns:.2f} |"
        )
    lines += ["", "| scale | factor (s = 0.8) | factor (s = 0.4) | reason |", "|---|---|---|---|"]
    for paper, low in zip(hermes_scales(), hermes_scales(0.4), strict=True):
        lines.append(f"| {paper.field} | {paper.factor:.3f} | {low.factor:.3f} | {paper.reason} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page, or with --check exit 1 when it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    if options.check:
        sys.exit(0 if PAGE.exists() and PAGE.read_text() == page() else 1)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page())
    print("wrote", PAGE)


if __name__ == "__main__":
    main()
