import numpy as np
import pytest

from lenet_lab.data.image_set import ImageSet
from lenet_lab.data.loader import BatchLoader


def numbered(count: int) -> ImageSet:
    """Images whose label tells their row."""
    images = np.zeros((count, 1, 2, 2), np.uint8)
    images[:, 0, 0, 0] = np.arange(count) % 256
    return ImageSet(images, np.arange(count), tuple(map(str, range(count))))


def seen(loader: BatchLoader) -> list[list[int]]:
    batches = []
    for images, labels in loader:
        assert images.shape == (len(labels), 1, 2, 2)
        assert (images[:, 0, 0, 0].numpy() == labels.numpy() % 256).all()
        batches.append(labels.tolist())
    return batches


def test_cuts_rows_into_batches_in_order() -> None:
    assert seen(BatchLoader(numbered(9), np.array([1, 3, 4, 8, 0]), 2)) == [[1, 3], [4, 8], [0]]


def test_shuffles_anew_each_epoch_the_same_way_for_the_same_seed() -> None:
    epoch = 0
    first, again = (
        BatchLoader(numbered(50), np.arange(50), 8, shuffle_seed=seed, epoch=lambda: epoch) for seed in (1, 1)
    )
    other = BatchLoader(numbered(50), np.arange(50), 8, shuffle_seed=2)
    passes = [seen(first), seen(again), seen(other)]
    epoch = 1
    passes.append(seen(first))
    assert passes[0] == passes[1]
    assert passes[0] != passes[2]
    assert passes[0] != passes[3]
    assert all(sorted(row for batch in one for row in batch) == list(range(50)) for one in passes)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 24, 25, 26, 100])
@pytest.mark.parametrize("devices", [1, 2, 3, 7])
@pytest.mark.parametrize("batch_size", [1, 4, 8, 2000])
@pytest.mark.parametrize("shuffle_seed", [None, 5])
def test_devices_share_every_row_once_in_the_same_number_of_batches(
    count: int, devices: int, batch_size: int, shuffle_seed: int | None
) -> None:
    images = numbered(count)
    loaders = [
        BatchLoader(images, np.arange(count), batch_size, shuffle_seed=shuffle_seed, rank=rank, world_size=devices)
        for rank in range(devices)
    ]
    shares = [seen(loader) for loader in loaders]
    assert sorted(row for share in shares for batch in share for row in batch) == list(range(count))
    assert {len(share) for share in shares} == {len(loaders[0])}
    assert max(len(batch) for share in shares for batch in share) <= batch_size


def test_one_device_makes_full_batches_and_one_rest() -> None:
    sizes = [len(batch) for batch in seen(BatchLoader(numbered(5000), np.arange(5000), 4, shuffle_seed=0))]
    assert sizes == [4] * 1250
    assert [len(batch) for batch in seen(BatchLoader(numbered(11), np.arange(11), 4))] == [4, 4, 3]
