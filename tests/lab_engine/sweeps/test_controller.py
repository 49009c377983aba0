"""What the process imports that jobs are forked from."""

from lab_engine.sweeps.controller import modules_of


def test_the_packages_own_parts_are_imported_once_for_all_jobs() -> None:
    config = {
        "task": {"_target_": "my_lab.tasks.mine.Mine", "monitor": "val/loss"},
        "model": {"_target_": "torch.nn.Linear", "_args_": [{"_target_": "my_lab.models.net.Net"}]},
        "callbacks": {"a": {"_target_": "my_lab.tasks.mine.Other"}, "b": None, "c": {"_target_": "my_lab2.x.Y"}},
        "data": {"_target_": "${other}"},
    }
    assert modules_of(config, "my_lab") == ["my_lab.tasks.mine", "my_lab.models.net"]
