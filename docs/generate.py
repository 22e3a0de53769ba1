"""Pages and tables made from the code and the committed results, written to docs/generated before every build.

`tables/` holds parts that hand-written pages include; nothing here is committed. Numbers inside sentences come from
:mod:`generators.numbers` instead.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from generators import analog, caches, commands, configuration, errors, performance, schedules, serving, studies, worth
from generators.api import api_pages
from generators.results import RESULTS

TABLES: dict[str, Callable[[], str]] = {
    "commands": commands.commands,
    "configuration": configuration.configuration_reference,
    "tuning_configuration": configuration.tuning_reference,
    "reference_errors": errors.reference_errors,
    "multiplexed_errors": errors.multiplexed_errors,
    "summary": performance.summary_table,
    "performance": performance.performance_tables,
    "compared": performance.compared_tables,
    "device_check": performance.device_table,
    "perplexity": studies.perplexity,
    "joint_view": studies.joint_view,
    "aihwkit": analog.aihwkit,
    "digital_parts": analog.digital_parts,
    "digital_orders": analog.digital_orders,
    "noisy_routing": analog.noisy_routing,
    "tile_accuracy": analog.tile_accuracy,
    "tune_proof": studies.tune_proof,
    "tune_choices": studies.tune_choices,
    "tune_case_study": studies.tune_case_study,
    "learned_grouping": studies.learned_grouping,
    "goldens": studies.goldens,
    "schedules_packing": schedules.packing,
    "schedules_policies": schedules.policies,
    "schedules_grouping": schedules.grouping,
    "schedules_copies": schedules.copies,
    "schedules_decode": schedules.decode,
    "caches_gap": caches.gap,
    "caches_headline": caches.headline,
    "caches_sweeps": caches.sweeps,
    "caches_fidelity": caches.fidelity,
    "caches_longest": caches.longest,
    "caches_yardstick": caches.yardstick,
    "macros": studies.macros,
    "serving_steps": serving.steps,
    "serving_speed": serving.speed,
    "serving_vllm": serving.vllm,
    "serving_study": serving.study,
    "serving_sharing": serving.sharing,
    "serving_memory": serving.memory,
    "serving_boards": serving.boards,
    "worth_times": worth.times,
    "worth_alternatives": worth.alternatives,
    "worth_memories": worth.memories,
    "worth_wires": worth.wires,
}


def write_all(folder: Path) -> None:
    """Write every generated page (only where its text changed, so that rebuilds stay incremental)."""
    pages = api_pages() | {f"tables/{name}.md": make() for name, make in TABLES.items()}
    for name, text in pages.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
    for stale in {*folder.rglob("*.md"), *folder.rglob("*.rst")} - {folder / name for name in pages}:
        stale.unlink()
    (folder / "images").mkdir(exist_ok=True)
    for name in studies.FIGURES:
        if (RESULTS / name).is_file():
            shutil.copyfile(RESULTS / name, folder / "images" / name)
