import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aaejax import Likelihood
from aaejax.components import losses

pytestmark = pytest.mark.quick


def test_bernoulli_error_by_hand():
    # p = 0.5 where the logit is 0: every pixel costs ln 2, whatever the target.
    # p = 3/4 at logit ln 3: -ln(3/4) for a 1, -ln(1/4) for a 0, summed over pixels.
    logits = jnp.array([[0.0, 0.0], [math.log(3), math.log(3)]])
    images = jnp.array([[0.3, 1.0], [1.0, 0.0]])
    expected = [2 * math.log(2), -math.log(3 / 4) - math.log(1 / 4)]
    np.testing.assert_allclose(losses.bernoulli_error(logits, images), expected, rtol=1e-6)


def test_squared_error_by_hand():
    # Half of 1^2 + 2^2, and half of 3^2.
    made = jnp.array([[1.0, 2.0], [3.0, 5.0]])
    images = jnp.array([[0.0, 0.0], [0.0, 5.0]])
    np.testing.assert_allclose(losses.squared_error(made, images), [2.5, 4.5])


def test_gaussian_error_is_the_density_of_scipy():
    rng = np.random.default_rng(0)
    means, log_stds, values = rng.normal(size=(3, 4, 5)).astype(np.float32)
    expected = -stats.norm(means, np.exp(log_stds)).logpdf(values).sum(axis=1)
    found = losses.gaussian_error(means, log_stds, values)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_best_variance_of_a_decoder_is_its_mean_squared_error():
    rng = np.random.default_rng(0)
    made, images = rng.normal(size=(2, 6, 4, 3)).astype(np.float32)
    likelihood = Likelihood("gaussian", "linear")
    squares = np.square(made - images).mean()

    def loss(dispersion):
        both = jnp.stack([made, jnp.full_like(made, dispersion)], axis=1)
        return likelihood.error(both, images).mean(), likelihood.log_stds(both)

    dispersion = jnp.float32(0)
    for _ in range(50):
        dispersion -= 1e-4 * jax.grad(lambda d: loss(d)[0])(dispersion)
    value, log_stds = loss(dispersion)
    np.testing.assert_allclose(jnp.exp(2 * log_stds), squares, rtol=1e-4)
    # 12 numbers an example, each of the entropy of that Gaussian.
    entropy = 0.5 * (math.log(2 * math.pi * squares) + 1)
    assert value == pytest.approx(12 * entropy, rel=1e-5)
    for far in (-1e3, 1e3):
        value, gradient = jax.value_and_grad(lambda d: loss(d)[0])(far)
        assert np.isfinite(value) and np.isfinite(gradient)


def test_errors_sum_over_all_axes_of_an_image():
    flat = np.random.default_rng(0).normal(size=(3, 24)).astype(np.float32)
    image = flat.reshape(3, 4, 3, 2)
    for error in (losses.bernoulli_error, losses.squared_error):
        zeros = jnp.zeros((3, 24))
        np.testing.assert_allclose(
            error(jnp.asarray(image), zeros.reshape(image.shape)),
            error(jnp.asarray(flat), zeros),
            rtol=1e-6,
        )


def test_adversarial_losses_at_zero_logits():
    zeros = jnp.zeros(4)
    loss, metrics = losses.discriminator_loss(zeros, zeros)
    assert loss == pytest.approx(2 * math.log(2))
    # Logit 0 is the decision for "code": right for codes, wrong for the prior.
    assert (metrics["accuracy_prior"], metrics["accuracy_codes"]) == (0, 1)
    assert losses.generator_loss(zeros) == pytest.approx(math.log(2))
    assert losses.generator_loss(zeros, "minimax") == pytest.approx(-math.log(2))


def test_adversarial_losses_by_hand():
    # D = sigmoid(ln 3) = 3/4 on the prior, sigmoid(-ln 3) = 1/4 on codes.
    prior, codes = jnp.array([math.log(3)]), jnp.array([-math.log(3)])
    loss, metrics = losses.discriminator_loss(prior, codes)
    assert loss == pytest.approx(-2 * math.log(3 / 4))
    assert (metrics["accuracy_prior"], metrics["accuracy_codes"]) == (1, 1)
    assert losses.generator_loss(codes) == pytest.approx(-math.log(1 / 4))
    assert losses.generator_loss(codes, "minimax") == pytest.approx(math.log(3 / 4))


