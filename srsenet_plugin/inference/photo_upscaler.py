"""Upscales photographs to a size, each by the weights that suit its file."""

from __future__ import annotations

import functools
from typing import Any

from numpy.typing import NDArray

from srsenet_plugin.inference.photo import Photo
from srsenet_plugin.inference.sizes import AnySizeUpscaler, ResultSize, scale_for
from srsenet_plugin.inference.upscaler import Upscaler
from srsenet_plugin.weights import pretrained

# Up to these qualities, the weights for JPEG score higher (scripts/benchmark_jpeg.py, for WebP with --webp).
JPEG_QUALITY = 95
WEBP_QUALITY = 90


class PhotoUpscaler:
    """Upscales photographs to a size.

    Photographs from JPEG and WebP files with losses go through the package's weights for JPEG, where there are some for
    the scale or for a larger one. The quantisers in the file tell its quality.

    Args:
        size: The size of the results.
        weights: A file of SrSENet's weights, or a name of the package's, for all photographs.
        **options: Of :class:`Upscaler`.

    Attributes:
        jpeg_weights: Names of the weights for JPEG that were used.

    Raises:
        ValueError: The weights or another option do not fit, or no network enlarges so much.
    """

    def __init__(self, size: ResultSize, weights: str | None = None, **options: Any) -> None:
        scales = [pretrained.load_network(weights).upscale] if weights else pretrained.scales()
        if size.scale is not None and size.scale > max(scales):
            raise ValueError(f'{weights or "The weights of the package"} cannot enlarge more than x{max(scales)}.')
        jpeg_weights = {} if weights else {scale: f'srsenet_x{scale}_jpeg' for scale in scales}
        jpeg_weights = {scale: name for scale, name in jpeg_weights.items() if name in pretrained.names()}
        self.jpeg_weights: list[str] = []

        @functools.cache
        def upscaler(name: str | None, scale: int) -> Upscaler:
            if name is not None and name in jpeg_weights.values():
                self.jpeg_weights.append(name)
            return Upscaler(scale, name, **options)

        def upscaler_for_jpeg(scale: int) -> Upscaler:
            return upscaler(jpeg_weights.get(scale, weights), scale)

        # Options that do not fit are mistakes before the first photograph.
        upscaler(weights, scales[0] if size.scale is None else scale_for(size.scale, scales))
        self._upscale = AnySizeUpscaler(size, scales, functools.partial(upscaler, weights))
        # A larger image by weights for JPEG, shrunk, is better than one by weights for clean images.
        largest = max(jpeg_weights, default=0)
        jpeg_scales = [scale for scale in scales if scale in jpeg_weights or scale > largest]
        self._upscale_jpeg = AnySizeUpscaler(size, jpeg_scales, upscaler_for_jpeg)

    def __call__(self, photo: Photo) -> NDArray:
        """Upscales a photograph's pixels.

        Raises:
            ValueError: It would have to be enlarged by more than the largest scale.
            MemoryError: The device's memory does not suffice.
        """
        is_lossy = (photo.jpeg_quality is not None and photo.jpeg_quality <= JPEG_QUALITY) or (
            photo.webp_quality is not None and photo.webp_quality <= WEBP_QUALITY
        )
        return (self._upscale_jpeg if is_lossy else self._upscale)(photo.pixels)
