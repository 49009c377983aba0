import hashlib
import io
import itertools
import os
import re
import resource
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from lab_engine.base.atomic_write import name_beside
from lab_engine.base.bar import draw_bars_on
from lab_engine.base.errors import UserError
from lab_engine.images.download import download
from tests.screen import terminal as screen

BODY = bytes(range(251)) * 1200  # 251: no power of two, so that a shift would show
OTHER = BODY[:-1] + bytes([BODY[-1] ^ 1])  # same length
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
OTHER_MD5 = hashlib.md5(OTHER, usedforsecurity=False).hexdigest()

fetch = partial(download, md5=MD5)
STALL = 3.0  # seconds until a mirror counts as stalled; a busy machine must answer within them


@pytest.fixture
def file(tmp_path):
    return tmp_path / "data" / "photos.tar.gz"


def parts_of(file: Path) -> list[Path]:
    return list(file.parent.glob("*.part"))


def part_of(file: Path) -> Path:
    (part,) = parts_of(file)
    return part


def write_part(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    name_beside(file).write_bytes(content)


def failure(file: Path, *mirrors, **settings) -> str:
    """The message of a download that fails, with what holds for all of them checked."""
    with pytest.raises(UserError) as caught:
        fetch(file, urls=[mirror.url for mirror in mirrors], **settings)
    message = str(caught.value)
    assert message.count("\n") <= 1
    assert str(file) in message
    return message


def refusing(serve):
    """A mirror whose port nobody listens at."""
    mirror = serve(BODY)
    mirror.stop()
    return mirror


def test_file_arrives_whole_and_nothing_else_stays_but_the_lock(serve, file):
    mirror = serve(BODY)
    fetch(file, urls=[mirror.url])
    assert file.read_bytes() == BODY
    assert mirror.requests == [None]
    assert {path.name for path in file.parent.iterdir()} <= {"photos.tar.gz", "photos.tar.gz.lock"}


def test_file_in_place_needs_no_network_and_no_writable_folder(serve, file):
    mirror = serve(BODY)
    file.parent.mkdir()
    file.write_bytes(BODY)
    fetch(file, urls=[mirror.url], md5=MD5.upper())
    assert mirror.requests == []
    assert list(file.parent.iterdir()) == [file]


def test_another_file_in_place_is_kept_and_named(serve, file):
    mirror = serve(BODY)
    file.parent.mkdir()
    file.write_bytes(OTHER)
    message = failure(file, mirror)
    assert MD5 in message
    assert OTHER_MD5 in message
    assert "Move it away" in message
    assert file.read_bytes() == OTHER
    assert mirror.requests == []


@pytest.mark.parametrize("announce", [True, False])
def test_part_is_continued(serve, file, announce):
    mirror = serve(BODY, announce=announce)
    write_part(file, BODY[:1000])
    fetch(file, urls=[mirror.url])
    assert mirror.requests == ["bytes=1000-"]
    assert file.read_bytes() == BODY
    assert not parts_of(file)


def test_server_without_ranges_starts_over(serve, file):
    mirror = serve(BODY, ranges=False)
    write_part(file, BODY[:1000])
    fetch(file, urls=[mirror.url])
    assert mirror.requests == ["bytes=1000-"]
    assert file.read_bytes() == BODY


@pytest.mark.parametrize("excess", [b"", b"more"], ids=["same length", "longer"])
def test_worthless_part_that_leaves_nothing_to_send_is_fetched_again(serve, file, excess):
    mirror = serve(BODY)
    write_part(file, OTHER + excess)
    fetch(file, urls=[mirror.url])
    assert mirror.requests == [f"bytes={len(OTHER + excess)}-", None]
    assert file.read_bytes() == BODY


def test_complete_part_is_taken(serve, file):
    mirror = serve(BODY)
    write_part(file, BODY)
    fetch(file, urls=[mirror.url])
    assert mirror.requests == [f"bytes={len(BODY)}-"]
    assert file.read_bytes() == BODY


def test_part_of_another_file_is_fetched_again_once(serve, file):
    mirror = serve(BODY)
    write_part(file, b"x" * 1000)
    fetch(file, urls=[mirror.url])
    assert mirror.requests == ["bytes=1000-", None]
    assert file.read_bytes() == BODY


def test_wrong_range_in_the_answer_starts_over(serve, file):
    mirror = serve(BODY, content_range=f"bytes 7-{len(BODY) - 1}/{len(BODY)}")
    write_part(file, BODY[:1000])
    fetch(file, urls=[mirror.url])
    assert mirror.requests == ["bytes=1000-", None]
    assert file.read_bytes() == BODY


def test_mirrors_are_asked_in_order_and_only_as_needed(serve, file):
    refused, missing, good, unused = refusing(serve), serve(BODY, status=404), serve(BODY), serve(BODY)
    fetch(file, urls=[mirror.url for mirror in (refused, missing, good, unused)])
    assert [len(mirror.requests) for mirror in (refused, missing, good, unused)] == [0, 1, 1, 0]
    assert file.read_bytes() == BODY


@pytest.mark.parametrize("behaviour", ["cut_after", "stall_after"])
def test_next_mirror_continues_what_the_last_one_began(serve, file, behaviour):
    first, second = serve(BODY, **{behaviour: 5000}), serve(BODY)
    fetch(file, urls=[first.url, second.url], stall_seconds=STALL)
    assert first.requests == [None]
    assert second.requests == ["bytes=5000-"]
    assert file.read_bytes() == BODY


def test_lying_mirror_is_passed_over(serve, file):
    lying, honest = serve(OTHER), serve(BODY)
    fetch(file, urls=[lying.url, honest.url])
    assert (lying.requests, honest.requests) == ([None], [None])
    assert file.read_bytes() == BODY


def test_beginning_from_a_lying_mirror_does_not_spoil_the_next(serve, file):
    lying, honest = serve(b"x" * len(BODY), cut_after=5000), serve(BODY)
    fetch(file, urls=[lying.url, honest.url])
    assert honest.requests == ["bytes=5000-", None]
    assert file.read_bytes() == BODY


def test_refused_download_says_why_where_and_what_else(serve, file):
    refused = refusing(serve)
    message = failure(file, refused, cure="Or use the small one.")
    assert refused.url in message
    assert "refused" in message
    assert MD5 in message
    assert message.endswith(" Or use the small one.")
    assert not file.exists()


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"status": 503}, "HTTP 503"),
        ({"status": 404}, "HTTP 404"),
        ({"cut_after": 5000}, f"broke off after 5000 of {len(BODY)} bytes"),
        ({"stall_after": 5000}, "no answer for 3 seconds"),
        ({"pause": 20}, "no answer for 3 seconds"),
        ({"cut_after": 5000, "announce": False}, "its file has another MD5"),
        ({"status": 429}, "HTTP 429"),
        ({"drip": 0.05}, "less than 10,000 bytes a second for 3 seconds"),
        ({"status": 500}, "HTTP 500 Internal Server Error"),
        ({"redirect": ""}, "redirect error that would lead to an infinite loop"),
        ({"redirect": "file:///etc/hostname"}, "HTTP 302"),
    ],
)
def test_failure_names_the_reason_of_every_mirror(serve, file, behaviour, reason):
    settings = {"stall_seconds": STALL} if reason.endswith(" seconds") else {}
    message = failure(file, serve(BODY, **behaviour), serve(OTHER), **settings)
    assert reason in message
    assert "its file has another MD5" in message
    assert not file.exists()


