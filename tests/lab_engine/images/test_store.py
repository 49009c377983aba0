import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab_engine.base.errors import UserError
from lab_engine.images.store import StoreWriter, open_store
from lenet_lab.data.loader import BatchLoader


def fill(store: StoreWriter) -> None:
    images = np.load(store.create(3, (1, 2, 2)), mmap_mode="r+")
    images[:] = np.arange(3)[:, None, None, None]
    images.flush()
    store.finish(np.array([0, 1, 1]), ("a", "b"), skipped=1)


def test_is_made_once_and_then_mapped(tmp_path: Path) -> None:
    open_store(tmp_path / "new" / "cache", "key", fill)
    images = open_store(tmp_path / "new" / "cache", "key", lambda _: pytest.fail("made twice"))
    assert isinstance(images.images, np.memmap)
    assert images.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert images.labels.tolist() == [0, 1, 1]
    assert (images.classes, images.skipped) == (("a", "b"), 1)
    assert images.store == tmp_path / "new" / "cache" / "key-v1"


def test_a_failure_leaves_no_store(tmp_path: Path) -> None:
    def fail(store: StoreWriter) -> None:
        store.create(3, (1, 2, 2))
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        open_store(tmp_path, "key", fail)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["key.lock"])


def test_keeps_chosen_rows(tmp_path: Path) -> None:
    def some(store: StoreWriter) -> None:
        fill(store)
        store.keep(np.array([2, 0]))
        store.finish(np.array([1, 0]), ("a", "b"))

    assert open_store(tmp_path, "key", some).images[:, 0, 0, 0].tolist() == [2, 0]
    assert sorted(path.name for path in (tmp_path / "key-v1").iterdir()) == ["facts.json", "images.npy", "labels.npy"]


def test_data_larger_than_memory_is_mapped_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lenet_lab.data.loader.IMAGES_PER_GATHER", 64)
    open_store(tmp_path, "key", fill)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    count = 2 * memory // (3 * 64 * 64)
    folder = tmp_path / "key-v1"
    (folder / "images.npy").unlink()
    # a sparse file: it has this size, but takes no room
    np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=(count, 3, 64, 64))
    np.save(folder / "labels.npy", np.arange(count) % 2)
    images = open_store(tmp_path, "key", fill)
    assert images.images.nbytes > 1.9 * memory
    loader = BatchLoader(images, np.arange(count), 4, shuffle_seed=0)
    batch, _ = next(iter(loader))
    assert batch.shape == (4, 3, 64, 64)
    assert not batch.any()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < memory / 2


