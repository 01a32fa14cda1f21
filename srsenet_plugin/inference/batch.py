"""Upscales files and folders of photographs, as ``srsenet upscale`` does."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from srsenet_plugin.inference.image_files import FORMATS, read_photo, write_photo
from srsenet_plugin.machine.allocator import return_free_memory


@dataclass
class Report:
    """What became of the images.

    Attributes:
        written (list[Path]): Files that were written.
        left_alone (list[Path]): Files that were there already.
        failed (dict[Path, str]): Images that could not be upscaled, and why.
    """

    written: list[Path] = field(default_factory=list)
    left_alone: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)


def upscale_files(
    inputs: Sequence[str],
    out: Path | None,
    scale: int,
    upscale: Callable[[NDArray], NDArray],
    overwrite: bool = False,
    max_pixels: int | None = None,
) -> Report:
    """Upscales images one after the other. One that fails does not stop the others.

    Args:
        inputs (Sequence[str]): Files, folders with all that is below them, and patterns such as ``*.jpg``.
        out (Path | None): A folder, for PNGs of the same names; for a single file, a file too. None for files
            ``NAME_x4.png`` beside the images.
        scale (int): For those names.
        upscale (Callable): Upscales pixels, such as an ``Upscaler``.
        overwrite (bool): Replace files that are there. Default: False.
        max_pixels (int, optional): Larger images are refused. Default: Pillow's limit.

    Raises:
        ValueError: There are no images to upscale, or no place for the results.
        OSError: The folder for the results cannot be made.
    """
    if max_pixels is None:
        max_pixels = Image.MAX_IMAGE_PIXELS or sys.maxsize
    Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow refuses on its own what is twice as large
    targets = find_targets(inputs, out, scale)
    report = Report()
    sources: dict[Path, Path] = {}
    for source, target in tqdm(targets.items(), 'upscaled', unit='image', disable=None):
        first = sources.setdefault(target, source)
        if first != source:
            report.failed[source] = f'would be written to {target}, as {first} is'
        elif target.exists() and target.samefile(source):
            report.failed[source] = 'would be written over; name another folder with -o'
        elif target.exists() and not overwrite:
            report.left_alone.append(target)
        else:
            try:
                photo = read_photo(source, max_pixels)
                target.parent.mkdir(parents=True, exist_ok=True)
                write_photo(replace(photo, pixels=upscale(photo.pixels)), target)
                report.written.append(target)
            except OSError as error:
                place = target if error.filename is None else error.filename
                report.failed[source] = f'({"" if place == str(source) else f"{place}: "}{error.strerror or error})'
            except MemoryError as error:
                report.failed[source] = f'{error}; --precision bf16 needs less, and --tile 512 less still'
            except ValueError as error:
                report.failed[source] = str(error)
            return_free_memory()
    return report


def find_targets(inputs: Sequence[str], out: Path | None, scale: int) -> dict[Path, Path]:
    """The images to upscale, and the files to write.

    Raises:
        ValueError: There are no images, or no place for the results.
    """
    found = dict(pair for name in inputs for pair in _find(name, out))
    if out is not None and out.suffix.lower() in FORMATS and not out.is_dir():
        if len(found) > 1 or len(inputs) > 1 or os.path.isdir(inputs[0]):
            raise ValueError(f'{out} is one file: for several images, name a folder with -o.')
        return dict.fromkeys(found, out)
    if out is None:
        if any(os.path.isdir(name) for name in inputs):
            raise ValueError('for folders of images, name a folder for the results with -o.')
        return {source: source.with_name(f'{source.stem}_x{scale}.png') for source in found}
    return {source: out / relative.with_suffix('.png') for source, relative in found.items()}


def _find(name: str, out: Path | None) -> Iterator[tuple[Path, Path]]:
    """Images that a file, a folder or a pattern names, and their names in a folder for the results."""
    path = Path(name)
    if path.is_dir():
        images = sorted(file for file in path.rglob('*') if file.suffix.lower() in FORMATS and file.is_file())
        if out is not None and path.resolve() in out.resolve().parents:  # what an earlier run has made
            images = [image for image in images if out.resolve() not in image.resolve().parents]
        if not images:
            raise ValueError(f'{name} holds no images ({", ".join(FORMATS)}).')
        yield from ((image, image.relative_to(path)) for image in images)
    elif path.exists() or not glob.has_magic(name):
        yield path, Path(path.name)
    else:
        files = sorted(file for file in map(Path, glob.glob(name, recursive=True)) if file.is_file())
        if not files:
            raise ValueError(f'{name}: there are no such files.')
        yield from ((file, Path(file.name)) for file in files)
