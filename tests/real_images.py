"""CIFAR-10 as images, where this machine has them; for the tests, and for the pages of the site."""

import os
import tarfile
from pathlib import Path

import pytest


def find_real_images() -> Path | None:
    """Folder with train/<class>/* and test/<class>/*, or an archive of it; None where this machine has neither."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    place = Path(os.environ.get("LENET_LAB_CIFAR10_IMAGES", beside))
    archive = place / "cifar10-jpeg.tar"
    if (place / "train").is_dir():
        return place
    return archive if archive.is_file() else None


@pytest.fixture(scope="session")
def real_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with train/<class>/* and test/<class>/* of CIFAR-10, as JPEG files."""
    place = find_real_images()
    if place is None:
        pytest.skip(
            "needs CIFAR-10 as images: set LENET_LAB_CIFAR10_IMAGES to a folder with train/<class>/* and test/<class>/*"
        )
    if place.is_dir():
        return place
    root = tmp_path_factory.mktemp("cifar10")
    with tarfile.open(place) as tar:
        tar.extractall(root, filter="data")
    return root
