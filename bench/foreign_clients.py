"""Other people's clients against a server, unchanged but for its address: what each asks for most,
and whether it gets it. Run by scripts/client-check, in an environment that has the clients and not
Octavo, so it stands alone."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.request import urlopen

from pydantic import BaseModel

#: The most tokens of an answer; a model that knows nothing may write long numbers.
MAX_TOKENS = 1500
QUESTION = "What colour is the sky?"
MESSAGES: Any = [{"role": "user", "content": QUESTION}]


class Colour(BaseModel, extra="forbid"):
    """The colour of something."""

    name: Literal["red", "green", "blue"]
    bright: bool


Check = Callable[[str, str], object]


def openai_parse(url: str, model: str) -> object:
    """A pydantic model as response_format."""
    completion = _openai(url).chat.completions.parse(
        model=model, messages=MESSAGES, response_format=Colour, max_tokens=MAX_TOKENS
    )
    return completion.choices[0].message.parsed


def openai_stream(url: str, model: str) -> object:
    """The same as a stream."""
    with _openai(url).chat.completions.stream(
        model=model, messages=MESSAGES, response_format=Colour, max_tokens=MAX_TOKENS
    ) as stream:
        return stream.get_final_completion().choices[0].message.parsed


def openai_tool(url: str, model: str) -> object:
    """A function that must be called."""
    completion = _openai(url).chat.completions.parse(**_forced(model))
    (call,) = completion.choices[0].message.tool_calls
    return call.function.parsed_arguments


def openai_tool_stream(url: str, model: str) -> object:
    """The same as a stream."""
    with _openai(url).chat.completions.stream(**_forced(model)) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    return call.function.parsed_arguments


def openai_completions(url: str, model: str) -> object:
    """A prompt without a chat, whose answer has a form."""
    completion = _openai(url).completions.create(
        model=model,
        prompt=QUESTION,
        max_tokens=MAX_TOKENS,
        extra_body={"structured_outputs": {"json": Colour.model_json_schema()}},
    )
    return Colour.model_validate_json(completion.choices[0].text)


def openai_responses(url: str, model: str) -> object:
    """A pydantic model as text_format."""
    response = _openai(url).responses.parse(
        model=model, input=QUESTION, text_format=Colour, max_output_tokens=MAX_TOKENS
    )
    return response.output_parsed


def openai_responses_stream(url: str, model: str) -> object:
    """The same as a stream, of a conversation that goes on."""
    client = _openai(url)
    first = client.responses.create(model=model, input=QUESTION, max_output_tokens=9)
    with client.responses.stream(
        model=model,
        input="And now?",
        previous_response_id=first.id,
        text_format=Colour,
        max_output_tokens=MAX_TOKENS,
    ) as stream:
        return stream.get_final_response().output_parsed


def openai_responses_tool(url: str, model: str) -> object:
    """A function that must be called."""
    from openai import pydantic_function_tool

    response = _openai(url).responses.parse(
        model=model,
        input=QUESTION,
        tools=[pydantic_function_tool(Colour)],
        tool_choice={"type": "function", "name": "Colour"},
        max_output_tokens=MAX_TOKENS,
    )
    (call,) = response.output
    return call.parsed_arguments


def anthropic_parse(url: str, model: str) -> object:
    """A pydantic model as output_format."""
    message = _anthropic(url).messages.parse(
        model=model, messages=MESSAGES, output_format=Colour, max_tokens=MAX_TOKENS
    )
    return message.parsed_output


def anthropic_tool(url: str, model: str) -> object:
    """A tool that must be called."""
    (call,) = _anthropic(url).messages.create(**_anthropic_tool(model)).content
    return Colour(**call.input)


def anthropic_tool_stream(url: str, model: str) -> object:
    """The same as a stream."""
    with _anthropic(url).messages.stream(**_anthropic_tool(model)) as stream:
        (call,) = stream.get_final_message().content
    return Colour(**call.input)


def ollama_chat(url: str, model: str) -> object:
    """A schema as format."""
    answer = _ollama(url).chat(model, MESSAGES, **_formed())
    return Colour.model_validate_json(answer.message.content)


def ollama_generate_stream(url: str, model: str) -> object:
    """The same of a prompt, as a stream."""
    lines = _ollama(url).generate(model, QUESTION, stream=True, **_formed())
    return Colour.model_validate_json("".join(line.response for line in lines))


def langchain_anthropic(url: str, model: str) -> object:
    """with_structured_output, by a tool that must be called."""
    from langchain_anthropic import ChatAnthropic

    chat = ChatAnthropic(base_url=_root(url), api_key="none", model=model, max_tokens=MAX_TOKENS)
    return chat.with_structured_output(Colour).invoke(QUESTION)


def langchain_json_schema(url: str, model: str) -> object:
    """with_structured_output, by response_format."""
    return _langchain(url, model).with_structured_output(Colour).invoke(QUESTION)


def langchain_function_calling(url: str, model: str) -> object:
    """with_structured_output, by a function that must be called."""
    chat = _langchain(url, model).with_structured_output(Colour, method="function_calling")
    return chat.invoke(QUESTION)


def langchain_bind_tools(url: str, model: str) -> object:
    """bind_tools, one of which must be called."""
    answer = _langchain(url, model).bind_tools([Colour], tool_choice="required").invoke(QUESTION)
    return Colour(**answer.tool_calls[0]["args"])


def langchain_responses(url: str, model: str) -> object:
    """with_structured_output, by text.format of a response."""
    chat = _langchain(url, model, use_responses_api=True)
    return chat.with_structured_output(Colour).invoke(QUESTION)


def instructor_tools(url: str, model: str) -> object:
    """By a function that must be called."""
    return _instructor(url, model, "TOOLS")


def instructor_json(url: str, model: str) -> object:
    """By a JSON object, which the prompt describes: a model that can't follow it may answer any."""
    from instructor.core import InstructorRetryException

    try:
        return _instructor(url, model, "JSON")
    except InstructorRetryException as error:
        (choice,) = error.last_completion.choices
        assert isinstance(json.loads(choice.message.content), dict)
        return Colour(name="red", bright=False)