def test_download_that_broke_off_is_continued_by_the_next_call(serve, file):
    mirror = serve(BODY, cut_after=5000)
    failure(file, mirror)
    assert part_of(file).read_bytes() == BODY[:5000]
    mirror.cut_after = None
    fetch(file, urls=[mirror.url])
    assert mirror.requests == [None, "bytes=5000-"]
    assert file.read_bytes() == BODY


def test_connection_torn_down_half_way_is_continued_by_the_next_call(serve, file):
    mirror = serve(BODY, reset_after=5000)
    assert "reset" in failure(file, mirror)
    mirror.reset_after = None
    fetch(file, urls=[mirror.url])
    assert file.read_bytes() == BODY


@pytest.mark.parametrize("now", [OTHER[:200_000], OTHER, OTHER + OTHER], ids=["smaller", "same size", "larger"])
def test_another_file_at_the_same_address_is_not_joined_to_the_first(serve, file, now):
    mirror = serve(BODY, cut_after=250_000)
    failure(file, mirror)
    mirror.body, mirror.cut_after = now, None
    assert "another MD5" in failure(file, mirror)
    assert not parts_of(file)
    mirror.body = BODY
    fetch(file, urls=[mirror.url])
    assert file.read_bytes() == BODY


def test_page_in_place_of_the_file_is_refused_and_kept_nowhere(serve, file):
    mirror = serve(b"<html>Log in to this network first.</html>")
    assert "another MD5" in failure(file, mirror)
    assert not parts_of(file)
    assert not file.exists()


