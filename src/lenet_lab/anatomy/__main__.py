"""Show a network layer by layer: `python -m lenet_lab.anatomy [overrides]`."""

from lenet_lab.command import main
from lenet_lab.config import Command

COMMAND = Command(
    "lenet_lab.anatomy", check="lenet_lab.checks:check_anatomy", work="lenet_lab.anatomy.show:show", leaves_files=False
)

if __name__ == "__main__":
    main(COMMAND)
