"""A model's words as Markdown without HTML."""

from __future__ import annotations

import pytest
from octavo.app.page.parts.model_text import as_markdown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a < b and **c**", "a < b and **c**"),
        ("<img src=x onerror=alert(1)>", "\\<img src=x onerror=alert(1)>"),
        ("</p><!-- <?x", "\\</p>\\<!-- \\<?x"),
        ("Wow![1] ![a](http://example.com/a.png)", "Wow\\![1] \\![a](http://example.com/a.png)"),
        ("`<b>` and ``a`<i>`` <u>", "`<b>` and ``a`<i>`` \\<u>"),
        ("`<b>", "`\\<b>"),
        ("```html\n<b>\n```\n<b>", "```html\n<b>\n```\n\\<b>"),
        ("````\n```\n<b>\n````\n<b>", "````\n```\n<b>\n````\n\\<b>"),
        ("~~~\n<b>\n```\n<b>", "~~~\n<b>\n```\n<b>"),
        # These begin no block of code.
        ("    ```\n<b>", "    ```\n\\<b>"),
        ("```a`b\n<b>", "```a`b\n\\<b>"),
    ],
)
def test_tags_and_pictures_outside_of_code_are_escaped(said: str, shown: str) -> None:
    assert as_markdown(said) == shown
