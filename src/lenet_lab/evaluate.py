"""Measure a checkpoint on test data: `python -m lenet_lab.evaluate checkpoint=PATH [overrides]`."""

from lab_engine.cli.main import main
from lab_engine.config.command import Command

COMMAND = Command(
    "lenet_lab.evaluate",
    check="lenet_lab.evaluating:check",
    work="lenet_lab.evaluating:evaluate",
    paths=("checkpoint",),
)

if __name__ == "__main__":
    main(COMMAND)
