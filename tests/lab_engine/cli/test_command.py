"""What a user sees who asks for help, or gets something wrong."""

from pathlib import Path

import pytest
import yaml

from tests.conftest import Command

HEAVY = ("torch", "lightning", "torchvision", "tensorboard")


def imported(err: str) -> set[str]:
    """Top-level modules in the report of `python -X importtime`."""
    return {
        line.rsplit("|", 1)[1].strip().split(".")[0] for line in err.splitlines() if line.startswith("import time:")
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.devices=two", "trainer.devices=two is refused: give a whole number, at least 1, a list such as"),
        ("trainer.devices=0", "trainer.devices=0 is refused: give a whole number, at least 1"),
        ("trainer.devices=[]", "trainer.devices=[] is refused"),
        ("data.batch_size=0", "data.batch_size=0 is refused: give a whole number, at least 1"),
        ("data.batch_size=4.0", "data.batch_size=4.0 is refused: give a whole number"),
        ("data.batch_size=true", "data.batch_size=true is refused: give a whole number"),
        ("data.validation=0", "data.validation=0 is refused: give a fraction above 0"),
        ("data.mean=dark", "data.mean=dark is refused: give a number, or one per channel"),
        ("data.std=[0.5,0]", "data.std=[0.5, 0] is refused: give a number above 0"),
        ("optimizer.lr=-1", "optimizer.lr=-1 is refused: give a number above 0 (learning rate)"),
        ("optimizer.lr=fast", "optimizer.lr=fast is refused: give a number above 0"),
        ("optimizer.momentum=1", "optimizer.momentum=1 is refused: give a number from 0 to below 1"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0 is refused: give a whole number, at least 1"),
        ("trainer.limit_test_batches=1.5", "trainer.limit_test_batches=1.5 is refused: give a fraction"),
        ("trainer.precision=8", "trainer.precision=8 is refused: give 32-true, bf16-mixed"),
        ("seed=-1", "seed=-1 is refused: give a whole number, 0 or more"),
        ("threads=0", "threads=0 is refused"),
        ("deterministic=maybe", "deterministic=maybe is refused: give true, false, or null"),
        ("+trainer.deterministic=warn", "trainer.deterministic=warn is refused: give deterministic=true, false or"),
        ("+data.on_bad_file=maybe", "data.on_bad_file=maybe is refused: give error or skip"),
        ("+seeds=1", "seeds=1 is refused: there is no such key"),
        ("model=lenett", "model=lenett is refused: there is no such option; did you mean lenet?\nallowed: lenet"),
        ("data=cifar100", "data=cifar100 is refused: there is no such option or folder; did you mean cifar10?\n"),
        ("logger=[csv,tensorbord]", "logger=tensorbord is refused: there is no such option; did you mean tensorboard?"),
        ("experiment=none2", "experiment=none2 is refused: there is no such option"),
        (
            "data.batchsize=3",
            "data.batchsize=3 is refused: there is no such key; did you mean batch_size?\nkeys of data",
        ),
        ("momentum=0.9", "momentum=0.9 is refused: write optimizer.momentum=0.9"),
        ("--epochs=5", "--epochs=5 is refused: write epochs=5"),
        ("epochs=0", "epochs=0: trainer.max_epochs=0 is refused"),
        ("optimiser=sgd", "optimiser=sgd is refused: there is no such key; did you mean optimizer?"),
        (
            "trainer.check_val_every_n_epoch=3",
            "trainer.check_val_every_n_epoch=3 is more than trainer.max_epochs=2: there would be no validation",
        ),
        ("data=image_folder", "data.root is missing: give data.root=VALUE; --help data.root says which"),
        ("batch size", "batch size is refused: write KEY=VALUE"),
        ("seed=1,2", "seed=1,2 is refused: these are several values, and there is no -m"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_starts(
    command: Command, tmp_path: Path, override: str, message: str
) -> None:
    result = command("train", "data=digits", override, options=("-X", "importtime"))
    said = [line for line in result.err.splitlines() if not line.startswith("import time:")]
    assert result.status == 2
    assert "\n".join(said).startswith(f"error: {message}")
    assert len(said) <= 2
    assert not imported(result.err) & set(HEAVY)
    assert list(tmp_path.iterdir()) == []  # no run folder, no log


@pytest.mark.parametrize("module", ["train", "evaluate", "export", "anatomy", "sweep_report"])
def test_help_needs_no_heavy_imports(command: Command, tmp_path: Path, module: str) -> None:
    result = command(module, "--help", options=("-X", "importtime"))
    assert result.status == 0
    assert f"python -m lenet_lab.{module}" in result.out
    assert "data.batch_size=" in result.out or module != "train"
    assert ("  conv_channels: [6, 16]" in result.out) == (module in ("train", "anatomy"))
    assert ("logger     csv, mlflow, none, tensorboard, wandb" in result.out) == (module == "train")
    assert ("hydra.run.dir=DIR" in result.out) == (module in ("train", "evaluate", "export"))
    assert not imported(result.err) & {*HEAVY, "numpy", "pydantic"}
    assert list(tmp_path.iterdir()) == []


def test_shows_the_composed_configuration(command: Command) -> None:
    result = command("train", "--cfg", "job", "experiment=tutorial", options=("-X", "importtime"))
    config = yaml.safe_load(result.out)
    assert (config["data"]["batch_size"], config["trainer"]["max_epochs"]) == (4, 2)
    assert (config["optimizer"]["lr"], config["optimizer"]["momentum"]) == (0.001, 0.9)
    assert not imported(result.err) & {*HEAVY, "numpy", "pydantic"}


def test_hydra_reads_its_own_options(command: Command) -> None:
    assert "  Bash - Install:\n" in command("train", "--hydra-help").out
    completed = command("train", "--shell-completion", "query=bash", COMP_LINE="train optimizer=ad")
    assert completed.out.split() == ["optimizer=adamw"], completed.err


def test_a_traceback_is_shown_when_asked_for(command: Command) -> None:
    result = command("train", "data=digits", "seed=-1", HYDRA_FULL_ERROR="1")
    assert result.status == 2
    assert "Traceback" in result.err
    assert "seed=-1 is refused" in result.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+optimizer.speed=1"], "optimizer.speed is refused: torch.optim.SGD has no such argument"),
        (["optimizer._target_=torch.optim.SDG"], "optimizer (torch.optim.SDG): "),
        (
            ["optimizer.nesterov=true", "optimizer.momentum=0"],
            "optimizer (torch.optim.SGD): Nesterov momentum requires a momentum",
        ),
        (["model._target_=torch.nn.Linear"], "model.conv_channels is refused: torch.nn.Linear has no such argument"),
        (
            ["+trainer.max_epoch=1"],
            "trainer.max_epoch is refused: lightning.pytorch.Trainer has no such argument; did you mean max_epochs?",
        ),
        (["model.hidden=[10]"], "model (lenet_lab.models.lenet.LeNet): "),
    ],
)
def test_what_only_shows_when_the_parts_are_made_is_explained_too(
    command: Command, overrides: list[str], message: str
) -> None:
    result = command("train", "data=digits", *overrides)
    assert result.status == 2, result.err
    assert message in result.err
    assert len(result.err.splitlines()) <= 2
    assert "Traceback" not in result.err


def test_an_image_too_small_for_the_network_is_explained(command: Command, image_tree: Path) -> None:
    result = command("train", "data=image_folder", f"data.root={image_tree}", "data.image_size=[12,40]")
    assert result.status == 2
    assert "LeNet needs images of at least 16x16 pixels, not 12x40" in result.err


def test_without_a_network_the_way_out_is_named(command: Command, tmp_path: Path) -> None:
    result = command("train", "data.mirrors=[http://127.0.0.1:9/cifar-10-python.tar.gz]")
    assert result.status == 2
    said = [line for line in result.err.splitlines() if "lenet_lab" not in line]
    assert f"{tmp_path}/data/cifar-10-python.tar.gz" in result.err
    assert "data=digits" in result.err
    assert len(said) <= 2
    assert "Traceback" not in result.err
    assert not result.folder.exists()
    again = command("train", "data=digits", "debug=one_batch")  # nothing was begun, so the folder is still free
    assert again.status == 0, again.err


def test_mean_and_std_must_fit_the_channels(command: Command) -> None:
    result = command("train", "data=digits", "data.mean=[0.5,0.5,0.5]")
    assert result.status == 2
    assert result.err.startswith("error: data.mean=[0.5, 0.5, 0.5] has 3 numbers, but the images have 1 channel.")


def test_clipping_and_fused_optimizers_cannot_go_together_in_mixed_precision(command: Command) -> None:
    result = command("train", "data=digits", "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1.0")
    assert result.status == 2
    assert "add optimizer.fused=false" in result.err


def test_a_folder_that_holds_a_run_is_never_written_to(command: Command, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("mine")
    result = command("train", "data=digits")
    assert result.status == 2
    assert "holds a run already" in result.err
    assert [path.read_text() for path in (tmp_path / "run").iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_made_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = command("train", "data=digits", "hydra.run.dir=file/run")
    assert result.status == 2
    assert "file/run" in result.err
    assert len(result.err.splitlines()) == 1
