"""spandrel recognises SrSENet by its keys, reads all else off its weights, and upscales colour."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import spandrel
import torch
from conftest import PHOTOS, ROOT, computes_in_fp16, run_python, save_network
from PIL import Image

import srsenet_plugin.spandrel_arch
from srsenet_plugin.inference.upscaler import Upscaler

IN_COLOUR = {'num_in_ch': 3, 'num_out_ch': 3}
NEEDS_FP16 = pytest.mark.skipif(not computes_in_fp16(), reason='this torch does not compute in fp16 on processors')


@pytest.fixture(scope='module')
def photo() -> torch.Tensor:
    """Shape (1, 24, 31, 3), as ComfyUI holds images."""
    pixels = np.asarray(Image.open(PHOTOS / 'coffee.png'))[50:74, 100:131]
    return torch.from_numpy(pixels / np.float32(255))[None]


def load(path: Path) -> spandrel.ImageModelDescriptor:
    model = spandrel.ModelLoader().load_from_file(path)
    assert isinstance(model, spandrel.ImageModelDescriptor)
    return model


def upscaled(path: Path, scale: int, photo: torch.Tensor) -> torch.Tensor:
    """By the command's own way, (1, 3, H, W)."""
    return torch.from_numpy(Upscaler(scale, path, precision='fp32')(photo[0].numpy())).movedim(-1, 0)[None]


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'upscale': 2},
        {'upscale': 3, 'num_feat': 12, 'reduction': 3},
        {'upscale': 5, 'num_block': 12},
        {'upscale': 8, **IN_COLOUR},
    ],
    ids=str,
)
def test_files_upscale_colour(tmp_path: Path, photo: torch.Tensor, options: dict[str, int]) -> None:
    path = save_network(tmp_path / 'net.pth', **options)
    model = load(path)
    scale = options.get('upscale', 4)
    assert (model.architecture.id, model.scale) == ('SrSENet', scale)
    assert (model.input_channels, model.output_channels) == (3, 3)
    torch.testing.assert_close(model(photo.movedim(-1, 1)), upscaled(path, scale, photo), rtol=0, atol=1e-5)


@pytest.mark.parametrize('options', [{}, IN_COLOUR], ids=['Y', 'RGB'])
def test_grey(tmp_path: Path, photo: torch.Tensor, options: dict[str, int]) -> None:
    path = save_network(tmp_path / 'net.pth', **options)
    grey = photo[..., :1]
    torch.testing.assert_close(load(path)(grey.movedim(-1, 1)), upscaled(path, 4, grey), rtol=0, atol=1e-5)


@pytest.mark.parametrize('options', [{}, IN_COLOUR], ids=['Y', 'RGB'])
@pytest.mark.parametrize(
    ('dtype', 'steps'), [pytest.param(torch.float16, 1, marks=NEEDS_FP16), (torch.bfloat16, 4)], ids=str
)
@pytest.mark.parametrize('channels', [1, 3])
def test_half_precision(
    tmp_path: Path, photo: torch.Tensor, options: dict[str, int], dtype: torch.dtype, steps: int, channels: int
) -> None:
    """float16 holds 8-bit values to a tenth of a step, bfloat16 to half a step, here and in each layer."""
    path = save_network(tmp_path / 'net.pth', **options)
    image = photo[..., :channels].movedim(-1, 1)
    sr = load(path).to(dtype)(image.to(dtype))
    assert sr.dtype == dtype
    assert (sr.float() - load(path)(image)).abs().max() < steps / 255


def test_files_in_half_precision(tmp_path: Path) -> None:
    path = save_network(tmp_path / 'net.pth')
    content = torch.load(path)
    torch.save({'params': {name: weight.half() for name, weight in content['params'].items()}}, path)
    assert load(path).dtype == torch.float32


def in_tiles(model: spandrel.ImageModelDescriptor, samples: torch.Tensor, tile: int, overlap: int) -> torch.Tensor:
    """Each image in tiles that overlap, whose borders fade into each other, as ComfyUI's ``tiled_scale`` does it."""
    height, width = samples.shape[2:]
    out = torch.empty(len(samples), 3, height * model.scale, width * model.scale)
    for index, image in enumerate(samples.split(1)):
        total = torch.zeros_like(out[:1])
        weights = torch.zeros_like(out[:1])
        for top in range(0, max(height - overlap, 1), tile - overlap):
            for left in range(0, max(width - overlap, 1), tile - overlap):
                sr = model(image[:, :, top : top + tile, left : left + tile].float())
                rows = slice(top * model.scale, top * model.scale + sr.shape[2])
                columns = slice(left * model.scale, left * model.scale + sr.shape[3])
                total[:, :, rows, columns] += sr
                weights[:, :, rows, columns] += 1
        out[index] = total / weights
    return out


