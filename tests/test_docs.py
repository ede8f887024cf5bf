"""README and docs say what is true: commands and snippets run, links lead somewhere.

A block marked `sh` runs as it stands, on small data and runs of the names that the pages
use. The commands of a block marked `bash` take longer: their options are parsed.
"""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tyro
from PIL import Image

import aaejax
from aaejax.ask import command as sample
from aaejax.runs.command_line import command as train
from aaejax.types import DataSpec
from tests.conftest import ROOT, run_python

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language, *pages):
    """The code blocks of a language, of these pages or of all."""
    for page in pages or PAGES:
        yield from re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def commands(language):
    """Each command's words, shell variables of its block put in; comments left out."""
    found = []
    for block in blocks(language):
        variables = {}
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"\$(\w+)", lambda m: variables[m[1]], line)  # noqa: B023
            words = shlex.split(line, comments=True)
            if words and re.fullmatch(r"\w+=.*", words[0], re.S):
                name, _, value = words[0].partition("=")
                variables[name] = value
            elif words:
                found.append(words)
    return found


CHECKS = """
assert images.shape == (5, 28, 28, 1)
assert codes.shape == (5, 2)
assert result.step == 40
autoencoder = Autoencoder(
    Encoder(),
    decoder,
    posterior=Posterior("deterministic", latent=2),
    likelihood=Likelihood("bernoulli"),
    shape=(28, 28, 1),
)
optimizers = dict.fromkeys(["reconstruction", "match"], optax.adam(1e-3))
own = sliced_wasserstein(autoencoder, optimizers)
for each, loss in ((model, "reconstruction/loss"), (own, "match/loss")):
    state = init_state(each, jax.random.key(0))
    step = jax.jit(train_step(each.phases))
    losses = []
    for _ in range(20):
        state, metrics = step(state, batch, jax.random.key(4))
        losses.append(float(metrics[loss]))
    assert losses[-1] < losses[0], losses
"""


# Scripts one after the other: {words of a command: its status}, as JSON on the last line.
IN_ONE_PROCESS = """
import json, runpy, sys, traceback
ended = {}
for words in json.loads(sys.argv[1]):
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code
    except Exception:
        traceback.print_exc()
        status = 1
    ended[" ".join(words)] = status
print(json.dumps(ended))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the data and the trained runs that the pages name, all small.

    What trains runs in one process, which has the one device of users without a GPU.
    """
    folder = tmp_path_factory.mktemp("docs")
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 256, (120, 28, 28), dtype=np.uint8)
    np.savez(folder / "my_images.npz", images=digits, labels=np.arange(120) % 10)
    told = {"condition": rng.normal(size=(120, 2)), "weight": np.arange(120) % 3}
    np.savez(folder / "my_told.npz", images=digits, **told)
    (folder / "my_digits").mkdir()
    for number in range(3):
        Image.fromarray(digits[number]).save(folder / "my_digits" / f"{number}.png")
    rows = [f"{20 + n % 50},{'' if n % 5 else 1000 * n},{'ab'[n % 2]}\n" for n in range(40)]
    (folder / "my_people.csv").write_text("".join(["age,income,kind\n", *rows]))
    (folder / "train.py").symlink_to(ROOT / "train.py")
    code = "\n".join([*blocks("python", ROOT / "README.md"), CHECKS])
    (folder / "readme.py").write_text(code)
    small = ["--width", "16", "--latent", "2", "--epochs", "1"]
    named = [["train.py", model, *small] for model in ("aae", "supervised")]
    asked = [words[1:] for words in commands("sh") if words[1] == "train.py"]
    scripts = json.dumps([*named, *asked, ["readme.py"]])
    environ = {"PYTHONPATH": str(ROOT)}
    done = run_python("-c", IN_ONE_PROCESS, scripts, cwd=folder, environ=environ)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.parametrize("words", commands("sh"), ids=" ".join)
def test_short_commands_run_as_they_stand(words, place, monkeypatch):
    folder, ended, err = place
    monkeypatch.chdir(folder)
    if words[:2] == ["python", "sample.py"]:
        monkeypatch.setattr(sys, "argv", words[1:])
        assert sample.main() == 0
        out = words[words.index("--out") + 1] if "--out" in words else "samples.png"
        assert Path(out).exists()
    else:
        assert words[:2] == ["python", "train.py"]
        assert ended[" ".join(words[1:])] == 0, err


