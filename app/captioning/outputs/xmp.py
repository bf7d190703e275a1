"""XMP sidecars: a description and keywords in them, and everything else left as it is.

Adobe's XMP Specification Part 1: dc:description holds alternatives by language, of which x-default
is shown; dc:subject is a bag of keywords; several rdf:Description elements about one thing count as
one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

DESCRIPTION = "description"
SUBJECT = "subject"

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_EMPTY = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{_RDF}">
 </rdf:RDF>
</x:xmpmeta>
""".encode()
_NAMESPACES = f'xmlns:dc="{_DC}" xmlns:rdf="{_RDF}"'
_TAG = re.compile(rb"""<(?:[^>"']|"[^"]*"|'[^']*')*>""")
_DECLARED_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*encoding\s*=\s*["']([^"']*)""")
#: What XML 1.0 can't hold.
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class XmpError(Exception):
    """A file can't be added to; says why."""


@dataclass(slots=True)
class _Found:
    """Byte ranges of Dublin Core's elements, by name; and where another may be put in."""

    elements: dict[str, tuple[int, int]] = field(default_factory=dict)
    about: str | None = None
    end_of_rdf: int = -1


def properties_in(xmp: bytes) -> set[str]:
    """Which of DESCRIPTION and SUBJECT a file has. Raises XmpError if it can't be added to."""
    return set(_find(xmp).elements)


def with_caption(xmp: bytes | None, description: str | None, subjects: Sequence[str]) -> bytes:
    """A file, or a new one, with these in place of what it has; None and no keywords leave it.
    Raises XmpError."""
    xmp = _EMPTY if xmp is None else xmp
    found = _find(xmp)
    elements = _elements(description, subjects)
    changes = [
        (*found.elements[name], elements.pop(name))
        for name in (DESCRIPTION, SUBJECT)
        if name in elements and name in found.elements
    ]
    if elements:
        about = quoteattr(found.about or "")
        added = f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about={about}>'
        added += "".join(elements.values()) + "</rdf:Description>\n"
        changes.append((found.end_of_rdf, found.end_of_rdf, added))
    for start, end, text in sorted(changes, reverse=True):
        xmp = xmp[:start] + text.encode() + xmp[end:]
    return xmp


def _elements(description: str | None, subjects: Sequence[str]) -> dict[str, str]:
    elements = {}
    if description is not None:
        item = f'<rdf:li xml:lang="x-default">{_text(description)}</rdf:li>'
        elements[DESCRIPTION] = (
            f"<dc:description {_NAMESPACES}><rdf:Alt>{item}</rdf:Alt></dc:description>"
        )
    if subjects:
        items = "".join(f"<rdf:li>{_text(subject)}</rdf:li>" for subject in subjects)
        elements[SUBJECT] = f"<dc:subject {_NAMESPACES}><rdf:Bag>{items}</rdf:Bag></dc:subject>"
    return elements


def _text(text: str) -> str:
    # A carriage return alone would be read back as a newline.
    return escape(_NOT_IN_XML.sub("", text), {"\r": "&#13;"})


def _find(xmp: bytes) -> _Found:
    """Raises XmpError."""
    found = _Found()
    names: list[str] = []
    starts: list[int] = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, attributes: dict[str, str]) -> None:
        names.append(name)
        starts.append(parser.CurrentByteIndex)
        if names[-2:] == [f"{_RDF} RDF", f"{_RDF} Description"]:
            found.about = found.about or attributes.get(f"{_RDF} about")
            for name in (DESCRIPTION, SUBJECT):
                if f"{_DC} {name}" in attributes:
                    raise XmpError(f"its dc:{name} is an attribute, where XMP has an element")

    def end(name: str) -> None:
        start, position = starts.pop(), parser.CurrentByteIndex
        if names[-3:-1] == [f"{_RDF} RDF", f"{_RDF} Description"] and name.startswith(_DC):
            local = name.removeprefix(f"{_DC} ")
            if local in (DESCRIPTION, SUBJECT):
                if local in found.elements:
                    raise XmpError(f"it has dc:{local} twice")
                found.elements[local] = start, _end_of_element(xmp, start, position)
        if name == f"{_RDF} RDF" and xmp[position : position + 2] == b"</":
            found.end_of_rdf = position
        names.pop()

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    _check_encoding(xmp)
    try:
        parser.Parse(xmp, True)
    except expat.ExpatError as error:
        raise XmpError(f"it is no XML: {error}") from error
    if found.end_of_rdf < 0:
        raise XmpError("it is no XMP, as it has no rdf:RDF element with content")
    return found


def _end_of_element(xmp: bytes, start: int, end_tag: int) -> int:
    if xmp[end_tag : end_tag + 2] == b"</":
        return xmp.index(b">", end_tag) + 1
    tag = _TAG.match(xmp, start)  # one that ends itself
    assert tag is not None, "it has been parsed"
    return tag.end()


def _check_encoding(xmp: bytes) -> None:
    """Raises XmpError: what is put in is UTF-8."""
    declared = _DECLARED_ENCODING.match(xmp)
    try:
        xmp.decode("utf-8")
    except UnicodeDecodeError as error:
        raise XmpError("it isn't in UTF-8") from error
    if declared and declared[1].lower() not in (b"utf-8", b"us-ascii"):
        raise XmpError(f"it is in {declared[1].decode()}, not UTF-8")
