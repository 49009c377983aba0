"""The keys of this project's own groups are its own: a stranger's may have other meanings."""

import pytest

from lab_engine.base.errors import UserError
from lab_engine.config.check import check
from lenet_lab.compose import compose
from lenet_lab.schema import TrainConfig


def test_keys_of_a_strangers_data_may_mean_something_else() -> None:
    config = compose("data=digits")
    config["data"] = {"_target_": "mine.Tables", "channels": 7, "resize": 0.5, "mean": "trimmed", "batch_size": 3}
    assert check(config, TrainConfig)["data"] == config["data"]


def test_what_the_engine_reads_of_a_strangers_data_is_checked() -> None:
    config = compose("data=digits")
    config["data"] = {"_target_": "mine.Tables", "batch_size": 0}
    with pytest.raises(UserError, match=r"^data\.batch_size=0 is refused: give a whole number, at least 1"):
        check(config, TrainConfig)
