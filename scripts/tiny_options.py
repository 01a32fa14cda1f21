"""Makes a project's own option file tiny: four iterations on three small images, on the CPU.

    python scripts/tiny_options.py FOLDER

It takes the plainest of the training options in FOLDER, keeps types, losses and the schedule's kind, cuts the network
to few blocks, and writes FOLDER/tiny.yml and the images. It prints the type of the network.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

ITERATIONS = 4
BATCH = 2
PATCH = 32  # of the low-resolution image, at most
FACE = 64  # where a network takes images of one size, as GFPGAN's
# Keys of networks that count blocks. Widths stay, because they have to fit each other.
BLOCKS = re.compile(r'(n|num)?_?(depths?|(res|res_|refinement_)?blocks?|layers?|groups?)|.*blk_nums?')
# Some networks name their eight blocks one by one, so fewer would not do.
MOST_BLOCKS = 8


def main(folder: Path) -> None:
    path = min(_training_options(folder), key=lambda path: (_oddity(path, folder.resolve().name), str(path)))
    opt = yaml.safe_load(path.read_text(encoding='utf-8'))
    _shrink(opt)
    _make_images(folder / 'tiny', _scale(opt), 'out_size' in opt['datasets']['train'])
    (folder / 'tiny.yml').write_text(yaml.safe_dump(opt, sort_keys=False))
    print(opt['network_g']['type'])


def _training_options(folder: Path) -> Iterator[Path]:
    found = False
    for path in folder.rglob('*.yml'):
        if 'experiments' in path.parts:
            continue
        try:
            opt = yaml.safe_load(path.read_text(encoding='utf-8'))
        except yaml.YAMLError:
            continue
        if isinstance(opt, dict) and {'network_g', 'train', 'datasets'} <= set(opt) and 'train' in opt['datasets']:
            found = True
            yield path
    if not found:
        raise SystemExit(f'{folder} has no option file of a training.')


def _oddity(path: Path, project: str) -> int:
    """How much an option file asks for besides a network, pairs of images and a pixel loss."""
    opt = yaml.safe_load(path.read_text(encoding='utf-8'))
    return (
        10 * ('network_d' in opt)
        + 5 * ('Paired' not in str(opt['datasets']['train'].get('type')))
        + 3 * (not str(opt['network_g'].get('type')).startswith(project))
        + 2 * ('val' not in opt)
        + (opt.get('scale', 4) not in (1, 4))
        + ('finetune' in path.name)
    )


def _scale(opt: dict[str, Any]) -> int:
    return int(opt.get('scale') or opt['network_g'].get('upscale') or 1)


def _patch(opt: dict[str, Any]) -> int:
    """Of the ground truth. Some networks take whole windows in training."""
    window = opt['network_g'].get('window_size', 1)
    return PATCH // window * window * _scale(opt) if isinstance(window, int) else PATCH * _scale(opt)


def _shrink(opt: dict[str, Any]) -> None:
    opt.update(name='tiny', num_gpu=0, manual_seed=0)
    for key in [key for key in opt if re.fullmatch(r'network_(?!g$|d$).*', key)]:
        del opt[key]  # parts that need trained weights of their own
    for key in opt['path']:
        if key.startswith('pretrain') or key == 'resume_state':
            opt['path'][key] = None
    _shrink_networks(opt)
    _shrink_datasets(opt)
    _shrink_schedule(opt['train'])
    # Real-ESRGAN's own copies of both.
    opt.update({key: value for key, value in (('gt_size', _patch(opt)), ('queue_size', BATCH)) if key in opt})
    opt['val'] = {
        **opt.get('val', {}),
        'val_freq': ITERATIONS,
        'save_img': False,
        'pbar': False,
        'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': False}},
    }
    opt['logger'] = {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False}


def _shrink_networks(opt: dict[str, Any]) -> None:
    network = opt['network_g']
    for key in [key for key in network if key.endswith('_path')]:
        del network[key]  # of trained weights
    for key, value in network.items():
        if isinstance(value, list) and len(value) > 4:  # one entry for each stage, of which one will do
            network[key] = value = value[:1]
        if BLOCKS.fullmatch(key):
            network[key] = [1 for _ in value] if isinstance(value, list) else min(value, MOST_BLOCKS)
    for net in (network, opt.get('network_d', {})):
        if 'out_size' in net:
            net['out_size'] = FACE


def _shrink_datasets(opt: dict[str, Any]) -> None:
    train_set = opt['datasets']['train']
    val = {'name': 'val', 'type': 'PairedImageDataset', 'dataroot_lq': 'any'}
    phases = (phase for phase in opt['datasets'] if phase.startswith('val'))
    val_set = opt['datasets'].get(next(phases, 'val'), val)
    opt['datasets'] = {'train': train_set, 'val': val_set}
    for dataset in (train_set, val_set):
        for key in ('meta_info', 'meta_info_file', 'component_path', 'crop_components'):
            dataset.pop(key, None)
        dataset.update(io_backend={'type': 'disk'}, dataroot_gt='tiny/gt')
        if 'dataroot_lq' in dataset:
            dataset.update(dataroot_lq='tiny/lq', filename_tmpl='{}')
        else:  # degraded while it trains
            dataset.update(meta_info='tiny/meta_info.txt', meta_info_file='tiny/meta_info.txt')
    train_set.update(batch_size_per_gpu=BATCH, num_worker_per_gpu=1, dataset_enlarge_ratio=4, prefetch_mode=None)
    train_set.update({'out_size': FACE} if 'out_size' in train_set else {'gt_size': _patch(opt)})
    if 'in_size' in train_set:  # CodeFormer's
        train_set['in_size'] = train_set['gt_size']
    if 'iters' in train_set:  # Restormer's stages
        train_set.update(iters=[ITERATIONS], gt_sizes=[_patch(opt)], mini_batch_sizes=[BATCH])


def _shrink_schedule(train: dict[str, Any]) -> None:
    train.update(total_iter=ITERATIONS, warmup_iter=-1)
    train.pop('perceptual_opt', None)  # which needs trained weights
    scheduler = train.get('scheduler', {})
    for key, value in {'milestones': [2], 'periods': [ITERATIONS], 'restart_weights': [1], 'T_max': ITERATIONS}.items():
        if key in scheduler:
            scheduler[key] = value
    if 'eta_mins' in scheduler:
        scheduler['eta_mins'] = scheduler['eta_mins'][:1]


def _make_images(folder: Path, scale: int, of_faces: bool) -> None:
    rng = np.random.default_rng(0)
    for kind in ('gt', 'lq'):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    names = [f'{number}.png' for number in range(3)]
    size = (FACE, FACE) if of_faces else (48 * scale, 40 * scale)
    for name in names:
        gt = cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), size, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / 'gt' / name), gt)
        lq = cv2.resize(gt, (size[0] // scale, size[1] // scale), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / 'lq' / name), lq)
    (folder / 'meta_info.txt').write_text(''.join(f'{name} ({size[1]},{size[0]},3)\n' for name in names))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
