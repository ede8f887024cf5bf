"""Writes the tables of results into the pages, from the JSON files of benchmarks/results.

    python docs/make_results.py            # rewrites what stands between the marks
    python docs/make_results.py --check    # only says whether all is up to date

A mark is `<!-- table: NAME -->`, its end `<!-- end of table -->`; NAME is a key of TABLES.
"""

import json
import re
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import compare_tables
from compare_tables import OF_CLASSICAL, OF_CODES, OF_SAMPLES, markdown
from records import Records

RESULTS = ROOT / "benchmarks" / "results"
PAGES = tuple(
    f"{name}.md"
    for name in (
        "README",
        "docs/data",
        "docs/reliability",
        "docs/results",
        "docs/speed",
        "docs/using",
        "docs/which-model",
    )
)
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

# What each file name of benchmarks/results/paper is about: title, name, what was trained.
ROWS = {
    "table1-10K": "Parzen log-likelihood, 10,000 samples, nats",
    "table1-10M": "the same, 10,000,000 samples",
    "table2-100": "error, 100 labels, %",
    "table2-1000": "error, 1000 labels, %",
    "table2-all": "error, all labels, %",
    "table3-16": "clustering error, 16 clusters, %",
    "table3-30": "clustering error, 30 clusters, %",
    "figure11-2-D-100labels": "2-D codes, error, 100 labels, %",
    "figure11-2-D-1000labels": "2-D codes, error, 1000 labels, %",
    "figure11-2-D-20clusters": "2-D codes, clustering error, 20 clusters, %",
    "figure11-10-D-100labels": "10-D codes, error, 100 labels, %",
}
# The recipes that benchmarks/paper.py has now.
BEST = {
    "table1-10K": "best-30epochs",
    "table1-10M": "best-30epochs",
    "table2-100": "best-8epochs",
    "table2-1000": "best-8epochs",
    "table2-all": "best-8epochs",
    "table3-16": "best-40epochs",
    "table3-30": "best-60epochs",
    "figure11-2-D-100labels": "best-6epochs",
    "figure11-2-D-1000labels": "best-6epochs",
    "figure11-2-D-20clusters": "best-20epochs",
    "figure11-10-D-100labels": "best-16epochs",
}
# Where both precisions were tried with another recipe.
IN_BOTH = {
    "table2-100": "best-7epochs",
    "table2-1000": "best-4epochs",
    "table2-all": "one-encoder-8epochs",
    "table3-16": "best-20epochs",
    "table3-30": "best-24epochs",
    "figure11-2-D-20clusters": "best-10epochs",
    "figure11-10-D-100labels": "best-6epochs",
}
# Detectors that are not PyOD's.
OUTLIERS = {"aae": "**AAEDetector**", "IsolationForest": "scikit-learn's IsolationForest"}
# What else was scored on test digits, before the recipe of now.
EARLIER = {
    "table1-10K-best-5epochs": "width 1000, std 1, no noise, reconstruction at 1e-3",
    "table1-10K-best-10epochs": "width 1000, std 1, no noise, reconstruction at 3e-3",
    "table2-100-best-6epochs": "MLPs, slow adversary",
    "table2-100-best-10epochs": "MLPs, fast adversary",
    "table2-100-best-7epochs": "16 channels, less distortion, no mutual information",
    "table2-100-stopped-15epochs": "one encoder, 32 channels, 15 of 20 epochs",
    "table2-1000-MLP-6epochs": "MLPs",
    "table2-1000-best-4epochs": "16 channels, less distortion, no mutual information",
    "table2-1000-stopped-15epochs": "one encoder, 32 channels, 15 of 20 epochs",
    "table2-all-best-12epochs": "MLPs",
    "table2-all-slow-adversary-8epochs": "slow adversary (styles follow the digit)",
    "table2-all-one-encoder-8epochs": "one encoder, whose class all phases teach",
    "table3-16-best-6epochs": "without mutual information",
    "table3-16-best-20epochs": "20 epochs and not 40",
    "table3-16-no-restarts-20epochs": "first starts of seeds, in float32",
    "table3-30-best-4epochs": "without mutual information",
    "table3-30-best-6epochs": "without mutual information",
    "table3-30-best-8epochs": "without --information",
    "table3-30-best-20epochs": "without --information",
    "table3-30-best-24epochs": "one run a seed, 24 epochs",
    "table3-30-float32-24epochs": "one run a seed, 24 epochs, in float32",
    "figure11-2-D-20clusters-best-6epochs": "without mutual information, slow adversary",
    "figure11-2-D-20clusters-best-10epochs": "10 epochs and not 20",
    "figure11-2-D-20clusters-no-restarts-10epochs": "first starts of seeds, in float32",
    "figure11-10-D-100labels-best-6epochs": "MLPs",
    "figure11-10-D-100labels-best-12epochs": "MLPs",
}
COMPARED = {
    "autoencoder": "autoencoder and a fitted Gaussian",
    "rae-l2": "the same, RAE-L2",
    "rae-gp": "the same, RAE-GP",
    "aae": "**aae**",
    "aae-ema": "aae, EMA",
    "aae-gaussian": "aae, Gaussian posterior",
    "wae-mmd": "wae-mmd",
    "gmmn-codes": "gmmn-codes",
    "vae": "vae",
    "vae-gaussian": "vae, trained variance",
    "vae-two-stage": "vae, two stages",
    "gan": "gan",
    "gmmn": "gmmn",
}
CLASSICAL = {
    "gaussian-mixture": "Gaussian mixture",
    "naive-bayes": "naive Bayes",
    "hidden-markov": "hidden Markov model of rows",
    "topics": "latent Dirichlet allocation",
    "deep-belief": "deep belief net",
}
IN_PLANE = {
    name: {**OF_SAMPLES, **OF_CODES}[name]
    for name in (
        "frechet_distance",
        "precision",
        "recall",
        "coverage",
        "parzen_nats",
        "reconstruction_nats",
        "prior_mmd",
        "prior_classifier_accuracy",
        "knn_accuracy_100",
        "knn_accuracy_all",
    )
}
PEERS = {
    "aaejax": "aaejax",
    "aaejax-bf16": "aaejax, bf16",
    "torch": "PyTorch, as people write it",
    "torch-tuned": "PyTorch, tuned",
    "torch-once": "PyTorch, tuned, encoding once for both adversaries",
    "torch-compile": "PyTorch, tuned and compiled",
    "torch-bf16": "PyTorch, tuned, bf16 autocast",
}