def test_options_of_longer_commands_are_there(monkeypatch):
    """Each is parsed by the script that it is for."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    long = commands("bash")
    assert len(long) > 20
    for words in long:
        if words[0] in ("pip", "mkdocs"):
            for name in words[words.index("-r") + 1 :][:1] if "-r" in words else ():
                assert (ROOT / name).is_file(), words
        elif words[:3] == ["python", "-m", "pytest"]:
            assert all((ROOT / name).is_file() for name in words[3:]), words
        elif words[1] == "train.py":
            train.parse_run(words[2:])
        elif words[1] == "sample.py":
            tyro.cli(sample.Arguments, args=words[2:])
        elif words[1].startswith("benchmarks/"):
            tyro.cli(arguments_of(words[1]), args=words[2:])
        else:
            assert (ROOT / words[1]).is_file(), words


def arguments_of(script):
    """The class of a benchmark's options."""
    names = runpy.run_path(str(ROOT / script))
    return names.get("Arguments") or names["Options"]


def test_the_python_of_the_readme_runs_and_learns(place):
    _, ended, err = place
    assert ended["readme.py"] == 0, err


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_the_python_of_the_docs_runs(page):
    names = {"__name__": page.stem}
    for code in blocks("python", page):
        exec(code, names)
    if "Options" in names:
        model = names["Options"](latent=2, width=8).build(DataSpec((4, 4, 1), 0, True), 1)
        assert [phase.name for phase in model.phases] == ["reconstruction", "norm"]
        state = jax.jit(lambda: aaejax.init_state(model, jax.random.key(0)))()
        step = jax.jit(aaejax.train_step(model.phases))
        images = {"image": np.zeros((8, 4, 4, 1), np.float32)}
        _, metrics = step(state, images, jax.random.key(1))
        assert np.isfinite(metrics["norm/loss"])


def test_the_tables_of_results_are_those_of_the_json_files():
    made = runpy.run_path(str(ROOT / "docs" / "make_results.py"))
    for name in made["PAGES"]:
        text = (ROOT / name).read_text()
        assert made["MARKED"].search(text), name
        assert made["updated"](text) == text, "run python docs/make_results.py"


def test_every_run_for_the_paper_stands_in_a_table():
    """No record is left out: they are grouped by hand."""
    made = runpy.run_path(str(ROOT / "docs" / "make_results.py"))
    shown = {f"{row}-{best}" for row, best in made["BEST"].items()} | set(made["EARLIER"])
    for file in (ROOT / "benchmarks" / "results" / "paper").glob("*.json"):
        group = re.sub(r"(-bf16)?-seed\d(-tune)?", "", file.stem)
        assert group in shown or "-paper-" in group, file.name


def test_the_page_of_options_has_every_option():
    page = runpy.run_path(str(ROOT / "docs" / "make_options.py"))["page"]()
    assert "| `--epochs` | `50` | `int` |" in page
    assert re.search(r"`--generator-optimizer\.\*` \| learning-rate 0\.0003", page)
    for line in page.splitlines():
        if line.startswith("| `--"):
            assert not re.search(r"\|\s*\|$", line), f"no text: {line}"


def test_links_and_pictures_lead_somewhere():
    generated = ("options.md", "reference/")
    for page in PAGES:
        for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text()):
            if link.startswith(generated):
                continue
            path, _, section = link.partition("#")
            there = page.parent / path if path else page
            assert there.exists(), (page.name, link)
            assert not section or section in sections(there), (page.name, link)


def sections(page: Path) -> set[str]:
    """What links call the sections of a page."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.*)", prose, re.M)
    words = (re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles)
    return {re.sub(r"[-\s]+", "-", title) for title in words}


def test_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) < 12 * 1024


def test_every_folder_and_module_of_the_design_is_there_and_none_is_missing():
    design = (ROOT / "docs" / "design.md").read_text()
    package = ROOT / "aaejax"
    named = set(re.findall(r"^      ((?:\w+(?:/|\.py) ?)+)", design, re.M))
    rooms = {word.rstrip("/") for line in named for word in line.split()}
    there = {path.name for path in package.glob("[!_]*") if path.name != "__pycache__"}
    assert rooms == there


def test_the_package_asks_for_what_requirements_txt_has():
    project = (ROOT / "pyproject.toml").read_text()
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [line.split("#")[0].strip() for line in lines]
    for line in wanted:
        if line and not line.startswith(("pytest", "hypothesis")):
            assert f"'{line}'" in project or f'"{line}"' in project, line
