"""Has moved to `plugin.interfaces`."""

from .system.moved import forward

__getattr__ = forward(__name__, "octavo.plugin.interfaces")
