"""report.html and `--log`: what of a run can be seen beside metrics.jsonl."""

import json
import re
import shutil
import sys
from html.parser import HTMLParser

import jax
import numpy as np
import pytest

from aaejax.runs.on_disk.folder import RunFolder
from aaejax.runs.reports.curves import MOST, curve
from aaejax.runs.reports.report import POLICY, report
from aaejax.runs.reports.snapshots import RunPictures
from aaejax.types import UserError
from tests.conftest import TINY, read_lines, tiny_options, train_tiny


class Page(HTMLParser):
    """The words, tags and sources of a page."""

    def __init__(self, text):
        super().__init__()
        self.words, self.tags, self.sources = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href", "srcset", "data")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


def test_a_run_leaves_a_page_that_needs_nothing_else(finished_run):
    raw = (finished_run / "report.html").read_text()
    page = Page(raw)
    assert POLICY in raw.split("</head>")[0].replace("&#x27;", "'")
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert page.sources
    assert all(each.startswith("data:image/png;base64,") for each in page.sources)
    assert "aae on mnist5k" in page.text and "Step 40 of 40" in page.text
    for name in ("reconstruction", "prior_mmd, chance dashed", "discriminator", "samples"):
        assert name in page.text, name
    lines = read_lines(finished_run)
    last = lines[-1]["heldout/reconstruction"]
    assert f"{last:.4g}" in page.text
    assert f"python sample.py {finished_run}" in page.text
    assert "train.py aae --latent 2" in page.text
    assert page.tags.count("svg") == len(
        [n for n in lines[-1] if n not in ("step", "epoch") and not n.endswith("_chance")]
    )
    # A row of samples of each evaluation.
    assert sorted(RunFolder(finished_run).strips()) == [20, 40]
    assert "step 20" in page.words and "step 40" in page.words


def test_text_of_a_run_folder_is_text(run):
    hostile = "<script>alert(1)</script>\"'&\udcff\x1b[0m"
    config = json.loads((run / "config.json").read_text())
    config["data"] |= {"name": hostile, "class_names": [hostile] * 10}
    (run / "config.json").write_text(json.dumps(config))
    lines = (run / "metrics.jsonl").read_text()
    more = {"step": 41, f"heldout/{hostile}": 1.5, f"{hostile}/loss": 2, "x": [hostile]}
    (run / "metrics.jsonl").write_text(lines + json.dumps(more) + "\n")
    raw = report(RunFolder(run))
    page = Page(raw)
    assert "script" not in page.tags and "<script>" not in raw
    assert page.text.count("<script>alert(1)</script>") > 10
    assert raw.encode() and "\x1b" not in raw


def test_a_page_of_little_is_a_page(run):
    (run / "metrics.jsonl").write_text("")
    shutil.rmtree(run / "pictures")
    page = Page(report(RunFolder(run)))
    assert "Step 0 of 40" in page.text and "svg" not in page.tags


def test_a_curve_has_few_points_between_the_ends_of_its_range():
    steps = list(range(1, 5001))
    drawn = curve("a<b", (steps, [float(s) for s in steps]), ([1], [2500.0]))
    assert "a&lt;b" in drawn and "5000 at step 5000, from 1 to 5000" in drawn
    first, second = re.findall(r'points="([^"]*)"', drawn)
    points = np.array([pair.split(",") for pair in first.split()], float)
    assert len(points) == MOST
    assert (np.diff(points[:, 0]) > 0).all() and (np.diff(points[:, 1]) < 0).all()
    assert points.min() >= 0 and points[:, 0].max() <= 300 and points[:, 1].max() <= 97
    assert second == "0.0,55.5"
    x, y = first.split()[-1].split(",")
    assert f'<circle class="dot" cx="{x}" cy="{y}"' in drawn
    one = curve("one", ([7], [3.0]))  # a line through one point is none
    assert 'points="150.0,55.5"' in one and 'cx="150.0" cy="55.5"' in one


def test_rows_of_samples_are_few_and_spread(tmp_path):
    folder = RunFolder(tmp_path)
    folder.pictures.mkdir()
    made = RunPictures(
        tiny_options().build(TINY, 1),
        np.zeros((0, *TINY.shape), np.uint8),
        None,
        (),
        folder,
        jax.random.key(0),
    )
    for step in [*range(1, 61), 61, 100]:  # the last two of a run before it went on
        (folder.pictures / f"samples-step-{step}.png").touch()
    made._thin_out(60)
    kept = sorted(folder.strips())
    assert kept[0] == 1 and kept[-1] == 60 and len(kept) == 24
    assert max(np.diff(kept)) <= 4


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_log_that_is_not_installed_is_one_line(name, digits, tmp_path, monkeypatch):
    package = {"tensorboard": "tensorboardX"}.get(name, name)
    monkeypatch.setitem(sys.modules, package, None)
    how = rf"pip install 'aaejax\[{name}\]', or pip install {package}, or leave it out"
    with pytest.raises(UserError, match=f"--log {name} needs {package}: {how}"):
        train_tiny(tmp_path / "run", digits, log=(name,))
    assert not (tmp_path / "run").exists()


def events(folder):
    """What TensorBoard itself makes of a folder."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


@pytest.mark.filterwarnings("default")  # of the package's own
def test_tensorboard_shows_the_lines_and_leaves_out_what_came_later(digits, tmp_path):
    pytest.importorskip("tensorboardX")
    run = tmp_path / "run"
    more = {"devices": 1, "log": ("tensorboard",), "tell": [].append}
    train_tiny(run, digits, **more)
    folder = run / "tensorboard"
    codes = np.loadtxt(folder / "codes.tsv")
    labels = (folder / "labels.tsv").read_text().split()
    assert codes.shape == (100, 2) and len(labels) == 100
    assert set(labels) <= {str(digit) for digit in range(10)}
    config = (folder / "projector_config.pbtxt").read_text()
    assert 'tensor_path: "codes.tsv"' in config and "single_image_dim: 28" in config
    # As if the process had been killed between the two checkpoints.
    shutil.rmtree(run / "checkpoints" / "40")
    train_tiny(run, digits, **more)
    lines = read_lines(run)
    found = events(folder)
    for name in ("reconstruction/loss", "heldout/reconstruction"):
        wanted = [(line["step"], line[name]) for line in lines if name in line]
        shown = [(each.step, each.value) for each in found.Scalars(name)]
        assert [step for step, _ in shown] == [step for step, _ in wanted]
        np.testing.assert_allclose([v for _, v in shown], [v for _, v in wanted], rtol=1e-6)
    assert [each.step for each in found.Images("samples")] == [20, 40]
    assert "_hparams_/session_start_info" in found.summary_metadata
    train_tiny(run, digits, **{**more, "log": ()}, overwrite=True, epochs=1)
    assert not folder.exists()
