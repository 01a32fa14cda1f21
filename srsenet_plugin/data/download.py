"""Downloads of files whose content is known: checked, and gone on with where an interrupted one has ended."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import requests
from tqdm import tqdm

from srsenet_plugin.data.whole_files import MARK

CHUNK = 1 << 16
# How often the connection may drop without a byte having come through.
ATTEMPTS = 5


class RemoteFile(NamedTuple):
    """A file to download.

    Attributes:
        url: Where it is.
        size: Its bytes.
        algorithm: One of hashlib's.
        digest: Of its content by that algorithm, in hexadecimal.
    """

    url: str
    size: int
    algorithm: str
    digest: str


def fetch(files: Mapping[Path, RemoteFile]) -> None:
    """Downloads files that are not there yet; what an interrupted download has left is gone on with.

    Args:
        files: Origins by the files to make.

    Raises:
        OSError: A download failed; the message lists the files to fetch by hand, and where to put them.
        ValueError: A file there, or one that came, is another.
    """
    for path, remote in files.items():
        if path.exists():
            _check(path, remote)
            continue
        try:
            _download(remote, path)
        except requests.RequestException as error:
            missing = [
                f'  {remote.url} ({remote.size / 1e6:.1f} MB) as {path}'
                for path, remote in files.items()
                if not path.exists()
            ]
            raise OSError(
                f'{remote.url} cannot be downloaded: {error}\nThe same command goes on from what has come. '
                'Or download by hand, and run the command again:\n' + '\n'.join(missing)
            ) from None


def _check(path: Path, remote: RemoteFile) -> None:
    if path.stat().st_size != remote.size:
        raise ValueError(f'{path} has {path.stat().st_size} bytes, not the {remote.size} of {remote.url}. Delete it.')
    found = _digest(path, remote.algorithm)
    if found != remote.digest:
        raise ValueError(
            f'{path} is not what {remote.url} is: its {remote.algorithm} is {found}, not {remote.digest}. Delete it.'
        )


def _download(remote: RemoteFile, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.{MARK}')  # the next process finds it by that name
    part.touch()
    failures = 0
    while (done := part.stat().st_size) < remote.size:
        try:
            _append(remote.url, part, remote.size)
        except requests.RequestException as error:
            failures = failures + 1 if part.stat().st_size == done else 0
            if failures == ATTEMPTS or isinstance(error, requests.HTTPError):
                raise
            time.sleep(failures)
    found = _digest(part, remote.algorithm)
    if part.stat().st_size != remote.size or found != remote.digest:
        part.unlink()
        raise ValueError(
            f'What came from {remote.url} is damaged: its {remote.algorithm} is {found}, not {remote.digest}. '
            'It is deleted; try again.'
        )
    part.rename(path)


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm)
    with path.open('rb') as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _append(url: str, part: Path, size: int) -> None:
    done = part.stat().st_size
    # Servers that compress on the way would count the range in other bytes than those of the file.
    headers = {'Range': f'bytes={done}-', 'Accept-Encoding': 'identity'}
    with requests.get(url, headers=headers, stream=True, timeout=60) as response:
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:  # the server sends it from the start
            done = 0
        with (
            part.open('r+b') as file,
            tqdm(total=size, initial=done, desc=f'Fetch {part.stem}', unit='B', unit_scale=True) as progress,
        ):
            file.seek(done)
            file.truncate()
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                progress.update(len(chunk))