@pytest.mark.parametrize("announce", [True, False])
def test_body_without_end_is_given_up_and_leaves_no_rubbish(serve, file, announce):
    message = failure(file, serve(BODY, announce=announce), max_bytes=1000)
    assert "more than 1000 bytes" in message
    assert not parts_of(file)


def test_wrong_content_leaves_no_part(serve, file):
    failure(file, serve(OTHER))
    assert not parts_of(file)


def test_no_mirrors_at_all(file):
    assert "no address is given" in failure(file)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/file", "file:///etc/hostname", "photos.tar.gz", ""])
def test_other_addresses_are_refused_before_any_is_asked(serve, file, url):
    mirror = serve(BODY)
    with pytest.raises(UserError, match="must begin with http") as caught:
        fetch(file, urls=[mirror.url, url])
    assert repr(url) in str(caught.value)
    assert mirror.requests == []


@pytest.mark.parametrize("url", ["http://", "http://[", "http://127.0.0.1:port/", "https://bad host/"])
def test_malformed_address_is_a_failed_mirror(serve, file, url):
    good = serve(BODY)
    fetch(file, urls=[url, good.url])
    assert file.read_bytes() == BODY


def test_folder_that_cannot_be_made(serve, tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    message = failure(tmp_path / "data" / "photos.tar.gz", serve(BODY), cure="Or use the small one.")
    assert "cannot be written" in message
    assert message.endswith("Or use the small one.")


def test_full_disk_is_not_taken_for_a_bad_mirror(serve, file):
    first, second = serve(BODY), serve(BODY)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        assert "cannot be written or read: File too large" in failure(file, first, second)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert second.requests == []
    assert part_of(file).read_bytes() == BODY[:200_000]  # to be continued


@pytest.mark.parametrize("kind", ["symlink", "hard link", "folder", "fifo"])
def test_what_a_stranger_has_put_in_its_way_is_left_alone(serve, file, tmp_path, kind):
    outside = tmp_path / "precious"
    outside.write_bytes(BODY[:1000])
    file.parent.mkdir()
    for path in (file.with_name(f"{file.name}.part"), name_beside(file)):
        if kind == "folder":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            (path.symlink_to if kind == "symlink" else path.hardlink_to)(outside)

    there = {path: all_but_last_read(path) for path in file.parent.iterdir()}
    mirror = serve(BODY)
    fetch(file, urls=[mirror.url])
    assert mirror.requests == [None]
    assert file.read_bytes() == BODY
    assert outside.read_bytes() == BODY[:1000]
    assert {path: all_but_last_read(path) for path in there} == there


def all_but_last_read(path: Path) -> tuple[int, ...]:
    """What the system says of a file, less the time when it was last read."""
    facts = path.lstat()
    return (*facts[: stat.ST_ATIME], *facts[stat.ST_ATIME + 1 :])


@pytest.mark.parametrize("kind", ["symlink", "hard link"])
def test_a_lock_is_no_way_to_empty_a_file_of_ours(serve, file, tmp_path, kind):
    outside = tmp_path / "precious"
    outside.write_bytes(BODY)
    file.parent.mkdir()
    lock = file.with_name(f"{file.name}.lock")
    (lock.symlink_to if kind == "symlink" else lock.hardlink_to)(outside)
    if kind == "symlink":
        assert "cannot be written" in failure(file, serve(BODY))
    else:
        fetch(file, urls=[serve(BODY).url])
    assert outside.read_bytes() == BODY


def test_what_another_user_has_begun_is_not_continued(serve, file, monkeypatch):
    mirror = serve(BODY)
    write_part(file, BODY[:1000])
    began = part_of(file)
    monkeypatch.setattr(os, "geteuid", lambda: began.stat().st_uid + 1)
    fetch(file, urls=[mirror.url])
    assert mirror.requests == [None]
    assert began.read_bytes() == BODY[:1000]


def test_processes_that_start_together_download_once(serve, file):
    mirror = serve(BODY, pause=1.0)
    code = (
        "import sys\nfrom pathlib import Path\nfrom lab_engine.images.download import download\n"
        "print(flush=True)\nsys.stdin.read()\n"
        "download(Path(sys.argv[1]), urls=[sys.argv[2]], md5=sys.argv[3])"
    )
    command = [sys.executable, "-c", code, file, mirror.url, MD5]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) for _ in range(3)
    ]
    for process in processes:
        process.stdout.readline()  # it has imported everything
    for process in processes:
        process.stdin.close()
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    for process in processes:
        process.stdout.close()
    assert mirror.requests == [None]
    assert file.read_bytes() == BODY


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_terminals(serve, file, monkeypatch, terminal):
    console = screen(100) if terminal else Console(file=io.StringIO())
    monkeypatch.setattr("lab_engine.base.bar.SECONDS_BETWEEN_UPDATES", 0.0)
    draw_bars_on(console)
    fetch(file, urls=[serve(BODY).url])
    draw_bars_on(None)
    assert ("100%" in console.file.getvalue()) == terminal
    assert terminal or console.file.getvalue() == ""


