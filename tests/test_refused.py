"""What can't be meant is refused in one line where it is given, from Python too."""

# Most types here are wrong, and meant to be.
# pyright: reportArgumentType=false, reportOptionalSubscript=false

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aaejax import (
    Autoencoder,
    Consistency,
    Likelihood,
    Posterior,
    aae,
    autoencoder,
    densities,
    gan,
    gmmn,
    gmmn_codes,
    init_state,
    losses,
    models,
    networks,
    phase_step,
    priors,
    reduction,
    sampling,
    semi_supervised,
    vae,
    wae,
)
from aaejax.data import from_arrays
from aaejax.models._optimizers import Optimizer
from aaejax.runs.config import RunConfig
from aaejax.runs.loop import train
from aaejax.types import DataSpec
from tests.conftest import TINY, tiny_options
from tests.made_data import fails, images

pytestmark = pytest.mark.quick
NAN, INF = math.nan, math.inf


def parts(kind="deterministic", classes=0, y_from="labels", **changes):
    """An encoder, a decoder and their code of two dimensions."""
    posterior = Posterior(kind, 2)
    outputs = posterior.encoder_outputs + (classes if y_from == "encoder" else 0)
    small = {"width": 4, "depth": 1}
    return Autoencoder(
        networks.MLPEncoder(outputs, **small),
        networks.MLPDecoder(TINY.shape, **small),
        posterior=posterior,
        likelihood=Likelihood(),
        shape=TINY.shape,
        classes=classes,
        y_from=y_from,
        **changes,
    )


def sgd(*names):
    return dict.fromkeys(names, optax.sgd(0.1))


def judge():
    return networks.MLPDiscriminator(width=4, depth=1)


ADVERSARIAL = "reconstruction", "discriminator", "generator"
HEADS = (
    *("reconstruction", "class_discriminator", "class_generator"),
    *("style_discriminator", "style_generator"),
)
PLAIN = priors.gaussian(2)


def an_aae(prior=PLAIN, optimizers=ADVERSARIAL, y_from="labels", classes=0, **changes):
    given = parts(y_from=y_from, classes=classes)
    return aae(given, judge(), prior, sgd(*optimizers), **changes)


def a_semi(prior=PLAIN, optimizers=HEADS, **changes):
    with_y = parts(classes=3, y_from="encoder")
    changes = {"labelled": False, **changes}
    return semi_supervised(with_y, judge(), judge(), prior, sgd(*optimizers), **changes)


def a_vae(
    prior=PLAIN, log_prior=None, kind="gaussian", y_from="labels", classes=0, **changes
):
    log_prior = log_prior or densities.gaussian(2)
    return vae(
        parts(kind, classes, y_from), prior, log_prior, sgd("reconstruction"), **changes
    )


def a_gan(prior=PLAIN, optimizers=ADVERSARIAL[1:], **changes):
    maker = networks.MLPDecoder(TINY.shape, width=4, depth=1)
    reader = networks.one_output(networks.MLPEncoder(1, width=4, depth=1))
    sizes = {"latent": 2, "shape": TINY.shape}
    return gan(maker, reader, prior, sgd(*optimizers), **sizes, **changes)