def instructor_json_schema(url: str, model: str) -> object:
    """By response_format."""
    return _instructor(url, model, "JSON_SCHEMA")


def pydantic_ai_tool(url: str, model: str) -> object:
    """output_type, by a function that must be called."""
    return _pydantic_ai(url, model, Colour)


def pydantic_ai_native(url: str, model: str) -> object:
    """NativeOutput, by response_format."""
    from pydantic_ai import NativeOutput

    return _pydantic_ai(url, model, NativeOutput(Colour))


def pydantic_ai_responses(url: str, model: str) -> object:
    """output_type, by a function that a response must call."""
    return _pydantic_ai(url, model, Colour, "OpenAIResponsesModel")


def llm_schema(url: str, model: str) -> object:
    """`llm --schema`."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "extra-openai-models.yaml").write_text(
            f"- model_id: here\n  model_name: {json.dumps(model)}\n"
            f"  api_base: {url}\n  supports_schema: true\n"
        )
        schema = json.dumps(Colour.model_json_schema())
        command = ["llm", "-m", "here", "--schema", schema, "-o", "max_tokens", str(MAX_TOKENS)]
        done = subprocess.run(
            [sys.executable, "-m", *command, "--no-stream", QUESTION],
            env={**os.environ, "LLM_USER_PATH": folder, "OPENAI_API_KEY": "none"},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
    return Colour.model_validate_json(done.stdout)


#: By the package whose version is told.
CHECKS: tuple[tuple[str, Check], ...] = (
    ("openai", openai_parse),
    ("openai", openai_stream),
    ("openai", openai_tool),
    ("openai", openai_tool_stream),
    ("openai", openai_completions),
    ("openai", openai_responses),
    ("openai", openai_responses_stream),
    ("openai", openai_responses_tool),
    ("anthropic", anthropic_parse),
    ("anthropic", anthropic_tool),
    ("anthropic", anthropic_tool_stream),
    ("ollama", ollama_chat),
    ("ollama", ollama_generate_stream),
    ("langchain-anthropic", langchain_anthropic),
    ("langchain-openai", langchain_json_schema),
    ("langchain-openai", langchain_function_calling),
    ("langchain-openai", langchain_bind_tools),
    ("langchain-openai", langchain_responses),
    ("instructor", instructor_tools),
    ("instructor", instructor_json),
    ("instructor", instructor_json_schema),
    ("pydantic-ai-slim", pydantic_ai_tool),
    ("pydantic-ai-slim", pydantic_ai_native),
    ("pydantic-ai-slim", pydantic_ai_responses),
    ("llm", llm_schema),
)


def _openai(url: str) -> Any:
    from openai import OpenAI

    return OpenAI(base_url=url, api_key="none", max_retries=0)


def _root(url: str) -> str:
    """The server's address, which others than OpenAI's clients take."""
    return url.removesuffix("/v1")


def _anthropic(url: str) -> Any:
    from anthropic import Anthropic

    return Anthropic(base_url=_root(url), api_key="none", max_retries=0)


def _anthropic_tool(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": MESSAGES,
        "tools": [{"name": "Colour", "input_schema": Colour.model_json_schema()}],
        "tool_choice": {"type": "tool", "name": "Colour"},
        "max_tokens": MAX_TOKENS,
    }


def _ollama(url: str) -> Any:
    from ollama import Client

    return Client(_root(url))


def _formed() -> dict[str, Any]:
    return {"format": Colour.model_json_schema(), "options": {"num_predict": MAX_TOKENS}}


def _forced(model: str) -> dict[str, Any]:
    from openai import pydantic_function_tool

    return {
        "model": model,
        "messages": MESSAGES,
        "tools": [pydantic_function_tool(Colour)],
        "tool_choice": {"type": "function", "function": {"name": "Colour"}},
        "max_tokens": MAX_TOKENS,
    }


def _langchain(url: str, model: str, **settings: Any) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(base_url=url, api_key="none", model=model, max_tokens=MAX_TOKENS, **settings)


def _instructor(url: str, model: str, mode: str) -> object:
    import instructor

    client = instructor.from_openai(_openai(url), mode=instructor.Mode[mode])
    return client.chat.completions.create(
        model=model, messages=MESSAGES, response_model=Colour, max_tokens=MAX_TOKENS, max_retries=0
    )


def _pydantic_ai(url: str, model: str, output_type: Any, kind: str = "OpenAIChatModel") -> object:
    from pydantic_ai import Agent
    from pydantic_ai.models import openai
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=url, api_key="none")
    chat = getattr(openai, kind)(model, provider=provider)
    agent = Agent(chat, output_type=output_type, model_settings={"max_tokens": MAX_TOKENS})
    return agent.run_sync(QUESTION).output


def main() -> int:
    """Print a line for each; 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of a server, with /v1")
    parser.add_argument("package", help="whose checks are run")
    arguments = parser.parse_args()
    with urlopen(f"{arguments.url}/models") as answer:
        model = json.load(answer)["data"][0]["id"]
    failed = 0
    for package, check in CHECKS:
        if package != arguments.package:
            continue
        try:
            answer = check(arguments.url, model)
            result = "ok" if isinstance(answer, Colour) else f"FAILED: {answer!r}"
        except Exception as error:  # noqa: BLE001 - clients raise what they like
            result = f"FAILED: {type(error).__name__}: {error}"
        failed += result != "ok"
        version = importlib.metadata.version(package)
        print(f"{package:<18} {version:<9} {check.__name__:<27} {result}", flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
