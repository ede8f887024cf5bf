"""The tables that `compare.py` and `classical.py` print and that stand in the pages."""

import itertools
import statistics
from collections.abc import Iterable

from records import Record

# Of a number of a record: its title, and the digits after the point.
OF_SAMPLES = {
    "frechet_distance": ("Fréchet ↓", 1),
    "kernel_distance": ("KID ↓", 0),
    "random_frechet_distance": ("Fréchet, random features ↓", 2),
    "gaussian_frechet_distance": ("Fréchet, `--sampler gaussian` ↓", 1),
    "gmm_frechet_distance": ("Fréchet, `--sampler gmm` ↓", 1),
    "precision": ("precision", 2),
    "recall": ("recall", 2),
    "density": ("density", 2),
    "coverage": ("coverage", 2),
    "parzen_nats": ("Parzen, nats", 1),
}
OF_CODES = {
    "reconstruction_nats": ("reconstruction, nats", 1),
    "prior_mmd": ("match (MMD)", 3),
    "prior_classifier_accuracy": ("codes told from prior", 2),
    "linear_accuracy_100": ("linear, 100 labels", 2),
    "knn_accuracy_100": ("kNN, 100 labels", 2),
    "knn_accuracy_all": ("kNN, all labels", 2),
    "cluster_nmi": ("NMI of ten clusters", 2),
    "importance_weighted_nats": ("log p(x) at least, nats", 1),
    "seconds_an_epoch": ("s an epoch", 1),
    "parameters": ("parameters", 0),
}
OF_CLASSICAL = {
    **OF_SAMPLES,
    "fit_processor_seconds": ("fit, processor s", 1),
    "sample_processor_seconds": ("10,000 samples, processor s", 1),
}
SPREAD = (
    "frechet_distance",
    "gmm_frechet_distance",
    "random_frechet_distance",
    "recall",
    "parzen_nats",
    "reconstruction_nats",
)


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def compared(rows: dict[str, list[Record]], columns: dict[str, tuple[str, int]]) -> str:
    """Models side by side: means over seeds, with standard deviations in some columns.

    A model without records, and a column that no record has, are left out.
    """
    lines = []
    for title, records in rows.items():
        if not records:
            continue
        cells = [title]
        for column, (_, digits) in columns.items():
            values = [r[column] for r in records if column in r]
            spread = ""
            if len(values) > 1 and column in SPREAD:
                spread = f" ± {statistics.stdev(values):.{digits}f}"
            cells.append(f"{statistics.mean(values):,.{digits}f}{spread}" if values else "")
        lines.append(cells)
    head = ["", *(title for title, _ in columns.values())]
    known = [any(line[n] for line in lines) or not n for n in range(len(head))]
    kept = [list(itertools.compress(line, known)) for line in (head, *lines)]
    return markdown(kept[0], kept[1:])
