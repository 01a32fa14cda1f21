"""All or nothing, for folders that belong together."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from srsenet_plugin.data.whole_files import MARK

LOCK = f'{MARK}.lock'
"""In each staging folder, by which it is known as one."""


@contextmanager
def staging_folder(path: Path) -> Iterator[Path]:
    """A folder whose folders move up beside it when the block has ended, and are deleted if it raises.

    However the process dies, the next one that stages here finishes a move that had begun, and otherwise starts clean.

    Args:
        path: The folder, as :func:`place_beside` names it.

    Raises:
        FileExistsError: Another process is staging here, or the folder is there and was not made by this function.
        OSError: The disk is full.
    """
    path.mkdir(parents=True, exist_ok=True)
    if not (path / LOCK).is_file() and any(path.iterdir()):
        raise FileExistsError(f'{path} holds something that was not put there by this command. Move or rename it.')
    complete = path / 'complete'
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FileExistsError(
            f'{path} is in use: another process makes the same data. Wait until it is done.'
        ) from None
    try:
        if complete.exists():
            _move_out(path)
            complete.unlink()
        for leftover in _folders(path):
            shutil.rmtree(leftover)
        yield path
        complete.touch()
        _move_out(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                f'The disk of {path.parent} is full. What was written there has been deleted again.'
            ) from error
        raise
    finally:
        lock.release()
        if not (complete.exists() and _folders(path)):  # else the move failed, and can be repeated
            shutil.rmtree(path, ignore_errors=True)


def place_beside(path: Path) -> Path:
    """The staging folder for what becomes ``path``, or has its name in common."""
    return path.with_name(f'{path.name}.{MARK}')


def _move_out(path: Path) -> None:
    for folder in _folders(path):
        folder.rename(path.parent / folder.name)


def _folders(path: Path) -> list[Path]:
    return [entry for entry in sorted(path.iterdir()) if entry.is_dir()]