@pytest.mark.parametrize("logit", [-100.0, 100.0])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_all_are_finite_at_extreme_logits(logit, target):
    logits, images = jnp.full((2, 3), logit), jnp.full((2, 3), target)
    for loss in (
        lambda x: losses.bernoulli_error(x, images).sum(),
        lambda x: losses.discriminator_loss(x[:, 0], x[:, 1])[0],
        lambda x: losses.generator_loss(x[:, 0]),
        lambda x: losses.generator_loss(x[:, 0], "minimax"),
    ):
        value, gradient = jax.value_and_grad(loss)(logits)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_generator_forms_agree_in_direction_and_differ_where_saturated():
    sure = jnp.array([-20.0])
    strong = jax.grad(lambda x: losses.generator_loss(x))(sure)
    weak = jax.grad(lambda x: losses.generator_loss(x, "minimax"))(sure)
    assert strong[0] < -0.99
    assert -1e-6 < weak[0] < 0


def test_gradient_penalty_of_a_linear_discriminator_is_half_its_squared_slope():
    slope = jnp.array([3.0, -4.0])
    codes = jnp.array([[0.0, 1.0], [2.0, -5.0]])
    assert losses.gradient_penalty(lambda z: z @ slope, codes) == 12.5
    # Of |z|^2 the gradient is 2 z: half the mean of 4 and 4 * 29.
    assert losses.gradient_penalty(lambda z: (z**2).sum(axis=1), codes) == 30


def test_a_decoders_slope_is_the_norm_of_its_jacobian():
    # Orthogonal rows: the squares of J v are those of J for any signs v.
    weights = jnp.array([[3.0, 0.0, 0.0], [0.0, 1.0, -2.0]])
    codes, probes = jnp.zeros((2, 2)), jnp.array([[1.0, -1.0], [1.0, 1.0]])
    found = losses.jacobian_norm(lambda z: z @ weights, codes, probes)
    np.testing.assert_allclose(found, 9 + 1 + 4)
    # Any others: so in the mean over all signs; of z^2 the derivatives are 2 z.
    weights = jnp.array([[3.0, 1.0, 0.0], [2.0, 1.0, -2.0]])
    codes = jnp.array([[1.0, 2.0]] * 4)
    probes = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    found = losses.jacobian_norm(lambda z: z**2 @ weights, codes, probes)
    assert found.mean() == pytest.approx(4 * 10 + 16 * 9)


def test_a_critic_is_held_to_a_slope_of_one():
    points, weights = np.zeros((3, 2, 1), np.float32), np.array([[3.0], [4.0]], "f")
    penalty = losses.slope_penalty(lambda x: (x * weights[None]).sum(axis=(1, 2)), points)
    assert penalty == pytest.approx((5 - 1) ** 2)
    constant = jax.grad(
        lambda w: losses.slope_penalty(lambda x: (w * x).sum(axis=(1, 2)), points)
    )
    assert np.isfinite(constant(0.0))
    real, fake = np.array([1.0, 3.0], "f"), np.array([-1.0, 0.0, 1.0], "f")
    loss, metrics = losses.critic_loss(real, fake)
    assert (loss, metrics["wasserstein"]) == (-2, 2)


def test_heads_cost_what_they_lack_of_the_distance():
    heads = jnp.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])  # 5, 1 and 18 ** 0.5 apart
    assert losses.head_distance(heads, 0.5) == 0
    assert losses.head_distance(heads, 4.5) == pytest.approx(3.5 + 4.5 - 18**0.5, rel=1e-5)
    same = jnp.zeros((2, 2))
    assert losses.head_distance(same, 1.0) == pytest.approx(1.0, rel=1e-5)
    assert jnp.isfinite(jax.grad(losses.head_distance)(same, 1.0)).all()


def test_the_worst_change_of_a_linear_classifier_is_across_its_boundary(getkey):
    # Logits (w.x, 0): the divergence grows along w alone, whatever the start.
    slope = jnp.array([3.0, 4.0])

    def logits(x):
        return jnp.stack([x @ slope, jnp.zeros(x.shape[0])], axis=1)

    images = jnp.array([[0.1, -0.1], [0.0, 0.3]])
    noise = jax.random.normal(getkey(), (2, 2))
    found = losses.virtual_adversarial(logits, images, noise, radius=0.5)
    p = jax.nn.sigmoid(images @ slope)

    def divergence(sign):
        q = jax.nn.sigmoid(images @ slope + sign * 0.5 * 5.0)
        return p * jnp.log(p / q) + (1 - p) * jnp.log((1 - p) / (1 - q))

    either = jnp.stack([divergence(1.0), divergence(-1.0)])
    assert bool((jnp.abs(either - found[None]) < 1e-4).any(axis=0).all())
    moved = images + slope[None] / 10
    same = losses.virtual_adversarial(logits, images, noise, 0.0, moved=moved)
    q = jax.nn.sigmoid(moved @ slope)
    expected = p * jnp.log(p / q) + (1 - p) * jnp.log((1 - p) / (1 - q))
    assert jnp.allclose(same, expected, atol=1e-5)
    # Nothing is learned through q(y|x): where both are the same there is no gradient.
    still = jax.grad(
        lambda s: losses.virtual_adversarial(
            lambda x: s * logits(x), images, noise, radius=0.0
        ).sum()
    )(1.0)
    assert abs(still) < 1e-6


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
@pytest.mark.parametrize("biased", [False, True])
def test_mmd_equals_the_sum_over_all_pairs(kernel, biased):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 2)), rng.normal(1, 2, size=(4, 2))
    scale = 2 * 2 * y.var(axis=0).mean()

    def k(a, b):
        d = ((a - b) ** 2).sum()
        scales = [c * scale for c in (0.1, 0.2, 0.5, 1, 2, 5, 10)]
        return sum(s / (s + d) if kernel == "imq" else np.exp(-d / s) for s in scales)

    def pairs(a):
        numbered = list(enumerate(a))
        return [k(p, q) for i, p in numbered for j, q in numbered if biased or i != j]

    direct = (
        np.mean(pairs(x)) + np.mean(pairs(y)) - 2 * np.mean([k(p, q) for p in x for q in y])
    )
    found = losses.mmd(x.astype(np.float32), y.astype(np.float32), kernel, biased=biased)
    assert found == pytest.approx(direct, rel=1e-4)


