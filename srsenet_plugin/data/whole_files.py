"""Files that appear whole or not at all: made under a name that nobody else has, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = 'srsenet-part'
"""In the name of whatever is not complete yet. Nothing without it is ever removed."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Replaces a file when the block ends, and leaves it as it was if the block raises.

    The permissions are those of a file that ``open`` makes. However the process or the machine dies, the file is the
    old one or the new one. What a process that was killed leaves is for :func:`remove_leftovers`.

    Args:
        path: The file to make, in a folder that exists.

    Yields:
        An empty file to write to, in the same folder and with the same suffix.

    Raises:
        OSError: The file cannot be written. The error names ``path``, not the temporary file.
    """
    part = _new_name(path)
    try:
        part.touch(exist_ok=False)
        yield part
        with part.open('r+b') as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if str(error.filename) == str(part):
            error.filename = os.fspath(path)
        raise
    finally:
        with suppress(OSError):  # a file system that has become read-only does not let itself be tidied
            part.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Deletes the files that processes of this package, killed since, have left in a folder."""
    for part in folder.glob(f'.{MARK}-*'):
        if part.is_file():
            part.unlink(missing_ok=True)


def _new_name(path: Path) -> Path:
    # Short, so that it fits where the name itself just does. Some writers go by the suffix; none knows a longer one.
    return path.with_name(f'.{MARK}-{secrets.token_hex(8)}{path.suffix[-16:]}')
