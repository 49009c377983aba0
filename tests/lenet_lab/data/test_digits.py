import numpy as np
from sklearn.datasets import load_digits

from lenet_lab.data.digits import Digits


def test_are_scikit_learns_digits_scaled_up() -> None:
    train, test = Digits().load()
    assert train.classes == test.classes == tuple("0123456789")
    assert train.image_shape == test.image_shape == (1, 32, 32)
    assert train.images.dtype == np.uint8
    original = load_digits()
    assert len(train) + len(test) == len(original.target) == 1797
    labels = np.concatenate([train.labels, test.labels])
    assert np.bincount(labels).tolist() == np.bincount(original.target).tolist()
    # scaled down again, the images are the original ones up to the blur of scaling up
    small = np.concatenate([train.images, test.images]).reshape(1797, 8, 4, 8, 4).mean((2, 4)).reshape(1797, 64)
    distance = lambda a, b: np.abs(a[:, None] - b[None]).sum(2)  # noqa: E731
    nearest = distance(small[:50], original.images.reshape(1797, 64) * 255 / 16).argmin(1)
    assert (original.target[nearest] == labels[:50]).all()


def test_test_images_are_never_trained_on() -> None:
    train, test = Digits().load()
    seen = {image.tobytes() for image in train.images}
    assert not seen & {image.tobytes() for image in test.images}
