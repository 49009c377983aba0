"""What MLflow would refuse in the middle of a run."""

from pathlib import Path

import pytest

from lenet_lab.errors import UserError
from lenet_lab.loggers.mlflow import MLflow, database_uri
from tests.loggers.readers import client, read_mlflow


def test_classes_of_any_name_keep_apart(tmp_path: Path) -> None:
    database = tmp_path / "a%20b?.db"
    logger = MLflow(str(tmp_path), str(database), experiment_name="names")
    names = ["猫", "犬", "a+b", "a*b", "a b", "ü" * 300]
    logger.log_metrics({f"val/accuracy/{name}": number for number, name in enumerate(names)}, step=3)
    logger.log_metrics({"val/loss": float("nan")}, step=3)
    logger.finalize("finished")
    assert database.is_file()
    (kept,) = read_mlflow(Path(database_uri(str(database)).removeprefix("sqlite:///"))).values()
    assert sorted(kept.data.metrics)[:-1] == [
        "val/accuracy/a b",
        "val/accuracy/a_2a_b",
        "val/accuracy/a_2b_b",
        f"val/accuracy/{'ü' * 237}",
        "val/accuracy/犬",
        "val/accuracy/猫",
    ]


def test_an_experiment_that_was_deleted_is_refused_at_once(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    MLflow(str(tmp_path), str(database), experiment_name="old")
    known = client(database)
    known.delete_experiment(known.get_experiment_by_name("old").experiment_id)
    with pytest.raises(UserError, match=r"logger\.mlflow\.experiment_name=old has been deleted"):
        MLflow(str(tmp_path), str(database), experiment_name="old")
