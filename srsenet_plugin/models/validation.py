"""A validation: a dataset's images shared among the ranks, measured, saved and shown."""

from __future__ import annotations

import os.path as osp
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, imwrite, tensor2img
from numpy.typing import NDArray
from torch import distributed
from tqdm import tqdm

from srsenet_plugin.models.stopping import TrainingStopped

# Images of each validation that TensorBoard shows.
TENSORBOARD_IMAGES = 4

# Pixels on a side that SSIM's window needs.
SSIM_WINDOW = 11


def validate(
    model: SRModel,
    dataloader: Any,
    current_iter: int | str,
    tb_logger: Any,
    save_img: bool,
    before_each_image: Callable[[], None],
) -> dict[str, float]:
    """Upscales the images of a dataset, each on one rank, and measures them.

    Args:
        model: Upscales a batch with its ``feed_data`` and ``test``.
        dataloader: BasicSR's for the dataset.
        current_iter: Of the training, or the name of the test, for the names of saved images.
        tb_logger: TensorBoard's writer, or None.
        save_img: Whether to save the upscaled images.
        before_each_image: Called before each image.

    Returns:
        The mean of each metric over all images, on all ranks. It does not depend on the number of ranks.

    Raises:
        TrainingStopped: An image cannot be measured.
    """
    opt, dataset = model.opt, dataloader.dataset
    name = dataset.opt['name']
    metrics = opt['val'].get('metrics') or {}
    rank, world_size = opt['rank'], opt['world_size']
    own: dict[int, dict[str, float]] = {}
    indices = range(rank, len(dataset), world_size)
    for index in tqdm(indices, name, unit='image', disable=rank > 0 or not opt['val'].get('pbar')):
        before_each_image()
        data = dataloader.collate_fn([dataset[index]])
        img_name = osp.splitext(osp.basename(data['lq_path'][0]))[0]
        imgs = _upscale(model, data)
        if save_img:
            imwrite(imgs['img'], _image_path(opt, name, img_name, current_iter))
        if tb_logger and len(own) < TENSORBOARD_IMAGES:
            tb_logger.add_image(f'{name}/{img_name}', _rgb(imgs['img']), current_iter)
        own[index] = {metric: _measure(imgs, options, f'{name}: {img_name}') for metric, options in metrics.items()}
    figures = sorted(item for part in gather(own, world_size) for item in part.items())
    if not figures:
        get_root_logger().warning(f'{name} has no images to validate on.')
        return {}
    return {metric: sum(values[metric] for _, values in figures) / len(figures) for metric in metrics}


def smallest_side(options: Mapping[str, Any]) -> int:
    """Pixels on a side of an image that a metric needs: one, or its window, within the border that is left out.

    Args:
        options: The metric's, of ``val: metrics``.
    """
    return 2 * (options.get('crop_border') or 0) + (SSIM_WINDOW if options.get('type') == 'calculate_ssim' else 1)


def gather(value: Any, world_size: int) -> list[Any]:
    """The values of all ranks, on all ranks. All have to call it."""
    if world_size == 1:
        return [value]
    values = [None] * world_size
    distributed.all_gather_object(values, value)
    return values


def plain(results: Any) -> Any:
    """Results with plain numbers for numpy's, which do not load without running code."""
    if isinstance(results, Mapping):
        return {key: plain(value) for key, value in results.items()}
    return results.item() if isinstance(results, np.generic) else results


def _upscale(model: SRModel, data: Mapping[str, Any]) -> dict[str, NDArray]:
    """The upscaled image 'img', shape (H, W, 3), BGR, or (H, W), uint8, and 'img2', its GT, if there is one."""
    _drop_batch(model)  # of the training, which may have had a GT
    model.feed_data(data)
    model.test()
    visuals = model.get_current_visuals()
    _drop_batch(model)  # the device need not keep it
    imgs = {'img': tensor2img([visuals['result'].float()])}
    if 'gt' in visuals:
        rounded = model.opt['val'].get('round_gt') is not False
        gt = [visuals['gt']]
        imgs['img2'] = tensor2img(gt) if rounded else 255 * tensor2img(gt, out_type=np.float32)
    return imgs


def _drop_batch(model: SRModel) -> None:
    for name in ('lq', 'gt', 'output'):
        model.__dict__.pop(name, None)


def _measure(imgs: Mapping[str, NDArray], options: Mapping[str, Any], name: str) -> float:
    height, width = imgs['img'].shape[:2]
    needed = smallest_side(options)
    if 'img2' in imgs and min(height, width) < needed:
        raise TrainingStopped(
            f'{name} has {width}x{height} pixels, which leave nothing for {options["type"]} within crop_border: '
            f'{options.get("crop_border")} of val: metrics. A side of {needed} is the least.'
        )
    try:
        return float(calculate_metric(imgs, options))
    except TypeError as error:
        if 'img2' in imgs or 'img2' not in str(error):
            raise
        raise TrainingStopped(
            f'{name} has no GT image, which {options["type"]} of val: metrics compares with. Leave the metric out, or '
            'take a dataset with GT.'
        ) from None


def _image_path(opt: Mapping[str, Any], dataset_name: str, img_name: str, current_iter: int | str) -> str:
    """Where SRModel saves a validation image."""
    folder = opt['path']['visualization']
    if opt['is_train']:
        return osp.join(folder, img_name, f'{img_name}_{current_iter}.png')
    return osp.join(folder, dataset_name, f'{img_name}_{opt["val"].get("suffix") or opt["name"]}.png')


def _rgb(img: NDArray[np.uint8]) -> torch.Tensor:
    """An image (H, W, 3), BGR, or (H, W) as (C, H, W), RGB or grey."""
    return torch.from_numpy(img).reshape(*img.shape[:2], -1).flip(2).permute(2, 0, 1)
