"""What runs on a GPU, without one: torch's fake tensors have shapes, dtypes and devices, but no values.

They refuse to mix devices and to say what a tensor holds, for which a GPU would be waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from conftest import write_photo
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from trainings import NETWORKS, batches, build

from srsenet_plugin import SrSENet
from srsenet_plugin.archs.bicubic_arch import Bicubic
from srsenet_plugin.archs.drcn_arch import DRCN
from srsenet_plugin.archs.srcnn_arch import SRCNN
from srsenet_plugin.archs.vdsr_arch import VDSR
from srsenet_plugin.compare import cost, quality
from srsenet_plugin.data import colour
from srsenet_plugin.inference.stripwise import StripwiseSrSENet
from srsenet_plugin.inference.upscaler import Upscaler
from srsenet_plugin.models import accelerated_sr_model, validation
from srsenet_plugin.prepare.benchmark_folders import make_benchmark
from srsenet_plugin.weights.export import export

# By which fake tensors on CUDA need no driver.
pytestmark = pytest.mark.skipif(
    not hasattr(torch._C, '_ensureCUDADeviceGuardSet'),
    reason='torch before 2.10 asks CUDA for a driver all the same',
)

DTYPES = {'off': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
FUSED = {'type': 'Adam', 'lr': 1e-3, 'fused': True}


class NothingOnTheProcessor(TorchDispatchMode):
    """Fails where a tensor is made on the processor, except that a GPU's may be copied to it.

    Args:
        takes_images: Whether arrays may become tensors.
    """

    def __init__(self, takes_images: bool = False) -> None:
        super().__init__()
        self._allowed = {torch.ops.aten.lift_fresh.default} if takes_images else set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        copies = func is torch.ops.aten._to_copy.default and args[0].device.type == 'cuda'
        if not (copies or func.is_view or func in self._allowed):
            for tensor in tree_flatten(result)[0]:
                assert not isinstance(tensor, Tensor) or tensor.device.type == 'cuda', f'{func} on the processor'
        return result


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTensorMode:
    """A mode in which there is a CUDA device. Real tensors that are moved to it become fake ones."""
    monkeypatch.setattr(torch.cuda.amp.common, 'amp_definitely_not_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda *args: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda *args: (9, 0))
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda *args: None)
    monkeypatch.setattr(nn.Module, '_apply', _with_new_parameters)
    monkeypatch.setattr(FakeTensor, 'numpy', _zeros, raising=False)
    return FakeTensorMode(allow_non_fake_inputs=True)


def _with_new_parameters(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Module's own moves values into the old parameters, which fake ones do not let happen."""
    for module in self.children():
        module._apply(fn)
    for name, parameter in self._parameters.items():
        if parameter is not None:
            self._parameters[name] = nn.Parameter(fn(parameter.detach()), parameter.requires_grad)
    for name, buffer in self._buffers.items():
        if buffer is not None:
            self._buffers[name] = fn(buffer)
    return self


def _zeros(self: FakeTensor) -> np.ndarray:
    assert self.device.type == 'cpu'
    return np.zeros(self.shape, str(self.dtype).removeprefix('torch.'))


@contextmanager
def seen(module: nn.Module) -> Iterator[set[tuple[str, torch.dtype]]]:
    """Collects devices and dtypes of a module's output."""
    found: set[tuple[str, torch.dtype]] = set()
    hook = module.register_forward_hook(lambda module, args, out: found.add((out.device.type, out.dtype)))
    yield found
    hook.remove()


def test_devices_that_do_not_fit_together_are_refused(fake: FakeTensorMode) -> None:
    """Or else the tests below could not fail."""
    with fake, torch.device('cuda'):
        net = SrSENet(num_feat=16, num_block=1)
        assert net(torch.rand(1, 1, 8, 8)).device.type == 'cuda'
        with pytest.raises(RuntimeError, match='same device'):
            net(torch.rand(1, 1, 8, 8, device='cpu'))
        with pytest.raises(AssertionError, match='on the processor'), NothingOnTheProcessor():
            torch.zeros(1, device='cpu')


def model_on_cuda(opt: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **train: Any) -> Any:
    """A model whose gradients, which fake tensors have none of, are there after any backward pass."""
    opt['num_gpu'] = 1
    model = build(opt, **{'optim_g': FUSED, **train})

    def backward(loss: Tensor) -> None:
        assert (loss.device.type, loss.dtype, loss.shape) == ('cuda', torch.float32, ())
        for parameter in model.net_g.parameters():
            parameter.grad = torch.empty_like(parameter)

    monkeypatch.setattr(Tensor, 'backward', backward)
    return model


