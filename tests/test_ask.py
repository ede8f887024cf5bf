"""Asking a run: its classes by name, its own data and no others, what it refuses."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from aaejax.ask import command, sources
from aaejax.ask.kinds import sample
from aaejax.ask.labels import class_number, to_run
from aaejax.ask.out import write
from aaejax.data import from_arrays, load
from aaejax.runs.config import RunConfig
from aaejax.runs.loop import train
from aaejax.runs.restore import restore
from aaejax.types import UserError
from tests.conftest import TINY, tiny_options, train_tiny

PETS = ("cat", "cow", "dog")


def pictures(names, seed=0):
    """A class of PETS is a bright row."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 0.3, (len(names), *TINY.shape)).astype(np.float32)
    rows = [PETS.index(name) if name in PETS else 5 for name in names]
    images[np.arange(len(names)), rows] += 0.7
    return images


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A supervised run on 60 pets; keeps two checkpoints."""
    home = tmp_path_factory.mktemp("ask")
    names = np.array(PETS * 20)
    np.savez(home / "pets.npz", images=pictures(names), labels=names)
    config = RunConfig(
        dataset=str(home / "pets.npz"),
        epochs=30,
        batch_size=9,
        log_every=45,
        save_every=90,
        keep=2,
        workdir=home / "run",
    )
    dataset = load(config.dataset, "unused")
    options = tiny_options("supervised", depth=2)  # learns what a class looks like
    return restore(train(options, dataset, config, devices=jax.devices()[:1]).folder)


def changed(trained, tmp_path, part=None, **entries):
    """A copy of the run whose config.json says something else."""
    copy = tmp_path / "copy"
    shutil.copytree(trained.folder.path, copy)
    config = json.loads((copy / "config.json").read_text())
    (config if part is None else config[part]).update(entries)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def save(path, names=None, **arrays):
    if names is not None:
        arrays = {"images": pictures(names, 1), "labels": np.array(names), **arrays}
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize(
    ("classes", "asked", "number"),
    [
        (PETS, "dog", 2),
        (PETS, "1", 1),
        (PETS, 0, 0),
        (("1", "2", "10"), "10", 2),
        (("1", "2", "10"), 2, 1),
        (("7", "dog"), "7", 0),
    ],
)
def test_a_class_is_asked_for_by_name_or_number(classes, asked, number):
    assert class_number(classes, asked) == number


@pytest.mark.parametrize(
    ("classes", "asked", "words"),
    [
        (PETS, "bird", "no class bird: it has cat, cow, dog"),
        (PETS, 3, "no class number 3: it has 0 to 2"),
        (PETS, -1, "no class -1"),
        (PETS, "", "no class ''"),
        # An integer is a name where classes are named so, and then nothing else.
        (("1", "2", "10"), 0, "no class 0: it has 1, 2, 10"),
        (("7", "dog"), "0", "no class 0"),
        (("0.5", "1.5", "2.5"), "1", "no class 1: it has 0.5, 1.5, 2.5"),
        (("-1", "0.5"), 1, "no class 1"),
        (("\x1b[31m", "b"), "c", r"it has '\\x1b\[31m', b$"),
        (tuple(f"c{i}" for i in range(1000)), "x", r"c11, \.\.\. \(1000 in all\)$"),
        ((), "cat", "no class cat"),
        (("a", "a"), "a", "2 classes called a"),
    ],
)
def test_a_class_that_the_run_has_not_is_refused_by_name(classes, asked, words):
    with pytest.raises(UserError, match=words):
        class_number(classes, asked)


def test_labels_go_to_the_run_by_name():
    labels = np.array([1, 0, -1, 1], np.int32)
    assert to_run(labels, ("cow", "dog"), PETS, "x").tolist() == [2, 1, -1, 2]
    # Numbers of classes with words for names; and numbers that are names.
    assert to_run(labels, ("0", "2"), PETS, "x").tolist() == [2, 0, -1, 2]
    assert to_run(labels, ("10", "1"), ("1", "2", "10"), "x").tolist() == [0, 2, -1, 0]
    # A name that no example has needs no class.
    assert to_run(labels, ("cow", "dog", "bird"), PETS, "x").tolist() == [2, 1, -1, 2]
    assert to_run(np.full(2, -1), (), PETS, "x").tolist() == [-1, -1]
    with pytest.raises(UserError, match="x: the run has no class number 7"):
        to_run(labels, ("0", "7"), PETS, "x")


def test_new_data_without_a_class_are_reconstructed_as_the_class_that_they_are(
    pets, tmp_path
):
    dogs, seen = save(tmp_path / "dogs.npz", ["dog"] * 10), {}
    for name, data in (("dogs", dogs), ("all", save(tmp_path / "all.npz", PETS * 4))):
        pairs = sample(pets, "reconstructions", data=data, count=12)["images"]
        seen[name] = np.abs(pairs[:, 0] - pairs[:, 1]).mean()
    assert seen["dogs"] < 1.5 * seen["all"]
    codes = sample(pets, "codes", data=dogs)
    assert codes["labels"].tolist() == [2] * 10
    assert codes["class_names"].tolist() == list(PETS)
    np.testing.assert_array_equal(codes["codes"][:, :3], [[0, 0, 1]] * 10)


@pytest.mark.parametrize("kind", ["codes", "reconstructions", "interpolation"])
def test_data_with_a_class_that_the_run_never_saw_are_refused(pets, kind, tmp_path):
    data = save(tmp_path / "birds.npz", ["bird", "cat"])
    with pytest.raises(UserError, match="no class bird: it has cat, cow, dog"):
        sample(pets, kind, data=data)
    data = save(tmp_path / "3.npz", images=pictures(PETS), labels=np.arange(1, 4))
    with pytest.raises(UserError, match="no class number 3"):
        sample(pets, kind, data=data)


def test_samples_and_arithmetic_take_names_and_numbers(pets, tmp_path, monkeypatch):
    by_name = sample(pets, label="dog", count=4)["images"]
    for label in (2, "2"):
        np.testing.assert_array_equal(sample(pets, label=label, count=4)["images"], by_name)
    assert by_name[:, 2].mean() > by_name[:, :2].mean()  # the dog's row is the bright one
    data = {**pets.config["data"], "class_names": ["1", "10", "2"]}
    numbered = dataclasses.replace(pets, config={**pets.config, "data": data})
    np.testing.assert_array_equal(sample(numbered, label="2", count=4)["images"], by_name)
    with pytest.raises(UserError, match="no class bird"):
        sample(pets, label="bird")
    named = sample(pets, "arithmetic", plus="dog", minus="cat", count=10)["images"]
    numbers = sample(pets, "arithmetic", plus=2, minus="0", count=10)["images"]
    np.testing.assert_array_equal(named, numbers)
    # A class goes before a file of its name, and says so; ./dog is the file.
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "dog.npz", ["cat", "cat"])
    (tmp_path / "dog.npz").rename(tmp_path / "dog")
    told = []
    ask = {"minus": "cat", "count": 10, "tell": told.append}
    np.testing.assert_array_equal(
        sample(pets, "arithmetic", plus="dog", **ask)["images"], named
    )
    assert told == [
        "dog is taken as the class of that name, not as the file or folder: "
        "write ./dog for that"
    ]
    of_file = sample(pets, "arithmetic", plus="./dog", **ask)["images"]
    assert np.abs(of_file - named).max() > 0.01
    with pytest.raises(UserError, match=r"no class is called dgo \(classes: cat, cow, dog"):
        sample(pets, "arithmetic", plus="dgo", **ask)


def test_codes_are_of_the_runs_own_data_or_refused(pets, tmp_path):
    own = sample(pets, "codes")
    assert np.bincount(own["split"]).tolist() == [54, 6]
    kept = pets.folder.read_heldout()
    assert sorted(own["labels"][54:]) == sorted(kept["labels"])
    # What nearest shows are training images, none that was held out.
    training = load(pets.config["run"]["dataset"], "unused").train_images
    shown = sample(pets, "nearest", count=6)["images"][:, 1:].reshape(-1, *TINY.shape)
    assert all((image == training).all(axis=(1, 2, 3)).any() for image in shown)
    # Other data under that name, another built-in set, none, and a run from arrays.
    other = save(tmp_path / "other.npz", PETS * 20)
    for name in (other, "mnist5k", str(tmp_path / "gone.npz"), "arrays", "~no_one/x", ""):
        config = pets.config | {"run": pets.config["run"] | {"dataset": name}}
        moved = dataclasses.replace(pets, config=config)
        for kind in ("codes", "nearest"):
            with pytest.raises(UserError, match=r"not at hand .* 54 training and 6 held-"):
                sample(moved, kind)
    # --data gives them.
    data = pets.config["run"]["dataset"]
    assert len(sample(moved, "codes", data=data)["codes"]) == 60
    assert sample(moved, "nearest", data=data, count=1)["images"].shape[0] == 1
    with pytest.raises(UserError, match="holds other data"):
        sample(pets, "nearest", data=other)


@pytest.mark.parametrize(
    "name", ["pics", "pics:1.0.0", "mnist:1.0.0", "mnist/own", "../pics", "no_such_set"]
)
def test_no_code_beside_the_data_runs_for_a_name_in_config_json(
    pets, name, tmp_path, monkeypatch
):
    (tmp_path / "payload.py").write_text("open('code-ran', 'w')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.chdir(tmp_path)
    split = {"name": "train", "numBytes": "0", "shardLengths": ["1"]}
    split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    for base in ("pics", "mnist", "mnist/own"):
        d = tmp_path / "data" / base / "1.0.0"
        d.mkdir(parents=True)
        about = {"name": base, "version": "1.0.0", "fileFormat": "array_record"}
        about |= {"moduleName": "a.b", "splits": [split]}
        (d / "dataset_info.json").write_text(json.dumps(about))
        feature = {"pythonClassName": "payload.Feature", "featuresDict": {"features": {}}}
        (d / "features.json").write_text(json.dumps(feature))
    config = pets.config | {"where": {"data_dir": str(tmp_path / "data")}}
    config |= {"run": pets.config["run"] | {"dataset": name}}
    strange = dataclasses.replace(pets, config=config)
    for kind in ("codes", "nearest"):
        with pytest.raises(UserError, match="no file, folder or prepared set"):
            sample(strange, kind)
    assert not (tmp_path / "code-ran").exists()


@pytest.mark.parametrize(
    ("data", "images", "words"),
    [
        # config.json's record of the run, new images, the refusal
        ({"shape": [4], "unit_range": True}, np.full((5, 4), 1.5, "f"), r"in \[1.5, 1.5\]"),
        (
            {"shape": [4], "unit_range": True},
            np.full((5, 4), -0.1, "f"),
            r"\[0, 1\]: scale",
        ),
        ({"shape": [4], "unit_range": False}, np.full((5, 4), 9, "u1"), "is uint8"),
        ({"shape": [6, 5, 3]}, np.zeros((5, 6, 5, 1), "f"), "grey, those were in colour"),
        ({"shape": [6, 5, 1]}, np.zeros((5, 6, 5, 3), "f"), "in colour, those were grey"),
        ({"shape": [30]}, np.zeros((5, 6, 5, 1), "f"), r"shape \[6, 5, 1\]"),
        ({"shape": [6, 5, 1]}, np.full((5, 6, 5), 2.0), r"must lie in \[0, 1\]"),
        ({"shape": [6, 5, 1]}, np.full((5, 6, 5), 200, np.int32), "allowed are uint8"),
        ({"shape": [4], "unit_range": True}, np.full((5, 4), 9, "u1"), None),
        ({"shape": [4], "unit_range": False}, np.full((5, 4), 0.5, "f"), None),
        ({"shape": [4], "unit_range": False}, np.full((5, 4), -9.0), None),
    ],
)
def test_new_data_pass_the_checks_of_training(pets, data, images, words, tmp_path):
    config = pets.config | {"data": pets.config["data"] | data}
    run = dataclasses.replace(pets, config=config)
    file = save(tmp_path / "new.npz", images=images)
    if words is None:
        assert len(sources.given(run, file, tmp_path)[0].images) == 5
        return
    with pytest.raises(UserError, match=words):
        sources.given(run, file, tmp_path)
    # A part that is off counts too, whichever it is.
    if images.dtype == np.float32 and len(data["shape"]) == 1 and images.ndim == 2:
        fine = np.full_like(images, 0.5)
        save(tmp_path / "new.npz", x_train=fine, x_test=images)
        with pytest.raises(UserError, match=words):
            sources.given(run, file, tmp_path)


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("samples", {"seed": -1}, "seed -1: it must be in 0"),
        ("samples", {"seed": 2**32}, "seed 4294967296"),
        ("samples", {"count": 0}, "at least 1"),
        ("samples", {"count": -5}, "at least 1"),
        ("reconstructions", {"pick": (-1,)}, "there are examples 0 to 5"),
        ("reconstructions", {"pick": (6,)}, "there are examples 0 to 5"),
        ("interpolation", {"pick": (0,)}, "needs two images"),
        ("interpolation", {"pick": (0, 1, 2)}, "give an even number"),
        ("arithmetic", {"plus": "dog"}, "needs --plus A --minus B"),
    ],
)
def test_what_can_not_be_meant_is_refused(pets, kind, more, words):
    with pytest.raises(UserError, match=words):
        sample(pets, kind, **more)


@pytest.mark.parametrize("kind", ["samples", "nearest", "styles"])
def test_more_than_the_memory_holds_is_refused_before_it_starts(pets, kind):
    made = 10**16 if kind == "nearest" else 10**15  # with nine others beside each
    with pytest.raises(UserError, match=f"{made:,} examples, twice, would") as raised:
        sample(pets, kind, count=10**15)
    assert "\n" not in str(raised.value)
    assert len(sample(pets, "reconstructions", count=10**15)["images"]) == 6


def test_one_image_is_enough_where_one_can_be(pets, tmp_path):
    one = save(tmp_path / "one.npz", ["dog"])
    assert sample(pets, "reconstructions", data=one)["images"].shape[0] == 1
    assert np.isfinite(sample(pets, "codes", data=one)["codes"]).all()
    with pytest.raises(UserError, match="needs two images"):
        sample(pets, "interpolation", data=one)


def test_networks_without_a_config_json_can_be_asked(pets):
    bare = dataclasses.replace(pets, config={})
    pairs = [sample(run, "reconstructions", count=2)["images"] for run in (bare, pets)]
    np.testing.assert_array_equal(*pairs)
    np.testing.assert_array_equal(
        sample(bare, label=2, count=2)["images"],
        sample(pets, label="dog", count=2)["images"],
    )


def test_a_run_that_held_nothing_out_finds_its_own_data(pets, tmp_path):
    images = pictures(np.array(PETS * 20))
    whole = from_arrays(images, np.array(PETS * 20), name="all", hold_out=False)
    dataset = pets.config["run"]["dataset"]
    settings = {"dataset": dataset, "epochs": 1, "batch_size": 20}
    train_tiny(tmp_path / "run", whole, devices=1, tell=[].append, **settings)
    trained = restore(tmp_path / "run")
    assert trained.data.test == 0
    config = trained.config | {"run": trained.config["run"] | {"dataset": dataset}}
    trained = dataclasses.replace(trained, config=config)
    assert sample(trained, "nearest", count=2)["images"].shape[:2] == (2, 10)


def test_a_stranger_can_not_have_a_disk_walked(pets, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for number in range(5000):
        (many / f"{number}.txt").touch()
    config = pets.config | {"run": pets.config["run"] | {"dataset": str(many)}}
    moved = dataclasses.replace(pets, config=config)
    with pytest.raises(UserError, match=r"holds no images but 5,000 \.txt"):
        sources.own(moved, None, tmp_path)
    for number in range(5000, 12_000):
        (many / f"{number}.txt").touch()
    with pytest.raises(UserError, match="more files than belong to the data"):
        sources.own(moved, None, tmp_path)
    with pytest.raises(UserError, match=r"no images but 12,000 \.txt"):
        sources.own(moved, str(many), tmp_path)


def test_a_path_is_no_built_in_set(pets):
    with pytest.raises(UserError, match="there is no file or folder 'mnist5k'"):
        sample(pets, "codes", data=Path("mnist5k"))
    with pytest.raises(UserError, match="there is no file or folder 'dog'"):
        sample(pets, "arithmetic", plus=Path("dog"), minus="cat")


def test_strings_and_paths_are_taken_and_names_kept(pets, tmp_path):
    trained = restore(str(pets.folder.path))
    arrays = sample(trained, data_dir="data", count=2)
    for name in ("new/folder/s.png", "s.npz", "S.NPY", "T.NPZ", "s.PNG"):
        write(str(tmp_path / name), "samples", arrays)
        assert (tmp_path / name).is_file()  # NumPy itself would write S.NPY.npy
    np.testing.assert_array_equal(np.load(tmp_path / "S.NPY"), arrays["images"])
    (tmp_path / "d.npy").mkdir()
    for name, words in (("d.npy", "is a folder"), ("x.jpg", "must end in"), ("", "must")):
        with pytest.raises(UserError, match=words):
            write(tmp_path / name if name else "", "samples", arrays)
    with pytest.raises(UserError, match="no kind nonsense"):
        write(tmp_path / "x.npy", "nonsense", arrays)
    for own in ("heldout.npz", "checkpoints/x.npy", ".lock"):
        with pytest.raises(UserError, match="is a file of the run itself"):
            trained.folder.check_foreign(trained.folder.path / own)
    trained.folder.check_foreign(tmp_path / "heldout.npz")
    with pytest.raises(OSError, match=r"s\.npz"):
        write(tmp_path / "s.npz" / "x.npy", "samples", arrays)


def test_a_trained_model_is_shown_in_a_line(pets):
    shown = repr(pets)
    assert shown == (
        f"<supervised of {pets.folder.path} at step 180: codes of 5, 3 classes>"
    )
    assert len(repr(pets.config)) < 2200


@pytest.mark.parametrize(
    "entries",
    [
        {"shape": []},
        {"shape": [6, 5]},
        {"shape": [6, 0, 1]},
        {"shape": [2**20, 2**20, 3]},
        {"shape": "651"},
        {"shape": [6.0, 5, 1]},
        {"shape": None},
        {"classes": -1},
        {"classes": True},
        {"classes": 10**7},
        {"classes": 2},
        {"class_names": "cat"},
        {"class_names": [1, 2, 3]},
        {"unit_range": "yes"},
        {"labelled": None},
        {"fingerprint": 5},
        {"train": "many"},
    ],
)
def test_a_record_of_the_data_that_can_not_be_is_one_line(pets, entries, tmp_path):
    with pytest.raises(UserError, match="is not one that this aaejax wrote") as raised:
        restore(changed(pets, tmp_path, "data", **entries))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("data", [None, [], "x", {}])
def test_no_record_of_the_data_is_one_line(pets, data, tmp_path):
    with pytest.raises(UserError, match="is not one that this aaejax wrote"):
        restore(changed(pets, tmp_path, data=data))


def test_a_checkpoint_that_a_training_replaces_while_it_is_read(pets, tmp_path):
    copy = changed(pets, tmp_path)
    folder, aside = copy / "checkpoints", tmp_path / "180"
    (folder / "180").rename(aside)
    reading = []

    def replaces(event, arguments):
        # What `--keep 1` does beside us, at the moment when the checkpoint is opened.
        if event == "open" and not reading and str(folder / "90") in str(arguments[0]):
            reading.append(arguments[0])
            aside.rename(folder / "180")
            shutil.rmtree(folder / "90")

    sys.addaudithook(replaces)  # never fires again after it did
    told = []
    assert restore(copy, tell=told.append).step == 180
    assert reading
    assert told == []
    with pytest.raises(UserError, match="no checkpoint of step 90: there are 180"):
        restore(copy, step=90)


def test_scores_are_of_each_row_in_order(pets, tmp_path):
    strange = np.random.default_rng(5).random((3, *TINY.shape)).astype(np.float32)
    usual = pictures(PETS * 8, 2)
    data = save(tmp_path / "mixed.npz", images=np.concatenate([usual, strange]))
    found = sample(pets, "scores", data=data, contamination=0.25)
    assert found["is_outlier"].tolist()[-3:] == [True] * 3
    assert found["score"][-3:].min() > found["score"][:-3].max()
    np.testing.assert_array_equal(found["score"], pets.score(np.load(data)["images"]))
    # The worst come first, then the best.
    order = np.argsort(-found["score"])
    whole = np.load(data)["images"]
    np.testing.assert_array_equal(found["images"][0], whole[order[:10]])
    np.testing.assert_array_equal(found["images"][2], whole[order[::-1][:10]])
    kept = pets.outliers.held_out["score"]
    assert (kept > found["threshold"]).mean() == pytest.approx(0.25, abs=0.1)
    for name in ("s.csv", "s.npz", "s.npy", "s.png", "s.parquet"):
        if name.endswith("parquet"):
            pytest.importorskip("pyarrow")
        write(tmp_path / name, "scores", found)
    head, *lines = (tmp_path / "s.csv").read_text().splitlines()
    assert head == "row,reconstruction,latent,score,is_outlier"
    assert len(lines) == 27 and lines[26].startswith("26,") and lines[26].endswith(",1")
    assert np.float32(lines[3].split(",")[3]) == found["score"][3]
    np.testing.assert_array_equal(np.load(tmp_path / "s.npy"), found["score"])
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "s.parquet")
    assert table.column_names == ["reconstruction", "latent", "score", "is_outlier"]
    np.testing.assert_array_equal(table["score"].to_numpy(), found["score"])
    with pytest.raises(UserError, match="at most 0"):
        sample(pets, "scores", contamination=0.7)
    with pytest.raises(UserError, match="contamination has no meaning for codes"):
        sample(pets, "codes", contamination=0.1)


def test_codes_make_a_table_and_samples_none(pets, tmp_path):
    write(tmp_path / "codes.csv", "codes", sample(pets, "codes"))
    head, first, *_ = (tmp_path / "codes.csv").read_text().splitlines()
    assert head == "row,split,labels," + ",".join(f"codes_{i}" for i in range(5))
    assert first.startswith("0,0,")
    with pytest.raises(UserError, match=r"must end in \.png, \.npy or \.npz"):
        write(tmp_path / "s.csv", "samples", {})


def test_a_density_of_the_training_codes_is_fitted_once_and_kept(pets, tmp_path):
    copy = restore(changed(pets, tmp_path))
    drawn = sample(copy, sampler="gmm", count=30, label="dog")["images"]
    file = copy.folder.path / "sampler-gmm.npz"
    kept = file.read_bytes()
    # Without the data the one that is kept serves; another, or of others, can't be made.
    gone = changed(pets, tmp_path / "2", "run", dataset="gone.npz")
    away = restore(gone)
    with pytest.raises(UserError, match="not at hand"):
        sample(away, sampler="gmm")
    data = pets.config["run"]["dataset"]
    again = sample(away, sampler="gmm", count=30, label="dog", data=data)["images"]
    np.testing.assert_array_equal(drawn, again)
    np.testing.assert_array_equal(
        sample(away, sampler="gmm", count=30, label="dog")["images"], drawn
    )
    # What is damaged is made again.
    file.write_bytes(kept[:50])
    np.testing.assert_array_equal(
        sample(copy, sampler="gmm", count=30, label="dog")["images"], drawn
    )
    assert sample(copy, "nearest", sampler="gaussian", count=2)["images"].shape[0] == 2
    assert drawn[:, 2].mean() > drawn[:, :2].mean()  # the dog's row is the bright one
    # Scores are of other data than those that the density is fitted to.
    scored = save(tmp_path / "scored.npz", images=pictures(PETS * 2, 2))
    found = sample(copy, "scores", data=scored, sampler="gmm")
    style = copy.encode(np.load(scored)["images"])[:, 3:]
    with np.load(file) as parts:
        density = sum(
            weight * multivariate_normal(mean, covariance).pdf(style)
            for weight, mean, covariance in zip(
                parts["weights"], parts["means"], parts["covariances"], strict=True
            )
        )
    np.testing.assert_allclose(found["latent"], np.log(3) - np.log(density), rtol=1e-3)
    with pytest.raises(UserError, match="--data of samples --sampler gaussian once"):
        sample(away, "scores", data=scored, sampler="gaussian")
    with pytest.raises(UserError, match="sampler has no meaning for codes"):
        sample(copy, "codes", sampler="gmm")
    with pytest.raises(UserError, match="data has no meaning for samples"):
        sample(copy, data=data)
    with pytest.raises(UserError, match="sampler"):
        sample(copy, sampler="knn")  # type: ignore[arg-type]


def test_codes_read_no_image_again_for_what_stands_beside_them(pets):
    class Unread:
        def __len__(self):
            return 3

    parts = [
        sources.Examples(Unread(), np.full(3, number, np.int32), PETS) for number in (0, 2)
    ]
    assert sources.named(parts)["labels"].tolist() == [0, 0, 0, 2, 2, 2]


def test_places_that_are_not_filled_are_no_examples(tmp_path):
    rng = np.random.default_rng(0)
    dataset = from_arrays(rng.random((60, 6), np.float32))
    options = tiny_options("clustering", clusters=4)
    trained = restore(train_tiny(tmp_path / "run", dataset, model=options).folder)
    data = save(tmp_path / "few.npz", images=rng.random((3, 6), np.float32))
    for kind, filled in (("clusters", 4 + 3), ("scores", 4 * 3)):
        found = sample(trained, kind, data=data)["images"]
        assert found.shape == (4, 10, 6)
        whole = np.isfinite(found).all(axis=2)
        assert whole.sum() == filled
        assert np.isnan(found[~whole]).all()


def test_the_data_that_are_read_are_not_written_over(pets, tmp_path, monkeypatch, capsys):
    data = save(tmp_path / "new.npz", images=pictures(PETS))
    before = (tmp_path / "new.npz").read_bytes()
    arguments = [str(pets.folder.path), "codes", "--data", data, "--out", data]
    monkeypatch.setattr("sys.argv", ["sample.py", *arguments])
    assert command.main() == 2
    assert "are the data that are read" in capsys.readouterr().err
    assert (tmp_path / "new.npz").read_bytes() == before