def a_reduction(**changes):
    with_y = parts(classes=3, y_from="encoder")
    settings = {"distance": 1.0, "labelled": False, "optimizers": sgd(*HEADS), **changes}
    return reduction(with_y, judge(), judge(), PLAIN, **settings)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        # A prior of another size than the code, or one that can't be asked.
        (lambda: an_aae(priors.gaussian(3)), "the prior gives (2, 3) for 2 codes"),
        (lambda: an_aae(lambda key, n: 0), "can't be called as prior(key, 2, None)"),
        (lambda: an_aae(lambda *_: 0.0), "the prior gives () for 2 codes"),
        (
            lambda: an_aae(
                lambda k, n, y: y[:, None] * jnp.ones(2), discriminator_classes=3
            ),
            "can't be called as prior(key, 2, labels) (",
        ),
        (lambda: a_semi(priors.uniform(1)), "the prior gives (2, 1)"),
        (lambda: a_gan(priors.gaussian(100)), "the prior gives (2, 100)"),
        (lambda: a_vae(priors.gaussian(4)), "the prior gives (2, 4)"),
        (lambda: a_vae(None, densities.gaussian(2)), "the prior can't be called"),
        (lambda: a_vae(log_prior=densities.gaussian(3)), "log density of 3 dimensions"),
        (lambda: a_vae(log_prior=lambda z: z), "log_prior gives (2, 2)"),
        (lambda: a_vae(kind="deterministic"), "it must be gaussian"),
        (lambda: wae(parts(), priors.gaussian(1), sgd("reconstruction")), "gives (2, 1)"),
        (lambda: gmmn(parts(), priors.gaussian(5), sgd("generator")), "gives (2, 5)"),
        # A code with a class beside it, of which the model knows nothing.
        (
            lambda: wae(parts(classes=3, y_from="encoder"), PLAIN, sgd("reconstruction")),
            "wae has no class beside its code",
        ),
        # Functions that nobody would tell that they train.
        (
            lambda: networks.as_network(
                (lambda key: {}, lambda v, x, is_training=False: x)
            ),
            "has an argument is_training",
        ),
        # Optimizers under other names than those of the phases.
        (lambda: an_aae(optimizers=["reconstruction"]), "have no discriminator, generator"),
        (lambda: an_aae(optimizers=(*ADVERSARIAL, "decoder")), "have decoder, which no ph"),
        (lambda: aae(parts(), judge(), PLAIN, optax.sgd(0.1)), "are of type Grad"),
        (lambda: a_semi(optimizers=HEADS[1:]), "have no reconstruction: give rec"),
        (lambda: a_semi(optimizers=(*HEADS, "heads")), "have heads, which no phase has"),
        (lambda: a_semi(labelled=True), "have no classification"),
        (lambda: a_semi(consistency=Consistency(radius=1.0)), "have no consistency"),
        (lambda: a_reduction(), "have no heads"),
        (lambda: autoencoder(parts(), {}), "have no reconstruction"),
        (lambda: a_gan(optimizers=["generator"]), "have no discriminator"),
        (
            lambda: gmmn_codes(parts(), networks.MLP(2, width=4), PLAIN, sgd("generator")),
            "have no reconstruction",
        ),
        # Numbers that no model can have.
        (lambda: an_aae(r1=-5), "r1 is -5: it must be 0 or more"),
        (lambda: an_aae(r1=NAN), "r1 is nan: it must be a finite number"),
        (lambda: a_gan(r1=INF), "r1 is inf: it must be a finite number"),
        (lambda: a_gan(steps=0), "steps is 0: it must be at least 1"),
        (lambda: a_gan(classes=-1), "classes is -1"),
        (lambda: a_vae(beta=-1), "beta is -1"),
        (lambda: a_vae(gaussian_std=0.0), "gaussian_std is 0.0: it must be positive"),
        (lambda: a_reduction(distance=NAN), "distance is nan"),
        (lambda: a_reduction(simplex=1.0), "a simplex of 3 corners needs codes of 3"),
        (lambda: wae(parts(), PLAIN, {}, weight=-1), "weight is -1"),
        (lambda: parts(input_noise=-1), "input_noise is -1: it must be 0 or more"),
        (lambda: parts(input_noise="1"), "input_noise is '1': it must be a finite number"),
        (lambda: Posterior("gaussian", 2.5), "latent is 2.5: it must be a whole number"),
        (lambda: Likelihood(std=INF), "std is inf"),
        (lambda: Consistency(radius=-1.0), "radius is -1.0"),
        (
            lambda: Consistency(information=1.0),
            "information needs a radius or mutual_information",
        ),
        (lambda: Consistency(radius=1.0, unevenness=0.1), "unevenness needs mutual_inf"),
        (
            lambda: a_semi(
                optimizers=(*HEADS, "consistency"),
                consistency=Consistency(mutual_information=1.0, unevenness=1.1),
            ),
            "with 3 classes one for all has 1.1; take less",
        ),
        # A class that nothing teaches, or that is read as another.
        (lambda: a_vae(y_from="encoder", classes=3), "nothing that teaches its encoder"),
        (lambda: an_aae(y_from="encoder", classes=3), "nothing that teaches its encoder"),
        (lambda: autoencoder(parts(classes=3), {}), "has no class beside its code"),
        (
            lambda: an_aae(classes=3, discriminator_classes=2),
            "reads 2 classes, and the code has 3 classes in front",
        ),
        (
            lambda: an_aae(classes=3, y_from="condition", discriminator_classes=3),
            "reads 3 classes, and the code has 3 conditions in front",
        ),
        (
            lambda: tiny_options("moment-matching", method="gmmn", weight=3.0).build(
                TINY, 1
            ),
            "--weight is of --method wae, not gmmn",
        ),
        (
            lambda: tiny_options(
                "moment-matching", method="gmmn", reconstruction="poisson", output="softmax"
            ).build(DataSpec((6,), 0, False, counts=True), 1),
            "counts are made per 10,000",
        ),
        (lambda: priors.gaussian(2, INF), "std is inf: it must be a finite number"),
        (lambda: priors.gaussian(2, 1e-300), "std is 1e-300: it must be positive"),
        (lambda: priors.gaussian(0), "latent is 0: it must be at least 1"),
        (lambda: priors.gaussian(2, classes=0), "classes is 0"),
        (lambda: priors.uniform(2, NAN), "low is nan"),
        (lambda: priors.mixture(2, radius=INF), "radius is inf"),
        (lambda: priors.with_class(PLAIN, 0), "classes is 0"),
        (lambda: densities.gaussian(2, -1.0), "std is -1.0"),
        (lambda: densities.mixture(2, 0), "components is 0"),
        (lambda: densities.mixture(3), "latent is 3"),
        (lambda: densities.mixture(2, radius=NAN), "radius is nan"),
        (lambda: densities.swiss_roll(turns=INF), "turns is inf"),
        (lambda: densities.swiss_roll(points=0), "points is 0"),
        (lambda: losses.mmd(jnp.ones((1, 2)), jnp.ones((3, 2))), "take a larger batch"),
        # Words.
        (lambda: sampling.between(0, 1, 0.5, "nonsense"), "path is 'nonsense'"),
        (lambda: models.options("AAE"), "there is no model 'AAE': there are aae"),
        (lambda: train("aae", None), "model is 'aae': it must be one built by hand or the"),
        (lambda: train(models.options("aae"), None), "or the options of one"),
        (lambda: train(None, None), "model is None"),
        (lambda: train(RunConfig(), None), "model is RunConfig"),
        (lambda: train(tiny_options(), None, {}), "config is {}: it must be a RunConfig"),
        (lambda: RunConfig(workdir=""), "workdir is '': give a folder"),
        (lambda: RunConfig(data_dir=" "), "data_dir is ' '"),
        # Data.
        (lambda: from_arrays(images(4), [0, 1] * 2, class_names={"a", "b"}), "in a list"),
        (lambda: from_arrays(images(4), [0, 1] * 2, class_names={0: "a"}), "in a list"),
        (lambda: from_arrays(np.ma.masked_less(images(4), 99)), "have masked values; fill"),
        (
            lambda: from_arrays(images(4), np.ma.masked_equal([0, 1, 0, 2], 2)),
            "train labels have masked values",
        ),
        (lambda: from_arrays([np.ma.masked_less(images(1)[0], 99)] * 2), "have masked"),
    ],
)
def test_it_is_refused(make, words):
    fails(words, make)


