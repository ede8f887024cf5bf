"""Tables: columns that are features, in files and frames."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aaejax import Likelihood
from aaejax.ask.kinds import sample
from aaejax.ask.out import write
from aaejax.ask.tables import of_examples
from aaejax.data import from_arrays, from_table, load
from aaejax.data.lazy import Rows
from aaejax.data.tabular.columns import Column, Columns, columns_of
from aaejax.data.tabular.table_files import ParquetTable, TextTable
from aaejax.runs.restore import restore
from tests.conftest import read_lines, tiny_options, train_tiny
from tests.made_data import fails

# A row of each: all known; a number missing; a text missing, and a label.
ROWS = """\
age,"income, a year",colour,kind
30,50000,red,b
 41.5,,green,a
52,81000,NA,
"""


def write_text(path, text):
    path.write_text(text)
    return path


def people(n=60, seed=0):
    """Columns of made people: two that depend on each other, a text, and a label."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 70, n).round(1)
    return {
        "age": age.tolist(),
        "income": (1000 * age + rng.normal(0, 500, n)).round().tolist(),
        "colour": rng.choice(["red", "green", "blue"], n).tolist(),
        "kind": np.where(age > 45, "old", "young").tolist(),
    }


def as_csv(path, columns, order=None):
    names = order or list(columns)
    lines = zip(*[columns[name] for name in names], strict=True)
    text = [["" if x is None else str(x) for x in line] for line in lines]
    return write_text(path, "\n".join(map(",".join, [names, *text])) + "\n")


def test_columns_are_features(tmp_path):
    path = write_text(tmp_path / "people.csv", ROWS)
    data = load(path, tmp_path, hold_out=False, label_column="kind")
    nan = np.nan
    want = [[30, 50000, 0, 1], [41.5, nan, 1, 0], [52, 81000, nan, nan]]
    np.testing.assert_array_equal(data.train_images, np.array(want, np.float32))
    assert data.train_labels is not None and data.train_labels.tolist() == [1, 0, -1]
    assert data.class_names == ("a", "b")
    assert data.columns is not None and data.columns.missing
    assert data.columns.features == (
        *("age", "income, a year"),
        *("colour=green", "colour=red"),
    )
    for name, text in (
        ("tabs.tsv", ROWS.replace('"income, a year"', "income").replace(",", "\t")),
        ("semi.csv", ROWS.replace('"income, a year"', "income").replace(",", ";")),
        ("bom.CSV", "\ufeff" + ROWS.replace("\n", "\r\n")),
    ):
        other = load(
            write_text(tmp_path / name, text), tmp_path, hold_out=False, label_column="kind"
        )
        np.testing.assert_array_equal(other.train_images, data.train_images)


