"""The Charbonnier penalty, the loss that SrSENet is trained with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class CharbonnierPenaltyLoss(nn.Module):
    r"""Charbonnier penalty function :math:`\rho(z) = \sqrt{z^2 + \varepsilon^2}`, a differentiable variant of L1.

    Paper: Mei et al., section IV (see srsenet_arch.py). The ``eps`` of BasicSR's own ``CharbonnierLoss`` is
    :math:`\varepsilon^2`.

    Args:
        loss_weight: Factor of the loss. Default: 1.0.
        reduction: 'none' | 'mean' | 'sum'. Default: 'mean'.
        eps: :math:`\varepsilon`, greater than 0, in the unit of the images. Default: 1e-3.

    Raises:
        ValueError: ``reduction`` or ``eps`` is none of these.
    """

    def __init__(self, loss_weight: float = 1.0, reduction: str = 'mean', eps: float = 1e-3) -> None:
        super().__init__()
        if reduction not in ('none', 'mean', 'sum'):
            raise ValueError(
                f"CharbonnierPenaltyLoss: reduction must be one of 'none', 'mean' and 'sum'; got {reduction!r}"
            )
        if not isinstance(eps, (int, float)) or not eps > 0:
            # YAML 1.1 reads 1e-3 as a string and 1.0e-3 as a number.
            raise ValueError(f'CharbonnierPenaltyLoss: eps must be a number greater than 0; got {eps!r}')
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.eps = eps

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Penalises ``pred - target``.

        Args:
            pred: Shape (N, C, H, W). Predicted images.
            target: Shape (N, C, H, W). Ground truth.
            weight: Shape (N, C, H, W) or (N, 1, H, W). Element-wise weights; 'mean' divides by their
                sum. Default: None.
            **kwargs: Not used; taken because BasicSR's losses do.

        Returns:
            A scalar, or shape (N, C, H, W) with reduction 'none'.
        """
        loss = torch.sqrt((pred - target) ** 2 + self.eps**2)
        if weight is not None:
            loss = loss * weight
        if self.reduction == 'sum':
            loss = loss.sum()
        elif self.reduction == 'mean':
            loss = loss.mean() if weight is None else loss.sum() / weight.expand_as(loss).sum()
        return self.loss_weight * loss
