import gzip
import hashlib
import io
import os
import pickle
import re
import struct
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest

from lenet_lab.data.cifar10 import Cifar10
from lenet_lab.errors import UserError

TRAIN = [f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)]
TEST = "cifar-10-batches-py/test_batch"
NAMES = [*TRAIN, TEST]


def python2_pickle(images, labels, column_major=False) -> bytes:
    """A batch in the bytes that Python 2 wrote: opcodes of protocol 2, its str where Python 3 has bytes."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    new_array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    shape = number(images.shape[0]) + number(images.shape[1]) + b"\x86"
    new_dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype_state = b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    pixels = (b"\x88" if column_major else b"\x89") + text(images.tobytes("F" if column_major else "C"))
    array = new_array + b"(" + number(1) + shape + new_dtype + dtype_state + pixels + b"tb"
    numbers = b"](" + b"".join(map(number, labels)) + b"e"
    entries = text(b"batch_label") + text(b"one") + text(b"labels") + numbers + text(b"data") + array
    return b"\x80\x02}(" + entries + b"u."


def python3_pickle(images, labels) -> bytes:
    return pickle.dumps({b"data": images, b"labels": labels}, protocol=4)


def draw_batches(rows=(3, 1, 2, 4, 2, 5)):
    """Random images (N, 3072) and labels by name of the member, N differing between batches."""
    random = np.random.default_rng(0)
    return {
        name: (random.integers(0, 256, (count, 3072), dtype=np.uint8), random.integers(0, 10, count).tolist())
        for name, count in zip(NAMES, rows, strict=True)
    }


def pack(contents: dict[str, bytes]) -> bytes:
    """A tar.gz of these members, not in the order of their numbers, as in the official one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in sorted(contents, reverse=True):
            member = tarfile.TarInfo(name)
            member.size = len(contents[name])
            archive.addfile(member, io.BytesIO(contents[name]))
    return buffer.getvalue()


def good_contents() -> dict[str, bytes]:
    return {name: python2_pickle(*batch) for name, batch in draw_batches().items()}


@pytest.fixture
def cifar10(tmp_path):
    """Make a source whose archive lies in its folder already, or is served at `mirrors`."""

    def make(archive: bytes, mirrors=()) -> Cifar10:
        if not mirrors:
            (tmp_path / "root").mkdir(exist_ok=True)
            (tmp_path / "root" / "cifar-10-python.tar.gz").write_bytes(archive)
        md5 = hashlib.md5(archive, usedforsecurity=False).hexdigest()
        return Cifar10(tmp_path / "root", tmp_path / "cache", mirrors, md5)

    return make


def failure(source: Cifar10) -> str:
    with pytest.raises(UserError) as caught:
        source.load()
    message = str(caught.value)
    assert message.count("\n") <= 1
    assert str(source.archive) in message
    return message


def check(image_set, batches) -> None:
    images = np.concatenate([images for images, _ in batches]).reshape(-1, 3, 32, 32)
    labels = [label for _, labels in batches for label in labels]
    np.testing.assert_array_equal(image_set.images, images)
    np.testing.assert_array_equal(image_set.labels, labels)
    assert (image_set.images.dtype, image_set.labels.dtype) == (np.uint8, np.int64)
    assert image_set.classes == (
        "plane",
        "car",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )


@pytest.mark.parametrize("write", [python2_pickle, python3_pickle])
def test_archive_in_the_folder_gives_its_images_in_order(cifar10, write):
    batches = draw_batches()
    train, test = cifar10(pack({name: write(*batch) for name, batch in batches.items()})).load()
    check(train, [batches[name] for name in TRAIN])
    check(test, [batches[TEST]])


def test_rows_saved_column_by_column_are_the_same_images(cifar10):
    batches = draw_batches()
    contents = {name: python2_pickle(*batch, column_major=True) for name, batch in batches.items()}
    train, test = cifar10(pack(contents)).load()
    check(train, [batches[name] for name in TRAIN])
    check(test, [batches[TEST]])


def test_python2_pickle_is_what_numpy_reads_too():
    images, labels = draw_batches()[TEST]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # versions 2.4.0 to 2.4.4 dislike the dtype of old pickles
        content = pickle.loads(python2_pickle(images, labels), encoding="bytes")  # noqa: S301
    np.testing.assert_array_equal(content[b"data"], images)
    assert content[b"labels"] == labels