def test_a_frame_and_parquet_are_the_same_table(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    columns = people() | {"member": [True, False, False] * 20}
    columns["income"][3] = columns["colour"][7] = columns["kind"][9] = None
    frame = pandas.DataFrame(columns).astype({"colour": "category"})
    frame.to_parquet(tmp_path / "people.parquet")
    said: list[str] = []
    data = from_table(frame, label_column="kind", tell=said.append, standardise=True)
    assert said == ["table: columns of texts become categories: 'colour' (3)"]
    again = load(
        tmp_path / "people.parquet", tmp_path, label_column="kind", standardise=True
    )
    assert data.columns == again.columns and data.class_names == again.class_names
    assert data.fingerprint == again.fingerprint
    assert data.train_images.shape == (54, 6) and np.isnan(data.train_images).sum() <= 4
    floors = pandas.Series([1, 2, 10] * 20, dtype="category")
    number = frame.assign(kind=np.arange(60) // 20, floor=floors).astype({"kind": "Int64"})
    other = from_table(number, label_column="kind", standardise=True)
    assert other.class_names == ("0", "1", "2") and other.columns is not None
    assert other.columns.features[-3:] == ("floor=1", "floor=2", "floor=10")
    times = frame.assign(age=pandas.Timestamp(0))
    fails("column 'age' is of type", from_table, times)


def test_a_large_table_is_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("aaejax.data.tabular.table_files._CELLS", 40)
    columns = people()
    columns["age"][33] = None
    path = as_csv(tmp_path / "people.csv", columns)
    blocks = [len(block[0]) for block in TextTable(path).blocks()]
    assert blocks == [10] * 6
    data = load(path, tmp_path, hold_out=False, label_column="kind")
    ages = np.array(columns["age"], np.float32)
    np.testing.assert_array_equal(data.train_images[:, 0], ages)
    columns["age"][41] = "old"
    path = as_csv(tmp_path / "spoilt.csv", columns)
    fails("row 43, column 'age' is 'old'", load, path, tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3,x\n4,5\n", "row 3, column 'b' is 'x', where others are numbers"),
        ('a,b\n1,"2,5"\n', "row 2, column 'b' is '2,5': write plain numbers, with a point"),
        ("a,b\n1,2\n3,inf\n", "row 3, column 'b' is inf, no finite float32"),
        ("a,b\n1,2\n3,1e39\n", "row 3, column 'b' is 1e+39, no finite float32"),
        ("a,b\n1,2\n3\n", "row 3 has 1 cells, the first row names 2"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ("a,\n1,2\n", "column 2 has no name"),
        ("", "is empty"),
        ("a,b\n", "has no rows"),
        ("1.5,2\n3,4\n", "the first row has numbers (1.5, ...)"),
        ("y\n1\n", "no column but the labels, condition and weights"),
        ("a,b\n1,2\n", "has no column 'y' for the labels: it has 'a', 'b'"),
        ('a,y\n1,"2\n', "line 2: unexpected end of data"),
        ("a,y\n,1\n,2\n", "column 'a' has no value in any row"),
        (
            "a,y\n" + "".join(f"n{i},1\n" for i in range(300)),
            "column 'a' has more than 150 different texts, as 'n0'",
        ),
        (
            "a,y\n" + "".join(f"1,{i}.5\n" for i in range(300)),
            "the labels of 300 examples have 300 different values",
        ),
    ],
)
def test_tables_that_are_refused(tmp_path, text, words):
    path = write_text(tmp_path / "bad.csv", text)
    label = "y" if "y" in text.partition("\n")[0] or "for the labels" in words else None
    fails(words, load, path, tmp_path, label_column=label, hold_out=False)
    fails(str(path), load, path, tmp_path, label_column=label, hold_out=False)


def test_files_that_are_no_tables(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,\xff\n")
    fails("no text in UTF-8", load, path, tmp_path)
    path = write_text(tmp_path / "t.parquet", "no such thing")
    fails("can't be read as Parquet", load, path, tmp_path)
    fails("is no table: leave --label-column out", load, "mnist5k", "", label_column="y")
    np.save(tmp_path / "x.npy", np.zeros((4, 3), np.float32))
    fails("is no table", load, tmp_path / "x.npy", tmp_path, label_column="y")
    np.save(tmp_path / "x.npy", np.full((4, 3), np.nan, np.float32))
    fails("NaN", load, tmp_path / "x.npy", tmp_path)
    fails("data frame", from_table, np.zeros((4, 3)))


def test_what_differs_in_scale_is_said(tmp_path):
    said = []
    path = as_csv(tmp_path / "people.csv", people())
    load(path, tmp_path, label_column="kind", tell=said.append)
    assert "'colour' (3)" in said[0] and "'income' is about" in said[1]
    assert "--standardise" in said[1] and len(said) == 2
    load(path, tmp_path, label_column="kind", standardise=True, tell=said.append)
    assert said[2:] == said[:1]


def test_standardised_by_the_training_part():
    x = np.random.default_rng(0).normal([5, -300, 7], [1, 20, 0], (50, 3))
    x[:45, 2], x[45:, 2] = 7, 8  # constant where it is trained on
    x = x.astype(np.float32)
    data = from_arrays(x[:45], None, x[45:], standardise=True)
    train, test = np.asarray(data.train_images), np.asarray(data.test_images)
    np.testing.assert_allclose(train[:, :2].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(train[:, :2].std(axis=0), 1, atol=1e-5)
    assert (train[:, 2] == 0).all() and (test[:, 2] == 1).all()
    assert data.columns is not None
    np.testing.assert_allclose(data.columns.unscaled(test), x[45:], rtol=1e-5)
    asked = from_arrays(x, columns=data.columns, hold_out=False)
    np.testing.assert_array_equal(asked.train_images[45:], test)
    fails("images", from_arrays, np.zeros((9, 4, 5)), standardise=True)


def test_what_a_stranger_may_not_say_of_columns():
    names, scale = ["a", "b"], [0.0, 0.0]
    good = {
        **{"names": names, "categories": {"b": ["x", "y"]}, "label": None},
        **{"mean": scale, "std": [1, 2.0], "missing": False},
    }
    assert columns_of(good, 3).json() == {**good, "std": [1.0, 2.0]}
    for changed in (
        {"names": ["a", "a"]},
        {"names": ["a", 1]},
        {"names": []},
        {"categories": {"c": ["x"]}},
        {"categories": {"b": []}},
        {"categories": []},
        {"mean": [0.0]},
        {"mean": [0.0, float("nan")]},
        {"mean": [0.0, 10**400]},
        {"std": [1.0, 0.0]},
        {"std": [1.0, True]},
        {"label": 1},
        {"missing": 1},
    ):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            columns_of({**good, **changed}, 3)
    with pytest.raises(ValueError):
        columns_of(good, 4)


@pytest.fixture(scope="module")
def gaps(tmp_path_factory):
    """A table with gaps, and a run on it."""
    folder = tmp_path_factory.mktemp("gaps")
    columns = people(400)
    for row in range(0, 400, 4):
        columns["income"][row] = None
    columns["colour"][5] = None
    path = as_csv(folder / "people.csv", columns)
    reading = {"label_column": "kind", "standardise": True}
    data = load(path, folder, **reading)
    options = tiny_options(output="linear", reconstruction="squared-error", width=32)
    train_tiny(
        folder / "run",
        data,
        model=options,
        devices=1,
        dataset=str(path),
        epochs=40,
        save_every=360,
        log_every=90,
        **reading,
    )
    return folder


def test_a_run_on_a_table_fills_its_gaps(gaps, tmp_path):
    trained = restore(gaps / "run", tell=pytest.fail)
    assert all(np.isfinite(list(line.values())).all() for line in read_lines(gaps / "run"))
    # Other people, in another order of columns, without their kind.
    truth = people(200, seed=1)
    asked = {name: list(truth[name]) for name in ("colour", "income", "age")}
    asked["income"][::2] = [None] * 100
    asked["colour"][3] = None
    path = as_csv(tmp_path / "new.csv", asked)
    found = sample(trained, "reconstructions", data=str(path), count=500)
    assert found["images"].shape == (200, 2, 5)
    colours = [f"colour={name}" for name in ("blue", "green", "red")]
    assert found["columns"].tolist() == ["age", "income", *colours]
    write(tmp_path / "filled.csv", "reconstructions", found, trained.data.columns)
    lines = [x.split(",") for x in (tmp_path / "filled.csv").read_text().splitlines()]
    assert lines[0][:4] == ["row", "age", "income", "colour"]
    assert lines[0][4:] == [f"reconstruction_{name}" for name in lines[0][1:4]]
    filled = dict(zip(lines[0], zip(*lines[1:], strict=True), strict=True))
    assert [int(row) for row in filled["row"]] == list(range(200))
    np.testing.assert_allclose(np.array(filled["age"], float), truth["age"], rtol=1e-5)
    income, true = np.array(filled["income"], float), np.array(truth["income"])
    np.testing.assert_allclose(income[1::2], true[1::2], rtol=1e-5)
    assert filled["colour"][4:] == tuple(truth["colour"][4:])
    assert filled["colour"][3] in ("red", "green", "blue")
    # Nearer to what was taken away than the mean of all is.
    gone = slice(0, None, 2)
    error = np.abs(income[gone] - true[gone]).mean()
    assert error < 0.6 * np.abs(true[gone] - true.mean()).mean()


def test_a_run_on_a_table_is_asked(gaps, tmp_path):
    trained = restore(gaps / "run", tell=pytest.fail)
    columns = trained.data.columns
    made = sample(trained, "samples", count=50)
    write(tmp_path / "made.csv", "samples", made, columns)
    again = load(tmp_path / "made.csv", tmp_path, hold_out=False, columns=columns)
    ages = columns.unscaled(np.asarray(again.train_images))[:, 0]
    np.testing.assert_allclose(ages, made["images"][:, 0], rtol=1e-4)
    assert 20 < ages.mean() < 70
    table = trained.table(trained.sample(5))
    assert list(table) == ["age", "income", "colour"] and len(table["colour"][0]) > 2
    # The run's own data are found again, and codes follow from values in their own units.
    own = sample(trained, "codes")
    assert own["split"].sum() == 40 and own["class_names"].tolist() == ["old", "young"]
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(gaps / "people.csv")
    codes = sample(trained, "codes", data=str(gaps / "people.csv"))
    np.testing.assert_array_equal(
        trained.encode(frame[["income", "age", "colour"]]), codes["codes"]
    )
    np.testing.assert_allclose(
        np.sort(own["codes"], axis=0), np.sort(codes["codes"], axis=0), atol=1e-5
    )
    scores = sample(trained, "scores", data=str(gaps / "people.csv"))
    assert np.isfinite(scores["score"]).all()
    fails("whole examples", sample, trained, "nearest", data_dir=tmp_path)


def test_a_column_that_the_written_table_has_itself_is_refused():
    for names in (("row", "b"), ("b", "reconstruction_b")):
        columns = Columns(tuple(map(Column, names)))
        both = np.zeros((3, 2, 2), np.float32)
        assert list(of_examples(both[:, 0], None, columns)) == list(names)
        fails("write .npz", of_examples, both, np.arange(3), columns)


def test_other_columns_than_the_runs_are_refused(gaps, tmp_path):
    trained = restore(gaps / "run", tell=pytest.fail)
    columns = people(10)

    def ask(changed):
        return as_csv(tmp_path / "x.csv", changed)

    for changed, words in (
        ({**columns, "height": columns["age"]}, "'height', unknown to the run"),
        ({n: columns[n] for n in ("age", "kind")}, "no column 'income', 'colour'"),
        ({**columns, "colour": ["pink"] * 10}, "'pink', which the run never saw"),
        ({**columns, "age": ["old"] * 10}, "row 2, column 'age' is 'old'"),
        ({**columns, "kind": ["new"] * 10}, "no class new"),
    ):
        fails(words, sample, trained, "codes", data=str(ask(changed)))
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 4), np.float32))
    fails("5", sample, trained, "codes", data=str(tmp_path / "x.npz"))


def test_a_category_of_digits_may_come_as_a_number(tmp_path):
    # As text in training, where one of them is none; as numbers in a file without that one.
    code = ["1234567", "1234568", "b", "c", "d"] * 4
    whole = as_csv(tmp_path / "whole.csv", {"code": code, "x": list(range(20))})
    known = load(whole, tmp_path, standardise=True, hold_out=False)
    parquet, part = pytest.importorskip("pyarrow.parquet"), tmp_path / "part.parquet"
    table = pytest.importorskip("pyarrow").table({"code": [1234568, 1234567], "x": [1, 5]})
    parquet.write_table(table, part)
    found = load(part, tmp_path, columns=known.columns, hold_out=False)
    rows = np.asarray(known.train_images)
    np.testing.assert_allclose(np.asarray(found.train_images), rows[[1, 5]])


def test_gaps_are_for_models_that_can_leave_them_out(gaps, tmp_path):
    data = load(gaps / "people.csv", gaps, label_column="kind", standardise=True)
    gan = tiny_options("gan", output="linear")
    fails("missing values", train_tiny, tmp_path / "gan", data, model=gan)
    assert not (tmp_path / "gan").exists()
    whole = load(as_csv(tmp_path / "whole.csv", people()), tmp_path, standardise=True)
    path = as_csv(tmp_path / "gap.csv", {**people(9), "age": [1.0] * 8 + [None]})
    fails("row 10, column 'age' is empty", load, path, "", columns=whole.columns)


def test_the_loss_of_known_values():
    x = jnp.array([[0.2, jnp.nan, 0.9], [jnp.nan, jnp.nan, jnp.nan]])
    for word, output in (
        ("bernoulli", "sigmoid"),
        ("squared-error", "sigmoid"),
        ("squared-error", "linear"),
        ("gaussian", "linear"),
    ):
        outputs = jnp.array([[0.3, 5.0, -1.0], [1.0, 2.0, 3.0]])
        if word == "gaussian":
            outputs = jnp.stack([outputs, jnp.full_like(outputs, 0.2)], axis=1)
        whole, some = (Likelihood(word, output, 0.7, missing) for missing in (False, True))
        keep = jnp.array([0, 2])
        want = whole.log_density(outputs[:1, ..., keep], x[:1, keep])
        np.testing.assert_allclose(some.log_density(outputs, x), [want[0], 0], atol=1e-5)
        gradient = jax.grad(lambda o, s=some: s.error(o, x).sum())(outputs)
        assert np.isfinite(gradient).all()
        if word == "gaussian":
            gradient = gradient[:, 0]
        assert (gradient[jnp.isnan(x)] == 0).all() and (gradient[0, keep] != 0).all()


def test_config_json_has_the_columns(gaps):
    saved = json.loads((gaps / "run" / "config.json").read_text())
    assert saved["data"]["missing"] is True
    assert saved["data"]["columns"]["names"] == ["age", "income", "colour"]
    assert saved["run"]["label_column"] == "kind" and saved["run"]["standardise"] is True


def test_a_table_that_does_not_fit_is_kept_in_the_cache(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("aaejax.data.tabular.table_files._CELLS", 40)
    columns = people()
    columns["income"][3] = None
    path = tmp_path / "people.parquet"
    pandas.DataFrame(columns).to_parquet(path)
    asked = {"label_column": "kind", "standardise": True}
    want = load(path, tmp_path, **asked)
    monkeypatch.setattr("aaejax.data.tabular.tables.READ_BELOW", 100)
    said: list[str] = []
    for _ in range(2):
        data = load(path, tmp_path, **asked, cache=tmp_path / "cache", tell=said.append)
        assert isinstance(data.train_images, Rows) and data.columns == want.columns
        np.testing.assert_array_equal(data.train_images[:], want.train_images)
        np.testing.assert_array_equal(data.test_images[:], want.test_images)
    assert sum("kept in" in line for line in said) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_parquet_file_is_never_in_memory_whole(tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    monkeypatch.setattr("aaejax.data.tabular.table_files._NUMBERS", 20_000)
    columns = np.random.default_rng(0).normal(size=(20, 20_000))  # 3.2 MB
    path, before = tmp_path / "t.parquet", arrow.total_allocated_bytes()
    table = arrow.table({f"c{i}": column for i, column in enumerate(columns)})
    parquet.write_table(table, path, row_group_size=1000, use_dictionary=False)
    del table
    found = [
        (len(block[0]), arrow.total_allocated_bytes() - before)
        for block in ParquetTable(path).blocks()
    ]
    assert sum(rows for rows, _ in found) == 20_000
    assert max(size for _, size in found) < 1e6


def test_what_pandas_adds_to_parquet_is_no_feature(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"zip": pandas.Categorical([5, 7, 5, 7]), "b": [0.1, 0.2] * 2})
    frame[frame.b >= 0].iloc[[2, 0, 1, 3]].to_parquet(tmp_path / "x.parquet")
    said: list[str] = []
    data = load(tmp_path / "x.parquet", tmp_path, hold_out=False, tell=said.append)
    assert data.columns.features == ("zip=5", "zip=7", "b")
    assert any("not read: __index_level_0__, the index of a frame" in line for line in said)
    np.testing.assert_allclose(
        np.asarray(data.train_images), [[1, 0, 0.1], [1, 0, 0.1], [0, 1, 0.2], [0, 1, 0.2]]
    )
    pandas.DataFrame(index=[1, 2]).to_parquet(tmp_path / "none.parquet")
    fails("has no columns", load, tmp_path / "none.parquet", tmp_path)


def test_a_first_row_of_values_is_no_header(tmp_path):
    path = tmp_path / "iris.csv"
    path.write_text("5.1,3.5,1.4,setosa\n4.9,3.0,1.4,setosa\n")
    fails("the first row has numbers", load, path, tmp_path)
    path.write_text("country,2001,2002\nA,1,2\nB,3,4\n")  # years are names
    assert load(path, tmp_path, hold_out=False).columns.features[-2:] == ("2001", "2002")


def test_a_label_of_minus_one_in_a_table_is_said_to_be_a_class(tmp_path):
    path = as_csv(tmp_path / "x.csv", {"x": [0.1, 0.2] * 6, "y": [-1, 1] * 6})
    said: list[str] = []
    data = load(path, tmp_path, label_column="y", tell=said.append)
    assert data.class_names == ("-1", "1")
    assert any("the label -1 is a class as any other" in line for line in said)


def test_missing_texts_of_pandas_own_kind_are_missing():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": ["u", None, "v", "u"], "b": [1.0, 2.0, 3.0, 4.0]})
    data = from_table(frame.convert_dtypes(), hold_out=False)
    assert np.isnan(np.asarray(data.train_images)[1, :2]).all()


@pytest.mark.parametrize("cell", ["1,234,567", "1,234.50", "$1.50", "10%", "1,5", "12 000"])
def test_numbers_as_people_write_them_are_no_categories(tmp_path, cell):
    path = tmp_path / "x.csv"
    path.write_text("price,x\n" + f'"{cell}",1\n' * 6)
    fails(f"row 2, column 'price' is {cell!r}: write plain numbers", load, path, tmp_path)


def test_a_line_that_is_empty_is_no_row_and_no_missing_value(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n\n3\n")
    fails("line 3 is empty, with rows below it", load, path, tmp_path)
    path.write_text("a\n1\n3\n\n\n")
    assert len(load(path, tmp_path, hold_out=False).train_images) == 2


def test_labels_that_are_one_number_are_refused(tmp_path):
    path = as_csv(tmp_path / "x.csv", {"x": [1.0, 2.0] * 3, "y": ["1", "1.0", "a"] * 2})
    fails("'1' and '1.0' are one number", load, path, tmp_path, label_column="y")
