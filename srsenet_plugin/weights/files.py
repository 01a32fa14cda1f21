"""Networks and training states on disk: written whole or not at all, and read without running code."""

from __future__ import annotations

import os
import pickle
import tarfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from srsenet_plugin.data.whole_files import whole_file

# Of a .safetensors file, in bytes: a thousand tensors take a tenth of it.
LONGEST_HEADER = 10**6

if not hasattr(torch.serialization, 'add_safe_globals'):
    # torch before 2.4 does not count the Counter in the state of BasicSR's MultiStepLR among plain values.
    torch._weights_only_unpickler._get_allowed_globals().setdefault('collections.Counter', Counter)


def save(content: Any, path: Path) -> None:
    """Saves as ``torch.save`` does, except that the old file stays valid until the new one is complete.

    Raises:
        Exception: Whatever ``torch.save`` raises, such as RuntimeError and OSError if the disk is full.
    """
    with whole_file(path) as part, part.open('wb') as file:
        torch.save(content, file)


def load(path: str | os.PathLike[str]) -> Any:
    """Loads a ``.pth`` or ``.state`` file onto the CPU, or the tensors of a ``.safetensors`` file.

    Raises:
        ValueError: The file is damaged, expands to more than its size, or is a pickle of more than tensors and plain
            values.
        FileNotFoundError: There is no such file.
    """
    if os.path.getsize(path) == 0:
        raise ValueError(f'{path} is empty.')
    try:
        _refuse_unsafe_archives(path)
        if os.fspath(path).endswith('.safetensors'):
            from safetensors.torch import load_file

            _refuse_long_headers(path)
            return load_file(path)
        return torch.load(path, map_location='cpu', weights_only=True)
    except ImportError:
        raise ValueError(f'{path} needs safetensors: pip install safetensors') from None
    except pickle.UnpicklingError as error:
        # Without torch's advice around it, which is to load the file unsafely.
        reason = str(error).rpartition('WeightsUnpickler error:')[2].strip().partition('\n')[0].partition('. ')[0]
        raise ValueError(f'{path} is damaged, or no file of weights ({reason}).') from error
    except Exception as error:  # damaged archives and pickles make torch.load raise nearly anything
        raise ValueError(f'{path} is damaged, or no file of weights ({error}).') from error


def _refuse_long_headers(path: str | os.PathLike[str]) -> None:
    """A safetensors file may list any number of tensors without values, and listing them takes its time."""
    with open(path, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
    if length > LONGEST_HEADER:
        raise ValueError(f'its header is of {length} bytes, more than {LONGEST_HEADER}')


def _refuse_unsafe_archives(path: str | os.PathLike[str]) -> None:
    """Refuses what ``torch.save`` makes none of: compressed archives, and two kinds in which torch before 2.6 runs code
    whatever ``weights_only`` says (CVE-2025-32434)."""
    with open(path, 'rb') as file:
        start = file.read(4)
    if start == b'PK\x03\x04' or zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > os.path.getsize(path):
                raise ValueError('it expands to more than its size')
            if any(PurePosixPath(name).name == 'constants.pkl' for name in archive.namelist()):
                raise ValueError('it is a TorchScript archive')
    elif tarfile.is_tarfile(path):
        raise ValueError('it is a tar archive')


def network_weights(path: str | os.PathLike[str], param_key: str | None) -> Mapping[str, torch.Tensor]:
    """The weights of a network, by name.

    Args:
        path: BasicSR's file, with the keys 'params' and perhaps 'params_ema', or one of weights alone.
        param_key: Key to take; if it is not there, 'params'. None for a file of the weights alone.

    Raises:
        ValueError: As :func:`load`; or the file holds no weights.
        FileNotFoundError: There is no such file.
    """
    return weights_of(load(path), path, param_key)


def weights_of(content: Any, path: str | os.PathLike[str], param_key: str | None) -> dict[str, torch.Tensor]:
    """The weights in what :func:`load` returned of a file; see :func:`network_weights`."""
    for key in (param_key, 'params'):
        if param_key is not None and isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    ):
        raise ValueError(f'{path} holds no weights under {param_key!r} or "params".')
    for name, value in content.items():
        # A tensor of a few bytes can have any size by its strides.
        if value.layout != torch.strided or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f'{path} holds {name} in a way that weights are not stored.')
        if value.is_complex() or not value.isfinite().all():
            raise ValueError(f'{path} holds values in {name} that are no finite numbers.')
    return {name.removeprefix('module.'): value for name, value in content.items()}
