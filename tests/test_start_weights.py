"""Weights that trainings of Table I's networks start from."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import cv2
import pytest
import torch
import whitened_start
import widened_start
import yaml
from conftest import PHOTOS, ROOT, run
from torch import Tensor, nn
from torch.nn import functional as F

from srsenet_plugin.archs.arch_util import FullPrecisionConv2d
from srsenet_plugin.archs.drcn_arch import DRCN
from srsenet_plugin.archs.srcnn_arch import SRCNN
from srsenet_plugin.archs.vdsr_arch import VDSR
from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.weights import files, pretrained

NETWORKS = {'SRCNN': SRCNN, 'VDSR': VDSR, 'DRCN': DRCN}
DRCN_X2 = ROOT / 'options/table1/train_DRCN_x2_T91BSD200.yml'
VDSR_X8 = ROOT / 'options/table1/train_VDSR_x8_T91BSD200.yml'
FLOORS = {'SRCNN': 1e-9, 'VDSR': 1e-4, 'DRCN': 1e-9}  # as in options/released/stages.yml


def patches(scale: int) -> tuple[Tensor, Tensor]:
    """LR and HR, of one photograph."""
    hr = cv2.imread(str(PHOTOS / 'coffee.png'), cv2.IMREAD_GRAYSCALE)[:384, :576]
    pair = []
    for img, side in ((imresize(hr, 1 / scale), 48 // scale), (hr, 48)):
        tiles = torch.from_numpy(img).unfold(0, side, side).unfold(1, side, side)
        pair.append(tiles.reshape(-1, 1, side, side).float() / 255)
    return pair[0], pair[1]


def build(arch: str, scale: int, **options: int) -> SRCNN | VDSR | DRCN:
    torch.manual_seed(0)
    return NETWORKS[arch](upscale=scale, **({'num_feat': 16, **options} if arch == 'DRCN' else options))


@pytest.mark.parametrize('arch', NETWORKS)
@pytest.mark.parametrize('scale', [4, 8])
@torch.no_grad()
def test_the_first_convolution_whitens(arch: str, scale: int) -> None:
    """Detail, which is what means of 5x5 pixels lack, has at least three times the share in its features."""
    lr, _ = patches(scale)
    shares = []
    for starts_white in (False, True):
        net = build(arch, scale).eval()
        if starts_white:
            whitened_start.start_white(net, lr, FLOORS[arch])
        conv = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
        enlarged = net.enlarge(lr)
        features = conv(enlarged)[:, 1:, 5:-5, 5:-5]
        detail = features - F.avg_pool2d(features, 5, 1, 2, count_include_pad=False)
        shares.append(float((detail.std((0, 2, 3)) / features.std((0, 2, 3))).median()))
    assert shares[1] > 3 * shares[0]
    assert (features.std((0, 2, 3)) - 0.3).abs().max() < 0.1
    assert (net(lr) - enlarged).abs().mean() < 0.03


def test_srcnn_learns_from_it() -> None:
    """At x8. The usual start learns a gray image in so few steps."""
    lr, hr = patches(8)
    losses = []
    for starts_white in (False, True):
        torch.manual_seed(0)
        net = SRCNN(upscale=8)
        if starts_white:
            whitened_start.start_white(net, lr, FLOORS['SRCNN'])
        optimizer = torch.optim.Adam(net.parameters(), 1e-3)
        for step in range(60):
            batch = slice(step % 8 * 4, step % 8 * 4 + 4)
            optimizer.zero_grad()
            F.mse_loss(net(lr[batch]), hr[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            losses.append(F.mse_loss(net(lr[:32]), hr[:32]))
    assert losses[1] < F.mse_loss(net.enlarge(lr[:32]), hr[:32])
    assert losses[0] > 2 * losses[1]


@pytest.mark.parametrize('copies', [1, 2, 4])
def test_the_widened_network_is_the_narrow_one(copies: int) -> None:
    """In each of its predictions. Copies of a feature learn different things from there."""
    narrow, wide = (build('DRCN', 2, num_feat=8 * n, num_recursion=3).double() for n in (1, copies))
    for parameter in narrow.parameters():
        parameter.data += 0.1 * torch.rand_like(parameter)  # biases, too
    widened_start.widen(wide, narrow.state_dict())
    x = torch.rand(2, 1, 7, 9, dtype=torch.float64)
    for one, other in zip(narrow(x), wide(x)):
        assert one.shape == (2, 1, 14, 18)
        assert (one - other).abs().max() < 1e-12 * one.abs().max()
    with pytest.raises(RuntimeError):
        widened_start.widen(build('DRCN', 2, num_feat=8 * copies, num_recursion=6), narrow.state_dict())
    wide(x)[-1].square().mean().backward()
    gradient = wide.inference.weight.grad.flatten(1)
    alive = gradient[gradient.abs().sum(1) > 0]
    assert len(alive) >= 4 * copies
    assert len({tuple(row) for row in alive.tolist()}) == len(alive)


@pytest.mark.parametrize('arch', NETWORKS)
def test_bf16_leaves_the_first_convolution_alone(arch: str) -> None:
    """Its filters add up to almost nothing, so that bf16 would leave mostly its own rounding."""
    lr, _ = patches(8)
    net = build(arch, 8).eval()
    whitened_start.start_white(net, lr, FLOORS[arch])
    conv = next(module for module in net.modules() if isinstance(module, FullPrecisionConv2d))
    enlarged = net.enlarge(lr)
    with torch.no_grad():
        features = conv(enlarged)
        with torch.autocast('cpu', torch.bfloat16):
            assert torch.equal(conv(enlarged), features)
            half = nn.Conv2d.forward(conv, enlarged)
    inside = (..., slice(4, -4), slice(4, -4))  # a padding of zeros outweighs all else
    assert (half - features)[inside].std() > 0.1 * features[inside].std()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['whitened_start.py', 'missing.yml'], "No such file or directory: 'missing.yml'"),
        (['whitened_start.py', ROOT / 'options/train_SrSENet_x2.yml'], 'network_g must be an SRCNN, VDSR or DRCN'),
        (['whitened_start.py', VDSR_X8], 'To make it: srsenet prepare'),
        (
            ['whitened_start.py', DRCN_X2.with_stem(f'{DRCN_X2.stem}_narrow')],
            'path:pretrain_network_g must be NAME_start',
        ),
        (['whitened_start.py', VDSR_X8, '--floor', '0'], '--floor must be above 0'),
        (['widened_start.py', VDSR_X8, 'missing.pth'], 'network_g must be a DRCN'),
        (['widened_start.py', DRCN_X2, 'missing.pth'], "No such file or directory: 'missing.pth'"),
        (['widened_start.py', DRCN_X2, pretrained.weights_file('vdsr_x8')], 'does not hold a narrow DRCN'),
    ],
)
def test_what_scripts_cannot_take(arguments: list[object], message: str, tmp_path: Path) -> None:
    script, *rest = arguments
    printed = run([sys.executable, ROOT / f'scripts/{script}', *rest], tmp_path, status=1)
    assert printed.splitlines()[-1].startswith('error: ')
    assert message in printed
    assert 'Traceback' not in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_commands_that_train_drcn(workspace: Path) -> None:
    """Those that make the package's weights, with one iteration each."""
    arguments = ['--downsizes', '1', '--color', 'y', '--skip-bad', '--scales', '2', '4', '8']
    folders = ['--source', 'DIV2K_train_HR', '--out', 'datasets/T91BSD200']
    run(['srsenet', 'prepare', 'folder', '--name', 'T91BSD200', *folders, *arguments], workspace)
    starts = yaml.safe_load((ROOT / 'options/released/stages.yml').read_text(encoding='utf-8'))['starts']
    short = ['train:total_iter=1', 'datasets:train:gt_size=16', 'val:val_freq=100', 'train:compile=false']
    train = 'python basicsr/train.py -opt options/table1/train_DRCN_x2_T91BSD200.yml'
    for command in (*starts['train_DRCN_x2_T91BSD200'], train):
        words = shlex.split(command)
        run([*words, '--force_yml', *short] if 'basicsr/train.py' in words else words, workspace)
    trained = files.load(workspace / 'experiments/train_DRCN_x2_T91BSD200/models/net_g_latest.pth')
    assert trained['params']['inference.weight'].shape == (256, 256, 3, 3)
