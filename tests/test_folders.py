"""Which pictures of a folder are read, as which part and class."""

import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from aaejax.data import load
from tests.conftest import ROOT
from tests.made_data import fails, images, labels_of, save


def test_folder_without_labels(tmp_path):
    root = tmp_path / "pictures"
    suffixes = ["png", "bmp", "gif", "tif", "tiff", "PNG"]
    for i, suffix in enumerate(suffixes):
        save(root / f"{i}.{suffix}", "RGB", value=(255, 0, 0))
    (root / "README.txt").write_text("no image")
    (root / ".hidden.png").write_text("no image")
    save(root / ".thumbs" / "a.png", size=(1, 1))
    data = load(str(root), tmp_path, tell=[].append)
    assert data.name == "pictures" and data.train_labels is None
    both = np.concatenate([data.train_images, data.test_images])
    assert both.shape == (6, 4, 5, 3) and len(data.test_images) == 1
    assert (both == [255, 0, 0]).all()


def test_sub_folders_are_labels(tmp_path, monkeypatch):
    for i in range(10):
        save(tmp_path / "pics" / "dark" / f"{i}.png", value=10)
        save(tmp_path / "pics" / "bright" / "more" / f"{i}.png", value=200)
    (tmp_path / "pics" / "notes").mkdir()
    monkeypatch.chdir(tmp_path)
    data = load("pics", tmp_path / "data", tell=[].append)  # a bare name that exists
    assert data.class_names == ("bright", "dark")
    train_labels, test_labels = labels_of(data)
    assert data.train_images.shape == (18, 4, 5, 1) and test_labels.tolist() == [0, 1]
    want = np.where(train_labels == 0, 200, 10)
    np.testing.assert_array_equal(data.train_images[:, 0, 0, 0], want)


@pytest.mark.parametrize(
    "names",
    [
        *("train test", "train val", "Training Testing", "train dev", "train valid"),
        *("train_set test-set", "TRAIN eval", "train validation", "train Dev_Set"),
        *("train_images test_images", "training_data testing_data", "trn tst"),
        *("train2017 val2017", "TrainImages TestImages", "images.train imgs-val"),
        *("train\N{NO-BREAK SPACE} test", "trainset valset", "TRAIN_2014 TEST_2014"),
    ],
)
def test_folders_named_for_parts_are_the_parts(tmp_path, names):
    train, test = names.split(" ")
    save(tmp_path / train / "a" / "1.png", value=1)
    save(tmp_path / train / "b" / "1.png", value=2)
    save(tmp_path / test / "b" / "1.png", value=3)
    for junk in (".ipynb_checkpoints", "__MACOSX", ".git"):
        (tmp_path / junk).mkdir()
    said = []
    data = load(tmp_path, tmp_path / "data", tell=said.append)
    assert data.train_images[:, 0, 0, 0].tolist() == [1, 2]
    assert data.test_images[:, 0, 0, 0].tolist() == [3]
    assert [labels.tolist() for labels in labels_of(data)] == [[0, 1], [1]]
    assert data.class_names == ("a", "b")
    assert said == [f"{tmp_path.name}: not used: __MACOSX"]


@pytest.mark.parametrize("names", [("train ", " test"), ("Training Set", "Test Set")])
def test_spaces_in_names_of_parts_change_nothing(tmp_path, names):
    for value, name in enumerate(names):
        save(tmp_path / name / "a" / "1.png", value=10 + value)
    data = load(tmp_path, tmp_path / "data")
    assert data.class_names == ("a",)
    assert [x.max() for x in (data.train_images, data.test_images)] == [10, 11]


@pytest.mark.parametrize(
    "names", ["train_station airport", "trains vale", "éval train-wreck", "train2 train3"]
)
def test_names_that_only_begin_like_those_of_parts_are_classes(tmp_path, names):
    for name in names.split():
        save(tmp_path / name / "1.png")
    data = load(tmp_path, tmp_path / "data", hold_out=False)
    assert set(data.class_names) == set(names.split())


