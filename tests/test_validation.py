"""Validations of a training: figures, images, and the networks that they need."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.metrics import calculate_metric
from basicsr.models.sr_model import SRModel
from basicsr.utils import tensor2img
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
from torch import nn
from trainings import NETWORKS, assert_same_weights, batches, build, photos, train

from srsenet_plugin.machine.compilation import can_compile
from srsenet_plugin.models.accelerated_sr_model import AcceleratedSRModel
from srsenet_plugin.models.stopping import TrainingStopped
from srsenet_plugin.models.windows import to_whole_windows
from srsenet_plugin.prepare.benchmark_folders import make_benchmark
from srsenet_plugin.weights import files


@pytest.mark.slow
def test_validates_uncompiled(opt: dict) -> None:
    """Compiling for the size of each image would take minutes."""
    if not can_compile(torch.device('cpu')):
        pytest.skip('needs a C++ compiler')
    opt['train']['ema_decay'] = 0
    model = build(opt, compile=True)
    train(model, batches(1))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for size in (9, 12, 15):
            model.feed_data({'lq': torch.rand(1, 1, size, 8)})
            model.test()
        train(model, batches(1))
        with pytest.raises(RuntimeError, match='Recompiling'):
            model.net_g(torch.rand(1, 1, 9, 9))


def test_stops_between_validation_images(opt: dict, tmp_path: Path) -> None:
    """Which may take long; what the checkpoint lacks of the validation is made up for by the next run."""
    dataset = benchmark(tmp_path)
    opt['datasets'] = {'val': dataset}
    opt['val'] = {'val_freq': 2, 'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}}
    model = build(opt)
    train(model, batches(2))
    loader = build_dataloader(build_dataset(dataset), dataset)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(TrainingStopped) as stop:
        model.validation(loader, 2, None)
    assert stop.value.code == 128 + signal.SIGTERM
    log = (tmp_path / 'train_log.csv').read_text()
    assert 'photos/psnr' not in log

    opt['path']['pretrain_network_g'] = str(tmp_path / 'models/net_g_2.pth')
    resumed = build(opt)
    resumed.resume_training(files.load(tmp_path / 'training_states/2.state'))
    assert '2,photos/psnr,' in (tmp_path / 'train_log.csv').read_text()
    assert resumed.best_metric_results['photos']['psnr']['iter'] == 2
    assert files.load(tmp_path / 'training_states/2.state')['validated'] == {'photos': 2}


def benchmark(folder: Path) -> dict[str, Any]:
    """A dataset of two photographs, of 16x20 and 20x16 pixels in LR."""
    make_benchmark(photos(folder), folder, [4])
    roots = {'dataroot_gt': str(folder / 'GTmod4'), 'dataroot_lq': str(folder / 'LRbicx4')}
    named = {'name': 'photos', 'type': 'PairedImageDataset', 'phase': 'val', 'scale': 4, 'color': 'y'}
    return {**named, **roots, 'io_backend': {'type': 'disk'}}


PSNR = {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}
WINDOWS = {
    'SwinIR': {
        'type': 'SwinIR',
        'img_size': 16,
        'in_chans': 1,
        'window_size': 8,
        'upscale': 4,
        'depths': [2],
        'embed_dim': 8,
        'num_heads': [2],
        'mlp_ratio': 2,
        'drop_path_rate': 0,  # what is dropped depends on what else has drawn
        'upsampler': 'pixelshuffledirect',
    },
    'WindowNet': {'type': 'WindowNet', 'window_size': 8, 'upscale': 4},
}


@pytest.fixture(scope='module', autouse=True)
def projects() -> None:
    """What projects such as HAT and Real-ESRGAN register: a network, and models that build on SRModel."""

    @ARCH_REGISTRY.register()
    class WindowNet(nn.Module):
        """Adds to each pixel the mean of its window, which has to be whole."""

        def __init__(self, window_size: int, upscale: int) -> None:
            super().__init__()
            self.window_size = window_size
            self.conv, self.up = nn.Conv2d(1, upscale**2, 3, 1, 1), nn.PixelShuffle(upscale)
            self.drop = nn.Dropout(0.1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            n, c, h, w = x.shape
            size = self.window_size
            windows = x.reshape(n, c, h // size, size, w // size, size)
            means = windows.mean((3, 5), keepdim=True).expand_as(windows).reshape(x.shape)
            return self.up(self.conv(self.drop(x + means)))

    @MODEL_REGISTRY.register()
    class OwnValidationModel(SRModel):
        """As HATModel it has its own loop over the images, and does not call test. It leaves net_g in eval mode."""

        def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
            name = dataloader.dataset.opt['name']
            if not hasattr(self, 'metric_results'):
                self.metric_results = dict.fromkeys(self.opt['val']['metrics'], 0)
            self._initialize_best_metric_results(name)
            self.metric_results = dict.fromkeys(self.metric_results, 0)
            size = self.opt['network_g']['window_size']
            for data in dataloader:
                self.feed_data(data)
                height, width = self.lq.shape[2:]
                padded = nn.functional.pad(self.lq, (0, -width % size, 0, -height % size), 'reflect')
                net = getattr(self, 'net_g_ema', self.net_g)
                net.eval()
                with torch.no_grad():
                    self.output = net(padded)[..., : 4 * height, : 4 * width]
                imgs = {'img': tensor2img([self.output]), 'img2': tensor2img([self.gt])}
                for metric, options in self.opt['val']['metrics'].items():
                    self.metric_results[metric] += calculate_metric(imgs, options) / len(dataloader)
            for metric, value in self.metric_results.items():
                self._update_best_metric_result(name, metric, value, current_iter)
            self._log_validation_metric_values(current_iter, name, tb_logger)

    @MODEL_REGISTRY.register()
    class DegradingModel(SRModel):
        """As RealESRNetModel it makes its LQ images itself, in training."""

        def __init__(self, opt: dict[str, Any]) -> None:
            super(DegradingModel, self).__init__(opt)  # noqa: UP008  (as projects write it)
            self.noise = 0.1

        def feed_data(self, data: dict[str, Any]) -> None:
            super().feed_data(data)
            if self.is_train:
                self.lq = self.lq + self.noise

        def nondist_validation(self, *arguments: Any) -> None:
            self.is_train = False
            super().nondist_validation(*arguments)
            self.is_train = True

    @MODEL_REGISTRY.register()
    class OwnStepsModel(SRModel):
        def optimize_parameters(self, current_iter: int) -> None:
            """Steps of its own, as a GAN's."""


