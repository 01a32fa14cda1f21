"""SrSENet for BasicSR: the plugin that its entry points, registries and option files know once it is installed.

Importing BasicSR brings the plugin along (see :mod:`srsenet_plugin.autoload`). Importing this package does the same
explicitly, and adds networks and losses to mmengine's ``MODELS``.
"""

import sys

from mmengine.registry import MODELS

from srsenet_plugin import autoload
from srsenet_plugin.archs import ARCHS, DRCN, FSRCNN, SRCNN, VDSR, Bicubic, LapSRN, SrSENet
from srsenet_plugin.archs.srsenet_arch import SELayer, SrSEBlock
from srsenet_plugin.inference.upscaler import upscale
from srsenet_plugin.losses import LOSSES, CharbonnierPenaltyLoss, DeepSupervisionLoss
from srsenet_plugin.toolbox.register import register
from srsenet_plugin.toolbox.registries import register_giving_way_in_mmengine
from srsenet_plugin.version import __version__
from srsenet_plugin.weights.pretrained import load_pretrained

__all__ = [
    'DRCN',
    'FSRCNN',
    'SRCNN',
    'VDSR',
    'Bicubic',
    'CharbonnierPenaltyLoss',
    'DeepSupervisionLoss',
    'LapSRN',
    'SELayer',
    'SrSEBlock',
    'SrSENet',
    '__version__',
    'load_pretrained',
    'register',
    'upscale',
]

register_giving_way_in_mmengine(MODELS, (*ARCHS, *LOSSES))
autoload.install()
if 'basicsr' in sys.modules:
    register()
