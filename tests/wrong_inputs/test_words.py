"""What a user types that cannot be meant, and the line or two that it is answered with: see words.txt."""

from pathlib import Path

import pytest

from lab_engine.config.hydra_version import BASE
from tests.wrong_inputs import files
from tests.wrong_inputs.case import Case, read, refuse

MINE = "train data=digits --config-dir=conf optimizer=mine"
FILE = "HERE/conf/optimizer/mine.yaml"
# OmegaConf 2.4, which comes with Hydra 1.4, reads YAML with libyaml, which has words of its own.
OPEN = "expected ',' or ']'" if BASE else "did not find expected ',' or ']'"
TAB = "'\\t' " if BASE else ""
NEVER = "Target 'os.system' is blocklisted because…" if BASE else "system() takes at most 1 keyword argument…"
OWN_FILES = [
    Case("train data=digits model._target_=os.system", f"model (os.system): {NEVER}"),
    Case(
        MINE,
        f"{FILE}, line 3, column 1: not YAML: {OPEN}…",
        files.own_option("_target_: torch.optim.SGD\nbetas: [1, 2\n"),
    ),
    Case(
        MINE,
        f"{FILE}, line 2, column 1: not YAML: found character {TAB}that cannot start any token "
        "(indent with spaces, not tabs)",
        files.own_option("a:\n\tb: 1\n"),
    ),
    Case(MINE, f"{FILE}, line 2, column 1: not YAML: found duplicate key lr", files.own_option("lr: 1\nlr: 2\n")),
    Case(
        MINE,
        "optimizer has lr, but no _target_: add it to the file of the option; or if these are of another option, "
        "remove them with ~optimizer.lr",
        files.own_option("lr: 0.1\n"),
    ),
    Case(
        MINE,
        "optimizer=['a', 'list'] is refused: give an option of the group, or keys with their values",
        files.own_option("- a\n- list\n"),
    ),
    Case(
        MINE,
        "optimizer (torch.optim.SDG): …SDG…",
        files.own_option("_target_: torch.optim.SDG\n_partial_: true\nlr: 0.1\n"),
    ),
    Case(
        "train data=digits --config-dir=file",
        "--config-dir=HERE/file is refused: there is no such folder",
        files.a_file,
    ),
]

ANOTHER = "Choose another folder with hydra.run.dir=DIR"
FOLDERS = [
    Case(
        "train data=digits hydra.run.dir=file",
        f"hydra.run.dir=file cannot be made: File exists. {ANOTHER}.",
        files.a_file,
    ),
    Case(
        "train data=digits hydra.run.dir=file/run",
        f"hydra.run.dir=file/run cannot be made: Not a directory. {ANOTHER}.",
        files.a_file,
    ),
    Case(
        "train data=digits hydra.run.dir=run",
        "HERE/run holds a run already, and nothing in it is overwritten.\n"
        f"{ANOTHER}, or leave it out to get a new one.",
        files.a_run,
    ),
    Case(
        "train data=digits hydra.run.dir=run",
        "HERE/run holds a run already, and nothing in it is overwritten.\n"
        "It is not finished: resume it with resume=HERE/run, or choose another folder with hydra.run.dir=DIR.",
        files.and_(files.a_run, files.a_lock),  # as a run that was killed while it imported
    ),
    Case(
        "train -m data=digits seed=1,2 hydra.sweep.dir=run",
        "run holds a single run, and nothing is added to it.\nChoose another folder with hydra.sweep.dir=DIR, or …",
        files.a_run,
    ),
    Case(
        "train -m data=digits seed=1,2 hydra.sweep.dir=file/x",
        "hydra.sweep.dir=file/x cannot be made: Not a directory. Choose another folder with hydra.sweep.dir=DIR.",
        files.a_file,
    ),
    Case(
        "train data=image_folder data.root=images data.cache=file/cache",
        "The decoded images cannot be kept in HERE/file/cache: Not a directory.\n"
        "Name another folder with data.cache=DIR.",
        files.and_(files.a_file, files.images("ant", "bee")),
    ),
]

SWEEPS = [
    *(
        Case(
            "train -m data=digits seed=1,2 hydra.sweep.dir=sweep",
            "HERE/sweep/0/job.json is damaged: …\nMove the folder 0 out of its sweep; its job will start again.",
            files.a_sweep(record),
        )
        for record in ("", "{", "[]", '{"number": "one"}')
    ),
    Case(
        "sweep_report run",
        "HERE/run is the folder of a single run, whose results are in its metrics.json.\n"
        "To compare several runs, give the folder that holds their run folders.",
        files.a_run,
    ),
    Case(
        "sweep_report sweep metric=val/accurcy",
        "metric=val/accurcy is refused: no job has it; did you mean val/accuracy?\n"
        "metrics: val/accuracy, val/loss, test/accuracy",
        files.done,
    ),
    Case(
        "sweep_report sweep metric=test/accuracy",
        "metric=test/accuracy is refused: give a metric of metrics.json, such as val/loss, "
        "or null (the test set must choose nothing; null: the task's monitor)",
        files.done,
    ),
    Case(
        "sweep_report sweep mode=up",
        "mode=up is refused: give max, min, or null (whether higher or lower is better; null: as the task says)",
        files.done,
    ),
]


@pytest.mark.parametrize("case", read(Path(__file__).with_name("words.txt")), ids=str)
def test_wrong_words_are_refused_in_a_line_or_two(case: Case, tmp_path: Path) -> None:
    refuse(case, tmp_path)


@pytest.mark.parametrize("case", [*OWN_FILES, *FOLDERS, *SWEEPS], ids=str)
def test_what_is_wrong_in_the_users_files_is_told_likewise(case: Case, tmp_path: Path) -> None:
    refuse(case, tmp_path)
