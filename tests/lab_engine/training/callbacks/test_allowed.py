"""Every callback of the installed Lightning: it works, or two lines say what to do instead."""

from pathlib import Path

import lightning.pytorch.callbacks
import pytest

from lab_engine.base.errors import UserError
from lenet_lab.api import compose, fit

ARGUMENTS = {
    "EarlyStopping": {"monitor": "val/loss"},
    "StochasticWeightAveraging": {"swa_lrs": 0.01},
    "GradientAccumulationScheduler": {"scheduling": {0: 2}},
    "LearningRateMonitor": {"logging_interval": "step"},
    "ModelCheckpoint": {"monitor": "val/loss", "dirpath": "${folder}/own"},
    "ModelPruning": {"pruning_fn": "l1_unstructured", "amount": 0.1},
    "OnExceptionCheckpoint": {"dirpath": "${folder}/own"},
    "ThroughputMonitor": {"batch_size_fn": {"_target_": "builtins.len", "_partial_": True}},
    "Timer": {"duration": "00:01:00:00"},
}
REFUSED = {
    "BackboneFinetuning": "Classification has none.\nGive the task this attribute",
    "BaseFinetuning": "is refused.\nIt is a base class",
    "BatchSizeFinder": "is refused.\nIt would train with another batch size than config.yaml records.",
    "LearningRateFinder": "is refused.\nIt would train with another learning rate than config.yaml records.",
    "StochasticWeightAveraging": "is refused.\nIt averages weights after the last validation",
    **dict.fromkeys(("ProgressBar", "RichProgressBar", "TQDMProgressBar"), "is refused.\nThe program shows its own"),
}
SMALL = ("data=digits", "data.batch_size=64", "trainer.max_epochs=2", "trainer.limit_train_batches=4", "report=false")


def run(folder: Path, name: str, *words: str) -> dict[str, float]:
    config = compose(*SMALL, *words, folder=str(folder / "run"))
    arguments = {
        key: value.replace("${folder}", config["folder"]) if isinstance(value, str) else value
        for key, value in ARGUMENTS.get(name, {}).items()
    }
    config["callbacks"]["own"] = {"_target_": f"lightning.pytorch.callbacks.{name}", **arguments}
    if name in ("EarlyStopping", "ModelCheckpoint"):
        config["callbacks"]["own"]["mode"] = "min"
    return fit(config)


@pytest.mark.parametrize("name", sorted(lightning.pytorch.callbacks.__all__))
@pytest.mark.filterwarnings("ignore")  # Lightning's own, of what is asked for here
def test_it_works_or_says_what_to_do(name: str, tmp_path: Path) -> None:
    if name in REFUSED:
        with pytest.raises(UserError) as refused:
            run(tmp_path, name)
        assert REFUSED[name] in str(refused.value)
        assert len(str(refused.value).splitlines()) == 2
    else:
        assert 0 <= run(tmp_path, name)["test/accuracy"] <= 1


def test_the_weights_that_are_averaged_are_those_that_are_measured(tmp_path: Path) -> None:
    metrics = run(tmp_path, "EMAWeightAveraging", "trainer.limit_train_batches=1.0", "optimizer.lr=0.05")
    alone = run(tmp_path / "again", "Callback", "trainer.limit_train_batches=1.0", "optimizer.lr=0.05")
    assert metrics["val/loss"] != alone["val/loss"]
    curves = (tmp_path / "run" / "curves.csv").read_text().splitlines()
    accuracy, loss = (curves[0].split(",").index(name) for name in ("val/accuracy", "val/loss"))
    last_first = [row.split(",") for row in reversed(curves[1:])]  # of several that are equally good, it is kept
    best = max(last_first, key=lambda row: float(row[accuracy]))
    assert float(best[loss]) == pytest.approx(metrics["val/loss"])
