"""Compare the jobs of a sweep: `python -m lenet_lab.sweep_report SWEEP_FOLDER [overrides]`."""

from lab_engine.cli.main import main
from lab_engine.config.command import Command

COMMAND = Command(
    "lenet_lab.sweep_report",
    check="lenet_lab.checks:check_sweep_report",
    work="lab_engine.sweeps.compare:compare",
    leaves_files=False,
    prepare="lab_engine.cli.sweep_folder:name_the_folder",
)

if __name__ == "__main__":
    main(COMMAND)
