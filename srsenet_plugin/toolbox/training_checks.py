"""Mistakes in an option file that would end a training or a validation later, or make it silently wrong."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from srsenet_plugin.data.manifest import read_manifest
from srsenet_plugin.machine.precision import DTYPES


class Kind(NamedTuple):
    """What an option may be: a test of a value, and the same in words."""

    fits: Callable[[Any], bool]
    words: str


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_range(value: Any, least: float, most: float) -> bool:
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
        return False
    return least <= value[0] <= value[1] <= most


COUNT = Kind(lambda value: _is_number(value) and isinstance(value, int) and value >= 1, 'a whole number greater than 0')
POSITIVE = Kind(lambda value: _is_number(value) and value > 0, 'a number greater than 0')
SWITCH = Kind(lambda value: isinstance(value, bool), 'true or false')
PRECISION = Kind(lambda value: value is False or value in tuple(DTYPES), f'one of {", ".join(DTYPES)}')  # YAML's off
SHARE = Kind(lambda value: _is_number(value) and 0 <= value <= 1, 'a number from 0 to 1')
QUALITIES = Kind(
    lambda value: _is_range(value, 1, 100) and all(isinstance(end, int) for end in value),
    'the lowest and the highest quality, two whole numbers from 1 to 100',
)
NOISES = Kind(
    lambda value: _is_range(value, 0, 255), 'the lowest and the highest standard deviation, two numbers from 0 to 255'
)
COLOUR = Kind(lambda value: value in ('y', 'rgb'), 'y or rgb')

# The options that the plugin adds. ~ stands for the default.
MODEL_OPTIONS = {
    'train': {
        'amp': PRECISION,
        'channels_last': SWITCH,
        'compile': SWITCH,
        'accumulate': COUNT,
        'grad_clip': POSITIVE,
        'max_bad_steps': COUNT,
    },
    'val': {'round_gt': SWITCH},
    'logger': {'keep_checkpoints': COUNT},
}
DATASET_OPTIONS = {'scale': COUNT, 'color': COLOUR}
JPEG_OPTIONS = {'quality': QUALITIES, 'clean': SHARE, 'noise': NOISES, 'noisy': SHARE}
TRAIN_SET_OPTIONS = {'gt_size': COUNT, 'use_hflip': SWITCH, 'use_rot': SWITCH}


def problems(opt: Mapping[str, Any]) -> Iterator[str]:
    """A line for each mistake.

    Args:
        opt: The options, as BasicSR's ``parse_options`` returns them.
    """
    yield from _plugin_options(opt)
    yield from _base_models(opt)
    yield from _lmdb_datasets(opt)
    yield from _patches(opt)
    yield from _jpeg_patches(opt)
    yield from _validation(opt)
    yield from _unsupervised_outputs(opt)
    yield from _short_schedules(opt)


def _misfits(place: str, options: Mapping[str, Any], kinds: Mapping[str, Kind]) -> Iterator[str]:
    for name, kind in kinds.items():
        value = options.get(name)
        if value is not None and not kind.fits(value):
            yield f'  {place}: {name}: {value!r} is not {kind.words}.{_hint(value, kind)}'


def _hint(value: Any, kind: Kind) -> str:
    if isinstance(value, str) and kind in (COUNT, POSITIVE):
        try:
            number = float(value)
        except ValueError:
            return ''
        if math.isfinite(number):
            return ' It is text to YAML: write it without quotes, and 1e-3 as 0.001 or 1.0e-3.'
    return ''


def _plugin_options(opt: Mapping[str, Any]) -> Iterator[str]:
    if opt.get('model_type') != 'AcceleratedSRModel':
        return
    for section, kinds in MODEL_OPTIONS.items():
        if isinstance(opt.get(section), Mapping):
            yield from _misfits(section, opt[section], kinds)


def _base_models(opt: Mapping[str, Any]) -> Iterator[str]:
    if opt.get('model_type') != 'AcceleratedSRModel' or not opt.get('base_model'):
        return
    # Imported here, because a project's own copy of BasicSR may lack what they build on.
    from srsenet_plugin.models.accelerated_sr_model import AcceleratedSRModel
    from srsenet_plugin.models.base_model import on_top_of
    from srsenet_plugin.models.stopping import TrainingStopped

    try:
        on_top_of(AcceleratedSRModel, opt['base_model'])
    except TrainingStopped as error:
        yield f'  {error}'


def _lmdb_datasets(opt: Mapping[str, Any]) -> Iterator[str]:
    for phase, dataset in opt['datasets'].items():
        if dataset.get('type') != 'PairedLmdbDataset':
            continue
        place = f'datasets: {phase}'
        kinds = DATASET_OPTIONS | (TRAIN_SET_OPTIONS if dataset.get('phase') == 'train' else {})
        yield from _misfits(place, dataset, kinds)
        for name in kinds:
            if name != 'color' and (name not in dataset or (dataset[name] is None and kinds[name] is COUNT)):
                where = 'The option file' if name == 'scale' else place
                yield f'  {where} has no {name}, which PairedLmdbDataset needs: {kinds[name].words}.'
        backend = (dataset.get('io_backend') or {}).get('type')
        if backend != 'lmdb':
            yield (
                f'  {place}: PairedLmdbDataset reads io_backend: type: lmdb, not {backend!r}. type: PairedImageDataset '
                'reads folders.'
            )
            continue
        roots = [dataset.get(key) for key in ('dataroot_gt', 'dataroot_lq')]
        hold_y = [read_manifest(root)['recipe'].get('colour') == 'y' for root in roots if isinstance(root, str)]
        if any(hold_y) and (not all(hold_y) or dataset.get('color') != 'y'):
            yield f'  {place}: LMDBs of Y come in pairs and need color: y. Of Y are: {_of_y(roots, hold_y)}.'


def _of_y(roots: list[Any], hold_y: list[bool]) -> str:
    return ', '.join(str(root) for root, holds in zip(roots, hold_y) if holds)


def _patches(opt: Mapping[str, Any]) -> Iterator[str]:
    """Patches that are no whole number of LQ pixels, which no output of the network matches."""
    for phase, dataset in opt['datasets'].items():
        size, scale = dataset.get('gt_size'), dataset.get('scale')
        if COUNT.fits(size) and COUNT.fits(scale) and size % scale:
            yield (
                f'  datasets: {phase}: gt_size: {size} is no multiple of scale: {scale}. '
                f'{max(size // scale, 1) * scale} is one.'
            )


def _jpeg_patches(opt: Mapping[str, Any]) -> Iterator[str]:
    for phase, dataset in opt['datasets'].items():
        jpeg, place = dataset.get('jpeg'), f'datasets: {phase}'
        if jpeg is None or dataset.get('type') not in ('PairedLmdbDataset', 'PairedImageDataset'):
            continue  # a project's dataset may have a jpeg of its own
        if dataset['type'] != 'PairedLmdbDataset' or dataset.get('phase') != 'train':
            yield f'  {place}: jpeg is for the training patches of PairedLmdbDataset. Nothing reads it here.'
            continue
        if not isinstance(jpeg, Mapping) or jpeg.get('quality') is None:
            yield f'  {place}: jpeg has no quality, such as quality: [30, 95].'
            continue
        for name in jpeg:
            if name not in JPEG_OPTIONS:
                yield f'  {place}: jpeg has no option {name}; there are {", ".join(JPEG_OPTIONS)}.'
        yield from _misfits(f'{place}: jpeg', jpeg, JPEG_OPTIONS)


def _validation(opt: Mapping[str, Any]) -> Iterator[str]:
    val = opt.get('val')
    if val is None:
        return
    if not isinstance(val, Mapping):
        yield f'  val has no keys, but {val!r}. It needs at least save_img: false.'
        return
    if 'save_img' not in val:
        yield '  val has no save_img: true or false.'
    if opt['is_train'] and not POSITIVE.fits(val.get('val_freq')):
        yield f'  val: val_freq: {val.get("val_freq")!r} is not {POSITIVE.words}.'
    metrics = val.get('metrics')
    if metrics is None:
        return
    if not isinstance(metrics, Mapping) or not all(isinstance(options, Mapping) for options in metrics.values()):
        yield f'  val: metrics: {metrics!r} is not a name for each metric, with its type below.'
        return
    for phase, dataset in opt['datasets'].items():
        if dataset.get('phase') != 'train':
            yield from _unmeasurable_sets(phase, dataset, metrics)


def _unmeasurable_sets(phase: str, dataset: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[str]:
    from srsenet_plugin.models.validation import smallest_side

    with_gt = {name: options for name, options in metrics.items() if _needs_gt(options.get('type'))}
    if with_gt and dataset.get('type') == 'SingleImageDataset':
        yield (
            f'  datasets: {phase}: SingleImageDataset has no GT images, which {", ".join(with_gt)} of val: metrics '
            'compare with. Leave out metrics, or take type: PairedImageDataset with dataroot_gt.'
        )
        return
    sides = {name: smallest_side(options) for name, options in with_gt.items()}
    for path, size in _gt_sizes(dataset) if sides else ():
        too_small = [name for name, side in sides.items() if min(size) < side]
        if too_small:
            yield (
                f'  datasets: {phase}: {path} has {size[0]}x{size[1]} pixels, which leave nothing for '
                f'{", ".join(too_small)} within crop_border. A side of {max(sides.values())} is the least.'
            )
            return  # one is enough to find the rest


def _needs_gt(metric: Any) -> bool:
    from basicsr.utils.registry import METRIC_REGISTRY

    if metric not in METRIC_REGISTRY:
        return False
    gt = inspect.signature(METRIC_REGISTRY.get(metric)).parameters.get('img2')
    return gt is not None and gt.default is inspect.Parameter.empty


def _gt_sizes(dataset: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Paths, and widths and heights in pixels, of the GT images of a folder or LMDB; of other sets none."""
    root = dataset.get('dataroot_gt')
    backend = (dataset.get('io_backend') or {}).get('type')
    if not isinstance(root, str) or dataset.get('meta_info_file') is not None:
        return
    if backend == 'lmdb':
        info = Path(root, 'meta_info.txt')
        for line in info.read_text(encoding='utf-8', errors='replace').splitlines() if info.is_file() else ():
            name, _, shape = line.partition(' (')
            numbers = shape.partition(')')[0].split(',')
            if len(numbers) > 1 and all(number.strip().isdecimal() for number in numbers):
                yield os.path.join(root, name), (int(numbers[1]), int(numbers[0]))
    elif backend == 'disk' and os.path.isdir(root):
        for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
            try:
                with Image.open(entry.path) as img:
                    yield entry.path, img.size
            except Exception:  # no image of Pillow's, or a damaged one: whoever reads it has the say
                continue


