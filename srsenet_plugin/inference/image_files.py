"""Photographs on disk: 8 or 16 bits, with alpha, colour profile and EXIF data.

Pillow reads and writes them, but for 16 bits of colour, which it would cut down to 8: OpenCV and tifffile do these.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from srsenet_plugin.data.whole_files import whole_file
from srsenet_plugin.prepare.source_images import loses_bits

FORMATS = {
    '.png': 'PNG',
    '.jpg': 'JPEG',
    '.jpeg': 'JPEG',
    '.webp': 'WEBP',
    '.tif': 'TIFF',
    '.tiff': 'TIFF',
    '.bmp': 'BMP',
}
"""Formats by suffix."""

QUALITY = 95
SAVE_OPTIONS: dict[str, dict[str, Any]] = {'JPEG': {'quality': QUALITY, 'subsampling': 0}, 'WEBP': {'quality': QUALITY}}


class BadPhotoError(ValueError):
    """An image that cannot be read or written; the message says why, without its name."""


@dataclass(frozen=True)
class Photo:
    """An upright image.

    Attributes:
        pixels (ndarray): Shape (H, W), (H, W, 2), (H, W, 3) or (H, W, 4), uint8 or uint16; RGB, alpha last.
        icc_profile (bytes): Colour profile, or nothing.
        exif (bytes): EXIF data without the orientation, or nothing.
    """

    pixels: NDArray
    icc_profile: bytes = b''
    exif: bytes = b''


def read_photo(path: str | os.PathLike[str], max_pixels: int) -> Photo:
    """Reads an image, and turns it upright as its EXIF data says.

    Args:
        path (str | PathLike): A PNG, JPEG, WebP, TIFF or BMP file.
        max_pixels (int): Larger images are refused before they are decoded.

    Raises:
        BadPhotoError: It is none of these, truncated or damaged, animated, too large, or of colours that are not
            understood.
        OSError: The file cannot be read.
    """
    data = Path(path).read_bytes()
    if not data:
        raise BadPhotoError('is empty')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the sentences below say it
            with Image.open(io.BytesIO(data), formats=list(dict.fromkeys(FORMATS.values()))) as img:
                _check(img, max_pixels)
                has_sixteen_bits = loses_bits(img) or img.mode.startswith('I;16')
                img.load()  # shows damage, also in what is decoded by others
                pixels = _sixteen_bits(data) if has_sixteen_bits else _pixels(img)
                exif = img.getexif()
                pixels = _upright(pixels, exif.pop(ExifTags.Base.Orientation, 1))
                return Photo(pixels, img.info.get('icc_profile') or b'', exif.tobytes() if exif else b'')
    except BadPhotoError:
        raise
    except Image.UnidentifiedImageError:
        raise BadPhotoError('is no PNG, JPEG, WebP, TIFF or BMP image, or its header is damaged') from None
    except Image.DecompressionBombError:
        raise BadPhotoError(f'has more than {max_pixels} pixels; --max-pixels allows more') from None
    except MemoryError:
        raise BadPhotoError('does not fit into memory') from None
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise BadPhotoError(f'is truncated or damaged ({error})') from error


def _check(img: ImageFile.ImageFile, max_pixels: int) -> None:
    if img.width * img.height > max_pixels:
        raise BadPhotoError(
            f'has {img.width}x{img.height} pixels, more than {max_pixels} in all; --max-pixels allows more'
        )
    num_images = getattr(img, 'n_frames', 1)
    if num_images > 1 and img.format != 'MPO':  # JPEG, with others for the camera's own use
        raise BadPhotoError(f'holds {num_images} images; save the one you want as a file of its own')
    if img.mode not in ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX') and not img.mode.startswith('I;16'):
        raise BadPhotoError(f'is a {img.mode} image; convert it to RGB')


def _pixels(img: Image.Image) -> NDArray:
    grey = img.mode in ('1', 'L', 'LA')
    if img.has_transparency_data:
        return np.asarray(img.convert('RGBA').convert('LA') if grey else img.convert('RGBA'))
    return np.asarray(img.convert('L' if grey else 'RGB'))


def _sixteen_bits(data: bytes) -> NDArray[np.uint16]:
    img = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if img is None or img.dtype != np.uint16 or (img.ndim == 3 and img.shape[2] not in (3, 4)):
        raise BadPhotoError('is of 16 bits in a way that is not understood; convert it to 8 bits')
    if img.ndim == 3:
        img = cv2.cvtColor(img, cv2.COLOR_BGRA2RGBA if img.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return img


def _upright(pixels: NDArray, orientation: int) -> NDArray:
    """Undoes the EXIF orientation: mirrored if it is 2, 4, 5 or 7, and turned."""
    if orientation in (2, 4, 5, 7):
        pixels = pixels[:, ::-1]
    return np.rot90(pixels, {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0))


def write_photo(photo: Photo, path: Path) -> None:
    """Writes an image in the format that the suffix tells; whole or not at all.

    16 bits stay 16 bits in PNG and TIFF, and become 8 in the others. BMP holds no colour profile and no EXIF data.

    Raises:
        BadPhotoError: The format cannot hold such an image, or is unknown.
        OSError: The file cannot be written.
    """
    file_format = FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise BadPhotoError(f'has a suffix that is none of {", ".join(FORMATS)}')
    pixels = np.ascontiguousarray(photo.pixels)
    if pixels.dtype == np.uint16 and file_format not in ('PNG', 'TIFF'):
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and file_format in ('JPEG', 'BMP'):
        raise BadPhotoError(f'is to be {file_format}, which holds no alpha; write .png, .webp or .tiff')
    try:
        with whole_file(path) as part:
            _write(pixels, photo, file_format, part)
    except ValueError as error:
        raise BadPhotoError(f'cannot be written as {file_format} ({error})') from None


def _write(pixels: NDArray, photo: Photo, file_format: str, path: Path) -> None:
    if pixels.dtype == np.uint8:
        img = Image.fromarray(pixels)
        metadata = {'icc_profile': photo.icc_profile, 'exif': photo.exif}
        options = SAVE_OPTIONS.get(file_format, {}) | {name: value for name, value in metadata.items() if value}
        img.save(path, file_format, **options)
    elif file_format == 'PNG':
        path.write_bytes(_png_of_sixteen_bits(pixels, photo))
    else:
        tifffile.imwrite(
            path,
            pixels,
            photometric='rgb' if pixels.ndim == 3 else 'minisblack',
            extrasamples=['unassalpha'] if pixels.shape[2:] == (4,) else None,
            iccprofile=photo.icc_profile or None,
        )


def _png_of_sixteen_bits(pixels: NDArray[np.uint16], photo: Photo) -> bytes:
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    png = cv2.imencode('.png', pixels)[1].tobytes()
    chunks = b''
    if photo.icc_profile:
        chunks += _png_chunk(b'iCCP', b'ICC profile\0\0' + zlib.compress(photo.icc_profile))
    if photo.exif:
        chunks += _png_chunk(b'eXIf', photo.exif.removeprefix(b'Exif\0\0'))
    header = 8 + 25  # signature and IHDR
    return png[:header] + chunks + png[header:]


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
