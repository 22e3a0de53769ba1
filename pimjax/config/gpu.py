"""A GPU as a roofline: bandwidth, arithmetic rate and power as data with their sources (`configs/gpu/*.yaml`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pimjax.config.base import Section, number, option
from pimjax.config.loader import sentence
from pimjax.config.presets import find_preset
from pimjax.config.yaml_reader import read_yaml
from pimjax.errors import ConfigError, brief, shown

_SHEET = "data sheet of the device"


class GpuConfig(Section):
    """What a roofline needs to know of a GPU. Every number carries a source in the shipped files.

    >>> load_gpu("h100_sxm").bandwidth_gb_per_s
    3350.0
    """

    name: str = option(..., about="What tables call it")
    bandwidth_gb_per_s: float = number(..., unit="GB/s", about="Memory bandwidth", source=_SHEET, gt=0)
    peak_tflops: float = number(..., unit="TFLOP/s", about="Dense rate of matrix products", source=_SHEET, gt=0)
    power_w: float = number(..., unit="W", about="Power drawn while it runs", source=_SHEET, gt=0)
    memory_gb: float = number(..., unit="GB", about="Memory", source=_SHEET, gt=0)
    value_bytes: float = number(..., unit="bytes", about="Bytes per weight, key or value", source=_SHEET, gt=0)


def load_gpu(path_or_preset: str | Path) -> GpuConfig:
    """A GPU from a YAML file or a shipped preset's name.

    Args:
        path_or_preset: path, or a name in `configs/gpu` (`pimjax.config.list_presets("gpu")`).

    Raises:
        ConfigError: no such file, or a number that is missing or not accepted.

    >>> load_gpu("a100_sxm").power_w
    400.0
    """
    path = find_preset(str(path_or_preset), "gpu")
    data, lines = read_yaml(path)
    plain: dict[str, Any] = {}
    for key, item in data.items():
        if isinstance(item, dict) and "unit" in item:
            unit = _unit(key)
            if unit and item["unit"] != unit:
                raise ConfigError(
                    f"{shown(path)}: {brief(key)} is given in {shown(item['unit'])}; its unit is {unit!r}: convert the value"
                )
        value = item.get("value") if isinstance(item, dict) else item
        plain[key] = float(value) if isinstance(value, int) else value
    try:
        return GpuConfig.model_validate(plain)
    except ValidationError as error:
        raise ConfigError(sentence(error, shown(path), lines)) from None


def _unit(key: str) -> str:
    info = GpuConfig.model_fields.get(key)
    extra = info.json_schema_extra if info and isinstance(info.json_schema_extra, dict) else {}
    return str(extra.get("unit", ""))
