"""What a plugin says of a kernel that it brings; imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KernelSpec:
    """One implementation of one operation.

    op: a name in `kernels.ops.OPS`.
    backend: the implementation's name, unique for the op ("reference", "cpu", "triton", …).
    load: "module:attribute" of the callable.
    priority: the highest one that is available on the device wins.
    devices: torch device types that it runs on.
    """

    op: str
    backend: str
    load: str
    priority: int = 0
    devices: tuple[str, ...] = ("cpu", "cuda")

    @property
    def name(self) -> str:
        """The identity in listings and conflicts, such as "paged_attention/reference"."""
        return f"{self.op}/{self.backend}"
