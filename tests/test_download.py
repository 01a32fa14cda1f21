from __future__ import annotations

import gzip
import hashlib
import io
import re
import shutil
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from srsenet_plugin import VDSR, cli
from srsenet_plugin.compare.networks import find_network
from srsenet_plugin.data import download
from srsenet_plugin.data.download import RemoteFile
from srsenet_plugin.data.whole_files import MARK
from srsenet_plugin.prepare import div2k
from srsenet_plugin.weights import authors_files, files
from srsenet_plugin.weights.authors_files import AuthorsFile

CONTENT = bytes(range(256)) * 20_000


class Server(ThreadingHTTPServer):
    """Serves CONTENT, or files by their paths, of which each connection gets so many bytes at most."""

    at_most = len(CONTENT)
    ranges = True
    content = CONTENT
    files: dict[str, bytes]
    status = 0
    requests: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers['Range']
        self.server.requests.append(wanted)
        start = int(wanted.removeprefix('bytes=').removesuffix('-')) if self.server.ranges else 0
        body = self.server.files.get(self.path, self.server.content)
        if 'gzip' in (self.headers['Accept-Encoding'] or ''):  # as GitHub does: ranges are those of what is sent
            body = gzip.compress(body)
        body = body[start:]
        self.send_response(self.server.status or (206 if self.server.ranges else 200))
        self.send_header('Content-Length', str(len(body)))
        if 'gzip' in (self.headers['Accept-Encoding'] or ''):
            self.send_header('Content-Encoding', 'gzip')
        self.end_headers()
        self.wfile.write(body[: self.server.at_most])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(('127.0.0.1', 0), Handler) as server:
        server.requests = []
        server.files = {}
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, 'sleep', lambda seconds: None)


def fetch(server: Server, path: Path, content: bytes = CONTENT) -> None:
    download.fetch({path: remote(server, 'archive.zip', content)})


def remote(server: Server, name: str, content: bytes) -> RemoteFile:
    url = f'http://127.0.0.1:{server.server_address[1]}/{name}'
    return RemoteFile(url, len(content), 'sha256', hashlib.sha256(content).hexdigest())


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
    with pytest.raises(ValueError, match=r'is damaged: its sha256 is .* It is deleted; try again'):
        fetch(server, tmp_path / 'archive.zip')
    assert list(tmp_path.iterdir()) == []
    (tmp_path / 'archive.zip').write_bytes(wrong + b'?')
    with pytest.raises(ValueError, match=rf'has {len(wrong) + 1} bytes, not the {len(CONTENT)} of'):
        fetch(server, tmp_path / 'archive.zip')
    (tmp_path / 'archive.zip').write_bytes(CONTENT[:-1] + b'?')
    with pytest.raises(ValueError, match=r'archive.zip is not what http.* is: its sha256 is .* Delete it'):
        fetch(server, tmp_path / 'archive.zip')


def test_without_network_it_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{nobody_listens.getsockname()[1]}/DIV2K_train_HR.zip'
        monkeypatch.setattr(div2k, 'TRAIN_HR', div2k.TRAIN_HR._replace(url=url))
        assert cli.main(['prepare', 'div2k', '--download', '--out', str(tmp_path / 'DIV2K')]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f'srsenet: {url} cannot be downloaded: ')
    assert f'Or download by hand, and run the command again:\n  {url} (3530.6 MB) as {tmp_path}/DIV2K/DIV2K' in printed


