"""The checks of a command's configuration; except for `predict`, they do not import torch."""

from typing import Any

from lab_engine.base.extras import need, need_all
from lab_engine.base.imports import import_quickly
from lab_engine.config.check import check, check_with_taken
from lab_engine.config.directions import fill_modes
from lab_engine.images.files import refuse_class_folders, refuse_missing
from lab_engine.sweeps.schema import SweepReportConfig
from lenet_lab.schema import AnatomyConfig, TrainConfig

CIFAR10 = "lenet_lab.data.cifar10.Cifar10"
IMAGE_FOLDER = "lenet_lab.data.image_folder.ImageFolder"

Config = dict[str, Any]


def check_train(config: Config) -> Config:
    """Return the configuration of a training run, checked and filled in."""
    checked = check_with_taken(fill_modes(config), TrainConfig)
    need_all(checked["logger"], "logger")
    if checked["data"]["_target_"] == IMAGE_FOLDER:
        refuse_missing(checked["data"]["root"])
    if checked["data"]["_target_"] == CIFAR10:
        refuse_class_folders(checked["data"]["root"], "data=cifar10")
    return checked


def check_predict(config: Config) -> Config:
    """Return the configuration of a prediction, filled in from its checkpoint and checked; imports torch."""
    if config.get("explain") is True:
        need("captum", "explain", "explain=true")
    checked: Config = import_quickly("lenet_lab.predicting:check")(config)
    return checked


def check_sweep_report(config: Config) -> Config:
    """Return the configuration of a report on a sweep, checked."""
    return check(config, SweepReportConfig)


def check_anatomy(config: Config) -> Config:
    """Return the configuration of a network's anatomy, checked."""
    return check(config, AnatomyConfig)
