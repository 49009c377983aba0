"""Whose mistake it is, told by the exit status: 2 for the user's, 1 for the program's or of code which it calls."""

from pathlib import Path

from tests.conftest import FROM_DATA, Command

BROKEN = """\
import torch

class Broken(torch.nn.Module):
    def __init__(self, when, **_):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        if when == "made":
            self.fail()

    def forward(self, images):
        self.fail()

    def fail(self):
        raise KeyError("what nobody expects")
"""


def test_a_fault_of_the_program_ends_with_1_and_a_traceback(command: Command, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(BROKEN)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "broken.yaml").write_text(f"_target_: own.Broken\nwhen: called\n{FROM_DATA}")
    for when, folder in (("made", "first"), ("called", "second")):
        words = ["--config-dir=conf", "model=broken", f"model.when={when}", f"hydra.run.dir={folder}"]
        result = command("train", "data=digits", "debug=one_batch", *words)
        assert result.status == 1
        assert "Traceback" in result.err
        assert "\nKeyError: 'what nobody expects'\n" in result.err
        assert 'own.py", line 1' in result.err
        assert "site-packages" not in result.err  # frames of libraries and the engine are left out
        assert "HYDRA_FULL_ERROR=1 shows them" in result.err


def test_a_traceback_of_the_users_error_is_shown_when_asked_for(command: Command) -> None:
    result = command("train", "data=digits", "seed=-1", HYDRA_FULL_ERROR="1")
    assert result.status == 2
    assert "Traceback" in result.err
    assert result.err.endswith(
        "error: seed=-1 is refused: give a whole number, 0 or more (seed of the weights and of the order of samples)\n"
    )


def test_of_a_key_that_is_given_twice_the_last_counts_and_that_is_said(command: Command) -> None:
    result = command("train", "data=digits", "debug=one_batch", "seed=1", "report=false", "seed=2")
    assert result.status == 0
    assert result.err.splitlines()[0] == "warning: seed=1 is not used: the same key comes again after it"
    assert "seed: 2\n" in (result.folder / "config.yaml").read_text()


def test_what_is_removed_falls_back_to_the_targets_own_default(command: Command) -> None:
    """Not wrong: `~KEY` is how to leave an argument out; what the program itself needs is missed."""
    result = command("train", "data=digits", "debug=one_batch", "report=false", "~optimizer.momentum")
    assert result.status == 0, result.err
