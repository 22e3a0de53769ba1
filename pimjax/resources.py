"""Where shipped files lie: the preset folder in a wheel and in an editable checkout."""

from __future__ import annotations

from pathlib import Path


def config_folder() -> Path:
    """Folder of the shipped presets: `pimjax/_configs` in a wheel, `configs/` in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "_configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"the shipped presets are missing: neither {package / '_configs'} nor {package.parent / 'configs'} exists; "
        "reinstall pimjax"
    )


def data_folder() -> Path:
    """Folder of the shipped data (recorded traces, published numbers)."""
    return Path(__file__).resolve().parent / "data"
