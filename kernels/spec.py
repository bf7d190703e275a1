"""Declaration of a kernel, a plugin's too; imports no torch."""

from dataclasses import dataclass


class KernelError(ValueError):
    """No usable implementation of an operation, or an override that names none."""


@dataclass(frozen=True)
class KernelSpec:
    """One implementation of one operation.

    op: a name in `kernels.ops.OPS`.
    backend: the implementation's name, unique for the op ("reference", "cpu", "triton", …).
    load: "module:attribute" of the callable.
    priority: the highest one that is available on the device wins.
    devices: torch device types that it runs on.
    dtypes: of activations, such as "bfloat16"; none means any.
    quantized_kv: of an operation on the KV cache: the dtypes of quantised caches that it takes
        besides plain ones, such as "int8"; see `kernels.kv_format`.
    variant: "module:attribute" of a callable that names the variant for this machine, such as a
        level of instructions.
    tuning: "module:attribute" of a callable that gives lines on what was measured on this machine
        and chosen by it.
    contract_version: `plugin.CONTRACT_VERSION` that a plugin's is written for.

    Importing its module may raise KernelError where it can't run; then the next best is taken.
    """

    op: str
    backend: str
    load: str
    priority: int = 0
    devices: tuple[str, ...] = ("cpu", "cuda")
    dtypes: tuple[str, ...] = ()
    quantized_kv: tuple[str, ...] = ()
    variant: str | None = None
    tuning: str | None = None
    contract_version: int | None = None

    @property
    def name(self) -> str:
        """The identity in listings and conflicts, such as "paged_attention/reference"."""
        return f"{self.op}/{self.backend}"
