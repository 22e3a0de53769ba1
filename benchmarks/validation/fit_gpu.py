"""Fit the numbers of GPU kernels to measured times, and publish errors on rows and devices that were not fitted.

    python benchmarks/validation/fit_gpu.py --data FOLDER [--quick]
    python benchmarks/validation/fit_gpu.py --presets      (configs/hardware/*.yaml from the committed fit)
    python benchmarks/validation/fit_gpu.py --check FOLDER --system h200_sxm    (tables of another device: nothing is fitted)

FOLDER holds the operator tables of the PyPI package aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), selected rows as
Parquet. Fitted per family of kernels, in the logarithm of the time. Writes `benchmarks/results/fit_gpu.json`. `--check`
takes the committed numbers of the device that stands for the system (H200: the H100's kernels, its own data sheet) and
prints the error of every family of which the folder has rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.gpu_families import Family, families, summary
from benchmarks.lib.gpu_modules import link_families, mla_families
from benchmarks.lib.gpu_presets import write_presets
from benchmarks.lib.gpu_tables import FITTED, SYSTEMS
from pimjax.errors import shown

RESULTS = Path(__file__).resolve().parents[1] / "results" / "fit_gpu.json"
#: column or product of columns that says how many tokens a row has
TOKENS = {"experts": ("num_tokens",), "products": ("m",), "attention context": ("batch_size", "isl"), "mla context": ("batch_size", "isl"), "attention generation": ("batch_size",), "mla generation": ("batch_size",)}  # fmt: skip
BINS = (1, 16, 128, 1024, 1 << 40)
FAILS = 25.0
"""Per cent: shapes whose median error is above it are named."""


def committed() -> dict[tuple[str, str], dict[str, float]]:
    """(family, device) -> fitted numbers."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    return {(row["family"], row["system"]): row["numbers"] for row in rows if "numbers" in row}


def tokens_of(family: Family) -> np.ndarray | None:
    """Tokens of every row."""
    for prefix, columns in TOKENS.items():
        if family.name.startswith(prefix):
            return np.prod([family.table[name].to_numpy(float) for name in columns], axis=0)
    return None


def by_tokens(family: Family, error: np.ndarray) -> dict[str, float]:
    """Median error in per cent by tokens of the pass."""
    tokens = tokens_of(family)
    if tokens is None:
        return {}
    found = {}
    for low, high in itertools.pairwise(BINS):
        inside = error[(tokens >= low) & (tokens < high)]
        if len(inside):
            found[f"from {low}"] = round(100 * float(np.median(inside)), 1)
    return found


def fails(family: Family, error: np.ndarray, most: int = 3) -> list[dict[str, Any]]:
    """Shapes with the largest median error, if it is above :data:`FAILS`."""
    table = family.table.assign(error=100 * error)
    found = table.groupby(family.groups).error.agg(["median", "size"])
    worst = found[(found["median"] > FAILS) & (found["size"] >= 5)].nlargest(most, "median")
    return [
        {**dict(zip(family.groups, np.atleast_1d(np.array(shape, dtype=object)).tolist(), strict=True)), "median": round(float(row["median"]), 1)}
        for shape, row in worst.iterrows()
    ]  # fmt: skip


def judged(family: Family, system: str, numbers: dict[str, float], quick: bool) -> dict[str, Any]:
    """A row of the results: what was fitted, and errors."""
    error = family.error(numbers, family.every())
    row: dict[str, Any] = {"family": family.name, "system": system, "numbers": numbers, "own": summary(error)}
    if not quick:
        row["held_out_shapes"] = summary(family.held_out())
        tokens = tokens_of(family)
        if tokens is not None:
            row["more_tokens_held_out"] = summary(family.larger_held_out(tokens))
            row["by_tokens"] = by_tokens(family, error)
        row["fails"] = fails(family, error)
    return row


def of_system(
    folder: Path, system: str, fitted: dict[tuple[str, str], dict[str, float]] | None, only: str = ""
) -> list[tuple[Family, dict[str, float]]]:
    """Families of a device with their numbers: fitted here, or those of `fitted` (families it does not have are left out)."""
    base = SYSTEMS[system][1]
    found, products = [], {}

    def take(each: list[Family]) -> None:
        for family in each:
            needed = family.name.startswith("products") and only.startswith("mla")
            if only not in f"{family.name} {system}" and not needed:
                continue
            if fitted is None:
                found.append((family, family.fit(family.every())))
            elif (family.name, base) in fitted:
                found.append((family, fitted[family.name, base]))

    take(families(folder, (system,)))
    for family, numbers in found:
        if family.name.startswith("products"):
            products[family.name.split()[1]] = {**family.constants, **numbers}
    if not products and fitted is not None:  # the folder has no table of products
        zero = {"row_ns": 0.0, "split_ns": 0.0, "tiles_by_rows": 0.0}
        products = {name.split()[1]: {**zero, **numbers} for (name, of), numbers in fitted.items() if of == base and name.startswith("products")}  # fmt: skip
    if len(products) == 2:
        take(mla_families(folder, (system,), {system: products}))
    take(link_families(folder, (system,)))
    return found


