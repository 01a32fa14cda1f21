"""PairedImageDataset for LMDBs of whole images, without decoding them: what a crop needs is all that is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import imfrombytes, img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.functional import normalize

from srsenet_plugin.data.draws import random_of
from srsenet_plugin.data.mapped_lmdb import MappedLmdb

# What red, green and blue of each uint8 value add to Y (ITU-R BT.601, as MATLAB's rgb2ycbcr).
Y_TABLES = [np.float64(np.arange(256, dtype=np.float32) / 255.0) * weight for weight in (65.481, 128.553, 24.966)]
NETPBM_HEADER = re.compile(rb'P([56])\s(\d+)\s(\d+)\s255\s')


@DATASET_REGISTRY.register()
class PairedLmdbDataset(PairedImageDataset):
    """LQ and GT images from LMDBs that ``srsenet prepare`` made, uncompressed and of any size.

    The options and the samples are those of BasicSR's ``PairedImageDataset``, of which it is the fast form: it maps the
    LMDB into memory, and slices the crop before it converts anything. Images in another encoding, such as PNG, are
    decoded whole.

    Drawn by BasicSR's ``EnlargedSampler``, a sample's crop and augmentation follow from the seed, the epoch and its
    position in the epoch alone: the number of workers or ranks changes nothing. With plain indices they come from the
    module ``random``, as in ``PairedImageDataset``.

    Args:
        opt (dict): Options of ``PairedImageDataset``, with ``io_backend: type: lmdb``.

    Raises:
        ValueError: ``io_backend`` is another one.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        if opt['io_backend'].get('type') != 'lmdb':
            raise ValueError(
                f'PairedLmdbDataset reads io_backend: type: lmdb; got {opt["io_backend"].get("type")!r}. '
                'PairedImageDataset reads folders.'
            )
        super().__init__(opt)
        keys = [path['gt_path'] for path in self.paths]
        self._gt_values = MappedLmdb(self.gt_folder, keys)
        self._lq_values = MappedLmdb(self.lq_folder, keys)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Reads a sample.

        Args:
            index (int): Index in the dataset, a :class:`~srsenet_plugin.data.draws.Draw` in training.

        Returns:
            dict: 'lq' (Tensor), shape (C, h, w), and 'gt' (Tensor), shape (C, h * scale, w * scale): float32, range
                [0, 1], RGB or, with ``color: y``, Y. 'lq_path' and 'gt_path' (str): the LMDB's key.
        """
        scale = self.opt['scale']
        key = self.paths[index]['gt_path']
        gt = _image(self._gt_values[key], f'{self.gt_folder}: {key}')
        lq = _image(self._lq_values[key], f'{self.lq_folder}: {key}')
        to_float = _rgb_to_y if self.opt.get('color') == 'y' else _to_float
        if self.opt['phase'] == 'train':
            with random_of(index):
                crops = paired_random_crop(gt, lq, self.opt['gt_size'], scale, key)
                imgs = augment([to_float(crop) for crop in crops], self.opt['use_hflip'], self.opt['use_rot'])
        else:
            imgs = [to_float(gt[: lq.shape[0] * scale, : lq.shape[1] * scale]), to_float(lq)]
        tensors: Mapping[str, Tensor] = dict(zip(('gt', 'lq'), img2tensor(imgs, bgr2rgb=False)))
        if self.mean is not None or self.std is not None:
            for tensor in tensors.values():
                normalize(tensor, self.mean, self.std, inplace=True)
        return {**tensors, 'lq_path': key, 'gt_path': key}


def _image(value: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """An encoded image as RGB (H, W, 3), a view if it is not compressed."""
    header = NETPBM_HEADER.match(value[:64].tobytes())
    if header is None:
        return imfrombytes(value)[..., ::-1]
    channels = 3 if header[1] == b'6' else 1
    width, height = int(header[2]), int(header[3])
    pixels = value[header.end() :]
    if pixels.size != height * width * channels:
        raise ValueError(f'{name} is damaged: {pixels.size} bytes for {width}x{height}x{channels} pixels.')
    img = pixels.reshape(height, width, channels)
    return img if channels == 3 else np.broadcast_to(img, (height, width, 3))


def _to_float(img: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.array(img, np.float32, order='C') / 255.0


def _rgb_to_y(img: NDArray[np.uint8]) -> NDArray[np.float32]:
    """BasicSR's ``bgr2ycbcr`` of the float image, as (H, W, 1): the same sums in the same order, so the same bits."""
    red, green, y = map(cv2.LUT, cv2.split(np.ascontiguousarray(img)), Y_TABLES)
    y += green
    y += red
    y += 16.0
    y /= 255.0
    return y.astype(np.float32)[..., None]