def read(name: str) -> dict[str, Any]:
    """A JSON file of the results."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def runs(name: str, tune: bool = False) -> list[dict[str, Any]]:
    """The records of all seeds of one row of benchmarks/paper.py."""
    end = "-tune" if tune else ""
    names = [f"paper/{name}-seed{seed}{end}" for seed in range(10)]
    return [read(each) for each in names if (RESULTS / f"{each}.json").exists()]


def mean(records: list[dict[str, Any]], key: str = "value") -> str:
    """Mean ± standard deviation over seeds, or the one value."""
    digits = 1 if records[0]["unit"] == "nats" else 2
    values = [record[key] for record in records]
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def each(records: list[dict[str, Any]], key: str = "value") -> str:
    """The value of each seed, in brackets, where there is more than one."""
    digits = 1 if records[0]["unit"] == "nats" else 2
    values = ", ".join(f"{record[key]:.{digits}f}" for record in records)
    return f" ({values})" if len(records) > 1 else ""


def epochs_of(record: dict[str, Any]) -> str:
    """The epochs that it trained, and of how many where the time ended before."""
    planned = record.get("stopped_of_epochs")
    return f"{record['epochs']} of {planned}" if planned else str(record["epochs"])


def paper() -> str:
    """The paper's numbers and ours."""
    rows = []
    for row, title in ROWS.items():
        found = runs(f"{row}-{BEST[row]}")
        early = "stopped_of_epochs" in found[0]
        note = f" ({epochs_of(found[0])} epochs)" * early
        rows.append((title, found[0]["paper"], f"**{mean(found)}**{note}"))
    return markdown(("number", "paper", "here"), rows)


def paper_in_full() -> str:
    """The same with every seed, clusters named by majority, and the cost."""
    rows = []
    for row, title in ROWS.items():
        found = runs(f"{row}-{BEST[row]}")
        minutes = [r["minutes"] for r in found if r["minutes"] is not None]
        majority = ""
        if "majority" in found[0]:
            majority = mean(found, "majority") + each(found, "majority")
        rows.append(
            (
                title,
                found[0]["paper"],
                f"**{mean(found)}**{each(found)}",
                majority,
                epochs_of(found[0]),
                f"{statistics.mean(minutes):.2g}" if minutes else "",
            )
        )
    head = ("number", "paper", "here, each seed", "named by majority", "epochs", "minutes")
    return markdown(head, rows)


def naming() -> str:
    """Clustering errors by each rule of naming, of runs that were scored by all."""
    rows = []
    for row, title in ROWS.items():
        found = runs(f"{row}-{BEST[row]}")
        if "of_mean_over_shifts" in found[0]:
            columns = ("value", "of_mean_over_shifts", "majority")
            cells = [mean(found, column) for column in columns]
            rows.append((title, found[0]["paper"], *cells))
    head = (
        "number",
        "paper",
        "the paper's rule",
        "the same, mean over shifts",
        "majority",
    )
    return markdown(head, rows)


