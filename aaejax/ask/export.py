"""A trained model as a folder to take elsewhere."""

import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from aaejax.ask.card import card
from aaejax.ask.onnx.file import check_extra, onnx_file
from aaejax.ask.programs import SUFFIX, functions, of_a_batch, programs
from aaejax.runs.on_disk.exported import Exported, flat, write_weights
from aaejax.runs.on_disk.files import TEMPORARY, read_bytes, write_atomically
from aaejax.runs.on_disk.folder import SAMPLERS, RunFolder
from aaejax.runs.trained import Trained
from aaejax.types import UserError


def export(
    trained: Trained,
    out: str | Path,
    *,
    onnx: bool = False,
    tell: Callable[[str], None] = print,
) -> Path:
    """Writes a folder that `restore` and `sample.py` take as they take a run folder.

    It has the parameters in model.safetensors, config.json, programs that JAX alone can run
    (`ask.programs`), held-out examples, metrics, and a model card.

    Args:
      trained: The trained model, from `restore`.
      out: The path of the folder, which must be new or empty.
      onnx: Whether decode.onnx and encode.onnx are written too.
      tell: Takes a line about what can't be written.

    Returns:
      The path of the folder.

    Raises:
      UserError: The folder is there and not empty, the networks come from no run folder, or
        ONNX is asked for and its package is not there.
      OSError: The folder can't be written.
    """
    check_out(out)
    if onnx:
        check_extra()
    if not trained.config:
        raise UserError("these networks come from no run folder: export what has one")
    path = Path(os.path.abspath(out))
    path.parent.mkdir(parents=True, exist_ok=True)
    made = RunFolder(path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}"))
    made.path.mkdir()
    try:
        _fill(made, trained, tell)
        if onnx:
            _write_onnx(made, trained, tell)
        files = sorted(path.name for path in made.path.iterdir())
        write_atomically(made.path / "README.md", card(trained, files, SUFFIX).encode())
        os.replace(made.path, path)  # all of it appears at once
    except BaseException:
        shutil.rmtree(made.path, ignore_errors=True)
        raise
    return Path(out)


def check_out(out: str | Path) -> None:
    """Raises UserError where a folder can't be made."""
    path = Path(out)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UserError(f"--out {out} is no folder: give the name of a new one")
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"--out {out} is there, and not empty: give a new folder")


def _fill(made: RunFolder, trained: Trained, tell: Callable[[str], None]) -> None:
    run = trained.folder
    # Where the data lay on this machine is nobody's business elsewhere.
    where = {**trained.config.get("where", {})}
    where.pop("data_dir", None)
    made.write_config({**trained.config, "where": where})
    found = Exported(trained.variables, trained.step, trained.weights)
    write_weights(made, found, trained.config)
    shape = trained.data.spec.shape
    for name, program in programs(trained.model, trained.variables, shape, tell).items():
        write_atomically(made.path / f"{name}{SUFFIX}", program)
    lines = [line for line in trained.history if line["step"] <= trained.step]
    if lines:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_atomically(made.metrics, text.encode())
    if run.heldout.exists():
        try:
            kept = run.read_heldout()
        except UserError as error:
            tell(f"note: no held-out examples are exported: {error}")
        else:
            made.write_heldout(**kept)
    for name in SAMPLERS:
        if (run.path / name).exists():
            write_atomically(made.path / name, read_bytes(run.path / name))


def _write_onnx(made: RunFolder, trained: Trained, tell: Callable[[str], None]) -> None:
    variables = trained.variables
    of_one = functions(trained.model, trained.data.spec.shape)
    for name, result in (("decode", "examples"), ("encode", "codes")):
        if name not in of_one:
            continue
        function, arguments = of_one[name]
        program = of_a_batch(function, variables)
        try:
            raw = onnx_file(program, flat(variables), arguments, result)
        except UserError as error:
            tell(f"note: no {name}.onnx: {error}")
        else:
            write_atomically(made.path / f"{name}.onnx", raw)
