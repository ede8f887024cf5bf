import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_of_the_readme_runs_and_learns():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(code, names)
    assert names["images"].shape == (5, 28, 28, 1)
    assert names["state"].step == 1
    first = names["metrics"]["reconstruction/loss"]
    state = names["state"]
    for _ in range(20):
        state, metrics = names["step"](state, names["batch"], names["jax"].random.key(4))
    assert metrics["reconstruction/loss"] < first


def test_every_room_of_the_readme_is_there_and_none_is_missing():
    rooms = set(re.findall(r"\b(\w+\.py)(?:  |:)", README.split("## Design")[1]))
    files = {path.name for path in (ROOT / "aaejax").glob("*.py")} - {"__init__.py"}
    assert rooms == files


def test_every_picture_and_file_that_the_readme_names_is_there():
    for name in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / name).exists(), name


def test_the_package_asks_for_what_requirements_txt_has():
    project = (ROOT / "pyproject.toml").read_text()
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [line.split("#")[0].strip() for line in lines]
    for line in wanted:
        if line and not line.startswith("pytest"):
            assert f"'{line}'" in project or f'"{line}"' in project, line


def test_every_number_measured_for_the_paper_stands_in_the_readme():
    files = list((ROOT / "benchmarks" / "results" / "paper").glob("*.json"))
    assert files
    for file in files:
        record = json.loads(file.read_text())
        digits = 1 if record["unit"] == "nats" else 2
        assert f"{record['value']:.{digits}f}" in README, file.name