def power_law(folder: Path, system: str, numbers: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Errors on rows whose loads were drawn from a power law, with the assumed generator and the balanced fit, by family."""
    each = families(folder, (system,), "power_law") if (folder / "moe.parquet").is_file() else []
    return {
        family.name: summary(family.error(numbers[family.name], family.every()))
        for family in each
        if family.name.startswith("experts") and family.name in numbers
    }


def across_devices(folder: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Families that both devices have: fitted on one, judged on the other."""
    every = {(family.name, system): family for system in FITTED for family in families(folder, (system,))}
    found = []
    for row in rows:
        for other in FITTED:
            unseen = every.get((row["family"], other))
            if other != row["system"] and unseen is not None and (row["family"], row["system"]) in every:
                # what says which kernels a device has is its own
                errors = summary(unseen.error(row["numbers"], unseen.every()))
                found.append({"family": row["family"], "fitted_on": row["system"], "judged_on": other, "error": errors})
    return found


def check(folder: Path, system: str) -> None:
    """Print the errors of the committed numbers on another device's tables."""
    numbers = committed()
    found = of_system(folder, system, numbers)
    if not found:
        raise SystemExit(f"{shown(folder)}: no table there has rows of {system!r}; the tables are moe.parquet, gemm.parquet, ...")  # fmt: skip
    base = SYSTEMS[system][1]
    drawn = power_law(folder, system, {family.name: one for family, one in found})
    kinds: dict[str, list[np.ndarray]] = {}
    print(f"{system}: data sheet of preset {SYSTEMS[system][0]}, kernels fitted to {base}; median / 90th percentile of the error in per cent")  # fmt: skip
    for family, one in found:
        error = family.error(one, family.every())
        kinds.setdefault(_kind(family.name), []).append(error)
        parts = ", ".join(f"{name} tokens {value:g}" for name, value in by_tokens(family, error).items())
        more = drawn.get(family.name)
        law = f"; power law (generator assumed) {more['median']:g} / {more['p90']:g}" if more else ""
        own = summary(error)
        print(f"  {family.name}: {own['rows']} rows, {own['median']:g} / {own['p90']:g}{law}" + (f" ({parts})" if parts else ""))  # fmt: skip
        for shape in fails(family, error):
            print(f"    fails: {shape}")
    for kind, errors in kinds.items():
        whole = summary(np.concatenate(errors))
        print(f"{kind}: {whole['rows']} rows, {whole['median']:g} / {whole['p90']:g}")
    known = {family.name for family, _ in found}
    _name_left_out(folder, system, known)


def _kind(name: str) -> str:
    first, second, *_ = [*name.split(), ""]
    return f"{first} {second}" if first in ("experts", "products", "attention", "mla") else first


def _name_left_out(folder: Path, system: str, known: set[str]) -> None:
    path = folder / "moe.parquet"
    if path.is_file():
        table = pd.read_parquet(path)
        table = table[(table.system == system) & (table.distribution == "balanced")]
        for (dtype, kernel), part in table.groupby(["moe_dtype", "kernel_source"]):
            if f"experts {dtype} {kernel}" not in known:
                print(f"left out: experts {dtype} {kernel} ({len(part)} rows): {SYSTEMS[system][1]} has no such kernel")


def main() -> None:
    """Fit, judge, write; or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--presets", action="store_true", help="write configs/hardware from the committed fit")
    parser.add_argument(
        "--check", type=Path, metavar="FOLDER", help="errors on another device's tables; needs --system"
    )
    parser.add_argument("--system", choices=sorted(SYSTEMS), help="device of --check, as the tables call it")
    parser.add_argument("--quick", action="store_true", help="no held-out shapes, nothing written")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    if options.presets:
        write_presets(committed())
        return
    if options.check is not None:
        if options.system is None or not options.check.is_dir():
            raise SystemExit("--check: name a folder of operator tables, and the device with --system")
        check(options.check, options.system)
        return
    if options.data is None or not options.data.is_dir():
        raise SystemExit("--data: name the folder of the operator tables; without it there is nothing to fit")
    rows = []
    for system in FITTED:
        found = of_system(options.data, system, None, options.only)
        drawn = {} if options.quick else power_law(options.data, system, {family.name: one for family, one in found})
        for family, numbers in found:
            if options.only not in f"{family.name} {system}":
                continue
            row = judged(family, system, numbers, options.quick)
            if drawn.get(family.name):
                row["power_law_with_assumed_draws"] = drawn[family.name]
            print(json.dumps(row), flush=True)
            rows.append(row)
    if options.quick or options.only:
        return
    rows += across_devices(options.data, rows)
    head = {
        "command": "python benchmarks/validation/fit_gpu.py --data FOLDER",
        "source": "aiconfigurator-core 0.12.0 (NVIDIA, Apache-2.0), selected rows",
    }
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    RESULTS.write_text(json.dumps(head)[:-1] + ', "rows": [\n' + lines + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
