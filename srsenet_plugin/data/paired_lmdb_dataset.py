"""PairedImageDataset for LMDBs of whole images, without decoding them: it reads the crop alone."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils import imfrombytes
from basicsr.utils.registry import DATASET_REGISTRY
from numpy.typing import NDArray
from torchvision.transforms.functional import normalize

from srsenet_plugin.data.colour import rgb_to_y
from srsenet_plugin.data.draws import random_of
from srsenet_plugin.data.jpeg import JpegPatches
from srsenet_plugin.data.manifest import read_manifest
from srsenet_plugin.data.mapped_lmdb import MappedLmdb

NETPBM_HEADER = re.compile(rb'P([56])\s(\d+)\s(\d+)\s255\s')


@DATASET_REGISTRY.register()
class PairedLmdbDataset(PairedImageDataset):
    """LQ and GT images from LMDBs that ``srsenet prepare`` made, uncompressed and of any size.

    The options and the samples are those of BasicSR's ``PairedImageDataset``, of which it is the fast form: it maps the
    LMDB into memory, and slices the crop before it converts anything. Images in another encoding, such as PNG, are
    decoded whole. LMDBs of Y alone (``srsenet prepare --colour y``) need ``color: y``.

    Drawn by BasicSR's ``EnlargedSampler``, a sample's crop and augmentation follow from the seed, the epoch and its
    position in the epoch alone: the number of workers or ranks changes nothing. With plain indices they come from the
    module ``random``, as in ``PairedImageDataset``.

    Args:
        opt: Options of ``PairedImageDataset``, with ``io_backend: type: lmdb``. In training, ``jpeg`` gives the
            arguments of :class:`~srsenet_plugin.data.jpeg.JpegPatches` for LQ patches that were saved as JPEG.

    Raises:
        ValueError: ``io_backend`` is another one, ``color`` does not fit the LMDBs, or one of them is damaged.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        if opt['io_backend'].get('type') != 'lmdb':
            raise ValueError(
                f'PairedLmdbDataset reads io_backend: type: lmdb; got {opt["io_backend"].get("type")!r}. '
                'PairedImageDataset reads folders.'
            )
        super().__init__(opt)
        colours = {folder: read_manifest(folder)['recipe'].get('colour') for folder in (self.gt_folder, self.lq_folder)}
        self._holds_y = 'y' in colours.values()
        if self._holds_y and (set(colours.values()) != {'y'} or opt.get('color') != 'y'):
            raise ValueError(f'LMDBs of Y come in pairs and need color: y; got {colours}, color: {opt.get("color")}.')
        self._gt_values = MappedLmdb(self.gt_folder)
        self._lq_values = MappedLmdb(self.lq_folder)
        jpeg = {name: value for name, value in (opt.get('jpeg') or {}).items() if value is not None}
        self._jpeg = JpegPatches(**jpeg) if jpeg else None
        for path in self.paths:
            for folder, values in ((self.gt_folder, self._gt_values), (self.lq_folder, self._lq_values)):
                if path['gt_path'] not in values:
                    raise ValueError(f'{folder} has no value for {path["gt_path"]!r}, which its meta_info.txt lists.')

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Reads a sample.

        Args:
            index: Index in the dataset, a :class:`~srsenet_plugin.data.draws.Draw` in training.

        Returns:
            'lq', shape (C, h, w), and 'gt', shape (C, h * scale, w * scale): float32, range
                [0, 1], RGB or, with ``color: y``, Y. 'lq_path' and 'gt_path' (str): the LMDB's key.
        """
        key = self.paths[index]['gt_path']
        gt = _image(self._gt_values[key], f'{self.gt_folder}: {key}')
        lq = _image(self._lq_values[key], f'{self.lq_folder}: {key}')
        scale = self.opt['scale']
        flips = (False, False, False)
        if self.opt['phase'] == 'train':
            rng = random_of(index)
            gt_size, lq_size = self.opt['gt_size'], self.opt['gt_size'] // scale
            top, left = _draw_place(gt, lq, gt_size, scale, rng, f'{self.gt_folder}: {key}')
            gt = gt[top * scale :, left * scale :][:gt_size, :gt_size]
            hflip, rotation = self.opt['use_hflip'], self.opt['use_rot']
            flips = tuple(wanted and rng.random() < 0.5 for wanted in (hflip, rotation, rotation))
            if self._jpeg:  # drawn last: crops and flips are the same without it
                lq = self._jpeg.cut(lq, top, left, lq_size, self._holds_y, rng)
            else:
                lq = lq[top : top + lq_size, left : left + lq_size]
        else:
            gt = gt[: lq.shape[0] * scale, : lq.shape[1] * scale]
        tensors = {name: torch.from_numpy(self._convert(img, *flips)) for name, img in (('gt', gt), ('lq', lq))}
        if self.mean is not None or self.std is not None:
            for tensor in tensors.values():
                normalize(tensor, self.mean, self.std, inplace=True)
        return {**tensors, 'lq_path': key, 'gt_path': key}

    def _convert(self, img: NDArray[np.uint8], hflip: bool, vflip: bool, rot90: bool) -> NDArray[np.float32]:
        """Converts an image (H, W, 3) to (C, H, W), and turns it as BasicSR's ``augment`` does."""
        if self.opt.get('color') != 'y':
            chw: NDArray[Any] = img.transpose(2, 0, 1)
        elif self._holds_y:
            chw = img[None, ..., 0]
        else:
            chw = rgb_to_y(img)[None]
        if hflip:
            chw = chw[..., ::-1]
        if vflip:
            chw = chw[:, ::-1]
        if rot90:
            chw = chw.swapaxes(1, 2)
        converted = np.array(chw, np.float32, order='C')
        if chw.dtype == np.uint8:
            converted /= 255.0
        return converted


def _draw_place(
    gt: NDArray[np.uint8], lq: NDArray[np.uint8], gt_size: int, scale: int, rng: Any, name: str
) -> tuple[int, int]:
    """The first row and column in LQ of the patch that BasicSR's ``paired_random_crop`` would take."""
    lq_size = gt_size // scale
    height, width = lq.shape[:2]
    if gt.shape[:2] != (height * scale, width * scale):
        raise ValueError(f'{name} has shape {gt.shape[:2]}, which is not {scale} times that of its LQ, {lq.shape[:2]}.')
    if min(height, width) < lq_size:
        raise ValueError(f'{name} has shape {gt.shape[:2]}, less than gt_size: {gt_size}.')
    return rng.randint(0, height - lq_size), rng.randint(0, width - lq_size)


def _image(value: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """An encoded image as RGB (H, W, 3), a view if it is not compressed."""
    header = NETPBM_HEADER.match(value[:64].tobytes())
    if header is None:
        try:
            return imfrombytes(value)[..., ::-1]
        except (TypeError, cv2.error):  # OpenCV gives None, or raises
            raise ValueError(f'{name} is no image, or damaged.') from None
    channels = 3 if header[1] == b'6' else 1
    width, height = int(header[2]), int(header[3])
    pixels = value[header.end() :]
    if pixels.size != height * width * channels:
        raise ValueError(f'{name} is damaged: {pixels.size} bytes for {width}x{height}x{channels} pixels.')
    img = pixels.reshape(height, width, channels)
    return img if channels == 3 else np.broadcast_to(img, (height, width, 3))
