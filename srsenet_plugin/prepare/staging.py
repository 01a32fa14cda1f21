"""All or nothing, for folders that belong together."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def staging_folder(path: Path) -> Iterator[Path]:
    """A folder whose folders move up beside it when the block has ended, and are deleted if it raises.

    However the process dies, the next one that stages here finishes a move that had begun, and otherwise starts clean.

    Args:
        path (Path): The folder; there must be nothing of value in it.

    Raises:
        FileExistsError: Another process is staging here.
        OSError: The disk is full.
    """
    path.mkdir(parents=True, exist_ok=True)
    complete = path / 'complete'
    lock = FileLock(path / 'lock')
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


def _move_out(path: Path) -> None:
    for folder in _folders(path):
        folder.rename(path.parent / folder.name)


def _folders(path: Path) -> list[Path]:
    return [entry for entry in sorted(path.iterdir()) if entry.is_dir()]
