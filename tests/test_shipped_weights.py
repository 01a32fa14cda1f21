"""The package's weights, and the figures that are stated of them."""

from __future__ import annotations

import functools
import io
import re
from pathlib import Path

import benchmark_jpeg
import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.utils.color_util import bgr2ycbcr
from conftest import PHOTOS, ROOT, run
from numpy.typing import NDArray
from PIL import Image
from test_convert import FIGURES_ON_SET5

import srsenet_plugin
from srsenet_plugin import cli
from srsenet_plugin.archs.arch_util import FullPrecisionConv2d
from srsenet_plugin.compare import quality, table
from srsenet_plugin.compare.networks import find_network
from srsenet_plugin.compare.protocols import PROTOCOLS
from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.inference.stripwise import StripwiseSrSENet
from srsenet_plugin.inference.upscaler import Upscaler
from srsenet_plugin.machine.precision import amp_dtype
from srsenet_plugin.weights import pretrained

SCALES = pretrained.scales()
TABLE_1_SCALES = (2, 4, 8)
JPEG_WEIGHTS = [name for name in pretrained.names() if name.endswith('_jpeg')]
OTHER_NETWORKS = [name for name in pretrained.names() if not name.startswith('srsenet')]
SHORT_OF_TABLE_1 = ('vdsr_x8', 'drcn_x2', 'drcn_x4')  # the model card states by how much
BENCHMARKS = ('Set5', 'Set14', 'B100', 'Urban100')
Figures = dict[str, tuple[float, float]]


def row_of(document: str, heading: str, row: str) -> list[str]:
    """The cells after the first of a row of a Markdown table."""
    lines = (ROOT / document).read_text(encoding='utf-8').splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    return next(line for line in lines[start:] if line.startswith(f'| {row} |')).strip('| ').split(' | ')[1:]


def figures(cells: list[str]) -> Figures:
    """PSNR and SSIM of the benchmarks, such as ``31.40 / 0.881``."""
    psnrs, ssims = zip(*(map(float, cell.split(' / ')) for cell in cells[: len(BENCHMARKS)]))
    return dict(zip(BENCHMARKS, zip(psnrs, ssims)))


def stated(scale: int) -> Figures:
    """In the table of all networks, or, at a scale that Table I does not have, in the model card."""
    if scale not in TABLE_1_SCALES:
        return figures(row_of('docs/model_card.md', '| PSNR', f'x{scale}, these weights'))
    heads, cells = (row_of('docs/compare.md', f'| x{scale} |', row) for row in (f'x{scale}', 'SrSENet'))
    return figures(cells[heads.index('Set5 PSNR / SSIM') :])


def assert_as_stated(measured: Figures, scale: int) -> None:
    for name, (psnr, ssim) in measured.items():
        assert psnr == pytest.approx(stated(scale)[name][0], abs=0.01), name
        assert ssim == pytest.approx(stated(scale)[name][1], abs=0.0002), name


@pytest.mark.slow
@pytest.mark.parametrize('scale', SCALES)
def test_the_literal_command_has_the_stated_figures(benchmarks: Path, scale: int) -> None:
    opt = yaml.safe_load((ROOT / f'options/test_SrSENet_x{scale}.yml').read_text())
    opt['datasets'] = {key: value for key, value in opt['datasets'].items() if value['name'] == 'Set5'}
    (benchmarks / 'test.yml').write_text(yaml.safe_dump(opt, sort_keys=False))
    printed = run(['python', 'basicsr/test.py', '-opt', 'test.yml'], benchmarks)
    found = re.findall(r'Validation (\w+)\s+# psnr: (\d\d\.\d{4}).*\s+# ssim: (0\.\d{4})', printed)
    assert [name for name, *_ in found] == ['Set5']
    assert_as_stated({name: (float(psnr), float(ssim)) for name, psnr, ssim in found}, scale)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['Set14', 'B100'])
@pytest.mark.parametrize('scale', SCALES)
def test_larger_benchmarks_have_the_stated_figures(benchmarks: Path, name: str, scale: int) -> None:
    """Strip by strip, which is the same image, sooner."""
    net = StripwiseSrSENet(pretrained.load_pretrained(scale))
    (benchmark,) = (found for found in quality.find_benchmarks(benchmarks / 'datasets', scale) if found.name == name)
    scores = {key: score(net, lr, gt, scale) for key, (gt, lr) in benchmark.pairs.items()}
    assert_as_stated({name: quality.means(scores)}, scale)


def score(net: torch.nn.Module, lr: Path, gt: Path, scale: int) -> tuple[float, float]:
    y = bgr2ycbcr(cv2.imread(str(lr)).astype(np.float32) / 255, y_only=True)
    with torch.inference_mode():
        sr = net(torch.from_numpy(y)[None, None])[0, 0].numpy()
    return quality.score(np.round(sr.clip(0, 1) * 255), cv2.imread(str(gt)), scale)


