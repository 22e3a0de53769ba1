"""Where the command line keeps compiled programs between runs, and how to switch that off."""

from __future__ import annotations

import os
from pathlib import Path

#: Values of PIMJAX_CACHE that switch keeping programs off.
OFF = ("off", "0", "none", "no", "false")


def cache_folder() -> Path | None:
    """`$PIMJAX_CACHE`, else `pimjax/programs` in the user's cache folder; None: switched off (`PIMJAX_CACHE=off`).

    >>> import os
    >>> os.environ["PIMJAX_CACHE"] = "off"
    >>> print(cache_folder())
    None
    >>> del os.environ["PIMJAX_CACHE"]
    """
    named = os.environ.get("PIMJAX_CACHE", "")
    if named.lower() in OFF:
        return None
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named else Path(base) / "pimjax" / "programs"


def use_compilation_cache() -> None:
    """Keep compiled programs between runs: JAX's own cache, and whole programs so that nothing is traced again.

    A cache folder that JAX already has (`JAX_COMPILATION_CACHE_DIR`) stays.
    """
    folder = cache_folder()
    if folder is None:
        return
    import jax

    from pimjax.estimation import stored_programs

    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    stored_programs.keep_in(folder)
