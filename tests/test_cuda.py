"""What a GPU really does. ``bash scripts/test_cuda.sh`` runs these tests where there is one, and measures."""

from __future__ import annotations

import copy
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.data.prefetch_dataloader import CUDAPrefetcher
from conftest import PHOTOS, run
from trainings import SHORT, TRAIN_X4, assert_same_weights, batches, build, train, watched

from srsenet_plugin import SrSENet
from srsenet_plugin.archs.bicubic_arch import Bicubic
from srsenet_plugin.compare import cost, quality
from srsenet_plugin.inference.stripwise import StripwiseSrSENet
from srsenet_plugin.inference.upscaler import Upscaler
from srsenet_plugin.machine.devices import find_device
from srsenet_plugin.models import validation
from srsenet_plugin.models.stopping import TrainingStopped
from srsenet_plugin.weights import files
from srsenet_plugin.weights.export import FORMATS, Exported, export
from srsenet_plugin.weights.pretrained import load_pretrained

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='torch finds no CUDA device'),
]

needs_bf16 = pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0), reason='this GPU has no bf16 units'
)

FUSED = {'type': 'Adam', 'lr': 1e-3, 'fused': True}
ONE_GPU = [*TRAIN_X4, *SHORT, 'num_gpu=1', 'train:total_iter=12']

# So that a training can be repeated exactly: PyTorch's deterministic algorithms, and none chosen by their time, which
# train.py asks for. cuBLAS needs CUBLAS_WORKSPACE_CONFIG besides.
DETERMINISTIC = """
import runpy, sys, torch
torch.use_deterministic_algorithms(True)
type(torch.backends.cudnn).benchmark = False
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.fixture
def opt(opt: dict[str, Any]) -> dict[str, Any]:
    opt['num_gpu'] = 1
    opt['train']['optim_g'] = FUSED
    return opt


@pytest.fixture
def exact_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions without TF32, which has the mantissa of fp16."""
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)


def newest_states_deleted(experiment: Path, iteration: int) -> None:
    for path in experiment.glob('*/*'):
        number = path.stem.removeprefix('net_g_')
        if path.parent.name in ('models', 'training_states') and (number == 'latest' or int(number) > iteration):
            path.unlink()


# Commands


@pytest.mark.parametrize(
    ('amp', 'others'),
    [
        pytest.param('bf16', ['train:compile=true'], marks=needs_bf16),
        ('fp16', ['train:compile=false', 'train:accumulate=2', 'train:grad_clip=1']),
    ],
)
def test_train_resume_and_test(workspace: Path, amp: str, others: list[str]) -> None:
    """The literal commands, on one GPU, in channels_last, with averaged weights and fused Adam."""
    name = f'cuda_{amp}'
    experiment = workspace / 'experiments' / name
    command = ['python', 'basicsr/train.py', '--auto_resume', *ONE_GPU, f'name={name}', f'train:amp={amp}', *others]
    printed = run(command, workspace)
    assert f'Precision: {amp}, with weights and loss in float32. Memory format: torch.channels_last' in printed
    assert 'left out' not in printed
    newest_states_deleted(experiment, 6)
    assert 'iter: 6.' in run(command, workspace).partition('Resuming training from')[2]
    losses = [row.split(',')[2] for row in (experiment / 'train_log.csv').read_text().splitlines() if ',l_pix,' in row]
    assert len(losses) == 6
    assert all(math.isfinite(float(loss)) for loss in losses)

    small = ['num_gpu=1', 'network_g:num_feat=16', 'network_g:num_block=2', f'name={name}']
    weights = f'path:pretrain_network_g=experiments/{name}/models/net_g_latest.pth'
    test = ['python', 'basicsr/test.py', '-opt', 'options/test_SrSENet_x4.yml', '--force_yml', *small, weights]
    assert '# psnr: ' in run(test, workspace)


@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_resumes_exactly(workspace: Path, amp: str) -> None:
    """With deterministic algorithms, a training that was interrupted ends with the same weights to the last bit."""
    (workspace / 'deterministic.py').write_text(DETERMINISTIC)
    name = f'cuda_exact_{amp}'
    command = ['python', 'deterministic.py', 'basicsr/train.py', '--auto_resume', *ONE_GPU, f'name={name}']
    command += [f'train:amp={amp}', 'train:compile=false']
    ends = []
    for _ in range(2):
        run(command, workspace, CUBLAS_WORKSPACE_CONFIG=':4096:8')
        ends.append(files.load(workspace / f'experiments/{name}/models/net_g_latest.pth'))
        newest_states_deleted(workspace / 'experiments' / name, 6)
    for key in ('params', 'params_ema'):
        for weight, expected in zip(ends[1][key].values(), ends[0][key].values()):
            assert torch.equal(weight, expected)


