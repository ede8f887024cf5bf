"""Compiled programs kept on disk, for the scripts: the second start need not compile."""

import os
import platform
from pathlib import Path

import jax


def keep_compiled() -> None:
    """Gives JAX's compilation cache a folder, unless JAX_COMPILATION_CACHE_DIR did.

    JAX's key of an entry is the program, its options and the version of jaxlib. The folder
    is a host's own, for XLA:CPU compiles for the instructions of the very machine.
    JAX_ENABLE_COMPILATION_CACHE=false turns it off. Where there is no home, or none that
    can be written to, nothing is kept.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "aaejax" / platform.node()
        folder.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError):  # a user without a home; a home that is read-only
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # Below JAX's second: a run has many programs that take a few tenths each.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
