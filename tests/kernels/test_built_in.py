"""Every kernel that Octavo names is there, on this machine or said to need another."""

from __future__ import annotations

import pytest
from octavo.core.contracts.specs import load_object
from octavo.kernels.builtin import BUILT_IN_KERNELS
from octavo.kernels.spec import KernelError, KernelSpec


@pytest.mark.parametrize("spec", BUILT_IN_KERNELS, ids=lambda spec: spec.name)
def test_it_loads(spec: KernelSpec) -> None:
    try:
        assert callable(load_object(spec.load))
    except KernelError as error:
        pytest.skip(str(error))
    for path in filter(None, (spec.variant, spec.tuning)):
        assert callable(load_object(path))
