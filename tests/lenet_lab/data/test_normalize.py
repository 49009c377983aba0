import pytest
import torch
from torchvision.transforms import v2

from lenet_lab.data.normalize import Normalize


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.5), ([0.49, 0.48, 0.45], [0.25, 0.24, 0.26])])
def test_equals_torchvision(mean: float | list[float], std: float | list[float]) -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(12).reshape(4, 3, 16, 16)
    reference = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([mean] * 3 if isinstance(mean, float) else mean, [std] * 3 if isinstance(std, float) else std),
        ]
    )
    # float32 of numbers up to 5, rounded by each of the three operations: 5 * 3 * 6e-8
    torch.testing.assert_close(Normalize(mean, std)(images), reference(images), rtol=0, atol=2e-6)


def test_half_and_half_gives_minus_one_to_one() -> None:
    ends = Normalize(0.5, 0.5)(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    assert ends.dtype == torch.float32
    assert ends.flatten().tolist() == pytest.approx([-1, 1])


def test_undo_gives_back_every_byte() -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 3, 16, 16)
    normalize = Normalize([0.49, 0.48, 0.45], [0.25, 0.24, 0.26])
    assert torch.equal(normalize.undo(normalize(images)), images)
    assert normalize.undo(torch.full((1, 3, 1, 1), 9.0)).flatten().tolist() == [255, 255, 255]
    assert normalize.undo(torch.full((1, 3, 1, 1), -9.0)).flatten().tolist() == [0, 0, 0]


def test_a_checkpoint_has_nothing_of_it() -> None:
    assert not Normalize(0.5, 0.5).state_dict()
