"""SrSENet for BasicSR: the plugin that its entry points, registries and option files know once it is installed.

Importing BasicSR brings the plugin along (see :mod:`srsenet_plugin.autoload`). Importing this package does the same
explicitly, and adds networks and losses to mmengine's ``MODELS``.
"""

import sys
from functools import cache

from mmengine.registry import MODELS

from srsenet_plugin import autoload
from srsenet_plugin.archs.bicubic_arch import Bicubic
from srsenet_plugin.archs.drcn_arch import DRCN
from srsenet_plugin.archs.fsrcnn_arch import FSRCNN
from srsenet_plugin.archs.lapsrn_arch import LapSRN
from srsenet_plugin.archs.srcnn_arch import SRCNN
from srsenet_plugin.archs.srsenet_arch import SELayer, SrSEBlock, SrSENet
from srsenet_plugin.archs.vdsr_arch import VDSR
from srsenet_plugin.inference.upscaler import upscale
from srsenet_plugin.losses.charbonnier_loss import CharbonnierPenaltyLoss
from srsenet_plugin.losses.deep_supervision_loss import DeepSupervisionLoss
from srsenet_plugin.pretrained import load_pretrained
from srsenet_plugin.version import __version__

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

ARCHS = (SrSENet, Bicubic, SRCNN, FSRCNN, VDSR, DRCN, LapSRN)
LOSSES = (CharbonnierPenaltyLoss, DeepSupervisionLoss)


def register() -> None:
    """Mends what is broken in BasicSR and registers the plugin with it. Calling it again does nothing."""
    import basicsr  # noqa: F401  (its import hook calls back, so that the plugin comes first)

    _register_once()


@cache
def _register_once() -> None:
    from srsenet_plugin import compat, option_checks

    compat.apply()
    option_checks.apply()

    from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

    from srsenet_plugin.data import draws
    from srsenet_plugin.models import stopping
    from srsenet_plugin.registries import register_giving_way

    draws.apply()
    stopping.apply()
    register_giving_way(ARCH_REGISTRY, ARCHS)
    register_giving_way(LOSS_REGISTRY, LOSSES)
    # What builds on BasicSR's classes registers itself: it may be the import that has brought us here.
    import srsenet_plugin.data.paired_lmdb_dataset
    import srsenet_plugin.models.accelerated_sr_model  # noqa: F401


for _module in (*ARCHS, *LOSSES):
    MODELS.register_module(module=_module)
autoload.install()
if 'basicsr' in sys.modules:
    register()
