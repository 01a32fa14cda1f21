"""The literal commands, with the literal option files, on real images."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import pytest
import torch
import yaml
from conftest import ROOT, run

pytestmark = pytest.mark.slow

# Fewer and smaller steps than the option files'; what they are on stays.
SHORT = [
    '--force_yml',
    'train:total_iter=6',
    'datasets:train:batch_size_per_gpu=2',
    'datasets:train:num_worker_per_gpu=1',
    'datasets:train:dataset_enlarge_ratio=3',
    'logger:print_freq=2',
    'logger:save_checkpoint_freq=4',
    'val:val_freq=4',
]


def losses(printed: str) -> list[float]:
    return [float(loss) for loss in re.findall(r'l_pix: (\S+)', printed)]


@pytest.fixture(scope='module')
def trained(workspace: Path) -> str:
    """Trains x4 on one process and returns what the command printed."""
    return run(['python', 'basicsr/train.py', '-opt', 'options/train_SrSENet_x4.yml', *SHORT], workspace)


def test_train(workspace: Path, trained: str) -> None:
    assert 'Network: SrSENet, with parameters: 858,977' in trained
    assert len(losses(trained)) == 3
    assert all(0 < loss < 0.2 for loss in losses(trained))
    assert re.search(r'Validation Set5\s+# psnr: \d\d\.\d{4}.*\s+# ssim: 0\.\d{4}', trained)
    # Beside options/, and with the toolbox's names.
    experiment = workspace / 'experiments/train_SrSENet_x4'
    assert {'net_g_4.pth', 'net_g_latest.pth'} <= {path.name for path in (experiment / 'models').iterdir()}
    assert (experiment / 'training_states/4.state').exists()
    assert (workspace / 'tb_logger/train_SrSENet_x4').is_dir()


def test_resume(workspace: Path, trained: str) -> None:
    """Goes on after the checkpoint at 4 of 6 iterations."""
    printed = run(
        ['python', 'basicsr/train.py', '-opt', 'options/train_SrSENet_x4.yml', '--auto_resume', *SHORT], workspace
    )
    assert 'Resuming training from epoch: 0, iter: 4.' in printed
    assert len(losses(printed)) == 1


def test_train_with_the_stock_dataset(workspace: Path) -> None:
    options = ['name=stock_dataset', 'datasets:train:type=PairedImageDataset']
    printed = run(['python', 'basicsr/train.py', '-opt', 'options/train_SrSENet_x2.yml', *SHORT, *options], workspace)
    assert 'Dataset [PairedImageDataset] - DIV2K is built.' in printed
    assert len(losses(printed)) == 3


def test_train_without_a_compiler(workspace: Path, tmp_path: Path) -> None:
    environment = {'CXX': 'no-compiler', 'TORCHINDUCTOR_CACHE_DIR': str(tmp_path)}
    command = ['python', 'basicsr/train.py', '-opt', 'options/train_SrSENet_x4.yml', *SHORT, 'name=uncompiled']
    printed = run(command, workspace, **environment)
    assert 'WARNING: train: compile is left out, for torch.compile does not work here: ' in printed
    assert "'no-compiler'" in printed
    assert len(losses(printed)) == 3


def test_torchrun(workspace: Path) -> None:
    printed = run(
        [
            'torchrun',
            '--standalone',
            '--nproc_per_node=2',
            'basicsr/train.py',
            *('-opt', 'options/train_SrSENet_x4.yml', '--launcher', 'pytorch', *SHORT, 'name=torchrun'),
        ],
        workspace,
    )
    assert 'World size (gpu number): 2' in printed
    assert 'Grad strides do not match' not in printed  # which DDP warns of, as it then copies them
    assert len(losses(printed)) == 3
    assert (workspace / 'experiments/torchrun/models/net_g_latest.pth').exists()


def test_dist_train_script(workspace: Path) -> None:
    command = ['bash', 'scripts/dist_train.sh']
    printed = run([*command, '2', 'options/train_SrSENet_x2.yml', *SHORT, 'name=script'], workspace)
    assert 'World size (gpu number): 2' in printed
    assert (workspace / 'experiments/script/models/net_g_latest.pth').exists()

    assert run([*command, 'two', 'x.yml'], workspace, status=2).startswith('usage: ')
    assert run(command, workspace, status=2).startswith('usage: ')
    printed = run(['bash', workspace / 'scripts/dist_train.sh', '2', 'x.yml'], workspace / 'options', status=1)
    assert printed.startswith('error: there is no basicsr/train.py in ')


@pytest.mark.usefixtures('trained')
def test_test(workspace: Path) -> None:
    trained = 'path:pretrain_network_g=experiments/train_SrSENet_x4/models/net_g_latest.pth'
    command = ['python', 'basicsr/test.py', '-opt', 'options/test_SrSENet_x4.yml', '--force_yml', trained]
    printed = run(command, workspace)
    found = re.findall(r'Validation (\w+)\s+# psnr: (\d\d\.\d{4}).*\s+# ssim: (0\.\d{4})', printed)
    assert [name for name, *_ in found] == ['Set5', 'Set14', 'B100', 'Urban100', 'Manga109']
    # Six steps from bilinear upsampling, which is not far below bicubic.
    assert all(float(psnr) > 20 for _, psnr, _ in found)
    results = workspace / 'results/test_SrSENet_x4/visualization'
    img = cv2.imread(str(results / 'Set5/coffee_test_SrSENet_x4.png'), cv2.IMREAD_UNCHANGED)
    assert img.shape == (124, 100)


@pytest.mark.parametrize(
    'option_file',
    sorted(
        path.relative_to(ROOT)
        for folder in ('table1', 'compare')
        for path in (ROOT / 'options' / folder).glob('*_x4.yml')
    ),
    ids=str,
)
def test_train_the_compared_networks(workspace: Path, option_file: Path) -> None:
    # DRCN's 256 channels on enlarged images would take most of a minute to validate.
    narrow = ['network_g:num_feat=64'] if 'DRCN' in option_file.name else []
    short = [
        *SHORT,
        *narrow,
        'train:total_iter=2',
        'datasets:train:gt_size=32',
        'logger:print_freq=1',
        'val:val_freq=100',
    ]
    printed = run(['python', 'basicsr/train.py', '-opt', option_file, *short], workspace)
    assert len(losses(printed)) == 2
    assert all(0 < loss < 3 for loss in losses(printed))  # DRCN starts with noise
    assert (workspace / 'experiments' / option_file.stem / 'models/net_g_latest.pth').exists()


@pytest.mark.parametrize(
    ('scale', 'figures'),
    [
        (2, {'Set5': ('33.67', '0.9303'), 'Set14': ('30.32', '0.8699'), 'B100': ('29.56', '0.8434')}),
        (4, {'Set5': ('28.43', '0.8111'), 'Set14': ('26.09', '0.7048'), 'B100': ('25.96', '0.6681')}),
        (8, {'Set5': ('24.40', '0.6581'), 'Set14': ('23.18', '0.5666'), 'B100': ('23.67', '0.5443')}),
    ],
)
def test_bicubic_has_the_figures_of_the_literature(
    benchmarks: Path, scale: int, figures: dict[str, tuple[str, str]]
) -> None:
    """Those of MATLAB-made images, measured by those who provide the images."""
    opt = yaml.safe_load((ROOT / f'options/test_Bicubic_x{scale}.yml').read_text())
    opt['datasets'] = {key: value for key, value in opt['datasets'].items() if value['name'] in figures}
    (benchmarks / 'test.yml').write_text(yaml.safe_dump(opt, sort_keys=False))
    printed = run(['python', 'basicsr/test.py', '-opt', 'test.yml'], benchmarks)
    found = re.findall(r'Validation (\w+)\s+# psnr: (\d\d\.\d{4}).*\s+# ssim: (0\.\d{4})', printed)
    assert {name: (f'{float(psnr):.2f}', ssim) for name, psnr, ssim in found} == figures


def test_psnr_of_the_untrained_network_is_that_of_bilinear(workspace: Path) -> None:
    """The whole chain, data to metric, against a computation of its own on the same images."""
    from basicsr.metrics import calculate_psnr
    from basicsr.utils import bgr2ycbcr

    from srsenet_plugin import SrSENet

    (workspace / 'weights').mkdir()
    torch.save({'params': SrSENet(upscale=2).state_dict()}, workspace / 'weights/untrained.pth')
    weights = ['path:pretrain_network_g=weights/untrained.pth', 'name=untrained']
    printed = run(
        ['python', 'basicsr/test.py', '-opt', 'options/test_SrSENet_x2.yml', '--force_yml', *weights], workspace
    )
    psnrs = []
    for name in ('chelsea', 'coffee'):
        lr, gt = (
            bgr2ycbcr(cv2.imread(str(workspace / f'datasets/Set5/{folder}/{name}.png')).astype('float32') / 255, True)
            for folder in ('LRbicx2', 'GTmod2')
        )
        bilinear = cv2.resize(lr, gt.shape[::-1], interpolation=cv2.INTER_LINEAR)
        psnrs.append(calculate_psnr((bilinear * 255).round(), gt * 255, crop_border=2))
    stated = float(re.findall(r'Validation Set5\s+# psnr: (\S+)', printed)[0])
    assert stated == pytest.approx(sum(psnrs) / 2, abs=2e-3)