def test_archive_is_downloaded_once_and_needed_once(cifar10, serve):
    archive = pack(good_contents())
    mirror = serve(archive)
    source = cifar10(archive, [mirror.url])
    first, _ = source.load()
    assert mirror.requests == [None]
    assert source.archive.read_bytes() == archive
    source.archive.unlink()
    mirror.stop()
    second, test = source.load()
    np.testing.assert_array_equal(first.images, second.images)
    check(test, [draw_batches()[TEST]])


def test_failed_download_offers_the_digits_and_the_place(cifar10, serve):
    message = failure(cifar10(pack(good_contents()), [serve(b"", status=503).url]))
    assert "HTTP 503" in message
    assert "data=digits" in message


def test_other_file_with_the_name_of_the_archive_is_kept(cifar10):
    source = cifar10(pack(good_contents()))
    source.archive.write_bytes(b"mine")
    assert "Move it away" in failure(source)
    assert source.archive.read_bytes() == b"mine"


class Touch:
    """Unpickled by Python itself, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class GetAttribute:
    def __reduce__(self):
        return getattr, (np.ndarray, "tofile")


@pytest.mark.parametrize("member", [TRAIN[2], TEST])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_an_archive_does_not_run(cifar10, tmp_path, member, protocol):
    trace = tmp_path / "trace"
    exploit = pickle.dumps({"data": Touch(trace)}, protocol)
    message = failure(cifar10(pack(good_contents() | {member: exploit})))
    assert "mkdir" in message
    assert member in message
    assert not trace.exists()
    pickle.loads(exploit)  # noqa: S301
    assert trace.exists()  # the exploit is a real one


@pytest.mark.parametrize("value", [GetAttribute(), np.float64(1), np.array([1], object).dtype, eval, Path()])
def test_names_beyond_arrays_are_refused(cifar10, value):
    content = pickle.dumps({b"data": value, b"labels": [1]}, 4)
    assert TEST in failure(cifar10(pack(good_contents() | {TEST: content})))


IMAGES = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        python2_pickle(IMAGES, [1]),
        python2_pickle(IMAGES, [1, 10]),
        python2_pickle(IMAGES, [-1, 1]),
        python2_pickle(IMAGES[:0], []),
        python2_pickle(IMAGES[:, :3071], [1, 2]),
        python2_pickle(IMAGES, [1, 2]).replace(b"u1", b"i1"),
        python2_pickle(IMAGES, [1, 2]).replace(b"labels", b"sticks"),
        python3_pickle(IMAGES.astype(np.float32), [1, 2]),
        python3_pickle(IMAGES.reshape(2, 3, 32, 32), [1, 2]),
        python3_pickle(IMAGES, ["1", "2"]),
        python3_pickle(IMAGES, [1, 2.0]),
        python3_pickle(IMAGES, (1, 2)),
        python3_pickle(None, [1, 2]),
        pickle.dumps([1, 2]),
    ],
)
def test_other_content_is_refused(cifar10, content):
    message = failure(cifar10(pack(good_contents() | {TEST: content})))
    assert f"{TEST} must hold uint8 data (N, 3072) and N labels from 0 to 9" in message


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x01", python2_pickle(IMAGES, [1, 2])[:500], b"\x80\x02}b.", b"cnumpy\nndarray\n(b."],
)
def test_broken_pickle_is_refused(cifar10, content):
    assert f"{TEST} cannot be read" in failure(cifar10(pack(good_contents() | {TEST: content})))


@pytest.mark.parametrize("name", [TRAIN[3], TEST])
def test_missing_batch_is_named(cifar10, name):
    contents = good_contents()
    del contents[name]
    assert f"holds no {name}" in failure(cifar10(pack(contents)))


def test_link_in_place_of_a_batch_is_not_followed(cifar10):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        link = tarfile.TarInfo(TRAIN[0])
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    assert f"holds no {TRAIN[0]}" in failure(cifar10(buffer.getvalue()))


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"no archive",
        gzip.compress(b"no archive"),
        pack(good_contents())[:9000],
        pack(good_contents())[:9000] + bytes(9000),
    ],
    ids=["empty", "not gzip", "not tar", "cut", "damaged"],
)
def test_broken_archive_is_refused(cifar10, archive):
    assert re.search("cannot be read|holds no", failure(cifar10(archive)))
