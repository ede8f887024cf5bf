"""Small data that tests make, and what they expect of errors."""

import numpy as np
import pytest
from PIL import Image

from aaejax.types import UserError


def images(n=20, shape=(4, 5, 1), seed=0):
    return np.random.RandomState(seed).randint(0, 256, (n, *shape)).astype(np.uint8)


def fails(fragment, call, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert fragment in message
    assert "\n" not in message


def labels_of(data):
    """Labels of both parts, for those who know that they are there."""
    assert data.train_labels is not None and data.test_labels is not None
    return data.train_labels, data.test_labels


def save(path, mode="L", size=(5, 4), value: int | tuple[int, ...] = 0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)
