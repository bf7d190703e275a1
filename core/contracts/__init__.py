"""What plugins declare and implement; packages outside import it from `octavo.plugin`."""

from ..system.moved import forward

__getattr__ = forward(__name__, "octavo.plugin")
