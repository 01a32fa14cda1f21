"""Registering in BasicSR without standing in the way of a project's own architectures and losses."""

from __future__ import annotations

from typing import Any


def register_giving_way(registry: Any, classes: tuple[type, ...]) -> None:
    """Registers classes under names that a project may well use too, such as SRCNN: its own class replaces ours.

    BasicSR's registries refuse a name that is taken, which would break such a project as soon as the plugin is there.

    Args:
        registry (Registry): One of ``basicsr.utils.registry``.
        classes (tuple[type, ...]): What to register, each under its name.
    """
    ours = {cls.__name__: cls for cls in classes if cls.__name__ not in registry}
    for cls in ours.values():
        registry.register(cls)
    do_register = registry._do_register

    def register_or_replace(name: str, obj: Any, suffix: str | None = None) -> None:
        if suffix is None and name in ours and registry._obj_map.get(name) is ours[name]:
            del registry._obj_map[name]
        do_register(name, obj, suffix)

    registry._do_register = register_or_replace
