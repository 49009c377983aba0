"""Much at once: processes on a cold cache, images, jobs."""

import logging
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab_engine.sweeps.results import read_sweep
from tests.conftest import Command, write_images
from tests.faults.million import COUNT, SHAPE
from tests.faults.trouble import growth, overrides, own_memory
from tests.lab_engine.sweeps.sweep_folders import write_grid
from tests.lenet_lab.data.test_image_folder import folder, stores

PROCESSES = 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that are there at once are forked")
def test_many_processes_on_a_cold_cache_decode_once(tmp_path: Path) -> None:
    root, cache, told = tmp_path / "images", tmp_path / "cache", tmp_path / "told"
    for label, name in enumerate("ab"):
        write_images(root / "train" / name, 100, label)
        write_images(root / "test" / name, 10, label)
    ready, go = os.pipe()
    children = [_fork(ready, go, root, cache, told) for _ in range(PROCESSES)]
    os.close(ready)
    os.close(go)  # all of them at once
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * PROCESSES
    lines = Counter(told.read_text().splitlines())
    assert lines["Decoding 200 images, once; later runs start from the result."] == 1
    assert lines["Decoding 20 images, once; later runs start from the result."] == 1
    assert lines.most_common(1)[0][1] == PROCESSES  # who all have found the same
    assert len(lines) == 3
    assert len(stores(cache)) == 2


def _fork(ready: int, go: int, root: Path, cache: Path, told: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.close(go)
        os.read(ready, 1)  # until nobody can write any more
        handler = logging.FileHandler(told)
        for package in ("lenet_lab", "lab_engine"):
            logging.getLogger(package).handlers = [handler]
            logging.getLogger(package).setLevel(logging.INFO)
        train, test = folder(root, cache).load()
        logging.getLogger("lenet_lab").info("%d %d", int(train.images.sum()), int(test.images.sum()))
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells how much memory is whose")
def test_a_million_images_are_trained_on_in_memory_for_a_few(command: Command, tmp_path: Path) -> None:
    data = ["data=digits", "data._target_=tests.faults.million.Million", f"+data.folder={tmp_path}"]
    steps = ["data.batch_size=500", "trainer.max_epochs=1", "trainer.limit_train_batches=100", "report=false"]
    steps += ["threads=1"]  # beside other tests, two are slower
    short = ["trainer.limit_val_batches=2", "callbacks.dashboard=null", "logger=none"]
    result = command("train", *data, *steps, *short, *overrides("Memory", every=10))
    assert result.status == 0, result.err
    own = own_memory(result.folder)
    assert len(own) == 10
    assert COUNT * np.prod(SHAPE) > 3e9
    assert max(own) < 1e9
    assert max(own[1:]) - own[1] < 1e8  # 80 batches, which take 0.5 GB as numbers for the network
    assert growth(own) < 6e7  # from 50 batches to the next 50, whose bytes are 77 MB


def test_a_thousand_jobs_are_read_with_four_files_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read twice, and nothing large is."""
    write_grid(tmp_path, 1000, epochs=2)
    read: Counter[str] = Counter()
    read_text = Path.read_text

    def counted(path: Path, *arguments: Any, **more: Any) -> str:
        read[path.name] += 1
        return read_text(path, *arguments, **more)

    monkeypatch.setattr(Path, "read_text", counted)
    assert len(read_sweep(tmp_path).jobs) == 1000
    assert read == {"job.json": 1000, "config.yaml": 1000, "metrics.json": 1000, "curves.csv": 1000}
