"""The programs that `step.py` compares, except for lenet_lab itself; each runs in a process of its own.

    python scripts/bench/step_contenders.py NAME FOLDER STEPS

FOLDER holds train/<class>/* for programs that read image files, images.npy and labels.npy for the others. The last line
of output is a JSON object: the `seconds` of the training steps, and the number of `steps`: STEPS, or fewer if the epoch
ends before (only the tutorial starts another epoch). After the tutorial's two epochs, if FOLDER has test/<class>/*, it
also has the `test/accuracy`, 0 to 1.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

# Lightning, torchvision and the like are imported only in the contenders that use them.

BATCH = 4
TUTORIAL_EPOCHS = 2
Result = dict[str, float | int]
"""The JSON object that a contender prints."""


class LeNet(nn.Module):
    """(B, 3, 32, 32) float32 -> (B, 10) logits; 62,006 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Input in [-1, 1]."""
        x = self.pool(F.relu(self.conv1(x)))  # (B, 6, 14, 14)
        x = self.pool(F.relu(self.conv2(x)))  # (B, 16, 5, 5)
        x = F.relu(self.fc1(x.flatten(1)))  # (B, 120)
        x = F.relu(self.fc2(x))  # (B, 84)
        return self.fc3(x)  # (B, 10)


def sgd(network: nn.Module) -> torch.optim.SGD:
    """Return the optimizer that all contenders use."""
    return torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)


def pixels_and_labels(folder: Path) -> tuple[Tensor, Tensor]:
    """Load all images, uint8 (N, 3, 32, 32), and labels, int64 (N,)."""
    return torch.from_numpy(np.load(folder / "images.npy")), torch.from_numpy(np.load(folder / "labels.npy"))


def normalized(pixels: Tensor) -> Tensor:
    """Return images as float32 in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1)


class MemoryBatches:
    """Shuffled batches of images, float32 (B, 3, 32, 32) in [-1, 1], and labels, int64 (B,); only whole batches."""

    def __init__(self, folder: Path) -> None:
        pixels, self.labels = pixels_and_labels(folder)
        self.images = normalized(pixels)

    def __len__(self) -> int:
        return len(self.labels) // BATCH

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.labels))
        for start in range(0, len(self) * BATCH, BATCH):
            index = order[start : start + BATCH]
            yield self.images[index], self.labels[index]


class TimedModule:
    """The base of the two LightningModules: network, optimizer, and the seconds of the training steps."""

    def __init__(self) -> None:
        super().__init__()
        self.network = LeNet()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """As the other contenders."""
        return sgd(self.network)

    def on_train_epoch_start(self) -> None:
        """Before the first batch is fetched."""
        self.start = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """After the last step and before the checkpoint is written."""
        self.result: Result = {"seconds": time.perf_counter() - self.start, "steps": self.global_step}


def file_loader(folder: Path, shuffle: bool = True) -> DataLoader[tuple[Tensor, Tensor]]:
    """Load batches that 2 worker processes decode and normalize image by image."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    half = (0.5, 0.5, 0.5)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(half, half)])
    dataset = ImageFolder(str(folder), transform=transform)
    return DataLoader(dataset, batch_size=BATCH, shuffle=shuffle, num_workers=2)


# --- the contenders: each runs in a process of its own ---


def tutorial(root: Path, steps: int) -> Result:
    """Run the CIFAR-10 tutorial's loop, epoch after epoch; it reads the loss at every step."""
    network = LeNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = sgd(network)
    loader = file_loader(root / "train")
    first = iter(loader)  # starts the workers, which Lightning also does before its first step
    batches = chain(first, chain.from_iterable(repeat(loader)))
    running_loss = 0.0
    start = time.perf_counter()
    for step, (images, labels) in enumerate(islice(batches, steps), start=1):
        optimizer.zero_grad()
        loss = criterion(network(images), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        if step % 2000 == 0:
            print(f"step {step:5d}  loss {running_loss / 2000:.3f}")
            running_loss = 0.0
    result: Result = {"seconds": time.perf_counter() - start, "steps": steps}
    if steps == TUTORIAL_EPOCHS * len(loader) and (root / "test").is_dir():
        result["test/accuracy"] = accuracy(network, file_loader(root / "test", shuffle=False))
    return result


@torch.no_grad()
def accuracy(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the accuracy, 0 to 1, counted as in the tutorial."""
    right = total = 0
    for images, labels in batches:
        right += (network(images).argmax(1) == labels).sum().item()
        total += len(labels)
    return right / total


def plain(batches: Iterable[tuple[Tensor, Tensor]], steps: int) -> Result:
    """Run a plain PyTorch loop over these batches."""
    network = LeNet()
    optimizer = sgd(network)
    done = 0
    start = time.perf_counter()
    for images, labels in islice(batches, steps):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        done += 1
    return {"seconds": time.perf_counter() - start, "steps": done}


def bare_loop(arrays: Path, steps: int) -> Result:
    """Run the least code that training needs without Lightning."""
    return plain(MemoryBatches(arrays), steps)


def bare_loop_one_thread(arrays: Path, steps: int) -> Result:
    """Run the same with as many threads as lenet_lab uses at this batch size."""
    torch.set_num_threads(1)
    return bare_loop(arrays, steps)


def data_loader(arrays: Path, steps: int) -> Result:
    """Run PyTorch's DataLoader on images in memory, without worker processes."""
    pixels, labels = pixels_and_labels(arrays)
    return plain(DataLoader(TensorDataset(normalized(pixels), labels), BATCH, shuffle=True), steps)


def lightning_floor(arrays: Path, steps: int) -> Result:
    """Run the least code that training needs with Lightning's Trainer."""
    import lightning

    class Floor(TimedModule, lightning.LightningModule):
        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            images, labels = batch
            return F.cross_entropy(self.network(images), labels)

    module = Floor()
    trainer = lightning.Trainer(barebones=True, accelerator="cpu", max_epochs=1, limit_train_batches=steps)
    trainer.fit(module, MemoryBatches(arrays))
    return module.result


def usual_lightning(root: Path, steps: int) -> Result:
    """Run the code that a Lightning user writes first: a loader of files, and `self.log` in each step."""
    import lightning
    from lightning.pytorch.loggers import TensorBoardLogger
    from torchmetrics.classification import MulticlassAccuracy

    class Usual(TimedModule, lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.accuracy = MulticlassAccuracy(num_classes=10, average="micro")

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            images, labels = batch
            logits = self.network(images)
            loss = F.cross_entropy(logits, labels)
            self.accuracy(logits, labels)
            self.log("train/loss", loss, prog_bar=True)
            self.log("train/accuracy", self.accuracy, prog_bar=True)
            return loss

    module = Usual()
    with tempfile.TemporaryDirectory() as folder:
        logger = TensorBoardLogger(folder)
        trainer = lightning.Trainer(accelerator="cpu", logger=logger, max_epochs=1, limit_train_batches=steps)
        trainer.fit(module, file_loader(root / "train"))
    return module.result


PROGRAMS = {
    program.__name__: program
    for program in (tutorial, usual_lightning, data_loader, lightning_floor, bare_loop, bare_loop_one_thread)
}


def main() -> None:
    """Run the contender that the command line names."""
    name, folder, steps = sys.argv[1:]
    print("\n" + json.dumps(PROGRAMS[name](Path(folder), int(steps))))


if __name__ == "__main__":
    main()