def test_the_calls_of_comfyui(photo: torch.Tensor) -> None:
    """Nodes UpscaleModelLoader and ImageUpscaleWithModel of ComfyUI at commit 30a7443."""
    path = srsenet_plugin.weights.pretrained.weights_file('srsenet_x4')
    model = spandrel.ModelLoader().load_from_state_dict(torch.load(path, weights_only=True)).eval()
    assert isinstance(model, spandrel.ImageModelDescriptor)
    model.to(torch.device('cpu'))
    image = torch.cat([photo, photo.flip(1)])
    whole = in_tiles(model, image.movedim(-1, -3), 512, 32)
    torch.testing.assert_close(whole[:1], upscaled(path, 4, photo), rtol=0, atol=1e-5)
    tiled = in_tiles(model, image.movedim(-1, -3), 20, 8)
    assert tiled.shape == (2, 3, 96, 124)
    assert 0 < (tiled - whole).abs().mean() < 1 / 255


@pytest.mark.parametrize('use_fp16', [False, pytest.param(True, marks=NEEDS_FP16)])
@torch.inference_mode()
def test_the_calls_of_chainner(photo: torch.Tensor, use_fp16: bool) -> None:
    """``pytorch_auto_split`` of chaiNNer at commit 0071dd6: BGR in numpy, to RGB and back."""
    path = srsenet_plugin.weights.pretrained.weights_file('srsenet_x4')
    model = load(path).to(torch.device('cpu'))
    model.model.half() if use_fp16 else model.model.float()
    bgr = photo[0].numpy()[..., ::-1]
    image = torch.from_numpy(np.ascontiguousarray(bgr))
    image = image.half() if use_fp16 else image.float()
    sr = model(image.flip(2).permute(2, 0, 1)[None]).squeeze(0).permute(1, 2, 0).flip(2).clip_(0, 1)
    result = sr.detach().cpu().float().numpy()[..., ::-1]
    expected = upscaled(path, 4, photo)[0].movedim(0, -1).numpy()
    assert np.abs(result - expected).max() < (1 / 255 if use_fp16 else 1e-5)


AS_COMFYUI = """
import importlib.util, pathlib, sys
import torch

node = pathlib.Path(sys.argv[1])
spec = importlib.util.spec_from_file_location(str(node.with_suffix('')).replace('.', '_x_'), node)
module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
assert getattr(module, 'NODE_CLASS_MAPPINGS', None) is not None

from spandrel import ImageModelDescriptor, ModelLoader

model = ModelLoader().load_from_state_dict(torch.load(sys.argv[2], weights_only=True)).eval()
assert isinstance(model, ImageModelDescriptor)
model.to(torch.device('cpu'))
image = torch.load(sys.argv[3], weights_only=True)
torch.save(torch.clamp(model(image.movedim(-1, -3).float()).movedim(-3, -1), 0, 1), sys.argv[4])
"""


def test_the_node_of_the_documents(tmp_path: Path, photo: torch.Tensor) -> None:
    """In a process of its own, where nothing has registered SrSENet before: ComfyUI's ``load_custom_node``, and its
    nodes "Load Upscale Model" and "Upscale Image (using Model)" for an image of one tile."""
    page = (ROOT / 'docs/other_tools.md').read_text(encoding='utf-8')
    (lines,) = [block for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if 'NODE_CLASS' in block]
    node, image, sr = (tmp_path / name for name in ('custom_nodes/srsenet.py', 'image.pt', 'sr.pt'))
    node.parent.mkdir()
    node.write_text(lines)
    torch.save(photo, image)
    path = srsenet_plugin.weights.pretrained.weights_file('srsenet_x4')
    run_python(AS_COMFYUI, node, path, image, sr)
    expected = upscaled(path, 4, photo).movedim(1, -1)
    torch.testing.assert_close(torch.load(sr, weights_only=True), expected, rtol=0, atol=1e-5)


def test_registering_again_does_nothing() -> None:
    before = len(spandrel.MAIN_REGISTRY)
    registered = spandrel.MAIN_REGISTRY.add(
        spandrel.ArchSupport.from_architecture(srsenet_plugin.spandrel_arch.SrSENetArch()), ignore_duplicates=True
    )
    assert not registered
    assert len(spandrel.MAIN_REGISTRY) == before
