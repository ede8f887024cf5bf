"""A model card: what an exported folder says of itself to who opens it."""

import datetime
import re
from collections.abc import Sequence

import jax

import aaejax
from aaejax.ask.labels import listed
from aaejax.runs.reports.summary import (
    command,
    planned_steps,
    scores_at,
    sizes,
    train_arguments,
)
from aaejax.runs.trained import Trained
from aaejax.types import printable

CARD = """\
---
library_name: aaejax
tags: [jax, autoencoder]
# license: say yours, such as mit
---

# {title}

| | |
|---|---|
{facts}

## Scores

{scores}

## Licence

None yet: what may be done with these weights is for who trained them to say, here and as
`license` above. The data that they were trained on may have a licence that matters too.

## Files

| file | what it has |
|---|---|
| `model.safetensors` | the parameters, and other state, of all networks |
| `config.json` | the model, its options, and what is known of the data |
{files}

## Loading it

With aaejax the folder is a run folder: `python sample.py FOLDER` asks it, and

    from aaejax.runs.restore import restore
    trained = restore("FOLDER"{needs})
    images = trained.sample(10)

Without it, `model.safetensors` is read by the package safetensors of any framework, and the
programs by JAX alone:

    from pathlib import Path
    from jax import export
    from safetensors.numpy import load_file
    weights = load_file("FOLDER/model.safetensors")
    decode = export.deserialize(bytearray(Path("FOLDER/decode{suffix}").read_bytes()))
    images = decode.call(weights, codes)  # float32 [B, {latent}], any B

The programs are for cpu, cuda and tpu, and expire: JAX {jax} wrote them on {date}, and JAX
promises to run them in its releases of the six months after {jax}, and of the three weeks
before it. The weights do not expire.
{onnx}
## How it was trained

{trained_by}
"""
ONNX = """
The `.onnx` files have the weights in them and need a runtime of ONNX alone:

    import onnxruntime
    decode = onnxruntime.InferenceSession("FOLDER/decode.onnx")
    images, = decode.run(None, {{"codes": codes}})  # float32 [B, {latent}], any B
"""
PROGRAMS = {
    "decode": "codes to examples",
    "encode": "examples, labels (-1: unknown) or conditions, and a seed to codes",
    "sample": "labels (-1: any) or conditions, and a seed to samples",
}
ONNX_FILES = {
    "decode": "codes to examples, the weights in it",
    "encode": "examples, and labels where they matter, to codes; the weights in it",
}


def card(trained: Trained, files: Sequence[str], suffix: str) -> str:
    """Makes the text of README.md of a folder that `ask.export` makes.

    Args:
      trained: The trained model that is exported.
      files: The names of the files that are in the folder.
      suffix: The suffix of the programs' names.
    """
    config, data, model = trained.config, trained.data, trained.model
    name = str(config.get("model", "a model built by hand"))
    source = listed([str(config["data"].get("name", "data without a name"))])
    of = {"last": "", "ema": ", the moving average of the parameters"}[trained.weights]
    facts = {
        "data": f"{source}: {data.train:,} training and {data.test:,} held-out examples",
        "example": f"{list(data.spec.shape)}"
        + (", values in [0, 1]" if data.spec.unit_range else ""),
        "classes": listed(data.class_names) if data.class_names else "none",
        "fingerprint of the data": data.fingerprint,
        "code": f"{model.latent} numbers",
        "step": f"{trained.step} of {planned_steps(config)}{of}",
        "parameters": ", ".join(f"{k} {n:,}" for k, n in sizes(trained.variables).items()),
        "written by": f"aaejax {aaejax.__version__}, JAX {jax.__version__}",
    }
    step, scores = scores_at(trained.history, trained.step)
    rows = [f"| {_text(name)} | {value:.6g} |" for name, value in scores.items()]
    head = [f"Of held-out examples, at step {step}:", "", "| score | value |", "|---|---|"]
    listing = [
        f"| `{word}{suffix}` | {what} |"
        for word, what in PROGRAMS.items()
        if f"{word}{suffix}" in files
    ]
    listing += [
        f"| `{word}.onnx` | {what} |"
        for word, what in ONNX_FILES.items()
        if f"{word}.onnx" in files
    ]
    if "heldout.npz" in files:
        listing.append(
            "| `heldout.npz` | up to 256 held-out examples of the data, and their labels, "
            "which some questions need: remove it where the data are not to be seen |"
        )
    if "metrics.jsonl" in files:
        listing.append("| `metrics.jsonl` | losses and scores up to this step |")
    words = train_arguments(config)
    needs = ", model=..." if words is None else ""
    if str(config.get("options", {}).get("network", "")).endswith(".py"):
        needs = ', network="FILE.py"'  # which is no part of a run folder
    by_hand = "By a model built by hand in Python, which `restore` needs too."
    return CARD.format(
        title=_text(f"{name} on {source}"),
        facts="\n".join(f"| {key} | {_text(value)} |" for key, value in facts.items()),
        scores="\n".join([*head, *rows]) if rows else "None: nothing is held out.",
        files="\n".join(listing),
        needs=needs,
        suffix=suffix,
        onnx=ONNX.format(latent=model.latent) if "decode.onnx" in files else "",
        latent=model.latent,
        date=datetime.datetime.now(datetime.UTC).date(),
        jax=jax.__version__,
        trained_by=by_hand
        if words is None
        else f"    {command(['python', 'train.py', *words])}",
    )


def _text(text: str) -> str:
    """Text as Markdown shows it, whatever is in it."""
    return re.sub(r"([\\`*_{}\[\]()#|<>&~$])", r"\\\1", printable(text))
