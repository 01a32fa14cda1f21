"""How good the images of a validation are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Pixels on a side that SSIM's window needs.
SSIM_WINDOW = 11


def smallest_side(options: Mapping[str, Any]) -> int:
    """Pixels on a side of an image that a metric needs: one, or its window, within the border that is left out.

    Args:
        options: The metric's, of ``val: metrics``.
    """
    return 2 * (options.get('crop_border') or 0) + (SSIM_WINDOW if options.get('type') == 'calculate_ssim' else 1)
