"""What BasicSR 1.4.2 needs to run on today's torch and without CUDA: one function per defect of the toolbox.

Each function looks whether the defect is present here, mends it if so, and returns a sentence that says what it found.
BasicSR's files stay as they are. ``srsenet doctor`` prints the sentences.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch.nn.parallel import DistributedDataParallel

from srsenet_plugin.toolbox.option_text import OptionLoader


class Report(NamedTuple):
    """What a shim did: ``active`` says whether it changed BasicSR here, ``reason`` why or why not."""

    shim: str
    active: bool
    reason: str


@functools.cache
def apply() -> tuple[Report, ...]:
    """Mends what is broken in the BasicSR at hand. Calling it again only returns the first call's reports.

    It imports modules of BasicSR, so BasicSR must be imported already, or be on its way through the import hook.
    """
    shims = (functional_tensor, safe_option_files, slurm_without_shell, states_on_the_cpu, distributed_without_cuda)
    return tuple(Report(shim.__name__, *shim()) for shim in shims)


def functional_tensor() -> tuple[bool, str]:
    """``import basicsr`` fails: torchvision 0.17 dropped ``transforms.functional_tensor`` (BasicSR issue 663)."""
    name = 'torchvision.transforms.functional_tensor'
    # A module that another project put there may have no __spec__, for which find_spec raises a ValueError.
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return False, f'{name} exists'
    import basicsr

    if name not in Path(basicsr.__path__[0], 'data/degradations.py').read_text(encoding='utf-8'):
        return False, f'this basicsr does not import {name}'
    from torchvision.transforms.functional import rgb_to_grayscale

    module = types.ModuleType(name, 'What BasicSR imports from a module that torchvision has removed.')
    module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
    sys.modules[name] = module
    return True, f'torchvision has no {name}, which basicsr imports'


def safe_option_files() -> tuple[bool, str]:
    """Option files are read with a YAML loader that lets them run code."""
    from basicsr.utils import options

    stock_loader, dumper = options.ordered_yaml()
    # FullConstructor is what the full and the unsafe loaders have in common and the safe ones lack.
    if not issubclass(stock_loader, yaml.constructor.FullConstructor):
        return False, f'option files are read with {stock_loader.__name__}, which is safe'

    options.ordered_yaml = lambda: (OptionLoader, dumper)
    return True, f'option files were read with the {stock_loader.__module__} loader that runs code in them'


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


def states_on_the_cpu() -> tuple[bool, str]:
    """``--auto_resume`` and ``resume_state`` load training states onto the current CUDA device.

    There may be none. Where there is one, torch takes no random state from it, Adam waits for its counters in each
    step, and the moments lie there twice.
    """
    from basicsr.utils import options

    parse_options = options.parse_options

    @functools.wraps(parse_options)
    def parse_options_and_mend_caller(*args: Any, **kwargs: Any) -> Any:
        # load_resume_state lives in train.py, which is __main__ when run as a script and a module of its own in other
        # projects: nothing reaches it but a look at who calls.
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None and 'load_resume_state' not in frame.f_globals:
            frame = frame.f_back
        if frame is not None:
            stock = frame.f_globals['load_resume_state']
            if isinstance(stock, types.FunctionType) and 'current_device' in stock.__code__.co_names:
                frame.f_globals['load_resume_state'] = _with_globals(stock, torch=_TorchWithoutCuda())
        return parse_options(*args, **kwargs)

    options.parse_options = parse_options_and_mend_caller
    return True, 'train.py loads training states onto CUDA, which may be missing and takes no random states'


def distributed_without_cuda() -> tuple[bool, str]:
    """``--launcher pytorch`` and ``slurm`` divide by the number of CUDA devices and hand one to DDP."""
    if _cuda_devices():
        return False, 'there is a CUDA device'
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


def _cuda_devices() -> int:
    # Unlike torch.cuda.is_available() this does not initialise CUDA, so that CUDA_VISIBLE_DEVICES can still be set and
    # processes can still be forked after the import of BasicSR.
    return torch.cuda.device_count()


class _TorchWithoutCuda:
    """What BasicSR's functions see as ``torch`` where it asks for CUDA: one device, which is the CPU."""

    class cuda:  # noqa: N801  (the name that BasicSR uses)
        device_count = staticmethod(lambda: 1)
        set_device = staticmethod(lambda device: None)
        current_device = staticmethod(lambda: 0)

    @staticmethod
    def load(path: str, map_location: Any) -> Any:
        return torch.load(path, map_location='cpu')


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
