"""Finds and reads HR images: in a folder, in a zip archive, or in any storage that mmengine's fileio knows."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps

SUFFIXES = frozenset({'.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp'})
# Of which Pillow is to try to read a file, whatever its suffix.
PILLOW_FORMATS = ('BMP', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')


class Opener(Protocol):
    """What opens one image of a source."""

    def __call__(self) -> AbstractContextManager[IO[bytes]]:
        """Opens the image's file."""

    def crc(self) -> int:
        """CRC-32 of the file, the same in a folder and in a zip archive."""


@dataclass(frozen=True)
class _Member:
    archive: zipfile.ZipFile
    name: str

    def __call__(self) -> AbstractContextManager[IO[bytes]]:
        return self.archive.open(self.name)

    def crc(self) -> int:
        return self.archive.getinfo(self.name).CRC


@dataclass(frozen=True)
class _StoredFile:
    backend: Any
    uri: str

    @contextmanager
    def __call__(self) -> Iterator[IO[bytes]]:
        with self.backend.get_local_path(self.uri) as path, open(path, 'rb') as file:
            yield file

    def crc(self) -> int:
        found = 0
        with self() as file:
            while chunk := file.read(1 << 20):
                found = zlib.crc32(chunk, found)
        return found


class BadImageError(ValueError):
    """An image that cannot be used; the message says why, without its name."""


@contextmanager
def open_source(source: str | os.PathLike[str], stem_end: str = '') -> Iterator[dict[str, Opener]]:
    """Lists the images of a source.

    Args:
        source: A folder, a zip archive, or the URI of either in a storage of mmengine's, such as
            ``s3://bucket/photos``. Of an archive the images of all its folders are taken.
        stem_end: Take only images whose names end like this before the suffix. Default: all.

    Yields:
        For each image, sorted by name, its full name and what opens it as long as the block lasts.

    Raises:
        ValueError: The source is none of these, holds no images, or two of one name.
    """
    source = os.fspath(source)
    prefix = source.partition('://')[0] if '://' in source else ''
    try:
        from mmengine import fileio  # slow to import, and photographs need none of it

        backend = fileio.get_file_backend(source)
    except KeyError:
        raise ValueError(f'{source}: mmengine knows no storage {prefix}://') from None
    if source.lower().endswith('.zip'):
        with _open_archive(source, backend) as archive:
            names = [name for name in archive.namelist() if not name.startswith('__MACOSX/')]
            yield _images(source, names, stem_end, lambda name: _Member(archive, name))
    else:
        if prefix and not hasattr(backend, 'list_dir_or_file'):
            raise ValueError(f'{source}: {prefix}:// cannot list folders. Name a zip archive.')
        if not backend.isdir(source):
            raise ValueError(
                f'{source} is not a folder. Name the folder, or the zip archive, that holds the HR images.'
            )
        names = list(backend.list_dir_or_file(source, list_dir=False))
        yield _images(source, names, stem_end, lambda name: _StoredFile(backend, backend.join_path(source, name)))


@contextmanager
def _open_archive(source: str, backend: Any) -> Iterator[zipfile.ZipFile]:
    with backend.get_local_path(source) as path:
        try:
            archive = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise ValueError(f'{source} does not exist.') from None
        except zipfile.BadZipFile:
            raise ValueError(f'{source} is no complete zip archive. Fetch it again.') from None
        with archive:
            yield archive


def _images(source: str, names: list[str], stem_end: str, opener_of: Callable[[str], Opener]) -> dict[str, Opener]:
    images = [
        name
        for name in map(PurePosixPath, names)
        if name.suffix.lower() in SUFFIXES and not name.name.startswith('.') and name.stem.endswith(stem_end)
    ]
    if not images:
        raise ValueError(f'{source} holds no images ({", ".join(sorted(SUFFIXES))}).')
    images.sort(key=lambda name: (name.name, name))
    twice = sorted({str(name) for name, count in Counter(images).items() if count > 1})
    if twice:
        raise ValueError(
            f'{source} holds two files of one name, of which only the last can be read: {", ".join(twice)}. '
            'Make it anew with one of each.'
        )
    return {f'{source}/{name}': opener_of(str(name)) for name in images}


def key_of(name: str) -> str:
    """The key of an image in BasicSR: its file's name up to the first dot."""
    return PurePosixPath(name).name.split('.')[0]


def read_size(opener: Opener) -> tuple[int, int]:
    """Height and width of an image, as stored, from its header alone.

    Raises:
        BadImageError: It is not an image, or of a kind that cannot be stored as 8-bit grey or RGB without loss.
    """
    with _reading(opener) as img:
        return img.height, img.width


def read_image(opener: Opener) -> NDArray[np.uint8]:
    """Decodes an image, turned upright as its EXIF orientation says.

    Returns:
        Shape (H, W) or (H, W, 3), RGB, uint8.

    Raises:
        BadImageError: As for :func:`read_size`; or it is truncated or damaged, or partly transparent.
    """
    with _reading(opener) as stored:
        img: Image.Image = stored
        ImageOps.exif_transpose(img, in_place=True)
        mode = 'L' if img.mode in ('1', 'L', 'LA') else 'RGB'
        if img.has_transparency_data:
            img = img.convert('RGBA')
            if img.getchannel('A').getextrema() != (255, 255):
                raise BadImageError('is partly transparent; flatten it onto a background')
        return np.asarray(img.convert(mode))


@contextmanager
def _reading(opener: Opener) -> Iterator[ImageFile.ImageFile]:
    try:
        with opener() as file, Image.open(file, formats=PILLOW_FORMATS) as img:
            if img.mode.startswith(('I', 'F')) or loses_bits(img):
                raise BadImageError('has more than 8 bits a channel; convert it to 8 bits')
            if img.mode not in ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA'):
                raise BadImageError(f'is a {img.mode} image; convert it to RGB')
            num_images = getattr(img, 'n_frames', 1)
            if num_images > 1 and img.format != 'MPO':  # JPEG, with others for the camera's own use
                raise BadImageError(f'holds {num_images} images; save each as a file of its own')
            yield img
    except BadImageError:
        raise
    except Image.UnidentifiedImageError:
        raise BadImageError('is not an image, or its header is damaged') from None
    except Exception as error:  # damaged files make decoders and zipfile raise nearly anything
        raise BadImageError(f'is truncated or damaged ({error})') from error


def loses_bits(img: ImageFile.ImageFile) -> bool:
    """Whether Pillow would convert the image to 8 bits to decode it, by a TIFF's tags or the decoder's arguments."""
    if max(getattr(img, 'tag_v2', {}).get(ExifTags.Base.BitsPerSample, (8,))) > 8:
        return True
    for codec, _, _, args in img.tile:
        rawmode, *others = args if isinstance(args, tuple) else (args,)
        if ';16' in str(rawmode) or (codec.startswith('ppm') and others[0] > 255):
            return True
    return False


def crop_to_multiple(img: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """Cuts off rows and columns at the end, shape (H, W) or (H, W, C), until both are multiples."""
    height, width = (side // multiple * multiple for side in img.shape[:2])
    return img[:height, :width]