def settings_of_the_paper() -> str:
    """The recipe as published, for a few of its epochs."""
    rows = []
    for row, title in ROWS.items():
        # "plain": of table 3, without the recipe's batch norm and dropout.
        names = sorted((RESULTS / "paper").glob(f"{row}-paper-[0-9]*epochs-seed0.json"))
        plain = (RESULTS / "paper").glob(f"{row}-paper-plain-*epochs-seed0.json")
        (name, *_) = [*names, *plain, None]
        if name is None:
            continue
        record = json.loads(name.read_text())
        note = ""
        if "majority" in record:
            note = f"{record['clusters_used']} clusters used; {record['majority']:.2f}"
        rows.append((title, record["paper"], mean([record]), epochs_of(record), note))
    head = ("number", "paper", "here", "epochs", "by majority")
    return markdown(head, rows)


def earlier() -> str:
    """What the test digits were read for before."""
    rows = []
    for name, what in EARLIER.items():
        row = max((r for r in ROWS if name.startswith(f"{r}-")), key=len)
        found = runs(name)
        majority = mean(found, "majority") if "majority" in found[0] else ""
        cells = (mean(found) + each(found), majority, str(found[0]["epochs"]))
        rows.append((ROWS[row], what, *cells))
    return markdown(("number", "what", "each seed", "by majority", "epochs"), rows)


def precision() -> str:
    """Validation scores in float32 and in bf16; float32's are not kept for every row."""
    rows = []
    for row, title in ROWS.items():
        recipe = IN_BOTH.get(row, BEST[row])
        full, half = (runs(f"{row}-{recipe}{kind}", tune=True) for kind in ("", "-bf16"))
        if half:
            rows.append((title, *(mean(x) + each(x) if x else "" for x in (full, half))))
    return markdown(("number, on validation digits", "float32", "bf16"), rows)


def compared(
    folder: str,
    columns: dict[str, tuple[str, int]],
    models: dict[str, str] = COMPARED,
) -> str:
    """Models of one size on the same data, mean over seeds."""
    place = RESULTS / "compare" / folder
    rows = {title: Records(place, word).all_seeds() for word, title in models.items()}
    return compare_tables.compared(rows, columns)


def step_times(files: dict[str, str]) -> str:
    """Milliseconds a step, and in brackets how many times aaejax's time that is."""
    found = {title: read(f"speed-{name}")["peers"] for title, name in files.items()}
    peers = [peer for peer in PEERS if any(peer in each for each in found.values())]
    rows = []
    for peer in peers:
        cells = []
        for measured in found.values():
            cell = ""
            if peer in measured:
                cell = f"{measured[peer]['ms']:.1f}"
                if peer != "aaejax":
                    cell += f" ({measured[peer]['ratio']:.2f})"
            cells.append(cell)
        rows.append((PEERS[peer], *cells))
    return markdown(("ms a step", *files), rows)


def scaling() -> str:
    """The cost of a step, and of sampling, as one size changes."""
    rows: dict[str, list[str]] = {}
    for name in ("speed-epyc-scaling", "speed-scaling"):
        for size in read(name)["sizes"]:
            change = ", ".join(f"{k} {v:,}" for k, v in size["change"].items())
            row = rows.setdefault(change.replace("_", " ") or "base", [""] * 4)
            place = 2 * (size["peer"] == "sampling") + (name == "speed-scaling")
            row[place] = f"{size['ms']:.1f} ({size['ratio']:.2f})"
    titles = ("", "training, EPYC", "training, Xeon", "sampling, EPYC", "sampling, Xeon")
    return markdown(titles, ([change, *cells] for change, cells in rows.items()))


def memory() -> str:
    """The peak memory of a process, and the change that makes it."""
    rows: dict[str, list[str]] = {}
    for size in read("speed-memory")["sizes"]:
        change = ", ".join(f"{k} {v:,}" for k, v in size["change"].items())
        row = rows.setdefault(change.replace("_", " ") or "base", ["", ""])
        row[size["peer"] == "sampling"] = f"{size['host_gb']:.2f}"
    titles = ("GB at most", "training", "sampling")
    return markdown(titles, ([change, *cells] for change, cells in rows.items()))


def startup() -> str:
    """Seconds until something happens, the median of the rounds."""
    found = [read(name)["seconds"] for name in ("speed-epyc-startup", "speed-startup")]
    rows = [
        (what, *(f"{statistics.median(each[what]):.1f}" for each in found))
        for what in found[0]
    ]
    return markdown(("seconds", "EPYC", "Xeon"), rows)


