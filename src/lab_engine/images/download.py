"""Download of one file: checked, continued after an interruption, done by one process only."""

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException, HTTPResponse
from io import BufferedRandom, BufferedReader
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock

from lab_engine.base.atomic_write import continue_beside
from lab_engine.base.bar import Bar
from lab_engine.base.errors import UserError

log = logging.getLogger(__name__)

CHUNK = 1 << 20  # bytes per read at most
MIN_SPEED = 10_000  # bytes per second; a slower address is given up


class _MirrorError(Exception):
    """The file cannot be had from an address; the text is the reason in a few words."""


def download(
    file: Path,
    *,
    urls: Sequence[str],
    md5: str,
    cure: str = "",
    stall_seconds: float = 30.0,
    max_bytes: int = 1 << 30,
) -> None:
    """Make sure that `file` exists with this MD5; if it does, the network is not used.

    Bytes are kept in a temporary file (see `lab_engine.base.atomic_write.continue_beside`) until all have arrived. The
    next address, or a later call, continues there, because all addresses serve the same bytes. Other processes that
    need the file wait.

    Args:
        file: to download to; its folder is made. A file with another MD5 is not changed.
        urls: http or https addresses, tried in this order.
        md5: 32 hexadecimal digits.
        cure: a sentence on what else the user can do, which ends the error's second line.
        stall_seconds: an address is given up after this time without a byte, or slower than `MIN_SPEED`.
        max_bytes: an address is given up when it announces or sends more.

    Raises:
        UserError: no address has the file, it cannot be written, or a file with another MD5 is there.
    """
    _check_addresses(urls)
    md5 = md5.lower()
    try:
        if _is_done(file, md5):
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):
            if not _is_done(file, md5):  # the process that had the lock before may have downloaded it
                path, part = continue_beside(file)
                try:
                    with part:
                        _fetch_from_any(urls, file.name, part, md5, stall_seconds, max_bytes)
                    path.replace(file)
                finally:
                    if path.exists() and not path.stat().st_size:  # nothing to continue
                        path.unlink()
    except _MirrorError as failure:
        raise UserError(
            f"{file.name} could not be downloaded: {failure}.\n"
            f"Run again to continue, or put the file by hand at {file.absolute()} (MD5 {md5}). {cure}".strip()
        ) from failure
    except OSError as error:  # of the disk; network errors have become _MirrorError
        raise UserError(
            f"{file.absolute()} cannot be written or read: {error.strerror or error}.\n"
            f"Free some space in that folder, or make it writable. {cure}".strip()
        ) from error


def _check_addresses(urls: Sequence[str]) -> None:
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise UserError(f"Cannot download from {url!r}: an address must begin with http:// or https://.")


def _is_done(file: Path, md5: str) -> bool:
    if not file.exists():
        return False
    found = _md5(file)
    if found != md5:
        raise UserError(
            f"{file.absolute()} is damaged or another file: its MD5 is {found}, not {md5}.\n"
            "Move it away and run again to download it, or put the right file there."
        )
    return True


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return _md5_of(stream)


def _md5_of(stream: BufferedReader | BufferedRandom) -> str:
    stream.seek(0)
    return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetch_from_any(
    urls: Sequence[str], name: str, part: BufferedRandom, md5: str, stall_seconds: float, max_bytes: int
) -> None:
    failures = []
    for url in urls:
        try:
            _fetch(url, name, part, md5, stall_seconds, max_bytes)
        except _MirrorError as failure:
            failures.append(f"{url}: {failure}")
        else:
            return
    raise _MirrorError("; ".join(failures) or "no address is given")


def _fetch(url: str, name: str, part: BufferedRandom, md5: str, stall_seconds: float, max_bytes: int) -> None:
    continued = _transfer(url, name, part, stall_seconds, max_bytes)
    if _md5_of(part) == md5:
        return
    part.truncate(0)
    if not continued:
        raise _MirrorError("its file has another MD5")
    # The earlier content of `part` may be wrong. It is empty after truncate, so this happens only once.
    _fetch(url, name, part, md5, stall_seconds, max_bytes)


def _transfer(url: str, name: str, part: BufferedRandom, stall_seconds: float, max_bytes: int) -> bool:
    """Write the file to `part`, after its content if the server can start at that byte.

    Returns:
        Whether `part` still begins with its content before the call.
    """
    size = part.seek(0, os.SEEK_END)
    log.info("%s %s from %s", "Continuing" if size else "Downloading", name, url)
    response = _request(url, size, stall_seconds)
    if response is None:
        return True
    continued = size > 0 and response.status == 206
    if not continued:
        size = part.seek(part.truncate(0))
    total = None if response.length is None else size + response.length
    with response, Bar(name, total, "B", size) as bar:
        for chunk in _chunks(response, stall_seconds):
            size += len(chunk)
            if max(size, total or 0) > max_bytes:
                part.truncate(0)  # not worth continuing
                raise _MirrorError(f"more than {max_bytes} bytes")
            part.write(chunk)
            bar.update(size)
        part.flush()
        os.fsync(part.fileno())
    if total is not None and size < total:
        raise _MirrorError(f"broke off after {size} of {total} bytes")
    return continued


def _request(url: str, begin: int, stall_seconds: float) -> HTTPResponse | None:
    """Request the bytes from `begin` on; a server that cannot start there sends all (status 200).

    Returns:
        The response; None if the server has no bytes from `begin` on, so that `part` is complete or wrong.
    """
    headers = {"User-Agent": "lab_engine"}  # some servers refuse urllib's own
    if begin:
        headers["Range"] = f"bytes={begin}-"
    try:
        request = Request(url, headers=headers)  # noqa: S310 (_check_addresses keeps file: and others out)
        response: HTTPResponse = urlopen(request, timeout=stall_seconds)  # noqa: S310
    except HTTPError as error:
        error.close()
        if begin and error.code == 416:
            return None
        raise _MirrorError(" ".join(f"HTTP {error.code} {error.reason}".split())) from error
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a malformed address
        raise _MirrorError(_cause(error, stall_seconds)) from error
    matches = response.headers.get("Content-Range", "").startswith(f"bytes {begin}-")
    if response.status == 200 or (response.status == 206 and matches):
        return response
    response.close()
    if begin and response.status == 206:
        return None
    raise _MirrorError(f"unexpected answer, HTTP {response.status}")


def _chunks(response: HTTPResponse, stall_seconds: float) -> Iterator[bytes]:
    """Yield the body as it arrives.

    Raises:
        _MirrorError: the network failed; therefore an OSError in the loop over the chunks is one of the disk.
    """
    since, arrived = time.monotonic(), 0
    while True:
        try:
            chunk = response.read1(CHUNK)  # unlike read, it does not lose the bytes before a stall
        except (OSError, HTTPException) as error:
            raise _MirrorError(_cause(error, stall_seconds)) from error
        if not chunk:
            return
        yield chunk
        arrived += len(chunk)
        if (seconds := time.monotonic() - since) > stall_seconds:
            if arrived < MIN_SPEED * seconds:
                raise _MirrorError(f"less than {MIN_SPEED:,} bytes a second for {stall_seconds:g} seconds")
            since, arrived = time.monotonic(), 0


def _cause(error: Exception, stall_seconds: float) -> str:
    inner = getattr(error, "reason", error)  # the cause that URLError wraps
    if isinstance(inner, TimeoutError):
        return f"no answer for {stall_seconds:g} seconds"
    text = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return " ".join(text.split()) or type(inner).__name__
