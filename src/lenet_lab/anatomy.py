"""Show a network layer by layer: `python -m lenet_lab.anatomy [overrides]`."""

from lab_engine.cli.main import main
from lab_engine.config.command import Command

COMMAND = Command(
    "lenet_lab.anatomy", check="lenet_lab.checks:check_anatomy", work="lab_engine.anatomy.show:show", leaves_files=False
)

if __name__ == "__main__":
    main(COMMAND)
