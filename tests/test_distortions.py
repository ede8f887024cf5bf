import jax.numpy as jnp
import numpy as np

from aaejax.components.distortions import distorted


def test_a_distorted_ramp_is_a_moved_and_turned_ramp(getkey):
    rows, columns = np.mgrid[:9, :7].astype(np.float32)
    image = jnp.stack([2 * rows, columns], axis=2)
    inside = np.s_[3:6, 2:5]
    np.testing.assert_allclose(distorted(getkey(), image, 0, 0), image, atol=1e-5)
    moved = (distorted(getkey(), image, 1.5, 0) - image)[inside]
    down, right = moved[0, 0]
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0, 0], (3, 3, 2)), atol=1e-5)
    assert 0 < abs(down) <= 3
    assert 0 < abs(right) <= 1.5
    turned = distorted(getkey(), image, 0, 0.1)
    np.testing.assert_allclose(turned[4, 3], image[4, 3], atol=1e-5)  # the centre stays
    slopes = np.diff(turned[inside], axis=0)  # still a ramp, of another slope
    np.testing.assert_allclose(
        slopes, np.broadcast_to(slopes[:1, :1], (2, 3, 2)), atol=1e-5
    )
    assert abs(slopes[0, 0] - [2, 0]).max() > 1e-3