@pytest.mark.parametrize('amp', DTYPES)
@pytest.mark.parametrize('options', [{}, {'accumulate': 2, 'channels_last': True, 'grad_clip': 1}])
def test_steps(
    opt: dict, fake: FakeTensorMode, monkeypatch: pytest.MonkeyPatch, amp: str, options: dict[str, Any]
) -> None:
    """All but the backward pass: nothing is computed on the processor, and nobody waits for the GPU."""
    with fake:
        model = model_on_cuda(opt, monkeypatch, amp=amp, **options)
        (batch,) = batches(1)
        with seen(model.net_g.body) as found:
            for iteration in (1, 2):
                model.update_learning_rate(iteration)
                model.feed_data(batch)
                with NothingOnTheProcessor():
                    model.optimize_parameters(iteration)
        assert found == {('cuda', DTYPES[amp])}
        assert model.net_g_ema.conv_first.weight.device.type == 'cuda'
        with pytest.raises(DataDependentOutputException):  # it looks at the steps, and waits
            model.get_current_log()


@pytest.mark.parametrize('network', NETWORKS)
def test_a_step_that_waits_is_found(
    opt: dict, fake: FakeTensorMode, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    """Without a fused optimizer the host decides whether a step is finite."""
    opt['network_g'] = NETWORKS[network]
    with fake:
        model = model_on_cuda(opt, monkeypatch, optim_g={'type': 'Adam', 'lr': 1e-3})
        model.feed_data(batches(1)[0])
        with pytest.raises(DataDependentOutputException):
            model.optimize_parameters(1)


def test_batches_of_another_stream_outlive_their_step(
    opt: dict, fake: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``prefetch_mode: cuda`` copies them on a stream of its own, which would take their memory for the next ones."""
    kept = []
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: 'of the steps')
    monkeypatch.setattr(Tensor, 'record_stream', lambda tensor, stream: kept.append((id(tensor), stream)))
    with fake:
        model = model_on_cuda(opt, monkeypatch)
        (batch,) = batches(1)
        model.feed_data(batch)
        assert kept == []
        batch = {name: value.to('cuda') if isinstance(value, Tensor) else value for name, value in batch.items()}
        model.feed_data(batch)
    assert kept == [(id(batch[name]), 'of the steps') for name in ('lq', 'gt')]


def test_several_devices_in_one_process_do_not_compile(
    opt: dict, fake: FakeTensorMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DataParallel's copies of a compiled network would all compute with the weights of the first device."""
    monkeypatch.setattr(accelerated_sr_model, 'can_compile', lambda device: True)
    with fake:
        for count, compiles in ((1, True), (2, False)):
            opt['num_gpu'] = count
            model = build(opt, compile=True)
            assert (model.get_bare_model(model.net_g)._compiled_call_impl is not None) == compiles


@pytest.fixture
def dataset(tmp_path: Path) -> Any:
    write_photo('coffee.png', tmp_path / 'photos/coffee.png', (100, 100, 24, 32))
    make_benchmark(tmp_path / 'photos', tmp_path / 'benchmark', [4])
    roots = {'dataroot_gt': str(tmp_path / 'benchmark/GTmod4'), 'dataroot_lq': str(tmp_path / 'benchmark/LRbicx4')}
    options = {'name': 'x', 'type': 'PairedImageDataset', 'phase': 'val', 'scale': 4, 'color': 'y', **roots}
    return build_dataset({**options, 'io_backend': {'type': 'disk'}})


@pytest.mark.parametrize('amp', DTYPES)
def test_validation(opt: dict, dataset: Any, fake: FakeTensorMode, monkeypatch: pytest.MonkeyPatch, amp: str) -> None:
    """In float32, whatever the training is in; afterwards it holds no batch."""
    opt['val'] = {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}}
    monkeypatch.setattr(validation, 'tensor2img', lambda imgs, **kwargs: imgs[0].numpy()[0, 0])
    with fake:
        model = model_on_cuda(opt, monkeypatch, amp=amp)
        data = torch.utils.data.default_collate([dataset[0]])
        model.feed_data(data)
        with NothingOnTheProcessor(), seen(model.net_g_ema) as found:
            model.test()
            assert {img.device.type for img in model.get_current_visuals().values()} == {'cpu'}
        loader = torch.utils.data.DataLoader(dataset)
        model.validation(loader, 1, None)
    assert found == {('cuda', torch.float32)}
    assert not {'lq', 'gt', 'output'} & model.__dict__.keys()


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('scale', [2, 3])
def test_strips(fake: FakeTensorMode, scale: int, precision: str) -> None:
    net = SrSENet(num_feat=16, num_block=2, upscale=scale)
    with fake:
        strips = StripwiseSrSENet(net, PRECISIONS[precision], rows=(5, 3)).to('cuda')
        img = torch.rand(2, 1, 16, 8, device='cuda')
        with NothingOnTheProcessor():
            out = strips(img)
    assert (out.device.type, out.dtype, out.shape) == ('cuda', torch.float32, (2, 1, 16 * scale, 8 * scale))


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('options', [{}, {'tile': 16}, {'self_ensemble': True}])
@pytest.mark.parametrize('shape', [(20, 18), (20, 18, 4)])
def test_upscale(
    fake: FakeTensorMode,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    options: dict[str, Any],
    shape: tuple[int, ...],
) -> None:
    upscaler = Upscaler(2, device='cpu', precision='fp32', **options)
    for name in ('RGB_TO_YCBCR', 'YCBCR_TO_RGB', 'OFFSET'):  # in inference mode, real tensors do not become fake
        monkeypatch.setattr(colour, name, fake.from_tensor(getattr(colour, name)))
    with fake:
        upscaler.device = torch.device('cuda')
        net = StripwiseSrSENet(SrSENet(num_feat=16, num_block=1, upscale=2), PRECISIONS[precision]).to('cuda')
        monkeypatch.setattr(upscaler, '_network_for', lambda img: net)
        upscaler._bicubic.to('cuda')
        with NothingOnTheProcessor(takes_images=True), seen(net) as found:
            out = upscaler(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    assert found == {('cuda', torch.float32)}
    assert out.shape == (40, 36, *shape[2:])


@pytest.mark.parametrize('net', [Bicubic(2), SrSENet(num_feat=16, num_block=1, upscale=2)], ids=['Bicubic', 'SrSENet'])
def test_compare_upscales(fake: FakeTensorMode, net: nn.Module) -> None:
    """A network without parameters, too."""
    with fake:
        net = net.to('cuda')
        with NothingOnTheProcessor(takes_images=True), seen(net) as found:
            quality._forward(net, np.zeros((8, 8, 1), np.float32))
    assert found == {('cuda', torch.float32)}


def test_compare_measures_time_and_memory(fake: FakeTensorMode, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device that it is asked to, which need not be the first."""
    net = SrSENet(num_feat=16, num_block=1)
    device = torch.device('cuda:1')
    asked = []
    for name in ('memory_allocated', 'reset_peak_memory_stats', 'max_memory_allocated'):
        monkeypatch.setattr(torch.cuda, name, lambda device: asked.append(device) or 5)
    with fake:
        with seen(net) as found:
            seconds, problems = cost.latencies({'net': (net, 1)}, 4, device)
        options = {'type': 'SrSENet', 'num_feat': 16, 'num_block': 1, 'upscale': 4}
        assert cost._measure_peak_memory(options, 1, 4, 'cuda:1', []) == 0
    assert found == {('cuda', torch.float32)}
    assert (list(seconds), problems) == (['net'], {})
    assert asked == [device] * 3


@pytest.mark.parametrize(('colour', 'precision'), [(False, 'fp32'), (True, 'fp32'), (True, 'fp16')])
def test_exported_programs_move_to_cuda(fake: FakeTensorMode, tmp_path: Path, colour: bool, precision: str) -> None:
    """In torch's own way, for a program states the devices that it was made on."""
    passes = pytest.importorskip('torch.export.passes', reason='torch 2.6 and newer move programs')
    export(SrSENet(num_feat=16, num_block=1).eval(), 'pt2', tmp_path / 'net.pt2', colour, precision)
    program = torch.export.load(tmp_path / 'net.pt2')
    with fake:
        run = passes.move_to_device_pass(program, 'cuda:0').module()
        img = torch.rand(1, 3 if colour else 1, 8, 8, device='cuda')
        with NothingOnTheProcessor():
            assert run(img).device.type == 'cuda'


@pytest.mark.parametrize('amp', ['off', 'bf16', 'fp16'])
@pytest.mark.parametrize('arch', [SRCNN, VDSR, DRCN])
def test_enlarged_images_stay_out_of_tf32(fake: FakeTensorMode, arch: type[nn.Module], amp: str) -> None:
    """cuDNN's convolutions of float32 have ten bits, unless one asks for more."""
    with fake, torch.device('cuda'):
        net = arch(upscale=8)
        first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
        dtypes: list[torch.dtype] = []
        with Convolutions(dtypes), torch.autocast('cuda', DTYPES[amp], enabled=amp != 'off'):
            out = first(net.enlarge(torch.rand(1, 1, 8, 8)))
    assert dtypes == [torch.float64] * 3
    assert out.dtype == torch.float32


class Convolutions(TorchDispatchMode):
    """Lists their dtypes."""

    def __init__(self, dtypes: list[torch.dtype]) -> None:
        super().__init__()
        self._dtypes = dtypes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self._dtypes.append(args[1].dtype)
        return func(*args, **(kwargs or {}))
