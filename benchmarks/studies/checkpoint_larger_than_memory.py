"""A checkpoint larger than memory, evaluated a layer at a time: a synthetic one of 8 GB under a limit of 4 GB.

    python benchmarks/studies/checkpoint_larger_than_memory.py             # writes the checkpoint, runs, deletes it

The checkpoint has the shape of a Mixtral with random bfloat16 weights in shards. A child process evaluates it under
`RLIMIT_DATA`, which bounds its private memory (pages of mapped files are not counted: the system drops them when it needs
them), and the peak of its resident memory, mapped pages included, is read behind the run. The same child asked to hold all
layers at once must fail, which shows that the limit bites.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.lib.harness import write_json

CONFIG: dict[str, Any] = {
    "model_type": "mixtral", "vocab_size": 8192, "hidden_size": 2048, "intermediate_size": 3072, "num_attention_heads": 16,
    "num_key_value_heads": 4, "num_local_experts": 8, "num_experts_per_tok": 2, "rope_theta": 1e6, "max_position_embeddings": 4096,
}  # fmt: skip
DTYPE_BYTES = 2


def layer_tensors(layer: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one layer."""
    d, f, keys = CONFIG["hidden_size"], CONFIG["intermediate_size"], 4 * CONFIG["hidden_size"] // 16
    start = f"model.layers.{layer}."
    made: dict[str, tuple[int, ...]] = {
        f"{start}{name}.weight": (d,) for name in ("input_layernorm", "post_attention_layernorm")
    }
    attention = {"q_proj": (d, d), "k_proj": (keys, d), "v_proj": (keys, d), "o_proj": (d, d)}
    made |= {f"{start}self_attn.{name}.weight": shape for name, shape in attention.items()}
    made[f"{start}block_sparse_moe.gate.weight"] = (CONFIG["num_local_experts"], d)
    for expert in range(CONFIG["num_local_experts"]):
        for name, shape in (("w1", (f, d)), ("w3", (f, d)), ("w2", (d, f))):
            made[f"{start}block_sparse_moe.experts.{expert}.{name}.weight"] = shape
    return made


def write_checkpoint(folder: Path, gigabytes: float) -> int:
    """A checkpoint of at least so many 1e9 bytes, a shard for each layer; the number of its bytes."""
    of_layer = DTYPE_BYTES * sum(int(np.prod(shape)) for shape in layer_tensors(0).values())
    layers = int(np.ceil(gigabytes * 1e9 / of_layer))
    outside = {"model.embed_tokens.weight": (8192, 2048), "lm_head.weight": (8192, 2048), "model.norm.weight": (2048,)}
    places, total = {}, 0
    drawn = np.random.default_rng(0).standard_normal(2**24, np.float32) * np.float32(0.02)
    matrices = _bfloat16(drawn)  # every matrix begins elsewhere in these numbers
    for shard, tensors in enumerate([outside, *(layer_tensors(layer) for layer in range(layers))]):
        name, header, begin = f"model-{shard:05d}.safetensors", {}, 0
        for tensor, shape in tensors.items():
            size = DTYPE_BYTES * int(np.prod(shape))
            header[tensor] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, begin + size]}
            begin, places[tensor] = begin + size, name
        text = json.dumps(header).encode()
        with (folder / name).open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            for shape in tensors.values():
                count = int(np.prod(shape))
                part = np.ones(count, np.float32) if len(shape) == 1 else None
                values = np.resize(np.roll(matrices, shard * 7919)[:count], count) if part is None else _bfloat16(part)
                stream.write(values.tobytes())
        total += 8 + len(text) + begin
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": layers}))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return total


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper half of a float32 is its bfloat16."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


CHILD = """
import json, resource, sys, time
limit = int(sys.argv[2])
import numpy as np
import jax
from pimjax.nn import evaluate_checkpoint, load_checkpoint, open_checkpoint
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
if sys.argv[3] == "whole":
    load_checkpoint(sys.argv[1])
    sys.exit("all layers fitted")
windows = np.random.default_rng(1).integers(1, 8192, (2, 129))
begin = time.perf_counter()
found = evaluate_checkpoint(open_checkpoint(sys.argv[1]), windows)
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
print(json.dumps({"perplexity": found.exact_perplexity, "num_tokens": found.num_tokens, "tokens_per_s": found.tokens_per_s,
    "seconds": {**found.seconds, "all": time.perf_counter() - begin}, "peak_resident_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "anonymous_bytes_at_the_end": 1024 * int(status["RssAnon"].split()[0]), "device": jax.devices()[0].device_kind, "jax": jax.__version__}))
"""


def main() -> None:
    """Write, evaluate, delete, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("checkpoint_larger_than_memory.tmp"))
    parser.add_argument("--gigabytes", type=float, default=8.0, help="of the checkpoint")
    parser.add_argument("--limit-gigabytes", type=float, default=4.0, help="of anonymous memory")
    options = parser.parse_args()
    free = shutil.disk_usage(options.folder.parent).free
    if free < 1.5e9 * options.gigabytes:
        sys.exit(f"{free / 1e9:.0f} GB free, {1.5 * options.gigabytes:.0f} needed")
    options.folder.mkdir()
    limit = int(options.limit_gigabytes * 1e9)
    try:
        begin = time.perf_counter()
        stored = write_checkpoint(options.folder, options.gigabytes)
        print(f"wrote {stored / 1e9:.2f} GB in {time.perf_counter() - begin:.0f} s")
        ran = subprocess.run(
            [sys.executable, "-c", CHILD, options.folder, str(limit), "layers"],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            sys.exit(ran.stderr[-3000:])
        row = json.loads(ran.stdout)
        whole = subprocess.run(
            [sys.executable, "-c", CHILD, options.folder, str(limit), "whole"],
            capture_output=True,
            text=True,
            check=False,
        )
        layers = json.loads((options.folder / "config.json").read_text())["num_hidden_layers"]
    finally:
        shutil.rmtree(options.folder)
    row = {"checkpoint_bytes": stored, "layers": layers, "limit_bytes": limit, **row,
           "all_layers_at_once_fail": whole.returncode != 0, "how": (whole.stderr.strip().splitlines() or [""])[-1][:120]}  # fmt: skip
    print(json.dumps(row, indent=1))
    print(f"wrote {write_json('checkpoint_larger_than_memory', row)}")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