def test_what_lies_beside_the_parts_is_said(tmp_path):
    for i, part in enumerate(["train", "test", "val", "extra"]):
        save(tmp_path / part / "a" / "1.png", value=10 * i)
    save(tmp_path / "train" / "a" / "2.png")
    save(tmp_path / "overview.png")
    for name in ("labels.csv", "LICENSE", "train/a/notes.txt"):
        (tmp_path / name).write_text("")
    said = []
    data = load(tmp_path, tmp_path / "data", tell=said.append)
    assert [len(data.train_images), len(data.test_images)] == [2, 1]
    assert data.test_images.max() == 10
    assert said == [
        f"{tmp_path.name}: not used: extra, val, pictures beside the parts (1)",
        f"{tmp_path.name}: skipped 1 without a suffix, 1 .csv, 1 .txt",
    ]


def test_a_training_part_alone(tmp_path):
    for i in range(3):
        save(tmp_path / "train" / "a" / f"{i}.png")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "0.xml").write_text("")
    data = load(tmp_path, tmp_path / "data", tell=[].append)
    assert data.class_names == ("a",) and len(data.test_images) == 1


@pytest.mark.parametrize(
    ("folders", "fragment"),
    [
        ("train bus car", "train beside bus: if it is the training part"),
        ("test", "has test but no folder train"),
        ("val cat", "has val but no folder train"),
        ("train Training test", "Training, train, and each may be the train part"),
        ("train val dev", "dev, val, and each may be the validation part"),
        ("train test test2", "has test2: name parts of the data train and test"),
        ("train2014 train2017 val2017", "train2014, train2017, and each may be the"),
        ("trainA trainB testA testB", "has testA, testB, trainA, trainB: name parts"),
        ("training test old_train", "has old_train: name parts"),
        ("train_station test_tube", "if they are classes, rename them"),
    ],
)
def test_parts_that_are_not_clear(tmp_path, folders, fragment):
    for name in folders.split():
        save(tmp_path / name / "a.png")
    fails(fragment, load, tmp_path, tmp_path / "data")


def test_what_is_no_class_is_said(tmp_path):
    root = tmp_path / "pets"
    for name in ("cat", "dog"):
        save(root / name / "test" / "1.pgm")
        save(root / name / ".ipynb_checkpoints" / "1-checkpoint.png", size=(9, 9))
    save(root / "annotations" / "mask.png", size=(9, 9))
    (root / "docs").mkdir()
    for name in ("docs/a.pdf", "docs/b.PDF", "cat/x.heic"):
        (root / name).write_text("")
    said = []
    data = load(root, tmp_path / "data", hold_out=False, tell=said.append)
    assert data.class_names == ("cat", "dog") and data.example_shape == (4, 5, 1)
    assert said == [
        "pets: no class, without pictures or by name: annotations, docs",
        "pets: folders inside of classes are no parts, all is read: test",
        "pets: skipped 2 .pdf, 1 .heic",
    ]


def test_names_of_folders_do_nothing_to_the_terminal(tmp_path, capsys):
    root = tmp_path / "a\x1b[31mred"
    names = ["b\x1b]0;title\x07", "c\nd", os.fsdecode(b"\xff")]
    for name in names:
        save(root / name / "1.png")
    (root / "none\x9b").mkdir()
    data = load(root, tmp_path / "data", hold_out=False)
    assert data.class_names == tuple(names)  # as they are: only what is shown is escaped
    assert data.name == "a\\x1b[31mred"
    assert capsys.readouterr().err == (
        "note: a\\x1b[31mred: no class, without pictures or by name: none\\x9b\n"
    )
    save(root / names[0] / "2.png", size=(9, 9))
    fails("a\\x1b[31mred: pictures of 2 sizes", load, root, tmp_path / "data")


