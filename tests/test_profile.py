import gzip
import json

from tests.conftest import train_tiny


def test_a_trace_of_some_steps_is_written_and_removed(digits, tmp_path):
    told = []
    short = {"devices": 1, "epochs": 3, "tell": told.append}
    train_tiny(tmp_path, digits, profile=5, **short)
    assert any(line.startswith("a trace of 10 steps: ") for line in told)
    (trace,) = (tmp_path / "profile").rglob("perfetto_trace.json.gz")
    with gzip.open(trace) as file:
        assert len(json.load(file)["traceEvents"]) > 10
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    train_tiny(tmp_path, digits, overwrite=True, **short)
    assert not (tmp_path / "profile").exists()
