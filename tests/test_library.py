"""What `import aaejax` is to other people's code, and the programs that scripts keep."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

import aaejax
from aaejax.runs.compile_cache import CompileCache
from aaejax.types import UserError

ROOT = Path(__file__).parent.parent


def test_the_library_loads_no_application():
    heavy = ["tyro", "tensorflow_datasets", "tensorflow", "matplotlib", "PIL", "grain"]
    heavy += ["orbax.checkpoint", "aaejax.runs", "aaejax.data", "aaejax.ask", "sklearn"]
    code = f"import aaejax, sys; print(*(name for name in {heavy} if name in sys.modules))"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_its_names_are_there_and_sorted():
    assert aaejax.__all__ == sorted(aaejax.__all__)
    assert all(hasattr(aaejax, name) for name in aaejax.__all__)


@pytest.fixture
def no_cache():
    """JAX as in a process that was given no folder for compiled programs."""
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_enable_compilation_cache",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update(names[0], None)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_compiled_programs_are_kept_in_the_users_cache(no_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    CompileCache().start()
    (folder,) = (tmp_path / "aaejax").iterdir()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.jit(lambda x: jnp.sin(x) * 17)(jnp.ones(3)).block_until_ready()
    assert list(folder.iterdir())
    # A folder that was chosen stays.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    CompileCache().start()
    assert Path(jax.config.jax_compilation_cache_dir) == folder


def test_without_a_place_for_them_no_programs_are_kept(no_cache, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    CompileCache().start()
    assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_for_compiled_programs_can_be_chosen(no_cache, tmp_path):
    CompileCache(str(tmp_path / "kept")).start()
    CompileCache().start()
    assert Path(jax.config.jax_compilation_cache_dir) == tmp_path / "kept"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--compile-cache .*/file: no folder that can be"):
        CompileCache(str(tmp_path / "file")).start()
    CompileCache("no").start()
    assert not jax.config.jax_enable_compilation_cache
