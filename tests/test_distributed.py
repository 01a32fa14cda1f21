from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, run, write_photo

from srsenet_plugin.prepare.benchmark_folders import make_benchmark

pytestmark = pytest.mark.slow
STEPS = ROOT / 'tests/ddp_steps.py'


@pytest.mark.parametrize('network', ['SrSENet', 'MSRResNet', pytest.param('FSRCNN', marks=pytest.mark.slow)])
def test_two_processes_equal_one_with_the_same_global_batch(workspace: Path, tmp_path: Path, network: str) -> None:
    photographs = [('coffee.png', (0, 0, 48, 64)), ('chelsea.png', (0, 0, 64, 48)), ('rocket.jpg', (0, 0, 52, 56))]
    for name, count in (('one', 1), ('three', 3)):
        for photo, box in photographs[:count]:
            write_photo(photo, tmp_path / 'photos' / name / f'{photo[:4]}.png', box)
        make_benchmark(tmp_path / 'photos' / name, tmp_path / name, [4])
    option = ['-opt', 'options/train_SrSENet_x4.yml']
    run([sys.executable, STEPS, tmp_path, network, *option], workspace)
    torchrun = ['torchrun', '--standalone', '--nproc_per_node=2', STEPS, tmp_path, network, *option]
    run([*torchrun, '--launcher', 'pytorch'], workspace)

    one, first, second = (torch.load(tmp_path / f'{network}_{name}.pth') for name in ('0of1', '0of2', '1of2'))
    for name, weight in first['weights'].items():
        assert torch.equal(weight, second['weights'][name]), name
        # Adam divides by the gradients' size, so that rounding in tiny ones shows as a part of its step of 1e-4.
        torch.testing.assert_close(weight, one['weights'][name], rtol=0, atol=3e-5)
    for name, gradient in first['gradients'][0].items():
        scale = one['gradients'][0][name].abs().max().item()
        assert scale > 0, name
        torch.testing.assert_close(gradient, one['gradients'][0][name], rtol=0, atol=1e-5 * scale)
    for step in range(3):
        for name, gradient in first['gradients'][step].items():
            assert torch.equal(gradient, second['gradients'][step][name]), name
    for name, figures in one['figures'].items():  # with two ranks on one image, too
        assert figures.keys() == {'psnr', 'ssim'}
        assert first['figures'][name] == pytest.approx(figures, rel=1e-4)
        if network == 'SrSENet':
            assert second['figures'][name] == first['figures'][name]
