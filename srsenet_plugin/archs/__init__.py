"""Architectures, a file each. ``ARCHS`` lists those that are registered."""

from srsenet_plugin.archs.bicubic_arch import Bicubic
from srsenet_plugin.archs.drcn_arch import DRCN
from srsenet_plugin.archs.fsrcnn_arch import FSRCNN
from srsenet_plugin.archs.lapsrn_arch import LapSRN
from srsenet_plugin.archs.srcnn_arch import SRCNN
from srsenet_plugin.archs.srsenet_arch import SrSENet
from srsenet_plugin.archs.vdsr_arch import VDSR

ARCHS = (SrSENet, Bicubic, SRCNN, FSRCNN, VDSR, DRCN, LapSRN)
