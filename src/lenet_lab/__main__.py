"""All commands by name: `lenet-lab COMMAND`, or `python -m lenet_lab COMMAND`."""

from lab_engine.cli.program import run_program

COMMANDS = ("train", "evaluate", "predict", "export", "anatomy", "sweep_report")
EXAMPLES = ("train experiment=digits", "train data=DIR epochs=20 lr=0.01", "predict checkpoint=last images=DIR")


def main() -> None:
    """Run the command that the first word names."""
    run_program(__package__, COMMANDS, EXAMPLES)


if __name__ == "__main__":
    main()
