"""XML-RPC bodies as OpenDHT and its clients write them: the few types that they use.

Written without white space between elements, and octet for octet as OpenHIP does it, whose reader
takes each node for the one that it expects. Read with the standard library, in bounded size.
"""

import base64
import xmlrpc.client
from collections.abc import Sequence
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

from hipgw.errors import NamingError
from hipgw.naming.dht.limits import BODY_LENGTH

CONTENT_TYPE = "text/xml"

Value = int | str | bytes | Sequence["Value"]
"""An <int>, <string>, <base64> or <array>."""

_CALL_HEAD = '<?xml version="1.0"?>\n'
_ANSWER_HEAD = '<?xml version="1.0" encoding="ISO-8859-1"?>\n'
_DEPTH_MAX = 16
"""Elements within each other; an answer to a get has nine."""

_ELEMENTS = frozenset(
    [
        "methodCall",
        "methodResponse",
        "methodName",
        "params",
        "param",
        "value",
        "fault",
        "int",
        "i4",
        "boolean",
        "double",
        "string",
        "base64",
        "array",
        "data",
        "struct",
        "member",
        "name",
    ]
)

_UNREADABLE = (
    ExpatError,
    xmlrpc.client.Error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
)
"""What the library raises for all that is wrong with a body; it does not sum that up itself."""


class XmlRpcError(NamingError):
    """A body that is not XML-RPC, or of another shape than OpenDHT's calls have."""


class XmlRpcFaultError(NamingError):
    """A server answered with a fault instead of a result."""


class _Reader(xmlrpc.client.Unmarshaller):
    """Without the types that neither OpenDHT nor HIP has a use for."""

    def start(self, tag: str, attrs: dict[str, str]) -> None:
        if tag not in _ELEMENTS:
            raise XmlRpcError("there is an element in it that these calls do not have")
        super().start(tag, attrs)


def emit_call(method: str, parameters: Sequence[Value]) -> bytes:
    """The body of a request."""
    listed = "".join(f"<param>{_value(one)}</param>" for one in parameters)
    return (
        f"{_CALL_HEAD}<methodCall><methodName>{escape(method)}</methodName>"
        f"<params>{listed}</params></methodCall>"
    ).encode()


def emit_answer(value: Value) -> bytes:
    """The body of an answer."""
    return (
        f"{_ANSWER_HEAD}<methodResponse><params><param>{_value(value)}</param></params>"
        "</methodResponse>"
    ).encode("iso-8859-1", "xmlcharrefreplace")


def emit_fault(code: int, text: str) -> bytes:
    """The body of an answer that says what was wrong with the call."""
    members = (
        f"<member><name>faultCode</name><value><int>{code}</int></value></member>"
        f"<member><name>faultString</name><value><string>{escape(text)}</string></value></member>"
    )
    return (
        f"{_ANSWER_HEAD}<methodResponse><fault><value><struct>{members}</struct></value></fault>"
        "</methodResponse>"
    ).encode("iso-8859-1", "xmlcharrefreplace")


def parse_call(body: bytes) -> tuple[str, tuple[object, ...]]:
    """Read a request: the method, and its parameters as int, str, bytes or list.

    Raises XmlRpcError.
    """
    parameters, method = _load(body)
    if method is None:
        raise XmlRpcError("no method is called")
    return method, parameters


def parse_answer(body: bytes) -> object:
    """Read the one value of an answer; raises XmlRpcFaultError or XmlRpcError."""
    parameters, method = _load(body)
    if method is not None or len(parameters) != 1:
        raise XmlRpcError("this is no answer with one value")
    return parameters[0]


def _load(body: bytes) -> tuple[tuple[object, ...], str | None]:
    if len(body) > BODY_LENGTH:
        raise XmlRpcError(f"{len(body)} octets are more than a body may have")
    # UTF-16, in which nothing would be found of what is refused below. All else that the parser
    # reads has ASCII in it as it is.
    if b"\0" in body:
        raise XmlRpcError("there is a zero octet in it")
    # No part of XML-RPC needs a declaration, and entities are a way to make much out of little.
    if b"<!" in body:
        raise XmlRpcError("there are declarations in it")
    _refuse_depth(body)
    target = _Reader(use_builtin_types=True)
    parser = xmlrpc.client.ExpatParser(target)
    try:
        parser.feed(body)
        parser.close()
        return target.close(), target.getmethodname()
    except xmlrpc.client.Fault as fault:
        raise XmlRpcFaultError(f"the server refuses: {fault.faultString!s:.100}") from None
    except _UNREADABLE as error:
        raise XmlRpcError(f"it cannot be read ({type(error).__name__})") from None


def _refuse_depth(body: bytes) -> None:
    # A value is converted again by each element around it.
    depth = 0
    for piece in body.split(b"<")[1:]:
        if piece.startswith((b"?", b"!")):
            continue
        if piece.startswith(b"/"):
            depth -= 1
        elif not piece.partition(b">")[0].endswith(b"/"):
            depth += 1
            if depth > _DEPTH_MAX:
                raise XmlRpcError("its elements lie too deep within each other")


def _value(value: Value) -> str:
    if isinstance(value, int):
        inner = f"<int>{value}</int>"
    elif isinstance(value, str):
        inner = f"<string>{escape(value)}</string>"
    elif isinstance(value, bytes):
        text = base64.b64encode(value).decode()
        # As OpenHIP has it, which leaves empty ones to libxml2.
        inner = f"<base64>{text}</base64>" if value else "<base64/>"
    else:
        inner = f"<array><data>{''.join(map(_value, value))}</data></array>"
    return f"<value>{inner}</value>"
