"""The faces: command line, HTTP API, offline class and batch captioning."""

from pathlib import Path

#: The model that is shipped with the package.
DEMO_MODEL = str(Path(__file__).parent / "demo_model")
#: What pictures are captioned with.
DEFAULT_PROMPT = "What is in this picture?"
