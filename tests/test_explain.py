"""``srsenet explain``: the protocol of a figure, the program of LR images, the benchmark of HR images."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import save_network, write_photo
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from srsenet_plugin import Bicubic, cli
from srsenet_plugin.compare import explain, quality
from srsenet_plugin.compare.protocols import PROTOCOLS, UINT8
from srsenet_plugin.data.colour import rgb_to_rounded_y
from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.data.resizers import RESIZERS, Y_ALONE
from srsenet_plugin.prepare.benchmark_folders import make_benchmark

BOXES = {'chelsea': (60, 100, 82, 107), 'coffee': (100, 200, 75, 70)}


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    """HR images of sides that no scale divides."""
    for name, box in BOXES.items():
        write_photo(f'{name}.png', tmp_path / f'Mine/HR/{name}.png', box)
    return tmp_path / 'Mine/HR'


def run(capfd: pytest.CaptureFixture, *arguments: object, status: int = 0) -> str:
    assert cli.main(['explain', *map(str, arguments)]) == status
    captured = capfd.readouterr()
    return captured.err if status else captured.out


def write_results(hr: Path, folder: Path, scale: int = 2) -> None:
    folder.mkdir()
    for path in hr.iterdir():
        img = cv2.imread(str(path))
        height, width = (side // scale * scale for side in img.shape[:2])
        cv2.imwrite(str(folder / f'{path.stem}_x{scale}_SR.png'), cv2.GaussianBlur(img[:height, :width], (5, 5), 1))


def test_a_claimed_figure_names_its_protocol(hr: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    write_results(hr, tmp_path / 'results')
    psnrs = []
    for path in sorted(hr.iterdir()):
        img = cv2.imread(str(tmp_path / f'results/{path.stem}_x2_SR.png'))
        gt = cv2.imread(str(path))[: img.shape[0], : img.shape[1]]
        psnrs.append(peak_signal_noise_ratio(gt[2:-2, 2:-2], img[2:-2, 2:-2]))
    rgb = f'{np.mean(psnrs):.3f}'
    arguments = [tmp_path / 'results', '--benchmark', hr, '-s', 2]
    printed = run(capfd, *arguments, '--claimed', rgb)
    assert f'{rgb} dB is a figure of this protocol:\n  ntire (RGB, border scale): {rgb} dB' in printed
    assert all(re.search(rf'\b{name}\b', printed) for name in PROTOCOLS)
    printed = run(capfd, *arguments, '--claimed', 99.99)
    assert 'No protocol gives 99.99 dB here. The nearest is ' in printed


def test_results_of_y_have_no_figures_on_rgb(hr: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """As ``test.py`` saves them with ``color: y``, in a folder of the benchmark's name; `basicsr` rounds Y of GT."""
    write_results(hr, tmp_path / 'in_colour')
    (tmp_path / 'test/visualization/HR').mkdir(parents=True)
    for path in (tmp_path / 'in_colour').iterdir():
        y = rgb_to_rounded_y(cv2.imread(str(path))[..., ::-1])
        cv2.imwrite(str(tmp_path / 'test/visualization/HR' / path.name), y)
    printed = run(capfd, tmp_path / 'test', '--benchmark', hr, '-s', 2)
    assert 'RGB' not in printed
    figures = explain.figures_of_images(tmp_path / 'test', hr, 2)
    of_name = {name: figure for figure in figures for name in figure.names}
    assert of_name.keys() == {'uint8', 'double', 'ycbcr', 'basicsr'}
    in_colour = {
        name: figure for figure in explain.figures_of_images(tmp_path / 'in_colour', hr, 2) for name in figure.names
    }
    assert of_name['ycbcr'] == of_name['basicsr']
    assert of_name['ycbcr'].psnr == pytest.approx(in_colour['ycbcr'].psnr, abs=1e-3)
    assert of_name['uint8'].psnr != of_name['basicsr'].psnr


def test_figures_that_match_are_sorted_by_their_distance() -> None:
    psnr_and_ssim = {'far': (35.764, 0.9), 'near': (35.759, 0.91), 'above': (35.766, 0.9), 'below': (35.754, 0.9)}
    figures = [explain.Figure((name,), UINT8, *figures) for name, figures in psnr_and_ssim.items()]
    assert [figure.names for figure in explain.matching(figures, ['35.76'])] == [('near',), ('far',)]
    assert [figure.names for figure in explain.matching(figures, ['35.76', '0.90'])] == [('far',)]
    assert [figure.names for figure in explain.matching(figures, ['35.8', '0.90'])] == [
        ('above',),
        ('far',),
        ('below',),
    ]
    assert explain.nearest(figures, ['36.0', '0.9']).names == ('above',)


def test_figures_of_a_network_are_those_of_compare(hr: Path, tmp_path: Path) -> None:
    make_benchmark(hr, tmp_path / 'datasets/Mine', [2])
    (benchmark,) = quality.find_benchmarks(tmp_path / 'datasets', 2)
    for channels in (1, 3):
        net = Bicubic(2, uint8=False).eval()
        figures = explain.figures_of_network(net, channels, tmp_path / 'datasets/Mine', 2)
        of_name = {name: figure for figure in figures for name in figure.names}
        assert of_name.keys() == PROTOCOLS.keys() - (set() if channels == 1 else {'ycbcr'})
        for name, figure in of_name.items():
            out = tmp_path / f'out/{channels}/{name}'
            expected = quality.means(quality.evaluate_network(net, channels, '', benchmark, out, '', PROTOCOLS[name]))
            assert (figure.psnr, figure.ssim) == pytest.approx(expected, abs=1e-9)
        lr_by = {figure.protocol.lr for figure in figures} - {'double', 'ycbcr'}
        assert lr_by == RESIZERS.keys() - (set() if channels == 1 else {Y_ALONE})
        # The GT images as they are, and as `srsenet prepare` crops them
        assert figures == explain.figures_of_network(net, channels, hr, 2)


