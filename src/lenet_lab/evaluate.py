"""Measure a checkpoint on test data: `python -m lenet_lab.evaluate checkpoint=PATH [overrides]`."""

from lenet_lab.command import main
from lenet_lab.config import Command

COMMAND = Command(
    "lenet_lab.evaluate",
    check="lenet_lab.evaluating:check",
    work="lenet_lab.evaluating:evaluate",
    paths=("checkpoint",),
)

if __name__ == "__main__":
    main(COMMAND)
