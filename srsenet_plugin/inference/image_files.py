"""Photographs on disk: 8 or 16 bits, with alpha, colour profile and metadata.

Pillow reads and writes them, with two exceptions: 16 bits of colour in PNG, which it would cut down to 8, are for
OpenCV; and TIFF has a module of its own.
"""

from __future__ import annotations

import functools
import io
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffTags, features
from PIL.ExifTags import Base
from PIL.PngImagePlugin import PngInfo

from srsenet_plugin.data.whole_files import whole_file
from srsenet_plugin.inference import tiff_files
from srsenet_plugin.inference.photo import BadPhotoError, Photo, TooManyPixelsError, check_size
from srsenet_plugin.inference.webp_quality import webp_quality
from srsenet_plugin.prepare.source_images import loses_bits

FORMAT_OF_SUFFIX = {
    '.png': 'PNG',
    '.jpg': 'JPEG',
    '.jpeg': 'JPEG',
    '.webp': 'WEBP',
    '.tif': 'TIFF',
    '.tiff': 'TIFF',
    '.bmp': 'BMP',
    '.avif': 'AVIF',
    '.heic': 'HEIF',
    '.heif': 'HEIF',
}

QUALITY = 95
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    'PNG': {'compress_level': 4},  # 3 % larger than by the usual 6, in less than half the time
    'JPEG': {'quality': QUALITY, 'subsampling': 0},
    'WEBP': {'quality': QUALITY},
    'AVIF': {'quality': QUALITY, 'subsampling': '4:4:4'},
    'HEIF': {'quality': QUALITY},
}

NEEDED = {'AVIF': 'Pillow 11.3 for AVIF', 'HEIF': 'pillow-heif for HEIC (pip install pillow-heif)'}

# Tags that describe the photograph and not the file, whose sizes, offsets and compression are not those of the result.
DESCRIPTIVE_TAGS = frozenset(
    {
        Base.ImageDescription,
        Base.Make,
        Base.Model,
        Base.XResolution,
        Base.YResolution,
        Base.ResolutionUnit,
        Base.Software,
        Base.DateTime,
        Base.Artist,
        Base.HostComputer,
        Base.Copyright,
        Base.Rating,
        Base.RatingPercent,
        Base.XPTitle,
        Base.XPComment,
        Base.XPAuthor,
        Base.XPKeywords,
        Base.XPSubject,
        Base.ExifOffset,
        Base.GPSInfo,
    }
)
STALE_EXIF_TAGS = (Base.ExifImageWidth, Base.ExifImageHeight, Base.ExifInteroperabilityOffset)
# By tifffile and ImageJ, which state the image's shape there: older versions of tifffile behind all else.
DESCRIPTION_OF_A_FILE = re.compile(r'ImageJ=|shape=|\{.*"shape":', re.DOTALL)
# ISO/IEC 10918-1, table K.1, which libjpeg takes at quality 50.
SUM_OF_LUMA_TABLE = 3688
# XMP that describes images or films behind the first one, which the result does not have.
XMP_OF_OTHER_PARTS = (b'ns.google.com/photos', b'hdr-gain-map')

METRES_PER_INCH = 0.0254
CENTIMETRES_PER_INCH = 2.54
CENTIMETRE = 3  # of ResolutionUnit


def read_photo(path: str | os.PathLike[str], max_pixels: int) -> Photo:
    """Reads an image, and turns it upright as its EXIF data says.

    Args:
        path: A PNG, JPEG, WebP, TIFF or BMP file; AVIF with Pillow 11.3, HEIC with pillow-heif. Pillow before 11 finds
            no XMP in PNG and JPEG.
        max_pixels: Larger images are refused before they are decoded.

    Raises:
        TooManyPixelsError: It is larger.
        BadPhotoError: It is none of these, truncated or damaged, animated, or of colours that are not understood.
        OSError: The file cannot be read.
    """
    data = Path(path).read_bytes()
    if not data:
        raise BadPhotoError('is empty')
    try:
        with warnings.catch_warnings(), _pillows_limit(max_pixels):
            warnings.simplefilter('ignore')  # the sentences below say it
            photo = _tiff_photo(data, max_pixels) if data.startswith(tiff_files.SIGNATURES) else None
            return photo or _pillows_photo(data, max_pixels)
    except BadPhotoError:
        raise
    except Image.UnidentifiedImageError:
        if data[4:8] == b'ftyp':  # of AVIF and HEIC
            raise BadPhotoError(f'is damaged, or of a format that needs {NEEDED["HEIF"]} or {NEEDED["AVIF"]}') from None
        raise BadPhotoError('is no PNG, JPEG, WebP, TIFF, BMP, AVIF or HEIC image, or its header is damaged') from None
    except Image.DecompressionBombError:
        raise TooManyPixelsError(f'has more than {max_pixels} pixels') from None
    except MemoryError:
        raise BadPhotoError('does not fit into memory') from None
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise BadPhotoError(f'is truncated or damaged ({error})') from error


