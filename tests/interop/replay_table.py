"""The table of what was replayed of each recording, in either role.

Write it anew with: PYTHONPATH=tests .venv/bin/python -m interop.replay_table
"""

from collections.abc import Iterator
from functools import cache
from ipaddress import IPv6Address

from interop import openhip
from interop.conversations import Conversation, openhip_conversations, other_conversations
from interop.recorded import VECTORS
from interop.replay import Outcome, Replay

FILE = VECTORS / "REPLAYED.md"
CASES = (
    *(("cutehip", f"c{number}") for number in range(1, 5)),
    *(("hip-vpls", f"v{number}") for number in range(1, 5)),
)

LEFT_OUT = {
    ("mr-raw-cn", "M"): "its packets are what a mobile router made of them: see mr-raw-mn",
    ("mr-raw-mn (2)", "C"): "its packets before a mobile router changed them: see mr-raw-cn",
}
"""Roles that are not replayed: what was recorded is not what the host has sent or received."""

WITHOUT_KEYS = {
    "vpls-udp (2)": "the Responder was gone, and endboxes do not print Kij",
    "notify-noprop": "ends with R1, whose suites the Initiator does not have: see test_replay.py",
    "rvs-raw, rvs-udp": "the I1 that the server hands on: see test_recorded_rendezvous.py",
    "dht": "no exchange: records in a DHT; test_openhip_dht.py replays the calls to a gateway",
    "dns": "no exchange: records in DNS",
}

REASONS = {
    # -- OpenHIP -------------------------------------------------------------------------------
    "I2 Solution.reserved": "OpenHIP repeats the puzzle's lifetime there, against RFC 5201 "
    "§5.2.5, and does not look at it (read)",
    "I2 +HostId": "without a cipher, hipgw does not pretend to encrypt; OpenHIP takes both (read)",
    "I2 -Encrypted": "see I2 +HostId",
    "R2 MAC's first octets": "OpenHIP has four octets of anything before an HMAC-MD5, hipgw zeros",
    "CLOSE MAC's first octets": "see R2 MAC's first octets",
    "CLOSE_ACK MAC's first octets": "see R2 MAC's first octets",
    "UPDATE +DiffieHellman": "hipgw answers a new key by another; OpenHIP does not, but takes both "
    "(read)",
    "UPDATE -DiffieHellman": "OpenHIP sends its new value again with the last ACK; it takes it "
    "from the first UPDATE (read)",
    "UPDATE +MappedAddress": "tells of a NAT (RFC 5770 §5.3); not critical, so OpenHIP skips it "
    "(read)",
    "UPDATE LocatorSet.locators": "OpenHIP lists the new address twice",
    "UPDATE LocatorSet.locators.lifetime": "OpenHIP has 1800 s, hipgw no limit",
    "UPDATE -LocatorSet": "hipgw has nothing new to announce; OpenHIP answers a list by its own",
    "UPDATE -Ack": "hipgw acknowledges where the UPDATE came from, and asks elsewhere by itself",
    "UPDATE -EchoResponseUnsigned": "see UPDATE -Ack",
    "UPDATE elsewhere": "hipgw answers to where it was asked from, OpenHIP to the other address",
    "I1 unasked": "hipgw calls all known addresses at once, of both IP versions",
    "UPDATE EchoRequestUnsigned.data": "sent as soon as this host had moved, so not in answer",
    "UPDATE(Seq, EchoRequestUnsigned, EchoResponseUnsigned) not sent": "OpenHIP's retransmissions, "
    "as the answer has no ACK and gets none",
    "UPDATE unacknowledged": "hipgw's own question, which the recorded host was not asked",
    "UPDATE(LocatorSet) not sent": "without SEQ nobody would know whether it came: hipgw never "
    "sends such",
    "UPDATE(Ack, EchoResponseUnsigned) unasked": "to where the UPDATE came from: see UPDATE -Ack. "
    "In mob-v4v6-raw OpenHIP did not answer",
    "UPDATE(ProxyTicket) not sent": "the ticket is for the correspondent of mr-raw-mn (2), which "
    "is another replay",
    "UPDATE(ProxyTicket) refused: bad_ticket": "the same: a router takes tickets for associations "
    "that it has seen; see test_recorded_mobile_router.py",
    "CLOSE_ACK unasked": "the move had failed, so the recorded host never got the CLOSE",
    # -- cutehip and hip-vpls --------------------------------------------------------------------
    "I1 DhGroupList.groups": "hipgw does not have group 10",
    "R1 HitSuiteList.suites": "hipgw has no ECDSA_LOW, and another order",
    "CLOSE not sent": "hipgw has acknowledged the peer's CLOSE, so all is over; hip-vpls and "
    "cutehip send their own as well",
    "CLOSE_ACK not sent": "see CLOSE refused: no_association",
    "CLOSE refused: no_association": "a CLOSE after the association was closed: see CLOSE not sent",
    "CLOSE_ACK refused: unexpected": "both hosts began to close: hipgw has acknowledged already",
    "UPDATE(Seq) refused: no_association": "hip-vpls goes on after its own CLOSE",
    "UPDATE(Seq) not sent": "see UPDATE(Seq) refused: no_association",
}
"""Why something is otherwise than recorded; "+" is sent and "-" is not sent, by hipgw."""