def survived() -> str:
    """What was done to a run folder, how often, and how often it survived."""
    found = read("reliability")
    rows = [(what, *map(str, row.values())) for what, row in found.items()]
    return markdown(("", *next(iter(found.values()))), rows)


def data_of_every_size() -> str:
    """What benchmarks/data.py measured, beside what was asked for."""
    rows = []
    for part in read("data").values():
        for each in part:
            limit = each["limit"]
            asked = "" if limit is None else f"at {each['limit_is']} {limit:g}"
            figure = f"{each['value']:.2f} {each['unit']}".strip()
            rows.append((each["what"], figure, asked))
    return markdown(("", "measured", "asked for"), rows)


def outliers() -> str:
    """How well each detector tells a digit, and malignant tumours, that it did not see."""
    found = read("outliers")
    kept = {name: value for name, value in found.items() if isinstance(value, dict)}
    methods = dict.fromkeys(name.split("/")[1] for name in kept)
    rows = []
    for method in methods:
        digits = [kept[f"digit-{digit}/{method}"] for digit in range(10)]
        areas = [each["auroc"] for each in digits]
        rows.append(
            (
                OUTLIERS.get(method, f"PyOD's {method}"),
                f"{statistics.mean(areas):.3f}",
                f"{min(areas):.2f} to {max(areas):.2f}",
                f"{statistics.mean(each['processor_seconds'] for each in digits):.1f}",
                f"{kept[f'breast-cancer/{method}']['auroc']:.3f}",
            )
        )
    rows.sort(key=lambda row: row[1], reverse=True)
    head = ("", "ten digits, mean", "range", "processor s a digit", "breast cancer")
    return markdown(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    "paper": paper,
    "paper-in-full": paper_in_full,
    "naming": naming,
    "paper-settings": settings_of_the_paper,
    "earlier": earlier,
    "precision": precision,
    "compared-mnist5k": partial(compared, "mnist5k-50epochs-latent8-3x200", OF_SAMPLES),
    "compared-mnist5k-codes": partial(compared, "mnist5k-50epochs-latent8-3x200", OF_CODES),
    "compared-mnist": partial(compared, "mnist-4epochs-latent8-3x200", OF_SAMPLES),
    "compared-mnist-codes": partial(compared, "mnist-4epochs-latent8-3x200", OF_CODES),
    "compared-colour": partial(compared, "cifar-2epochs-latent64-conv", OF_SAMPLES),
    "compared-colour-codes": partial(compared, "cifar-2epochs-latent64-conv", OF_CODES),
    "compared-classical": partial(compared, "mnist5k-classical", OF_CLASSICAL, CLASSICAL),
    "compared-plane": partial(compared, "mnist-4epochs-latent2-width200", IN_PLANE),
    "steps": partial(
        step_times,
        {
            "EPYC, batch 100": "epyc",
            "EPYC, batch 1000": "epyc-batch1000",
            "Xeon, batch 100": "cpu",
            "Xeon, batch 1000": "cpu-batch1000",
            "AVX2, batch 100": "avx2",
            "AVX2, batch 1000": "avx2-batch1000",
            "newer Xeon, batch 100": "xeon512",
            "newer Xeon, batch 1000": "xeon512-batch1000",
        },
    ),
    "bf16": partial(
        step_times,
        {
            "EPYC, batch 100": "epyc-bf16",
            "EPYC, batch 1000": "epyc-bf16-batch1000",
            "Xeon, batch 100": "cpu-bf16",
            "newer Xeon, batch 100": "xeon512-bf16",
            "newer Xeon, batch 1000": "xeon512-bf16-batch1000",
        },
    ),
    "convolutions": partial(
        step_times,
        {
            "EPYC, 28x28x1": "epyc-conv28",
            "EPYC, 32x32x3": "epyc-conv32",
            "Xeon, 28x28x1": "cpu-conv28",
            "Xeon, 32x32x3": "cpu-conv32",
        },
    ),
    "long": partial(step_times, {"EPYC": "epyc-long", "Xeon": "cpu-long"}),
    "compiled": partial(step_times, {"EPYC, batch 100": "epyc-compiled"}),
    "data": data_of_every_size,
    "memory": memory,
    "outliers": outliers,
    "reliability": survived,
    "scaling": scaling,
    "startup": startup,
}


def updated(text: str) -> str:
    """A page with the tables of now between its marks."""
    return MARKED.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}{m[3]}", text)


def main(check: bool) -> int:
    """Exit status 1 where a page is out of date and was only to be checked."""
    stale = []
    for name in PAGES:
        page = ROOT / name
        text = page.read_text()
        if (new := updated(text)) != text:
            stale.append(name)
            if not check:
                page.write_text(new)
    if stale:
        print(f"{'out of date' if check else 'written'}: {', '.join(stale)}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
