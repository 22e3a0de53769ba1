"""Every public function with wrong arguments: one sentence of a PimjaxError, soon, never another exception.

`pimjax.trace` has a table of its own in test_trace_hostile.py.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pimjax
from pimjax import cache, chips, circuit, event, nn, numerics, runs, schedule, serving, sweep, system, tuning
from pimjax.cache.capacity import capacity_law
from pimjax.config.system import SystemSection
from pimjax.errors import PimjaxError, shown
from pimjax.trace import RoutingTrace

LONG = "x" * 400_000
THING = object()
WHOLES = [0, -1, 1.5, "2", None, True, np.nan, 2**31, 2**70, [1], THING, np.float32(3)]
COUNTS = [-1, 1.5, "2", True, np.nan, 2**70, [1], THING]  # where 0 and a default of None are right
SEEDS = [-1, 1.5, "2", 2**64, [1], THING, np.nan, {}]
NUMBERS = ["a", THING, -2.0, np.nan, [[1], [1, 2]], {}, b"1", -np.inf, True, "1"]
FRACTIONS = [*NUMBERS, 1.5]
WORDS = [3, "no such", [], {}, b"closed", THING, LONG, np.zeros(3)]
FLAGS = [3, "yes", [], {}, THING, 0.5, np.zeros(2), b"t"]
FUNCTIONS = [3, "f", [], {}, True, 0.5, b"f", np.zeros(2)]
PATHS = [3, b"bytes\xff", "a\0b", "x" * 5000, "/" + "d/" * 3000, THING, ["a"], "", 1.5]
KEYS = [0, "key", np.zeros(3), jnp.zeros(2), [1], THING, {}, 1.5]
CONFIGS = [None, 3, "paper_reference", {}, THING, [], (), np.zeros(3), b"x"]
OBJECTS = [None, 3, "name", {}, THING, [], 1.5, np.zeros(3), b"x"]
CHOICES = [None, "a", [[1], [1, 0]], np.zeros(3), np.zeros((0, 4)), THING, {}, [[2, 0, 0, 0]], [["a", "b"]], 3]
GROUPS = [None, "a", [[0], [0, 1]], [0, 1], [0.5, 1, 0, 1], [0, 1, 2, 9], [-2, 0, 1, 1], THING, {}, 2**70]
LOADS = [None, "a", [[1], [1, 2]], [-1, 2, 3, 4], [np.nan, 1, 1, 1], [np.inf] * 4, [1e308] * 4, THING, {}, [], 3]
SLOTS = [0, -1, 1.5, "2", True, 2**31, 2**31 - 1, 2**70, [1], THING]
SCORES = [
    "abc",
    [[1, 2], [1]],
    np.zeros(3),
    np.zeros((0, 2)),
    THING,
    {},
    [["a", "b"]],
    np.full((3, 2), np.nan),
    3,
    None,
]

CONFIG = pimjax.load_config("paper_multiplexed", {"workload.prompt_tokens": 4})
REFERENCE = pimjax.reference_config(start_len=3)
DESIGN, CAPACITY = pimjax.build(REFERENCE)
TRACE = RoutingTrace.from_expert_ids([[0, 1, 2, 3], [4, 5, 6, 7]], 16)
ROUTING = runs.run_routing(CONFIG, TRACE)
COUNTED = runs.inputs_from_routing(CONFIG, ROUTING, fidelity="closed", capacity=pimjax.build(CONFIG)[1])
LAW = capacity_law(2, 1, max_tokens=8, prompt_tokens=2)
STATE = cache.gate_output_init("threshold", 2, size=4)
KV = cache.kv_init((2,), (3,), rows=4)
TILE = circuit.TileParameters()
WRITE = circuit.crossbar_write()
JOBS = event.JobGraphBuilder(("pass",), [event.exclusive("group", 2)])
JOBS.add("pass", [1.0, 2.0], [0, 1])
GRAPH = JOBS.build()
LOG = event.run(GRAPH)
BUFFERS = event.Buffers(np.array([1.0]), np.array([0]), np.array([0, 1]), np.array([1]))
SECTION = SystemSection()
SYSTEM = SECTION.arrays()
LINKS = system.make_links(2, SECTION)
PASS_SHAPE = system.PassShape(8, 8, 4, 2, 4, 8, 2, 2, 4, 1, 8, 2, 2, 100, 20, 0.8)
LINEAR_SHAPE = system.LinearShape(2, 4, 8, 4, 4, 4, 8, 0.6, 100)
PHASE = {"home": 0, "expert_ns": 1.0, "token_bytes": 1, "result_bytes": 1}
NOT_POSITIVE = [*NUMBERS, 0]
CROSSBAR = numerics.Crossbar.create(rows=4)
WEIGHTS = np.zeros((3, 4), np.float32)
MODEL = nn.LanguageModelConfig(num_layers=1, d_model=8, num_heads=1, d_expert=4, num_experts=2, top_k=1, vocabulary=4)
PARAMETERS = {name: jnp.ones(shape) for name, shape in MODEL.shapes().items()}
ANALOG = nn.AnalogParts(jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.ones((1, 1, 2)), jnp.ones(1))
CHIP_KEYS = jax.random.split(jax.random.key(0), 2)
SWEEP = sweep.load_sweep({"axes": [{"field": "hardware.mvm_latency_ns", "values": [100, 130]}]})
TUNE = {"parameters": {"hardware.num_digital_units": {"kind": "integer", "low": 1, "high": 4}}}
SIZED = {"chip_model": "multiplexed", "workload": {"prompt_tokens": 4}}
TUNE_CONFIG = tuning.load_tune_config(TUNE)
REQUESTS = serving.make_requests([0.0, 5.0], 4, 2)
OPENED = nn.open_checkpoint(Path(__file__).parent / "golden" / "checkpoints" / "gpt_oss")
STEP_TABLE = serving.make_step_table(tokens=[10.0])
SERVED = serving.simulate(REQUESTS, serving.Server(), STEP_TABLE, compiled=False)
SERVE = {"requests": REQUESTS, "server": serving.Server(), "table": STEP_TABLE}
SOUGHT = {
    "grid": lambda: sampled(),
    "requests": REQUESTS,
    "server": serving.Server(),
    "ttft_slo_ns": 1e9,
    "tpot_slo_ns": 1e9,
}
PARTS = {
    "bits": NUMBERS,
    "node_nm": [*NUMBERS, 0],
    "vdd_v": [*NUMBERS, 0],
    "constants": [3, "a", {"no such": 1}, {3: 1}, [1]],
}


@functools.cache
def stored() -> Any:
    return numerics.program(jnp.asarray(WEIGHTS), CROSSBAR)


@functools.cache
def sampled() -> Any:
    return serving.StepGrid(serving.ChipSteps(CONFIG, longest_context=16), max_num_seqs=2)


@functools.cache
def decoded() -> Any:
    return nn.decoder_prefill(PARAMETERS, jnp.array([1, 2]), MODEL, num_tokens=2, max_tokens=4)[0]


SCHEDULED: tuple[dict, dict] = (
    {"choices": np.eye(4, dtype=bool), "group_of_expert": [0, 0, 1, 1], "policy": "compact"},
    {"choices": CHOICES, "group_of_expert": GROUPS, "policy": WORDS, "num_tokens": [-1, 9, 1.5, "2", [1], THING],
     "num_groups": SLOTS, "max_slots": SLOTS, "max_open_tokens": [1, 0, "a"]},
)  # fmt: skip
WITHOUT_LIMIT = (SCHEDULED[0], {key: value for key, value in SCHEDULED[1].items() if key != "max_open_tokens"})
GATES = dict.fromkeys(("num_experts", "capacity", "largest_capacity"), NUMBERS)

#: Function -> arguments that are right (values that are functions of nothing are called), and wrong values, one at a time.
CALLS: dict[str, tuple[dict, dict]] = {
    # estimates
    "load_config": ({"path_or_preset": "paper_reference"},
        {"path_or_preset": [None, 3, *PATHS, LONG, {"model": 3}, {3: 4}, {"hardware": {"mvm_latency_ns": 2**70}}, {"model": {"num_layers": 10**8}}],
         "overrides": [3, "a", {3: 4}, {"hardware": 3}, {"hardware.mvm_latency_ns": "a"}, {"hardware.no": 1}, {"": 1}, [1], {"name.a": 3}, {"hardware.mvm_latency_ns": np.zeros(3)}]}),
    "reference_config": ({}, {"dpus": [*WHOLES[:3], "2", THING, 2**70, [1]], "start_len": ["a", -1, 2**70], "nonsense": [1], "nhead": ["a", 0], "go": [3]}),
    "build": ({}, {"config": [*CONFIGS, [CONFIG, 3], [CONFIG, REFERENCE]]}),
    "estimate": ({"config": REFERENCE, "fidelity": "closed"},
        {"config": CONFIGS, "trace": [3, "a", {}, THING], "fidelity": WORDS, "seed": SEEDS, "accuracy": WORDS, "timeline": [*PATHS, "a.json"],
         "expert_choices": [5, "a", [[1]], [5], THING, [[0, 0, 0, 0]] * 3, [["a"] * 4] * 3, [[2**70] * 4] * 3, [[1.5] * 4] * 3]}),
    "estimate_kernel": ({"design": DESIGN, "schedule": None, "capacity": CAPACITY, "chip_model": "reference", "fidelity": "closed"},
        {"design": OBJECTS, "capacity": OBJECTS, "chip_model": WORDS, "fidelity": [*WORDS, "event"]}),
    "estimate_batch": ({"configs": [REFERENCE]},
        {"configs": [*CONFIGS, [3], DESIGN.replace(origin=type(DESIGN.origin)()), [REFERENCE, 3]], "traces": [3, "a", [3], THING, {}, []], "fidelity": [*WORDS, "event"], "pairing": WORDS, "precision": WORDS,
         "mesh": [3, "a", THING, jax.make_mesh((1,), ("X",))], "fields": [3, "latency_ns", ["no such"], [3], {}, THING], "config": [3, REFERENCE, "a"], "tile_points": [0, -1, 1.5, "a", 2**70, THING, [1]],
         "timings": [3, {}, THING]}),
    "estimate_generation": ({"config": pimjax.reference_config(start_len=3, new_length=4)},
        {"config": [*CONFIGS, REFERENCE], "trace": [3, "a"], "fidelity": [*WORDS, "event"], "caches": [3, "kv", ["no such"], [3], THING], "group_sizes": [3, "a", [0], [1.5], [2**70], THING, [3, "a"]],
         "batch_sizes": [3, [0], [-1], [1.5], [2**70]], "gpus": [3, ["no such"], "h100", [3], THING], "pieces": WHOLES}),
    "uncertainty": ({"config": REFERENCE, "fidelity": "closed", "samples": 4},
        {"config": CONFIGS, "fidelity": [*WORDS, "event"], "samples": [*WHOLES, 1], "seed": SEEDS, "level": [*FRACTIONS, 0.0], "top": COUNTS}),
    "batch.make_mesh": ({}, {"devices": [3, "a", [], [3], THING, {}, ["cpu"], np.zeros(3)]}),
    # serving
    "serving.make_requests": ({"arrival_ns": [0.0], "prompt_tokens": 1, "output_tokens": 1},
        {"arrival_ns": [None, "a", [], [-1.0], [np.nan], [1.0, 0.0], [[1.0]], {}, THING, [2e18]], "prompt_tokens": [0, -1, 1.5, "a", None, [1, 2], 2**40, THING], "output_tokens": [0, [0], {}, [[1]]], "routing": ["a", [-1], [0, 1], 1.5, THING]}),
    "serving.generate_requests": ({"arrivals": "poisson", "count": 3, "rate_per_s": 1.0},
        {"arrivals": [None, *WORDS], "count": [*WHOLES[:4], 2**31 - 1, THING], "rate_per_s": [0, -1, "a", np.nan, None, 1e12, THING], "prompt_tokens": [0, "a", [], [0], [1.5], THING], "output_tokens": [0, {}, [-1]], "seed": SEEDS, "variation": [0, "a", np.inf], "burst": WHOLES[:4]}),
    "serving.load_requests": ({"path": "missing.csv"}, {"path": [None, *PATHS, "missing.csv"], "format": [None, *WORDS], "drop_empty": FLAGS}),
    "serving.Server": ({}, {"max_num_seqs": WHOLES, "max_num_batched_tokens": WHOLES[:8], "kv_tokens": [0, -1, 1.5, "a", True], "block_tokens": WHOLES[:5], "chunked_prefill": FLAGS, "ranks": WHOLES[:5], "lockstep": FLAGS, "balance": [None, *WORDS]}),
    "serving.make_step_table": ({}, {"tokens": ["a", [1.0, 2.0], [[1.0]], [np.nan], THING, [[1], [1, 2]]], "tokens_grid": ["a", [], [1.0, 0.0], [np.inf], [[0.0]]], "no such": [1], "mean_peak": [[1.0, 2.0]]}),
    "serving.simulate": (SERVE, {"requests": OBJECTS, "server": OBJECTS, "table": OBJECTS, "loads": [3, "a", {}], "log": FLAGS, "compiled": [3, "a", {}]}),
    "serving.simulate_batch": (SERVE, {"requests": [None, 3, "a", {}, [], [3], [REQUESTS, serving.make_requests([0.0], 1, 1)]], "server": OBJECTS, "table": OBJECTS, "loads": [3, "a"], "engine": [None, *WORDS], "threads": [0, "a", 1.5]}),
    "serving.simulate_exactly": ({"requests": REQUESTS, "server": serving.Server(), "cost": serving.TableSteps(STEP_TABLE)}, {"requests": OBJECTS, "server": OBJECTS, "cost": OBJECTS}),
    "serving.request_times": ({"run": SERVED}, {"run": OBJECTS}),
    "serving.summary": ({"run": SERVED}, {"run": OBJECTS, "ttft_slo_ns": [0, -1.0, "a", np.nan, [1.0]], "tpot_slo_ns": [0, "a"], "idle_power_w": [-1, "a", None, np.nan], "area_mm2": [0, "a", np.inf]}),
    "serving.timeline": ({"run": SERVED}, {"run": OBJECTS, "points": WHOLES}),
    "serving.slo_capacity": ({**SERVE, "ttft_slo_ns": 1e9, "tpot_slo_ns": 1e9},
        {"requests": [*OBJECTS, serving.make_requests([0.0], 1, 1)], "server": OBJECTS, "table": OBJECTS, "ttft_slo_ns": [0, "a", None, np.nan], "tpot_slo_ns": [0, -1], "quantile": [-0.1, 1.5, "a"], "low_per_s": [0, "a", 1e6], "high_per_s": [0, 1e-3], "rounds": WHOLES[:5], "points": [1, *WHOLES[:5]], "engine": WORDS, "loads": [3]}),
    "serving.ChipSteps": ({"config": CONFIG, "longest_context": 16}, {"config": OBJECTS, "trace": [3, "a", {}, THING], "longest_context": [1, *WHOLES[:8]], "mixed_attention": [-1, "a", None, np.nan, 1e3], "components": [3, "a", [], [3], ["no such"], ["attention"]]}),
    "serving.StepGrid": ({"steps": sampled, "max_num_seqs": 2}, {"steps": OBJECTS, "max_num_seqs": WHOLES[:8], "samples": [1, *WHOLES[:5]], "seed": SEEDS}),
    "serving.serving_gradients": ({"grid": sampled, "requests": REQUESTS, "server": serving.Server(), "keys": ["mvm_latency_ns"]},
        {"grid": OBJECTS, "requests": OBJECTS, "server": [*OBJECTS, serving.Server(ranks=2)], "keys": [3, "a", [], [3], ["no such"], ["out_links"]], "routed": FLAGS}),
    "serving.serving_sweep": ({**SOUGHT, "hardware": {"mvm_latency_ns": [130.0]}},
        {"grid": OBJECTS, "requests": OBJECTS, "server": OBJECTS, "hardware": [*OBJECTS, {"no such": [1.0]}, {"mvm_latency_ns": ["a"]}], "ttft_slo_ns": [0, "a", None], "tpot_slo_ns": [-1, np.nan], "routed": FLAGS}),
    "serving.tune_serving": ({**SOUGHT, "bounds": {"mvm_latency_ns": (60.0, 240.0)}, "rounds": 1, "chips": 4},
        {"grid": OBJECTS, "requests": OBJECTS, "server": OBJECTS, "bounds": [*OBJECTS, {"no such": (1.0, 2.0)}, {3: (1.0, 2.0)}, {"mvm_latency_ns": ("a", 2.0)}, {"mvm_latency_ns": (2.0, 1.0)}], "objective": [None, *WORDS], "rounds": WHOLES[:5], "chips": [1, *WHOLES[:5]], "seed": SEEDS, "ttft_slo_ns": [0], "tpot_slo_ns": ["a"], "routed": FLAGS}),
    # caches
    "cache.capacity_law": ({"num_experts": 2, "top_k": 1, "max_tokens": 8},
        {"num_experts": WHOLES, "top_k": [*WHOLES, 3], "max_tokens": WHOLES, "prompt_tokens": [*WHOLES, 9], "rule": WORDS}),
    "cache.capacity_at": ({"law": LAW, "num_tokens": 3}, {"law": OBJECTS, "num_tokens": [None, *NUMBERS]}),
    "cache.gate_output_init": ({"variant": "full", "num_experts": 2, "size": 4}, {"variant": WORDS, "num_experts": WHOLES, "size": WHOLES}),
    "cache.gate_output_decode": ({"state": STATE, "scores": np.zeros((3, 2), np.float32), "law": LAW},
        {"state": OBJECTS, "scores": [*SCORES, np.zeros((3, 5))], "law": OBJECTS, "widths": [3, "a", {}], "is_token": [[1], "a", THING, [2, 1, 0], np.ones((3, 3), bool)], "revise": ["a", [1], 3, THING]}),
    "cache.gate_output_request": ({"gate_scores": np.zeros((3, 2), np.float32), "law": LAW, "steps": 1, "size": 4},
        {"gate_scores": SCORES, "law": OBJECTS, "widths": [3, "a"], "steps": COUNTS, "size": WHOLES, "variant": WORDS, "num_tokens": [-1, 1.5, "a", [1]], "revise": ["a", [1], 3]}),
    "cache.prompt_admissions": ({"gate_scores": np.zeros((3, 2), np.float32), "law": LAW}, {"gate_scores": SCORES, "law": OBJECTS}),
    "cache.kv_init": ({"first_shape": (2,), "second_shape": (2,), "rows": 3},
        {"first_shape": [3, "a", (), (0,), (1.5,), (2**70,), THING, None], "second_shape": [3, (), (-1,)], "rows": WHOLES, "quantised": FLAGS, "dtype": [3, "a", int, None, THING]}),
    "cache.kv_append": ({"cache": KV, "first": np.zeros(2), "second": np.zeros(3)},
        {"cache": OBJECTS, "first": [None, "a", np.zeros(3), np.zeros((2, 2)), [[1], [1, 2]], THING, 3], "second": [None, np.zeros(2), {}], "is_token": ["a", [1], 3, THING]}),
    "cache.kv_prefill": ({"cache": KV, "first": np.zeros((3, 2)), "second": np.zeros((3, 3)), "num_tokens": 2},
        {"cache": OBJECTS, "first": [None, "a", np.zeros(2), np.zeros((3, 5)), np.zeros((0, 2)), THING], "second": [None, np.zeros((3, 2))], "num_tokens": [-1, 1.5, "a", [1], None, THING]}),
    "cache.kv_read": ({"cache": KV}, {"cache": OBJECTS, "dtype": [3, "a", int, None, THING]}),
    "cache.kv_token_bytes": ({"model": DESIGN.model, "workload": DESIGN.workload}, {"model": OBJECTS, "workload": OBJECTS}),
    "cache.gate_output_prefill": ({"variant": 1, "widths": cache.CacheWidths(), "prompt_tokens": 3, "num_experts": 2, "capacity": 1, "largest_capacity": 2},
        {"variant": [*NUMBERS, 9], "widths": OBJECTS, "prompt_tokens": NUMBERS, **GATES}),
    "cache.gate_output_step": ({"variant": 1, "widths": cache.CacheWidths(), "num_tokens": 3, "num_experts": 2, "admitted": 1, "taken": 1, "capacity": 1, "largest_capacity": 2},
        {"variant": [*NUMBERS, 9], "widths": OBJECTS, "num_tokens": NUMBERS, "admitted": NUMBERS, "taken": NUMBERS, **GATES}),
    "cache.visible_tokens": ({"num_tokens": 3}, {"num_tokens": NUMBERS, "window": NUMBERS}),
    "cache.hit_rate_curve": ({"lines": [1, 2], "is_write": [False, True], "capacities": [1, 2], "places": 2},
        {"lines": ["a", [1.5, 2], [[1], [1, 2]], None, [-2, 1], [1], 3], "is_write": ["a", [2, 3], None, [1], THING], "capacities": ["a", [-1], [1.5], [], None, 3], "policy": [-1, 2, "lru", 1.5, [0, 1, 0]], "places": WHOLES}),
    "cache.hierarchy_traffic": ({"lines": [1, 2], "is_write": [False, True], "capacity": 1, "policy": 0, "places": 2},
        {"lines": ["a", [1.5, 2], None, [1]], "is_write": ["a", [2, 3]], "capacity": [-1, 1.5, "a", [1], None], "policy": [-1, 2, "lru", None], "places": WHOLES}),
    "cache.sram_run": ({"lines": [1, 2], "is_write": [False, True], "capacity": 1, "policy": 0, "places": 2},
        {"lines": ["a", [1.5, 2], None, [1]], "is_write": ["a", [2, 3]], "capacity": [-1, 1.5, "a", [1], None], "policy": [-1, 2, "lru", None], "places": WHOLES}),
    # chips
    "chips.reads": ({"keys": "mvm_latency_ns"}, {"keys": [None, 3, "", [], {}, THING, b"x", 1.5]}),
    "chips.setting": ({"key": "plan.tile"}, {"key": [None, 3, "", [], {}, THING, b"x", 1.5]}),
    "chips.without_effect": ({}, {"keys": [3, "a", [3], [""], THING, 1.5, [None], b"x"]}),
    "CHIPS.register": ({}, {"chip": [*OBJECTS, chips.Chip()]}),
    "CHIPS.__getitem__": ({}, {"name": [*WORDS, None]}),
    # circuits
    "circuit.accumulator_strip": ({}, {"lanes": [*NUMBERS, 0], **{key: PARTS[key] for key in ("node_nm", "vdd_v", "constants")}}),
    "circuit.adc": ({"kind": 2, "bits": 8, "rows": 256, "cycle_bits": 8, "rate_gsps": 0.01, "node_nm": 14, "vdd_v": 0.8, "settling_ns": 1.0},
        {"kind": NUMBERS, "rows": NUMBERS, "cycle_bits": NUMBERS, "rate_gsps": [*NUMBERS, 0], "settling_ns": NUMBERS, "exact": FLAGS, **PARTS}),
    "circuit.adc_hermes_cco": ({"bits": 8, "input_bits": 8}, {"input_bits": NUMBERS, "exact": FLAGS, **PARTS}),
    "circuit.adc_survey": ({"bits": 8, "rate_gsps": 0.01, "node_nm": 14}, {"rate_gsps": NUMBERS, "exact": FLAGS, **PARTS}),
    "circuit.adc_table": ({"index": 0}, {"index": NUMBERS}),
    "circuit.adc_zigzag": ({"bits": 8, "rows": 256, "vdd_v": 0.8}, {"rows": NUMBERS, "bits": NUMBERS, "vdd_v": NUMBERS}),
    "circuit.adder_tree": ({"rows": 8, "bits": 8, "node_nm": 14, "vdd_v": 0.8}, {"rows": NUMBERS, "activity": FRACTIONS, **PARTS}),
    "circuit.bit_multiplier": ({"node_nm": 14, "vdd_v": 0.8}, {"node_nm": NUMBERS, "activity": FRACTIONS, "constants": PARTS["constants"]}),
    "circuit.sram_write": ({}, {"rows": NUMBERS, "cols": NUMBERS, "bits": NUMBERS, "node_nm": NUMBERS, "constants": PARTS["constants"]}),
    "circuit.analog_mux": ({"ways": 2, "adc_bits": 8}, {"ways": NUMBERS, "adc_bits": NUMBERS, "vdd_v": NUMBERS}),
    "circuit.cell": ({"kind": 0, "cell_bits": 1, "node_nm": 14, "vdd_v": 0.8, "read_ns": 1.0, "activity": 0.5},
        {"kind": NUMBERS, "cell_bits": NUMBERS, "read_ns": NUMBERS, "activity": FRACTIONS, "node_nm": NUMBERS}),
    "circuit.checked_tile": ({"parameters": TILE}, {"parameters": [*OBJECTS, TILE.replace(rows=-1.0), TILE.replace(rows="a"), TILE.replace(rows=np.zeros(3))]}),
    "circuit.column_accumulation_ns": ({"row_blocks": 2, "columns": 8}, {"row_blocks": NUMBERS, "columns": NUMBERS, "lanes": NUMBERS, "clock_ghz": NUMBERS, "fill_ns": NUMBERS}),
    "circuit.crossbar_write": ({}, {"rows": NUMBERS, "cols": NUMBERS, "mvm_latency_ns": NUMBERS, "devices_per_cell": NUMBERS, "constants": PARTS["constants"]}),
    "circuit.dac_zigzag": ({"bits": 8, "vdd_v": 0.8}, {"bits": NUMBERS, "vdd_v": NUMBERS, "exact": FLAGS}),
    "circuit.expert_swap": ({"experts": 2, "crossbars_per_expert": 3, "write": WRITE}, {"experts": NUMBERS, "crossbars_per_expert": NUMBERS, "write": OBJECTS, "dram_bytes_per_ns": NUMBERS}),
    "circuit.model_load": ({"crossbars": 3, "write": WRITE, "parallel_crossbars": 2, "weight_bytes": 8}, {"crossbars": NUMBERS, "write": OBJECTS, "weight_bytes": NUMBERS}),
    "circuit.explain_tile": ({"parameters": TILE}, {"parameters": OBJECTS}),
    "circuit.hermes_scales": ({}, {"shareable": FRACTIONS}),
    "circuit.hermes_tile": ({}, {"shareable": FRACTIONS}),
    "circuit.outside_validity": ({"parameters": TILE}, {"parameters": OBJECTS}),
    "circuit.parametric_tile": ({"parameters": TILE}, {"parameters": OBJECTS, "exact": FLAGS, "constants": PARTS["constants"]}),
    "circuit.predict_macro": ({}, {"macro": OBJECTS}),
    "circuit.propagate_uncertainty": ({"function": lambda constants: {"x": 1.0}, "key": jax.random.key(0), "num_samples": 4},
        {"function": FUNCTIONS, "key": KEYS, "num_samples": [*WHOLES, 1], "level": FRACTIONS, "top": COUNTS}),
    "circuit.pulse_generator": ({"bits": 8, "node_nm": 14}, {"bits": NUMBERS, "node_nm": NUMBERS}),
    "circuit.refuse_impossible": ({"parameters": TILE, "cost": None}, {"parameters": OBJECTS, "cost": OBJECTS}),
    "circuit.tile_violations": ({"parameters": TILE, "cost": None}, {"parameters": OBJECTS, "cost": OBJECTS}),
    "circuit.register": ({"bits": 8, "node_nm": 14, "vdd_v": 0.8}, {**PARTS}),
    "circuit.row_driver": ({"cycle_bits": 8, "node_nm": 14, "vdd_v": 0.8}, {"cycle_bits": NUMBERS, "activity": FRACTIONS, "input_kind": NUMBERS}),
    "circuit.sample_hold": ({"adc_bits": 8, "vdd_v": 0.8}, {"adc_bits": NUMBERS, "vdd_v": NUMBERS, "exact": FLAGS}),
    "circuit.shift_add": ({"bits": 8, "node_nm": 14, "vdd_v": 0.8}, {**PARTS}),
    "circuit.zigzag_array": ({}, {"array": OBJECTS}),
    # events
    "event.exclusive": ({"name": "a"}, {"name": [None, 3, "", [], THING], "count": COUNTS}),
    "event.pool": ({"name": "a", "servers": 1}, {"name": [None, 3, "", []], "servers": WHOLES}),
    "event.unlimited": ({}, {"name": [None, 3, "", [], THING, {}, b"x", 1.5]}),
    "event.live_bytes": ({"log": LOG, "buffers": BUFFERS}, {"log": OBJECTS, "buffers": OBJECTS}),
    "event.peak_bytes": ({"log": LOG, "buffers": BUFFERS}, {"log": OBJECTS, "buffers": OBJECTS}),
    "event.require_capacity": ({}, {"jobs": [None, "a", -1, np.nan, [1], THING, {}, 10**8, 2**70]}),
    "event.run": ({"jobs": GRAPH}, {"jobs": OBJECTS, "arithmetic": WORDS, "tie_tolerance_ns": NUMBERS, "compiled": FLAGS}),
    "event.JobGraphBuilder": ({"kinds": ("a",), "resources": [event.pool("p", 1)]}, {"kinds": [None, 3, "a", [3], THING], "resources": [None, 3, "a", [3], ["p"]]}),
    "JOBS.resource": ({"name": "group"}, {"name": [None, 3, "no such", [], THING], "index": [-1, 2, 1.5, "a", THING, [0, 9]]}),
    "JOBS.add": ({"kind": "pass", "duration": 1.0, "resource": 0},
        {"kind": WORDS, "duration": NUMBERS, "resource": ["a", 1.5, None, [0, 1, 2, [3]]], "token": ["a", 1.5, 2**70], "sequence": ["a", 1.5, np.zeros((2, 3), int)[:0].reshape(0, 3).T.shape and "b"]}),
    "JOBS.connect": ({"producers": 0, "consumers": 1}, {"producers": ["a", 1.5, -1, 9, None, THING], "consumers": ["a", 1.5, -1, 9, {}, [[0], [0, 1]]]}),
    # language models
    "nn.LanguageModelConfig": ({}, {"vocabulary": WHOLES, "d_model": [*WHOLES, 3], "num_layers": WHOLES, "top_k": [*WHOLES, 99], "router": WORDS, "activation": WORDS}),
    "nn.load_checkpoint": ({}, {"folder": [None, *PATHS, "missing", "README.md"]}),
    "nn.open_checkpoint": ({}, {"folder": [None, *PATHS, "missing", "README.md"]}),
    "nn.analog_map": ({}, {"analog": [3, b"all", THING, LONG, "none", ["none"], [3], "up:x", {}, 1.5],
                           "digital": [3, b"all", THING, LONG, "none", ["none"], [3], "up:x", {3: 1}, 1.5]}),
    "nn.evaluate_checkpoint": ({"checkpoint": OPENED, "windows": np.ones((1, 3), int)},
                               {"checkpoint": OBJECTS, "windows": [None, "a", [1, 2], [[1]], [[0.5, 1]], [[-1, 1]], [[1, 99]], THING, {}],
                                "crossbars": [3, "a", THING, [3], {}, [None]], "analog": [3, "all", THING, {}], "method": WORDS,
                                "samples": COUNTS, "outputs": COUNTS, "seed": SEEDS, "random": FLAGS, "progress": FUNCTIONS}),
    "nn.load_parameters": ({}, {"path": [None, *PATHS, "missing.npz"]}),
    "nn.decoder_prefill": ({"parameters": PARAMETERS, "tokens": [1, 2], "config": MODEL, "num_tokens": 2, "max_tokens": 4},
        {"parameters": [*OBJECTS, {"embedding": np.zeros(3)}, PARAMETERS | {"embedding": np.zeros((3, 3))}], "tokens": [None, "a", [1.5], [-1], [9], [[1]], [], THING], "config": OBJECTS, "num_tokens": [0, -1, 1.5, "a", None, [1]], "max_tokens": WHOLES,
         "linear": FUNCTIONS, "quantised_kv": FLAGS}),
    "nn.decode": ({"parameters": PARAMETERS, "cache": decoded, "tokens": [1], "config": MODEL},
        {"parameters": [*OBJECTS, {"embedding": np.zeros(3)}], "cache": OBJECTS, "tokens": [None, "a", [1.5], [-1], [9], [[1]], []], "config": OBJECTS, "law": [3, "a", {}], "widths": [3, "a", {}], "linear": FUNCTIONS}),
    "nn.model_loss": ({"parameters": PARAMETERS, "windows": np.zeros((1, 3), int), "ranges": {}, "crossbar": CROSSBAR, "config": MODEL},
        {"parameters": [*OBJECTS, {"embedding": np.zeros(3)}], "windows": [None, "a", [1], [[1.5]], [[-1, 0]], [[9, 9]], THING], "ranges": [None, 3, "a", {}], "crossbar": OBJECTS, "config": OBJECTS, "router": [3, "no such"], "chip_key": KEYS, "read_key": KEYS,
         "group_of_expert": ["a", 1.5, [-1], [[1], [1, 2]]], "parts": OBJECTS[1:]}),
    "nn.part_losses": ({"parameters": PARAMETERS, "windows": np.zeros((1, 3), int), "parts": ANALOG, "ranges": {}, "crossbar": CROSSBAR, "config": MODEL, "chip_keys": CHIP_KEYS},
        {"parameters": OBJECTS, "windows": [None, "a", [1], [[1.5]], THING], "parts": OBJECTS, "ranges": [None, 3, "a", {}], "crossbar": OBJECTS, "config": OBJECTS, "chip_keys": [*KEYS, None, jax.random.key(0)], "router": [3, "no such"]}),
    "nn.noise_sensitivity": ({"parameters": PARAMETERS, "windows": np.zeros((1, 3), int), "ranges": {}, "crossbar": CROSSBAR, "config": MODEL, "chip_keys": CHIP_KEYS},
        {"parameters": OBJECTS, "windows": [None, "a", [1], [[1.5]], THING], "ranges": [None, 3, "a", {}], "crossbar": OBJECTS, "config": OBJECTS, "chip_keys": [*KEYS, None, jax.random.key(0)], "router": [3, "no such"], "levels": WHOLES}),
    "nn.neuron_norm_scores": ({}, {"parameters": [*OBJECTS, {"up": np.zeros((1, 1, 2, 2))}, {"up": "a", "down": "b"}, {"up": np.zeros(3), "down": np.zeros(3)}]}),
    "nn.activation_frequency": ({"parameters": PARAMETERS, "windows": np.zeros((1, 3), int), "config": MODEL},
        {"parameters": OBJECTS, "windows": [None, "a", [1], [[1.5]], [[9]], THING], "config": OBJECTS}),
    "nn.digital_order": ({"config": MODEL, "scores": [[1.0, 2.0]]},
        {"config": OBJECTS, "scores": [None, "a", [1.0], [[1.0]], [[np.nan, 1.0]], np.zeros((1, 2, 1)), THING, {}], "dense_first": FLAGS}),
    "nn.greedy_order": ({"losses": len, "config": MODEL}, {"losses": FUNCTIONS, "config": OBJECTS, "report": FUNCTIONS}),
    "nn.CrossbarLinear": ({"in_features": 4, "out_features": 2, "crossbar": CROSSBAR, "rngs": nnx.Rngs(0)},
        {"in_features": WHOLES, "out_features": WHOLES, "crossbar": OBJECTS, "use_bias": FLAGS, "rngs": OBJECTS}),
    "nn.CrossbarMoE": ({"d_model": 4, "d_expert": 4, "num_experts": 2, "top_k": 1, "crossbar": CROSSBAR, "rngs": nnx.Rngs(0)},
        {"d_model": WHOLES, "d_expert": WHOLES, "num_experts": WHOLES, "top_k": [*WHOLES, 3], "crossbar": OBJECTS, "activation": WORDS, "routing": WORDS, "router": WORDS, "group_of_expert": ["a", [0], 3, [0.5, 1], [-1, 0]], "rngs": OBJECTS}),
    # numerics
    "numerics.Crossbar.create": ({},
        {"rows": WHOLES, "cols": WHOLES, "max_slices": WHOLES, "max_cycles": WHOLES, "wire_sweeps": COUNTS, "weight_bits": [0, 99, 1.5, "a", None, THING, [[1], [1, 2]], 2**70], "adc_bits": [0, 99, "a", np.nan],
         "adc_range": [0, -1, "a", np.inf, None, [[1], [1, 2]]], "adc_ideal": [2, "a", 0.5], "device": [3, "no such", None, {}, THING, []], "output_noise": NUMBERS[:7], "wire_row": ["a", -1, np.nan, {}], "no_such": [1]}),
    "numerics.check_crossbar": ({}, {"crossbar": [*OBJECTS, CROSSBAR.replace(adc_range=-1.0)]}),
    "numerics.crossbar_mvm": ({"weights": WEIGHTS, "inputs": np.zeros((4, 1), np.float32), "crossbar": CROSSBAR},
        {"weights": [None, "a", 3, [[1], [1, 2]], np.zeros((0, 4)), np.zeros((3, 5)), np.full((3, 4), np.nan), THING], "inputs": [None, "a", np.zeros(4), np.zeros((5, 1))], "crossbar": OBJECTS, "key": KEYS, "operands": WORDS, "packing": FLAGS}),
    "numerics.program": ({"weights": WEIGHTS, "crossbar": CROSSBAR}, {"weights": [None, "a", 3, [[1], [1, 2]], np.zeros((0, 4)), THING, np.zeros(3)], "crossbar": OBJECTS, "key": KEYS, "converters": [3, "a", {}]}),
    "numerics.read": ({"stored": stored, "inputs": np.zeros((4, 1), np.float32), "crossbar": CROSSBAR},
        {"stored": OBJECTS, "inputs": [None, "a", np.zeros(4), np.zeros((5, 1)), THING], "crossbar": OBJECTS, "key": KEYS, "vector_ids": ["a", [1.5], [1, 2], 3], "operands": WORDS, "packing": FLAGS}),
    # runs
    "runs.alike": ({}, {"runs": [None, 3, "a", [3], {}, THING, [None], 1.5]}),
    "runs.cache_use": ({}, {"run": OBJECTS}),
    "runs.inputs_from_routing": ({"config": CONFIG, "routing": ROUTING, "fidelity": "closed", "capacity": pimjax.Capacity(max_tokens=8, max_experts=16, max_groups=8)},
        {"config": CONFIGS, "routing": OBJECTS, "fidelity": [*WORDS, "event"], "capacity": OBJECTS}),
    "runs.inputs_of_many": ({"runs": [(CONFIG, TRACE)], "fidelity": "closed", "capacity": pimjax.Capacity(max_tokens=8, max_experts=16, max_groups=8)},
        {"runs": [None, 3, "a", [3], [(3, 4)], [CONFIG], [(CONFIG,)], THING], "fidelity": [*WORDS, "event"], "capacity": OBJECTS, "layers": WHOLES[:4]}),
    "runs.inputs_of_parts": ({"config": CONFIG, "routing": ROUTING, "parts": [CONFIG, CONFIG], "edges": np.array([0]), "fidelity": "closed", "capacity": pimjax.build(CONFIG)[1]},
        {"config": CONFIGS, "routing": OBJECTS, "parts": [3, "a", [3], None, [CONFIG] * 5], "edges": ["a", [1.5], [-1], None, 3], "fidelity": WORDS, "capacity": OBJECTS}),
    "runs.resolve": ({"config": CONFIG, "trace": TRACE}, {"config": CONFIGS, "trace": [3, "a", {}, THING]}),
    "runs.run_routing": ({"config": CONFIG, "trace": TRACE}, {"config": CONFIGS, "trace": OBJECTS}),
    "runs.schedule_inputs": ({"config": CONFIG, "trace": TRACE}, {"config": CONFIGS, "trace": OBJECTS, "fidelity": [*WORDS, "event"], "capacity": [3, "a", {}]}),
    "runs.stacked": ({}, {"trees": [None, 3, [], [1, [1]], [np.zeros(2), np.zeros((2, 2))], THING, 1.5, ()]}),
    "runs.with_prompt": ({"config": CONFIG, "trace": TRACE}, {"config": CONFIGS, "trace": OBJECTS}),
    # schedules
    "schedule.copy_hottest": ({"loads": [1, 2], "num_copies": 1}, {"loads": LOADS, "num_copies": [*COUNTS, None]}),
    "schedule.count_coactivation": ({"choices": [[1, 0]]}, {"choices": [None, "a", 3, [1], [[1], [1, 0]], [[2, 0]], [["a"]], THING, {}], "num_tokens": [-1, 9, 1.5, "a", [1]]}),
    "schedule.deal_copies": ({"choices": [[1, 0]], "expert_of_copy": [0, 1]}, {"choices": [None, "a", 3, [[1], [1, 0]], [[2, 0]], THING], "expert_of_copy": [None, "a", 3, [0], [0, 9], [0.5, 1], [], [[0, 1]]]}),
    "schedule.group_experts": ({"loads": [1, 2, 3, 4], "group_size": 2, "strategy": "balanced"},
        {"loads": LOADS, "group_size": [*WHOLES, 5], "strategy": WORDS, "seed": SEEDS}),
    "schedule.register_policy": ({}, {"policy": [*OBJECTS, schedule.Policy(3, max, intervals=max), schedule.Policy("compact", max, intervals=max)]}),
    "schedule.schedule_cost": SCHEDULED,
    "schedule.schedule_intervals": WITHOUT_LIMIT,
    "schedule.schedule_profile": SCHEDULED,
    "schedule.schedule_slots": SCHEDULED,
    "schedule.schedule_summary": SCHEDULED,
    "schedule.schedule_table": ({"traces": TRACE, "plans": [(np.zeros(16, int), "compact")]},
        {"traces": OBJECTS, "plans": [None, 3, "a", [], [3], [([0], "compact")], [("a", "compact")], [(np.zeros(16), "compact")], [(np.zeros(16, int), "no such")], [(np.full(16, -1), "compact")]], "num_groups": SLOTS, "max_slots": SLOTS[:6]}),
    # sweeps and tuning
    "sweep.load_sweep": ({"path": {}}, {"path": [None, *PATHS, "missing.yaml", LONG, {"axes": 3}, {"no such": 1}, {3: 4}, {"axes": [{"field": 3}]}, {"columns": ["no such"]}, {"base": 3}], "overrides": [3, "a", {"no such": 1}, {3: 4}, [1]]}),
    "sweep.plan_of": ({}, {"sweep": OBJECTS}),
    "sweep.run_sweep": ({"sweep": SWEEP, "folder": "out"}, {"sweep": OBJECTS, "folder": PATHS, "mesh": [3, "a", THING], "processes": [3, "a", {}, THING], "tile_points": [0, -1, 1.5, "a", True], "progress": [3, "a", THING]}),
    "tuning.load_tune_config": ({}, {"source": [None, *PATHS, "missing.yaml", LONG, {"parameters": 3}, {"no such": 1}, {3: 4}, {"parameters": {"hardware.no": {"kind": "integer", "low": 1, "high": 2}}}]}),
    "tuning.make_problem": ({"config": TUNE_CONFIG}, {"config": OBJECTS, "trace": [3, "a", {}, THING], "quality": FUNCTIONS}),
    "tuning.size": ({"config": SIZED}, {"config": [None, 3, *PATHS, {"chip_model": "reference"}], "within": [3, "9mm2", ["9"], [3], [LONG], THING, {}], "goal": WORDS, "settings": [3, "a", [], {"no such": 1}, THING], "trace": [3, "a"], "progress": FUNCTIONS}),
    "tuning.size_problem": ({"config": SIZED}, {"config": [None, 3, *PATHS, {"chip_model": "reference"}], "within": [3, "9mm2", ["9"], [3], [LONG], THING, {}], "goal": WORDS, "settings": [3, "a", [], {"no such": 1}, THING]}),
    "tuning.tune": ({"config": TUNE}, {"config": [None, 3, *PATHS, {"parameters": 3}], "trace": [3, "a"], "quality": FUNCTIONS, "checkpoint": [3, THING, [], "a\0b", "x" * 5000], "history": [3, THING, [], "a\0b", "x" * 5000], "progress": FUNCTIONS, "recheck": FLAGS}),
    # the system around the crossbars
    "system.along": ({"length_mm": 1, "pitch_mm": 1}, {"length_mm": NUMBERS, "pitch_mm": NOT_POSITIVE}),
    "system.busiest_die": ({}, {"visits": [None, "a", [[2, 0]], [["a"]], THING, {}, [[1], [1, 0]], [[0.5]]]}),
    "system.closed_phase": ({"visits": [1, 2], "links": LINKS, **PHASE}, {"visits": ["a", [-1, 1], None, [[1, 2]], THING, [1, 2, 3]], "links": OBJECTS, "home": [-1, 0.5, "a", None, [0]], "expert_ns": NUMBERS, "token_bytes": NUMBERS, "first_ns": NUMBERS}),
    "system.core_pitch_mm": ({}, {"core_area_mm2": NOT_POSITIVE}),
    "system.die_port": ({}, {"numbers": OBJECTS}),
    "system.die_visits": ({"choices": [[1, 0]], "holds": [[1], [1]]}, {"choices": [None, "a", 3, [1], [[2, 0]], [["a"]], THING, [[1, 0, 1]]], "holds": [None, "a", 3, [1], [[2], [0]], THING, [[1]]]}),
    "system.die_yield": ({"area_mm2": 8, "numbers": SYSTEM}, {"area_mm2": NUMBERS, "numbers": OBJECTS}),
    "system.dies_needed": ({"area_mm2": 8, "usable_mm2": 3, "numbers": SYSTEM}, {"area_mm2": NUMBERS, "usable_mm2": NOT_POSITIVE, "numbers": OBJECTS}),
    "system.expert_accesses": ({}, {"trace": OBJECTS}),
    "system.farthest": ({"area_mm2": 1, "pitch_mm": 1}, {"area_mm2": NUMBERS, "pitch_mm": NOT_POSITIVE}),
    "system.fluid_phase": ({"visits": [1, 2], "links": LINKS, **PHASE}, {"visits": ["a", [-1, 1], None, [[1, 2]], THING, [1, 2, 3]], "links": OBJECTS, "home": [-1, 0.5, "a", None, [0]], "expert_ns": NUMBERS, "result_bytes": NUMBERS, "last_ns": NUMBERS}),
    "system.holds": ({"die_of_expert": [0, 1]}, {"die_of_expert": [None, "a", [0.5], [-1], [], THING, [[0]]], "dies": [0, -1, 1.5, "2", True, 1], "first": COUNTS}),
    "system.lay_out": ({"group_of_expert": [0, 1], "dense_area_mm2": 1, "group_area_mm2": 1, "usable_mm2": 3}, {"group_of_expert": [None, "a", [0.5], [-1], [], THING, [[[0]]]], "dense_area_mm2": NUMBERS, "group_area_mm2": NOT_POSITIVE, "usable_mm2": NOT_POSITIVE, "whole_groups": FLAGS}),
    "system.layer_crossings": ({"choices": [[1, 0]], "holds": [[1], [1]], "home": 0, "token_bytes": 1, "result_bytes": 1},
        {"choices": [None, "a", 3, [1], [[2, 0]], [[1, 0, 1]]], "holds": [None, "a", 3, [1], [[2], [0]]], "home": [-1, 0.5, "a", None, [0]], "token_bytes": NUMBERS, "result_bytes": NUMBERS}),
    "system.layer_dies": ({"groups": [2], "is_real": [True], "dense_mm2": 1, "group_mm2": 1, "usable_mm2": 3, "dies_per_package": 2, "most_dies": 2},
        {"groups": [*NUMBERS, 3], "is_real": [*FLAGS, None], "dense_mm2": NUMBERS, "group_mm2": NUMBERS, "usable_mm2": NOT_POSITIVE, "dies_per_package": NOT_POSITIVE, "most_dies": [*WHOLES, 5000]}),
    "system.lifetime_years": ({"writes_per_s": 1, "cycles": 1, "numbers": SYSTEM}, {"writes_per_s": NUMBERS, "cycles": NUMBERS, "numbers": OBJECTS}),
    "system.linear_fill_ns": ({"shape": LINEAR_SHAPE, "numbers": SYSTEM}, {"shape": OBJECTS, "numbers": OBJECTS}),
    "system.linear_flows": ({"shape": LINEAR_SHAPE, "numbers": SYSTEM}, {"shape": OBJECTS, "numbers": OBJECTS, "local_sums": FLAGS}),
    "system.link_bytes": ({"pair_bytes": np.ones((2, 2)), "links": LINKS}, {"pair_bytes": [None, "a", 3, [1, 2], [[-1, 0], [0, 0]], THING, np.ones((3, 3))], "links": OBJECTS}),
    "system.link_energy_nj": ({"pair_bytes": np.ones((2, 2)), "links": LINKS}, {"pair_bytes": [None, "a", 3, [1, 2], [[-1, 0], [0, 0]], THING, np.ones((3, 3))], "links": OBJECTS}),
    "system.load_ns": ({"shape": PASS_SHAPE, "numbers": SYSTEM}, {"shape": OBJECTS, "numbers": OBJECTS}),
    "system.make_links": ({"dies": 2, "system": SECTION}, {"dies": [*WHOLES, 5000], "system": OBJECTS}),
    "system.memory_flow": ({"bits": 1, "area_mm2": 1, "pitch_mm": 1, "numbers": SYSTEM}, {"bits": NUMBERS, "area_mm2": NUMBERS, "pitch_mm": NOT_POSITIVE, "numbers": OBJECTS}),
    "system.model_pair_bytes": ({"choices": [[[1, 0]]], "holds": [[[1], [1]]], "homes": [0], "num_tokens": 1, "token_bytes": 1, "result_bytes": 1},
        {"choices": [None, "a", 3, [[1]], [[[2, 0]]], [[[1]]]], "holds": [None, "a", 3, [[1]], [[[2], [0]]]], "homes": [[-1], [0.5], "a", None, 0, [0, 0]], "num_tokens": NUMBERS, "token_bytes": NUMBERS}),
    "system.multicast_length_mm": ({"targets": 1, "area_mm2": 1}, {"targets": NUMBERS, "area_mm2": NUMBERS}),
    "system.network_energy_nj": ({"flows": system.pass_flows(PASS_SHAPE, SYSTEM), "counts": system.FlowCounts(1, 1, 1)}, {"flows": [None, 3, "a", [], [3], THING, {}, ()], "counts": OBJECTS}),
    "system.order_groups": ({"group_of_expert": [0, 1], "choices": [[1, 1]], "dies": 2}, {"group_of_expert": [None, "a", [0.5, 1], [-1, 0], [], THING, [[0, 1]], [0, 2]], "choices": [None, "a", 3, [1], [[2, 0]], [[1]], THING], "dies": WHOLES, "seed": SEEDS}),
    "system.pass_fill_ns": ({"shape": PASS_SHAPE, "numbers": SYSTEM}, {"shape": OBJECTS, "numbers": OBJECTS}),
    "system.pass_flows": ({"shape": PASS_SHAPE, "numbers": SYSTEM}, {"shape": OBJECTS, "numbers": OBJECTS, "local_sums": FLAGS, "inline": FLAGS}),
    "system.place_experts": ({"experts": 4, "dies": 2, "strategy": "coactivation", "choices": [[1, 1, 0, 0]]},
        {"experts": WHOLES, "dies": [*WHOLES, 5], "strategy": WORDS, "choices": [None, "a", 3, [1], [[2, 0, 0, 0]], [[1, 0]], THING], "sizes": ["a", [1, 1], [4], [0, 4], 3, [2.5, 1.5], THING], "seed": SEEDS, "kicks": COUNTS}),
    "system.residency_curve": ({"accesses": [[0, 1]], "capacities": [1]}, {"accesses": [None, "a", [0], [[0.5]], [[-2]], THING, [[]]], "capacities": [None, "a", [0], [1.5], [], 3, [70_000]], "policy": WORDS}),
    "system.residency_run": ({"accesses": [0, 1], "capacity": 1, "policy": 0, "places": 2}, {"accesses": [None, "a", [0.5], [-2], [[0]], THING], "capacity": [-1, 1.5, "a", [1], None], "policy": [-1, 2, "lru", None], "places": WHOLES}),
    "system.route": ({}, {"links": OBJECTS}),
    "system.silicon_area_mm2": ({"dies": 2, "numbers": SYSTEM}, {"dies": NUMBERS, "numbers": OBJECTS}),
    "system.simulate_phase": ({"visits": [[1, 1]], "links": LINKS, "release_ns": 0, **PHASE}, {"visits": [None, "a", 3, [1], [[2, 0]], [[1]], THING], "links": OBJECTS, "home": [-1, 0.5, "a", None, [0], 2], "release_ns": [*NUMBERS, [0, 1, 2]], "expert_ns": [*NUMBERS, [0, 1, 2]], "token_bytes": NUMBERS}),
    "system.swap_cost": ({"tile": "pcm", "expert_bytes": 8, "crossbars": 1, "rows": 4, "bandwidth_gb_per_s": 1, "energy_pj_per_bit": 1, "numbers": SYSTEM, "pcm_write": WRITE},
        {"tile": WORDS, "expert_bytes": NUMBERS, "crossbars": NUMBERS, "rows": NOT_POSITIVE, "bandwidth_gb_per_s": NOT_POSITIVE, "energy_pj_per_bit": NUMBERS, "numbers": OBJECTS, "pcm_write": OBJECTS, "verify_passes": NUMBERS}),
    "system.usable_die_area_mm2": ({"neighbours": 2, "numbers": SYSTEM}, {"neighbours": NUMBERS, "numbers": OBJECTS}),
    "system.weights_fit": ({"experts": 1, "expert_bytes": 1, "capacity_gb": 1}, {"experts": NUMBERS, "expert_bytes": NUMBERS, "capacity_gb": NUMBERS}),
    "system.wire_energy_nj": ({"bits": 1, "wire": system.along(1, 1), "numbers": SYSTEM}, {"bits": NUMBERS, "wire": OBJECTS, "numbers": OBJECTS}),
    "system.wire_latency_ns": ({"wire": system.along(1, 1), "numbers": SYSTEM}, {"wire": OBJECTS, "numbers": OBJECTS}),
    # classes that are made by hand
    "Capacity": ({}, {"max_tokens": WHOLES, "max_experts": WHOLES}),
    "DESIGN.set": ({}, {"values": [3, "a", None, {3: 4}, {"hardware.no": 1}, {"hardware.mvm_latency_ns": "a"}, {"hardware.mvm_latency_ns": [[1], [1, 2]]}, {"model.d_model": 2**70}, {"": 1}, [1]]}),
    "Config": ({}, {"name": [3, None, []], "model": [3, "a", []], "chip_model": [3, "no such"]}),
}  # fmt: skip
#: Names that take no arguments, or that hold numbers and are checked where they are used.
NO_CALLS = {
    "AnalogParts", "Config", "Design", "Capacity", "RoutingTrace", "Estimate", "Crossbar", "CHIPS", "CapacityLaw", "CacheWidths", "Chip", "ComponentSpec",
    "Condition", "Counted", "EventOptions", "Read", "Reader", "RunCost", "Component", "ComponentInfo", "Constants", "ExplainRow", "Macro",
    "MacroPrediction", "Sourced", "TileCost", "TileParameters", "Uncertainty", "ZigzagArray", "calibrated_tile", "catalogue_markdown",
    "nominal_constants", "Buffers", "CriticalPath", "EventLog", "JobGraph", "ResourceGroup", "Programmed", "CacheUse", "PassWindows", "RunCounts",
    "RunRouting", "SlotProfile", "TokenSteps", "Policy", "ScheduleCost", "SchedulePlan", "ScheduleProfile", "ScheduleSummary", "Axis",
    "Requests", "RoutingLoads", "ServingBatch", "ServingRun", "SloCapacity", "StepBatch", "StepTable", "TableSteps", "ServedChips", "ServingOptimum",
    "SweepConfig", "SweepOutcome", "Crossings", "DiePort", "Dies", "Flow", "FlowCounts", "LinkTimes", "LayerDies", "Layout", "LinearShape", "Links", "PassShape", "PhaseTimes",
    "Residency", "SwapCost", "Sized", "SizeResult", "Wire", "TuneConfig", "TuneResult", "PimjaxError", "ConfigError", "TraceError",
}  # fmt: skip
#: What pydantic says where a configuration is made by hand; everything else makes one by `load_config`.
PYDANTIC = {"Config"}


def function(name: str) -> Any:
    first, *rest = name.split(".")
    found: Any = globals()[first] if first in ("JOBS", "DESIGN") else getattr(pimjax, first)
    for part in rest:
        found = getattr(found, part)
    return found


def test_every_public_function_is_in_the_table() -> None:
    homes = {name: pimjax for name in pimjax._HOME} | {
        name: getattr(pimjax, space)
        for space in pimjax._MODULES
        if space != "trace"
        for name in getattr(pimjax, space).__all__
    }
    listed = {name.rpartition(".")[2] for name in CALLS} | {"load_traces"}
    missing = [
        name
        for name, home in homes.items()
        if callable(getattr(home, name)) and name not in listed and name not in NO_CALLS
    ]
    assert not missing
    for name, (_, wrong) in CALLS.items():
        assert sum(map(len, wrong.values())) >= 8, name


@pytest.mark.parametrize("name", CALLS)
def test_wrong_arguments_are_one_sentence(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    right, wrong = CALLS[name]
    right = (
        {
            key: value() if callable(value) and value in (stored, decoded, sampled) else value
            for key, value in right.items()
        }
        if name.startswith(("nn", "num", "serv"))
        else right
    )
    problems = []
    positional = name in ("CHIPS.register", "CHIPS.__getitem__")
    for argument, values in wrong.items():
        for value in values:
            start = time.perf_counter()
            given = f"{argument}={shown(value)}"
            try:
                result = function(name)(value) if positional else function(name)(**{**right, argument: value})
            except PimjaxError as error:
                text = str(error)
                if "\n" in text or len(text) > 900:
                    problems.append(f"{given}: no short sentence: {text[:300]!r}")
            except Exception as error:
                if not (name in PYDANTIC and type(error).__name__ == "ValidationError"):
                    problems.append(f"{given}: {type(error).__name__}: {str(error)[:160]!r}")
            else:
                problems.append(f"{given} was accepted: {shown(result)[:80]}")
            if time.perf_counter() - start > 5:
                problems.append(f"{given} took {time.perf_counter() - start:.1f} s")
    assert not problems, "\n".join(problems)


def test_a_wrong_number_of_arguments_is_pythons_own_error() -> None:
    with pytest.raises(TypeError):
        schedule.group_experts()
    with pytest.raises(TypeError):
        cache.visible_tokens(1, 2, 3)


def test_checked_functions_keep_their_signature_and_work_when_traced() -> None:
    assert list(inspect.signature(cache.visible_tokens).parameters) == ["num_tokens", "window", "chunked"]
    assert importlib.import_module("pimjax.cache.traffic").visible_tokens.__doc__
    assert jax.jit(cache.visible_tokens)(jnp.array([3, 9]), 4).tolist() == [3, 4]
    assert jax.vmap(lambda lanes: circuit.column_accumulation_ns(2.0, 8.0, lanes=lanes))(
        jnp.array([-1.0, 2.0])
    ).shape == (2,)