def test_torchrun(workspace: Path) -> None:
    """A rank for each GPU, with NCCL: stopped together, and resumed."""
    ranks = ['torchrun', '--standalone', f'--nproc_per_node={torch.cuda.device_count()}', 'basicsr/train.py']
    options = [*TRAIN_X4, '--launcher', 'pytorch', '--auto_resume', *SHORT, 'train:accumulate=2', 'name=cuda_ranks']
    stopped = [*ranks, *options, 'train:total_iter=100000']
    status, printed = watched(stopped, workspace, 'cuda_ranks', 'iter:       4,', signal.SIGTERM)
    assert status != 0
    last = int(printed.split('Stopped after iteration ')[1].split(',')[0])
    assert last % 10 == 0
    printed = run([*ranks, *options, f'train:total_iter={last + 4}'], workspace)
    assert f'iter: {last}.' in printed.partition('Resuming training from')[2]
    assert (workspace / 'experiments/cuda_ranks/models/net_g_latest.pth').exists()


# Steps


@pytest.mark.parametrize(
    'options',
    [{}, {'channels_last': True}, {'accumulate': 2}, {'compile': True}, {'optim_g': {'type': 'Adam', 'lr': 1e-3}}],
    ids=str,
)
@pytest.mark.usefixtures('exact_float32')
def test_equals_the_stock_model(opt: dict, options: dict[str, Any]) -> None:
    ours, stock = build(opt, **options), build(opt, 'SRModel')
    for log, expected in zip(train(ours, batches(8)), train(stock, batches(8))):
        assert log['l_pix'] == pytest.approx(expected['l_pix'], rel=1e-4)
    for weight, expected in zip(ours.net_g.parameters(), stock.net_g.parameters()):
        torch.testing.assert_close(weight, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize('compiled', [False, True])
@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_mixed_precision_trains_alike(opt: dict, amp: str, compiled: bool) -> None:
    ours, stock = build(opt, amp=amp, compile=compiled, channels_last=True), build(opt, 'SRModel')
    for log, expected in zip(train(ours, batches(8)), train(stock, batches(8))):
        assert log['l_pix'] == pytest.approx(expected['l_pix'], rel=0.05)


@pytest.mark.parametrize(('amp', 'compiled'), [('off', False), ('bf16', False), ('fp16', False), ('bf16', True)])
def test_steps_do_not_wait(opt: dict, amp: str, compiled: bool) -> None:
    """Outside of logging the host does not wait for the GPU, with accumulation, clipping and averaging too."""
    model = build(opt, amp=amp, compile=compiled, channels_last=True, accumulate=2, grad_clip=1)
    pinned = [
        {name: value.pin_memory() if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        for batch in batches(6)
    ]
    train(model, pinned[:3])
    torch.cuda.set_sync_debug_mode('error')
    try:
        for iteration, batch in enumerate(pinned[3:], 4):
            model.update_learning_rate(iteration)
            model.feed_data(batch)
            model.optimize_parameters(iteration)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert math.isfinite(model.get_current_log()['l_pix'])


@pytest.mark.parametrize('amp', ['off', 'bf16', 'fp16'])
def test_steps_that_are_not_finite_are_left_out(opt: dict, amp: str) -> None:
    model = build(opt, amp=amp, max_bad_steps=3)
    data = batches(4)
    train(model, data[:1])
    before = copy.deepcopy(model.net_g)
    for batch in data[1:]:
        batch['gt'][0, 0, 0, 0] = math.inf
    with pytest.raises(TrainingStopped, match='Stopped after 3 such steps'):
        train(model, data[1:], 2)
    assert_same_weights(model.net_g, before)


def test_prefetched_batches_are_not_overwritten(opt: dict) -> None:
    """While the GPU is behind the host, which copies the next batches on another stream."""
    data = batches(12, size=64)
    names = [batch.pop('gt_path') for batch in data]
    expected, logs = build(opt), []
    losses = [log['l_pix'] for log in train(expected, [{**batch, 'gt_path': ['x']} for batch in data])]
    model = build(opt)
    loader = torch.utils.data.DataLoader(data, batch_size=None, pin_memory=True)
    prefetcher = CUDAPrefetcher(loader, {'num_gpu': 1})
    for iteration in range(1, len(names) + 1):
        batch = prefetcher.next()
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        torch.cuda._sleep(10**8)
        model.optimize_parameters(iteration)
        logs.append(model._losses['l_pix'])
    assert [float(loss) for loss in logs] == pytest.approx(losses, rel=1e-3)


# Images


@pytest.fixture(scope='module')
def photo() -> np.ndarray:
    return np.asarray(cv2.imread(str(PHOTOS / 'coffee.png')))[100:300, 100:350, ::-1]


@pytest.mark.parametrize('options', [{}, {'tile': 96}, {'self_ensemble': True}], ids=str)
@pytest.mark.parametrize(('precision', 'mean', 'largest'), [('fp32', 0.05, 1), ('bf16', 0.3, 8), ('fp16', 0.1, 2)])
def test_upscales_as_the_processor(
    photo: np.ndarray, precision: str, mean: float, largest: int, options: dict[str, Any]
) -> None:
    """Within levels of 255; fp32 with TF32 in convolutions, as torch has it."""
    image = np.dstack([photo, np.indices(photo.shape[:2]).sum(0).astype(np.uint8)])
    expected = Upscaler(4, device='cpu', precision='fp32', **options)(image).astype(int)
    difference = np.abs(Upscaler(4, device='cuda', precision=precision, **options)(image) - expected)
    assert difference.mean() <= mean
    assert difference.max() <= largest


def test_memory_is_reused(opt: dict, photo: np.ndarray) -> None:
    """By the second image, and after a batch that was validated on."""
    upscaler = Upscaler(4, device='cuda')
    reserved = []
    for _ in range(3):
        upscaler(photo)
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[2] == reserved[1]
    del upscaler

    model = build(opt)
    train(model, batches(2))
    before = torch.cuda.memory_allocated()
    validation._upscale(model, batches(1, size=1)[0])
    assert torch.cuda.memory_allocated() <= before


def test_strips_need_less_memory() -> None:
    net = load_pretrained(4).cuda()
    img = torch.rand(1, 1, 400, 400, device='cuda')
    peaks = []
    for module in (net, StripwiseSrSENet(net), StripwiseSrSENet(net, torch.bfloat16)):
        with torch.inference_mode():
            module(img)
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            module(img)
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[0] > peaks[1] > peaks[2]


# Other parts


def test_compare() -> None:
    net = SrSENet(num_feat=16, num_block=1).eval()
    seconds, problems = cost.latencies({'net': (net, 1)}, 4, torch.device('cuda'))
    assert not problems
    assert seconds['net'] > 0
    options = {'type': 'SrSENet', 'num_feat': 16, 'num_block': 1, 'upscale': 4}
    peak = cost.peak_memory(options, 1, 4, torch.device('cuda'))
    assert peak is not None
    assert peak > 4 * 16 * 720 * 1280  # its features
    img = np.random.default_rng(0).random((8, 9, 1), np.float32)
    for net in (Bicubic(2), SrSENet(num_feat=16, num_block=1, upscale=2)):
        expected = quality._forward(net, img)
        np.testing.assert_allclose(quality._forward(net.cuda(), img), expected, rtol=0, atol=1e-3)


def run_torchscript(path: Path, img: torch.Tensor) -> Any:
    return torch.jit.load(path, 'cuda')(img.cuda()).detach().cpu()


def run_pt2(path: Path, img: torch.Tensor) -> Any:
    passes = pytest.importorskip('torch.export.passes', reason='torch 2.6 and newer move programs')
    program = passes.move_to_device_pass(torch.export.load(path), 'cuda:0')
    return program.module()(img.cuda()).detach().cpu()


def run_onnx(path: Path, img: torch.Tensor) -> Any:
    onnxruntime = pytest.importorskip('onnxruntime')
    if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
        pytest.skip('this ONNX Runtime has no CUDAExecutionProvider: pip install onnxruntime-gpu')
    return onnxruntime.InferenceSession(path, providers=['CUDAExecutionProvider']).run(None, {'lr': img.numpy()})[0]


@pytest.mark.parametrize('colour', [False, True])
@pytest.mark.parametrize(
    ('file_format', 'run_file'), [('torchscript', run_torchscript), ('pt2', run_pt2), ('onnx', run_onnx)]
)
def test_exported_files_run_on_it(tmp_path: Path, file_format: str, run_file: Callable[..., Any], colour: bool) -> None:
    """Made from a network that is there, too."""
    net = load_pretrained(4)
    img = torch.rand(1, 3 if colour else 1, 24, 32)
    with torch.no_grad():
        expected = Exported(net, colour)(img)
    path = tmp_path / f'net{FORMATS[file_format].suffix}'
    export(net.cuda(), file_format, path, colour)
    np.testing.assert_allclose(run_file(path, img), expected, rtol=0, atol=2e-3)


def test_a_device_that_is_not_there() -> None:
    """It is refused, and the others can be used after that."""
    with pytest.raises(ValueError, match='The device cuda:99 cannot be used'):
        find_device('cuda:99')
    assert find_device('auto').type == 'cuda'
