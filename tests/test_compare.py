"""``srsenet compare`` on small images, with small outputs for what it costs."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import ARCH_REGISTRY
from conftest import run, run_python, write_photo
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from skimage.metrics import structural_similarity
from torch.utils.flop_counter import FlopCounterMode

from srsenet_plugin import DRCN, FSRCNN, SRCNN, VDSR, Bicubic, LapSRN, SrSENet, cli
from srsenet_plugin.compare import cost, pictures, quality, table
from srsenet_plugin.compare.networks import Network, find_network, import_projects
from srsenet_plugin.prepare.benchmark_folders import make_benchmark

ARCHS = {'SrSENet': SrSENet, 'SRCNN': SRCNN, 'FSRCNN': FSRCNN, 'VDSR': VDSR, 'DRCN': DRCN, 'LapSRN': LapSRN}


@pytest.fixture(scope='module')
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('benchmarks')
    write_photo('chelsea.png', folder / 'source/chelsea.png', (60, 100, 56, 64))
    write_photo('coffee.png', folder / 'source/coffee.png', (100, 200, 67, 49))
    for name in ('Set5', 'B100', 'Mine'):
        make_benchmark(folder / 'source', folder / name, [2, 4])
    shutil.rmtree(folder / 'source')
    return folder


@pytest.fixture(autouse=True)
def small_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, 'OUTPUT_HEIGHT', 64)
    monkeypatch.setattr(cost, 'OUTPUT_WIDTH', 96)


def weights_of(arch: type, path: Path, **options: Any) -> Path:
    """A file of weights as AcceleratedSRModel saves it."""
    torch.manual_seed(0)
    network_g = {'type': arch.__name__, **options}
    torch.save({'params': arch(**options).state_dict(), 'network_g': network_g}, path)
    return path


def compare(*arguments: object, status: int = 0) -> None:
    assert cli.main(['compare', *map(str, arguments)]) == status


def read(out: Path) -> dict[str, Any]:
    return json.loads((out / 'compare.json').read_text())


# What it costs


@pytest.mark.parametrize(
    ('method', 'scale'),
    [(method, scale) for scale in (2, 4, 8) for method in table.published(scale) if method in ARCHS],
)
def test_layers_as_table_1_counts_them(method: str, scale: int) -> None:
    lines = [line for line in table.table1() if (line['method'], line['scale']) == (method, str(scale))]
    (layers,) = {line['layers'] for line in lines}
    net = ARCHS[method](
        upscale=scale, **({'num_feat': 4} if method not in ('SRCNN', 'FSRCNN') else {}), **_small(method)
    )
    assert cost.complexity(net.eval(), 1, scale).layers == int(layers)


def _small(method: str) -> dict[str, Any]:
    return {'reduction': 2} if method == 'SrSENet' else {}


def test_complexity_of_srsenet_by_hand() -> None:
    found = cost.complexity(SrSENet(upscale=4).eval(), 1, 4)
    lr, hr = 16 * 24, 64 * 96
    convs = 9 * 64 + 16 * 9 * 64 * 64
    assert found.params == 858_977
    assert found.macs == lr * (convs + 8 * 8 * 64 * 64 + 8 * 8) + hr * 9 * 64 + 8 * 2 * 64 * 4
    assert found.activations == lr * 17 * 64 + hr * (64 + 1 + 1) + 8 * (64 + 4)


def test_complexity_is_that_of_the_large_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of convolutional networks, of those with windows, and of one whose cost does not grow with the pixels."""

    class AllToAll(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x.flatten(2).transpose(1, 2) @ x.flatten(2), -1)

    swinir = {'depths': [2], 'num_heads': [2], 'embed_dim': 8, 'window_size': 8, 'upsampler': 'pixelshuffle'}
    networks = [
        (find_network('LapSRN', 2).build(), 1, (40, 60)),
        (Network('', {'type': 'SwinIR', 'upscale': 2, **swinir}, 3, None).build(), 3, (40, 64)),
        (AllToAll(), 1, (40, 60)),
    ]
    monkeypatch.setattr(cost, 'OUTPUT_HEIGHT', 80)
    monkeypatch.setattr(cost, 'OUTPUT_WIDTH', 120)
    for net, channels, size in networks:
        found = cost.complexity(net, channels, 2)
        assert (found.macs, found.activations) == cost._count(net, channels, *size)


@pytest.mark.parametrize('arch', ['SrSENet', 'LapSRN', 'VDSR', 'FSRCNN', 'Bicubic', 'EDSR', 'RCAN', 'SwinIR'])
def test_costs_of_a_square_are_those_that_torch_counts(arch: str) -> None:
    """For RGB, whatever the network takes; torch counts a multiply-add as two operations."""
    options = {
        'RCAN': {'num_group': 1, 'num_block': 1},
        'SwinIR': {'depths': [2], 'num_heads': [2], 'embed_dim': 8, 'window_size': 8, 'upsampler': 'pixelshuffle'},
    }
    network = find_network(arch, 2)
    network = Network(arch, {**network.options, **options.get(arch, {})}, network.channels, None)
    net = network.build()
    net = net if network.channels == 3 else cost.InColour(net, 2)
    found = cost.complexity(net, 3, 2, 48)
    beside = 0  # mmengine counts norms and pools too

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal beside
        beside += inputs[0].numel() * (5 if isinstance(module, torch.nn.LayerNorm) else 1)

    for module in net.modules():
        if isinstance(module, (torch.nn.LayerNorm, torch.nn.AdaptiveAvgPool2d)):
            module.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        assert net(cost.lr_image(3, 2, side=48)).shape == (1, 3, 96, 96)
    assert counter.get_total_flops() == 2 * (found.macs - beside)


def test_activations_of_a_square_by_hand() -> None:
    """VDSR's 19 convolutions of 64 channels and its last one; two passes of bicubic for Y, Cb and Cr; colours."""
    found = cost.complexity(cost.InColour(VDSR(upscale=2).eval(), 2), 3, 2, 48)
    lr, hr = 48 * 48, 96 * 96
    assert found.activations == hr * (19 * 64 + 1) + 3 * (2 * lr + hr) + 3 * (lr + hr)