_HEAD = """# What is replayed of each recording

Written by `interop.replay_table`; `test_replay.py` fails when anything changes. In each row hipgw's
`HipMachine` takes the place of the host named there (I: Initiator, R: Responder), as `replay.py`
describes. *taken*: packets of the other host that were accepted. *alike*: packets sent that equal
the recorded ones octet for octet; *but signature*: the same, with a signature that is never the
same twice (DSA, ECDSA, RSASSA-PSS); *otherwise*: other packets sent, whose MAC and signature hold.
*SAs*: security associations with the recorded SPI, suite and keys. The HIP keys are the recorded
ones in every row of OpenHIP.

"""


@cache
def conversations() -> tuple[Conversation, ...]:
    """Everything that was recorded with keys."""
    found = [one for capture in openhip.CAPTURES for one in openhip_conversations(capture)]
    found += [one for stack, case in CASES for one in other_conversations(stack, case)]
    return tuple(found)


def roles() -> Iterator[tuple[Conversation, IPv6Address]]:
    """What is replayed: each conversation from both ends."""
    for conversation in conversations():
        for hit in (conversation.initiator, conversation.responder):
            if (str(conversation), conversation.names[hit]) not in LEFT_OUT:
                yield conversation, hit


@cache
def outcome(conversation: Conversation, hit: IPv6Address) -> Outcome:
    """What came of it."""
    return Replay(conversation, hit).run()


def otherwise(found: Outcome) -> list[str]:
    """Everything that is not as recorded."""
    return [
        *found.differences,
        *(f"{kind} not sent" for kind in found.unsent),
        *(f"{kind} unasked" for kind in found.unasked),
        *(kind.replace(": ", " refused: ") for kind in found.refused),
        *(["UPDATE unacknowledged"] if found.unacknowledged else []),
    ]


def table() -> str:
    """The whole file."""
    head = ("recording", "hipgw is", "taken", "alike", "but signature", "otherwise", "SAs", "what")
    rows = [head, tuple("---" if name in (*head[:2], head[-1]) else "---:" for name in head)]
    reasons = set()
    for conversation, hit in roles():
        found = outcome(conversation, hit)
        what = otherwise(found)
        reasons.update(what)
        side = "I" if hit == conversation.initiator else "R"
        counts = (found.taken, found.whole, found.unsigned, found.differing, found.associations)
        shown = (str(count or "") for count in counts)
        rows.append(
            (str(conversation), f"{conversation.names[hit]} ({side})", *shown, "; ".join(what))
        )
    text = _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    text += "\n## Why\n\n" + "".join(f"- **{one}**: {REASONS[one]}\n" for one in sorted(reasons))
    text += "\n## Not replayed\n\n"
    text += "".join(f"- {name}, as {host}: {why}\n" for (name, host), why in LEFT_OUT.items())
    return text + "".join(f"- {name}: {why}\n" for name, why in WITHOUT_KEYS.items())


if __name__ == "__main__":
    FILE.write_text(table())
