"""Named protocols give the figures of those who evaluate so, computed here in other ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, write_photo
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from srsenet_plugin.compare import protocols, quality
from srsenet_plugin.compare.protocols import PROTOCOLS
from srsenet_plugin.prepare.benchmark_folders import make_benchmark

SCALE = 4
MATLAB_Y = np.array([24.966, 128.553, 65.481]) / 255
JPEG_Y = np.array([0.114, 0.587, 0.299])


def psnr(img: NDArray, gt: NDArray, border: int) -> float:
    inner = slice(border, -border or None)
    difference = img.astype(float)[inner, inner] - gt.astype(float)[inner, inner]
    return 10 * np.log10(255**2 / np.mean(difference**2))


def gaussian_ssim(img: NDArray, gt: NDArray) -> float:
    options: dict[str, Any] = {'gaussian_weights': True, 'sigma': 1.5, 'use_sample_covariance': False}
    return structural_similarity(img, gt, data_range=255, channel_axis=2 if img.ndim == 3 else None, **options)


@pytest.fixture(scope='module')
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A GT image of sides that 12 does not divide, BGR, and a blurred one."""
    path = tmp_path_factory.mktemp('pair') / 'chelsea.png'
    write_photo('chelsea.png', path, (60, 100, 80, 104))
    gt = cv2.imread(str(path)).astype(np.uint8)
    return cv2.GaussianBlur(gt, (0, 0), 1.5).astype(np.uint8), gt


def expected_psnr(name: str, img: NDArray, gt: NDArray) -> float:
    y, gt_y = img @ MATLAB_Y + 16, gt @ MATLAB_Y + 16
    if name == 'mmagic':
        return psnr(img[:72, :96], gt[:72, :96], SCALE)
    return {
        'uint8': lambda: psnr(y, gt_y, SCALE),
        'double': lambda: psnr(y, gt_y, SCALE),
        'ycbcr': lambda: psnr(np.round(y), np.round(gt_y), SCALE),
        'basicsr': lambda: psnr(y, gt_y, SCALE),
        'ntire': lambda: psnr(img, gt, SCALE),
        'div2k': lambda: psnr(img, gt, SCALE + 6),
        'pyiqa': lambda: peak_signal_noise_ratio(gt, img),
        'skimage': lambda: peak_signal_noise_ratio(gt, img),
        'waifu2x': lambda: psnr(img @ JPEG_Y, gt @ JPEG_Y, 0),
    }[name]()


