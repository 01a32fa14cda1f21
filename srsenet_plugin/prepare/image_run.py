"""Runs functions over many images: in threads, in order, within bounded memory, and with account of the bad ones."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from srsenet_plugin.prepare.source_images import BadImageError, Opener, key_of

T = TypeVar('T')

# Lines of a list of defects in an error
MOST_LINES = 20


class ImageRun:
    """Images, of which some may turn out bad.

    Args:
        images: The images by name.
        workers: Threads. Default: one for each processor.
        skip_bad: Leave out bad images instead of raising.

    Attributes:
        left_out: The bad images so far, and why.
    """

    def __init__(self, images: Mapping[str, Opener], workers: int | None, skip_bad: bool) -> None:
        self._images = images
        self._workers = workers or os.cpu_count() or 1
        self._skip_bad = skip_bad
        self.left_out: dict[str, str] = {}

    def check(self, function: Callable[[Opener], T], description: str) -> list[T]:
        """Calls a function that looks at one image, for all of them, and checks that their keys differ.

        Raises:
            ValueError: Some images are bad, all of which are listed; or, if bad ones are skipped, all are.
        """
        first_of_key: dict[str, str] = {}
        for name in self._images:
            first = first_of_key.setdefault(key_of(name), name)
            if first != name:
                self.left_out[name] = f'has the key of {first} in BasicSR, the name up to the first dot; rename one'
        results = [result for _, result in self._run(function, description) if not isinstance(result, BadImageError)]
        if self.left_out and not self._skip_bad:
            raise ValueError(
                f'{len(self.left_out)} of {len(self._images)} images cannot be used; --skip-bad leaves them out.\n'
                + shorten(f'{name} {reason}' for name, reason in self.left_out.items())
            )
        self._check_that_some_are_left()
        return results

    def convert(self, function: Callable[[Opener], T], description: str) -> Iterator[tuple[str, T]]:
        """Calls a function that converts one image, for all that are left.

        Yields:
            tuple[str, T]: The image's name and the function's result, in order.

        Raises:
            ValueError: An image is bad; or, if bad ones are skipped, all are.
        """
        for name, result in self._run(function, description):
            if not isinstance(result, BadImageError):
                yield name, result
            elif not self._skip_bad:
                raise ValueError(f'{name} {result}. --skip-bad leaves such images out.') from result
        self._check_that_some_are_left()

    def _check_that_some_are_left(self) -> None:
        if len(self.left_out) == len(self._images):
            reasons = shorten(f'{name} {reason}' for name, reason in self.left_out.items())
            raise ValueError(f'None of the {len(self._images)} images can be used.\n{reasons}')

    def _run(self, function: Callable[[Opener], T], description: str) -> Iterator[tuple[str, T | BadImageError]]:
        names = [name for name in self._images if name not in self.left_out]
        pending: deque[tuple[str, Future[T]]] = deque()
        pool = ThreadPoolExecutor(self._workers)
        try:
            with tqdm(total=len(names), desc=description, unit='image') as progress:
                for i, name in enumerate(names):
                    pending.append((name, pool.submit(function, self._images[name])))
                    # Results wait for their turn, so the images in flight are bounded, and with them the memory.
                    while pending and (len(pending) > self._workers or i == len(names) - 1):
                        finished, future = pending.popleft()
                        result = self._result(finished, future)
                        yield finished, result
                        progress.update()
        finally:
            pool.shutdown(cancel_futures=True)

    def _result(self, name: str, future: Future[T]) -> T | BadImageError:
        try:
            return future.result()
        except BadImageError as error:
            self.left_out[name] = str(error)
            return error


def shorten(lines: Iterable[str]) -> str:
    """The lines, indented; of many, the first and how many there are more."""
    listed = list(lines)
    more = [f'and {len(listed) - MOST_LINES} more'] if len(listed) > MOST_LINES else []
    return '\n'.join(f'  {line}' for line in (*listed[:MOST_LINES], *more))