@pytest.mark.parametrize('scale', TABLE_1_SCALES)
def test_the_model_card_states_the_same(scale: int) -> None:
    """And beside them the paper's row and the best one of its Table I."""
    card = functools.partial(row_of, 'docs/model_card.md', '| PSNR')
    rows = table.published(scale)
    assert figures(card(f'x{scale}, these weights')) == stated(scale)
    assert figures(card(f'x{scale}, paper')) == {name: rows['SrSENet'][name] for name in BENCHMARKS}
    best = [max(row[name][0] for row in rows.values()) for name in BENCHMARKS]
    assert list(map(float, card(f'x{scale}, best of Table I'))) == best


@pytest.mark.parametrize('scale', SCALES)
def test_sharpens_a_photograph(scale: int) -> None:
    """By one line, a photograph that is in no training set; without the benchmarks, so everywhere."""
    photo = np.asarray(Image.open(PHOTOS / 'chelsea.png'))[40:184, 80:224]
    lr = imresize(photo, 1 / scale)
    sr = srsenet_plugin.upscale(lr, scale=scale)
    assert psnr(sr, photo, scale) > psnr(imresize(lr, scale), photo, scale) + 0.2


def psnr(img: NDArray[np.uint8], gt: NDArray[np.uint8], scale: int) -> float:
    return quality.score(img[..., ::-1].astype(np.float64), np.ascontiguousarray(gt[..., ::-1]), scale)[0]


@pytest.mark.parametrize('name', JPEG_WEIGHTS)
def test_jpeg_weights_restore_a_photograph(name: str) -> None:
    """That is in no training set; without the benchmarks, so everywhere."""
    scale = int(name[len('srsenet_x')])
    photo = np.asarray(Image.open(PHOTOS / 'chelsea.png'))[40:184, 80:224]
    buffer = io.BytesIO()
    Image.fromarray(imresize(photo, 1 / scale)).save(buffer, 'JPEG', quality=50)
    lr = np.asarray(Image.open(buffer))
    restored = psnr(Upscaler(scale, name)(lr), photo, scale)
    assert restored > psnr(Upscaler(scale)(lr), photo, scale) + 0.1
    assert restored > psnr(imresize(lr, scale), photo, scale)


@pytest.mark.slow
@pytest.mark.parametrize('name', JPEG_WEIGHTS)
def test_jpeg_weights_are_better_on_jpegs(benchmarks: Path, name: str) -> None:
    """Than bicubic and the weights for clean images, at each quality up to 90; and they cost little on clean ones."""
    scale = int(name[len('srsenet_x')])
    ways = benchmark_jpeg.upscalers(scale, name)
    (set5,) = quality.find_benchmarks(benchmarks / 'datasets/Set5', scale)
    for jpeg_quality in benchmark_jpeg.QUALITIES:
        psnrs = benchmark_jpeg.measure(set5, jpeg_quality, ways)
        assert psnrs.pop(name) > max(psnrs.values()), jpeg_quality
    psnrs = benchmark_jpeg.measure(set5, None, ways)
    assert psnrs[name] > psnrs[f'srsenet_x{scale}'] - 0.3


