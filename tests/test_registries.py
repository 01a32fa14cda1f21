from __future__ import annotations

import pytest
import torch
from conftest import run_python

import srsenet_plugin


def test_basicsr_builds_network_and_loss() -> None:
    from basicsr.archs import build_network
    from basicsr.losses import build_loss

    net = build_network({'type': 'SrSENet', 'upscale': 3, 'num_feat': 16, 'num_block': 1})
    loss = build_loss({'type': 'CharbonnierPenaltyLoss', 'reduction': 'sum'})
    assert loss(net(torch.rand(1, 1, 4, 4)), torch.rand(1, 1, 12, 12)).dim() == 0


def test_the_toolbox_keeps_its_own_charbonnier_loss() -> None:
    from basicsr.utils.registry import LOSS_REGISTRY

    assert LOSS_REGISTRY.get('CharbonnierLoss').__module__ == 'basicsr.losses.basic_loss'


def test_mmengine_builds_network_and_loss_after_custom_imports() -> None:
    """In a fresh interpreter, and without BasicSR, which mmengine's users need not pay for."""
    printed = run_python(
        """
import sys
from mmengine.config import Config
from mmengine.registry import MODELS
config = Config(dict(custom_imports=dict(imports=['srsenet_plugin']), model=dict(type='SrSENet', upscale=4)))
from mmengine.utils import import_modules_from_strings
import_modules_from_strings(**config.custom_imports)
net = MODELS.build(config.model)
loss = MODELS.build(dict(type='CharbonnierPenaltyLoss', eps=0.01))
print(type(net).__name__, net.upscale, type(loss).__name__, loss.eps, 'basicsr' in sys.modules)
"""
    )
    assert printed.split() == ['SrSENet', '4', 'CharbonnierPenaltyLoss', '0.01', 'False']


def test_a_projects_own_architecture_replaces_ours() -> None:
    from basicsr.utils.registry import Registry

    from srsenet_plugin.toolbox.registries import register_giving_way

    registry = Registry('arch')
    theirs_before = type('VDSR', (), {})
    registry.register(theirs_before)
    ours = [type(name, (), {}) for name in ('SRCNN', 'VDSR')]
    register_giving_way(registry, tuple(ours))
    assert registry.get('SRCNN') is ours[0]
    assert registry.get('VDSR') is theirs_before

    theirs_after = registry.register()(type('SRCNN', (), {}))
    assert registry.get('SRCNN') is theirs_after
    with pytest.raises(AssertionError, match='already registered'):
        registry.register(type('SRCNN', (), {}))


def test_registries_of_older_copies() -> None:
    """Those of BasicSR 1.3 know no suffixes."""
    from srsenet_plugin.toolbox.registries import register_giving_way

    class OldRegistry:
        def __init__(self) -> None:
            self._obj_map: dict[str, type] = {}

        def _do_register(self, name: str, obj: type) -> None:
            assert name not in self._obj_map
            self._obj_map[name] = obj

        def register(self, obj: type) -> None:
            self._do_register(obj.__name__, obj)

        def __contains__(self, name: str) -> bool:
            return name in self._obj_map

    registry = OldRegistry()
    ours, theirs = (type('SRCNN', (), {}) for _ in range(2))
    assert register_giving_way(registry, (ours,)) == (True, 'registered SRCNN')
    registry.register(type('Other', (), {}))
    registry.register(theirs)
    assert registry._obj_map['SRCNN'] is theirs


def test_classes_that_were_registered_with_a_suffix_stay_beside_ours() -> None:
    from basicsr.utils.registry import Registry

    from srsenet_plugin.toolbox.registries import register_giving_way

    registry = Registry('arch')
    ours, theirs = (type('SRCNN', (), {}) for _ in range(2))
    register_giving_way(registry, (ours,))
    registry.register(suffix='theirs')(theirs)
    assert registry.get('SRCNN') is ours
    assert registry.get('SRCNN_theirs') is theirs


def test_names_of_other_projects_are_left_to_them_in_mmengine() -> None:
    """Whether they register before or after the plugin, by all of mmengine's ways."""
    printed = run_python(
        """
from mmengine.registry import MODELS

@MODELS.register_module()
class SRCNN:
    pass

import srsenet_plugin

@MODELS.register_module(name=['VDSR', 'VeryDeep'])
class Deep:
    pass

class DRCN:
    pass

MODELS.register_module(module=DRCN)
for name in ('SRCNN', 'VDSR', 'VeryDeep', 'DRCN', 'SrSENet'):
    print(MODELS.get(name).__module__)
try:
    MODELS.register_module(name='VDSR', module=DRCN)
except KeyError as error:
    print(error.args[0].partition(' in ')[0])
"""
    )
    assert printed.splitlines() == [
        *['__main__'] * 4,
        'srsenet_plugin.archs.srsenet_arch',
        'VDSR is already registered',
    ]


@pytest.mark.parametrize('name', ['SrSENet', 'Bicubic', 'SRCNN', 'FSRCNN', 'VDSR', 'DRCN', 'LapSRN'])
def test_both_registries_have_the_architectures(name: str) -> None:
    from basicsr.utils.registry import ARCH_REGISTRY
    from mmengine.registry import MODELS

    assert ARCH_REGISTRY.get(name) is MODELS.get(name) is getattr(srsenet_plugin, name)
