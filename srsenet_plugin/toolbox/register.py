"""Registers the plugin with BasicSR, after mending its defects."""

from __future__ import annotations


def register() -> None:
    """Mends the defects of BasicSR and registers the plugin with it. Calling it again does nothing."""
    import basicsr  # noqa: F401  (its import hook calls back, so that the plugin comes first)

    from srsenet_plugin.toolbox import nearest_names, patches

    patches.apply()
    nearest_names.warn_of_bypassed_toolbox()
