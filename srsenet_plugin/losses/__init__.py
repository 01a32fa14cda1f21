"""Losses, a file each. ``LOSSES`` lists those that are registered."""

from srsenet_plugin.losses.charbonnier_loss import CharbonnierPenaltyLoss
from srsenet_plugin.losses.deep_supervision_loss import DeepSupervisionLoss

LOSSES = (CharbonnierPenaltyLoss, DeepSupervisionLoss)
