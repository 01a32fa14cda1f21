"""The authors' files of weights: where they are, and their conversions in a folder of the user's.

They are no part of the package, because most of them state no licence.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from srsenet_plugin.data import download
from srsenet_plugin.data.download import RemoteFile
from srsenet_plugin.weights import convert, files


class AuthorsFile(NamedTuple):
    """One file of weights.

    Attributes:
        arch: The architecture.
        scales: Scales that it was trained for.
        remote: The file as published.
    """

    arch: str
    scales: tuple[int, ...]
    remote: RemoteFile

    @property
    def published(self) -> Path:
        """The file as published, on this machine."""
        scale = f'_x{self.scales[0]}' if len(self.scales) == 1 else ''
        return folder() / f'{self.arch}{scale}.mat'

    @property
    def converted(self) -> Path:
        """The same weights as BasicSR's file."""
        return self.published.with_suffix('.pth')


@cache
def known() -> tuple[AuthorsFile, ...]:
    """The lines of authors_files.csv."""
    text = resources.files(__package__).joinpath('authors_files.csv').read_text(encoding='utf-8')
    return tuple(
        AuthorsFile(
            line['arch'],
            tuple(map(int, line['scales'].split())),
            RemoteFile(line['url'], int(line['size']), 'sha256', line['sha256']),
        )
        for line in csv.DictReader(line for line in text.splitlines() if not line.startswith('#'))
    )


def folder() -> Path:
    """``$SRSENET_CACHE``, or ``srsenet_plugin`` in the user's folder of caches."""
    own = os.environ.get('SRSENET_CACHE')
    if own:
        return Path(own)
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'srsenet_plugin'


def find(arch: str, scale: int) -> AuthorsFile | None:
    """The authors' file for an architecture and a scale; None if there is none."""
    return next((file for file in known() if file.arch == arch and scale in file.scales), None)


def fetch(archs: Iterable[str] = ()) -> list[AuthorsFile]:
    """Downloads the authors' files, unless they are there, and converts them.

    Args:
        archs: Architectures, in capitals or not; none for all.

    Raises:
        OSError: A download failed, see :func:`~srsenet_plugin.data.download.fetch`; or a file cannot be written.
        ValueError: Of an architecture there are no files; or one is not the one that was published.
    """
    names = {file.arch.lower(): file.arch for file in known()}
    wanted = {arch.lower() for arch in archs} or names.keys()
    unknown = sorted(wanted - names.keys())
    if unknown:
        raise ValueError(
            f'there are no published weights of {", ".join(unknown)}. There are some of {", ".join(names.values())}.'
        )
    found = [file for file in known() if file.arch.lower() in wanted]
    download.fetch({file.published: file.remote for file in found})
    for file in found:
        files.save(convert.load(file.published) | {'scales': list(file.scales)}, file.converted)
    return found
