"""Write a trained network as a file for other programs: `python -m lenet_lab.export checkpoint=PATH [overrides]`."""

from lab_engine.cli.main import main
from lab_engine.config.command import Command

COMMAND = Command(
    "lenet_lab.export",
    check="lenet_lab.exporting:check",
    work="lenet_lab.exporting:export",
    sweeps=False,
    paths=("checkpoint", "file"),
)

if __name__ == "__main__":
    main(COMMAND)
