"""CIFAR-10 as images, where this machine has them; for the tests, and for the pages of the site."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from lab_engine.images.image_set import ImageSet
from lab_engine.images.store import FORMAT, StoreWriter, open_store
from lab_engine.training.build import build_data
from lenet_lab.compose import compose
from lenet_lab.data.cifar10 import CLASSES, Cifar10
from lenet_lab.data.image_folder import ImageFolder

DECODED = "cifar10-decoded"


def find_real_images() -> Path | None:
    """Folder with train/<class>/* and test/<class>/*, or an archive of it; None where this machine has neither."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    place = Path(os.environ.get("LENET_LAB_CIFAR10_IMAGES", beside))
    archive = place / "cifar10-jpeg.tar"
    if (place / "train").is_dir():
        return place
    return archive if archive.is_file() else None


def unpack(place: Path, where: Path) -> Path:
    """Give the folder of images that `find_real_images` has found; an archive is unpacked in `where`, once."""
    folder = where / "cifar10"
    with FileLock(where / "cifar10.lock"):
        if place.is_file() and not folder.is_dir():
            with tarfile.open(place) as tar:
                tar.extractall(part := folder.with_suffix(".part"), filter="data")
            part.rename(folder)
    return folder if place.is_file() else place


def session_folder(factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all processes of this pytest session share."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


# begin: template
@pytest.fixture(scope="session")
def real_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with train/<class>/* and test/<class>/* of CIFAR-10, as JPEG files."""
    place = find_real_images()
    if place is None:
        pytest.skip(
            "needs CIFAR-10 as images: set LENET_LAB_CIFAR10_IMAGES to a folder with train/<class>/* and test/<class>/*"
        )
    return unpack(place, session_folder(tmp_path_factory))


@pytest.fixture(scope="session")
def real_images_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `real_images` are decoded, by the first test that needs them."""
    return session_folder(tmp_path_factory) / DECODED


# end: template
# begin: notes
def find_cifar10() -> Path | None:
    """Cache in which `data=cifar10` finds its images decoded, because a run here has downloaded them; else None."""
    cache = Path(compose("data=cifar10")["data"]["cache"])
    whole = all((cache / f"{Cifar10.key(split)}-v{FORMAT}").is_dir() for split in ("train", "test"))
    return cache if whole else None


def keep_as_cifar10(images: Path, images_cache: Path, cache: Path) -> None:
    """Put a stand-in where `data=cifar10` finds its images decoded.

    Args:
        images: train/<class>/* and test/<class>/*, a re-encoding in another order, so figures differ a little.
        images_cache: where these are decoded.
        cache: a folder that no other run uses.
    """
    source = build_data(compose("data=image_folder", f"data.root={images}", f"data.cache={images_cache}"))
    assert isinstance(source, ImageFolder)
    for split, decoded in zip(("train", "test"), source.load(), strict=True):

        def fill(store: StoreWriter, decoded: ImageSet = decoded) -> None:
            np.load(store.create(len(decoded), decoded.image_shape), mmap_mode="r+")[:] = decoded.images
            store.finish(decoded.labels, CLASSES)  # the same ten in the same order, under other names

        open_store(cache, Cifar10.key(split), fill)


# end: notes
