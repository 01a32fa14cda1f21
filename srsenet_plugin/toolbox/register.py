"""Registers the plugin with BasicSR, after mending its defects."""

from __future__ import annotations

from functools import cache

from srsenet_plugin.archs import ARCHS
from srsenet_plugin.losses import LOSSES


def register() -> None:
    """Mends the defects of BasicSR and registers the plugin with it. Calling it again does nothing."""
    import basicsr  # noqa: F401  (its import hook calls back, so that the plugin comes first)

    _register_once()


@cache
def _register_once() -> None:
    from srsenet_plugin.toolbox import compat, option_checks

    compat.apply()
    option_checks.apply()

    from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

    from srsenet_plugin.toolbox import loaders
    from srsenet_plugin.toolbox.registries import register_giving_way

    loaders.yield_draws()
    loaders.shield_workers()
    register_giving_way(ARCH_REGISTRY, ARCHS)
    register_giving_way(LOSS_REGISTRY, LOSSES)
    # What builds on BasicSR's classes registers itself: it may be the import that has brought us here.
    import srsenet_plugin.data.paired_lmdb_dataset
    import srsenet_plugin.models.accelerated_sr_model  # noqa: F401
