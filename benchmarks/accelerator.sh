#!/usr/bin/env bash
# What there is to know of aaejax on a machine with a GPU or a TPU, in about ten minutes:
#
#     bash benchmarks/accelerator.sh [FOLDER]
#
# writes FOLDER/accelerator.json and FOLDER/accelerator.md (by default in accelerator/): the
# quick tests, resuming, one device and all, the time of a step, a trace and the samples of a
# run. Without an accelerator it does the same on the CPU and says that it was one.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-accelerator}
mkdir -p "$out"
out=$(cd "$out" && pwd)
export TF_CPP_MIN_LOG_LEVEL=2
rm -f "$out"/*.txt
platform=$(python -c 'import jax; print(jax.devices()[0].platform)') || exit 1
python -c 'import jax
for d in jax.devices(): print(d.platform, d.device_kind, d.id)
print("jax", jax.__version__)' > "$out/devices.txt"

# part NAME SECONDS COMMAND...: its words go to NAME.txt, its status and time to parts.txt
part() {
  local name=$1 limit=$2 began status
  shift 2
  echo "== $name: $*"
  began=$(date +%s)
  timeout "$limit" "$@" > "$out/$name.txt" 2>&1
  status=$?
  echo "$name $status $(($(date +%s) - began))" >> "$out/parts.txt"
  tail -n 3 "$out/$name.txt"
}

run="--epochs 2 --log-every 40 --save-every 40"
part samples 120 python train.py aae $run --epochs 20 --log-every 200 --save-every 400 --workdir "$out/run" --overwrite
part picture 60 python sample.py "$out/run" --out "$out/samples.png"
part trace 90 python train.py aae $run --profile 40 --workdir "$out/traced" --overwrite
# A run that is cut at a signal and goes on, and one that is not: the same, bit for bit.
part unbroken 60 python train.py aae $run --workdir "$out/unbroken" --overwrite
timeout -s TERM 12 python train.py aae $run --epochs 2000 --workdir "$out/cut" --overwrite > "$out/cut.txt" 2>&1
part resumed 60 python - "$out" <<'PYTHON'
import sys

from aaejax import data, models
from aaejax.runs.config import RunConfig
from aaejax.runs.hooks import Hook
from aaejax.runs.loop import train
from aaejax.runs.restore import restore
import jax
import numpy as np

out = sys.argv[1]


class Stop(BaseException):
    pass


class Cut(Hook):
    def on_log(self, event):
        if event.step == 40:
            raise Stop


digits = data.load("mnist5k", "unused")
folders = [f"{out}/part", f"{out}/whole"]
for folder in folders:
    config = RunConfig(epochs=2, log_every=40, save_every=40, workdir=folder, overwrite=True)
    try:
        train(models.options("aae")(), digits, config, hooks=[Cut()] if "part" in folder else [])
    except Stop:
        config = RunConfig(epochs=2, log_every=40, save_every=40, workdir=folder)
        train(models.options("aae")(), digits, config)
one, other = (jax.tree.leaves(jax.device_get(restore(x).variables)) for x in folders)
assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)), "they differ"
print("resumed equals unbroken, bit for bit")
PYTHON
case $platform in
  cpu) where="--device cpu" ;;
  *) where="--device cuda" ;;
esac
part steps 150 python benchmarks/speed.py $where --rounds 1 --peers aaejax aaejax-bf16 --out "$out/speed.json"
part tests 300 env -u JAX_PLATFORMS python -m pytest -m quick -n 2

python - "$out" "$platform" <<'PYTHON'
import json
import sys
from pathlib import Path

out, platform = Path(sys.argv[1]), sys.argv[2]
parts = {}
for line in (out / "parts.txt").read_text().splitlines():
    name, status, seconds = line.split()
    words = (out / f"{name}.txt").read_text().splitlines()
    parts[name] = {"status": int(status), "seconds": int(seconds), "last": words[-3:]}
whole = {
    "platform": platform,
    "devices": (out / "devices.txt").read_text().splitlines(),
    "parts": parts,
}
if (out / "speed.json").exists():
    whole["speed"] = json.loads((out / "speed.json").read_text())
(out / "accelerator.json").write_text(json.dumps(whole, indent=1) + "\n")
lines = ["# aaejax on " + whole["devices"][0], ""]
if platform == "cpu":
    lines += ["This was a CPU: there was no accelerator.", ""]
lines += ["| part | status | seconds | last words |", "|-|-|-|-|"]
for name, part in parts.items():
    last = part["last"][-1].replace("|", "/")[:100] if part["last"] else ""
    lines.append(f"| {name} | {part['status']} | {part['seconds']} | {last} |")
lines += ["", "![samples](samples.png)", ""]
(out / "accelerator.md").write_text("\n".join(lines))
print(f"written: {out}/accelerator.json and {out}/accelerator.md")
PYTHON
