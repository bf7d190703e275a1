"""Captions come into XMP files as an XML parser reads them, and leave all else as it was."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from caption_rows import ODD_TEXTS
from octavo.app.captioning.outputs.xmp import (
    DESCRIPTION,
    SUBJECT,
    XmpError,
    properties_in,
    with_caption,
)

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DC = "{http://purl.org/dc/elements/1.1/}"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"

#: In the manner of darktable and Lightroom: attributes with line breaks, comments, processing
#: instructions, other namespaces and prefixes, and properties in structures that look like ours.
OTHERS = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<!-- by hand -->
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <r:Description r:about="uuid:1&amp;2" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:darktable="http://darktable.sf.net/" xmlns:d="http://purl.org/dc/elements/1.1/"
    xmp:Rating="3" darktable:note="one&#10;two&#9;three">
   <d:creator><r:Seq><r:li>Zoë &gt; you</r:li></r:Seq></d:creator>
   <darktable:history><r:Seq><r:li darktable:operation="exposure">
    <d:description>no</d:description>
   </r:li></r:Seq></darktable:history>{}
  </r:Description>
  <r:Description r:about="uuid:1&amp;2"/>
 </r:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
DESCRIBED = """
   <d:description><r:Alt>
    <r:li xml:lang="x-default">old</r:li><r:li xml:lang="de">alt</r:li>
   </r:Alt></d:description>
   <d:subject > <r:Bag/> </d:subject >"""


def properties(xmp: bytes) -> dict[str, list[ElementTree.Element]]:
    """Of the thing described, by name."""
    root = ElementTree.fromstring(xmp)
    (rdf,) = root.iter(f"{RDF}RDF") if root.tag != f"{RDF}RDF" else [root]
    found: dict[str, list[ElementTree.Element]] = {}
    for description in rdf.findall(f"{RDF}Description"):
        for element in description:
            found.setdefault(element.tag, []).append(element)
    return found


def caption_in(xmp: bytes) -> tuple[str | None, list[str | None]]:
    found = properties(xmp)
    (description,) = found[f"{DC}description"]
    (default,) = description.findall(f"{RDF}Alt/{RDF}li")
    assert default.attrib == {LANG: "x-default"}
    (subject,) = found.get(f"{DC}subject", [ElementTree.Element("none")])
    return default.text, [item.text for item in subject.findall(f"{RDF}Bag/{RDF}li")]


def all_else(xmp: bytes) -> str:
    """Canonical, without what we write."""
    root = ElementTree.fromstring(xmp)
    for rdf in root.iter(f"{RDF}RDF"):
        for description in list(rdf.iter(f"{RDF}Description")):
            for name in ("description", "subject"):
                for element in description.findall(f"{DC}{name}"):
                    description.remove(element)
            if not len(description) and description.keys() == [f"{RDF}about"]:
                rdf.remove(description)
    text = ElementTree.tostring(root, encoding="unicode")
    return ElementTree.canonicalize(text, strip_text=True, rewrite_prefixes=True)


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_new_file(text: str) -> None:
    xmp = with_caption(None, text, ["a & b", "c"])
    expected = text.replace("\x07", "")  # which XML can't hold
    assert caption_in(xmp) == (expected or None, ["a & b", "c"])
    assert properties_in(xmp) == {DESCRIPTION, SUBJECT}
    assert with_caption(xmp, text, ["a & b", "c"]) == xmp


@pytest.mark.parametrize("there", ["", DESCRIBED])
def test_all_else_stays(there: str) -> None:
    before = OTHERS.format(there).encode()
    assert properties_in(before) == ({DESCRIPTION, SUBJECT} if there else set())
    xmp = with_caption(before, "new\r\n<text>", ["x", "y"])
    assert caption_in(xmp) == ("new\r\n<text>", ["x", "y"])
    assert all_else(xmp) == all_else(before)
    abouts = {
        element.get(f"{RDF}about")
        for element in ElementTree.fromstring(xmp).iter(f"{RDF}Description")
    }
    assert abouts == {"uuid:1&2"}
    # Byte for byte: what is before and behind what was put in.
    if not there:
        front, _, back = before.partition(b" </r:RDF>")
        assert xmp.startswith(front)
        assert xmp.endswith(back)
    again = with_caption(xmp, "newer", [])
    assert caption_in(again) == ("newer", ["x", "y"])
    assert with_caption(again, "new\r\n<text>", []) == xmp


def test_one_of_both() -> None:
    before = OTHERS.format("<d:subject/>").encode()
    xmp = with_caption(before, "text", [])
    assert caption_in(xmp) == ("text", [])
    assert all_else(xmp) == all_else(before)
    xmp = with_caption(before, None, ["x"])
    assert [len(properties(xmp).get(f"{DC}{name}", [])) for name in ("description", "subject")] == [
        0,
        1,
    ]
    xmp = with_caption(xmp, "text", ["y"])
    assert caption_in(xmp) == ("text", ["y"])


@pytest.mark.parametrize(
    ("xmp", "reason"),
    [
        (b"", "no XML: no element found"),
        (b"prose", "no XML"),
        (b"<a><b></a>", "no XML: mismatched tag"),
        (b"<a/>", "no XMP, as it has no rdf:RDF"),
        (OTHERS.format("").encode("utf-16"), "isn't in UTF-8"),
        (b'<?xml version="1.0" encoding="latin-1"?><a/>', "in latin-1, not UTF-8"),
        (OTHERS.format("<d:subject/><d:subject/>").encode(), "dc:subject twice"),
        (OTHERS.format("").replace("xmp:Rating", "d:description").encode(), "is an attribute"),
    ],
)
def test_what_can_not_be_added_to(xmp: bytes, reason: str) -> None:
    for change in (lambda: properties_in(xmp), lambda: with_caption(xmp, "text", [])):
        with pytest.raises(XmpError, match=reason):
            change()
