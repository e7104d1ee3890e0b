"""XML as OpenHIP's files use it, from places that need not be trusted.

Elements, attributes and text, nothing else: a document type, and with it every entity and every
reference outside, is refused before it can grow or open anything. Size, depth and the number of
elements are bounded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from hipgw.errors import ConfigError

SIZE_MAX_BYTES = 64 * 1024 * 1024
ELEMENTS_MAX = 1_000_000
"""65,536 hosts of a dozen elements each, and as many pairs."""
DEPTH_MAX = 8
"""OpenHIP's files need four."""
ATTRIBUTES_MAX = 32

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


class OpenHipFileError(ConfigError):
    """One of OpenHIP's files cannot be used; the text names the file and the line."""

    def __init__(self, file: Path | str, line: int, what: str, *, hint: str = "") -> None:
        self.file = Path(file)
        self.line = line
        """From 1; 0 for the file as a whole."""
        where = f"{file}: line {line}" if line else str(file)
        super().__init__(f"{where}: {what}", hint=hint)


@dataclass(slots=True)
class Element:
    """An element with what is in it; text of children is not part of its own."""

    tag: str
    text: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Element"] = field(default_factory=list)
    line: int = 0

    def __iter__(self) -> Iterator["Element"]:
        return iter(self.children)


def read(file: Path, root: str) -> Element:
    """Read a file whose outermost element is `root`. Raises OpenHipFileError."""
    try:
        with file.open("rb") as stream:
            data = stream.read(SIZE_MAX_BYTES + 1)
    except FileNotFoundError:
        raise OpenHipFileError(
            file, 0, "no such file", hint="name the folder that has OpenHIP's files"
        ) from None
    except OSError as error:
        raise OpenHipFileError(file, 0, f"cannot be read: {error.strerror or error}") from None
    return parse(data, file, root)


def parse(data: bytes, file: Path | str, root: str) -> Element:
    """Parse a document whose outermost element is `root`; `file` is for the error texts.

    Raises OpenHipFileError.
    """
    if len(data) > SIZE_MAX_BYTES:
        raise OpenHipFileError(file, 0, f"larger than {SIZE_MAX_BYTES >> 20} MB")
    reader = _Reader(file)
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        hint = "the file is damaged, or not one of OpenHIP's; `xmllint FILE` shows more"
        raise OpenHipFileError(
            file, error.lineno, f"no well-formed XML: {what}", hint=hint
        ) from None
    except (LookupError, ValueError) as error:
        # An encoding that Python does not know, or one of more than one octet.
        raise OpenHipFileError(
            file, 1, f"cannot be decoded: {error}", hint="save the file in UTF-8"
        ) from None
    found = reader.root
    if found is None or found.tag != root:
        name = found.tag if found is not None else ""
        line = found.line if found is not None else 0
        raise OpenHipFileError(
            file,
            line,
            f"begins with <{name}>, not <{root}>",
            hint="is it another of OpenHIP's files?",
        )
    return found


class _Reader:
    """Builds elements from expat's events."""

    def __init__(self, file: Path | str) -> None:
        self.root: Element | None = None
        self._file = file
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._count = 0
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.parser.ExternalEntityRefHandler = self._refuse
        self.parser.SkippedEntityHandler = self._refuse

    def _fail(self, what: str, hint: str = "") -> OpenHipFileError:
        return OpenHipFileError(self._file, self.parser.CurrentLineNumber, what, hint=hint)

    def _refuse(self, *_arguments: object) -> int:
        raise self._fail(
            "has a document type or entities, which OpenHIP's files never have",
            "remove the lines with <!DOCTYPE and <!ENTITY; do not trust the file",
        )

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._count += 1
        if self._count > ELEMENTS_MAX:
            raise self._fail(f"more than {ELEMENTS_MAX} elements")
        if len(self._open) >= DEPTH_MAX:
            raise self._fail(f"more than {DEPTH_MAX} elements inside each other")
        if len(attributes) > ATTRIBUTES_MAX:
            raise self._fail(f"more than {ATTRIBUTES_MAX} attributes")
        element = Element(tag, attributes=dict(attributes), line=self.parser.CurrentLineNumber)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._texts.append([])

    def _end(self, _tag: str) -> None:
        self._open.pop().text = "".join(self._texts.pop()).strip()

    def _text(self, text: str) -> None:
        if self._texts:
            self._texts[-1].append(text)


def emit(root: Element, comment: str = "") -> bytes:
    """The document of an element, in UTF-8, indented as OpenHIP does it."""
    note = f"<!--{comment.replace('--', '- -')}-->\n" if comment else ""
    return (_DECLARATION + note + "\n".join(_lines(root, "")) + "\n").encode()


def _lines(element: Element, indent: str) -> Sequence[str]:
    attributes = "".join(
        f" {name}={quoteattr(value)}" for name, value in element.attributes.items()
    )
    start = f"{indent}<{element.tag}{attributes}>"
    if not element.children:
        return [f"{start}{escape(element.text)}</{element.tag}>"]
    lines = [start]
    for child in element.children:
        lines += _lines(child, indent + "  ")
    return [*lines, f"{indent}</{element.tag}>"]
