"""Compiled programs kept on disk, for the scripts: the second start need not compile."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import jax

from aaejax.types import UserError

OFF = "no"


@dataclass(frozen=True)
class CompileCache:
    """The place where compiled programs are kept."""

    compile_cache: str | None = None
    """The folder in which compiled programs are kept, for any later start, or no, to keep
    none. By default it is ~/.cache/aaejax, or what JAX_COMPILATION_CACHE_DIR says."""

    def start(self) -> None:
        """Tells JAX where to keep programs, before it compiles any.

        JAX's key of an entry is the program, its options and the version of jaxlib. The
        default folder is a host's own, for XLA:CPU compiles for the instructions of the
        very machine. JAX_ENABLE_COMPILATION_CACHE=false turns it off too. Where there is
        no home, or none that can be written to, nothing is kept.

        Raises:
          UserError: The folder that is asked for can't be written to.
        """
        if self.compile_cache == OFF:
            jax.config.update("jax_enable_compilation_cache", False)
            return
        if self.compile_cache is not None:
            folder = Path(self.compile_cache).expanduser()
            if not _is_writable(folder):
                raise UserError(
                    f"--compile-cache {folder}: no folder that can be written to: give "
                    f"another, or {OFF}"
                )
        elif jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
            return
        else:
            try:
                home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            except RuntimeError:  # a user without a home
                return
            folder = home / "aaejax" / platform.node()
            if not _is_writable(folder):
                return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # Below JAX's second: a run has many programs that take a few tenths each.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _is_writable(folder: Path) -> bool:
    """Whether the folder is there or can be made, and files in it too."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
