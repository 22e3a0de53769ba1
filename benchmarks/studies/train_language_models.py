"""Train the two small MoE language models on Python's help topics and record their routers on held-out documents.

    python benchmarks/studies/train_language_models.py            # minutes on a CPU; rewrites pimjax/data
    python benchmarks/studies/train_language_models.py --quick    # seconds; writes to a temporary folder

Writes `traces_<router>.npz` and `language_model_<router>.npz` and, beside the other results, the losses and times.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import math
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import jax
import numpy as np

import pimjax.nn.corpus as corpus_module
from benchmarks.lib import harness
from pimjax.nn.language_model import LanguageModelConfig, load_parameters, save_parameters
from pimjax.nn.recording import record_traces
from pimjax.nn.training import TrainingConfig, evaluate, train
from pimjax.resources import data_folder
from pimjax.trace.metadata import TraceMetadata

SCRIPT = "benchmarks/studies/train_language_models.py"
MODELS = {
    "token_choice": LanguageModelConfig(router="token_choice", activation="swiglu", d_expert=20),
    "expert_choice": LanguageModelConfig(router="expert_choice", activation="relu", d_expert=32),
}
#: Lengths of the recorded requests [tokens]; documents of the held-out part take turns.
REQUEST_LENGTHS = tuple(128 + 16 * (index % 9) for index in range(12))
RECORD_SEED = 2026


def held_out_requests(documents: list[np.ndarray]) -> list[np.ndarray]:
    """One window per request length, each inside one held-out document."""
    longest = corpus_module.windows(documents, max(REQUEST_LENGTHS), len(REQUEST_LENGTHS), RECORD_SEED)
    return [row[:length] for row, length in zip(longest, REQUEST_LENGTHS, strict=True)]


def run_model(router: str, training: TrainingConfig, folder: Path, corpus: corpus_module.Corpus) -> dict[str, Any]:
    """Train, save, record one model; returns what goes into the result file."""
    config = MODELS[router]
    begin = time.perf_counter()
    result = train(
        config,
        corpus.train,
        training,
        report_every=max(training.steps // 16, 1),
        progress=lambda step, value: print(f"{router}: step {step}, loss {value:.3f} nat", file=sys.stderr, flush=True),
    )
    seconds = time.perf_counter() - begin
    weights = folder / f"language_model_{router}.npz"
    save_parameters(weights, result.parameters, config)
    stored, _ = load_parameters(weights)
    held_out = corpus_module.windows(corpus.held_out, training.length, 16, RECORD_SEED + 1)
    entropy = {name: evaluate(p, config, held_out) for name, p in (("float32", result.parameters), ("stored", stored))}
    notes = {
        "source": f"{SCRIPT}, held-out topics of pydoc_data.topics",
        "router": router,
        "text_sha256": corpus.sha256,
        "text_python": platform.python_version(),
        "jax_version": jax.__version__,
        "training_seed": training.seed,
        "record_seed": RECORD_SEED,
        "training_steps": training.steps,
        "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "held_out_nat_per_token": entropy["stored"],
        "request_names": np.array([f"{router}-{index:02d}" for index in range(len(REQUEST_LENGTHS))]),
        "prompt_tokens": np.full(len(REQUEST_LENGTHS), 1, np.int32),
    }
    traces = record_traces(
        stored,
        config,
        held_out_requests(corpus.held_out),
        keep_scores="all" if router == "expert_choice" else "chosen",
        metadata=TraceMetadata(notes),
    )
    recorded = folder / f"traces_{router}.npz"
    traces.save(recorded)
    return {
        "config": dataclasses.asdict(config),
        "training": dataclasses.asdict(training),
        "train_s": seconds,
        "history_step_nat": result.history,
        "held_out_nat_per_token": entropy,
        "held_out_perplexity": {name: math.exp(value) for name, value in entropy.items()},
        "parameters": int(sum(value.size for value in result.parameters.values())),
        "weights_bytes": weights.stat().st_size,
        "weights_sha256": notes["weights_sha256"],
        "traces_bytes": recorded.stat().st_size,
        "traces_sha256": hashlib.sha256(recorded.read_bytes()).hexdigest(),
        "experts_per_token": float(np.asarray(traces.choices).sum() / (np.sum(traces.num_tokens) * config.num_layers)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps into a temporary folder; nothing is replaced")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: the package's data)")
    arguments = parser.parse_args()
    training = (
        TrainingConfig(steps=2, batch=1, length=256) if arguments.quick else TrainingConfig(steps=arguments.steps)
    )
    corpus = corpus_module.help_topics()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or (Path(temporary) if arguments.quick else data_folder())
        folder.mkdir(parents=True, exist_ok=True)
        models = {router: run_model(router, training, folder, corpus) for router in MODELS}
    payload = {"text_sha256": corpus.sha256, "models": models}
    name = "train_language_models_quick" if arguments.quick else "train_language_models"
    print(harness.write_json(name, payload))


if __name__ == "__main__":
    main()
