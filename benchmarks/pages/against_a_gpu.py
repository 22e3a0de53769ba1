"""Write docs/against-a-gpu.md from the committed study.

python benchmarks/pages/against_a_gpu.py [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.against_page import PAGE, page_text
from benchmarks.lib.paths import COMMITTED


def main() -> None:
    """Write the page, or with --check exit 1 when it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    text = page_text(json.loads((COMMITTED / "against_a_gpu.json").read_text(encoding="utf-8")))
    if options.check:
        sys.exit(0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text else 1)
    PAGE.write_text(text, encoding="utf-8")
    print("wrote", PAGE)


if __name__ == "__main__":
    main()