def test_what_a_continued_download_has_is_counted_from_its_beginning(serve, file):
    mirror = serve(BODY, cut_after=5000)
    failure(file, mirror)
    assert f"broke off after 10000 of {len(BODY)} bytes" in failure(file, mirror)
    assert part_of(file).read_bytes() == BODY[:10_000]
    mirror.cut_after, mirror.ranges = 7000, False  # of all, now
    assert f"broke off after 7000 of {len(BODY)} bytes" in failure(file, mirror)
    assert part_of(file).read_bytes() == BODY[:7000]


def test_a_slow_server_that_keeps_on_is_fast_enough(serve, file, monkeypatch):
    """30 bytes, one in 20 seconds of this clock: the speed is checked after every third byte."""
    seconds = itertools.count(step=20)
    clock = SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr("lab_engine.images.download.time", clock)
    monkeypatch.setattr("lab_engine.images.download.MIN_SPEED", 0.05)
    body = BODY[:30]
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    download(file, urls=[serve(body, drip=0.01).url], md5=md5, stall_seconds=50)
    assert file.read_bytes() == body


def test_a_server_that_nobody_is_behind_is_named(serve, file):
    mirror = refusing(serve)
    assert f"{mirror.url}: Connection refused.\n" in failure(file, mirror)


def test_what_it_does_is_told(serve, file, caplog):
    caplog.set_level("INFO")
    mirror = serve(BODY, cut_after=5000)
    failure(file, mirror)
    failure(file, mirror)
    said = [record.getMessage() for record in caplog.records if record.name == "lab_engine.images.download"]
    assert said == [f"{what} photos.tar.gz from {mirror.url}" for what in ("Downloading", "Continuing")]


def test_progress_goes_on_where_the_file_does(serve, file, monkeypatch):
    console = screen(100, NO_COLOR="1")
    monkeypatch.setattr("lab_engine.base.bar.SECONDS_BETWEEN_UPDATES", 0.0)
    draw_bars_on(console)
    write_part(file, BODY[: len(BODY) // 2])
    fetch(file, urls=[serve(BODY).url])
    draw_bars_on(None)
    shown = re.findall("photos.tar.gz [^%]+% [^\r\x1b\n]*B/s", console.file.getvalue())
    percent = [int(re.search("([0-9]+)%", line)[1]) for line in shown]
    assert percent[0] > 50
    assert percent[-1] == 100


def test_an_error_of_the_server_does_not_spoil_what_is_there(serve, file):
    write_part(file, BODY[:5000])
    assert "HTTP 500" in failure(file, serve(BODY, status=500))
    assert part_of(file).read_bytes() == BODY[:5000]


def test_a_file_of_just_the_allowed_size_arrives_in_folders_that_are_made(serve, file):
    place = file.parent / "of" / "mine" / file.name
    fetch(place, urls=[serve(BODY).url], max_bytes=len(BODY))
    assert place.read_bytes() == BODY
