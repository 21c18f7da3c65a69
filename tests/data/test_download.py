"""Downloads against a local server with byte ranges that can be told to misbehave."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from visionkit.data.download import RemoteFile, download
from visionkit.errors import DataError

CONTENT = np.random.default_rng(0).integers(0, 256, 700_001, dtype=np.uint8).tobytes()
MD5 = "md5:" + hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under any name. `cuts` are numbers of bytes after which the next answers break off."""

    cuts: list[int]
    ranges: list[str | None]
    statuses: list[int]
    honours_ranges = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked and self.server.honours_ranges else 0
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cuts:
            self.wfile.write(body[: self.server.cuts.pop(0)])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        running.cuts, running.ranges, running.statuses = [], [], []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def remote(server: Server, checksum: str = MD5, size: int = len(CONTENT)) -> RemoteFile:
    return RemoteFile(f"{server.address}/data.bin", size, checksum)


def fetch(file: RemoteFile, folder: Path, tries: int = 3) -> Path:
    return download(file, folder, tries=tries, pause=0.0, timeout=5.0)


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_fetches_once(server: Server, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    checksum = f"{kind}:{hashlib.new(kind, CONTENT, usedforsecurity=False).hexdigest()}"
    path = fetch(remote(server, checksum), tmp_path / "deep" / "er")
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    said = capsys.readouterr().err
    assert "0.7 of 0.7 MB (100 %)" in said and "MB/s" in said
    assert fetch(remote(server, checksum), path.parent) == path
    assert len(server.ranges) == 1  # the second call asked the server for nothing


def test_goes_on_after_cut_connections(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000, 250_000]
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=350000-"]


def test_a_further_call_goes_on_where_the_last_stopped(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000, 0, 0]
    with pytest.raises(DataError, match=r"0\.3 MB are kept"):
        fetch(remote(server), tmp_path, tries=2)
    assert [p.name for p in tmp_path.iterdir()] == ["data.bin.part"]
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=300000-"
    assert not (tmp_path / "data.bin.part").exists()


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.honours_ranges = False
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data.bin.*md5.*instead of 0000") as caught:
        fetch(remote(server, "md5:0000"), tmp_path)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_damaged_part_is_found_and_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1000)
    with pytest.raises(DataError, match="md5"):
        fetch(remote(server), tmp_path)
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_a_wrong_file_under_the_final_name_is_not_touched(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"mine")
    with pytest.raises(DataError, match="4 bytes instead of 700001; delete it"):
        fetch(remote(server), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == b"mine" and server.ranges == []


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_another_size_is_refused_before_the_download(server: Server, tmp_path: Path, size: int) -> None:
    with pytest.raises(DataError, match=f"has 700001 bytes, expected were {size}"):
        fetch(remote(server, size=size), tmp_path)
    assert not (tmp_path / "data.bin").exists()


def test_http_errors(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(DataError, match="data.bin: HTTP 404"):
        fetch(remote(server), tmp_path)
    assert len(server.ranges) == 1  # not tried again
    server.statuses = [503, 503]
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_no_server(server: Server, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/data.bin"
    with pytest.raises(DataError, match="cannot be fetched: .*refused") as caught:
        fetch(RemoteFile(address, 10, MD5), tmp_path)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        fetch(remote(server), tmp_path / "file")
