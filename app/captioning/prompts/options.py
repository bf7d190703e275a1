"""The command line's options for what is asked of each picture, and what is made of the answers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ....core.contracts.specs import load_object
from ....core.protocol.media_limits import MediaLimits
from ... import DEFAULT_PROMPT

if TYPE_CHECKING:  # reading pictures takes longer to import than help may take
    from .prompt_set import PromptSet

#: Of the options, those that are fields of each prompt under the same name.
_SAMPLING = ("max_tokens", "temperature", "top_p", "seed")
_POSTPROCESSING = ("strip", "max_words", "prefix", "suffix", "trigger_words")


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    """Those of a captioning job."""
    _add_questions(parser)
    _add_sampling(parser)
    _add_postprocessing(parser)


def prompt_set_of(options: argparse.Namespace, limits: MediaLimits | None = None) -> PromptSet:
    """The prompts that were typed, or a file's. limits: to example pictures; None is the defaults.
    Raises RequestError."""
    prompt_set = load_object("octavo.app.captioning.prompts.prompt_set:PromptSet")
    made = prompt_set.from_options(
        prompts=options.prompt,
        file=options.prompts,
        choices=options.choices,
        examples=options.example,
        schema=options.schema,
        limits=limits or MediaLimits(),
        system=options.system,
        **{name: getattr(options, name) for name in (*_SAMPLING, *_POSTPROCESSING)},
    )
    return cast("PromptSet", made)


def _add_questions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="[NAME=]TEXT",
        help="what is asked of each picture; several, each with a name, are answered in one pass "
        "over the picture. {stem}, {folder}, {exif.date} and the like stand for facts of each "
        f"picture, and {{title}} for a table's column (default: {DEFAULT_PROMPT!r}, named caption)",
    )
    parser.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="prompts with settings of their own: .toml, .yaml or .json",
    )
    parser.add_argument("--system", metavar="TEXT", help="the system prompt")
    parser.add_argument(
        "--example",
        action="append",
        default=[],
        metavar="IMAGE=ANSWER",
        help="a picture to show before each one, and how it should have been answered; may be "
        "repeated",
    )
    parser.add_argument(
        "--choices",
        action="append",
        default=[],
        metavar="[NAME=]A,B,C",
        help="the answer is one of these; of the prompt of that name, if there are several",
    )
    parser.add_argument(
        "--schema",
        type=Path,
        metavar="FILE",
        help="a JSON Schema: each answer is JSON that is valid by it",
    )


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-tokens", type=int, metavar="N", help="of each answer (default: 64)")
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="0 always takes the likeliest token (default: the model's own)",
    )
    parser.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        help="draw from the likeliest tokens of this probability (default: the model's own)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="of what is drawn; each picture has a seed of its own, made of this, its content and "
        "the prompt's name, so that another run gives the same (default: 0)",
    )


def _add_postprocessing(parser: argparse.ArgumentParser) -> None:
    """In the order in which they are done."""
    parser.add_argument(
        "--strip",
        action=argparse.BooleanOptionalAction,
        help="drop white space and quotation marks around an answer, and a label such as Caption: "
        "before it",
    )
    parser.add_argument(
        "--max-words", type=int, metavar="N", help="cut answers after so many words"
    )
    parser.add_argument("--prefix", metavar="TEXT", help="put this before each answer")
    parser.add_argument("--suffix", metavar="TEXT", help="put this behind each answer")
    parser.add_argument(
        "--trigger-words",
        type=_words,
        metavar="A,B",
        help="put these before each answer and its prefix, with commas, but for those that it has",
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))
