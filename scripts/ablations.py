"""Trains short variations of the released x4 recipe, one change each, and prints their PSNR on Set5.

python scripts/ablations.py                  all that have not been trained yet, and the table
python scripts/ablations.py base lr1e-3      these
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

from basicsr.train import train_pipeline
from basicsr.utils.registry import ARCH_REGISTRY
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from srsenet_plugin import SrSEBlock, SrSENet

ROOT = Path(__file__).parents[1]
RECIPE = 'options/released/train_SrSENet_x4_T91BSD200.yml'
# A short training in batches of 16. Each of the others differs from it in its named options, at the same cost: the same
# number of pixels in all. The EMA averages over as much of the training as that of the long one does.
BASE = (
    'datasets:train:batch_size_per_gpu=16 train:optim_g:lr=0.002 train:scheduler:eta_min=0.00002 '
    'train:scheduler:restart_weights=[1] logger:use_tb_logger=false'
)


def of_length(steps: int) -> str:
    return (
        f'train:total_iter={steps} train:scheduler:periods=[{steps}] train:warmup_iter={steps // 12} '
        f'train:ema_decay={1 - 12 / steps} val:val_freq={steps} logger:save_checkpoint_freq={steps}'
    )


ABLATIONS = {
    'base': '',
    'seed1': 'manual_seed=1',
    'seed2': 'manual_seed=2',
    'lr5e-4': 'train:optim_g:lr=0.0005 train:scheduler:eta_min=0.000005',
    'lr1e-3': 'train:optim_g:lr=0.001 train:scheduler:eta_min=0.00001',
    'lr4e-3': 'train:optim_g:lr=0.004 train:scheduler:eta_min=0.00004',
    'constant_lr': 'train:scheduler:eta_min=0.002',
    'batch8': f'datasets:train:batch_size_per_gpu=8 {of_length(1200)}',
    'batch32': f'datasets:train:batch_size_per_gpu=32 {of_length(300)}',
    'patch64': 'datasets:train:gt_size=64 datasets:train:batch_size_per_gpu=36',
    'no_ema': 'train:ema_decay=0',
    'init_x1': 'network_g:type=SrSENetVariant network_g:init_scale=1',
    'no_second_act': 'network_g:type=SrSENetVariant network_g:second_act=false',
    'no_biases': 'network_g:type=SrSENetVariant network_g:bias=false',
    'reduction4': 'network_g:reduction=4',
}


class BlockWithoutSecondAct(SrSEBlock):
    """The block of the authors' code."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.se(self.conv2(self.act(self.conv1(x))))


@ARCH_REGISTRY.register()
class SrSENetVariant(SrSENet):
    """SrSENet with choices that the paper leaves open, or that differ in the authors' code.

    Args:
        init_scale: Factor of Kaiming's initial weights in the body. Default: 0.1.
        second_act: LeakyReLU after the second convolution of a block. Default: True.
        bias: Biases of convolutions. Default: True.
        **kwargs: SrSENet's.
    """

    def __init__(self, init_scale: float = 0.1, second_act: bool = True, bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for module in self.body.modules():
            if isinstance(module, SrSEBlock) and not second_act:
                module.__class__ = BlockWithoutSecondAct
            if isinstance(module, nn.Conv2d):
                module.weight.data *= init_scale / 0.1
        if not bias:
            for module in self.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                    module.bias = None


def main(names: list[str]) -> None:
    if names[:1] == ['--train']:
        return train(names[1])
    table = Table('change', 'option', 'Set5 PSNR / SSIM')
    for name in names or ABLATIONS:
        if not scores(name):
            subprocess.run([sys.executable, __file__, '--train', name], cwd=ROOT, check=True)
        table.add_row(name, ABLATIONS[name], ' / '.join(scores(name)))
    Console(width=200).print(table)


def train(name: str) -> None:
    """Trains an ablation in this process, and goes on where it was interrupted."""
    changes = [f'name=ablation_{name}', *BASE.split(), *of_length(600).split(), *ABLATIONS[name].split()]
    sys.argv = ['train.py', '-opt', RECIPE, '--auto_resume', '--force_yml', *changes]
    train_pipeline(str(ROOT))


def scores(name: str) -> list[str]:
    """PSNR and SSIM at the end of an ablation's training; nothing if it has not come there."""
    log = ROOT / f'experiments/ablation_{name}/train_log.csv'
    if not log.exists():
        return []
    with log.open(newline='', encoding='utf-8') as file:
        values = {row['name']: float(row['value']) for row in csv.DictReader(file)}
    return [f'{values[key]:.{digits}f}' for key, digits in (('Set5/psnr', 2), ('Set5/ssim', 4)) if key in values]


if __name__ == '__main__':
    main(sys.argv[1:])
