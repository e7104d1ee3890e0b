"""XML that is not OpenHIP's, or is meant to hurt."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgw.config.openhip import xml
from hipgw.config.openhip.xml import Element, OpenHipFileError, emit, parse

BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]>
<a>&y;</a>"""
EXTERNAL = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
DTD = b'<!DOCTYPE a SYSTEM "http://192.0.2.1/a.dtd"><a/>'
PARAMETER = b'<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]><a/>'


@pytest.mark.parametrize("document", [BOMB, EXTERNAL, DTD, PARAMETER])
def test_document_types_and_entities_are_refused(document: bytes) -> None:
    with pytest.raises(OpenHipFileError, match="document type or entities") as caught:
        parse(document, "x.xml", "a")
    assert "<!DOCTYPE" in caught.value.hint


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(xml, "SIZE_MAX_BYTES", 1 << 20)
    file = tmp_path / "x.xml"
    file.write_bytes(b"<a>" + b" " * (1 << 20) + b"</a>")
    with pytest.raises(OpenHipFileError, match="larger than 1 MB"):
        xml.read(file, "a")


def test_depth_is_bounded() -> None:
    with pytest.raises(OpenHipFileError, match=r"line 2: more than 8 elements inside"):
        parse(b"<a>\n" + b"<a>" * 100000, "x.xml", "a")


def test_number_of_elements_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml, "ELEMENTS_MAX", 100)
    with pytest.raises(OpenHipFileError, match="more than 100 elements"):
        parse(b"<a>" + b"<b/>" * 200 + b"</a>", "x.xml", "a")


def test_number_of_attributes_is_bounded() -> None:
    attributes = "".join(f' x{number}=""' for number in range(40))
    with pytest.raises(OpenHipFileError, match="more than 32 attributes"):
        parse(f"<a{attributes}/>".encode(), "x.xml", "a")


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (b"", "no element found"),
        (b"<a>\n<b></a>", "line 2: no well-formed XML: mismatched tag"),
        (b"<a>&nothing;</a>", "undefined entity"),
        (b"<b/>", "line 1: begins with <b>, not <a>"),
        (b'<?xml version="1.0" encoding="none"?><a/>', "x.xml"),
        (b'<?xml version="1.0" encoding="utf-7"?><a/>', "x.xml"),
        (b"<a>\xff</a>", "not well-formed"),
    ],
)
def test_other_files_are_named_with_their_line(document: bytes, text: str) -> None:
    with pytest.raises(OpenHipFileError) as caught:
        parse(document, "x.xml", "a")
    assert str(caught.value).startswith("x.xml: ")
    assert text in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(OpenHipFileError, match="no such file"):
        xml.read(tmp_path / "absent.xml", "a")
    with pytest.raises(OpenHipFileError, match="directory"):
        xml.read(tmp_path, "a")


def test_elements_know_their_line() -> None:
    root = parse(b"<!-- c -->\n<a>\n <b x='1'> t </b>\n</a>", "x.xml", "a")
    (child,) = root
    assert (child.tag, child.text, child.attributes, child.line) == ("b", "t", {"x": "1"}, 3)


texts = st.text(
    st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc", "Cn")), max_size=30
).map(str.strip)
words = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)
leaves = st.builds(Element, words, texts, st.dictionaries(words, texts, max_size=3))


@given(st.builds(Element, words, st.just(""), children=st.lists(leaves, min_size=1, max_size=4)))
def test_what_is_written_is_read_again(root: Element) -> None:
    found = parse(emit(root, "a -- comment"), "x.xml", root.tag)
    assert [(c.tag, c.text, c.attributes) for c in found] == [
        (c.tag, c.text, c.attributes) for c in root
    ]


@given(st.binary(max_size=200))
def test_no_octets_do_worse_than_an_error(data: bytes) -> None:
    for document in (data, b"<a>" + data + b"</a>", b"<a b='" + data + b"'/>"):
        try:
            parse(document, "x.xml", "a")
        except OpenHipFileError:
            continue
