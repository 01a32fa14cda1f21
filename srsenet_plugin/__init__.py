"""SrSENet for BasicSR: the plugin that its entry points, registries and option files know once it is installed.

Importing BasicSR brings the plugin along (see :mod:`srsenet_plugin.autoload`). Importing this package does the same
explicitly, and adds networks and losses to mmengine's ``MODELS`` once mmengine is imported. This alone imports neither
torch nor mmengine: the first use of a name does.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from srsenet_plugin import autoload
from srsenet_plugin.version import __version__

if TYPE_CHECKING:
    from srsenet_plugin.archs import DRCN, FSRCNN, SRCNN, VDSR, Bicubic, LapSRN, SrSENet
    from srsenet_plugin.archs.srsenet_arch import SELayer, SrSEBlock
    from srsenet_plugin.inference.upscaler import upscale
    from srsenet_plugin.losses import CharbonnierPenaltyLoss, DeepSupervisionLoss
    from srsenet_plugin.toolbox.register import register
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

# Where these names are defined; the others in archs.
_HOMES = {
    'register': 'toolbox.register',
    'upscale': 'inference.upscaler',
    'load_pretrained': 'weights.pretrained',
    'SELayer': 'archs.srsenet_arch',
    'SrSEBlock': 'archs.srsenet_arch',
    'CharbonnierPenaltyLoss': 'losses',
    'DeepSupervisionLoss': 'losses',
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(f'{__name__}.{_HOMES.get(name, "archs")}'), name)
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register_in_mmengine() -> None:
    from mmengine.registry import MODELS

    from srsenet_plugin.archs import ARCHS
    from srsenet_plugin.losses import LOSSES
    from srsenet_plugin.toolbox.registries import register_giving_way_in_mmengine

    register_giving_way_in_mmengine(MODELS, (*ARCHS, *LOSSES))


def _follow_mmengine(run_body: Callable[[], None]) -> None:
    run_body()
    _register_in_mmengine()


_finder = autoload.install()
if 'basicsr' in sys.modules:
    import_module('srsenet_plugin.toolbox.register').register()
if 'mmengine.registry' in sys.modules:
    _register_in_mmengine()
else:
    _finder.around['mmengine.registry'] = _follow_mmengine