@functools.cache
def _pillow_has(file_format: str) -> bool:
    """Whether Pillow reads and writes a format, some by a plugin of others or by a library that it was built with."""
    if file_format == 'HEIF':
        try:
            import pillow_heif
        except ImportError:
            return False
        pillow_heif.register_heif_opener()
    Image.init()
    if file_format == 'AVIF' and not features.check('avif'):
        return False
    return file_format in Image.OPEN and file_format in Image.SAVE


@contextmanager
def _pillows_limit(max_pixels: int) -> Iterator[None]:
    """Pillow refuses images of twice as many pixels on its own, in a global variable that is the program's."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _tiff_photo(data: bytes, max_pixels: int) -> Photo | None:
    """A TIFF file, unless it is for Pillow."""
    pixels = tiff_files.read_tiff(data, max_pixels)
    if pixels is None:
        return None
    tags = tiff_files.read_tags(data)
    unit = CENTIMETRES_PER_INCH if tags.get(Base.ResolutionUnit) == CENTIMETRE else 1
    resolution = [tags.get(tag) for tag in (Base.XResolution, Base.YResolution)]
    return Photo(
        _upright(pixels, tags.get(Base.Orientation, 1)),
        tags.get(tiff_files.ICC_PROFILE_TAG, b''),
        _descriptive_exif(tags),
        _xmp(tags.get(tiff_files.XMP_TAG, b'')),
        _dpi([float(value) * unit for value in resolution if value is not None]),
    )


def _pillows_photo(data: bytes, max_pixels: int) -> Photo:
    formats = [file_format for file_format in dict.fromkeys(FORMAT_OF_SUFFIX.values()) if _pillow_has(file_format)]
    with Image.open(io.BytesIO(data), formats=formats) as img:
        # The images behind that of an MPO, which is a JPEG, are for the camera's own use.
        check_size(img.width, img.height, 1 if img.format == 'MPO' else getattr(img, 'n_frames', 1), max_pixels)
        is_grey16 = img.mode.startswith('I;16')
        has_sixteen_bits = is_grey16 or loses_bits(img)
        if img.mode not in ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX') and not is_grey16:
            raise BadPhotoError(f'is a {img.mode} image; convert it to RGB')
        img.load()  # shows damage, also where OpenCV decodes
        pixels = _sixteen_bits(data, img.info.get('transparency')) if has_sixteen_bits else _eight_bits(img)
        try:
            exif = img.getexif()
        except Exception:  # damaged EXIF data raise nearly anything, and are no reason to refuse the image
            exif = Image.Exif()
        return Photo(
            _upright(pixels, exif.get(Base.Orientation, 1)),
            img.info.get('icc_profile') or b'',
            _descriptive_exif(exif),
            _xmp(img.info.get('xmp') or b''),
            _dpi(img.info.get('dpi') or ()),
            _jpeg_quality(img),
            webp_quality(data) if img.format == 'WEBP' else None,
        )


def _jpeg_quality(img: Image.Image) -> int | None:
    """The quality at which libjpeg makes a luma table as coarse; too high below 20, where it clips values."""
    tables = getattr(img, 'quantization', None)
    if not tables or img.format not in ('JPEG', 'MPO'):
        return None
    percent = 100 * sum(tables[min(tables)]) / SUM_OF_LUMA_TABLE
    quality = 100 - percent / 2 if percent <= 100 else 5000 / percent
    return min(max(round(quality), 1), 100)


def _eight_bits(img: Image.Image) -> NDArray[np.uint8]:
    grey = img.mode in ('1', 'L', 'LA')
    if img.has_transparency_data:
        return np.asarray(img.convert('RGBA').convert('LA') if grey else img.convert('RGBA'))
    return np.asarray(img.convert('L' if grey else 'RGB'))


def _sixteen_bits(data: bytes, transparent: int | None = None) -> NDArray[np.uint16]:
    """Decodes by OpenCV, which leaves out the grey value that a PNG declares transparent."""
    img = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if img is None or img.dtype != np.uint16 or (img.ndim == 3 and img.shape[2] not in (3, 4)):
        raise BadPhotoError('is of 16 bits in a way that is not understood; convert it to 8 bits')
    if img.ndim == 3:
        return cv2.cvtColor(img, cv2.COLOR_BGRA2RGBA if img.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    if transparent is None:
        return img
    return np.dstack([img, np.where(img == transparent, 0, 65535).astype(np.uint16)])


def _upright(pixels: NDArray, orientation: int) -> NDArray:
    """Undoes the EXIF orientation: mirrored if it is 2, 4, 5 or 7, and turned."""
    if orientation in (2, 4, 5, 7):
        pixels = pixels[:, ::-1]
    return np.rot90(pixels, {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0))


def _descriptive_exif(stored: Image.Exif) -> bytes:
    """The EXIF data that still hold for the result."""
    try:
        kept = Image.Exif()
        for tag in DESCRIPTIVE_TAGS.intersection(stored):
            value = stored[tag]
            if tag in TiffTags.TAGS_V2_GROUPS:
                group = value if isinstance(value, Mapping) else stored.get_ifd(tag)
                value = {name: group[name] for name in group if name not in STALE_EXIF_TAGS}
            if not (tag == Base.ImageDescription and DESCRIPTION_OF_A_FILE.match(str(value))):
                kept[tag] = value
        return kept.tobytes() if kept else b''
    except Exception:  # damaged EXIF data raise nearly anything, and are no reason to refuse the image
        return b''


def _xmp(xmp: bytes) -> bytes:
    """The XMP data that still hold for the first image, upright."""
    if not isinstance(xmp, bytes) or any(mark in xmp for mark in XMP_OF_OTHER_PARTS):
        return b''
    return re.sub(rb'(tiff:Orientation(?:="|=\'|>))[1-8]', rb'\g<1>1', xmp)


def _dpi(stored: Sequence[float]) -> tuple[float, float] | None:
    if len(stored) != 2 or not all(1 <= value < 2**16 for value in stored):
        return None
    return float(stored[0]), float(stored[1])


def write_photo(photo: Photo, path: Path) -> None:
    """Writes an image in the format that the suffix names. It appears whole or not at all.

    16 bits stay 16 bits in PNG and TIFF, and become 8 in the others. BMP holds no colour profile and no EXIF data.

    Raises:
        BadPhotoError: The format cannot hold such an image, or is unknown.
        OSError: The file cannot be written.
    """
    file_format = FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if file_format is None:
        raise BadPhotoError(f'has a suffix that is none of {", ".join(FORMAT_OF_SUFFIX)}')
    if not _pillow_has(file_format):
        raise BadPhotoError(
            f'cannot be written as {path.suffix}, which needs {NEEDED.get(file_format, "a Pillow with it")}'
        )
    pixels = np.ascontiguousarray(photo.pixels)
    if pixels.dtype == np.uint16 and file_format not in ('PNG', 'TIFF'):
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and file_format in ('JPEG', 'BMP'):
        raise BadPhotoError(f'is to be {file_format}, which holds no alpha; write .png, .webp or .tiff')
    with whole_file(path) as part:
        try:
            if file_format == 'TIFF':
                tiff_files.write_tiff(part, replace(photo, pixels=pixels))
            elif pixels.dtype == np.uint16:
                part.write_bytes(_png_of_sixteen_bits(pixels, photo))
            else:
                metadata = {name: getattr(photo, name) for name in ('icc_profile', 'exif', 'xmp', 'dpi')}
                if file_format == 'PNG' and photo.xmp:
                    metadata['pnginfo'] = PngInfo()
                    metadata['pnginfo'].add_itxt('XML:com.adobe.xmp', photo.xmp.decode(errors='replace'))
                options = SAVE_OPTIONS.get(file_format, {}) | {key: value for key, value in metadata.items() if value}
                Image.fromarray(pixels).save(part, file_format, **options)
        except (ValueError, struct.error) as error:
            raise BadPhotoError(f'cannot be written as {file_format} ({error})') from None


def _png_of_sixteen_bits(pixels: NDArray[np.uint16], photo: Photo) -> bytes:
    if pixels.ndim == 3:
        if pixels.shape[2] == 2:  # which OpenCV does not write
            pixels = pixels[..., [0, 0, 0, 1]]
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    png = cv2.imencode('.png', pixels)[1].tobytes()
    chunks = b''
    if photo.icc_profile:
        chunks += _png_chunk(b'iCCP', b'ICC profile\0\0' + zlib.compress(photo.icc_profile))
    if photo.exif:
        chunks += _png_chunk(b'eXIf', photo.exif.removeprefix(b'Exif\0\0'))
    if photo.xmp:
        chunks += _png_chunk(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0' + photo.xmp)
    if photo.dpi:
        per_metre = (round(value / METRES_PER_INCH) for value in photo.dpi)
        chunks += _png_chunk(b'pHYs', struct.pack('>IIB', *per_metre, 1))
    header = 8 + 25  # signature and IHDR
    return png[:header] + chunks + png[header:]


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
