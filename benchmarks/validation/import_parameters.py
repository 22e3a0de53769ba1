"""Parameters of imported config.json files against Hugging Face transformers on torch's meta device.

    pip install 'pimjax[hf]' && python benchmarks/validation/import_parameters.py [FOLDER]

Three parts: the small configurations of `tests/golden/hf_tiny_configs.json` (one or more for each family, written for
this project), and every `*.json` of FOLDER (default: PIMJAX_HF_CONFIGS, or ../shared/hf-configs);
and seeded changes of the small ones' sizes and flags, where both build the model. Of each file the table also says which
kinds of layers it has, what of them is not costed, and what a short run of the model costs on the default chip. The
result holds names and numbers, no copies of configurations; tests compare the importer with it where transformers is
not installed. Without transformers the table of the folder is printed and nothing is written.
"""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import json
import logging
import os
import random
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lib.harness import environment, write_json
from benchmarks.lib.paths import GOLDEN, ROOT
from pimjax.config.hf import from_hf
from pimjax.config.layer_kinds import LAYER_KINDS
from pimjax.config.loader import load_config
from pimjax.config.parameters import parameter_count
from pimjax.config.uncosted import uncosted_features
from pimjax.errors import PimjaxError
from pimjax.estimation import estimate
from pimjax.imports import read_hf
from pimjax.imports.json_file import read_json

TINY = GOLDEN / "hf_tiny_configs.json"
#: model types whose class in transformers has another type's name
SAME_CLASS = {"kimi_k2": "deepseek_v3"}
#: changed sizes must fit these; flags that several families have
KEPT = {"pad_token_id", "eos_token_id", "topk_group", "n_group", "num_attention_heads", "num_key_value_heads"}
#: the short run that is estimated: a prompt and some tokens with cached keys, values and states
RUN = {"prompt_tokens": 64, "generated_tokens": 4, "kv_cache": True, "trace": {"kind": "zipf", "tokens": 68}}
FLAGS = ("attention_bias", "mlp_bias", "use_bias", "tie_word_embeddings", "use_qk_norm", "lm_head_bias")


def transformers_total(data: dict[str, Any]) -> int:
    """Parameters of the text model that transformers builds of a configuration, without memory for weights."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    data = {key: value for key, value in data.items() if key not in ("quantization_config", "auto_map")}
    kind = data.pop("model_type")
    config = CONFIG_MAPPING[SAME_CLASS.get(kind, kind)].from_dict(data).get_text_config()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(weights.numel() for weights in model.parameters())


def one(data: dict[str, Any], oracle: bool, costed: bool = False) -> dict[str, Any]:
    """What the importer makes of a configuration, what transformers does, and (`costed`) what a short run costs."""
    found: dict[str, Any] = {}
    try:
        model = from_hf(data)
        count = parameter_count(model)
        found |= {
            "family": read_hf(data).family,
            "parameters": count.total,
            "active": count.active,
            "active_without_embedding": count.active_without_embedding,
            "left_out": list(model.left_out),
            "layers": {kind: count for kind in LAYER_KINDS if (count := model.count_layers(kind))},
            "not_costed": uncosted_features(model),
        }
        if costed and not found["not_costed"]:
            run = estimate(load_config({"model": model.model_dump(), "workload": RUN}), fidelity="closed")
            found |= {
                "crossbars": int(run.crossbars),
                "latency_us": round(float(run.latency_ns) / 1e3, 3),
                "energy_uj": round(float(run.energy_nj) / 1e3, 3),
            }
    except PimjaxError as error:
        found["refused"] = str(error)
    if oracle:
        try:
            found["transformers"] = transformers_total(data)
        except Exception as error:  # transformers raises what it likes for a configuration it does not know
            found["transformers_failed"] = f"{type(error).__name__}: {str(error)[:120]}"
    if "parameters" in found and "transformers" in found:
        found["relative_difference"] = found["parameters"] / found["transformers"] - 1
    return found


def of_file(path: Path, oracle: bool) -> dict[str, Any]:
    """The same of a file, which may hold anything."""
    try:
        data = read_json(path)
    except PimjaxError as error:
        return {"refused": str(error)}
    return one(data, oracle, costed=True)


def changed(data: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A small configuration with some sizes and flags changed."""
    data = copy.deepcopy(data)
    for key in chance.sample(list(data), min(len(data), chance.randint(1, 4))):
        value = data[key]
        if isinstance(value, bool):
            data[key] = not value
        elif isinstance(value, int) and key not in KEPT:
            data[key] = max(0, value + chance.choice([-1, 1, 2, 3]))
    return data | {key: True for key in FLAGS if chance.random() < 0.08}


