"""Mistakes in option files, named in a sentence before anything is created, instead of by a traceback later."""

from __future__ import annotations

import functools
import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import distributed

from srsenet_plugin.data.manifest import read_manifest
from srsenet_plugin.toolbox import nearest_names, training_checks
from srsenet_plugin.toolbox.option_text import check_forced
from srsenet_plugin.weights import pretrained


class OptionError(SystemExit):
    """Ends the command as argparse does for a wrong argument: the message on stderr, no traceback, exit status 1."""


def check_options() -> tuple[bool, str]:
    """Makes BasicSR's ``parse_options`` check its result."""
    from basicsr.utils import options, set_random_seed

    parse_options = options.parse_options

    @functools.wraps(parse_options)
    def parse_and_check_options(*args: Any, **kwargs: Any) -> Any:
        try:
            check_forced(sys.argv[1:])
        except ValueError as error:
            raise OptionError(str(error)) from None
        try:
            parsed = parse_options(*args, **kwargs)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise OptionError(f'The option file cannot be read: {error}') from None
        except OSError as error:
            if error.filename is None:
                raise
            raise OptionError(f'The option file {error.filename} cannot be read: {error.strerror}.') from None
        except TypeError as error:
            if 'os.PathLike' not in str(error):
                raise
            raise OptionError(
                'A file or folder in the option file is no text. Look at dataroot_gt and dataroot_lq of datasets, and '
                f'at pretrain_network_g and resume_state of path: {error}.'
            ) from None
        except KeyError as error:
            (key,) = error.args
            if key in ('RANK', 'SLURM_PROCID'):
                raise OptionError(
                    f'{key} is not set: --launcher pytorch is for torchrun, --launcher slurm for srun.'
                ) from None
            raise OptionError(f'There is no {key!r} in the option file, or where --force_yml looks for it.') from None
        if not isinstance(parsed, tuple):  # an old copy of BasicSR, whose options may lack what the checks read
            return parsed
        opt, namespace = parsed
        # Anew, because parse_options has done it before it looked at --force_yml.
        seed = opt['manual_seed']
        if not isinstance(seed, int):
            raise OptionError(f'{namespace.opt}: manual_seed is an integer, not {seed!r}.')
        set_random_seed(seed + opt['rank'])
        _name_shipped_weights(opt)
        if isinstance(opt.get('val'), Mapping):
            opt['val'].setdefault('suffix', None)  # as ~; without it, BasicSR's test cannot save images
        problems = '\n'.join(
            (
                *_device_problems(opt),
                *_paths_that_are_none(opt),
                *_unwritable_results(opt),
                *_missing_files(opt),
                *_misread_lmdbs(opt),
                *training_checks.problems(opt),
                *nearest_names.check_names(opt),
            )
        )
        if problems:
            raise OptionError(f'{namespace.opt}:\n{problems}' if opt['rank'] == 0 else 1)
        if opt['is_train'] and opt['auto_resume']:
            from srsenet_plugin.models import checkpoints

            if opt['rank'] == 0:
                checkpoints.prepare_to_resume(Path('experiments', opt['name']))
            if opt['dist']:
                distributed.barrier()
        return opt, namespace

    options.parse_options = parse_and_check_options
    return True, 'mistakes in option files are named before a training or test begins'


def _name_shipped_weights(opt: Mapping[str, Any]) -> None:
    """Replaces names of weights that come with the package, such as srsenet_x4, by their files."""
    for key, path in opt['path'].items():
        if key.startswith('pretrain_network') and path in pretrained.names() and not os.path.exists(path):
            try:
                opt['path'][key] = str(pretrained.weights_file(path))
            except ValueError as error:
                raise OptionError(f'{key} of path: {error}') from None


def _device_problems(opt: Mapping[str, Any]) -> Iterator[str]:
    if opt['num_gpu'] != 0 and not torch.cuda.device_count():
        yield f'  num_gpu: {opt["num_gpu"]}, but torch finds no CUDA device. num_gpu: auto takes what there is.'


def _paths_that_are_none(opt: Mapping[str, Any]) -> Iterator[str]:
    for key, path in opt['path'].items():
        if any(name in key for name in ('strict_load', 'param_key', 'ignore_resume')):
            continue
        may_be_empty = any(name in key for name in ('pretrain_network', 'resume'))  # others become folders
        if not isinstance(path, str) and not (may_be_empty and path is None):
            yield f'  {key} of path is a file or a folder, not {path!r}.'


def _unwritable_results(opt: Mapping[str, Any]) -> Iterator[str]:
    results = Path(opt['path']['experiments_root' if opt['is_train'] else 'results_root'])
    folder = next(folder for folder in (results, *results.parents) if folder.exists())
    if not os.access(folder, os.W_OK):
        yield (
            f'  {folder} is not writable, and results go to {results}. They go beside basicsr/: link or copy it into '
            'a folder of yours.'
        )


def _missing_files(opt: Mapping[str, Any]) -> Iterator[str]:
    """Files and folders that the options name and that are not there, each with the command that makes it.

    A dataset's ``prepare`` key holds its command; BasicSR does not look at that key. A test goes on with the datasets
    that are there, if there are any.
    """
    incomplete = {
        phase: lines for phase, dataset in opt['datasets'].items() if (lines := _missing_roots(phase, dataset))
    }
    if opt['is_train'] or len(incomplete) == len(opt['datasets']):
        yield from itertools.chain.from_iterable(incomplete.values())
    else:
        for phase, lines in incomplete.items():
            name = opt['datasets'].pop(phase).get('name', phase)
            if opt['rank'] == 0:
                print('\n'.join((f'warning: {name} is not tested, because it is not there:', *lines)), file=sys.stderr)
    if not opt['auto_resume']:  # which replaces these paths
        for key, path in opt['path'].items():
            if key.startswith(('pretrain_network', 'resume_state')) and path and not os.path.exists(str(path)):
                shipped = f', or one of {", ".join(pretrained.names())}' if key.startswith('pretrain_network') else ''
                yield (
                    f'  {path} ({key} of path) does not exist. Train it first, or name a file that is there{shipped}.'
                )


def _missing_roots(phase: str, dataset: Mapping[str, Any]) -> list[str]:
    if (dataset.get('io_backend') or {}).get('type') not in ('disk', 'lmdb'):
        return []  # another backend's roots are no local paths
    missing = [
        f'  {root} ({key} of datasets: {phase}) does not exist.'
        for key, root in dataset.items()
        if key.startswith('dataroot') and isinstance(root, str) and not os.path.exists(root)
    ]
    return [*missing, f'    Make it with: {dataset["prepare"]}'] if missing and dataset.get('prepare') else missing


def _misread_lmdbs(opt: Mapping[str, Any]) -> Iterator[str]:
    """LMDBs of Y that a dataset would take for grey images, and convert to Y once more."""
    for phase, dataset in opt['datasets'].items():
        if dataset.get('type') == 'PairedLmdbDataset':
            continue
        for key, root in dataset.items():
            if key.startswith('dataroot') and read_manifest(str(root))['recipe'].get('colour') == 'y':
                yield f'  {root} ({key} of datasets: {phase}) holds Y alone, which only PairedLmdbDataset reads.'
