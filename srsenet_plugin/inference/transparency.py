"""The colour that transparent pixels hide."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def without_hidden_colour(image: NDArray) -> NDArray:
    """Gives pixels whose alpha is 0 the colour of the nearest visible pixel.

    Whatever mixes neighbours, as networks and resizing do, would mix the hidden colour, often black, into the visible
    edges.

    Args:
        image: Shape (H, W) or (H, W, C); alpha is the last of 2 or 4 channels.

    Returns:
        The image itself if it hides nothing, or everything.
    """
    if image.ndim == 2 or image.shape[2] not in (2, 4):
        return image
    hidden = image[..., -1] == 0
    if not hidden.any() or hidden.all():
        return image
    _, labels = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.empty((labels.max() + 1, image.shape[2] - 1), image.dtype)
    nearest[labels[~hidden]] = image[~hidden, :-1]
    filled = image.copy()
    filled[hidden, :-1] = nearest[labels[hidden]]
    return filled
