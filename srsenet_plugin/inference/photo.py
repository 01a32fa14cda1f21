"""A photograph in memory, and the errors that say why a file is none."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import NDArray


class BadPhotoError(ValueError):
    """An image that cannot be read or written; the message says why, without its name."""


class TooManyPixelsError(BadPhotoError):
    """An image larger than the caller allows."""


@dataclass(frozen=True)
class Photo:
    """An upright image.

    Attributes:
        pixels: Shape (H, W), (H, W, 2), (H, W, 3) or (H, W, 4), uint8 or uint16; RGB, alpha last and unassociated.
        icc_profile: Colour profile, or nothing.
        exif: EXIF data that describe the photograph, without orientation and sizes, or nothing.
        xmp: XMP data, or nothing.
        dpi: Pixels per inch, horizontal and vertical.
        jpeg_quality: Quality of the JPEG file that it was read from, 1 to 100 as libjpeg counts it.
        webp_quality: Quality of the lossy WebP file that it was read from, 0 to 100 as libwebp counts it.
    """

    pixels: NDArray
    icc_profile: bytes = b''
    exif: bytes = b''
    xmp: bytes = b''
    dpi: tuple[float, float] | None = None
    jpeg_quality: int | None = None
    webp_quality: int | None = None


def check_size(width: int, height: int, num_images: int, max_pixels: int) -> None:
    """Refuses files of several images, and images that are too large.

    Raises:
        TooManyPixelsError: There are more than ``max_pixels``.
        BadPhotoError: There are several images.
    """
    if width * height > max_pixels:
        raise TooManyPixelsError(f'has {width}x{height} pixels, more than {max_pixels} in all')
    if num_images > 1:
        raise BadPhotoError(f'holds {num_images} images; save the one you want as a file of its own')
