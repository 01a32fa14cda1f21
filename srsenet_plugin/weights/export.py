"""Trained networks in the formats of other tools: ONNX, TorchScript, torch.export and safetensors.

Height, width and batch are free in all of them. Their metadata tell scale, colour space and range. What is written is
read back and compared with the network before it gets its name.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from srsenet_plugin.archs.srsenet_arch import SrSENet
from srsenet_plugin.data.whole_files import whole_file
from srsenet_plugin.weights import pretrained

Metadata = dict[str, str]
Run = Callable[[Tensor], Tensor]

# Shapes (N, H, W) to compare at, and how far values in [0, 1] may be apart.
CHECKED = ((1, 24, 32), (2, 17, 45), (1, 40, 5))
TOLERANCE = 1e-4
INSTALL = "pip install 'srsenet_plugin[export]'"


class Format(NamedTuple):
    """A format of files.

    Attributes:
        suffix (str): Of its files.
        write (Callable): Writes a network with its metadata to a file.
        read (Callable): Makes what runs of a file, and of the network for files of weights alone.
    """

    suffix: str
    write: Callable[[SrSENet, Path, Metadata], None]
    read: Callable[[Path, SrSENet], Run]


def _example(net: SrSENet) -> Tensor:
    return torch.rand(2, net.conv_first.in_channels, 24, 32)


def _write_onnx(net: SrSENet, path: Path, metadata: Metadata) -> None:
    import onnx

    axes = {0: 'batch', 2: 'height', 3: 'width'}
    torch.onnx.export(
        net,
        (_example(net),),
        str(path),
        input_names=['lr'],
        output_names=['sr'],
        dynamic_axes={'lr': axes, 'sr': {0: 'batch', 2: 'sr_height', 3: 'sr_width'}},
        verbose=False,
    )
    model = onnx.load(path)
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del part.metadata_props[:]  # the exporter's traces, with the paths of this machine
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)  # the weights inside, not beside
    path.with_name(path.name + '.data').unlink(missing_ok=True)


def _read_onnx(path: Path, net: SrSENet) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return lambda lr: torch.from_numpy(session.run(['sr'], {'lr': lr.numpy()})[0])


def _write_torchscript(net: SrSENet, path: Path, metadata: Metadata) -> None:
    torch.jit.trace(net, _example(net)).save(str(path), _extra_files=metadata)


def _read_torchscript(path: Path, net: SrSENet) -> Run:
    return torch.jit.load(str(path))


def _write_pt2(net: SrSENet, path: Path, metadata: Metadata) -> None:
    if not hasattr(torch.export, 'Dim'):
        raise ValueError(
            f'--format pt2 needs torch 2.2 or newer, and this is {torch.__version__}: pip install -U torch'
        )
    batch, height, width = (torch.export.Dim(name, min=1) for name in ('batch', 'height', 'width'))
    program = torch.export.export(net, (_example(net),), dynamic_shapes={'x': {0: batch, 2: height, 3: width}})
    torch.export.save(program, path, extra_files=metadata)


def _read_pt2(path: Path, net: SrSENet) -> Run:
    return torch.export.load(path).module()


def _write_safetensors(net: SrSENet, path: Path, metadata: Metadata) -> None:
    from safetensors.torch import save

    path.write_bytes(save({name: weight.contiguous() for name, weight in net.state_dict().items()}, metadata))


def _read_safetensors(path: Path, net: SrSENet) -> Run:
    return pretrained.load_network(path)


FORMATS: Mapping[str, Format] = {
    'onnx': Format('.onnx', _write_onnx, _read_onnx),
    'torchscript': Format('.pt', _write_torchscript, _read_torchscript),
    'pt2': Format('.pt2', _write_pt2, _read_pt2),
    'safetensors': Format('.safetensors', _write_safetensors, _read_safetensors),
}
"""Formats by name. ``pt2`` is torch.export's."""


def export(net: SrSENet, file_format: str, path: Path) -> None:
    """Writes a network to a file for other tools, made on the CPU wherever the network is.

    Args:
        net (SrSENet): The network, in eval mode.
        file_format (str): One of :data:`FORMATS`.
        path (Path): The file to write.

    Raises:
        ValueError: A package is missing that the format needs, or what was written differs from the network.
        FileExistsError: The file is there already.
        OSError: It cannot be written.
    """
    if path.exists():
        raise FileExistsError(f'{path} exists already. Delete it, or name another file with -o.')
    chosen = FORMATS[file_format]
    net = copy.deepcopy(net).cpu()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path) as part, warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter('ignore')  # torch deprecates its exporters in turn, each in favour of the next
            chosen.write(net, part, _metadata(net))
            _check(net, chosen.read(part, net), path)
    except ImportError as error:
        raise ValueError(f'{file_format} needs {error.name}: {INSTALL}') from None


def _metadata(net: SrSENet) -> Metadata:
    luma = "Y of MATLAB's rgb2ycbcr, 16/255 to 235/255"
    return {
        'architecture': 'SrSENet',
        'scale': str(net.upscale),
        'colour_space': luma if net.conv_first.in_channels == 1 else 'RGB',
        'range': '0 to 1',
        'layout': 'NCHW',
    }


def _check(net: SrSENet, run: Run, path: Path) -> None:
    for num, height, width in CHECKED:
        lr = torch.rand(num, net.conv_first.in_channels, height, width)
        error = float((run(lr) - net(lr)).abs().max())
        if not error <= TOLERANCE:
            raise ValueError(f'{path} would differ from the network by {error:.1e} for {width}x{height} pixels.')
