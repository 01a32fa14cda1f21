"""What BasicSR needs to run on today's packages and without CUDA: one function per defect of the toolbox.

Each function looks whether the defect is present here, mends it if so, and returns a sentence that says what it found.
BasicSR's files stay as they are. ``toolbox.patches`` lists and applies the functions, and survives those that fail:
``basicsr`` may be a project's own copy, which lacks some of the files.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.nn.parallel import DistributedDataParallel

from srsenet_plugin.toolbox.option_text import OptionLoader

WITH_CUDA = 'there is a CUDA device'


# What BasicSR imports


def functional_tensor() -> tuple[bool, str]:
    """``import basicsr`` fails: torchvision 0.17 dropped ``transforms.functional_tensor`` (BasicSR issue 663)."""
    name = 'torchvision.transforms.functional_tensor'
    # A module that another project put there may have no __spec__, for which find_spec raises a ValueError.
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return False, f'{name} exists'
    if not _mentioned_in(name, 'data'):
        return False, f'this basicsr does not import {name}'
    from torchvision.transforms.functional import rgb_to_grayscale

    _provide(name, rgb_to_grayscale=rgb_to_grayscale)
    return True, f'torchvision has no {name}, which basicsr imports'


def version_of_a_clone() -> tuple[bool, str]:
    """``import basicsr`` fails in a clone that was never installed: its setup.py writes ``version.py``."""
    folder = _folder()
    if (folder / 'version.py').exists():
        return False, 'basicsr/version.py exists'
    stated = folder.parent / 'VERSION'
    version = stated.read_text(encoding='utf-8').strip() if stated.exists() else 'unknown'
    _provide('basicsr.version', __version__=version, __gitsha__='unknown', version_info=tuple(version.split('.')))
    return True, f'{folder} has no version.py, which its setup.py would write'


def distutils_version() -> tuple[bool, str]:
    """``import basicsr`` fails: Python 3.12 dropped ``distutils``, which setuptools replaces where it is installed."""
    if importlib.util.find_spec('distutils') is not None:
        return False, 'distutils exists'
    if not _mentioned_in('distutils', 'archs'):
        return False, 'this basicsr does not import distutils'
    from torch.torch_version import TorchVersion

    _provide('distutils')
    _provide('distutils.version', LooseVersion=TorchVersion)
    return True, 'Python has no distutils, of which basicsr imports a comparison of versions'


def scipy_filters() -> tuple[bool, str]:
    """``import basicsr`` fails without ``scipy.ndimage.filters``, which SciPy 2 is going to drop."""
    import scipy.ndimage

    name = 'scipy.ndimage.filters'
    if importlib.util.find_spec(name) is not None:
        return False, f'{name} exists'
    members = {key: getattr(scipy.ndimage, key) for key in scipy.ndimage.__all__ if hasattr(scipy.ndimage, key)}
    scipy.ndimage.filters = _provide(name, **members)
    return True, f'SciPy has no {name}, which basicsr imports'


def colours_in_matlab_functions() -> tuple[bool, str]:
    """Projects of BasicSR 1.3, such as HAT, import ``rgb2ycbcr`` and its like from ``utils.matlab_functions``."""
    from basicsr.utils import matlab_functions

    names = ('rgb2ycbcr', 'bgr2ycbcr', 'ycbcr2rgb', 'ycbcr2bgr')
    if all(hasattr(matlab_functions, name) for name in names):
        return False, 'utils.matlab_functions has them'
    from basicsr.utils import color_util

    for name in names:
        setattr(matlab_functions, name, getattr(color_util, name))
    return True, 'this basicsr has them in utils.color_util'


def losses_in_one_module() -> tuple[bool, str]:
    """Projects of BasicSR 1.3, such as SwinFIR, import from ``losses.losses``, which is two modules now."""
    folder = _folder() / 'losses'
    if (folder / 'losses.py').exists() or not (folder / 'basic_loss.py').exists():
        return False, 'this basicsr has its losses where it had them'

    def find(name: str) -> Any:
        for module in ('basic_loss', 'gan_loss'):
            contents = vars(importlib.import_module(f'basicsr.losses.{module}'))
            if name in contents:
                return contents[name]
        raise AttributeError(f'basicsr.losses has no {name}')

    _provide('basicsr.losses.losses', __getattr__=find)
    return True, 'this basicsr has them in losses.basic_loss and losses.gan_loss'


# Option files


def safe_option_files() -> tuple[bool, str]:
    """Option files are read with a YAML loader that lets them run code."""
    from basicsr.utils import options

    stock_loader, dumper = options.ordered_yaml()
    # FullConstructor is what the full and the unsafe loaders have in common and the safe ones lack.
    if not issubclass(stock_loader, yaml.constructor.FullConstructor):
        return False, f'option files are read with {stock_loader.__name__}, which is safe'

    options.ordered_yaml = lambda: (OptionLoader, dumper)
    return True, f'option files were read with the {stock_loader.__module__} loader that runs code in them'


# Functions that fail with today's packages


def ops_without_extension() -> tuple[bool, str]:
    """StyleGAN2's layers (GFPGAN) fail with a NameError where BasicSR's CUDA extension was not built."""
    from basicsr.ops import fused_act, upfirdn2d

    # The modules have the names of what they hold, which hides them in the packages.
    fused_module: Any = sys.modules['basicsr.ops.fused_act.fused_act']
    upfirdn_module: Any = sys.modules['basicsr.ops.upfirdn2d.upfirdn2d']
    if hasattr(fused_module, 'fused_act_ext') and hasattr(upfirdn_module, 'upfirdn2d_ext'):
        return False, 'the CUDA extension is there'

    @functools.wraps(fused_module.fused_leaky_relu)
    def fused_leaky_relu(
        input: torch.Tensor, bias: torch.Tensor, negative_slope: float = 0.2, scale: float = 2**0.5
    ) -> torch.Tensor:
        biased = input + bias.view(1, -1, *[1] * (input.ndim - 2))
        return torch.nn.functional.leaky_relu(biased, negative_slope) * scale

    @functools.wraps(upfirdn_module.upfirdn2d)
    def upfirdn2d_in_torch(
        input: torch.Tensor, kernel: torch.Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)
    ) -> torch.Tensor:
        native: Callable[..., torch.Tensor] = upfirdn_module.upfirdn2d_native
        return native(input, kernel, up, up, down, down, pad[0], pad[1], pad[0], pad[1])

    for module in (fused_module, fused_act):
        module.fused_leaky_relu = fused_leaky_relu
    for module in (upfirdn_module, upfirdn2d):
        module.upfirdn2d = upfirdn2d_in_torch
    return True, 'the CUDA extension is not there: the same in torch'


def filters_in_any_layout() -> tuple[bool, str]:
    """``filter2D``, and so Real-ESRGAN's degradations, takes no images whose channels lie last in memory."""
    from basicsr.utils import img_process_util

    stock = img_process_util.filter2D
    channels_last = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    try:
        stock(channels_last, torch.zeros(2, 3, 3))
        return False, 'filter2D takes them'
    except RuntimeError:
        pass

    @functools.wraps(stock)
    def filter2d(img: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        filtered: torch.Tensor = stock(img.contiguous(), kernel.contiguous())
        return filtered

    img_process_util.filter2D = filter2d
    return True, 'DiffJPEG returns such images, and torch keeps the layout when it resizes them'


def whole_jpeg_qualities() -> tuple[bool, str]:
    """``data.degradations.add_jpg_compression`` hands fractions to OpenCV, which takes whole numbers."""
    import cv2
    import numpy as np

    fraction: Any = np.float64(90.5)
    try:
        cv2.imencode('.jpg', np.zeros((8, 8, 3), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, fraction])
        return False, 'this OpenCV takes fractions'
    except (cv2.error, TypeError):
        pass
    from basicsr.data import degradations

    stock = degradations.add_jpg_compression

    @functools.wraps(stock)
    def add_jpg_compression(img: Any, quality: float = 90) -> Any:
        return stock(img, int(quality))

    degradations.add_jpg_compression = add_jpg_compression
    return True, f'OpenCV {cv2.__version__} takes whole numbers'


def matrix_roots() -> tuple[bool, str]:
    """``metrics.fid`` asks ``scipy.linalg.sqrtm`` for two results, which SciPy 1.18 is going to refuse."""
    from scipy import linalg

    if 'disp' in inspect.signature(linalg.sqrtm).parameters:
        return False, 'this SciPy returns both'
    from basicsr.metrics import fid

    def sqrtm(matrix: Any, disp: bool = True) -> Any:
        root = linalg.sqrtm(matrix)
        return root if disp else (root, float('nan'))  # the estimated error, which fid does not read

    fid.linalg = types.SimpleNamespace(sqrtm=sqrtm)
    return True, 'this SciPy returns one'


def betas_as_floats() -> tuple[bool, str]:
    """``get_optimizer`` hands Adam the integer 0 as a beta (StyleGAN2 and GFPGAN), which torch has come to refuse."""
    from basicsr.models.base_model import BaseModel

    try:
        torch.optim.Adam([torch.zeros(1)], betas=(0, 0.9))
        return False, 'this torch takes it'
    except ValueError:
        pass
    stock = BaseModel.get_optimizer

    @functools.wraps(stock)
    def get_optimizer(self: Any, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        if 'betas' in kwargs:
            kwargs['betas'] = tuple(float(beta) for beta in kwargs['betas'])
        optimizer: torch.optim.Optimizer = stock(self, optim_type, params, lr, **kwargs)
        return optimizer

    BaseModel.get_optimizer = get_optimizer
    return True, 'this torch takes floats alone'


# Slurm


def slurm_without_shell() -> tuple[bool, str]:
    """``--launcher slurm`` lets a shell run what is in SLURM_NODELIST (CVE-2024-27763, BasicSR issue 729)."""
    from basicsr.utils import dist_util

    stock = dist_util._init_dist_slurm
    if 'getoutput' not in stock.__code__.co_names or stock.__globals__['subprocess'] is not subprocess:
        return False, '--launcher slurm asks no shell'

    def first_node(command: str) -> str:
        try:
            answer = subprocess.run(
                ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']], stdout=subprocess.PIPE, text=True
            )
        except FileNotFoundError:
            raise SystemExit('--launcher slurm asks scontrol for the names of the nodes, which is not there.') from None
        if answer.returncode or not answer.stdout:
            raise SystemExit(f'scontrol knows no nodes {os.environ["SLURM_NODELIST"]!r}, which SLURM_NODELIST names.')
        return answer.stdout.splitlines()[0]

    dist_util._init_dist_slurm = _with_globals(stock, subprocess=types.SimpleNamespace(getoutput=first_node))
    return True, 'SLURM_NODELIST went through a shell, which could run what is in it (CVE-2024-27763)'


# Without CUDA


def states_on_the_cpu() -> tuple[bool, str]:
    """``--auto_resume`` and ``resume_state`` load training states onto the current CUDA device.

    There may be none. Where there is one, torch takes no random state from it, Adam waits for its counters in each
    step, and the moments lie there twice.
    """

    def mend_caller() -> None:
        # The code is in train.py, which is __main__ when run as a script and a module of its own in other projects:
        # nothing reaches it but a look at who calls. Older copies load the state in main() itself.
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None:
            names = frame.f_globals
            stock = names.get('load_resume_state')
            if isinstance(stock, types.FunctionType) and 'current_device' in stock.__code__.co_names:
                names['load_resume_state'] = _with_globals(stock, torch=_TorchWithoutCuda())
            elif names.get('torch') is torch and 'current_device' in frame.f_code.co_names and not _cuda_devices():
                names['torch'] = _TorchWithoutCuda()
            frame = frame.f_back

    _around_parsing(before=mend_caller)
    return True, 'train.py loads training states onto CUDA, which may be missing and takes no random states'


def distributed_without_cuda() -> tuple[bool, str]:
    """``--launcher pytorch`` and ``slurm`` divide by the number of CUDA devices and hand one to DDP."""
    if _cuda_devices():
        return False, WITH_CUDA
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import dist_util

    def init_gloo(backend: str, **kwargs: Any) -> None:
        # torchrun --max-restarts keeps its store, in which gloo would find the addresses of the processes before.
        restarts = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
        if restarts != '0':
            store, rank, world_size = next(torch.distributed.rendezvous('env://'))
            kwargs |= {'store': torch.distributed.PrefixStore(f'restart_{restarts}', store)}
            kwargs |= {'rank': rank, 'world_size': world_size}
        torch.distributed.init_process_group(backend='gloo', **kwargs)

    def ddp_on_cpu(module: torch.nn.Module, device_ids: list[int], **kwargs: Any) -> DistributedDataParallel:
        return DistributedDataParallel(module, **kwargs)

    gloo = types.SimpleNamespace(init_process_group=init_gloo)
    for name in ('_init_dist_pytorch', '_init_dist_slurm'):
        stock = getattr(dist_util, name)
        setattr(dist_util, name, _with_globals(stock, torch=_TorchWithoutCuda(), dist=gloo))
    BaseModel.model_to_device = _with_globals(
        BaseModel.model_to_device, torch=_TorchWithoutCuda(), DistributedDataParallel=ddp_on_cpu
    )
    return True, 'no CUDA device: gloo instead of nccl, DDP on the CPU'


def cuda_calls_without_cuda() -> tuple[bool, str]:
    """Real-ESRGAN's models, in BasicSR and in projects, call ``.cuda()`` where the options say ``num_gpu: 0``."""
    if _cuda_devices():
        return False, WITH_CUDA

    def stay(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self

    def mean_the_cpu(opt: Any) -> None:
        # The call is in projects' own code too. In a process that trains or tests without CUDA it can only fail.
        if opt.get('num_gpu') == 0:
            torch.Tensor.cuda = torch.nn.Module.cuda = stay  # type: ignore[method-assign]

    _around_parsing(after=mean_the_cpu)
    return True, 'no CUDA device: in trainings and tests .cuda() leaves tensors on the CPU'


def prefetch_without_cuda() -> tuple[bool, str]:
    """``prefetch_mode: cuda`` asks for a CUDA stream."""
    if _cuda_devices():
        return False, WITH_CUDA
    from basicsr.data import prefetch_dataloader

    @functools.wraps(prefetch_dataloader.CUDAPrefetcher, updated=())
    def prefetch_on_cpu(loader: Any, opt: Any) -> Any:
        return prefetch_dataloader.CPUPrefetcher(loader)

    prefetch_dataloader.CUDAPrefetcher = prefetch_on_cpu
    return True, 'no CUDA device: prefetch_mode: cuda does as cpu'


def video_validation_without_cuda() -> tuple[bool, str]:
    """Video models validate with a table that is on a CUDA device."""
    if _cuda_devices():
        return False, WITH_CUDA
    for name in ('video_base_model', 'video_recurrent_model'):
        importlib.import_module(f'basicsr.models.{name}').torch = _TorchWithoutCuda()  # type: ignore[attr-defined]
    return True, 'no CUDA device: the table is on the CPU'


def _cuda_devices() -> int:
    # Unlike torch.cuda.is_available() this does not initialise CUDA, so that CUDA_VISIBLE_DEVICES can still be set and
    # processes can still be forked after the import of BasicSR.
    return torch.cuda.device_count()


class _Cuda:
    """``torch.cuda`` with one device, which is the CPU."""

    device_count = staticmethod(lambda: 1)
    set_device = staticmethod(lambda device: None)
    current_device = staticmethod(lambda: 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cuda, name)


class _TorchWithoutCuda:
    """``torch`` as BasicSR's functions see it where they ask for CUDA."""

    cuda = _Cuda()

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def load(path: str, map_location: Any = None, **kwargs: Any) -> Any:
        return torch.load(path, map_location='cpu', **kwargs)

    @staticmethod
    def zeros(*size: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        return torch.zeros(*size, device='cpu' if device == 'cuda' else device, **kwargs)


def _folder() -> Path:
    import basicsr

    return Path(basicsr.__path__[0])


def _mentioned_in(name: str, part: str) -> bool:
    """Whether a file of that part of BasicSR has the name."""
    return any(name in path.read_text(encoding='utf-8') for path in _folder().joinpath(part).rglob('*.py'))


def _provide(name: str, **contents: Any) -> types.ModuleType:
    """Puts a module where imports find it."""
    module = types.ModuleType(name, 'What BasicSR imports from a module that is not there.')
    vars(module).update(contents)
    module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
    sys.modules[name] = module
    return module


def _around_parsing(before: Callable[[], None] = lambda: None, after: Callable[[Any], None] = lambda opt: None) -> None:
    """Has functions called before option files are read, and after it with the options.

    BasicSR has ``parse_options`` for it, which returns options and arguments, and its old copies ``parse``.
    """
    from basicsr.utils import options

    name = 'parse_options' if hasattr(options, 'parse_options') else 'parse'
    stock = getattr(options, name)

    @functools.wraps(stock)
    def parse(*args: Any, **kwargs: Any) -> Any:
        before()
        parsed = stock(*args, **kwargs)
        after(parsed[0] if isinstance(parsed, tuple) else parsed)
        return parsed

    setattr(options, name, parse)


def _with_globals(function: Any, **names: Any) -> Callable[..., Any]:
    """The same function, for which some of its module's global names mean something else."""
    copy = types.FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return functools.update_wrapper(copy, function)