@pytest.mark.parametrize('name', PROTOCOLS)
def test_psnr(name: str, pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    found, _ = quality.score(*pair, SCALE, PROTOCOLS[name])
    assert found == pytest.approx(expected_psnr(name, *pair), abs=2e-4)


def test_ssim(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    img, gt = pair
    found = {name: quality.score(img, gt, SCALE, protocol)[1] for name, protocol in PROTOCOLS.items()}
    inner = slice(SCALE, -SCALE)
    assert found['ntire'] == pytest.approx(gaussian_ssim(img[inner, inner], gt[inner, inner]), abs=1e-4)
    assert found['pyiqa'] == pytest.approx(gaussian_ssim(img @ JPEG_Y, gt @ JPEG_Y), abs=1e-4)
    assert found['skimage'] == pytest.approx(structural_similarity(img, gt, channel_axis=2), abs=1e-9)


def test_edsrs_code_gives_uint8(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    """Its Y of benchmarks has coefficients in 256ths, of the difference."""
    img, gt = (torch.from_numpy(image[..., ::-1].astype(np.float64)) for image in pair)
    difference = ((img - gt) / 255 * torch.tensor([65.738, 129.057, 25.064]) / 256).sum(2)[SCALE:-SCALE, SCALE:-SCALE]
    found, _ = quality.score(*pair, SCALE, PROTOCOLS['uint8'])
    assert found == pytest.approx(-10 * float(difference.square().mean().log10()), abs=2e-4)


def test_the_documented_table() -> None:
    assert protocols.markdown() in (ROOT / 'docs/compare.md').read_text(encoding='utf-8')


def test_an_image_of_y_has_no_figure_on_rgb(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    img, gt = pair
    for name in ('ntire', 'waifu2x'):
        with pytest.raises(ValueError, match='holds Y alone'):
            quality.score(img[..., 0], gt, SCALE, PROTOCOLS[name])


def test_the_validators_of_basicsr(tmp_path: Path) -> None:
    """SRModel rounds Y of the GT image, and saves its results as grey images: they hold Y, and are scored as Y."""
    from basicsr.data import build_dataloader, build_dataset
    from basicsr.models import build_model

    write_photo('chelsea.png', tmp_path / 'source/chelsea.png', (60, 100, 56, 64))
    write_photo('coffee.png', tmp_path / 'source/coffee.png', (100, 200, 68, 48))
    make_benchmark(tmp_path / 'source', tmp_path / 'Mine', [SCALE])
    dataset = {
        'name': 'Mine',
        'type': 'PairedImageDataset',
        'phase': 'val',
        'scale': SCALE,
        'dataroot_gt': str(tmp_path / f'Mine/GTmod{SCALE}'),
        'dataroot_lq': str(tmp_path / f'Mine/LRbicx{SCALE}'),
        'io_backend': {'type': 'disk'},
        'color': 'y',
    }
    border = {'crop_border': SCALE, 'test_y_channel': True}
    model = build_model(
        {
            'model_type': 'SRModel',
            'is_train': False,
            'num_gpu': 0,
            'dist': False,
            'rank': 0,
            'world_size': 1,
            'name': 'test',
            'scale': SCALE,
            'network_g': {'type': 'Bicubic', 'upscale': SCALE},
            'path': {'visualization': str(tmp_path / 'visualization')},
            'val': {
                'metrics': {name: {'type': f'calculate_{name}', **border} for name in ('psnr', 'ssim')},
                'suffix': None,
            },
        }
    )
    model.validation(build_dataloader(build_dataset(dataset), dataset), 'test', None, save_img=True)
    theirs = [model.metric_results[name] for name in ('psnr', 'ssim')]
    (benchmark,) = quality.find_benchmarks(tmp_path, SCALE)

    net = model.net_g.eval()
    scores = quality.evaluate_network(net, 1, '', benchmark, tmp_path / 'out', '', PROTOCOLS['basicsr'])
    assert quality.means(scores) == pytest.approx(theirs, abs=1e-6)
    of_images = quality.evaluate_images(tmp_path, benchmark, PROTOCOLS['basicsr'])
    assert of_images is not None
    assert quality.means(of_images[0]) == pytest.approx(theirs, abs=1e-6)
    with pytest.raises(ValueError, match=r'chelsea_test\.png holds Y alone, which RGB cannot be made of'):
        quality.evaluate_images(tmp_path, benchmark, PROTOCOLS['ntire'])


def test_lr_images_of_gt_images_cropped_to_multiples_of_12(tmp_path: Path) -> None:
    """MMagic's benchmarks are cropped before they are shrunk; the image that is saved is whole."""
    write_photo('chelsea.png', tmp_path / 'source/chelsea.png', (60, 100, 56, 64))
    make_benchmark(tmp_path / 'source', tmp_path / 'Mine', [SCALE])
    (benchmark,) = quality.find_benchmarks(tmp_path, SCALE)
    gt = quality.read_bgr(tmp_path / f'Mine/GTmod{SCALE}/chelsea.png')
    seen: list[torch.Tensor] = []

    class Nearest(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return torch.nn.functional.interpolate(x, scale_factor=SCALE)

    scores = quality.evaluate_network(Nearest(), 3, '', benchmark, tmp_path / 'out', '', PROTOCOLS['mmagic'])
    from srsenet_plugin.data.imresize import imresize

    lr = imresize(gt[:48, :60], 1 / SCALE)
    assert np.array_equal((seen[0][0] * 255).round().byte().permute(1, 2, 0).numpy()[..., ::-1], lr)
    nearest = lr.repeat(SCALE, 0).repeat(SCALE, 1)
    assert scores['chelsea'][0] == pytest.approx(psnr(nearest, gt[:48, :60], SCALE), abs=1e-9)
    assert quality.read_bgr(tmp_path / 'out/chelsea.png').shape == gt.shape
