"""Answers of a model kept to JSON Schemas: whether they are valid, and what that costs.

    python -m octavo.bench.structured_outputs [--schemas 2000] [--model MODEL] [--seed 0]

Schemas are drawn at random (`drawn_schemas.py`), and each has one answer, sampled at temperature 1.
Prints how many schemas were refused and why, how many answers came to their end within the limit,
and how many of these jsonschema says are valid; what a mask costs; and tokens a second of answers
under a schema beside those of the same length without one, in turns. Needs `octavo[dev]`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import jsonschema

from ..app import DEMO_MODEL
from ..app.offline.llm import LLM
from ..core.checkpoints.find_checkpoint import find_checkpoint
from ..core.contracts.grammars import GrammarBackend
from ..core.contracts.specs import load_object
from ..core.prompts.vocabulary import Vocabulary
from ..core.protocol.config import EngineConfig
from ..core.protocol.constraints.structured_outputs import StructuredOutputsParams
from ..core.protocol.outputs import CompletionOutput
from ..core.protocol.request_error import RequestError
from ..core.protocol.sampling_params import SamplingParams
from ..core.registry.registry import get_registry
from .drawn_schemas import Schema, draw_schemas
from .machine import describe_machine

_LIMIT, _BATCH, _TURNS, _LENGTH = 300, 32, 5, 128
_PROMPT = "Give an example in JSON."
_Answer = tuple[Schema, CompletionOutput]
#: Whose answers are never complete within _LENGTH tokens.
_ENDLESS: Schema = {"type": "array", "items": {"type": "string"}, "minItems": 1000}


def main() -> None:
    """Print one line for each finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemas", type=int, default=2000)
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(describe_machine())
    with LLM(options.model, max_num_seqs=_BATCH, max_model_len=1024) as llm:
        answers = _answer(llm, draw_schemas(options.schemas, options.seed))
        _print_validity(answers)
        _print_masks(options.model, llm, answers)
        for batch in (1, _BATCH):
            _print_throughput(llm, batch)


def _answer(llm: LLM, schemas: Sequence[Schema]) -> list[_Answer]:
    """Of each schema that isn't refused."""
    asked, refused = [], Counter[str]()
    for number, schema in enumerate(schemas):
        params = _params(schema, _LIMIT, number, temperature=1.0)
        try:
            llm.prepare_chat([{"role": "user", "content": _PROMPT}], params)
        except RequestError as error:
            refused[_reason(error)] += 1
        else:
            asked.append((schema, params))
    print(f"{len(schemas)} schemas, of which {sum(refused.values())} are refused:")
    for reason, count in refused.most_common():
        print(f"  {count:5} {reason}")
    chats = [[{"role": "user", "content": _PROMPT}]] * len(asked)
    outputs = llm.chat(chats, [params for _, params in asked], use_tqdm=False)
    return [(schema, output.outputs[0]) for (schema, _), output in zip(asked, outputs, strict=True)]


def _reason(error: RequestError) -> str:
    """Without places and what else differs from schema to schema."""
    text = str(error).removeprefix("structured_outputs.json: ")
    text = re.sub(r",? at \$.*?(?= is not honoured|$)", "", text)
    return re.sub(r"(property) '.*?'|: '.*'", r"\1 …", text)[:90]


def _params(
    schema: Schema | None, limit: int, seed: int, temperature: float = 0.0
) -> SamplingParams:
    form = None if schema is None else StructuredOutputsParams(json=schema)
    return SamplingParams(
        temperature=temperature,
        max_tokens=limit,
        seed=seed,
        structured_outputs=form,
        ignore_eos=form is None,
    )


def _print_validity(answers: Sequence[_Answer]) -> None:
    complete = [(s, answer) for s, answer in answers if answer.finish_reason == "stop"]
    invalid = [(s, answer.text) for s, answer in complete if not _is_valid(s, answer.text)]
    print(
        f"{len(answers)} answers, of which {len(complete)} are complete within {_LIMIT} tokens; "
        f"{len(complete) - len(invalid)} of these are valid by jsonschema"
    )
    for schema, text in invalid:
        print(f"  invalid: {json.dumps(schema, ensure_ascii=False)}: {text}")


def _is_valid(schema: Schema, text: str) -> bool:
    kind = jsonschema.Draft202012Validator
    try:
        return kind(schema, format_checker=kind.FORMAT_CHECKER).is_valid(json.loads(text))
    except ValueError:
        return False


def _print_masks(model: str, llm: LLM, answers: Sequence[_Answer]) -> None:
    """Of each token of the answers; processor time."""
    size = llm._core.facts.vocab_size
    vocabulary = Vocabulary.read(find_checkpoint(model), size)
    spec = get_registry().grammar_by_name(EngineConfig.structured_outputs_backend)
    backend: GrammarBackend = load_object(spec.load)(vocabulary.tokens)
    compiling, alone = [], list[float]()
    for schema, answer in answers:
        start = time.process_time()
        grammar = backend.compile(StructuredOutputsParams(json=schema).source)
        compiling.append(time.process_time() - start)
        matcher = grammar.matcher()
        for token_id in _as_accepted(vocabulary, answer.token_ids):
            start = time.process_time()
            backend.mask([matcher])
            alone.append(time.process_time() - start)
            if not matcher.accept(token_id):
                break  # it ended the answer
    print(f"compiling takes {_spread(compiling)} for a vocabulary of {size}")
    print(f"a mask takes {_spread(alone)}, over {len(alone)} tokens")


def _as_accepted(vocabulary: Vocabulary, token_ids: Sequence[int]) -> Iterator[int]:
    """As the matcher knows them; see Vocabulary."""
    first = vocabulary.first
    for place, token_id in enumerate(token_ids):
        yield token_id if place or first is None else int(first[token_id])


def _spread(seconds: Sequence[float]) -> str:
    micro = sorted(1e6 * value for value in seconds)
    at = [micro[int(share * (len(micro) - 1))] for share in (0.5, 0.99, 1)]
    return "{:.0f} µs (median), {:.0f} µs (p99), {:.0f} µs (most)".format(*at)


def _print_throughput(llm: LLM, batch: int) -> None:
    """Median of turns, in each of which both are measured."""
    speeds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(_TURNS + 1):
        for has_form in (False, True):
            params = _params(_ENDLESS if has_form else None, _LENGTH, turn)
            start = time.perf_counter()
            outputs = llm.generate([_PROMPT] * batch, params, use_tqdm=False)
            seconds = time.perf_counter() - start
            count = sum(len(output.outputs[0].token_ids) for output in outputs)
            if turn:  # the first warms up
                speeds[has_form].append(count / seconds)
    ratio = statistics.median(
        under / free for free, under in zip(speeds[False], speeds[True], strict=True)
    )
    free, under = (statistics.median(speeds[kind]) for kind in (False, True))
    print(
        f"batch {batch}: {under:.0f} tokens/s under a schema, {free:.0f} without one, ratio "
        f"{ratio:.3f}"
    )


if __name__ == "__main__":
    main()
