"""Freed memory: whether glibc's allocator keeps it or gives it back."""

from __future__ import annotations

import ctypes
import functools
import sys

# Of malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def return_free_memory() -> None:
    """Gives freed memory back to the system. Images of many sizes would leave more and more of it in pieces."""
    libc = _libc()
    if libc:
        libc.malloc_trim(0)


def keep_freed_memory() -> None:
    """Keeps freed memory for the next allocations, from now on.

    By default, glibc takes each large block from the system and gives it back when it is freed. A training step frees
    and allocates all its features, and the system clears their pages each time, which can take longer than computing
    them.
    """
    libc = _libc()
    if libc:
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


@functools.cache
def _libc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == 'linux' else None
    return libc if hasattr(libc, 'mallopt') and hasattr(libc, 'malloc_trim') else None  # musl has neither