def test_lr_images_of_y_alone_go_through_a_network(hr: Path) -> None:
    gt = cv2.imread(str(hr / 'chelsea.png'))[:80, :104].astype(np.uint8)
    protocol = dataclasses.replace(UINT8, lr=Y_ALONE)
    found, bgr = quality.upscale_gt(torch.nn.Upsample(scale_factor=2), 1, gt, 2, protocol)
    lr = imresize(np.floor(gt @ [24.966, 128.553, 65.481] / 255 + 16.5).astype(np.uint8), 1 / 2)
    assert np.array_equal(found, lr.repeat(2, 0).repeat(2, 1))
    assert bgr.shape == gt.shape
    with pytest.raises(ValueError, match='LR images of Y alone are for networks of Y'):
        quality.upscale_gt(torch.nn.Upsample(scale_factor=2), 3, gt, 2, protocol)


@pytest.mark.parametrize('maker', ['Pillow', 'MATLAB with clamped edges', 'MATLAB of Y alone', 'MATLAB'])
@pytest.mark.parametrize('multiple', [3, 12])
def test_lr_images_name_their_maker(
    hr: Path, tmp_path: Path, capfd: pytest.CaptureFixture, maker: str, multiple: int
) -> None:
    """Of HR images that are cropped to a multiple of the scale, or of 12."""
    (tmp_path / 'LR').mkdir()
    for path in hr.iterdir():
        img = np.asarray(Image.open(path))
        height, width = (side // multiple * multiple for side in img.shape[:2])
        lr = RESIZERS[maker](np.ascontiguousarray(img[:height, :width]), 3)
        Image.fromarray(lr).save(tmp_path / f'LR/{path.stem}x3.png')
    printed = run(capfd, tmp_path / 'LR', '--benchmark', hr)
    assert 'LR images of x3' in printed
    assert f'The LR images are those of {maker}, bit for bit.' in printed

    lr = np.array(Image.open(tmp_path / 'LR/coffeex3.png'))
    lr[0, 0] ^= 1
    Image.fromarray(lr).save(tmp_path / 'LR/coffeex3.png')
    assert f'The nearest is {maker}: 99.' in run(capfd, tmp_path / 'LR', '--benchmark', hr)


def test_y_of_lr_images(hr: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """Y of RGB that was shrunk is not shrunk Y."""
    (tmp_path / 'LR').mkdir()
    for path in hr.iterdir():
        img = np.asarray(Image.open(path))
        img = np.ascontiguousarray(img[: img.shape[0] // 2 * 2, : img.shape[1] // 2 * 2])
        Image.fromarray(rgb_to_rounded_y(RESIZERS['Pillow'](img, 2))).save(tmp_path / f'LR/{path.name}')
    assert 'those of Pillow, bit for bit.' in run(capfd, tmp_path / 'LR', '--benchmark', hr)


def test_hr_images(shared_datasets: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert '5 of 5 images are those of Set5, which has 5.' in run(capfd, shared_datasets / 'Set5')
    printed = run(capfd, shared_datasets / 'Set14/HR')
    assert 'img_003 is grey' in printed
    assert '13 of 14 images are those of Set14, which has 14.' in printed
    shutil.copytree(shared_datasets / 'Set5/HR', tmp_path / 'theirs')
    with Image.open(tmp_path / 'theirs/head.png') as img:
        img.resize((140, 140)).save(tmp_path / 'theirs/head.png')
    printed = run(capfd, tmp_path / 'theirs')
    assert 'head is not the usual image' in printed
    assert '4 of 5 images are those of Set5, which has 5.' in printed


def test_mistakes_are_named(hr: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    write_results(hr, tmp_path / 'results', 4)
    arguments = [tmp_path / 'results', '--benchmark', hr]
    assert 'name it with -s' in run(capfd, *arguments, status=1)
    assert 'chelsea_x4_SR.png is 104x80, but the GT image 105x81' in run(capfd, *arguments, '-s', 3, status=1)
    cv2.imwrite(str(tmp_path / 'results/coffee_x4_SR.png'), np.zeros((30, 70, 3), np.uint8))
    assert 'coffee_x4_SR.png is 70x30, which is no part of the 70x75' in run(capfd, *arguments, status=1)
    (tmp_path / 'results/coffee_x4_SR.png').unlink()
    assert 'holds no image of coffee.' in run(capfd, *arguments, status=1)
    assert 'is no folder of HR images' in run(capfd, tmp_path / 'none', status=1)
    assert 'EDSR has no weights at x2' in run(capfd, 'EDSR', '-s', 2, '--benchmark', hr, status=1)
    assert 'SrSENet has no scale of its own' in run(capfd, 'SrSENet', '--benchmark', hr, status=1)
    with pytest.raises(SystemExit):
        cli.main(['explain', 'x', '--claimed', 'much'])


def test_a_file_of_weights_is_a_network(hr: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    save_network(tmp_path / 'mine.pth', num_feat=8, num_block=1, reduction=2, upscale=2)
    assert 'upscaled by a network for RGB' in run(capfd, tmp_path / 'mine.pth', '--benchmark', hr)
    message = 'mine.pth is for x2, not x4.'
    assert message in run(capfd, tmp_path / 'mine.pth', '--benchmark', hr, '-s', 4, status=1)
    arguments = ['SrSENet', '-s', 2, '--weights', tmp_path / 'mine.pth', '--benchmark', hr]
    assert 'upscaled by a network for Y' in run(capfd, *arguments)