def _unsupervised_outputs(opt: Mapping[str, Any]) -> Iterator[str]:
    """Networks that return several images in training, which no other loss takes."""
    from basicsr.utils.registry import ARCH_REGISTRY

    net = (opt.get('network_g') or {}).get('type')
    loss = ((opt.get('train') or {}).get('pixel_opt') or {}).get('type')
    supervises = net in ARCH_REGISTRY and getattr(ARCH_REGISTRY.get(net), 'supervises_all_outputs', False)
    if opt['is_train'] and supervises and loss != 'DeepSupervisionLoss':
        yield (
            f'  {net} predicts several images in training: pixel_opt: type has to be DeepSupervisionLoss, with '
            f"loss: {{type: {loss}, ...}}. See the plugin's options/table1/train_{net}_x4.yml."
        )


def _short_schedules(opt: Mapping[str, Any]) -> Iterator[str]:
    """Cosines that end before the training does, after which BasicSR's scheduler fails."""
    train = opt.get('train') or {}
    scheduler = train.get('scheduler') or {}
    periods, total_iter = scheduler.get('periods'), train.get('total_iter')
    if scheduler.get('type') != 'CosineAnnealingRestartLR' or not isinstance(periods, list):
        return
    if not all(isinstance(number, int) for number in periods) or not isinstance(total_iter, int):
        return
    if sum(periods) < total_iter:
        yield (
            f'  train: total_iter: {total_iter} is more than scheduler: periods: {periods} add up to. '
            f'--force_yml train:scheduler:periods=[{total_iter}] makes one of all, with restart_weights=[1].'
        )
