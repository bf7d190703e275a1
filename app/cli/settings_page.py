"""docs/settings.md, made from the options of `octavo serve`.

python -m octavo.app.cli.settings_page > docs/settings.md
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from ...core.protocol.config import EngineConfig
from ...core.protocol.setting import settings_of
from .cli import build_parser
from .log_options import LOG_SETTINGS

_HEAD = """\
# Settings

What `octavo serve` can be told, from first to last word: as an option, by a variable of the \
environment, in a file, or not at all. `python -m octavo.app.cli.settings_page` prints this page.

```bash
octavo serve MODEL --max-num-seqs 8
OCTAVO_MAX_NUM_SEQS=8 octavo serve MODEL
octavo serve --config octavo.toml
```

```toml
# octavo.toml; or octavo.yaml, with the same names
model = "HuggingFaceTB/SmolVLM-256M-Instruct"
max_num_seqs = 8
kv_cache_memory = "2GiB"
enable_prefix_caching = false
allowed_media_domains = ["example.com"]
```

A name that isn't known is refused, with the nearest that is. `octavo chat`, `octavo caption` and \
the other commands with a model take the same options, variables and files, but for those marked \
(serve), which a file for them must not hold; in Python they are the keyword arguments of `LLM`.
"""
_ENGINE = """
## The engine's

The variable of `max_num_seqs` is `OCTAVO_MAX_NUM_SEQS`, and so on. Sizes are bytes, or written as \
512MiB; true and false are written so in files and variables.

"""
_LOG = """
## The log's

Variables too, as above; every process of a command keeps to them.

"""
_SERVER = """
## The server's

Options and files only: `OCTAVO_PORT` and its like are set by Kubernetes for a service called \
octavo.

"""


def settings_page() -> str:
    """The page's text."""
    _, commands = build_parser()
    actions = commands.choices["serve"].settings()
    known = settings_of(EngineConfig)
    engine = {name: a for name, a in actions.items() if name == "model" or name in known}
    log = {name: actions[name] for name in LOG_SETTINGS}
    server = {name: a for name, a in actions.items() if name not in engine | log}
    tables = _ENGINE + _table(engine) + _LOG + _table(log) + _SERVER + _table(server)
    return _HEAD + tables


def _table(actions: Mapping[str, argparse.Action]) -> str:
    served = {n for n, known in settings_of(EngineConfig).items() if known.commands == "serve"}
    served.add("access_log")
    lines = ["| name | meaning |", "|---|---|"]
    for name, action in actions.items():
        mark = " (serve)" if name in served else ""
        lines.append(f"| `{name}`{mark} | {_meaning(action)} |")
    return "\n".join(lines) + "\n"


def _meaning(action: argparse.Action) -> str:
    text = (action.help or "").replace("%%", "%").replace("|", "\\|")
    if action.choices is not None:
        text += f"; one of {', '.join(map(str, action.choices))}"
    elif action.nargs == "+":
        text += "; a list"
    return text


if __name__ == "__main__":
    print(settings_page(), end="")
