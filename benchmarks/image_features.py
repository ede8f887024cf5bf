"""Features of images, for the Fréchet and kernel distances of `compare.py`.

The last hidden layer of a small classifier, trained where it is used, as Inception's is
taken for photographs. And features that nothing was trained for, so that no conclusion
hangs on one space.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from aaejax.components.pixels import to_unit
from aaejax.data import batches

FEATURES = 64
# Of the classifier's convolutions; pictures in colour want more than grey digits.
GREY, COLOUR = (16, 32), (32, 64, 128)
HE = nn.initializers.he_normal()  # of random units, whose scale nothing else sets


class Classifier(nn.Module):
    """Convolutions, each of which halves the size, a hidden layer, and logits."""

    classes: int

    @nn.compact
    def __call__(self, images):
        """Images [B, H, W, C] -> features [B, 64], logits [B, classes]."""
        x = images
        for channels in GREY if x.shape[3] == 1 else COLOUR:
            x = nn.relu(nn.Conv(channels, (4, 4), strides=(2, 2))(x))
        x = nn.relu(nn.Dense(FEATURES)(x.reshape(x.shape[0], -1)))
        return x, nn.Dense(self.classes)(x)


def train_classifier(
    images: np.ndarray, labels: np.ndarray, steps: int = 1500, seed: int = 0
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Trains on uint8 images [N, H, W, C].

    Returns:
      A function from images [M, H, W, C], uint8 or in [0, 1], to their features [M, 64]
      and classes [M].
    """
    net = Classifier(int(labels.max()) + 1)
    init_key, noise_key = jax.random.split(jax.random.key(seed))
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))

    @jax.jit
    def step(params, state, images, labels, key):
        def loss(params):
            shift_key, noise_key = jax.random.split(key)
            # Moved by up to two pixels: features that know what is seen, not its place.
            rows, columns = jax.random.randint(shift_key, (2,), -2, 3)
            moved = jnp.roll(images, (rows, columns), (1, 2))
            moved += 0.1 * jax.random.normal(noise_key, images.shape)
            logits = net.apply(params, moved)[1]
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    params = net.init(init_key, jnp.zeros((1, *images.shape[1:])))
    state = optimizer.init(params)
    order = batches.batch_indices(seed, 0, steps, len(images), 100)
    for number, rows in enumerate(order):
        batch = to_unit(jnp.asarray(images[rows]))
        key = jax.random.fold_in(noise_key, number)
        params, state = step(params, state, batch, jnp.asarray(labels[rows]), key)
    apply = jax.jit(net.apply)

    def classify(images):
        found = [
            jax.device_get(apply(params, to_unit(jnp.asarray(block))))
            for block in np.array_split(images, -(-len(images) // 1000))
        ]
        features, logits = (np.concatenate(part) for part in zip(*found, strict=True))
        return features.astype(np.float64), logits.argmax(axis=1)

    return classify


class RandomConvolutions(nn.Module):
    """Two convolutions with random weights, and means over four quarters."""

    @nn.compact
    def __call__(self, images):
        """Images [B, H, W, C] -> features [B, 64]."""
        x = images
        for channels in (16, 16):
            x = nn.relu(nn.Conv(channels, (4, 4), strides=(2, 2), kernel_init=HE)(x))
        # Times ten: numbers about 1, which tables can print.
        sides = x.shape[1:3]
        halves = tuple((n + 1) // 2 for n in sides)
        apart = tuple(n // 2 for n in sides)
        return 10 * nn.avg_pool(x, halves, apart).reshape(x.shape[0], -1)


def random_features(images: np.ndarray) -> np.ndarray:
    """Of images [M, H, W, C], uint8 or in [0, 1], always by the same weights: [M, 64]."""
    net, one = RandomConvolutions(), jnp.zeros((1, *images.shape[1:]))
    apply = jax.jit(lambda x: net.apply(net.init(jax.random.key(0), one), to_unit(x)))
    blocks = np.array_split(images, -(-len(images) // 1000))
    return np.concatenate([apply(jnp.asarray(x)) for x in blocks]).astype(np.float64)
