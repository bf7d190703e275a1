"""What the faces give back, in the shape that users of vLLM know."""

from __future__ import annotations

from dataclasses import dataclass, field

from .messages import RequestTimings, TokenLogprobs


@dataclass
class CompletionOutput:
    """One generated answer so far.

    logprobs: one entry a token, if they were asked for; cumulative_logprob: their sum, and that
    of a beam search's hypothesis.
    finish_reason: "stop", "length", "abort" or "error", None while it goes on.
    stop_reason: the stop string or token that ended it, if one did.
    complete: of a "stop", whether its form can't go on, so that no token had to end it.
    new_text: in a stream, what `text` has gained since the output before.
    """

    index: int
    text: str
    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None
    cumulative_logprob: float | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    new_text: str = ""
    complete: bool = False

    @property
    def ended_by_token(self) -> bool:
        """Whether the last token ended the answer and is not in its text."""
        by_string = isinstance(self.stop_reason, str)
        return self.finish_reason == "stop" and not self.complete and not by_string


@dataclass
class RequestOutput:
    """A request with its answers.

    prompt_logprobs: one entry a token of the prompt, if they were asked for; None for the first.
    num_cached_tokens: how much of the prompt came from the prefix cache.
    num_image_tokens: how much of it stands for features of images.
    metrics: of several answers, up to the first token those of the one that got it first.
    text_context: the last tokens of the prompt, if the texts of the answers go on with them.
    image_sources: of each image as often as it is shown, in order, where its features came from:
        "encoded" now, the "engine"'s own cache, the encoder store by its name, or the "request"
        itself; "prefix" if none were needed, as its tokens were in the prefix cache. Empty until
        the first token.
    """

    request_id: str
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool
    metrics: RequestTimings = field(default_factory=RequestTimings)
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    num_cached_tokens: int = 0
    num_image_tokens: int = 0
    image_sources: list[str] = field(default_factory=list)
    text_context: list[int] = field(default_factory=list)