@pytest.mark.slow
@pytest.mark.parametrize('scale', SCALES)
def test_bf16_costs_less_than_a_hundredth_of_a_decibel(shared_datasets: Path, scale: int) -> None:
    means = []
    for precision in ('fp32', 'bf16'):
        upscaler = Upscaler(scale, precision=precision)
        psnrs = []
        for path in sorted((shared_datasets / 'Set5/HR').glob('*.png')):
            gt = np.asarray(Image.open(path).convert('RGB'))
            gt = gt[: len(gt) // scale * scale, : gt.shape[1] // scale * scale]
            psnrs.append(psnr(upscaler(imresize(gt, 1 / scale)), gt, scale))
        means.append(np.mean(psnrs))
    assert abs(means[0] - means[1]) < 0.01


def test_half_precision_is_all_that_is_stored() -> None:
    """Except the first convolutions on an enlarged image."""
    for name in pretrained.names():
        content = torch.load(pretrained.weights_file(name), weights_only=True)
        assert content.keys() == {'params', 'network_g'}
        net = build_network(dict(content['network_g']))
        full = [f'{key}.weight' for key, module in net.named_modules() if isinstance(module, FullPrecisionConv2d)]
        for key, weight in content['params'].items():
            first = key.replace('bias', 'weight') in full
            assert weight.dtype == (torch.float32 if first else torch.float16), (name, key)
        assert content['network_g']['type'].lower() == name.partition('_')[0]
    released = yaml.safe_load((ROOT / 'options/released/stages.yml').read_text())
    assert set(pretrained.names()) <= set(released)
    assert set(TABLE_1_SCALES) <= set(SCALES)


@pytest.mark.slow
@pytest.mark.parametrize('name', OTHER_NETWORKS)
def test_other_networks_have_the_stated_figures(benchmarks: Path, tmp_path: Path, name: str) -> None:
    """By their authors' protocol."""
    method, scale = method_and_scale(name)
    found = quality.find_benchmarks(benchmarks / 'datasets', scale)
    benchmark = next(benchmark for benchmark in found if benchmark.name == 'Set5')
    net = find_network(method, scale, pretrained.weights_file(name)).build()
    dtype = amp_dtype('bf16' if method == 'DRCN' else 'off', 'cpu')[0]  # which takes minutes in float32
    with torch.autocast('cpu', dtype, enabled=dtype is not None):
        scores = quality.evaluate_network(net, 1, '', benchmark, tmp_path / 'Set5', '', PROTOCOLS['ycbcr'])
    assert quality.means(scores)[0] == pytest.approx(stated_on_set5(name), abs=0.01)


@pytest.mark.parametrize('name', OTHER_NETWORKS)
def test_other_networks_have_the_figures_of_table_1(name: str) -> None:
    """Or the model card states what they lack."""
    method, scale = method_and_scale(name)
    stated, paper = stated_on_set5(name), table.published(scale)[method]['Set5'][0]
    assert list(map(float, row_of('docs/model_card.md', '| weights', f'`{name}`')[-2:])) == [
        paper,
        pytest.approx(stated - paper, abs=0.0001),
    ]
    cells = row_of('docs/compare.md', f'| x{scale} |', method)
    if cells[0] == "the package's":
        assert cells[1] == 'ycbcr'
        assert float(next(cell for cell in cells if ' / ' in cell).split(' / ')[0]) == stated
    else:
        assert cells[0] == 'finished images'
    if name not in SHORT_OF_TABLE_1:
        assert stated == pytest.approx(paper, abs=0.05)


def method_and_scale(name: str) -> tuple[str, int]:
    arch, _, scale = name.partition('_x')
    return next(method for method in table.published(int(scale)) if method.lower() == arch), int(scale)


def stated_on_set5(name: str) -> float:
    return float(row_of('docs/model_card.md', '| weights', f'`{name}`')[-3])


def test_files_of_the_package_are_upscaled_by_name(tmp_path: Path) -> None:
    Image.open(PHOTOS / 'coffee.png').crop((200, 100, 220, 130)).save(tmp_path / 'photo.png')
    assert cli.main(['upscale', str(tmp_path / 'photo.png'), '-s', '8']) == 0
    assert Image.open(tmp_path / 'photo_x8.png').size == (160, 240)
    assert cli.main(['upscale', str(tmp_path / 'photo.png'), '-s', '9']) == 1


def test_the_readme_states_the_same() -> None:
    paper, ours = (cell.split(' / ') for cell in row_of('README.md', '## Proof', 'Set5 x2 / x4 / x8, PSNR')[:2])
    for scale, theirs, own in zip(TABLE_1_SCALES, paper, ours):
        assert float(own) == stated(scale)['Set5'][0]
        assert float(theirs) == table.published(scale)['SrSENet']['Set5'][0]


@pytest.mark.parametrize('scale', TABLE_1_SCALES)
def test_the_documented_table_1(scale: int) -> None:
    """Its rows of the paper are the paper's, its differences add up, and published weights have their figures."""
    row = functools.partial(row_of, 'docs/compare.md', f'| x{scale} |')
    heads = row(f'x{scale}')
    first = heads.index('Set5 PSNR / SSIM')
    names = [head.removesuffix(' PSNR / SSIM') for head in heads[first:]]
    for method, theirs in table.published(scale).items():
        stated_theirs = [tuple(map(float, cell.split(' / '))) for cell in row(f'{method}, Table I')[first:]]
        assert dict(zip(names, stated_theirs)) == {name: theirs[name] for name in names}, method
    for method in measured_methods(scale):
        for name, ours, difference in zip(names, row(method)[first:], row(f'{method}, difference')[first:]):
            if ours:
                (psnr, ssim), (more_psnr, more_ssim) = (map(float, cell.split(' / ')) for cell in (ours, difference))
                paper = table.published(scale)[method][name]
                assert psnr - paper[0] == pytest.approx(more_psnr, abs=0.0101), (method, name)
                assert ssim - paper[1] == pytest.approx(more_ssim, abs=0.00101), (method, name)
    for arch, of_scale, _, protocol, psnr in FIGURES_ON_SET5:
        if of_scale == scale and arch in measured_methods(scale) and row(arch)[:2] == ['published', protocol]:
            assert float(row(arch)[first].split(' / ')[0]) == pytest.approx(psnr, abs=0.015), arch


def measured_methods(scale: int) -> list[str]:
    """Methods of Table I that the documents have figures of."""
    lines = (ROOT / 'docs/compare.md').read_text(encoding='utf-8').splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f'| x{scale} |'))
    end = lines.index('', start)
    return re.findall(r'^\| (\w+), difference \|', '\n'.join(lines[start:end]), re.MULTILINE)
