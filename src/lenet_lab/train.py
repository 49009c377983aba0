"""Train, choose a checkpoint on validation data, test it once: `python -m lenet_lab.train [overrides]`.

The way from here to the loss: `training.py`, `data/datamodule.py`, `data/loader.py`, `tasks/classification.py`,
`models/lenet.py`.
"""

from lab_engine.cli.main import main
from lab_engine.config.command import Command

SHORT = {
    "epochs": "trainer.max_epochs",
    "lr": "optimizer.lr",
    "batch_size": "data.batch_size",
    "devices": "trainer.devices",
}

COMMAND = Command(
    "lenet_lab.train",
    check="lenet_lab.checks:check_train",
    work="lenet_lab.training:train",
    resumes=True,
    short=SHORT,
    folders={"data": "image_folder"},  # data=DIR is data=image_folder data.root=DIR
)

if __name__ == "__main__":
    main(COMMAND)
