"""Capturing the frames of an interface into a pcap file, and reading them back."""

import errno
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hipgw.errors import LabError

_ETH_P_ALL = 0x0003
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_TP_STATUS_VLAN_VALID = 1 << 4
_TP_STATUS_VLAN_TPID_VALID = 1 << 6
_AUXDATA = struct.Struct("=IIIHHHH")

_ETHERNET_TYPES = {1, 772}
"""ARPHRD_ETHER and ARPHRD_LOOPBACK, which has the same header."""

_MAGIC_NANOSECONDS = 0xA1B23C4D
_LINKTYPE_ETHERNET = 1
_LINKTYPE_RAW = 101
_SNAPLEN = 262144
_TIMESPEC = struct.Struct("=qq")
_STAMP_TRIES = 10_000
"""Each takes a millisecond."""
_BUFFER = 32 << 20
_LINGER_S = 1.0
"""How long `Capture.stop` goes on reading what has come in meanwhile."""
_FILE_HEADER = struct.Struct("<IHHiIII")
_RECORD_HEADER = struct.Struct("<IIII")


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame (or bare IP packet, on an interface without link layer)."""

    time: float
    """Seconds since 1970."""
    data: bytes


class Capture:
    """Frames of one interface, both directions, into a pcap file until `stop`.

    Frames look as the interface sees them: with segmentation offload they may be larger than
    its MTU and their checksums not filled in. Stripped VLAN tags are put back.
    """

    def __init__(self, packet_socket: socket.socket, interface: str, file: Path) -> None:
        """Start writing what *packet_socket* (see `packet_socket`) receives to *file*."""
        self.file = file
        self.interface = interface
        self.lost = 0
        """Frames the kernel dropped because they came too fast; known after `stop`."""
        self._socket = packet_socket
        self._stop = threading.Event()
        hardware = packet_socket.getsockname()[3]
        link_type = _LINKTYPE_ETHERNET if hardware in _ETHERNET_TYPES else _LINKTYPE_RAW
        # The reader may look into the file at any time, so nothing stays in a buffer.
        self._out = file.open("wb", buffering=0)
        self._out.write(
            _FILE_HEADER.pack(_MAGIC_NANOSECONDS, 2, 4, 0, 0, _SNAPLEN, link_type),
        )
        self._thread = threading.Thread(target=self._run, name=f"capture-{interface}", daemon=True)
        self._thread.start()

    def stop(self) -> Path:
        """Write what has come in so far, end the capture and return its file. May be repeated."""
        if not self._stop.is_set():
            self._stop.set()
            self._thread.join()
            statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            self.lost = struct.unpack("=II", statistics)[1]
            self._socket.close()
            self._out.close()
        return self.file

    def frames(self) -> list[Frame]:
        """The frames captured so far, also while the capture runs."""
        return list(read_pcap(self.file))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while not self._stop.is_set():
            if poll.poll(50):
                self._read_waiting()
        # What the socket holds already is still written; what keeps coming is not waited for.
        limit = time.monotonic() + _LINGER_S
        while poll.poll(0) and time.monotonic() < limit:
            self._read_waiting()

    def _read_waiting(self) -> None:
        records = []
        for _ in range(256):
            try:
                data, ancillary, _flags, _address = self._socket.recvmsg(_SNAPLEN, 256)
            except BlockingIOError:
                break
            except OSError:  # the interface went down or away
                break
            seconds = nanoseconds = 0
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = struct.unpack("=qq", value[:16])
                elif level == _SOL_PACKET and kind == _PACKET_AUXDATA:
                    data = _restore_vlan_tag(data, value)
            records.append(_RECORD_HEADER.pack(seconds, nanoseconds, len(data), len(data)))
            records.append(data)
        self._out.write(b"".join(records))


def packet_socket(interface: str) -> socket.socket:
    """A packet socket that sees every frame of *interface*, opened in the calling thread.

    Raises LabError if there is no such interface in the thread's network namespace.
    """
    # Protocol 0 receives nothing; frames of other interfaces stay out until bind.
    result = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        result.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        result.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        result.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        _wait_for_stamps()
        result.bind((interface, _ETH_P_ALL))
    except OSError as error:
        result.close()
        raise LabError(f"Cannot capture on {interface}: {error.strerror}.") from error
    return result


def _wait_for_stamps() -> None:
    """Wait until the kernel stamps packets when they come, and not when they are read.

    It turns that on some time after the first socket has asked, and so the first frames would be
    told to be later than those that came after them. Raises OSError if it does not, or without
    loopback.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        probe.settimeout(1.0)
        probe.bind(("127.0.0.1", 0))
        probe.connect(probe.getsockname())
        for _ in range(_STAMP_TRIES):
            probe.send(b"")
            time.sleep(0.001)
            read = time.time_ns()
            _, ((_, _, stamp),), *_ = probe.recvmsg(0, socket.CMSG_SPACE(_TIMESPEC.size))
            seconds, nanoseconds = _TIMESPEC.unpack(stamp)
            if seconds * 1_000_000_000 + nanoseconds < read:
                return
    raise OSError(errno.ETIME, "the kernel does not stamp packets")


def read_pcap(file: Path) -> Iterator[Frame]:
    """The frames of a pcap file; one that is still being written is read as far as it goes."""
    data = file.read_bytes()
    if len(data) < _FILE_HEADER.size:
        return
    little = data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1")
    record = struct.Struct("<IIII" if little else ">IIII")
    (magic,) = struct.unpack_from("<I" if little else ">I", data)
    if magic not in {0xA1B2C3D4, _MAGIC_NANOSECONDS}:
        raise LabError(f"{file} is no pcap file.")
    fraction = 1e-9 if magic == _MAGIC_NANOSECONDS else 1e-6
    offset = _FILE_HEADER.size
    while offset + record.size <= len(data):
        seconds, part, length, _original = record.unpack_from(data, offset)
        offset += record.size
        if offset + length > len(data):
            return
        yield Frame(seconds + part * fraction, data[offset : offset + length])
        offset += length


def _restore_vlan_tag(frame: bytes, auxiliary: bytes) -> bytes:
    """Put the tag back that the kernel moved from the frame into its auxiliary data."""
    status, _length, _snaplen, _mac, _net, tci, tpid = _AUXDATA.unpack_from(auxiliary)
    if not status & _TP_STATUS_VLAN_VALID:
        return frame
    if not status & _TP_STATUS_VLAN_TPID_VALID:
        tpid = 0x8100
    return frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
