"""Every transition of the association state machine, in one table (RFC 7401 §4.4.3, §4.4.4).

Run as a program it prints the state diagram of the documentation.
"""

from enum import Enum

from hipgw.protocol.states import State


class Trigger(Enum):
    """What makes an association change its state."""

    CONNECT = "data to send"
    R1 = "R1 solved, I2 sent"
    I2 = "I2 accepted, R2 sent"
    R2 = "R2 accepted"
    CONFIRMED = "data, UPDATE or time shows that R2 arrived"
    RESTART = "base exchange begun anew"
    GIVE_UP = "no answer"
    LEAVE = "local close or idle"
    CLOSE = "CLOSE accepted, CLOSE_ACK sent"
    CLOSE_ACK = "CLOSE_ACK accepted"
    EXPIRE = "time is over"


_S = State
_T = Trigger

TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (_S.UNASSOCIATED, _T.CONNECT): _S.I1_SENT,
    (_S.UNASSOCIATED, _T.I2): _S.R2_SENT,
    (_S.I1_SENT, _T.R1): _S.I2_SENT,
    (_S.I1_SENT, _T.I2): _S.R2_SENT,
    (_S.I1_SENT, _T.RESTART): _S.I1_SENT,
    (_S.I1_SENT, _T.GIVE_UP): _S.E_FAILED,
    (_S.I2_SENT, _T.R2): _S.ESTABLISHED,
    (_S.I2_SENT, _T.I2): _S.R2_SENT,
    (_S.I2_SENT, _T.RESTART): _S.I1_SENT,
    (_S.I2_SENT, _T.CLOSE): _S.CLOSED,
    (_S.I2_SENT, _T.GIVE_UP): _S.E_FAILED,
    (_S.R2_SENT, _T.I2): _S.R2_SENT,
    (_S.R2_SENT, _T.CONFIRMED): _S.ESTABLISHED,
    (_S.R2_SENT, _T.LEAVE): _S.CLOSING,
    (_S.R2_SENT, _T.CLOSE): _S.CLOSED,
    (_S.ESTABLISHED, _T.I2): _S.R2_SENT,
    (_S.ESTABLISHED, _T.LEAVE): _S.CLOSING,
    (_S.ESTABLISHED, _T.CLOSE): _S.CLOSED,
    (_S.CLOSING, _T.CONNECT): _S.I1_SENT,
    (_S.CLOSING, _T.I2): _S.R2_SENT,
    (_S.CLOSING, _T.CLOSE): _S.CLOSED,
    (_S.CLOSING, _T.CLOSE_ACK): _S.UNASSOCIATED,
    (_S.CLOSING, _T.EXPIRE): _S.UNASSOCIATED,
    (_S.CLOSED, _T.CONNECT): _S.I1_SENT,
    (_S.CLOSED, _T.I2): _S.R2_SENT,
    (_S.CLOSED, _T.CLOSE): _S.CLOSED,
    (_S.CLOSED, _T.CLOSE_ACK): _S.UNASSOCIATED,
    (_S.CLOSED, _T.EXPIRE): _S.UNASSOCIATED,
    (_S.E_FAILED, _T.CONNECT): _S.I1_SENT,
    (_S.E_FAILED, _T.I2): _S.R2_SENT,
    (_S.E_FAILED, _T.EXPIRE): _S.UNASSOCIATED,
}


def may(state: State, trigger: Trigger) -> bool:
    """Whether the trigger means anything in this state."""
    return (state, trigger) in TRANSITIONS


def mermaid() -> str:
    """The table as a mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> UNASSOCIATED"]
    for (old, trigger), new in TRANSITIONS.items():
        # Mermaid takes no hyphens in names.
        left, right = (state.value.replace("-", "_") for state in (old, new))
        lines.append(f"    {left} --> {right}: {trigger.value}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(mermaid())
