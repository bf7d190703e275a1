"""Has moved to `octavo.plugin`."""

from ..system.moved import forward

__getattr__ = forward(__name__, "octavo.plugin")
