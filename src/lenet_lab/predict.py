"""Predict images or data with a checkpoint: `python -m lenet_lab.predict checkpoint=PATH images=FILE_OR_FOLDER`."""

from lab_engine.cli.main import main
from lab_engine.config.command import Command

COMMAND = Command(
    "lenet_lab.predict",
    check="lenet_lab.checks:check_predict",
    work="lenet_lab.predicting:predict",
    sweeps=False,
    paths=("checkpoint", "images"),
)

if __name__ == "__main__":
    main(COMMAND)
