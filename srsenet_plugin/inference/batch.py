"""Upscales files and folders of photographs, as ``srsenet upscale`` does."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from srsenet_plugin.inference.image_files import FORMAT_OF_SUFFIX, read_photo, write_photo
from srsenet_plugin.inference.photo import Photo
from srsenet_plugin.machine.allocator import return_free_memory


class NoPlaceError(ValueError):
    """The results have no place of their own; the message says why."""


@dataclass
class UpscaledFiles:
    """The fate of each image.

    Attributes:
        written: Files that were written.
        left_alone: Files that were there already.
        left_out: Results of an earlier run among the images, and the images that they are results of.
        failed: Images that could not be upscaled, and why.
    """

    written: list[Path] = field(default_factory=list)
    left_alone: list[Path] = field(default_factory=list)
    left_out: dict[Path, Path] = field(default_factory=dict)
    failed: dict[Path, Exception] = field(default_factory=dict)


def upscale_files(
    inputs: Sequence[str],
    out: Path | None,
    label: str,
    upscale: Callable[[Photo], NDArray],
    overwrite: bool = False,
    max_pixels: int | None = None,
    same_format: bool = False,
) -> UpscaledFiles:
    """Upscales images one after the other. One that fails does not stop the others.

    Args:
        inputs: Files, folders with all that is below them, and patterns such as ``*.jpg``. Folders give no hidden
            files.
        out: A folder, for PNGs of the same names; for a single file, a file too. None for files ``NAME_x4.png`` beside
            the images.
        label: For those names, such as ``x4``.
        upscale: Gives the pixels of the result, such as a ``PhotoUpscaler``.
        overwrite: Replace files that are there.
        max_pixels: Larger images are refused. Default: Pillow's limit.
        same_format: Keep the images' suffixes instead of writing PNGs.

    Raises:
        NoPlaceError: There is no place for the results.
        ValueError: There are no images to upscale.
        OSError: The folder for the results cannot be made.
    """
    if max_pixels is None:
        max_pixels = Image.MAX_IMAGE_PIXELS or sys.maxsize
    targets = find_targets(inputs, out, label, same_format)
    files = UpscaledFiles(left_out=find_results(targets, beside=out is None))
    sources: dict[Path, Path] = {}
    found = set(map(_real, targets))
    for source, target in tqdm(targets.items(), 'upscaled', unit='image', disable=None):
        if source in files.left_out:
            continue
        first = sources.setdefault(target, source)
        try:
            if first != source:
                raise NoPlaceError(f'would be written to {target}, as {first} is')
            if target.exists() and target.samefile(source):
                raise NoPlaceError('would be written over')
            if target.exists() and not overwrite:
                files.left_alone.append(target)
                continue
            if out is not None and _real(target) in found:
                raise NoPlaceError(f'would be written over {target}, which is one of the images')
            photo = read_photo(source, max_pixels)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_photo(replace(photo, pixels=upscale(photo)), target)
            files.written.append(target)
        except (OSError, MemoryError, ValueError) as error:
            if isinstance(error, OSError) and error.filename is None:
                error.filename = os.fspath(target)
            files.failed[source] = error
        return_free_memory()
    return files


def find_targets(inputs: Sequence[str], out: Path | None, label: str, same_format: bool = False) -> dict[Path, Path]:
    """The images to upscale, and the files to write.

    Raises:
        NoPlaceError: There is no place for the results.
        ValueError: There are no images.
    """

    def suffix_for(image: Path) -> str:
        return image.suffix if same_format else '.png'

    found = dict(pair for name in inputs for pair in _find(name, out))
    if out is None:
        if any(map(os.path.isdir, inputs)):
            raise NoPlaceError('the results of a folder of images need a folder of their own.')
        return {source: source.with_name(f'{source.stem}_{label}{suffix_for(source)}') for source in found}
    if out.suffix and not os.path.isdir(out):
        if out.suffix.lower() not in FORMAT_OF_SUFFIX:
            raise ValueError(
                f'{out} has a suffix that is none of {", ".join(FORMAT_OF_SUFFIX)}. To have a folder of that name, '
                'make it first.'
            )
        if len(found) > 1 or len(inputs) > 1 or os.path.isdir(inputs[0]):
            raise NoPlaceError(f'{out} is one file, for several images.')
        return dict.fromkeys(found, out)
    return {source: out / relative.with_suffix(suffix_for(source)) for source, relative in found.items()}


def find_results(targets: dict[Path, Path], beside: bool) -> dict[Path, Path]:
    """The images that are results of others among them, as a pattern finds them when it is used again.

    A result is a file that another image is to be written to. Where results are written beside the images, it is also a
    PNG, or a file of the same suffix, that is called like one of them with ``_x4``, ``_x2.5``, ``_w3000`` and so on at
    its end.

    Args:
        targets: The images, and the files to write.
        beside: Results are written beside the images.

    Returns:
        The results, and the images that they are results of.
    """
    source_of = {_real(target): source for source, target in reversed(targets.items())}
    by_stem = {_real(source.with_suffix('')): source for source in targets}
    results = {}
    for image in targets:
        original = source_of.get(_real(image))
        name = re.fullmatch(r'(.+)_(x[\d.]+|[wh]\d+)', image.stem, re.DOTALL)
        if original is None and beside and name:
            namesake = by_stem.get(_real(image.with_name(name[1])))
            original = namesake if namesake and image.suffix in ('.png', namesake.suffix) else None
        if original not in (None, image):
            results[image] = original
    return results


def _real(path: Path) -> str:
    return os.path.realpath(path)


def _find(name: str, out: Path | None) -> Iterator[tuple[Path, Path]]:
    """Images that a file, a folder or a pattern names, and their names in a folder for the results."""
    path = Path(name)
    if os.path.isdir(name):
        files = (file for file in path.rglob('*') if file.suffix.lower() in FORMAT_OF_SUFFIX and file.is_file())
        images = sorted(file for file in files if not _is_hidden(file.relative_to(path)))
        images = list(_outside(out, path, images))
        if not images:
            raise ValueError(f'{name} holds no images ({", ".join(FORMAT_OF_SUFFIX)}).')
        yield from ((image, image.relative_to(path)) for image in images)
    elif os.path.exists(name) or not glob.has_magic(name):
        yield path, Path(path.name)
    else:
        images = sorted(file for file in map(Path, glob.glob(name, recursive=True)) if file.is_file())
        images = list(_outside(out, _fixed_part(name), images))
        if not images:
            raise ValueError(f'{name}: there are no such files.')
        yield from ((image, Path(image.name)) for image in images)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith('.') for part in path.parts)


def _fixed_part(pattern: str) -> Path:
    """The folder that a pattern names before its first part with wildcards."""
    folder = Path(pattern)
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return folder


def _outside(out: Path | None, folder: Path, images: Iterable[Path]) -> Iterator[Path]:
    """The images of a folder that are not in the folder for the results below it, where an earlier run wrote them."""
    below = out.resolve() if out is not None and folder.resolve() in out.resolve().parents else None
    return (image for image in images if below is None or below not in image.resolve().parents)
