"""JSON schemas of the YAML files, made from the configuration classes: editors complete and check while one types.

They accept what the loaders accept: a section may be a preset's name or start from `preset:`, a number may carry its
unit, source and range. Rules across keys (group sizes against experts, ...) are the loaders'; `pimjax validate` runs them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pimjax.batch.sweep_config import METRICS, SweepConfig
from pimjax.cli.program_cache import cache_folder
from pimjax.config.base import Section
from pimjax.config.config import SECTIONS, Config, section_classes, section_keys
from pimjax.config.memory import MemorySection
from pimjax.config.presets import list_presets
from pimjax.config.system import SYSTEM_NUMBERS, SystemChoices, SystemSection
from pimjax.errors import ConfigError, shown
from pimjax.registry import CHIPS
from pimjax.tuning.measures import MEASURES
from pimjax.tuning.tune_config import TuneConfig

Schema = dict[str, Any]
#: folder of `configs/` -> class of its files
FILES: dict[str, type[Section]] = {**SECTIONS, "memory": MemorySection}
KINDS = ("config", "sweep", "tune", *FILES)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(kind: str = "config") -> Schema:
    """The schema of one kind of file.

    Args:
        kind: "config" (what `pimjax estimate` reads), "sweep", "tune", or a folder of `configs/` (hardware, model, ...).

    Raises:
        ConfigError: unknown kind.

    >>> json_schema("config")["properties"]["chip_model"]["enum"]
    ['multiplexed', 'reference', 'gpu']
    >>> "packed" in json_schema("plan")["properties"]["policy"]["anyOf"][0]["enum"]
    True
    """
    match kind:
        case "config":
            schema = _config()
        case "sweep":
            schema = _sweep()
        case "tune":
            schema = _tune()
        case _ if kind in FILES:
            schema = _section(kind)
        case _:
            raise ConfigError(f"schema {shown(kind)} is unknown; allowed: {', '.join(KINDS)}")
    return {"$schema": _DIALECT, "title": f"pimjax {kind}", **schema}


def schema_text(kind: str) -> str:
    """The schema as the text of a file."""
    return json.dumps(json_schema(kind), indent=1) + "\n"


def write_schema(kind: str = "config") -> Path | None:
    """Write a schema into the cache folder, for editors; None where nothing is kept or the folder cannot be written.

    The file is made anew each time, so it fits this version.
    """
    folder = cache_folder()
    if folder is None:
        return None
    path = folder / "schema" / f"{kind}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(schema_text(kind), encoding="utf-8")
    except OSError:
        return None
    return path.resolve()


def _config() -> Schema:
    schema = _tidy(Config.model_json_schema())
    schema["properties"]["chip_model"]["enum"] = list(CHIPS)
    schema["properties"].pop("stated")
    schema.pop("$defs", None)
    properties = schema["properties"]
    for name in (*SECTIONS, "memory"):
        presets = list_presets(name)
        properties[name] = {
            "description": properties[name].get("description", ""),
            "anyOf": [
                {"type": "string", "enum": presets, "description": "A shipped preset"},
                {"type": "string", "pattern": "\\.(ya?ml|json)$", "description": "A file beside this one"},
                _section(name),
            ],
        }
    properties["sources"] = {"type": "object", "description": "Unit, source and range, by dotted key"}
    return schema


def _section(name: str) -> Schema:
    """A section as a mapping: every value plain or with its facts; `preset` to start from."""
    classes = section_classes(name) if name in SECTIONS else (FILES[name],)
    if name == "system":  # a file gives numbers too; a configuration keeps them beside the chip's
        classes = (*classes, SystemSection)
    parts = [_inlined(_tidy(one.model_json_schema())) for one in classes]
    # a hardware section may be that of any chip; what another chip alone reads is accepted with a note
    schema = {**parts[0], "properties": {key: item for part in parts for key, item in part["properties"].items()}}
    if name == "system":
        known = (*SystemChoices.model_fields, *SYSTEM_NUMBERS)
        schema["properties"] = {key: item for key, item in schema["properties"].items() if key in known}
    schema.pop("required", None)  # a preset may give what is not there
    schema["properties"] = {
        "preset": {"type": "string", "description": f"Preset or file to start from: {', '.join(list_presets(name))}"},
        **{key: _with_facts(value) for key, value in schema["properties"].items()},
    }
    if name == "model":
        about = "A Hugging Face config.json, or the folder of a checkpoint, to start from"
        schema["properties"]["hf"] = {"type": "string", "description": about}
    return schema


def _with_facts(plain: Schema) -> Schema:
    """A value, or the value with unit, source, range."""
    facts = {
        "value": plain,
        "unit": {"const": plain["unit"]} if plain.get("unit") else {"type": "string"},
        "source": {"type": "string"},
        "range": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        "assumed": {"type": "boolean"},
        "note": {"type": "string"},
    }
    annotated = {"type": "object", "properties": facts, "required": ["value"], "additionalProperties": False}
    return {"description": plain.get("description", ""), "anyOf": [plain, annotated]}


def _sweep() -> Schema:
    schema = _tidy(SweepConfig.model_json_schema())
    properties = schema["properties"]
    properties["base"] = {
        "description": properties["base"].get("description", ""),
        "anyOf": [{"type": "string", "examples": list_presets()}, _config()],
    }
    properties["columns"] = {**properties["columns"], "items": {"enum": list(METRICS)}}
    axis = schema["$defs"]["Axis"]["properties"]
    axis["field"] = {"description": axis["field"].get("description", ""), "type": "string", "examples": _dotted_keys()}
    for name, key in (("Top", "metric"), ("Histogram", "metric")):
        schema["$defs"][name]["properties"][key]["enum"] = list(METRICS)
    signed = [sign + name for name in METRICS for sign in ("", "-")]
    schema["$defs"]["Selection"]["properties"]["pareto"]["items"] = {"enum": signed}
    return schema


def _tune() -> Schema:
    schema = _tidy(TuneConfig.model_json_schema())
    properties = schema["properties"]
    properties["base"] = {
        "description": properties["base"].get("description", ""),
        "anyOf": [{"type": "string", "examples": list_presets()}, _config()],
    }
    properties["objective"]["propertyNames"] = {"enum": list(MEASURES)}
    schema["$defs"]["LimitConfig"]["properties"]["measure"]["enum"] = list(MEASURES)
    return schema


def _dotted_keys() -> list[str]:
    memory = ("memory", *(f"memory.{key}" for key in MemorySection.model_fields))
    system = (f"system.{key}" for key in SYSTEM_NUMBERS)
    return [*(f"{name}.{key}" for name in SECTIONS for key in section_keys(name)), *memory, *system]


def _tidy(schema: Any) -> Any:
    """Without pydantic's titles and without defaults that are whole sections."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key == "properties":
            found[key] = {name: _tidy(item) for name, item in value.items()}
        elif not (key == "default" and isinstance(value, dict) and "$ref" in schema):
            found[key] = _tidy(value)
    return found


def _inlined(schema: Schema) -> Schema:
    """References replaced by what they name, so that a section's schema can stand inside another."""
    definitions = schema.pop("$defs", {})

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return [put(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            name = value["$ref"].rsplit("/", 1)[-1]
            return {**put(definitions[name]), **{k: put(v) for k, v in value.items() if k != "$ref"}}
        return {key: put(item) for key, item in value.items()}

    return put(schema)
