"""What MLflow would refuse in the middle of a run."""

from pathlib import Path

import pytest
from lightning.pytorch.loggers import Logger

from lab_engine.base.errors import UserError
from lab_engine.training.loggers.build import build_loggers
from lab_engine.training.loggers.summary import log_hyperparameters
from lenet_lab.compose import compose
from tests.lab_engine.training.loggers.readers import client, read_mlflow


def build(folder: Path, *settings: str) -> Logger:
    place = f"logger.mlflow.tracking_uri=sqlite:///{folder}/mlflow.db"
    (logger,) = build_loggers(compose("logger=mlflow", place, *settings, folder=folder / "run"))
    return logger


def test_classes_of_any_name_keep_apart(tmp_path: Path) -> None:
    logger = build(tmp_path)
    names = ["猫", "犬", "a+b", "a*b", "a b", "ü" * 300]
    logger.log_metrics(metrics={f"val/accuracy/{name}": number for number, name in enumerate(names)}, step=3)
    logger.log_metrics({"val/loss": float("nan")}, step=3)
    logger.finalize("finished")
    (kept,) = read_mlflow(tmp_path / "mlflow.db").values()
    assert sorted(kept.data.metrics)[:-1] == [
        "val/accuracy/_72ac_",
        "val/accuracy/_732b_",
        f"val/accuracy/{'_fc_' * 300}"[:250],
        "val/accuracy/a b",
        "val/accuracy/a_2a_b",
        "val/accuracy/a_2b_b",
    ]


def test_an_experiment_that_was_deleted_is_refused_at_once(tmp_path: Path) -> None:
    build(tmp_path, "logger.mlflow.experiment_name=old")
    known = client(tmp_path / "mlflow.db")
    known.delete_experiment(known.get_experiment_by_name("old").experiment_id)
    with pytest.raises(UserError, match=r"logger\.mlflow\.experiment_name=old is deleted"):
        build(tmp_path, "logger.mlflow.experiment_name=old")


def test_a_run_goes_on_though_a_setting_is_another_now(tmp_path: Path) -> None:
    """MLflow refuses to change a parameter; on another machine `speed=auto` may choose otherwise."""
    (tmp_path / "run").mkdir()
    config = compose("logger=mlflow", folder=tmp_path / "run")
    first = build(tmp_path)
    log_hyperparameters([first], config)
    first.finalize("failed")
    again = build(tmp_path)
    assert read_mlflow(tmp_path / "mlflow.db")["run"].info.status == "RUNNING"
    log_hyperparameters([again], config | {"seed": 5})
    assert again.version == first.version
    assert read_mlflow(tmp_path / "mlflow.db")["run"].data.params["seed"] == "42"
    (tmp_path / "run" / "mlflow_run_id").write_text("of another database")
    log_hyperparameters([other := build(tmp_path)], config | {"seed": 5})
    assert other.version not in (None, first.version)