def sizes(pid: int | str, file: Path) -> dict[str, int]:
    """What Linux says of a file that a process has mapped, kB by name."""
    text = Path(f"/proc/{pid}/smaps").read_text()
    mapping = next(part for part in text.split("VmFlags:") if str(file) in part).partition(str(file))[2]
    lines = (line.split() for line in mapping.splitlines() if line.endswith("kB"))
    return {words[0].rstrip(":"): int(words[1]) for words in lines}


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells how much is shared")
def test_processes_share_the_pages_of_a_store(tmp_path: Path) -> None:
    def zeros(store: StoreWriter) -> None:
        store.create(1024, (3, 32, 32))
        store.finish(np.zeros(1024), ("a", "b"))

    images = open_store(tmp_path, "key", zeros).images
    assert not images.any()  # all pages are here now
    other = (
        "import sys; from pathlib import Path; from lab_engine.images.store import open_store; images = open_store("
        "Path(sys.argv[1]), 'key', None).images; print(images.any(), flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", other, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "False\n"
        for pid in (os.getpid(), process.pid):
            found = sizes(pid, tmp_path / "key-v1" / "images.npy")
            assert found["Rss"] >= 3072
            assert found["Pss"] <= 0.6 * found["Rss"]
        process.communicate("")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be kept in .*/file/cache: Not a directory\.\n.*data\.cache=DIR"):
        open_store(tmp_path / "file" / "cache", "key", fill)


@pytest.mark.parametrize("name", ["facts.json", "labels.npy", "images.npy"])
def test_a_damaged_store_is_named(tmp_path: Path, name: str) -> None:
    open_store(tmp_path, "key", fill)
    (tmp_path / "key-v1" / name).write_bytes(b"{}")
    with pytest.raises(UserError, match=r"key-v1 are damaged\. Remove this folder"):
        open_store(tmp_path, "key", fill)


def test_keeps_chosen_rows_of_many(tmp_path: Path) -> None:
    count = 9000  # more than are copied at once
    rows = np.random.default_rng(0).permutation(count)[:5000]

    def some(store: StoreWriter) -> None:
        images = np.load(store.create(count, (1, 1, 2)), mmap_mode="r+")
        images[:, 0, 0] = np.arange(count)[:, None] // (256, 1) % 256
        images.flush()
        store.keep(rows)
        store.finish(rows % 2, ("a", "b"))

    found = open_store(tmp_path, "key", some)
    assert (found.images[:, 0, 0] @ (256, 1) == rows).all()
    assert (found.labels == rows % 2).all()
    assert found.skipped == 0


def test_holds_bytes_and_whole_numbers_whatever_it_is_given(tmp_path: Path) -> None:
    def floats(store: StoreWriter) -> None:
        store.create(3, (1, 2, 2))
        store.finish(np.zeros(3), ("a", "b"))

    found = open_store(tmp_path, "key", floats)
    assert (found.images.dtype, found.labels.dtype) == (np.uint8, np.int64)


def test_what_a_killed_process_left_is_removed_and_what_belongs_to_another_store_is_not(tmp_path: Path) -> None:
    def leave(store: StoreWriter) -> None:
        (folder := tmp_path / ".key-v1-abc").mkdir()
        store.create(3, (1, 2, 2)).rename(folder / "images.npy")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(tmp_path, "key", leave)
    (tmp_path / ".other-v1-abc").mkdir()
    unfinished: list[str] = []

    def look(store: StoreWriter) -> None:
        unfinished.extend(path.name for path in tmp_path.glob(".*"))
        fill(store)

    open_store(tmp_path, "key", look)
    assert len(unfinished) == 2  # another store's, and this one's, beside its final name
    assert all(name.startswith((".other-v1-abc", ".key-v1-")) for name in unfinished)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [".other-v1-abc", "key-v1"]


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSPC, None])
def test_a_disk_that_cannot_promise_room_is_used_and_a_full_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int | None
) -> None:
    def refuse(*_: int) -> None:
        assert error is not None
        raise OSError(error, os.strerror(error))

    if error is None:
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    if error == errno.ENOSPC:
        with pytest.raises(UserError, match=r"cannot be kept in .*: No space left on device.\nFree some space there"):
            open_store(tmp_path, "key", fill)
        assert not (tmp_path / "key-v1").exists()
    else:
        assert open_store(tmp_path, "key", fill).images[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_the_owner_of_a_cache_that_is_closed_to_others_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder / "facts.json"))

    open_store(tmp_path, "key", fill)
    owner, file = tmp_path.owner(), tmp_path / "key-v1" / "facts.json"
    monkeypatch.setattr("lab_engine.images.store._read", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(UserError) as refused:
        open_store(tmp_path, "key", fill)
    assert str(refused.value) == (
        f"The decoded images cannot be kept in {tmp_path}: Permission denied: {file} belongs to the user {owner}.\n"
        "Name another folder with data.cache=DIR."
    )


IMAGES, LABELS = np.zeros((3, 1, 2, 2), np.uint8), np.array([0, 1, 1])


@pytest.mark.parametrize(
    ("file", "content"),
    [
        *(("facts.json", facts) for facts in ({"classes": "ab", "skipped": 0}, {"classes": [1, 2], "skipped": 0})),
        *(("facts.json", facts) for facts in ({"classes": ["a", "b"], "skipped": "0"}, {"classes": ["a", "b"]}, [])),
        ("images.npy", IMAGES.astype(np.int8)),
        ("images.npy", IMAGES[0]),
        ("images.npy", np.zeros((3, 2, 2, 2), np.uint8)),
        ("images.npy", IMAGES[:, :, :, :0]),
        ("images.npy", IMAGES[:2]),
        ("labels.npy", LABELS.astype(np.int32)),
        ("labels.npy", LABELS[:, None]),
        ("labels.npy", LABELS - 1),
        ("labels.npy", LABELS + 1),
        ("labels.npy", np.array([0, 1, {}], dtype=object)),
    ],
)
def test_a_store_that_holds_something_else_is_named(tmp_path: Path, file: str, content: Any) -> None:
    open_store(tmp_path, "key", fill)
    place = tmp_path / "key-v1" / file
    if file.endswith(".npy"):
        np.save(place, content, allow_pickle=True)
    else:
        place.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"in .*key-v1 are damaged\. Remove this folder and run again\.$"):
        open_store(tmp_path, "key", fill)
