"""As much of bpf(2) as the benches need: small programs, written as numbers."""

import ctypes
import os
import struct
from collections.abc import Sequence

Instruction = tuple[int, int, int, int, int]
"""Code, destination, source, offset, number."""

CLASSIFIER, XDP = 3, 6
TCX_INGRESS, XDP_DEVICE = 46, 37
_NATIVE = 4  # XDP_FLAGS_DRV_MODE
_PROG_LOAD, _PROG_TEST_RUN, _LINK_CREATE = 5, 10, 28
_LIVE_FRAMES = 2
_NUMBERS = {"x86_64": 321, "aarch64": 280}

_libc = ctypes.CDLL(None, use_errno=True)


def load(kind: int, program: Sequence[Instruction]) -> int:
    """A descriptor of a program."""
    octets = b"".join(
        struct.pack("=BBhi", code, source << 4 | destination, offset, number)
        for code, destination, source, offset, number in program
    )
    text, licence = ctypes.create_string_buffer(octets), ctypes.create_string_buffer(b"Apache-2.0")
    head = (kind, len(program), ctypes.addressof(text), ctypes.addressof(licence))
    return _bpf(_PROG_LOAD, struct.pack("=IIQQ96x", *head))


def attach(program: int, ifindex: int, kind: int) -> int:
    """Have a program see what comes in at a device, until the descriptor is closed."""
    flags = _NATIVE if kind == XDP_DEVICE else 0
    return _bpf(_LINK_CREATE, struct.pack("=IIII16x", program, ifindex, kind, flags))


def receive(program: int, frame: bytes, ifindex: int, count: int) -> None:
    """Have frames come in at a device that an XDP program is attached to, each after *program*."""
    data = ctypes.create_string_buffer(frame, len(frame))
    context = ctypes.create_string_buffer(struct.pack("=6I", 0, len(frame), 0, ifindex, 0, 0), 24)
    attributes = struct.pack(
        "=IIIIQQIIIIQQIII4x",
        *(program, 0, len(frame), 0, ctypes.addressof(data), 0, count, 0),
        *(24, 0, ctypes.addressof(context), 0, _LIVE_FRAMES, 0, 64),
    )
    _bpf(_PROG_TEST_RUN, attributes)


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = _libc.syscall(_NUMBERS[os.uname().machine], command, buffer, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command}): {os.strerror(ctypes.get_errno())}")
    return int(result)
