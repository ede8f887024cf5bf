"""metrics.jsonl as checkpoints know it: what is put back, and what is said."""

import pytest

from aaejax.runs.on_disk.metrics_log import Mark, MetricsLog

pytestmark = pytest.mark.quick


def logged(path):
    """Six lines, in segments up to step 20, 40 and 60."""
    log, segments = MetricsLog(path), []
    for step in range(10, 70, 10):
        log.append(log.add({"step": step, "loss": step / 3}))
        if step % 20 == 0:
            segments.append(log.segment())
    return segments, path.read_text()


def resumed(path, step, segments):
    told = []
    log = MetricsLog(path)
    log.resume(step, segments, told.append)
    return log, path.read_text(), told


def test_nothing_is_said_and_changed_where_nothing_is_wrong(tmp_path):
    segments, text = logged(tmp_path / "m")
    assert resumed(tmp_path / "m", 60, segments)[1:] == (text, [])
    # A killed run may have later lines, a part of one, or not yet the checkpoint's own.
    lines = text.splitlines(keepends=True)
    for written in (text, "".join(lines[:5]) + lines[5][:9], "".join(lines[:3])):
        (tmp_path / "m").write_text(written)
        found = resumed(tmp_path / "m", 40, segments[:2])
        assert found[1:] == ("".join(lines[:4]), [])


@pytest.mark.parametrize(
    ("damage", "steps"),
    [
        (lambda lines: lines[:2] + lines[3:], "30"),
        (lambda lines: [*lines[:4], lines[4].replace("16", "17"), lines[5]], "50"),
        (lambda lines: ["5\n"], "10, 20, 30, 40, 50, 60"),
        (lambda lines: ["{}\n", *lines[1:]], "10"),
        (lambda lines: ["\udcff\udcfe\n", *lines[1:]], "10"),
        (lambda lines: [], "10, 20, 30, 40, 50, 60"),
        (lambda lines: [*lines[:5], lines[5].replace("20", "21")], "60"),
    ],
)
def test_what_checkpoints_have_is_put_back_and_said(damage, steps, tmp_path):
    segments, text = logged(tmp_path / "m")
    damaged = "".join(damage(text.splitlines(keepends=True)))
    (tmp_path / "m").write_bytes(damaged.encode(errors="surrogateescape"))
    _, after, told = resumed(tmp_path / "m", 60, segments)
    assert after == text
    assert told == [
        f"{tmp_path / 'm'}: the lines of steps {steps} were missing or changed: put back "
        "from the checkpoints"
    ]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda lines: lines[1:], "of the 2 lines before step 30 there are 1 missing"),
        (lambda lines: [lines[0].replace("3.3", "3.4"), *lines[1:]], "some changed"),
        (lambda lines: [lines[0], *lines], "some changed"),
    ],
)
def test_what_no_checkpoint_has_any_more_is_said(damage, words, tmp_path):
    segments, text = logged(tmp_path / "m")
    lines = text.splitlines(keepends=True)
    (tmp_path / "m").write_text("".join(damage(lines)))
    _, after, told = resumed(tmp_path / "m", 60, segments[1:])
    assert after.endswith("".join(lines[2:]))
    assert len(told) == 1
    assert words in told[0]
    # And again at the next start: what goes on is the history that was.
    assert len(resumed(tmp_path / "m", 60, segments[1:])[2]) == 1


def test_segments_follow_upon_one_another_over_a_resume(tmp_path):
    segments, text = logged(tmp_path / "m")
    log, *_ = resumed(tmp_path / "m", 40, segments[:2])
    for step in (50, 60):
        log.append(log.add({"step": step, "loss": step / 3}))
    assert log.segment() == segments[2]
    assert (tmp_path / "m").read_text() == text
    assert segments[2].after == Mark().after(text.splitlines())


def test_without_segments_the_lines_up_to_the_step_stay(tmp_path):
    _, text = logged(tmp_path / "m")
    (tmp_path / "m").write_text("junk\n" + text)
    log, after, told = resumed(tmp_path / "m", 40, [])
    assert after == "".join(text.splitlines(keepends=True)[:4])
    assert told == [f"{tmp_path / 'm'}: 1 damaged line(s) are left out"]
    assert log.segment().before == Mark().after(after.splitlines())


def test_what_json_has_no_words_for_is_left_out(tmp_path):
    line = {"step": 1, "a": float("nan"), "b": float("-inf"), "c": 0.1}
    assert MetricsLog(tmp_path / "m").add(line) == '{"step": 1, "c": 0.1}'
