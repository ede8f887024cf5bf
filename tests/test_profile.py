import gzip
import json

import jax

from aaejax import init_state, train_step
from tests.conftest import TINY, run_python, tiny_options, train_tiny


def test_operations_bear_the_names_of_their_phases(batch):
    model = tiny_options().build(TINY, 2)
    key = jax.random.key(0)
    state = jax.eval_shape(lambda: init_state(model, key))
    lowered = jax.jit(train_step(model.phases)).lower(state, batch, key)
    text = lowered.as_text(debug_info=True)
    for phase in model.phases:
        assert f"/{phase.name}/" in text


def test_a_trace_of_some_steps_is_written_and_removed(digits, tmp_path):
    told = []
    short = {"devices": 1, "epochs": 3, "tell": told.append}
    train_tiny(tmp_path, digits, profile=5, **short)
    assert any(line.startswith("a trace of 10 steps: ") for line in told)
    (trace,) = (tmp_path / "profile").rglob("perfetto_trace.json.gz")
    with gzip.open(trace) as file:
        assert len(json.load(file)["traceEvents"]) > 10
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    said = run_python("benchmarks/kernels.py", tmp_path / "profile", 10)
    assert (said.returncode, said.stderr) == (0, "")
    assert "| kernels of one name | a step | ms a step | of all |" in said.stdout
    train_tiny(tmp_path, digits, overwrite=True, **short)
    assert not (tmp_path / "profile").exists()
