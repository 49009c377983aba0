"""Compare the jobs of a sweep: `python -m lenet_lab.sweep_report SWEEP_FOLDER [overrides]`."""

import sys

from lab_engine.cli.main import main
from lab_engine.cli.sweep_folder import name_the_folder
from lab_engine.config.command import Command
from lab_engine.config.explain import user_errors

COMMAND = Command(
    "lenet_lab.sweep_report",
    check="lenet_lab.checks:check_sweep_report",
    work="lab_engine.sweeps.compare:compare",
    leaves_files=False,
)

if __name__ == "__main__":
    with user_errors():
        sys.argv[1:] = name_the_folder(sys.argv[1:])
    main(COMMAND)
