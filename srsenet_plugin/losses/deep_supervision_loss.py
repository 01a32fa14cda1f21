"""The loss of networks that predict more than one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class DeepSupervisionLoss(nn.Module):
    """Applies a loss to every image that a network predicts: LapSRN's at all levels, DRCN's after all recursions.

    LapSRN (Lai et al., section 3.2) adds up the losses of its levels, each against the GT image shrunk to its size by
    bicubic interpolation: ``intermediate_weight: 1``. DRCN (Kim et al.) weighs the mean of its D
    intermediate losses with alpha and the final one with 1 - alpha: ``intermediate_weight: alpha / (1 - alpha) / D``,
    up to a factor.

    Args:
        loss: Options of the loss, of any registered type.
        intermediate_weight: Weight of each image but the last. Default: 1.0.
        loss_weight: Factor of all. Default: 1.0.

    Raises:
        KeyError: There is no loss of that type.
    """

    def __init__(self, loss: Mapping[str, Any], intermediate_weight: float = 1.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        from basicsr.losses import build_loss

        self.loss = build_loss(dict(loss))
        self.intermediate_weight = intermediate_weight
        self.loss_weight = loss_weight
        self.reduction = self.loss.reduction

    def forward(self, pred: Tensor | Sequence[Tensor], target: Tensor, **kwargs: Any) -> Tensor:
        """Penalises the differences of predicted images and ground truth.

        Args:
            pred: Shapes (N, C, H / r, W / r) with integers r, the last (N, C, H, W).
            target: Shape (N, C, H, W). Ground truth.
            **kwargs: For the loss of the last image.

        Returns:
            A scalar.
        """
        *intermediate, last = [pred] if isinstance(pred, Tensor) else pred
        total = self.loss(last, target, **kwargs)
        for img in intermediate:
            total = total + self.intermediate_weight * self.loss(img, _shrink(target, img.shape[-2:]))
        return self.loss_weight * total


def _shrink(target: Tensor, size: Sequence[int]) -> Tensor:
    """Bicubic with a = -0.5 and antialiasing; unlike in MATLAB the edges are not mirrored, which those of a patch are
    as little."""
    if target.shape[-2:] == size:
        return target
    return F.interpolate(target, size=tuple(size), mode='bicubic', antialias=True)
