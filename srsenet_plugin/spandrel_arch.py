"""SrSENet for spandrel, the loader behind chaiNNer and ComfyUI: importing this module registers it there.

import spandrel
import srsenet_plugin.spandrel_arch

model = spandrel.ModelLoader().load_from_file('srsenet_x4.pth')
"""

from __future__ import annotations

from functools import partial

from spandrel import MAIN_REGISTRY, Architecture, ArchSupport, ImageModelDescriptor, ModelTiling, StateDict
from spandrel.util import KeyCondition
from torch import Tensor

from srsenet_plugin.archs.bicubic_arch import BicubicEnlarge
from srsenet_plugin.archs.in_colour import upscale_in_colour
from srsenet_plugin.archs.srsenet_arch import SrSENet
from srsenet_plugin.weights.pretrained import infer_options


class SrSENetArch(Architecture[SrSENet]):
    """Recognises SrSENet by its keys, and reads the constructor's arguments off its weights."""

    def __init__(self) -> None:
        super().__init__(
            id='SrSENet',
            detect=KeyCondition.has_all(
                'conv_first.weight',
                'body.0.se.fc1.weight',
                'body.0.se.fc2.weight',
                'upconv.weight',
                'conv_last.weight',
                'upconv_image.weight',
            ),
        )

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[SrSENet]:
        """Builds the network of a state dict.

        Args:
            state_dict: Weights by name.

        Returns:
            The network, which takes and gives RGB images (N, 3, H, W) or grey ones (N, 1, H, W), in [0, 1]. One for Y
            images gets their Y, and their CbCr are enlarged by bicubic interpolation.
        """
        options = infer_options(state_dict)
        return ImageModelDescriptor(
            SrSENet(**options),
            state_dict,
            architecture=self,
            purpose='SR',
            tags=[f'{options["num_feat"]}nf', f'{options["num_block"]}nb'],
            supports_half=True,
            supports_bfloat16=True,
            scale=options['upscale'],
            input_channels=3,
            output_channels=3,
            tiling=ModelTiling.DISCOURAGED,  # the SE layers take means over the whole image
            # Apple's device has no float64.
            call_fn=partial(_upscale, BicubicEnlarge(options['upscale']).float()),
        )


def _upscale(enlarge: BicubicEnlarge, net: SrSENet, image: Tensor) -> Tensor:
    return upscale_in_colour(enlarge.to(image.device), net, image)


MAIN_REGISTRY.add(ArchSupport.from_architecture(SrSENetArch()), ignore_duplicates=True)
