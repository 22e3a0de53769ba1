"""Write the README's table of numbers from the committed results, each beside the command that measured it.

python benchmarks/pages/readme_numbers.py            # rewrites the block between the markers of README.md
python benchmarks/pages/readme_numbers.py --check    # exits 1 if the block is not what the results give
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.headlines import HEADLINES, Headline, document, shown, value_at
from benchmarks.lib.paths import ROOT
from benchmarks.lib.scripts import script_of

BEGIN, END = "<!-- numbers: made by benchmarks/pages/readme_numbers.py -->", "<!-- end of numbers -->"


def main() -> None:
    """Write the block, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 on drift")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    arguments = parser.parse_args()
    text = arguments.readme.read_text(encoding="utf-8")
    wanted = with_block(text, block())
    if arguments.check:
        if wanted != text:
            sys.exit(
                f"{arguments.readme}: its numbers are not those of benchmarks/results: run python benchmarks/pages/readme_numbers.py"
            )
        print(f"{arguments.readme}: numbers are those of benchmarks/results")
        return
    if wanted != text:
        arguments.readme.write_text(wanted, encoding="utf-8")
    print(f"{arguments.readme}: {'written' if wanted != text else 'already up to date'}")


def with_block(text: str, inside: str) -> str:
    """The text with what stands between the markers replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"the README has no markers: put a line {BEGIN} and a line {END} where the table belongs")
    return f"{before}{BEGIN}\n{inside}{END}{after}"


def block() -> str:
    """The table and one line on the machine of every row's result."""
    rows, machines = [], []
    for headline in HEADLINES:
        found = document(headline.file) if headline.readme else None
        value = value_at(found, headline.path) if found else None
        if found is None or value is None:
            continue
        rows.append(_row(headline, value, found))
        machine = machine_of(found)
        if machine not in machines:
            machines.append(machine)
    lines = ["| what | measured | command |", "|---|---:|---|", *rows, "", f"On {'; '.join(machines)}."]
    return "\n".join(lines) + "\n"


def _row(headline: Headline, value: float | int, found: dict[str, Any]) -> str:
    about = headline.about[:1].upper() + headline.about[1:]
    return f"| {about} | {shown(headline, value)} | `python {script_of(headline.file)}` |"


def machine_of(found: dict[str, Any]) -> str:
    """Device, cores and versions of a result."""
    facts = found["environment"]
    device = (
        f"{facts['cpu_cores']} CPU cores" if facts["platform"] == "cpu" else f"{facts['devices']} x {facts['device']}"
    )
    return f"{device}, Python {facts['python']}, jax {facts['jax']}"


if __name__ == "__main__":
    main()