def test_what_fits_is_taken():
    one_class = semi_supervised(
        parts(classes=1, y_from="encoder"),
        *(judge(), judge(), PLAIN, sgd(*HEADS, "consistency")),
        labelled=False,
        consistency=Consistency(radius=1.0, mutual_information=1.0),
    )
    assert len(one_class.phases) == 6
    assert [p.name for p in an_aae(r1=np.float32(0.5)).phases] == list(ADVERSARIAL)
    assert len(a_semi().phases) == 5
    assert len(a_reduction(optimizers=sgd(*HEADS, "heads")).phases) == 6
    whole = np.ma.array(images(4))  # of which nothing is masked
    assert type(from_arrays(whole).train_images) is np.ndarray
    names = np.array(["a", "b"])
    assert from_arrays(images(4), [0, 1] * 2, class_names=names).classes == 2


def test_scalars_of_numpy_and_jax_are_numbers_of_options():
    options = tiny_options(width=np.int64(8), r1=np.float32(0.5), dropout=jnp.zeros(()))
    found = RunConfig(
        epochs=np.int64(3),
        overwrite=np.True_,
        dataset=np.str_("mnist"),
    )
    numbers = options.width, options.r1, found.epochs, found.overwrite
    assert numbers == (8, 0.5, 3, True)
    assert [type(x) for x in numbers] == [int, float, int, bool]
    optimizer = Optimizer(learning_rate=np.float64(0.5), drops=(np.int32(3), 4))
    assert optimizer == Optimizer(learning_rate=0.5, drops=(3, 4))
    assert [type(x) for x in optimizer.drops] == [int, int]
    fails(
        "epochs is 1.5: it must be a whole",
        RunConfig,
        epochs=np.float32(1.5),
    )


@pytest.fixture(scope="module")
def classification():
    """The phase that learns labels, a state and a batch of eight."""
    model = tiny_options("semi-supervised", classification_optimizer=Optimizer("sgd"))
    model = model.build(dataclasses.replace(TINY, labelled=8), 1)
    batch = {
        "labelled_image": jax.random.uniform(jax.random.key(0), (8, *TINY.shape)),
        "labelled_label": jnp.arange(8) % 3,
    }
    state = jax.jit(lambda key: init_state(model, key))(jax.random.key(1))
    return model.phases[-1], state, batch


def test_a_label_that_is_not_known_teaches_nothing(classification):
    phase, state, batch = classification
    step, key = jax.jit(phase_step(phase)), jax.random.key(2)

    def learned(known):
        labels = jnp.where(known, batch["labelled_label"], -1)
        after, metrics = step(state, {**batch, "labelled_label": labels}, key)
        return after, float(metrics["classification/loss"])

    some = jnp.arange(8) < 3
    losses = [learned(which)[1] for which in (some, ~some, some | ~some)]
    assert losses[0] > 0 and losses[0] + losses[1] == pytest.approx(losses[2], rel=1e-5)
    after, loss = learned(some & ~some)
    assert loss == 0
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)


def test_labels_of_labelled_examples_are_known_and_as_many_as_the_images(classification):
    phase, state, batch = classification

    def step(labels):
        return phase_step(phase)(state, {**batch, "labelled_label": labels}, None)

    labels = batch["labelled_label"]
    fails("lies in -1 ... 2: it must lie in 0 ... 2", step, labels.at[3].set(-1))
    fails("has 7 examples and 'labelled_image' has 8", step, labels[:7])
