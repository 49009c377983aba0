import pytest
import torch
from torch.utils.data import TensorDataset

from lenet_lab.data.datasets import DatasetModule, even_batch_size


@pytest.mark.parametrize("samples", [8, 10, 16, 17, 100, 101, 257])
@pytest.mark.parametrize("devices", [2, 3, 8])
@pytest.mark.parametrize("largest", [1, 4, 5, 64])
def test_all_devices_have_as_many_batches(samples: int, devices: int, largest: int) -> None:
    size = even_batch_size(samples, devices, largest)
    shares = {len(range(device, samples, devices)) for device in range(devices)}
    assert len({-(-share // size) for share in shares}) == 1


def test_validation_is_a_part_of_train_that_is_not_trained_on() -> None:
    samples = TensorDataset(torch.arange(50.0)[:, None], torch.zeros(50))
    data = DatasetModule(samples, samples, validation=0.2)
    train, val = ({float(inputs) for inputs, _ in part} for part in (data.train, data.val))
    assert len(val) == 10
    assert train | val == set(range(50))
    assert data.model_arguments() == {"inputs": 1}


def test_samples_to_predict_are_those_of_the_test_or_others_in_their_order() -> None:
    samples, others = (TensorDataset(torch.arange(count, dtype=torch.float32)[:, None]) for count in (300, 20))
    for data, count in ((DatasetModule(samples, samples), 300), (DatasetModule(samples, samples, predict=others), 20)):
        found = torch.cat([inputs for (inputs,) in data.predict_dataloader()])
        assert found.flatten().tolist() == list(range(count))


def test_tells_of_images_and_classes() -> None:
    samples = TensorDataset(torch.zeros(4, 3, 8, 6), torch.zeros(4))
    samples.classes = ["a", "b"]  # type: ignore[attr-defined]
    facts = DatasetModule(samples, samples, samples).model_arguments()
    assert facts == {
        "classes": ["a", "b"],
        "num_classes": 2,
        "num_labels": 2,
        "inputs": 144,
        "in_channels": 3,
        "image_size": [8, 6],
    }
