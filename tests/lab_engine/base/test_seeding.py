import random
from pathlib import Path

import numpy as np
import pytest
import torch

from lab_engine.base.seeding import CPU, epoch_seed, random_state, seed_all, set_random_state


def draw() -> tuple[float, ...]:
    """A number of each generator; NumPy and Python keep the second half of a pair of normal ones."""
    return torch.rand(()).item(), np.random.rand(), np.random.randn(), random.random(), random.gauss(0, 1)


def test_a_seed_gives_the_same_numbers_of_all_generators() -> None:
    seed_all(7)
    first = draw()
    seed_all(7)
    assert draw() == first
    assert first[0] == torch.rand((), generator=torch.Generator().manual_seed(7)).item()
    assert first[1] == np.random.RandomState(7).rand()
    assert first[3] == random.Random(7).random()
    seed_all(8)
    assert not {*draw()} & {*first}


def test_seeds_of_64_bits_are_taken_by_all() -> None:
    seed_all(2**63 - 1)
    first = draw()
    seed_all(2**63 - 1)
    assert draw() == first


def test_generators_go_on_from_where_they_were() -> None:
    seed_all(1)
    draw()
    state = random_state(CPU)
    expected = [draw() for _ in range(5)]
    assert [draw() for _ in range(5)] != expected
    set_random_state(state, CPU)
    assert [draw() for _ in range(5)] == expected
    set_random_state(state, CPU)  # the first time has not changed it
    assert draw() == expected[0]


def test_a_state_is_fit_for_a_checkpoint(tmp_path: Path) -> None:
    seed_all(1)
    np.random.randn()
    torch.save(random_state(CPU), tmp_path / "state.pt")
    expected = draw()
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True), CPU)
    assert draw() == expected
    assert "device" not in random_state(CPU)


def test_each_seed_epoch_and_device_has_its_own_numbers_for_ever() -> None:
    seeds = [epoch_seed(seed, epoch, rank) for seed in range(5) for epoch in range(5) for rank in range(5)]
    assert len({*seeds}) == 125
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**60
    # what a checkpoint of an older version goes on with
    assert epoch_seed(0, 0, 0) == 7896617691693857887
    assert epoch_seed(1, 2, 3) == 6498626229777268288


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_goes_on_as_well() -> None:
    gpu = torch.device("cuda")
    seed_all(3)
    state = random_state(gpu)
    expected = torch.rand(5, device=gpu)
    set_random_state(state, gpu)
    assert torch.rand(5, device=gpu).equal(expected)
