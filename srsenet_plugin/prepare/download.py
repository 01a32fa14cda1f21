"""Fetches DIV2K's archive of HR training images."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import requests
from tqdm import tqdm

from srsenet_plugin.data.whole_files import MARK

URL = 'https://data.vision.ee.ethz.ch/cvl/DIV2K/DIV2K_train_HR.zip'
SIZE = 3_530_603_713
MD5 = 'bdc2d9338d4e574fe81bf7d158758658'

CHUNK = 1 << 16
# How often the connection may drop without a byte having come through.
ATTEMPTS = 5


def fetch_div2k(path: Path) -> None:
    """Downloads DIV2K_train_HR.zip, unless it is there; what an interrupted download has left is gone on with.

    Args:
        path: The archive to make.

    Raises:
        OSError: The download failed; the message says what to fetch by hand, and where to put it.
        ValueError: The file there, or the one that came, is not the archive.
    """
    fetch(URL, path, SIZE, MD5)


def fetch(url: str, path: Path, size: int, md5: str) -> None:
    """Downloads a file whose size and MD5 are known, as :func:`fetch_div2k` does."""
    if path.exists():
        if path.stat().st_size != size:
            raise ValueError(f'{path} has {path.stat().st_size} bytes, not the {size} of {url}. Delete it.')
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.{MARK}')  # the next process finds it by that name
    part.touch()
    failures = 0
    while (done := part.stat().st_size) < size:
        try:
            _append(url, part, size)
        except requests.RequestException as error:
            failures = failures + 1 if part.stat().st_size == done else 0
            if failures == ATTEMPTS or isinstance(error, requests.HTTPError):
                raise OSError(
                    f'{url} cannot be downloaded: {error}\nThe same command goes on from what has come, {part}. '
                    f'Or download it by hand, {size / 1e9:.1f} GB, and put it at {path}.'
                ) from None
            time.sleep(failures)
    digest = hashlib.md5()
    with part.open('rb') as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    found = digest.hexdigest()
    if part.stat().st_size != size or found != md5:
        part.unlink()
        raise ValueError(f'What came from {url} is damaged: its MD5 is {found}, not {md5}. It is deleted; try again.')
    part.rename(path)


def _append(url: str, part: Path, size: int) -> None:
    done = part.stat().st_size
    with requests.get(url, headers={'Range': f'bytes={done}-'}, stream=True, timeout=60) as response:
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