def compare_changed(tiny: dict[str, dict[str, Any]], count: int) -> dict[str, Any]:
    """How many changed configurations have equal parameters, of those that both the importer and transformers build."""
    chance, compared, unequal = random.Random(0), 0, []
    for _ in range(count):
        name = chance.choice(list(tiny))
        row = one(changed(tiny[name], chance), oracle=True)
        if "relative_difference" in row:
            compared += 1
            if row["relative_difference"]:
                unequal.append(name)
    return {"tried": count, "compared": compared, "equal": compared - len(unequal), "unequal": unequal}


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    """Lines for each file: name, family, parameters, what transformers counts; its layers, what a short run costs."""
    for name, row in rows.items():
        if "refused" in row:
            print(f"{name:45} {'refused':15} {row['refused'].partition(': ')[2]}")
            continue
        numbers = f"{row['parameters'] / 1e9:9.3f} G, active {row['active'] / 1e9:7.3f} G"
        numbers += f" ({row['active_without_embedding'] / 1e9:7.3f} G without the input embedding)"
        same = {0.0: "equal to transformers"}.get(row.get("relative_difference", -1.0), "")
        print(f"{name:45} {row['family']:15} imported: {numbers} {same}")
        kinds = ", ".join(f"{count} {kind}" for kind, count in row["layers"].items())
        costed = "not costed: " + "; ".join(row["not_costed"])
        if "crossbars" in row:
            costed = f"costed: {row['crossbars']:,} crossbars, {row['latency_us']:,.1f} us, {row['energy_uj']:,.1f} uJ"
        print(f"{'':45} {'':15} layers: {kinds}; {costed}")


def main() -> None:
    """Compare, print, write `results/import_parameters.json`."""
    logging.disable(logging.WARNING)
    oracle = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
    default = os.environ.get("PIMJAX_HF_CONFIGS", str(ROOT.parent / "shared" / "hf-configs"))
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else default)
    tiny = {name: one(data, oracle) for name, data in json.loads(TINY.read_text()).items()}
    found = sorted([*folder.glob("*.json"), *folder.glob("*/config.json")])
    files = {str(path.relative_to(folder)): of_file(path, oracle) for path in found}
    print_table(files)
    done = [row for row in files.values() if "crossbars" in row]
    print(f"of {len(files)} files {sum('refused' not in row for row in files.values())} import, {len(done)} are costed")
    rows = {**tiny, **files}
    wrong = {name: row for name, row in rows.items() if row.get("relative_difference", 0) != 0}
    print(f"{len(tiny)} small configurations, {len(files)} files; other than transformers: {wrong or 'none'}")
    print(
        "not built by transformers:",
        {n: r["transformers_failed"] for n, r in rows.items() if "transformers_failed" in r},
    )
    print("small configurations refused:", {n: r["refused"] for n, r in tiny.items() if "refused" in r})
    if oracle:
        versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
        counted = {name: row.get("transformers") for name, row in tiny.items()}
        changes = compare_changed(json.loads(TINY.read_text()), 2000)
        print("changed configurations:", changes)
        result = {"environment": environment() | versions, "tiny": counted, "changed": changes, "files": files}
        write_json("import_parameters", result)


if __name__ == "__main__":
    main()
