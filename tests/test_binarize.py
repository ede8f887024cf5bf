"""Grey pixels as bits: one draw for every run, or one for every step."""

import jax
import numpy as np

from aaejax import init_state, train_step
from aaejax.ask import sources
from aaejax.data import from_arrays, from_source, load
from aaejax.runs.loop import train
from aaejax.runs.restore import restore
from aaejax.runs.run import augmentation
from aaejax.types import DataSpec
from tests.conftest import run_config, tiny_options
from tests.made_data import fails, images


class Greys:
    """A source of grey pictures, read when they are asked for."""

    def __len__(self):
        return 60

    def __getitem__(self, rows):
        return {"image": images(60)[rows]}


def test_a_bit_is_1_with_its_grey_as_the_probability():
    greys = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), (900, 1, 1, 1))
    data = from_arrays(greys[:800], None, greys[800:]).binarize("static")
    bits = np.asarray(data.train_images)
    assert bits.dtype == np.uint8 and set(np.unique(bits)) == {0, 255}
    wanted = np.arange(256) / 255
    errors = (bits / 255).mean(axis=0).reshape(-1) - wanted
    assert (np.abs(errors) <= 4.5 * np.sqrt(wanted * (1 - wanted) / 800) + 1e-9).all()
    # Each pixel has a draw of its own, and each part too.
    assert len({x.tobytes() for x in [*bits, *data.test_images]}) == 900
    # The draws are those of any other time and machine.
    first = from_arrays(np.full((9, 4, 5, 1), 128, np.uint8), hold_out=False)
    drawn = np.asarray(first.binarize("static").train_images)[[0, 8], :, 0, 0] // 255
    assert drawn.tolist() == [[1, 0, 1, 0], [1, 1, 0, 0]]


def test_the_draw_is_that_of_the_position_however_rows_are_read():
    whole = from_arrays(images(60), hold_out=False).binarize("static").train_images
    floats = images(60).astype(np.float32) / np.float32(255)
    as_float = from_arrays(floats, hold_out=False).binarize("static").train_images
    assert as_float.dtype == np.float32
    np.testing.assert_array_equal(as_float * 255, whole)
    lazy = from_source(Greys(), hold_out=False).binarize("static")
    assert lazy.train_images.dtype == np.uint8
    rows = np.array([7, 3, 4, 5, 59])
    np.testing.assert_array_equal(lazy.train_images[rows], np.asarray(whole)[rows])
    np.testing.assert_array_equal(lazy.train_images.take(rows)[1:3], whole[3:5])
    np.testing.assert_array_equal(np.asarray(lazy.train_images), whole)
    assert lazy.fingerprint != from_source(Greys(), hold_out=False).fingerprint


def test_dynamic_leaves_the_greys_of_training_alone():
    data = from_arrays(images(60))
    static, dynamic = data.binarize("static"), data.binarize("dynamic")
    np.testing.assert_array_equal(dynamic.train_images, data.train_images)
    np.testing.assert_array_equal(dynamic.test_images, static.test_images)
    assert dynamic.binarize("static").fingerprint == static.fingerprint
    assert data.binarize("no") is data and static.binarize("static") is static
    fails("its greys are gone", static.binarize, "dynamic")


def test_a_step_draws_bits_of_its_own():
    model = tiny_options("autoencoder").build(DataSpec((4, 5, 1), 0, True), 1)
    batch = {"image": np.full((200, 4, 5, 1), 0.25, np.float32)}
    seen = {}

    def note(batch, draw):
        seen.update(
            augmentation(run_config("x", binarize="dynamic", flip=True))(batch, draw)
        )
        return seen

    state, key = init_state(model, jax.random.key(0)), jax.random.key(1)
    drawn = []
    for step in (0, 1, 0):
        at = state.replace(step=np.int32(step))
        train_step(model.phases, augment=note)(at, batch, jax.random.clone(key))
        drawn.append(np.asarray(seen["image"]))
    assert set(np.unique(drawn[0])) == {0, 1} and abs(np.mean(drawn) - 0.25) < 0.02
    assert (drawn[0] == drawn[2]).all() and (drawn[0] != drawn[1]).any()
    assert augmentation(run_config("x")) is None


def test_a_run_on_bits_is_recorded_and_its_data_are_read_as_bits(tmp_path):
    np.save(tmp_path / "a.npy", images(60, (6, 5)))
    place, losses = str(tmp_path / "a.npy"), []
    for devices in (1, 2):
        config = run_config(
            tmp_path / f"{devices}",
            dataset=place,
            batch_size=18,
            epochs=4,
            binarize="dynamic",
        )
        dataset = load(place, tmp_path, **config.reading())
        options = tiny_options("autoencoder")
        found = train(options, dataset, config, devices=jax.devices()[:devices])
        losses.append(found.metrics["reconstruction/loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    trained = restore(config.workdir)
    assert trained.data.spec.binary
    own, static = sources.own(trained, None, tmp_path), dataset.binarize("static")
    np.testing.assert_array_equal(own.train_images, static.train_images)
    np.testing.assert_array_equal(own.test_images, static.test_images)
    (given,) = sources.given(trained, place, tmp_path)
    assert set(np.unique(np.asarray(given.images))) == {0, 255}
    assert set(np.unique(sources.heldout(trained).images)) == {0, 255}


def test_what_has_no_bits_is_refused(tmp_path):
    colours, vectors = from_arrays(images(20, (4, 5, 3))), from_arrays(np.eye(20))
    config = run_config(tmp_path / "run", batch_size=5, binarize="static")
    fails("3 channels, and it is for grey", train, tiny_options(), colours, config)
    fails("are vectors, and it is for grey", train, tiny_options(), vectors, config)
    for word in ("squared-error", "gaussian"):
        options = tiny_options(reconstruction=word)
        fails("bits have no squared error", train, options, from_arrays(images(20)), config)
    assert not (tmp_path / "run").exists()