def test_download_and_pack(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The literal command, but for where the archive comes from."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w') as members, members.open('DIV2K_train_HR/0001.png', 'w') as member:
        Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(member, 'PNG')
    server.content = archive.getvalue()
    monkeypatch.setattr(div2k, 'TRAIN_HR', remote(server, 'DIV2K_train_HR.zip', server.content))
    command = ['prepare', 'div2k', '--download', '--out', str(tmp_path)]
    assert cli.main(command) == 0
    assert (tmp_path / 'DIV2K_train_HR.lmdb/meta_info.txt').read_text() == '0001.png (128,128,3) 0\n'
    (tmp_path / 'DIV2K_train_HR.zip').unlink()
    assert cli.main(command) == 0
    assert len(server.requests) == 1


# The authors' weights


def save_srcnn(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = {'weights_conv1': (81, 64), 'weights_conv2': (64, 25, 32), 'weights_conv3': (32, 25)}
    biases = {f'biases_conv{i}': (size, 1) for i, size in ((1, 64), (2, 32), (3, 1))}
    scipy.io.savemat(path, {name: rng.normal(0, 0.05, shape) for name, shape in (shapes | biases).items()})


def save_vdsr(path: Path) -> None:
    weights, biases = np.empty((1, 20), object), np.empty((1, 20), object)
    for i, (name, value) in enumerate(VDSR().state_dict().items()):
        place = biases if name.endswith('bias') else weights
        place[0, i // 2] = value.numpy().reshape(-1, 1) if value.dim() == 1 else value.numpy().transpose(2, 3, 1, 0)
    scipy.io.savemat(path, {'model': {'weight': weights, 'bias': biases}})


@pytest.fixture
def authors(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Two files of SRCNN and one of VDSR, which differ, on the server; and an empty cache."""
    monkeypatch.setenv('SRSENET_CACHE', str(tmp_path / 'cache'))
    found = []
    for arch, scales, name in (('SRCNN', (2,), 'x2.mat'), ('SRCNN', (4,), 'x4.mat'), ('VDSR', (2, 3, 4), 'vdsr.mat')):
        path = tmp_path / name
        if arch == 'SRCNN':
            save_srcnn(path, seed=scales[0])
        else:
            save_vdsr(path)
        server.files[f'/{name}'] = path.read_bytes()
        found.append(AuthorsFile(arch, scales, remote(server, name, path.read_bytes())))
    monkeypatch.setattr(authors_files, 'known', lambda: tuple(found))
    return server.files


def test_fetched_weights_know_their_scales(
    server: Server, authors: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    server.at_most = 100_000
    assert cli.main(['fetch', 'srcnn']) == 0
    cache = tmp_path / 'cache'
    names = [f'SRCNN_x{scale}.{kind}' for scale in (2, 4) for kind in ('mat', 'pth')]
    assert sorted(path.name for path in cache.iterdir()) == names
    url = f'http://127.0.0.1:{server.server_address[1]}/x4.mat'
    assert capfd.readouterr().out.splitlines()[1] == f'{cache}/SRCNN_x4.pth: SRCNN x4, {url}'
    x = torch.rand(1, 1, 5, 6)
    for scale in (2, 4):
        assert files.load(cache / f'SRCNN_x{scale}.pth')['scales'] == [scale]
        fetched = find_network('SRCNN', scale, cache / f'SRCNN_x{scale}.pth').build()
        with torch.no_grad():
            assert torch.equal(fetched(x), find_network('SRCNN', scale, tmp_path / f'x{scale}.mat').build()(x))
    assert find_network('SRCNN', 2, cache / 'SRCNN_x4.pth').no_weights == f'{cache}/SRCNN_x4.pth is for x4'
    asked = len(server.requests)
    assert asked > 2
    assert cli.main(['fetch', 'SRCNN']) == 0
    assert len(server.requests) == asked
    assert cli.main(['fetch']) == 0
    assert files.load(cache / 'VDSR.pth')['scales'] == [2, 3, 4]


def test_fetched_weights_are_those_that_were_published(
    server: Server, authors: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    whole = authors['/x4.mat']
    authors['/x4.mat'] = whole[:-1] + bytes([whole[-1] ^ 1])
    assert cli.main(['fetch', 'SRCNN']) == 1
    assert 'x4.mat is damaged: its sha256 is ' in capfd.readouterr().err
    assert [path.name for path in (tmp_path / 'cache').iterdir()] == ['SRCNN_x2.mat']
    (tmp_path / 'cache/SRCNN_x4.mat').write_bytes(authors['/x4.mat'])  # by hand
    assert cli.main(['fetch', 'SRCNN']) == 1
    assert f'{tmp_path}/cache/SRCNN_x4.mat is not what http' in capfd.readouterr().err
    (tmp_path / 'cache/SRCNN_x4.mat').write_bytes(whole)
    assert cli.main(['fetch', 'SRCNN']) == 0
    assert cli.main(['fetch', 'EDSR', 'VDSR']) == 1
    assert 'srsenet: there are no published weights of edsr. There are some of SRCNN, VDSR.' in capfd.readouterr().err


def test_weights_can_be_fetched_by_hand(
    server: Server, authors: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    server.status = 503
    assert cli.main(['fetch']) == 1
    cache, host = tmp_path / 'cache', f'http://127.0.0.1:{server.server_address[1]}'
    printed = capfd.readouterr().err
    assert f'srsenet: {host}/x2.mat cannot be downloaded: 503' in printed
    by_hand = {'x2.mat': 'SRCNN_x2.mat', 'x4.mat': 'SRCNN_x4.mat', 'vdsr.mat': 'VDSR.mat'}
    sizes = {name: f'{len(authors[f"/{name}"]) / 1e6:.1f} MB' for name in by_hand}
    assert printed.splitlines()[-3:] == [f'  {host}/{n} ({sizes[n]}) as {cache}/{to}' for n, to in by_hand.items()]
    for name, target in by_hand.items():
        shutil.copy(tmp_path / name, cache / target)
    assert cli.main(['fetch']) == 0
    assert len(server.requests) == 1


def test_the_authors_files_are_the_published_ones(shared_datasets: Path) -> None:
    """By size and digest, and converted for all scales of each."""
    published = shared_datasets.parent / 'weights/published'
    if not published.is_dir():
        pytest.skip(f'there is no {published}')
    digests = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in published.glob('*.mat')}
    for file in authors_files.known():
        path = digests[file.remote.digest]
        assert path.stat().st_size == file.remote.size
        assert path.name.startswith(file.arch)
        assert len(file.scales) == 3 or path.stem.endswith(f'x{file.scales[0]}')
        pinned = r'https://raw\.githubusercontent\.com/[\w.-]+/[\w.-]+/[0-9a-f]{40}/[\w/.-]+'
        assert re.fullmatch(pinned, file.remote.url)
    known = {(file.arch, scale) for file in authors_files.known() for scale in file.scales}
    assert known == {('LapSRN', 2), ('LapSRN', 4), ('LapSRN', 8)} | {
        (arch, scale) for arch in ('VDSR', 'SRCNN', 'FSRCNN') for scale in (2, 3, 4)
    }


@pytest.mark.parametrize(
    ('variables', 'folder'),
    [
        ({'SRSENET_CACHE': '/a', 'XDG_CACHE_HOME': '/b'}, '/a'),
        ({'SRSENET_CACHE': '', 'XDG_CACHE_HOME': '/b'}, '/b/srsenet_plugin'),
        ({'SRSENET_CACHE': '', 'XDG_CACHE_HOME': '', 'HOME': '/c'}, '/c/.cache/srsenet_plugin'),
    ],
)
def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert authors_files.folder() == Path(folder)
