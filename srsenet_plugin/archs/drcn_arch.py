"""DRCN, which applies one convolution many times and predicts an image after each.

Paper: Kim et al., "Deeply-Recursive Convolutional Network for Image Super-Resolution", CVPR 2016,
https://arxiv.org/abs/1511.04491.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srsenet_plugin.archs.arch_util import FullPrecisionConv2d, init_conv, require_int, require_same_channels
from srsenet_plugin.archs.bicubic_arch import BicubicEnlarge


class DRCN(nn.Module):
    """DRCN: embedding, inference and reconstruction network (section 3).

    The inference network is one convolution, applied ``num_recursion`` times. Reconstruction maps each of its results
    to a residual of the enlarged image, and learnt weights average these predictions. With the defaults 1,774,080
    weights, the 1,774 k of the literature, and biases and the weights of the average besides.

    Args:
        num_in_ch: Channels of the LR image: 1 for Y, as in the paper, or 3 for RGB.
        num_out_ch: Channels of the SR image; equal to ``num_in_ch``.
        num_feat: Channels of the features.
        num_recursion: Times that the inference network is applied, the paper's D.
        upscale: Scale, 2 or more.

    Raises:
        ValueError: An argument is outside its range above.
    """

    supervises_all_outputs = True

    def __init__(
        self, num_in_ch: int = 1, num_out_ch: int = 1, num_feat: int = 256, num_recursion: int = 16, upscale: int = 4
    ) -> None:
        super().__init__()
        require_same_channels('DRCN', num_in_ch, num_out_ch)
        require_int('DRCN', 'num_feat', num_feat, 1)
        require_int('DRCN', 'num_recursion', num_recursion, 1)
        require_int('DRCN', 'upscale', upscale, 2)
        self.num_recursion = num_recursion
        self.enlarge = BicubicEnlarge(upscale)
        self.embedding = nn.Sequential(
            FullPrecisionConv2d(num_in_ch, num_feat, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(num_feat, num_feat, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.inference = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.reconstruction = nn.Sequential(
            nn.Conv2d(num_feat, num_feat, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(num_feat, num_out_ch, 3, padding=1),
        )
        self.output_weights = nn.Parameter(torch.full((num_recursion,), 1 / num_recursion))
        self.relu = nn.ReLU()
        self._init_weights()

    def _init_weights(self) -> None:
        """As in section 4.2: He et al., but the recursive convolution starts as the identity."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_conv(module, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity='relu'))
        nn.init.dirac_(self.inference.weight)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Upscales LR images.

        Args:
            x: Shape (N, num_in_ch, H, W), range [0, 1].

        Returns:
            Shape (N, num_out_ch, upscale * H, upscale * W). In training mode the prediction of each recursion and, at
                last, their average, as ``DeepSupervisionLoss`` takes them.
        """
        enlarged = self.enlarge(x)
        feat = self.embedding(enlarged)
        average = torch.zeros_like(enlarged)
        predictions = []
        for weight in self.output_weights / self.output_weights.sum():
            feat = self.relu(self.inference(feat))
            prediction = enlarged + self.reconstruction(feat)
            average = average + weight * prediction
            if self.training:
                predictions.append(prediction)
        return (*predictions, average) if self.training else average
