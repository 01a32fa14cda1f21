"""DIV2K's archive of HR training images."""

from __future__ import annotations

from srsenet_plugin.data.download import RemoteFile

TRAIN_HR = RemoteFile(
    'https://data.vision.ee.ethz.ch/cvl/DIV2K/DIV2K_train_HR.zip',
    3_530_603_713,
    'md5',
    'bdc2d9338d4e574fe81bf7d158758658',
)
