"""The JSON files of a benchmark's tries and seeds, each with the settings that it is of."""

import dataclasses
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def measured_on(device: str = "") -> Record:
    """The machine, with its device where that is named, and the versions of a record."""
    cores = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    return {
        "machine": ", ".join([cores, device] if device else [cores]),
        "versions": {name: version(name) for name in ("jax", "flax", "optax")},
    }


def as_json(record: Any) -> Any:
    """The record as it comes back from a JSON file."""
    return json.loads(json.dumps(record, default=dataclasses.asdict))


class Records:
    """Those of one model in a folder, by labels such as "try0" and "seed2"."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name

    def kept(self, label: str, settings: Record) -> Record | None:
        """The record, if it is there and of these settings."""
        file = self.folder / f"{self.name}-{label}.json"
        record = json.loads(file.read_text()) if file.exists() else None
        return record if record and record["settings"] == as_json(settings) else None

    def keep(self, label: str, record: Record) -> Record:
        """Writes the record, and returns it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(as_json(record), indent=2)
        (self.folder / f"{self.name}-{label}.json").write_text(text + "\n")
        return record

    def all_seeds(self) -> list[Record]:
        """What is there of the table's seeds, of whatever settings."""
        files = sorted(self.folder.glob(f"{self.name}-seed*.json"))
        return [json.loads(file.read_text()) for file in files]