def test_multiply_adds_of_vdsr_are_the_literatures() -> None:
    """612.6 G for 1280x720: Ahn et al., CARN, ECCV 2018."""
    macs = cost.complexity(VDSR(upscale=4).eval(), 1, 4).macs
    bicubic = cost.complexity(Bicubic(4).eval(), 1, 4).macs
    assert (macs - bicubic) / (64 * 96) * 1280 * 720 == pytest.approx(612.6e9, rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='measured on Linux only')
def test_peak_memory_of_known_tensors() -> None:
    """Enlarging 3x180x320 to 1280x720 by bicubic in float64 needs some planes of 22 MB, not hundreds of MB."""
    needed = run_python(
        """
from srsenet_plugin import register
register()
import torch
from srsenet_plugin.compare import cost
ballast = torch.ones(300_000_000)  # this process's own memory must not hide the other's
print(cost.peak_memory({'type': 'Bicubic', 'upscale': 4}, 3, 4, torch.device('cpu')))
"""
    )
    assert 22e6 < float(needed) < 300e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='measured on Linux only')
def test_the_process_that_measures_runs_nothing_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ('torch', 'json', 'basicsr', 'srsenet_plugin', 'sitecustomize'):
        (tmp_path / f'{module}.py').write_text(f'open("{module} was run", "w")')
    monkeypatch.chdir(tmp_path)
    assert cost.peak_memory({'type': 'Bicubic', 'upscale': 4}, 3, 4, torch.device('cpu'))
    assert not list(tmp_path.glob('* was run'))


# How good it is


def test_scores_are_basicsrs_on_rgb_images() -> None:
    rng = np.random.default_rng(0)
    img, gt = rng.integers(0, 256, (2, 40, 50, 3), np.uint8)
    options: dict[str, Any] = {'crop_border': 3, 'test_y_channel': True}
    images = {'img': img, 'img2': gt}
    assert quality.score(img, gt, 3) == (
        calculate_metric(images, {'type': 'calculate_psnr', **options}),
        calculate_metric(images, {'type': 'calculate_ssim', **options}),
    )


