"""Hostile inputs as hypothesis strategies: odd values, changed mappings, changed text and bytes."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from pimjax.config.config import SECTIONS, section_classes, section_keys

PRESETS = ("paper_multiplexed", "paper_reference")
#: Keys that make a run large.
LARGE = {
    "workload.prompt_tokens", "workload.generated_tokens", "workload.batch_size", "workload.max_context_tokens", "workload.trace",
    "model.num_layers", "model.num_experts", "model.top_k", "plan.copies", "plan.group_size", "model.layer_types", "model.moe_layers",
}  # fmt: skip
GOLDEN = Path(__file__).parents[1] / "golden"

#: Values that have broken programs before.
EXTREMES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 7, 16, 255, 65_536, 2**24, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63, 10**30, -(2**31),
    0.0, -0.0, 0.5, 1e-300, 1e-5, 1e5, 1e38, 1e300, math.inf, -math.inf, math.nan, "", "x", "0", "1e3", "null", "\x00", "a\x00b",
    "\x1b[31mred", "[/red]", "[bold]", "../..", "/dev/null", "a" * 5000, "é漢\u202e", [], {}, [[]], [1, 2], [1] * 64, {"value": 1},
    {"value": 1, "unit": "ns"}, {"preset": "hermes"}, {"a": {"b": {"c": 1}}}, "hermes", "paper_reference",
)  # fmt: skip
SAMPLES = st.sampled_from(EXTREMES)
TEXT = st.text(max_size=12)
VALUES = st.one_of(
    SAMPLES,
    SAMPLES,
    st.integers(-(2**70), 2**70),
    st.integers(-3, 300),
    st.floats(),
    TEXT,
    st.lists(SAMPLES, max_size=3),
    st.dictionaries(TEXT, SAMPLES, max_size=3),
).map(copy.deepcopy)  # whoever draws one may change it, and the sample stays


def _known_keys() -> tuple[str, ...]:
    return tuple(f"{section}.{key}" for section in SECTIONS for key in section_keys(section))


KNOWN_KEYS = _known_keys()
TOP_KEYS = (*SECTIONS, "memory", "name", "description", "chip_model", "sources", "stated")
KEYS = st.one_of(st.sampled_from(KNOWN_KEYS), st.sampled_from(KNOWN_KEYS), st.sampled_from(TOP_KEYS), TEXT)


def _near(dotted: str) -> st.SearchStrategy[Any]:
    """Values of the right kind for a key, nearly all of them accepted alone."""
    section, _, key = dotted.partition(".")
    info = next(one.model_fields[key] for one in section_classes(section) if key in one.model_fields)
    default, kinds = info.default, [info.annotation, *getattr(info.annotation, "__args__", ())]
    if isinstance(default, bool):
        return st.booleans()
    if int in kinds or float in kinds:
        bounds = {
            name: getattr(bound, name) for bound in info.metadata for name in ("ge", "gt", "le") if hasattr(bound, name)
        }
        low, high = bounds.get("ge", bounds.get("gt", 0)), bounds.get("le", 1e9)
        whole = int in kinds or bool((info.json_schema_extra or {}).get("whole"))
        edges = [high, low if "gt" not in bounds else high, default if default is not None else high]
        if whole:
            found = st.one_of(
                st.integers(int(max(low, 1)), int(min(high, max(low, 1) + 20))),
                st.sampled_from([int(edge) for edge in edges]),
            )
            return found if int in kinds else found.map(float)
        exponents = st.floats(math.log(max(low, 1e-6)), math.log(high))
        return st.one_of(
            exponents.map(lambda power: min(max(math.exp(power), low), high)),
            st.sampled_from([float(edge) for edge in edges]),
        )
    words = [choice for choice in kinds if isinstance(choice, str)]
    if words:
        return st.sampled_from(words)
    if info.is_required():
        return VALUES
    plain = default.model_dump() if hasattr(default, "model_dump") else default
    plain = list(plain) if isinstance(plain, tuple) else plain
    same = st.just(plain).map(copy.deepcopy)
    return st.one_of(same, same, VALUES)


NEAR = {dotted: _near(dotted) for dotted in KNOWN_KEYS}


@st.composite
def overrides(draw: st.DrawFn, keys: Sequence[str] = KNOWN_KEYS, most: int = 6) -> dict[str, Any]:
    """Dotted keys to values, nearly all of the right kind."""
    chosen = draw(st.lists(st.sampled_from(keys), min_size=1, max_size=most, unique=True))
    return {key: draw(NEAR[key] if draw(st.integers(0, 15)) else VALUES) for key in chosen}


@st.composite
def config_mappings(draw: st.DrawFn) -> dict[str, Any]:
    """A configuration as a nested mapping, some of it nonsense."""
    content: dict[str, Any] = {}
    for section in draw(st.lists(st.sampled_from([*SECTIONS, *SECTIONS, *TOP_KEYS]), max_size=4, unique=True)):
        if section in SECTIONS and draw(st.integers(0, 7)):
            made = draw(overrides([key for key in KNOWN_KEYS if key.startswith(f"{section}.")], most=4))
            content[section] = {key.partition(".")[2]: value for key, value in made.items()}
        else:
            content[section] = draw(VALUES)
    if not draw(st.integers(0, 9)):
        content[draw(st.one_of(TEXT, st.integers(0, 3)))] = draw(VALUES)
    return content


@st.composite
def changed_mappings(draw: st.DrawFn, bases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One of some valid mappings with entries changed, dropped, added or nested, at any depth."""
    content: dict[str, Any] = json.loads(json.dumps(draw(st.sampled_from(list(bases)))))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = content
        while isinstance(place, (dict, list)) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            action = draw(st.integers(0, 4))
            if action == 0:
                del place[key]
            elif action == 1 and isinstance(place, dict):
                place[draw(TEXT)] = draw(VALUES)
            else:
                place[key] = draw(VALUES)
            break
    return content


@st.composite
def changed_bytes(draw: st.DrawFn, bases: Sequence[bytes]) -> bytes:
    """One of some valid files, cut, with bytes changed, doubled or put in."""
    content = bytearray(draw(st.sampled_from(list(bases))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.integers(0, 4)):
            case 0:
                del content[at:]
            case 1:
                del content[at : at + draw(st.integers(1, 16))]
            case 2:
                content[at:at] = draw(st.binary(min_size=1, max_size=8))
            case 3:
                content[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 4:
                content[at:at] = content[at : at + draw(st.integers(1, 64))]
    return bytes(content)


SNIPPETS = ("&a ", "*a", "!!python/object:x ", "<<: ", "---\n", "? ", "\t", "- ", "{", "}", "[", "]", ": ", "#", "|\n", ">\n", "'", '"',
            "%YAML 1.1\n", "\x00", "\ufeff", "1e999", "0x1F", "1_000", ".nan", "~", "2001-01-01", "12:30:45")  # fmt: skip


@st.composite
def yaml_texts(draw: st.DrawFn) -> str:
    """YAML of a mapping that is nearly a configuration, or text that is nearly YAML."""
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return draw(st.text(max_size=60))
    text = yaml.safe_dump(draw(config_mappings()), allow_unicode=True, default_flow_style=draw(st.booleans()))
    if kind < 3:
        return text
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(SNIPPETS)) + text[at + draw(st.integers(0, 2)) :]
    return text


def tiny_configs() -> list[dict[str, Any]]:
    """Small config.json files of many families."""
    return list(json.loads((GOLDEN / "hf_tiny_configs.json").read_text(encoding="utf-8")).values())
