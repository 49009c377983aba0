import pytest
import torch
import torch.nn.functional as F

from lenet_lab.losses import BinaryCrossEntropy, CrossEntropy


def test_weights_by_counts_are_one_on_average_over_the_images() -> None:
    loss = CrossEntropy(class_weights="auto")
    counts = [90, 10, 0]
    loss.use_counts(counts)
    assert loss.weights is not None
    assert loss.weights.tolist() == pytest.approx([100 / 270, 100 / 30, 0.0])
    logits, labels = torch.randn(8, 3), torch.tensor([0, 1, 0, 1, 0, 0, 0, 1])
    assert torch.equal(loss(logits, labels), F.cross_entropy(logits, labels, loss.weights))
    assert not loss.state_dict()  # a checkpoint fits a network that is built without the data


def test_without_weights_it_is_pytorchs() -> None:
    logits, labels = torch.randn(8, 3), torch.randint(3, (8,))
    assert torch.equal(CrossEntropy(0.1)(logits, labels), F.cross_entropy(logits, labels, label_smoothing=0.1))


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="of one class it is always 0"):
        CrossEntropy()(torch.randn(8, 1), torch.rand(8, 1))


@pytest.mark.parametrize("odd", [-1, 2])
def test_a_label_is_yes_or_no(odd: int) -> None:
    with pytest.raises(ValueError, match="and must be 0 or 1"):
        BinaryCrossEntropy()(torch.randn(2, 3), torch.tensor([[0, 1, 0], [1, odd, 0]]))


def test_labels_are_whole_numbers() -> None:
    logits, targets = torch.randn(4, 3), torch.randint(2, (4, 3))
    assert torch.equal(
        BinaryCrossEntropy()(logits, targets), F.binary_cross_entropy_with_logits(logits, targets.float())
    )
