"""Names that MLflow does not allow."""

from pathlib import Path

from lenet_lab.loggers.mlflow import MLflow, database_uri
from tests.loggers.readers import read_mlflow


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