def validated(opt: dict[str, Any], dataset: dict[str, Any], kind: str, **options: Any) -> tuple[Any, list[Any]]:
    """A model after training, validation and training, and the losses."""
    model = build({**opt, **options}, kind)
    logs = train(model, batches(2))
    model.validation(build_dataloader(build_dataset(dataset), dataset), 2, None, True)
    return model, logs + train(model, batches(1), 3)


@pytest.mark.parametrize(
    ('network', 'stock', 'kind', 'base'),
    [
        ('SwinIR', 'SwinIRModel', 'AcceleratedSRModel', None),
        ('SwinIR', 'SwinIRModel', 'AcceleratedSRModel', 'SwinIRModel'),
        ('WindowNet', 'SwinIRModel', 'AcceleratedSRModel', None),
        ('WindowNet', 'OwnValidationModel', 'AcceleratedSRModel', 'OwnValidationModel'),
        ('SrSENet', 'DegradingModel', 'AcceleratedSRModel', 'DegradingModel'),
    ],
)
@pytest.mark.parametrize('ema_decay', [0, 0.5])
def test_other_networks_and_models(
    opt: dict, tmp_path: Path, network: str, stock: str, kind: str, base: str | None, ema_decay: float
) -> None:
    """The losses, weights, figures and images of the models that their projects have for them."""
    dataset = benchmark(tmp_path)
    opt['network_g'] = {**NETWORKS, **WINDOWS}[network]
    opt['train']['ema_decay'] = ema_decay
    opt['val'] = {'metrics': PSNR}
    if base:
        opt['base_model'] = base
    shown = opt['path']['visualization'] = str(tmp_path / 'theirs')
    expected, expected_logs = validated(opt, dataset, stock)
    opt['path']['visualization'] = str(tmp_path / 'ours')
    model, logs = validated(opt, dataset, kind)
    assert isinstance(model, AcceleratedSRModel)
    assert model.metric_results == expected.metric_results
    assert 5 < model.metric_results['psnr'] < 60
    assert model.best_metric_results == expected.best_metric_results
    assert model.net_g.training
    paths = sorted(path.relative_to(shown) for path in Path(shown).glob('*/*.png'))
    assert len(paths) == (0 if stock == 'OwnValidationModel' else 2)
    for path in paths:
        assert (tmp_path / 'ours' / path).read_bytes() == Path(shown, path).read_bytes()
    if network != 'WindowNet':  # whose dropout draws, and which its own model leaves switched off
        assert logs == expected_logs
        assert_same_weights(model.net_g, expected.net_g)
    assert f'2,photos/psnr,{model.metric_results["psnr"]}' in (tmp_path / 'train_log.csv').read_text()

    model.save(0, 3)  # with figures that load without running code
    state = files.load(tmp_path / 'training_states/3.state')
    assert state['best_metric_results'] == expected.best_metric_results

    # And in test.py.
    torch.save({'params': expected.net_g.state_dict()}, tmp_path / 'net.pth')
    opt['path']['pretrain_network_g'] = str(tmp_path / 'net.pth')
    opt |= {'is_train': False, 'val': {'metrics': PSNR, 'suffix': None}}
    figures = []
    for each in (stock, kind):
        tested = build(opt, each)
        tested.validation(build_dataloader(build_dataset(dataset), dataset), 'x', None, False)
        figures.append(tested.metric_results)
    assert figures[0] == figures[1]


