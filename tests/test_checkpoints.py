"""Checkpoints: which are used, which are not, and what is said of them."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore

from aaejax import init_state
from aaejax.runs import examples
from aaejax.runs.finite import NonFiniteLoss, finite_copy
from aaejax.runs.on_disk.about import checksums
from aaejax.runs.on_disk.checkpoints import Checkpoints
from aaejax.runs.restore import restore
from aaejax.types import TrainState, UserError
from tests.conftest import run_python, same, tiny_options, train_tiny


def test_broken_checkpoints_are_passed_over_and_the_user_is_told(run, digits):
    checkpoints = run / "checkpoints"
    (checkpoints / "60").mkdir()  # made, never written
    (checkpoints / "80.orbax-checkpoint-tmp-1").mkdir()  # killed in the writing
    for file in (checkpoints / "40" / "params").rglob("*"):  # cut short
        if file.is_file():
            os.truncate(file, file.stat().st_size // 2)
    told = []
    trained = restore(run, tell=told.append)
    assert trained.step == 20
    assert [" ".join(line.split()[:5]) for line in told] == [
        "checkpoint 60 can't be used",
        "checkpoint 40 can't be used",
    ]
    told.clear()
    result = train_tiny(run, digits, devices=1, tell=told.append)
    assert result.step == 40
    assert f"resuming {run} at step 20 of 40" in told
    told.clear()
    assert restore(run, tell=told.append).step == 40
    assert told == []
    aside = {path.name for path in (run / "unusable-checkpoints").iterdir()}
    assert aside == {"40", "60"}


def test_a_foreign_checkpoint_is_refused(run, digits):
    other = tiny_options(width=9).build(examples.data_spec(digits), 40)
    state = jax.jit(lambda key: init_state(other, key))(jax.random.key(0))
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    with Checkpoints(run / "checkpoints", keep=3) as checkpoints:
        for step in (20, 40):
            checkpoints.save(finite_copy(state.replace(step=jnp.int32(step))))
    told = []
    with pytest.raises(UserError, match=r"no checkpoint in .* can be used"):
        restore(run, tell=told.append)
    assert len(told) == 2
    with pytest.raises(UserError, match="no checkpoint of step 30: there are 20, 40"):
        restore(run, step=30)


def test_only_the_last_checkpoints_are_kept(digits, tmp_path):
    train_tiny(tmp_path, digits, save_every=10, keep=2, devices=1)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"30", "40"}


def test_what_a_killed_removal_left_is_removed(digits, tmp_path):
    train_tiny(tmp_path, digits, save_every=10, keep=2, devices=1)
    left = tmp_path / "checkpoints" / "20"  # half of it
    shutil.copytree(tmp_path / "checkpoints" / "30" / "params", left / "params")
    (tmp_path / "checkpoints" / "elsewhere").mkdir()
    train_tiny(tmp_path, digits, save_every=10, keep=2, devices=1)
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"30", "40", "elsewhere"}


def test_a_restored_state_is_the_saved_one_and_lives_anywhere(digits, tmp_path):
    model = tiny_options().build(examples.data_spec(digits), 10)
    state = init_state(model, jax.random.key(0))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(finite_copy(state.replace(step=jnp.int32(7))))
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore_state(state)
    assert restored.step == 7
    assert same(restored.params, state.params)
    assert same(restored.opt_state, state.opt_state)


def step_and_words(folder):
    """The step that is restored and what is said."""
    told = []
    return restore(folder, tell=told.append).step, " ".join(told)


def large_file(folder):
    """The file that holds most of the parameters."""
    files = [path for path in (folder / "d").iterdir() if path.is_file()]
    files += list((folder / "ocdbt.process_0" / "d").iterdir())
    return max(files, key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_is_used(run, place):
    file = large_file(run / "checkpoints" / "40" / "params")
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 4
    file.write_bytes(content)
    step, words = step_and_words(run)
    assert step == 20
    assert words.startswith("checkpoint 40 can't be used (")


def test_an_array_that_reads_well_and_is_another_is_named(run, digits):
    # Orbax and its compression see nothing wrong: only the checksum does.
    with Checkpoints(run / "checkpoints", keep=3) as checkpoints:
        model = tiny_options().build(examples.data_spec(digits), 40)
        state = checkpoints.restore_state(init_state(model, jax.random.key(0)))
    state.params["encoder"] = jax.tree.map(lambda x: x + 1, state.params["encoder"])
    with Checkpoints(run / "other", keep=3) as checkpoints:
        checkpoints.save(state)
    for path in (run / "checkpoints/40/params", run / "other/40/params"):
        assert path.is_dir()
    shutil.rmtree(run / "checkpoints/40/params")
    shutil.copytree(run / "other/40/params", run / "checkpoints/40/params")
    step, words = step_and_words(run)
    assert step == 20
    assert "array encoder/" in words
    assert "of params does not have its checksum" in words


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b"\xff", None])
def test_a_damaged_about_makes_a_checkpoint_unusable(run, content):
    file = run / "checkpoints/40/about/metadata"
    if content is None:
        shutil.rmtree(file.parent)
    else:
        file.write_bytes(content)
    step, words = step_and_words(run)
    assert step == 20
    assert words.startswith("checkpoint 40 can't be used (")


def test_a_digit_changed_in_about_is_noticed(run):
    file = run / "checkpoints/40/about/metadata"
    saved = json.loads(file.read_text())
    saved["about"]["log"]["lines"][0] = saved["about"]["log"]["lines"][0].replace("3", "4")
    file.write_text(json.dumps(saved))
    assert step_and_words(run)[0] == 20


def test_a_checkpoint_under_another_step_is_refused(run):
    os.rename(run / "checkpoints/20", run / "checkpoints/60")
    step, words = step_and_words(run)
    assert step == 40
    assert words == "checkpoint 60 can't be used (it is that of step 20)"


def test_an_array_that_claims_more_than_memory_is_not_read(run):
    folder, array = f"file://{run}/checkpoints/40/params/", "encoder.mlp.hidden_0.bias/"
    store = {"driver": "ocdbt", "base": folder, "path": array}
    claim = {"driver": "zarr", "kvstore": store, "dtype": "float32", "create": True}
    tensorstore.open(claim, shape=[2**40], delete_existing=True).result()
    step, words = step_and_words(run)
    assert step == 20
    assert "it has an array float32[1099511627776] where the model has float32[8]" in words


def test_a_changed_config_is_named_and_not_the_checkpoints(run):
    saved = json.loads((run / "config.json").read_text())
    saved["run"]["seed"] = 1
    (run / "config.json").write_text(json.dumps(saved))
    told = []
    with pytest.raises(UserError, match=r"config.json was changed.*run.seed was 0, now 1;"):
        restore(run, tell=told.append)
    assert told == []


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch_size": 80, "epochs": 8}])
def test_a_checkpoint_of_another_run_is_refused(change, run, digits, tmp_path):
    other = tmp_path / "other"
    train_tiny(other, digits, **change, devices=1)
    shutil.rmtree(run / "checkpoints/40")
    shutil.copytree(other / "checkpoints/40", run / "checkpoints/40")
    step, words = step_and_words(run)
    assert step == 20
    assert "it is of another run: run." in words
    assert f"run.{next(iter(change))} was" in words  # how long it is does not count


def test_a_checkpoint_older_than_checksums_is_used_and_that_is_said(run):
    for step in ("20", "40"):
        shutil.rmtree(run / "checkpoints" / step / "about")
        meta = run / "checkpoints" / step / "_CHECKPOINT_METADATA"
        saved = json.loads(meta.read_text())
        del saved["item_handlers"]["about"]
        meta.write_text(json.dumps(saved))
    step, words = step_and_words(run)
    assert step == 40
    assert words == (
        "checkpoint 40 is of an older aaejax, without checksums: it is used as it is"
    )


def test_a_checkpoint_taken_away_meanwhile_is_no_damage(run, digits):
    """As beside a training that keeps one: it is listed, and gone when it is read."""
    model = tiny_options().build(examples.data_spec(digits), 40)
    told = []
    with Checkpoints(run / "checkpoints", tell=told.append) as checkpoints:
        shutil.rmtree(run / "checkpoints/20")
        shutil.move(run / "checkpoints/40", run / "gone")
        moved = json.loads((run / "gone/about/metadata").read_text())
        assert moved["about"]["step"] == 40
        with pytest.raises(UserError, match="no checkpoint"):
            checkpoints.restore_weights(init_state(model, jax.random.key(0)))
    assert told == []


def test_a_skipped_checkpoint_leaves_no_noise(run):
    """Reads in flight when one fails end before Orbax closes their event loop."""
    file = large_file(run / "checkpoints/40/params")
    content = bytearray(file.read_bytes())
    content[::97] = bytes(255 - x for x in content[::97])
    file.write_bytes(content)
    program = f"from aaejax.runs.restore import restore; print(restore({str(run)!r}).step)"
    done = run_python("-c", program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "20"


def test_only_finite_states_are_copied_for_a_checkpoint():
    good = np.ones(3, np.float32)
    bad = np.array([1, np.inf, 2], np.float32)

    def state(array, moment):
        params = {"decoder": {"kernel": array}}
        return TrainState(jnp.int32(7), params, {"decoder": {}}, {"a": (moment,)})

    copied = finite_copy(state(good, good))
    assert copied.params["decoder"]["kernel"] is not good
    with pytest.raises(NonFiniteLoss, match="params/decoder/kernel is not finite after st"):
        finite_copy(state(bad, good))
    with pytest.raises(NonFiniteLoss, match="opt_state/a/0 is not finite after step 7"):
        finite_copy(state(good, bad))


@pytest.mark.parametrize("rate", [1e30, 3e38])
def test_a_state_gone_wrong_at_the_last_step_is_not_saved(rate, digits, tmp_path):
    from aaejax.models._optimizers import Optimizer

    wild = tiny_options(generator_optimizer=Optimizer("sgd", rate))
    settings = {"epochs": 1, "batch_size": 400, "log_every": 1, "save_every": 1}
    with pytest.raises(NonFiniteLoss, match="after step 1: there is no checkpoint yet"):
        train_tiny(tmp_path, digits, model=wild, devices=1, **settings)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_the_checksum_knows_dtype_shape_and_every_byte():
    zeros = np.zeros((2, 3), np.float32)
    one_bit = zeros.copy()
    one_bit.view(np.uint8)[1, 5] = 1
    others = [zeros.reshape(3, 2), zeros.view(np.int32), one_bit]
    (first,) = checksums([zeros]).values()
    assert all(checksums([each])["0"] != first for each in others)
    assert checksums({"a": (np.float32(1),)}).keys() == {"a/0"}


@pytest.mark.parametrize("junk", ["[5, null]", "[" * 100_000, ""])
def test_damaged_words_of_one_checkpoint_hide_no_other(junk, digits, tmp_path):
    model = tiny_options().build(examples.data_spec(digits), 10)
    state = init_state(model, jax.random.key(0))
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(finite_copy(state.replace(step=jnp.int32(step))))
    (tmp_path / "2" / "_CHECKPOINT_METADATA").write_text(junk)
    (tmp_path / "3" / "about" / "metadata").write_text(junk)
    told = []
    with Checkpoints(tmp_path, tell=told.append) as checkpoints:
        restored = checkpoints.restore_weights(state)
        assert len(checkpoints.segments(3)) == 2
    assert restored.step == 2
    assert same(restored.params, state.params)
    assert [line[:26] for line in told] == ["checkpoint 3 can't be used"]
