from __future__ import annotations

import hashlib
import io
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srsenet_plugin import cli
from srsenet_plugin.data.whole_files import MARK
from srsenet_plugin.prepare import download

CONTENT = bytes(range(256)) * 20_000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT, of which each connection gets so many bytes at most."""

    at_most = len(CONTENT)
    ranges = True
    content = CONTENT
    status = 0
    requests: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers['Range']
        self.server.requests.append(wanted)
        start = int(wanted.removeprefix('bytes=').removesuffix('-')) if self.server.ranges else 0
        body = self.server.content[start:]
        self.send_response(self.server.status or (206 if self.server.ranges else 200))
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.at_most])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(('127.0.0.1', 0), Handler) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)


def fetch(server: Server, path: Path, content: bytes = CONTENT) -> None:
    url = f'http://127.0.0.1:{server.server_address[1]}/archive.zip'
    download.fetch(url, path, len(content), hashlib.md5(content).hexdigest())


def test_goes_on_after_drops(server: Server, tmp_path: Path) -> None:
    server.at_most = 2_000_000
    path = tmp_path / 'new/archive.zip'
    fetch(server, path)
    assert path.read_bytes() == CONTENT
    assert [path.name for path in path.parent.iterdir()] == ['archive.zip']
    assert len(server.requests) == 3
    assert len(set(server.requests)) == 3
    fetch(server, path)
    assert len(server.requests) == 3


def test_goes_on_with_what_another_run_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / f'archive.zip.{MARK}').write_bytes(CONTENT[:1_000_000])
    fetch(server, tmp_path / 'archive.zip')
    assert (tmp_path / 'archive.zip').read_bytes() == CONTENT
    assert server.requests == ['bytes=1000000-']


def test_a_server_without_ranges(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / f'archive.zip.{MARK}').write_bytes(b'?' * 1_000_000)
    fetch(server, tmp_path / 'archive.zip')
    assert (tmp_path / 'archive.zip').read_bytes() == CONTENT


def test_gives_up_when_nothing_comes(server: Server, tmp_path: Path) -> None:
    server.at_most = 0
    with pytest.raises(OSError, match='cannot be downloaded'):
        fetch(server, tmp_path / 'archive.zip')
    assert len(server.requests) == download.ATTEMPTS


def test_a_page_that_is_gone(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(OSError, match='404'):
        fetch(server, tmp_path / 'archive.zip')
    assert len(server.requests) == 1


@pytest.mark.parametrize('wrong', [CONTENT[:-1] + b'?', CONTENT + b'?'])
def test_another_file_is_not_taken(server: Server, tmp_path: Path, wrong: bytes) -> None:
    server.content = wrong
    with pytest.raises(ValueError, match=r'is damaged: its MD5 is .* It is deleted; try again'):
        fetch(server, tmp_path / 'archive.zip')
    assert list(tmp_path.iterdir()) == []
    (tmp_path / 'archive.zip').write_bytes(wrong + b'?')
    with pytest.raises(ValueError, match=rf'has {len(wrong) + 1} bytes, not the {len(CONTENT)} of'):
        fetch(server, tmp_path / 'archive.zip')


def test_without_network_it_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{nobody_listens.getsockname()[1]}/DIV2K_train_HR.zip'
        monkeypatch.setattr(download, 'URL', url)
        assert cli.main(['prepare', 'div2k', '--download', '--out', str(tmp_path / 'DIV2K')]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f'srsenet: {url} cannot be downloaded: ')
    assert f'download it by hand, 3.5 GB, and put it at {tmp_path}/DIV2K/DIV2K_train_HR.zip' in printed


def test_download_and_pack(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The literal command, but for where the archive comes from."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w') as members, members.open('DIV2K_train_HR/0001.png', 'w') as member:
        Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(member, 'PNG')
    server.content = archive.getvalue()
    monkeypatch.setattr(download, 'URL', f'http://127.0.0.1:{server.server_address[1]}/DIV2K_train_HR.zip')
    monkeypatch.setattr(download, 'SIZE', len(server.content))
    monkeypatch.setattr(download, 'MD5', hashlib.md5(server.content).hexdigest())
    command = ['prepare', 'div2k', '--download', '--out', str(tmp_path)]
    assert cli.main(command) == 0
    assert (tmp_path / 'DIV2K_train_HR.lmdb/meta_info.txt').read_text() == '0001.png (128,128,3) 0\n'
    (tmp_path / 'DIV2K_train_HR.zip').unlink()
    assert cli.main(command) == 0
    assert len(server.requests) == 1
