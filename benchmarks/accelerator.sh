#!/usr/bin/env bash
# What there is to know of aaejax on a machine with a GPU or a TPU, in about ten minutes:
#
#     bash benchmarks/accelerator.sh [FOLDER]
#
# writes FOLDER/accelerator.json and FOLDER/accelerator.md (by default in accelerator/): the
# samples of a run, what a trace of it says, resuming, one device and all, the time of a step
# and the quick tests, in float32 products there. Without an accelerator it does the same on
# the CPU and says that it was one. Each part has a limit, 600 seconds together.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-accelerator}
mkdir -p "$out"
out=$(cd "$out" && pwd)
export TF_CPP_MIN_LOG_LEVEL=2
rm -f "$out"/{parts.txt,accelerator.json,accelerator.md,speed.json,speed1000.json,samples.png}
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
  # A training takes SIGTERM for the wish to stop after this chunk.
  timeout -k 10 "$limit" "$@" > "$out/$name.txt" 2>&1
  status=$?
  echo "$name $status $(($(date +%s) - began))" >> "$out/parts.txt"
  tail -n 3 "$out/$name.txt"
}

part samples 90 python train.py aae --epochs 10 --log-every 40 --save-every 400 --workdir "$out/run" --overwrite --profile 40
part picture 30 python sample.py "$out/run" --out "$out/samples.png"
part trace 30 python benchmarks/kernels.py "$out/run/profile" 40
part same 90 python - "$out" <<'PYTHON'
# A run that is cut and goes on is the one that is not, bit for bit; one device is all.
import sys

import jax
import numpy as np

from aaejax import data, models
from aaejax.runs.config import RunConfig
from aaejax.runs.hooks import Hook
from aaejax.runs.loop import train
from aaejax.runs.restore import restore

out = sys.argv[1]
digits = data.load("mnist5k", "unused")


class Stop(BaseException):
    pass


class Cut(Hook):
    def on_log(self, event):
        if event.step == 40:
            raise Stop


def run(name, overwrite=True, devices=None, hooks=()):
    config = RunConfig(
        epochs=2,
        batch_size=160,
        log_every=10,
        save_every=10,
        workdir=f"{out}/{name}",
        overwrite=overwrite,
        matmul_precision="highest",
    )
    train(models.options("aae")(), digits, config, devices=devices, hooks=hooks)


def networks(name):
    return jax.tree.leaves(jax.device_get(restore(f"{out}/{name}").variables))


try:
    run("part", hooks=[Cut()])
except Stop:
    run("part", overwrite=False)
run("whole")
equal = map(np.array_equal, networks("part"), networks("whole"))
assert all(equal), "a run that was resumed differs from one that was not"
said = "resumed equals unbroken, bit for bit"
if jax.device_count() > 1:
    run("one", devices=jax.devices()[:1])
    away = max(
        np.abs(a - b).max() for a, b in zip(networks("one"), networks("whole"), strict=True)
    )
    assert away < 1e-2, f"one device and {jax.device_count()} are {away} apart"
    said += f"; one device and {jax.device_count()}: parameters {away:.1e} apart at most"
print(said)
PYTHON
where="--device cpu"
[ "$platform" = gpu ] && where="--device cuda"
few="$where --rounds 1 --peers aaejax aaejax-bf16"
part steps 90 python benchmarks/speed.py $few --steps 100 --warm-steps 100 --out "$out/speed.json"
part steps1000 90 python benchmarks/speed.py $few --steps 20 --warm-steps 20 --batch 1000 --out "$out/speed1000.json"
export AAEJAX_TEST_PLATFORM=$platform JAX_DEFAULT_MATMUL_PRECISION=highest
[ "$platform" = gpu ] && AAEJAX_TEST_PLATFORM=cuda
workers=2
[ "$platform" = cpu ] || workers=0 # a process takes the whole device,
if [ "$platform" = gpu ]; then     # unless a GPU's memory is taken as it is needed
  export XLA_PYTHON_CLIENT_PREALLOCATE=false
  workers=$(($(nproc) < 16 ? ($(nproc) + 1) / 2 : 8))
fi
part tests 180 python -m pytest -m quick -vv -n $workers

python - "$out" "$platform" <<'PYTHON'
import json
import sys
from pathlib import Path

out, platform = Path(sys.argv[1]), sys.argv[2]
parts = {}
for line in (out / "parts.txt").read_text().splitlines():
    name, status, seconds = line.split()
    words = (out / f"{name}.txt").read_text().splitlines()
    said = {"0": "done", "124": "out of time", "137": "out of time"}.get(status, "failed")
    parts[name] = {"ended": said, "seconds": int(seconds), "last": words[-3:]}
whole = {
    "platform": platform,
    "devices": (out / "devices.txt").read_text().splitlines(),
    "parts": parts,
}
lines = ["# aaejax on " + whole["devices"][0], ""]
if platform == "cpu":
    lines += ["This was a CPU: there was no accelerator.", ""]
lines += ["| part | ended | seconds | last words |", "|-|-|-|-|"]
for name, part in parts.items():
    # Tables stand below.
    words = [word for word in part["last"] if word and not word.startswith("|")]
    last = words[-1].replace("|", "/")[:100] if words else ""
    lines.append(f"| {name} | {part['ended']} | {part['seconds']} | {last} |")
for batch, name in (("100", "speed"), ("1000", "speed1000")):
    if not (out / f"{name}.json").exists():
        continue
    whole[name] = json.loads((out / f"{name}.json").read_text())
    lines += ["", f"| batch {batch} | ms a step |", "|-|-|"]
    for peer, found in whole[name]["peers"].items():
        lines.append(f"| {peer} | {found['ms']:.2f} |")
if parts["trace"]["ended"] == "done":
    whole["trace"] = (out / "trace.txt").read_text().splitlines()
    lines += ["", "What takes the time of a step:", "", (out / "trace.txt").read_text()]
if (out / "samples.png").exists():
    lines += ["", "![samples](samples.png)", ""]
(out / "accelerator.json").write_text(json.dumps(whole, indent=1) + "\n")
(out / "accelerator.md").write_text("\n".join(lines))
print(f"written: {out}/accelerator.json and {out}/accelerator.md")
PYTHON