def test_links_to_folders_count_and_loops_of_them_end(tmp_path):
    for name in ("real/dog", "l/cat", "l/dog"):
        save(tmp_path / name / "1.png")
    root = tmp_path / "l"
    (root / "cow").symlink_to(tmp_path / "real" / "dog")
    (root / "loop").symlink_to(root)
    (root / "above").symlink_to(tmp_path)
    (root / "cat" / "in").symlink_to(root / "dog")  # the two of them lead to each other
    (root / "dog" / "in").symlink_to(root / "cat")
    (root / "dog" / "self").symlink_to("self")
    said = []
    data = load(root, tmp_path / "data", hold_out=False, tell=said.append)
    assert data.class_names == ("cat", "cow", "dog") and data.train_labels is not None
    assert data.train_labels.tolist() == [0, 0, 1, 2, 2]
    assert said == [
        "l: skipped 2 without a suffix",
        "l: skipped links that lead back to where they are: above, loop",
    ]


def test_pipes_and_broken_links_are_not_opened(tmp_path):
    save(tmp_path / "a" / "1.png")
    os.mkfifo(tmp_path / "a" / "pipe")  # by its name no picture
    load(tmp_path, tmp_path / "data", hold_out=False, tell=[].append)
    os.mkfifo(tmp_path / "a" / "2.png")
    fails("2.png is no file that can be read", load, tmp_path, tmp_path / "data")
    (tmp_path / "a" / "2.png").unlink()
    (tmp_path / "a" / "3.png").symlink_to("nothing")
    fails("3.png is no file that can be read", load, tmp_path, tmp_path / "data")


def test_classes_named_by_numbers_are_in_their_order(tmp_path):
    for name in ("1", "2", "10"):
        save(tmp_path / name / "1.png", value=int(name))
    data = load(tmp_path, tmp_path / "data", hold_out=False)
    assert data.class_names == ("1", "2", "10") and data.train_labels is not None
    names = [data.class_names[label] for label in data.train_labels]
    assert names == [str(value) for value in data.train_images[:, 0, 0, 0]]


def test_refused_folders(tmp_path):
    def folder(name):
        save(tmp_path / name / "a.png")
        return tmp_path / name

    save(folder("sizes") / "b.png", size=(6, 4))
    (folder("broken") / "b.png").write_text("no image")
    cut = folder("cut") / "b.jpg"
    Image.fromarray(images(1, (64, 64, 3))[0]).resize((5, 4)).save(cut)
    cut.write_bytes(cut.read_bytes()[:-40])
    save(folder("mixed") / "label" / "b.png")
    save(folder("deep") / "b.png", "I;16", value=40_000)
    (tmp_path / "empty").mkdir()
    for name, fragment in [
        (
            "sizes",
            "sizes: pictures of 2 sizes, width x height: 5x4 (1), 6x4 (1); say --resize 4",
        ),
        ("broken", "b.png cannot be decoded"),
        ("cut", "b.jpg cannot be decoded"),
        ("mixed", "beside them (a.png)"),
        ("deep", "b.png has over 8 bits"),
        ("empty", "holds no images; allowed are .png"),
    ]:
        fails(fragment, load, str(tmp_path / name), tmp_path / "data")


def test_cifar_10_as_jpegs_in_folders(tmp_path):
    archive = ROOT.parent / "shared" / "data" / "cifar10.zip"
    if not archive.exists():
        pytest.skip("there is no CIFAR-10 beside the project")
    with zipfile.ZipFile(archive) as pictures:
        names = sorted(name for name in pictures.namelist() if name.endswith(".jpg"))
        some = names[::100]  # 600 of the 60,000: of each part and class as many
        pictures.extractall(tmp_path / "cifar10", some)
    data = load(tmp_path / "cifar10", tmp_path)
    assert data.train_images.shape == (500, 32, 32, 3) and len(data.test_images) == 100
    assert data.class_names == tuple(
        [
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ]
    )
    for labels, count in zip(labels_of(data), (50, 10), strict=True):
        assert np.bincount(labels).tolist() == [count] * 10
    # The published means of the three colours.
    means = data.train_images.mean(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(means, [0.491, 0.482, 0.447], atol=0.02)
