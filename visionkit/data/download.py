"""Fetches a file over HTTP so that it is whole or not there: resumed after a cut, checked by size and checksum.

Bytes gather in `NAME.part`; the final name appears in one rename, after the check. A further call goes on where the
last one stopped.
"""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from visionkit.data.progress import Progress
from visionkit.errors import DataError

_CHUNK = 1 << 18
_MEGA = 1e6
_TRANSIENT = (408, 429, 500, 502, 503, 504)  # HTTP answers that a further try may change


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address, with what it must turn out to be."""

    url: str
    size: int  # bytes
    checksum: str  # "md5:HEX" or "sha256:HEX"

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]


def download(remote: RemoteFile, folder: Path, tries: int = 5, pause: float = 1.0, timeout: float = 60.0) -> Path:
    """Fetches `remote` into `folder` and returns its path; a file that is there and right is not fetched again.

    tries: how often in a row the server may fail without a single new byte; pause: seconds before the second try,
    doubled each time; timeout: seconds of silence that count as a failure.

    DataError, one sentence: no connection, an HTTP error, another size or checksum than expected (the bytes are then
    removed), a folder that cannot be written.
    """
    final = folder / remote.name
    part = folder / f"{remote.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if final.exists():
            _verify(final, remote, "delete it to fetch it again")
            return final
        _fetch(remote, part, tries, pause, timeout)
        try:
            _verify(part, remote, "what was fetched has been removed")
        except DataError:
            part.unlink()
            raise
        os.replace(part, final)
    except OSError as error:
        raise DataError(f"{final}: cannot be written: {error.strerror or error}.") from error
    return final


def _fetch(remote: RemoteFile, part: Path, tries: int, pause: float, timeout: float) -> None:
    """Appends to `part` until it has the expected size."""
    failures = 0
    with Progress(f"fetching {remote.name}", remote.size, "MB", scale=_MEGA) as progress:
        progress.start_at(_length(part))
        while (before := _length(part)) != remote.size:
            if before > remote.size:
                part.unlink()
                continue
            reason = "the connection was cut"
            try:
                with open(part, "ab") as file:
                    for chunk in _chunks(remote, before, timeout):
                        if chunk is None:  # the server ignores ranges: from the start
                            file.truncate(0)
                            progress.start_at(0)
                            continue
                        file.write(chunk)
                        progress.advance(len(chunk))
            except _ConnectionFailed as error:
                reason = str(error)
            failures = 0 if _length(part) > before else failures + 1
            if failures >= tries:
                if not _length(part):
                    part.unlink()
                kept = f" ({_length(part) / _MEGA:.1f} MB are kept; run again to go on)" if _length(part) else ""
                raise DataError(f"{remote.url}: cannot be fetched: {reason}{kept}.")
            if failures:
                time.sleep(pause * 2 ** (failures - 1))


class _ConnectionFailed(Exception):
    """A fault of the network or the server that a further try may mend; kept apart from faults of the disk."""


def _chunks(remote: RemoteFile, start: int, timeout: float) -> Iterator[bytes | None]:
    """The bytes from `start` on; a leading None says that they are those from 0 on instead."""
    request = urllib.request.Request(remote.url, headers={"User-Agent": "visionkit"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with _open(request, timeout) as answer:
        if start and answer.status != 206:
            yield None
            start = 0
        elif start and not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {start}-"):
            raise DataError(f"{remote.url}: the server sent another range than the one asked for.")
        length = answer.headers.get("Content-Length")
        if length is not None and start + int(length) != remote.size:
            raise DataError(f"{remote.url}: the server has {start + int(length)} bytes, expected were {remote.size}.")
        while chunk := _read(answer):
            start += len(chunk)
            if start > remote.size:
                raise DataError(f"{remote.url}: the server sends more than the expected {remote.size} bytes.")
            yield chunk


def _open(request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
        return answer
    except urllib.error.HTTPError as error:
        reason = f"HTTP {error.code} {error.reason}"
        if error.code in _TRANSIENT:
            raise _ConnectionFailed(reason) from error
        raise DataError(f"{request.full_url}: {reason}.") from error
    except urllib.error.URLError as error:
        raise _ConnectionFailed(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _ConnectionFailed(str(error) or type(error).__name__) from error


def _read(answer: http.client.HTTPResponse) -> bytes:
    """What has arrived, at least a byte; nothing at the end, and also at a silent cut: the caller counts bytes."""
    try:
        return answer.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _ConnectionFailed(str(error) or type(error).__name__) from error


def _verify(path: Path, remote: RemoteFile, consequence: str) -> None:
    if _length(path) != remote.size:
        raise DataError(f"{path}: {_length(path)} bytes instead of {remote.size}; {consequence}.")
    kind, _, expected = remote.checksum.partition(":")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if found != expected:
        raise DataError(f"{path}: its {kind} is {found} instead of {expected}; {consequence}.")


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
