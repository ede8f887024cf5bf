"""--help in groups, and completion in a shell."""

import shutil
import subprocess
import sys

import pytest

from aaejax import models
from aaejax.ask import command as sample
from aaejax.runs.command_line import command as train
from aaejax.runs.command_line.help import grouped

BOX = """\
usage: x [-h] [OPTIONS]

╭─ options ──────────╮
│ -h, --help  a      │
│ --width INT a unit │
│     that is wide   │
│ --seed INT  b      │
╰────────────────────╯
╭─ p options ────────╮
│ --p.q INT   c      │
╰────────────────────╯
"""


def test_a_box_becomes_several():
    made = grouped(BOX, ("one", "none", "two"), lambda x: "one" if x == "width" else "two")
    assert made == (
        "usage: x [-h] [OPTIONS]\n\n"
        "╭─ one ──────────────╮\n"
        "│ --width INT a unit │\n"
        "│     that is wide   │\n"
        "╰────────────────────╯\n"
        "╭─ two ──────────────╮\n"
        "│ -h, --help  a      │\n"
        "│ --seed INT  b      │\n"
        "╰────────────────────╯\n"
        "╭─ p options ────────╮\n"
        "│ --p.q INT   c      │\n"
        "╰────────────────────╯\n"
    )
    assert grouped("something else\n", ("one",), str) == "something else\n"


def first_ten(text):
    """The options that stand before all boxes."""
    before = text.partition("╭─")[0].partition("Ten options to begin with")[2]
    return [line.split()[0] for line in before.splitlines() if line.startswith("    --")]


def boxes(text):
    """The options in each box, by its title."""
    found, title = {}, None
    for line in text.splitlines():
        if line.startswith("╭─ "):
            title = line.strip("╭─╮ ")
            found[title] = []
        elif title and line.startswith(("│ --", "│ -h")):
            found[title].append(line.replace("│ -h, ", "│ ").split()[1].rstrip(","))
    return found


@pytest.mark.parametrize("model", ["aae", "semi-supervised", "gan"])
def test_train_has_its_options_in_groups(model, capsys):
    with pytest.raises(SystemExit) as end:
        train.parse_run([model, "--help"])
    assert not end.value.code
    said = capsys.readouterr().out
    found = boxes(said)
    assert len(first_ten(said)) == 10
    if model == "aae":
        assert set(first_ten(said)) <= {each for box in found.values() for each in box}
    assert [title for title in found if not title.endswith(" options")] == [
        title for title in train.GROUPS if title in found
    ]
    assert {"--dataset", "--labels", "--resize", "--data-dir"} <= set(found["data"])
    assert {"--latent", "--network", "--width"} <= set(found["networks"])
    assert {"--epochs", "--batch-size", "--r1"} <= set(found["optimization"])
    assert {"--help", "--seed", "--workdir", "--from", "--options"} <= set(found["run"])
    prior = {"aae": {"--prior", "--prior-std", "--components"}, "gan": {"--prior-std"}}
    assert prior.get(model, {"--prior-std"}) <= set(found["prior"])


def test_sample_has_its_options_in_groups(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sample.py", "--help"])
    with pytest.raises(SystemExit):
        sample.main()
    said = capsys.readouterr().out
    found = boxes(said)
    assert len(first_ten(said)) == 10
    assert set(first_ten(said)) <= {each for box in found.values() for each in box}
    assert {"--out", "--count", "--seed"} <= set(found["what is made"])
    assert {"--data", "--pick"} <= set(found["data"])
    run = {"--help", "--step", "--weights", "--network", "--compile-cache"}
    assert set(found["run"]) == run
    assert set(found["page"]) == {"--port", "--browser"}


def test_every_option_of_every_model_has_a_group():
    for name in models.NAMES:
        for option in models.options(name).__dataclass_fields__:
            assert train.group_of(option.replace("_", "-")) in train.GROUPS
            assert train.group_of(option) != "run", option


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash is installed")
@pytest.mark.parametrize(
    ("script", "name", "word", "expected"),
    [
        (train, "aaejax-train", "--dat", {"--dataset", "--data-dir"}),
        (sample, "aaejax-sample", "--contam", {"--contamination"}),
    ],
)
def test_options_are_completed_in_bash(script, name, word, expected, tmp_path, monkeypatch):
    file = tmp_path / "completion"
    words = [name, "--tyro-write-completion", "bash", str(file)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        script.main(name)
    assert not end.value.code
    # What bash does at the tab key.
    typed = f"""
    source {file}
    COMP_WORDS=({name} {word}); COMP_CWORD=1; COMP_LINE="{name} {word}"
    COMP_POINT=${{#COMP_LINE}}
    function=$(complete -p {name} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    $function {name} {word} {name}
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", typed], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert expected <= {line.strip() for line in done.stdout.splitlines()}, done