@pytest.mark.parametrize('noise', [1, 10, 100])
def test_ssim_is_scikit_images(noise: float) -> None:
    rng = np.random.default_rng(0)
    gt = cv2.resize(rng.integers(0, 256, (12, 15, 3), np.uint8), (60, 48))
    img = np.clip(gt + rng.normal(0, noise, gt.shape), 0, 255).astype(np.uint8)
    y, gt_y = ((plane @ [24.966, 128.553, 65.481] / 255 + 16)[4:-4, 4:-4] for plane in (img, gt))
    expected = structural_similarity(
        y, gt_y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert quality.score(img, gt, 4)[1] == pytest.approx(expected, abs=1e-4)


def test_y_of_the_gt_image_is_not_rounded() -> None:
    gt = np.full((40, 40, 3), (10, 20, 30), np.uint8)
    y = 16 + (10 * 24.966 + 20 * 128.553 + 30 * 65.481) / 255
    psnr, _ = quality.score(np.full((40, 40), 40.0), gt, 2)
    assert psnr == pytest.approx(20 * np.log10(255 / (40 - y)), abs=1e-4)


def test_colours_are_bicubic_and_luma_the_networks(benchmarks: Path) -> None:
    lr = quality.read_bgr(benchmarks / 'Set5/LRbicx4/chelsea.png')
    y, bgr = quality.upscale(Bicubic(4, uint8=False), 1, lr, 4)
    _, expected = quality.upscale(Bicubic(4, uint8=False), 3, lr, 4)
    assert y.shape == bgr.shape[:2] == (56, 64)
    assert np.abs(bgr.astype(int) - expected).max() <= 1
    assert np.abs(y - (bgr @ [24.966, 128.553, 65.481] / 255 + 16)).max() < 1.5


def test_the_same_figures_as_the_validators(benchmarks: Path, tmp_path: Path) -> None:
    """Of BasicSR's SRModel for RGB, of AcceleratedSRModel with round_gt: false for Y."""
    weights = weights_of(SrSENet, tmp_path / 'weights.pth', num_feat=8, num_block=1, reduction=2)
    compare(
        *('--scale', 4, '--archs', 'Bicubic', 'SrSENet', '--benchmarks', benchmarks),
        *('--weights', f'SrSENet={weights}', '--out', tmp_path, '--no-timing'),
    )
    found = read(tmp_path)['4']
    from basicsr.data import build_dataloader, build_dataset
    from basicsr.models import build_model

    for arch, colour, model_type in (('Bicubic', {}, 'SRModel'), ('SrSENet', {'color': 'y'}, 'AcceleratedSRModel')):
        dataset = {
            'name': 'Set5',
            'type': 'PairedImageDataset',
            'phase': 'val',
            'scale': 4,
            'dataroot_gt': str(benchmarks / 'Set5/GTmod4'),
            'dataroot_lq': str(benchmarks / 'Set5/LRbicx4'),
            'io_backend': {'type': 'disk'},
            **colour,
        }
        metrics = {
            name: {'type': f'calculate_{name}', 'crop_border': 4, 'test_y_channel': True} for name in ('psnr', 'ssim')
        }
        network_g = {'type': arch, 'upscale': 4}
        if arch == 'SrSENet':
            network_g |= {'num_feat': 8, 'num_block': 1, 'reduction': 2}
        model = build_model(
            {
                'model_type': model_type,
                'is_train': False,
                'num_gpu': 0,
                'dist': False,
                'rank': 0,
                'world_size': 1,
                'name': 'x',
                'network_g': network_g,
                'path': {'pretrain_network_g': str(weights) if arch == 'SrSENet' else None, 'strict_load_g': True},
                'val': {'metrics': metrics, 'round_gt': False},
            }
        )
        model.validation(build_dataloader(build_dataset(dataset), dataset), 0, None)
        expected = [model.metric_results[name] for name in ('psnr', 'ssim')]
        assert found[arch]['scores']['Set5'] == pytest.approx(expected, abs=1e-6)


# The comparison


def test_tables_and_pictures(
    benchmarks: Path, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, 'peak_memory', lambda *arguments: 5e6)  # seconds for each; measured in other tests
    weights_of(LapSRN, tmp_path / 'lapsrn_x2.pth', num_feat=4, upscale=2)
    weights_of(LapSRN, tmp_path / 'lapsrn_x4.pth', num_feat=4, upscale=4)
    out = tmp_path / 'out'
    compare(
        *('--scale', 2, 4, '--archs', 'Bicubic', 'LapSRN', 'FSRCNN', '--benchmarks', benchmarks, '--paper'),
        *('--weights', f'LapSRN={tmp_path}/lapsrn_x{{scale}}.pth', '--out', out, '--square', 32),
    )
    printed = capfd.readouterr().out
    assert 'LapSRN, difference' in printed
    assert 'SelfExSR, Table I' in printed
    for scale in (2, 4):
        found = read(out)[str(scale)]
        assert list(found) == ['Bicubic', 'LapSRN', 'FSRCNN']
        assert list(found['LapSRN']['scores']) == ['Set5', 'B100', 'Mine']
        assert found['FSRCNN']['scores'] == {}
        assert all(row['latency'] > 0 and not row['problems'] for row in found.values())
        assert all(row['square']['side'] == 32 and row['square']['latency'] > 0 for row in found.values())
        assert all(f'torch {torch.__version__}' in row['machine'] for row in found.values())
        assert {path.name for path in (out / f'x{scale}/LapSRN/Mine').iterdir()} == {
            'chelsea.png',
            'coffee.png',
            'scores.json',
        }
        markdown = (out / f'compare_x{scale}.md').read_text().splitlines()
        assert '| 32x32 RGB: MACs (G) | 32x32 RGB: activations (M) | 32x32 RGB: time (ms) |' in markdown[0]
        psnr, ssim = found['LapSRN']['scores']['B100']
        assert f'{psnr:.2f} / {ssim:.4f}' in next(line for line in markdown if line.startswith('| LapSRN |'))
        fsrcnn = next(line for line in markdown if line.startswith('| FSRCNN |'))
        assert fsrcnn.endswith('|  |  |  |')
        for picture in ('psnr_time', 'crops'):
            assert cv2.imread(str(out / f'{picture}_x{scale}.png')).size > 100_000
    lines = list(csv.DictReader((out / 'compare.csv').open()))
    assert len(lines) == 2 * (3 + 3 + 1)
    bicubic = next(line for line in lines if (line['method'], line['benchmark']) == ('Bicubic', 'Set5'))
    assert (bicubic['square_side'], float(bicubic['square_latency_s']) > 0) == ('32', True)
    assert (bicubic['table1_psnr'], bicubic['table1_ssim'], bicubic['params']) == ('33.65', '0.93', '0')


def test_names_of_networks_equally_fast_and_good_do_not_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = _psnr_against_time(tmp_path, monkeypatch)
    renderer = FigureCanvasAgg(figure).get_renderer()
    names = {text.get_text(): text.get_window_extent(renderer) for text in figure.axes[0].texts}
    assert set(names) == {'Bicubic\n28.40 dB', 'LapSRN', 'SrSENet'}
    assert not names['SrSENet'].overlaps(names['LapSRN'])


def _psnr_against_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Figure:
    figures: list[Figure] = []
    monkeypatch.setattr(pictures, '_save', lambda figure, path: figures.append(figure))
    costs = {'macs': 0, 'activations': 0, 'layers': 1}
    deviations = {'Bicubic': (-1, 0, 1), 'LapSRN': (-1.02, 0.01, 1.01), 'SrSENet': (-1, 0, 1)}
    rows = [
        table.Row(
            name,
            cost.Complexity(params=params, **costs),
            seconds,
            0,
            {'Set5': (psnr, 0.9)},
            images={'Set5': {str(i): (psnr + by, 0.9) for i, by in enumerate(deviations[name])}},
        )
        for name, params, seconds, psnr in (
            ('Bicubic', 0, 0.02, 28.4),
            ('LapSRN', 870_000, 2.3, 31.58),
            ('SrSENet', 859_000, 2.2, 31.6),
        )
    ]
    assert pictures.draw_psnr_against_time(tmp_path / 'psnr_time.png', rows, ['Set5'], 4)
    return figures[0]


def test_the_picture_fits_the_networks_and_shows_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bicubic, 3 dB below them, is named at the edge."""
    axes = _psnr_against_time(tmp_path, monkeypatch).axes[0]
    bottom, top = axes.get_ylim()
    assert 31.5 < bottom < 31.56 < 31.6 < top < 31.7
    (bicubic,) = [text for text in axes.texts if text.get_text().startswith('Bicubic')]
    left, right = axes.get_xlim()
    assert left < bicubic.xy[0] < right
    assert bicubic.xy[1] == bottom
    bars = [
        collection.get_segments()[0][:, 1] for collection in axes.collections if hasattr(collection, 'get_segments')
    ]
    srsenet, lapsrn = sorted(bars, key=np.ptp)
    assert list(srsenet) == [31.6, 31.6]  # the reference
    assert list(lapsrn) == pytest.approx([31.56, 31.59])


def test_nothing_is_computed_twice(benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(benchmarks, tmp_path / 'benchmarks')
    upscaled: list[str] = []
    upscale = quality.upscale

    def count(net: Any, *arguments: Any) -> Any:
        upscaled.append(type(net).__name__)
        return upscale(net, *arguments)

    monkeypatch.setattr(quality, 'upscale', count)

    def again(*archs: str, seed: int = 0) -> list[str]:
        upscaled.clear()
        torch.manual_seed(seed)
        torch.save(FSRCNN(upscale=4).state_dict(), tmp_path / 'fsrcnn.pth')
        compare(
            *('--scale', 4, '--benchmarks', tmp_path / 'benchmarks', '--no-timing', '--out', tmp_path),
            *('--archs', *archs, '--weights', f'FSRCNN={tmp_path}/fsrcnn.pth'),
        )
        return list(upscaled)

    assert again('FSRCNN') == ['FSRCNN'] * 6
    before = read(tmp_path)
    assert again('FSRCNN') == []
    assert read(tmp_path) == before
    assert again('Bicubic', 'FSRCNN') == ['Bicubic'] * 6
    assert again('FSRCNN', seed=1) == ['FSRCNN'] * 6
    assert read(tmp_path) != before
    assert again('FSRCNN', seed=0) == ['FSRCNN'] * 6  # not the images of other weights under the same name
    assert read(tmp_path) == before
    (tmp_path / 'x4/FSRCNN/Set5/scores.json').write_text('{"key": ')
    assert again('FSRCNN') == ['FSRCNN'] * 2
    write_photo('chelsea.png', tmp_path / 'benchmarks/Mine/GTmod4/chelsea.png', (0, 0, 56, 64))
    assert again('FSRCNN') == ['FSRCNN'] * 2


@pytest.mark.parametrize('harm', ['deleted', 'garbled', 'blackened', 'swapped'])
def test_images_that_were_not_scored_are_made_anew(benchmarks: Path, tmp_path: Path, harm: str) -> None:
    arguments = ('--scale', 4, '--benchmarks', benchmarks, '--no-timing', '--out', tmp_path, '--archs', 'Bicubic')
    compare(*arguments)
    expected = read(tmp_path)
    image = tmp_path / 'x4/Bicubic/Set5/coffee.png'
    png = image.read_bytes()
    if harm == 'garbled':
        image.write_bytes(png[:500] + b'?' + png[501:])
    elif harm == 'blackened':
        cv2.imwrite(str(image), np.zeros_like(cv2.imread(str(image))))
    elif harm == 'swapped':
        shutil.copy(image.with_name('chelsea.png'), image)
    else:
        image.unlink()
    compare(*arguments)
    assert image.read_bytes() == png
    assert read(tmp_path) == expected


def test_two_runs_in_one_folder(benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one, of other weights, starts and ends while the first one is in the middle of a benchmark."""
    out = tmp_path / 'out'
    files = {seed: tmp_path / f'{seed}.pth' for seed in (0, 1)}
    for seed, file in files.items():
        torch.manual_seed(seed)
        torch.save(FSRCNN(upscale=4).state_dict(), file)

    def run_with(seed: int, folder: Path) -> dict[str, Any]:
        compare(
            *('--scale', 4, '--benchmarks', benchmarks, '--no-timing', '--out', folder),
            *('--archs', 'FSRCNN', '--weights', f'FSRCNN={files[seed]}'),
        )
        return read(folder)

    expected = {seed: run_with(seed, tmp_path / f'alone{seed}') for seed in files}
    scored: list[object] = []
    score = quality.score

    def interrupt(*arguments: Any) -> tuple[float, float]:
        scored.append(arguments)
        if len(scored) == 2:
            assert run_with(1, out) == expected[1]
        return score(*arguments)

    monkeypatch.setattr(quality, 'score', interrupt)
    assert run_with(0, out) == expected[0]
    for seed in files:  # and what they have left is not mixed up afterwards
        assert run_with(seed, out) == expected[seed]
        for image in (tmp_path / f'alone{seed}').rglob('FSRCNN/*/*.png'):
            assert (out / image.relative_to(tmp_path / f'alone{seed}')).read_bytes() == image.read_bytes()
    assert not list(out.rglob('.*'))


def test_what_a_user_has_put_beside_the_results_stays(benchmarks: Path, tmp_path: Path) -> None:
    mine = [tmp_path / 'x4/Bicubic/Set5/notes.txt', tmp_path / 'x4/Bicubic/Set5.part/notes.txt']
    for file in mine:
        file.parent.mkdir(parents=True)
        file.write_text('mine')
    compare('--scale', 4, '--benchmarks', benchmarks, '--no-timing', '--out', tmp_path, '--archs', 'Bicubic')
    assert [file.read_text() for file in mine] == ['mine', 'mine']


def test_images_within_the_border_cost_themselves_alone(
    benchmarks: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """Of 18x40 pixels no window of SSIM is left at x4; of 19 or more one is."""
    for name, box in {'icon': (0, 0, 4, 4), 'strip': (0, 0, 16, 40), 'small': (0, 0, 20, 20)}.items():
        write_photo('coffee.png', tmp_path / f'source/{name}.png', box)
    shutil.copy(benchmarks / 'Set5/GTmod4/coffee.png', tmp_path / 'source/coffee.png')
    make_benchmark(tmp_path / 'source', tmp_path / 'with/Mine', [4])
    for name in ('icon', 'strip'):
        (tmp_path / f'source/{name}.png').unlink()
    make_benchmark(tmp_path / 'source', tmp_path / 'without/Mine', [4])
    found = {}
    for folder in ('with', 'without'):
        out = tmp_path / folder / 'out'
        arguments = ('--scale', 4, '--no-timing', '--benchmarks', tmp_path / folder, '--out', out)
        compare(*arguments, '--archs', 'Bicubic', 'SrSENet')
        compare(*arguments, '--archs', 'Bicubic', '--results', f'Theirs={tmp_path}/with/out/x4/Bicubic')
        found[folder] = {name: row['scores'] for name, row in read(out)['4'].items()}
        if folder == 'with':
            note = 'Mine: the means are without icon, strip, smaller than the 19x19 pixels that a score needs'
            printed = capfd.readouterr().out
            assert f'x4 Bicubic, SrSENet: {note}\n' in printed
            assert f'x4 Bicubic, Theirs: {note}\n' in printed
    assert found['with'] == found['without']
    assert found['with']['Bicubic'] == found['with']['Theirs']
    assert np.isfinite(found['with']['Bicubic']['Mine']).all()


def test_a_benchmark_of_images_within_the_border_has_no_score(
    benchmarks: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    write_photo('coffee.png', tmp_path / 'source/icon.png', (0, 0, 8, 8))
    make_benchmark(tmp_path / 'source', tmp_path / 'data/Mine', [4])
    shutil.copytree(benchmarks / 'Set5', tmp_path / 'data/Set5')
    compare(
        *('--scale', 4, '--no-timing', '--benchmarks', tmp_path / 'data', '--out', tmp_path / 'out'),
        *('--archs', 'Bicubic'),
    )
    assert list(read(tmp_path / 'out')['4']['Bicubic']['scores']) == ['Set5']
    assert 'Mine: the means are without icon' in capfd.readouterr().out


def test_one_failing_row_leaves_the_others(benchmarks: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    torch.save({'params': {'x': torch.zeros(1)}}, tmp_path / 'wrong.pth')
    (tmp_path / 'damaged.pth').write_bytes(b'no weights')
    weights_of(VDSR, tmp_path / 'vdsr.pth', num_feat=4)
    archs = ['VGGStyleDiscriminator', 'NoNet', 'VDSR', 'SRCNN', 'LapSRN', 'DRCN', 'none.yml', 'Bicubic']
    weights = ['VDSR=none.pth', f'SRCNN={tmp_path}/wrong.pth', f'LapSRN={tmp_path}/damaged.pth']
    compare(
        *('--scale', 4, '--benchmarks', benchmarks, '--no-timing', '--out', tmp_path, '--archs', *archs),
        *('--weights', *weights, f'DRCN={tmp_path}/vdsr.pth'),
        status=1,
    )
    found = read(tmp_path)['4']
    assert set(found['Bicubic']['scores']) == {'Set5', 'B100', 'Mine'}
    printed = capfd.readouterr().err
    for message in (
        'VGGStyleDiscriminator: VGGStyleDiscriminator has no argument upscale or scale',
        'NoNet: NoNet is not registered. There are BasicVSR,',
        'VDSR: none.pth cannot be read: No such file or directory',
        f"SRCNN: {tmp_path}/wrong.pth and {{'type': 'SRCNN', 'upscale': 4, 'num_in_ch': 1, 'num_out_ch': 1}}: Error",
        f'LapSRN: {tmp_path}/damaged.pth is damaged, or no file of weights',
        f'DRCN: {tmp_path}/vdsr.pth holds weights of VDSR, not of DRCN.',
        'none: none.yml cannot be read: ',
    ):
        assert f'x4 {message}' in printed
    assert 'Traceback' not in printed


def test_weights_of_another_scale_are_named(benchmarks: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    weights = weights_of(LapSRN, tmp_path / 'lapsrn.pth', num_feat=4, upscale=4)
    compare(
        *('--scale', 2, 4, '--benchmarks', benchmarks, '--no-timing', '--out', tmp_path),
        *('--archs', 'LapSRN', '--weights', f'LapSRN={weights}'),
    )
    assert f'x2 LapSRN: {weights} is for x4' in capfd.readouterr().out
    assert read(tmp_path)['2']['LapSRN']['scores'] == {}
    assert len(read(tmp_path)['4']['LapSRN']['scores']) == 3


def test_finished_images(benchmarks: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """Those of BasicSR's tests, and any others; here what Bicubic has made."""
    compare('--scale', 4, '--benchmarks', benchmarks, '--no-timing', '--out', tmp_path, '--archs', 'Bicubic')
    expected = read(tmp_path)['4']['Bicubic']['scores']
    test = tmp_path / 'results/test_x4/visualization/Set5'
    test.mkdir(parents=True)
    for path in (tmp_path / 'x4/Bicubic/Set5').glob('*.png'):
        shutil.copy(path, test / f'{path.stem}_test_x4.png')
    (tmp_path / 'x4/Bicubic').rename(tmp_path / 'x4/{mine}')  # braces of other kinds are names
    folders = [f'Theirs={tmp_path}/x{{scale}}/{{mine}}', f'Tested={tmp_path}/results/test_x{{scale}}']
    arguments = ['--scale', 4, '--benchmarks', benchmarks, '--out', tmp_path, '--results', *folders]
    compare(*arguments)
    found = read(tmp_path)['4']
    assert found['Theirs']['scores'] == expected
    assert found['Tested']['scores'] == {'Set5': expected['Set5']}
    assert found['Tested']['complexity'] is None

    (test / 'chelsea_test_x4.png').unlink()
    cv2.imwrite(str(test / 'coffee_test_x4.png'), np.zeros((9, 9, 3), np.uint8))
    compare(*arguments, status=1)
    assert f'x4 Tested: {test} holds no image of chelsea.' in capfd.readouterr().err
    cv2.imwrite(str(test / 'chelsea_test_x4.png'), np.zeros((56, 64, 3), np.uint8))
    compare(*arguments, status=1)
    assert f'x4 Tested: {test}/coffee_test_x4.png is 9x9, but the GT image 48x64' in capfd.readouterr().err
    shutil.rmtree(test)
    compare(*arguments, status=1)
    assert f'x4 Tested: {tmp_path}/results/test_x4 holds no folder Set5 or B100 or Mine' in capfd.readouterr().err


# Table I


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with weights of SRCNN for x2, as ``srsenet fetch`` leaves them."""
    cache = tmp_path / 'cache'
    cache.mkdir()
    monkeypatch.setenv('SRSENET_CACHE', str(cache))
    torch.manual_seed(0)
    content = {'params': SRCNN().state_dict(), 'network_g': {'type': 'SRCNN'}, 'scales': [2]}
    torch.save(content, cache / 'SRCNN_x2.pth')
    return cache


def cells(path: Path) -> dict[str, list[str]]:
    """The rows of a table in Markdown by their first cells."""
    lines = [line.strip().removeprefix('|').removesuffix('|').split('|') for line in path.read_text().splitlines()]
    return {first.strip(): [cell.strip() for cell in others] for first, *others in lines}


@pytest.mark.usefixtures('fetched')
def test_table_1_in_one_command(
    benchmarks: Path, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each method by its authors' protocol, with the weights or the images that there are, or as the paper has it."""
    shutil.copytree(benchmarks / 'Set5', tmp_path / 'datasets/Set5')
    for method in ('SelfExSR', 'DRCN'):
        shutil.copytree(benchmarks / 'Set5/GTmod4', tmp_path / f'theirs/{method}_x4')
        for path in (tmp_path / f'theirs/{method}_x4').glob('*.png'):
            cv2.imwrite(str(path), cv2.GaussianBlur(cv2.imread(str(path)), (5, 5), 2))
    evaluated: dict[str, str] = {}
    evaluate = quality.evaluate_network

    def record(*arguments: Any) -> quality.Scores:
        evaluated[arguments[5]] = arguments[6].name
        return evaluate(*arguments)

    monkeypatch.setattr(quality, 'evaluate_network', record)
    results = [f'{method}={tmp_path}/theirs/{method}_x{{scale}}' for method in ('SelfExSR', 'DRCN')]
    arguments = ['--scale', 2, 4, '--paper', '--benchmarks', tmp_path / 'datasets', '--no-timing', '--out', tmp_path]
    compare(*arguments, '--results', *results)

    authors = {'SRCNN Set5': 'ycbcr', 'DRCN Set5': 'ycbcr'}
    assert evaluated == {'Bicubic Set5': 'uint8', **authors, 'SrSENet Set5': 'uint8'}
    x2, x4 = cells(tmp_path / 'compare_x2.md'), cells(tmp_path / 'compare_x4.md')
    assert x2['x2'] == ['weights', 'protocol', *table.COSTS, 'Set5 PSNR / SSIM']
    methods = list(table.published(2))
    assert [first for first in x2 if first.endswith(', Table I')] == [f'{method}, Table I' for method in methods]
    known = {method: (x2[method][0], x2[method][1], bool(x2[method][-1])) for method in methods if method in x2}
    assert known == {
        'Bicubic': ('none needed', 'uint8', True),
        'SRCNN': ('published', 'ycbcr', True),
        **dict.fromkeys(('FSRCNN', 'VDSR', 'LapSRN'), ('', '', False)),
        'DRCN': ("the package's", 'ycbcr', True),
        'SrSENet': ("the package's", 'uint8', True),
    }
    measured = {method for method in methods if f'{method}, difference' in x4}
    assert measured == {'Bicubic', 'SelfExSR', 'DRCN', 'SrSENet'}
    assert x4['DRCN'][:3] == ['finished images', 'ycbcr', '']
    psnr, ours = (float(cells[-1].split(' / ')[0]) for cells in (x2['SRCNN, Table I'], x2['SRCNN']))
    assert psnr == 36.65
    assert x2['SRCNN, difference'][-1].startswith(f'{ours - psnr:+.2f} / ')
    printed = capfd.readouterr().out
    for methods in ('x2 FSRCNN, VDSR, LapSRN', 'x4 SRCNN, FSRCNN, VDSR, LapSRN'):
        command = f'srsenet fetch {methods[3:].replace(",", "")} brings them'
        assert f"{methods}: the authors' weights have not been fetched; {command}\n" in printed
    assert 'x2 SelfExSR: there are no finished images of this scale' in printed

    evaluated.clear()
    compare(*arguments, '--archs', 'Bicubic', 'SRCNN', '--protocol', 'double')
    assert set(evaluated.values()) == {'double'}
    assert {cells(tmp_path / 'compare_x2.md')[name][1] for name in ('Bicubic', 'SRCNN')} == {'double'}


@pytest.mark.usefixtures('fetched')
def test_weights_that_are_not_named_are_those_of_this_plugins_networks(
    benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of an option file's network, nor of another project's by the same name."""
    (tmp_path / 'train_SrSENet_x2.yml').write_text('network_g:\n  type: SrSENet\n  num_feat: 16\n')
    arguments = ['--scale', 2, '--benchmarks', benchmarks, '--no-timing', '--out', tmp_path]
    compare(*arguments, '--archs', tmp_path / 'train_SrSENet_x2.yml', 'SRCNN')
    found = read(tmp_path)['2']
    assert (found['SRCNN']['weights'], len(found['SRCNN']['scores'])) == ('published', 3)
    assert (found['SrSENet']['weights'], found['SrSENet']['scores']) == ('', {})
    assert found['SrSENet']['complexity']['params'] < 100_000

    class Theirs(SRCNN):
        pass

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'SRCNN', Theirs)
    compare(*arguments, '--archs', 'SRCNN')
    assert (read(tmp_path)['2']['SRCNN']['weights'], read(tmp_path)['2']['SRCNN']['scores']) == ('', {})


@pytest.mark.parametrize(
    ('files', 'owners'),
    [
        (['img', 'img_2'], ['img', 'img_2']),
        (['img_test_x4', 'img_2_test_x4'], ['img_test_x4', 'img_2_test_x4']),
        (['img_2', 'img_2_2'], ['img_2', 'img_2_2']),  # a test named 2
        (['img', 'img_2', 'img_2_2'], ['img', 'img_2']),
        (['img_psnr31', 'img_2_psnr29'], ['img_psnr31', 'img_2_psnr29']),
        (['img_2_test'], [None, 'img_2_test']),
        (['img_test'], ['img_test', None]),
        (['img_a', 'img_2_a', 'img_b', 'img_2_b'], [None, None]),  # whose are they?
    ],
)
def test_finished_images_whose_names_begin_alike(files: list[str], owners: list[str | None]) -> None:
    found = quality.match_images(['img', 'img_2'], [Path(f'{file}.png') for file in files])
    assert [paths[0].stem if len(paths) == 1 else None for paths in found.values()] == owners


@pytest.mark.parametrize(
    ('names', 'files'),
    [
        (['baby', 'head'], ['baby_GT', 'head_GT']),
        (['baby_GT', 'head_GT'], ['baby', 'head']),
        (['baby', 'head'], ['babyx4', 'headx4']),
        (['baby', 'head'], ['baby_x4_SR', 'head_x4_SR']),
        (['baby', 'head'], ['baby-LapSRN', 'head-LapSRN']),
        (['baby', 'head'], ['img_001_SRF_4_SelfExSR', 'img_002_SRF_4_SelfExSR']),
        (['img_001', 'img_002'], ['img_001_SRF_4_SelfExSR', 'img_002_SRF_4_SelfExSR']),
        (['img_001_SRF_4_HR', 'img_002_SRF_4_HR'], ['img_001_SRF_4_LapSRN', 'img_002_SRF_4_LapSRN']),
        (['1', '10', '100'], ['1_x4', '10_x4', '100_x4']),
    ],
)
def test_finished_images_by_their_authors_names(names: list[str], files: list[str]) -> None:
    found = quality.match_images(names, [Path(f'{file}.png') for file in reversed(files)])
    assert {name: [path.stem for path in paths] for name, paths in found.items()} == {
        name: [file] for name, file in zip(names, files)
    }


def test_numbers_do_not_stand_for_numbered_images() -> None:
    """SelfExSR numbers B100 too, but in an order that its names, 101085 and 3096, do not tell."""
    found = quality.match_images(['101085', '3096'], [Path('img_001_SRF_4.png'), Path('img_002_SRF_4.png')])
    assert found == {'101085': [], '3096': []}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ['--benchmarks', 'none'],
            'none holds no benchmark for x4. Make them with: srsenet prepare benchmark --source',
        ),
        (['--weights', 'VDSR=x.pth'], 'there are weights of VDSR, but no such architecture is compared.'),
        (['--device', 'cuda:77'], 'The device cuda:77 cannot be used: '),
        (['--archs', 'VDSR', 'options/train_VDSR_x4.yml'], 'a name can be compared only once: VDSR, VDSR.'),
        (['--device', 'abacus'], 'The device abacus cannot be used: '),
    ],
)
def test_mistakes_are_named(tmp_path: Path, capfd: pytest.CaptureFixture, arguments: list[str], message: str) -> None:
    if '--archs' not in arguments:
        arguments = ['--archs', 'Bicubic', *arguments]
    compare('--scale', 4, '--out', tmp_path / 'out', *arguments, status=1)
    assert f'srsenet: {message}' in capfd.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_nothing_to_compare(capfd: pytest.CaptureFixture) -> None:
    compare('--scale', 4, status=1)
    assert (
        'srsenet: there is nothing to compare: name --archs, --models or --results, or --paper.'
        in capfd.readouterr().err
    )


def test_incomplete_benchmarks_are_named(benchmarks: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    shutil.copytree(benchmarks / 'Set5', tmp_path / 'Set5')
    (tmp_path / 'Set5/LRbicx4/coffee.png').unlink()
    compare('--scale', 4, '--archs', 'Bicubic', '--benchmarks', tmp_path, '--out', tmp_path / 'out', status=1)
    assert f'{tmp_path}/Set5/LRbicx4/coffee.png is missing.' in capfd.readouterr().err


def test_published_figures_are_the_papers(shared_datasets: Path) -> None:
    text = (shared_datasets.parent / 'paper/SrSENet_paper.txt').read_text()
    names = ('Set5', 'Set14', 'B100', 'Urban100', 'Manga109')
    lines = re.findall(r'^(\w+)[^\t\n]*\t([248])x\t[^\t\n]*\t(.*)$', re.sub(r'</?[bi]>', '', text), re.MULTILINE)
    assert len(lines) == 23
    for method, scale, cells in lines:
        figures = [tuple(map(float, cell.split(' / '))) for cell in cells.split('\t')]
        assert table.published(int(scale))[method] == dict(zip(names, figures))


# Finding networks


def test_options_come_from_the_file_of_weights(tmp_path: Path) -> None:
    weights = weights_of(SrSENet, tmp_path / 'x.pth', num_in_ch=3, num_out_ch=3, num_feat=8, reduction=2, upscale=2)
    network = find_network('SrSENet', 2, weights)
    assert network.channels == 3
    assert network.build()(torch.rand(1, 3, 4, 4)).shape == (1, 3, 8, 8)


def test_channels_come_from_the_weights(tmp_path: Path) -> None:
    for channels in (1, 3):
        net = SRCNN(num_in_ch=channels, num_out_ch=channels)
        torch.save({'params_ema': net.state_dict(), 'params': {}}, tmp_path / 'x.pth')
        assert find_network('SRCNN', 4, tmp_path / 'x.pth').channels == channels
    assert find_network('SRCNN', 4).channels == 1
    assert find_network('EDSR', 4).channels == 3


def test_option_files_are_architectures(tmp_path: Path) -> None:
    path = tmp_path / 'train_Wide_x2.yml'
    path.write_text('network_g:\n  type: SrSENet\n  num_feat: 96\n  upscale: 4\n')
    network = find_network(str(path), 2)
    assert (network.name, network.options['upscale'], network.options['num_feat']) == ('Wide', 2, 96)
    path.write_text('name: x')
    with pytest.raises(ValueError, match='has no network_g with a type'):
        find_network(str(path), 2)
    path.write_text('network_g:\n  upscale: 4\n')
    with pytest.raises(ValueError, match='has no network_g with a type'):
        find_network(str(path), 2)
    path.write_text('network_g: !!python/object/apply:os.getpid []')
    with pytest.raises(ValueError, match='cannot be read: could not determine a constructor'):
        find_network(str(path), 2)


def test_swinir_takes_images_of_any_size() -> None:
    net = find_network('SwinIR', 2).build()
    with torch.no_grad():
        assert net(torch.rand(1, 3, 9, 13)).shape == (1, 3, 18, 26)


@pytest.mark.parametrize(('arch', 'params'), [('RCAN', 15_592_355), ('SwinIR', 11_900_199), ('MSRResNet', 1_517_571)])
def test_published_networks(arch: str, params: int) -> None:
    """As BasicSR's own option files have them: RCAN_BIX4, SwinIR_SRx4_scratch and MSRResNet_x4."""
    assert sum(parameter.numel() for parameter in find_network(arch, 4).build().parameters()) == params


def test_a_network_that_fails_while_it_is_timed_leaves_the_others() -> None:
    class Failing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError('too large\nat line 3')

    times, problems = cost.latencies({'a': (Failing(), 1), 'b': (Bicubic(2), 1)}, 2, torch.device('cpu'))
    assert list(times) == ['b']
    assert problems == {'a': 'AssertionError: too large'}


# Networks of other projects


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a project built on BasicSR, which registers its architectures as such projects do."""
    archs = tmp_path / 'my_project/archs'
    archs.mkdir(parents=True)
    (tmp_path / 'my_project/__init__.py').write_text('from .archs import *\n')
    (archs / '__init__.py').write_text(
        """
import importlib
from os import path
from basicsr.utils import scandir
for file in scandir(path.dirname(path.abspath(__file__)), suffix='_arch.py'):
    importlib.import_module(f'my_project.archs.{file[:-3]}')
"""
    )
    (archs / 'widest_arch.py').write_text(
        """
from torch import nn
from basicsr.utils.registry import ARCH_REGISTRY
from my_project.blocks import Enlarge

@ARCH_REGISTRY.register()
class WidestNet(nn.Module):
    def __init__(self, num_in_ch=3, num_out_ch=3, num_feat=64, upscale=4):
        super().__init__()
        self.conv = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.enlarge = Enlarge(num_feat, num_out_ch, upscale)

    def forward(self, x):
        return self.enlarge(self.conv(x))
"""
    )
    (tmp_path / 'my_project/blocks.py').write_text(
        """
from torch import nn

class Enlarge(nn.Sequential):
    def __init__(self, num_feat, num_ch, scale):
        super().__init__(nn.Conv2d(num_feat, num_ch * scale**2, 3, padding=1), nn.PixelShuffle(scale))
"""
    )
    (tmp_path / 'torch.py').write_text('open("torch.py was run", "w")')
    (tmp_path / 'train_Wide_x4.yml').write_text('network_g:\n  type: WidestNet\n  num_feat: 8\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition('.')[0] == 'my_project']:
        del sys.modules[name]
    ARCH_REGISTRY._obj_map.pop('WidestNet', None)


@pytest.mark.slow
def test_the_literal_command_for_another_project(project: Path, benchmarks: Path) -> None:
    """A network of the working folder, and one of an option file, with weights and all measurements."""
    sys.path.append(str(project))
    import_projects(['my_project'])
    torch.save({'params': find_network('WidestNet', 4).build().state_dict()}, 'widest.pth')
    command = ['srsenet', 'compare', '--scale', 4, '--import', 'my_project', '--benchmarks', benchmarks]
    run([*command, '--archs', 'WidestNet', 'train_Wide_x4.yml', '--weights', 'WidestNet=widest.pth'], project)
    found = read(project / 'results/compare')['4']
    assert set(found['WidestNet']['scores']) == {'Set5', 'B100', 'Mine'}
    for method, feats in (('WidestNet', 64), ('Wide', 8)):
        assert found[method]['complexity']['macs'] == 180 * 320 * 9 * (3 * feats + 48 * feats)
        assert found[method]['memory'] > 1e6
        assert found[method]['problems'] == []
    assert not (project / 'torch.py was run').exists()


def test_code_of_another_project_that_changes_is_seen(project: Path) -> None:
    sys.path.append(str(project))
    import_projects(['my_project'])
    before = find_network('WidestNet', 4).digest()
    assert find_network('WidestNet', 4).digest() == before
    with (project / 'my_project/blocks.py').open('a') as file:
        file.write('# changed')
    assert find_network('WidestNet', 4).digest() != before


def test_projects_that_cannot_be_imported_are_named(project: Path, capfd: pytest.CaptureFixture) -> None:
    arguments = ['--scale', 4, '--archs', 'WidestNet', '--no-timing', '--out', project / 'out']
    compare(*arguments, status=1)
    assert 'WidestNet is not registered. There are ' in (printed := capfd.readouterr().err)
    assert 'or import the module that registers it.' in printed
    shutil.rmtree(project / 'out')
    for name, code, message in (
        ('none', '', "ModuleNotFoundError: No module named 'none'"),
        ('old', 'import torchvision.transforms.functional_tensors', 'ModuleNotFoundError: No module named'),
        ('broken', 'import (', 'SyntaxError: invalid syntax'),
        (
            'twice',
            'from basicsr.utils.registry import ARCH_REGISTRY\n@ARCH_REGISTRY.register()\nclass EDSR: pass',
            "AssertionError: An object named 'EDSR' was already registered in 'arch' registry!",
        ),
    ):
        if code:
            (project / f'{name}.py').write_text(code)
        compare(*arguments, '--import', name, status=1)
        assert f'srsenet: {name} cannot be imported: {message}' in capfd.readouterr().err
    assert not (project / 'out').exists()


@pytest.mark.slow
def test_the_literal_command(benchmarks: Path, tmp_path: Path) -> None:
    command = ['srsenet', 'compare', '--scale', '4', '--archs', 'Bicubic', 'FSRCNN', '--benchmarks', benchmarks]
    printed = run([*command, '--paper'], tmp_path)
    assert 'Tables, pictures and images are in results/compare.' in printed
    found = read(tmp_path / 'results/compare')['4']
    # Each weight once for each LR pixel; those of the deconvolution for the replicated ones around the image too.
    macs = 180 * 320 * (25 * 56 + 2 * 56 * 12 + 4 * 9 * 12 * 12) + 182 * 322 * 81 * 56
    assert found['FSRCNN']['complexity']['macs'] == macs
    assert found['FSRCNN']['memory'] > 1e6
    assert 'Traceback' not in printed
