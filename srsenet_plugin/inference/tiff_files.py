"""TIFF files of 8 or 16 bits, whose layouts Pillow knows only some of: tifffile decodes them."""

from __future__ import annotations

import io
import logging
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, TiffTags
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from srsenet_plugin.inference.photo import BadPhotoError, Photo, check_size

if TYPE_CHECKING:  # slow to import, and most photographs are no TIFF files
    import tifffile

logging.getLogger('tifffile').addHandler(logging.NullHandler())  # the errors raised here say it

SIGNATURES = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')

# Values of PhotometricInterpretation, ExtraSamples and PlanarConfiguration.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
UNSPECIFIED, ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA = 0, 1, 2
SEPARATE_PLANES = 2

XMP_TAG, ICC_PROFILE_TAG = 700, 34675
# Bytes of pixels. Offsets of a TIFF have 32 bits, those of a BigTIFF 64.
LARGEST_CLASSIC_TIFF = 2**32 - 2**24
PILLOW_WRITES_BIG_TIFF = tuple(map(int, PIL.__version__.split('.')[:2])) >= (11, 1)
CLASSIC_HEADER, BIG_HEADER = b'II*\0' + bytes(4), b'II+\0\x08\0\0\0' + bytes(8)


def read_tiff(data: bytes, max_pixels: int) -> NDArray | None:
    """The pixels as stored, or None for what Pillow reads: palettes, YCbCr and other colours, less or more bits.

    Returns:
        Shape (H, W), (H, W, 2), (H, W, 3) or (H, W, 4), uint8 or uint16; RGB, alpha last and unassociated.

    Raises:
        BadPhotoError: The layout or the compression is not understood, the image is too large or one of several, or
            pixels are missing.
        Exception: Whatever tifffile raises on damaged files.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        check_size(page.imagewidth, page.imagelength, len(tiff.pages), max_pixels)
        if page.bitspersample > 8 and page.bitspersample % 16:
            raise BadPhotoError(f'has {page.bitspersample} bits a channel; convert it to 16 bits')
        if page.dtype not in (np.uint8, np.uint16) or page.bitspersample != 8 * page.dtype.itemsize:
            return None
        if page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
            return None
        values = _stored_values(data, page)
        if values is None:
            return None
    num_colours = 3 if page.photometric == RGB else 1
    num_extra = values.shape[2] - num_colours
    # Files that do not say so hold alpha. What a file calls unspecified is none.
    extra = page.extrasamples[0] if page.extrasamples else UNASSOCIATED_ALPHA
    if num_extra not in (0, 1) or (num_extra and page.photometric == WHITE_IS_ZERO):
        raise BadPhotoError('is a TIFF of a rare layout; convert it to PNG')
    if page.photometric == WHITE_IS_ZERO:
        values = ~values
    if num_extra and extra == UNSPECIFIED:
        values = values[..., :num_colours]
    elif num_extra and extra == ASSOCIATED_ALPHA:
        values = _unassociated(values)
    return values[..., 0] if values.shape[2] == 1 else values


def _stored_values(data: bytes, page: tifffile.TiffPage) -> NDArray | None:
    """The values (H, W, C), or None for a compression that Pillow knows."""
    # tifffile reads on without tags that it cannot understand.
    is_complete = Base.Compression in page.tags and len(page.dataoffsets) == math.prod(page.chunked)
    if not is_complete or not all(page.dataoffsets) or not all(page.databytecounts):
        raise BadPhotoError('is truncated or damaged (a part of the pixels is missing)')
    separate = page.planarconfig == SEPARATE_PLANES and page.samplesperpixel > 1
    try:
        values = page.asarray()
    except ValueError as error:
        if 'imagecodecs' not in str(error):  # the package by which tifffile does LZW and others
            raise
        if separate:
            raise BadPhotoError(
                f'is a TIFF with its channels one after the other, compressed by {_compression_of(page)}, which needs '
                'imagecodecs (pip install imagecodecs); or save it with its channels interleaved'
            ) from None
        return None if page.bitspersample == 8 else _by_opencv(data, page)
    values = values.reshape(*values.shape, 1) if values.ndim == 2 else values
    return np.moveaxis(values, 0, 2) if separate else values


def _by_opencv(data: bytes, page: tifffile.TiffPage) -> NDArray[np.uint16]:
    """The values (H, W, C) of 16 bits with interleaved channels, by the libtiff in OpenCV."""
    orientation = page.tags.get(Base.Orientation)
    if orientation is not None:  # or OpenCV would turn it
        place = orientation.valueoffset
        data = data[:place] + struct.pack(f'{page.parent.byteorder}H', 1) + data[place + 2 :]
    img = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if img is None or img.dtype != np.uint16 or img.size != page.size:
        raise BadPhotoError(
            f'is truncated or damaged, or compressed by {_compression_of(page)} in a way that needs imagecodecs '
            '(pip install imagecodecs)'
        )
    if img.ndim == 2:
        return img[..., None]
    return cv2.cvtColor(img, cv2.COLOR_BGRA2RGBA if img.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _compression_of(page: tifffile.TiffPage) -> str:
    import tifffile

    return tifffile.COMPRESSION(page.compression).name


def _unassociated(pixels: NDArray) -> NDArray:
    """Divides the colours by alpha, by which they have been multiplied."""
    white = np.iinfo(pixels.dtype).max
    colours, alpha = pixels[..., :-1].astype(np.uint32), pixels[..., -1:].astype(np.uint32)
    colours = np.minimum((colours * white + alpha // 2) // np.maximum(alpha, 1), white)
    return np.concatenate([np.where(alpha == 0, 0, colours), alpha], 2).astype(pixels.dtype)


def read_tags(data: bytes) -> Image.Exif:
    """The tags of the first image, with EXIF and GPS data as dictionaries.

    Raises:
        Exception: Whatever Pillow raises on damaged files.
    """
    file = io.BytesIO(data)
    header = data[: len(BIG_HEADER if data[2:4] in (b'+\0', b'\0+') else CLASSIC_HEADER)]
    directory = ImageFileDirectory_v2(header)
    file.seek(directory.next)
    directory.load(file)
    tags = Image.Exif()
    for tag, value in directory.items():
        if tag in TiffTags.TAGS_V2_GROUPS:
            group = ImageFileDirectory_v2(header, group=tag)
            file.seek(value)
            group.load(file)
            tags[tag] = dict(group)
        else:
            tags[tag] = value
    return tags


def write_tiff(path: Path, photo: Photo) -> None:
    """Writes 8 or 16 bits uncompressed, with all metadata.

    Raises:
        BadPhotoError: It would have more than 4 GB, and Pillow is too old for that.
    """
    pixels = photo.pixels
    is_big = pixels.nbytes > LARGEST_CLASSIC_TIFF
    if is_big and not PILLOW_WRITES_BIG_TIFF:
        raise BadPhotoError(
            'would be a TIFF of more than 4 GB, which needs Pillow 11.1 (pip install -U pillow); write .png'
        )
    directory = ImageFileDirectory_v2(BIG_HEADER if is_big else CLASSIC_HEADER)
    if photo.exif:
        exif = Image.Exif()
        exif.load(photo.exif)
        for tag in exif:
            directory[tag] = exif.get_ifd(tag) if tag in TiffTags.TAGS_V2_GROUPS else exif[tag]
    if photo.dpi:
        directory[Base.XResolution], directory[Base.YResolution] = photo.dpi
        directory[Base.ResolutionUnit] = 2  # inch
    for tag, data_type, value in (
        (ICC_PROFILE_TAG, TiffTags.UNDEFINED, photo.icc_profile),
        (XMP_TAG, TiffTags.BYTE, photo.xmp),
    ):
        if value:
            directory.tagtype[tag] = data_type
            directory[tag] = value
    num_channels = pixels.shape[2] if pixels.ndim == 3 else 1
    directory[Base.ImageWidth], directory[Base.ImageLength] = pixels.shape[1], pixels.shape[0]
    directory[Base.BitsPerSample] = (8 * pixels.itemsize,) * num_channels
    directory[Base.Compression] = 1  # none
    directory[Base.PhotometricInterpretation] = RGB if num_channels > 2 else BLACK_IS_ZERO
    directory[Base.SamplesPerPixel] = num_channels
    if num_channels in (2, 4):
        directory[Base.ExtraSamples] = UNASSOCIATED_ALPHA
    directory[Base.RowsPerStrip] = pixels.shape[0]
    for tag in (Base.StripOffsets, Base.StripByteCounts):
        directory.tagtype[tag] = TiffTags.LONG8 if is_big else TiffTags.LONG
    directory[Base.StripByteCounts] = pixels.nbytes
    directory[Base.StripOffsets] = 0  # behind the directory, once that is saved
    with path.open('wb') as file:
        directory.save(file)
        pixels.astype(pixels.dtype.newbyteorder('<'), copy=False).tofile(file)