def test_mmd_tells_samples_apart_and_is_level_where_they_match(getkey):
    def normal(mean=0.0, std=1.0):
        return mean + std * jax.random.normal(getkey(), (500, 4))

    same = [float(losses.mmd(normal(), normal())) for _ in range(5)]
    assert min(same) < 0.002
    assert max(np.abs(same)) < 0.01
    assert losses.mmd(normal(mean=0.5), normal()) > 0.05
    assert losses.mmd(normal(std=0.5), normal()) > 0.05


def test_informed_classes_are_sure_and_equally_large():
    sure = 50.0 * jnp.eye(3)
    assert losses.uninformed(sure) == pytest.approx(-4 * math.log(3), rel=1e-5)
    assert losses.uninformed(jnp.zeros((3, 3))) == pytest.approx(-3 * math.log(3), rel=1e-5)
    assert losses.uninformed(sure[:1]) == pytest.approx(0, abs=1e-5)
    assert jnp.isfinite(jax.grad(losses.uninformed)(1e4 * jnp.eye(3)[:1])).all()


def test_mutual_information_of_classes_that_stay_and_of_classes_that_say_nothing():
    sure = 50.0 * jnp.eye(3)
    # ln 3, and 0.2 H more of each of both.
    assert losses.mutual_information(sure, sure) == pytest.approx(
        1.4 * math.log(3), rel=1e-5
    )
    nothing = losses.mutual_information(sure, jnp.zeros((3, 3)))
    assert nothing == pytest.approx(0.4 * math.log(3), rel=1e-5)
    # One class for all: nothing to tell.
    assert losses.mutual_information(sure[:1], sure[:1]) == pytest.approx(0, abs=1e-5)
    exchanged = sure[jnp.array([1, 2, 0])]
    assert losses.mutual_information(sure, exchanged) < 1.2 * math.log(3)


def test_mutual_information_rewards_equal_classes_only_as_far_as_asked():
    equal, uneven = (50.0 * jnp.eye(3)[jnp.array(n)] for n in ([0, 1, 2, 2], [0, 2, 2, 2]))

    def gain(unevenness):
        of_equal = losses.mutual_information(equal, equal, unevenness)
        return of_equal - losses.mutual_information(uneven, uneven, unevenness)

    entropies = [
        -sum(p * math.log(p) for p in each) for each in ((0.25, 0.25, 0.5), (0.25, 0.75))
    ]
    difference = entropies[0] - entropies[1]
    assert gain(0.0) == pytest.approx(1.4 * difference, rel=1e-4)
    # Both are as even as asked for: fewer classes are surer.
    enough = math.log(3) - entropies[1]
    assert gain(enough + 0.1) == pytest.approx(-difference, rel=1e-4)


def test_mutual_information_is_a_sum_over_the_joint_of_both_orders():
    y = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]])
    moved = np.array([[0.7, 0.3], [0.4, 0.6], [0.1, 0.9]])
    joint = sum(np.outer(a, b) + np.outer(b, a) for a, b in zip(y, moved, strict=True)) / 6
    each = joint.sum(axis=0)
    direct = sum(
        joint[i, j] * (np.log(joint[i, j]) - 1.2 * np.log(each[i]) - 1.2 * np.log(each[j]))
        for i in range(2)
        for j in range(2)
    )
    found = losses.mutual_information(jnp.log(y), jnp.log(moved))
    assert found == pytest.approx(direct, rel=1e-5)
