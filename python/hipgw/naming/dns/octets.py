"""As much of a DNS message as is looked at when it is only passed on (RFC 1035 §4.1).

By UDP `hipgw._dns` does the same for every datagram; the tests hold both together.
"""

HEADER_LENGTH = 12
MESSAGE_MAX = 65535

_QR = 0x80
_OPCODE = 0x78
_TC = 0x02
_RD = 0x01
_RA = 0x80
_NOERROR, _SERVFAIL, _NXDOMAIN = 0, 2, 3
_CLASS_AND_TYPE_LENGTH = 4
_LABEL_MAX = 63
_TYPE_SOA, _TYPE_OPT = 6, 41


def suffix_octets(suffix: str) -> bytes:
    """A suffix such as "hip" as the last labels of a name, in small letters, with the root."""
    labels = (label.encode("ascii") for label in suffix.lower().strip(".").split("."))
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def is_query(data: bytes) -> bool:
    """Whether it is a question of any kind, and no answer."""
    return len(data) >= HEADER_LENGTH and not data[2] & _QR


def is_plain_query(data: bytes) -> bool:
    """Whether it is an ordinary query (opcode 0) with one question."""
    return (
        len(data) > HEADER_LENGTH
        and not data[2] & (_QR | _OPCODE)
        and data[4] == 0
        and data[5] == 1
    )


def asks_below(data: bytes, suffix: bytes) -> bool:
    """Whether an ordinary query is about a name that ends in *suffix* (see `suffix_octets`)."""
    # Most do not have it anywhere, which is quickly told.
    if suffix not in data.lower() or not is_plain_query(data):
        return False
    at = HEADER_LENGTH
    while at < len(data):
        if data[at : at + len(suffix)].lower() == suffix:
            return True
        length = data[at]
        if not 0 < length <= _LABEL_MAX:
            return False
        at += 1 + length
    return False


def question_of(data: bytes) -> bytes:
    """The question as it stands behind the header, in small letters, to compare with an answer's.

    Only its beginning where a label has a zero octet in it.
    """
    end = data.find(0, HEADER_LENGTH)
    return data[HEADER_LENGTH : end + 1 + _CLASS_AND_TYPE_LENGTH].lower() if end > 0 else b""


def answers(data: bytes, question: bytes) -> bool:
    """Whether it is an answer to a question (see `question_of`).

    Some servers repeat no question in an error.
    """
    if len(data) < HEADER_LENGTH or not data[2] & _QR:
        return False
    if data[4] == data[5] == 0:
        return data[3] & 0xF != _NOERROR
    return data[HEADER_LENGTH : HEADER_LENGTH + len(question)].lower() == question


def server_failure(query: bytes) -> bytes:
    """An answer that says SERVFAIL to a query, with its question alone."""
    end = query.find(0, HEADER_LENGTH) + 1 + _CLASS_AND_TYPE_LENGTH
    plain = is_plain_query(query) and HEADER_LENGTH < end <= len(query)
    flags = bytes([_QR | query[2] & (_OPCODE | _RD), _RA | _SERVFAIL])
    counts = bytes([0, int(plain), 0, 0, 0, 0, 0, 0])
    return query[:2] + flags + counts + (query[HEADER_LENGTH:end] if plain else b"")


def times_to_live(data: bytes) -> tuple[tuple[int, ...], int]:
    """Where the TTLs of an answer stand, and how long it may be kept, in seconds.

    That is the least TTL of its records; without any answer, what the SOA record says of absence
    (RFC 2308 §5); 0 if it may not be kept. Raises ValueError for one that cannot be read.
    """
    rcode = data[3] & 0xF
    if data[2] & _TC or rcode not in (_NOERROR, _NXDOMAIN):
        return (), 0
    try:
        return _times_to_live(data, rcode)
    except IndexError:
        raise ValueError("a DNS message ends within a record") from None


def _times_to_live(data: bytes, rcode: int) -> tuple[tuple[int, ...], int]:
    questions, answered, authority, additional = (
        int.from_bytes(data[at : at + 2], "big") for at in (4, 6, 8, 10)
    )
    at = HEADER_LENGTH
    for _ in range(questions):
        at = _skip_name(data, at) + _CLASS_AND_TYPE_LENGTH
    places = []
    least = -1
    of_absence = -1
    for _ in range(answered + authority + additional):
        at = _skip_name(data, at)
        kind = data[at] << 8 | data[at + 1]
        length = data[at + 8] << 8 | data[at + 9]
        # The TTL of OPT is none (RFC 6891 §6.1.3).
        if kind != _TYPE_OPT:
            place = at + 4
            ttl = int.from_bytes(data[place : place + 4], "big")
            places.append(place)
            least = ttl if least < 0 else min(least, ttl)
            if kind == _TYPE_SOA:
                minimum = int.from_bytes(data[at + 6 + length : at + 10 + length], "big")
                of_absence = min(ttl, minimum)
        at += 10 + length
    if at > len(data):
        raise ValueError("a DNS message ends within a record")
    if answered == 0 or rcode == _NXDOMAIN:
        least = min(least, of_absence)
    return tuple(places), max(least, 0)


def _skip_name(data: bytes, at: int) -> int:
    while (length := data[at]) != 0:
        if length >= 0xC0:
            return at + 2
        at += 1 + length
    return at + 1
