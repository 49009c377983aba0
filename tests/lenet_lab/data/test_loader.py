from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lab_engine.base.errors import UserError
from lab_engine.base.seeding import random_state, seed_all
from lab_engine.images.image_set import ImageSet
from lenet_lab.data import loader
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


def add_noise(images: Tensor) -> Tensor:
    """An augmentation; what a batch gets depends on how much was drawn before."""
    return images + torch.rand(len(images), 1, 1, 1)


def noisy(epoch: int = 0, **how: Any) -> BatchLoader:
    """43 batches of three images and one of one, of which eight are gathered at once."""
    return BatchLoader(numbered(130), np.arange(130), 3, shuffle_seed=4, prepare=add_noise, epoch=lambda: epoch, **how)


def network_draws() -> float:
    """As dropout does in each step."""
    return float(torch.rand(()))


def steps(given: Any) -> list[tuple[list[float], list[int], float]]:
    """What a run sees of batches, and draws in between."""
    return [(images[:, 0, 0, 0].tolist(), labels.tolist(), network_draws()) for images, labels in given]


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 9, 16, 43, 44])
def test_goes_on_with_the_same_images_and_random_numbers(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    monkeypatch.setattr(loader, "IMAGES_PER_GATHER", 24)
    seed_all(1)
    calm = steps(noisy())
    after = network_draws()
    seed_all(1)
    cut_off = noisy()
    steps(islice(iter(cut_off), cut))
    state = cut_off.state_dict()
    seed_all(2)
    again = noisy()
    again.load_state_dict(state)
    assert steps(again) == calm[cut:]
    assert network_draws() == after
    assert len(steps(again)) == 44  # the next pass is a whole one


def test_a_state_of_another_epoch_changes_nothing() -> None:
    seed_all(1)
    before = noisy(epoch=0)
    steps(before)
    expected = steps(noisy(epoch=1))
    seed_all(1)
    first = noisy(epoch=0)
    steps(first)
    after = noisy(epoch=1)
    after.load_state_dict(first.state_dict())
    assert steps(after) == expected


def test_tells_where_it_is() -> None:
    given = noisy(epoch=3)
    assert given.state_dict()["batches"] == 0
    steps(islice(iter(given), 5))
    state = given.state_dict()
    assert (state["epoch"], state["batches"], len(state["random"])) == (3, 5, 1)


def test_the_middle_of_an_epoch_on_other_devices_is_refused() -> None:
    given = noisy(rank=0, world_size=2)
    alone = noisy()
    steps(islice(iter(alone), 5))
    given.load_state_dict(alone.state_dict())
    with pytest.raises(UserError, match=r"on 1 device, .*; this run has 2\.\nResume with trainer.devices=1\."):
        next(iter(given))


class Gathered:
    """Stands in for `torch.distributed`: the other device has drawn other numbers."""

    def __init__(self, other: Any) -> None:
        self.other = other

    def all_gather_object(self, every: list[Any], own: Any) -> None:
        assert every == [None, None]
        every[:] = [self.other, own]


def test_each_of_several_devices_goes_on_with_its_own_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    def state() -> dict[str, Any]:
        return {"before": random_state(loader.CPU), "now": random_state(loader.CPU)}

    how = {"rank": 1, "world_size": 2}
    seed_all(1)
    calm = steps(noisy(**how))
    seed_all(9)
    monkeypatch.setattr(loader, "distributed", Gathered(state()))
    seed_all(1)
    cut_off = noisy(**how)
    steps(islice(iter(cut_off), 5))
    again = noisy(**how)
    kept = cut_off.state_dict()
    seed_all(2)
    again.load_state_dict(kept)
    assert steps(again) == calm[5:]
