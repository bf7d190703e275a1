"""What servers and the processes that read images import of the built-in plugins needs no torch."""

from __future__ import annotations

import subprocess
import sys

from octavo.core.registry.registry import get_registry

#: Whose package preprocesses by torchvision.
WITH_TORCH = {"open_clip"}


def weightless_parts() -> set[str]:
    """The modules of all preprocessors and image prompts."""
    registry = get_registry()
    models = [spec for spec in registry.models.values() if spec.load.startswith("octavo.")]
    encoders = [spec for spec in registry.encoders.values() if spec.name not in WITH_TORCH]
    named = [spec.image_prompt for spec in models]
    named += [spec.preprocessor for spec in (*models, *encoders)]
    return {name.partition(":")[0] for name in named if name is not None}


def test_no_torch() -> None:
    parts = weightless_parts()
    assert len(parts) > 10
    names = [*sorted(parts), "octavo.core.media_pool.host", "octavo.app.http.server"]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert not {'torch', 'transformers'} & set(sys.modules), name\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