@pytest.mark.parametrize(
    ('base', 'message'),
    [
        ('NoModel', "base_model: 'NoModel' is not registered"),
        ('VideoBaseModel', None),
        ('OwnStepsModel', 'base_model: OwnStepsModel has its own optimize_parameters, .* model_type: OwnStepsModel'),
        ('SRGANModel', 'base_model: SRGANModel has its own optimize_parameters, save, which'),
        ('StyleGAN2Model', 'base_model: StyleGAN2Model is no subclass of SRModel'),
        ('AcceleratedSRModel', 'base_model: AcceleratedSRModel is no subclass of SRModel'),
    ],
)
def test_models_that_cannot_be_accelerated(opt: dict, base: str, message: str | None) -> None:
    opt['base_model'] = base
    if message is None:
        assert isinstance(build(opt), MODEL_REGISTRY.get(base))
        return
    with pytest.raises(TrainingStopped, match=message):
        build(opt)


@pytest.mark.parametrize(
    'shape', [(1, 1, 7, 7), (1, 2, 8, 9), (2, 1, 3, 20), (1, 1, 1, 5), (1, 1, 2, 1), (1, 3, 16, 8)]
)
def test_windows_are_made_whole_by_mirroring(shape: tuple[int, ...]) -> None:
    """As numpy does it, images of any size; torch pads less than an image at once."""
    img = torch.rand(shape)
    padded = to_whole_windows(img, 8)
    below, right = -shape[2] % 8, -shape[3] % 8
    np.testing.assert_array_equal(padded, np.pad(img, ((0, 0), (0, 0), (0, below), (0, right)), 'reflect'))


@pytest.mark.slow
def test_other_models_validate_uncompiled(opt: dict, tmp_path: Path) -> None:
    if not can_compile(torch.device('cpu')):
        pytest.skip('needs a C++ compiler')
    opt |= {'base_model': 'OwnValidationModel', 'network_g': WINDOWS['WindowNet'], 'val': {'metrics': PSNR}}
    opt['train'] |= {'ema_decay': 0, 'compile': True}
    with torch._dynamo.config.patch(error_on_recompile=True):
        model, _ = validated(opt, benchmark(tmp_path), 'AcceleratedSRModel')
    assert model.metric_results['psnr'] > 5


@pytest.mark.parametrize(
    ('metrics', 'with_gt', 'message'),
    [
        ({'psnr': {'type': 'calculate_psnr', 'crop_border': 32}}, True, r'photos: \w+ has \d+x\d+ pixels, .*_psnr'),
        ({'ssim': {'type': 'calculate_ssim', 'crop_border': 27}}, True, r'photos: \w+ has .*_ssim .* A side of 65 is'),
        (PSNR, False, r'photos: \w+ has no GT image, which calculate_psnr'),
    ],
)
def test_images_that_cannot_be_measured(
    opt: dict, tmp_path: Path, metrics: dict[str, Any], with_gt: bool, message: str
) -> None:
    """In datasets of other projects, which no look at the option file finds."""
    dataset = benchmark(tmp_path)
    if not with_gt:
        dataset['type'] = 'SingleImageDataset'
    opt['val'] = {'metrics': metrics}
    with pytest.raises(TrainingStopped, match=message):
        validated(opt, dataset, 'AcceleratedSRModel')


def test_a_set_without_images(opt: dict, tmp_path: Path) -> None:
    dataset = benchmark(tmp_path)
    for folder in ('GTmod4', 'LRbicx4'):
        for path in (tmp_path / folder).iterdir():
            path.unlink()
    opt['val'] = {'metrics': PSNR}
    model, _ = validated(opt, dataset, 'AcceleratedSRModel')
    assert model.metric_results == {}
