"""What the process imports that jobs are forked from."""

from lab_engine.sweeps.controller import modules_of
from lab_engine.sweeps.table import overrides_text


def test_the_packages_own_parts_are_imported_once_for_all_jobs() -> None:
    config = {
        "task": {"_target_": "my_lab.tasks.mine.Mine", "monitor": "val/loss"},
        "model": {"_target_": "torch.nn.Linear", "_args_": [{"_target_": "my_lab.models.net.Net"}]},
        "callbacks": {"a": {"_target_": "my_lab.tasks.mine.Other"}, "b": None, "c": {"_target_": "my_lab2.x.Y"}},
        "data": {"_target_": "${other}"},
    }
    assert modules_of(config, "my_lab") == ["my_lab.tasks.mine", "my_lab.models.net"]


def test_lines_show_four_digits_of_what_files_have_in_full() -> None:
    words = ("optimizer.lr=0.1703549536744365", "data.batch_size=32", "model=lenet", "+x=[1,2]", "trainer.limit=1.0")
    assert overrides_text(words) == "optimizer.lr=0.1704 data.batch_size=32 model=lenet +x=[1,2] trainer.limit=1.0"
