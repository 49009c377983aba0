import shlex
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from lab_engine.base.errors import UserError
from lab_engine.training.loaders import even_batch_size
from lenet_lab.data.datasets import DatasetModule
from tests.conftest import Command

CONF = Path(__file__).parents[1] / "tasks" / "conf"


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


@pytest.mark.parametrize("part", ["val", "test"])
def test_classes_of_other_numbers_are_refused(part: str) -> None:
    """A test folder without one of the classes would number those after it otherwise."""
    samples = {name: TensorDataset(torch.zeros(4, 3), torch.zeros(4)) for name in ("train", "val", "test")}
    for name, dataset in samples.items():
        dataset.classes = ["cat", "dog"] if name == part else ["bird", "cat", "dog"]  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=rf"^data\.{part} has the classes \['cat', 'dog'\], and data\.train \['bird'"):
        DatasetModule(**samples)


class Random(Dataset[Tensor]):
    """Random numbers, as of a random transform."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        return torch.rand(())


def test_an_epoch_is_the_same_for_a_run_that_starts_with_it() -> None:
    """So a resumed run sees what workers draw at random as an uninterrupted run does."""

    def epoch(loader: Iterable[Tensor], seed: int) -> list[float]:
        torch.manual_seed(seed)
        return torch.cat(list(loader)).tolist()

    uninterrupted, resumed = (DatasetModule(Random(), Random(), Random(), num_workers=1) for _ in range(2))
    loader = uninterrupted.train_dataloader()
    epochs = [epoch(loader, seed) for seed in (1, 2)]
    assert epochs[1] == epoch(resumed.train_dataloader(), 2) != epochs[0]


def test_datasets_of_the_command_line_are_named_again_to_evaluate(command: Command, tmp_path: Path) -> None:
    """No checkpoint may name a class: the line that a run ends with does."""
    (tmp_path / "made.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\n"
        "def pairs(count):\n    return TensorDataset(torch.ones(count, 4), torch.ones(count, 1))\n"
    )
    own = [f"data.{part}={{_target_: made.pairs, count: {count}}}" for part, count in (("train", 40), ("test", 8))]
    words = [f"--config-dir={CONF}", "task=supervised", "loss=mse", "data=datasets", "model=linear", "threads=1"]
    trained = command("train", *words, "model.in_features=4", *own, "optimizer._target_=torch.optim.SGD")
    assert trained.status == 0, trained.err
    (line,) = (line for line in trained.out.splitlines() if line.startswith("evaluate"))
    again = command("evaluate", *shlex.split(line)[4:], "hydra.run.dir=again")
    assert again.status == 0, again.err
    assert again.metrics["test/loss"] == trained.metrics["test/loss"]
    asked = command("evaluate", *shlex.split(line)[4:6], "hydra.run.dir=asked")
    assert asked.err.splitlines()[1] == "Give it as in training, with its _target_: '+data.train={_target_: …}'."


def test_what_is_no_dataset_is_refused() -> None:
    whole = TensorDataset(torch.arange(9.0))
    with pytest.raises(UserError, match=r"data\.val=0\.2 is no dataset with a length\.\nGive a class or a function"):
        DatasetModule(whole, whole, 0.2)  # type: ignore[arg-type]
