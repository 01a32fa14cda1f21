"""Registering without standing in the way of a project's own architectures and losses.

A project may well use a name of ours too, such as SRCNN. The registries refuse a name that is taken, which would break
such a project as soon as the plugin is there. So a class of its own keeps its name, or replaces ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def register_giving_way(registry: Any, classes: tuple[type, ...]) -> None:
    """Registers classes with BasicSR, each under its name, unless the name is taken.

    Args:
        registry: One of ``basicsr.utils.registry``.
        classes: The classes.
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


def register_giving_way_in_mmengine(registry: Any, classes: tuple[type, ...]) -> None:
    """Registers classes with mmengine, each under its name, unless the name is taken.

    Args:
        registry: An ``mmengine.registry.Registry``.
        classes: The classes.
    """
    ours = {cls.__name__: cls for cls in classes if cls.__name__ not in registry.module_dict}
    for cls in ours.values():
        registry.register_module(module=cls)
    stock = registry._register_module

    def register_or_replace(module: Any, module_name: str | Sequence[str] | None = None, force: bool = False) -> None:
        default = getattr(module, '__name__', '')
        names = [module_name] if isinstance(module_name, str) else module_name or [default]
        for name in names:
            if name in ours and registry.module_dict.get(name) is ours[name]:
                del registry._module_dict[name]
        stock(module=module, module_name=module_name, force=force)

    registry._register_module = register_or_replace
