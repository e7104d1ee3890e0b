"""TUN and TAP interfaces: they live as long as their file descriptor."""

import contextlib
import errno
import fcntl
import os
import struct
from dataclasses import dataclass

from hipgw.errors import PlatformError
from hipgw.platform.netns import leave_network
from hipgw.platform.threads import in_thread

DEVICE = "/dev/net/tun"

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_IFF_TUN = 0x0001
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_IFF_MULTI_QUEUE = 0x0100
_TUNGETFEATURES = 0x800454CF
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6, _TUN_F_TSO_ECN = 1, 2, 4, 8
_TUN_F_USO4, _TUN_F_USO6 = 0x20, 0x40

_TSO = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN

VNET_HEADER_OCTETS = 10
"""Of struct virtio_net_hdr, in front of each packet where `vnet_hdr` is on."""


@dataclass(frozen=True, slots=True)
class TunDevice:
    """An open TUN or TAP interface."""

    fd: int
    """Non-blocking; the interface goes when its last copy is closed."""
    name: str
    vnet_hdr: bool
    """Whether packets have a virtio header, and may be up to 64 KiB of TCP segments; not so on
    kernels that have no such thing."""

    def close(self) -> None:
        """Close it; the interface goes unless somebody holds a copy."""
        os.close(self.fd)


def open_tun(name: str, *, vnet_hdr: bool = True) -> TunDevice:
    """Make a TUN (IP) interface. Raises PlatformError."""
    return _open(name, _IFF_TUN, vnet_hdr)


def open_tap(name: str, *, vnet_hdr: bool = True) -> TunDevice:
    """Make a TAP (Ethernet) interface. Raises PlatformError."""
    return _open(name, _IFF_TAP, vnet_hdr)


@dataclass(frozen=True, slots=True)
class TunFeatures:
    """What the kernel's TUN driver offers; None where that could not be tried."""

    vnet_hdr: bool
    """IFF_VNET_HDR: offload headers."""
    multi_queue: bool
    """IFF_MULTI_QUEUE: a queue for each of several threads."""
    tso4: bool | None
    tso6: bool | None
    uso: bool | None
    """Super-packets of UDP (Linux 6.2)."""


def features() -> TunFeatures:
    """Ask the kernel what its TUN can do, on an interface in a namespace that nobody sees.

    Raises PlatformError if there is no TUN at all.
    """
    fd = _open_device()
    try:
        offered = struct.unpack("I", fcntl.ioctl(fd, _TUNGETFEATURES, bytes(4)))[0]
    finally:
        os.close(fd)
    takes: dict[str, bool | None] = {"tso4": None, "tso6": None, "uso": None}
    with contextlib.suppress(PlatformError, OSError):
        takes.update(in_thread(_try_offloads))
    return TunFeatures(
        vnet_hdr=bool(offered & _IFF_VNET_HDR),
        multi_queue=bool(offered & _IFF_MULTI_QUEUE),
        **takes,
    )


def _try_offloads() -> dict[str, bool]:
    """Which offloads a TUN takes; leaves the calling thread in a network namespace of its own."""
    leave_network()
    fd = _open_device()
    try:
        _attach(fd, "probe%d", _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR)

        def takes(flags: int) -> bool:
            try:
                fcntl.ioctl(fd, _TUNSETOFFLOAD, _TUN_F_CSUM | flags)
            except OSError:
                return False
            return True

        return {
            "tso4": takes(_TUN_F_TSO4),
            "tso6": takes(_TUN_F_TSO6),
            "uso": takes(_TSO | _TUN_F_USO4 | _TUN_F_USO6),
        }
    finally:
        os.close(fd)


def _open(name: str, kind: int, vnet_hdr: bool) -> TunDevice:
    fd = _open_device()
    try:
        flags = kind | _IFF_NO_PI | (_IFF_VNET_HDR if vnet_hdr else 0)
        try:
            _attach(fd, name, flags)
        except OSError as error:
            raise _refused(name, error) from error
        if vnet_hdr:
            try:
                fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER_OCTETS))
                fcntl.ioctl(fd, _TUNSETOFFLOAD, _TSO)
            except OSError:
                vnet_hdr = False
    except BaseException:
        os.close(fd)
        raise
    if not vnet_hdr and flags & _IFF_VNET_HDR:
        # Slower, but it works: without headers, one packet at a time.
        os.close(fd)
        return _open(name, kind, vnet_hdr=False)
    return TunDevice(fd, name, vnet_hdr)


def _attach(fd: int, name: str, flags: int) -> None:
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))


def _open_device() -> int:
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise PlatformError(
            f"There is no {DEVICE}.",
            hint="Load the kernel module: `modprobe tun`. A container needs the device passed in.",
        ) from None
    except PermissionError:
        raise PlatformError(f"{DEVICE} may not be opened.", hint="Run hipgw as root.") from None


def _refused(name: str, error: OSError) -> PlatformError:
    if error.errno == errno.EBUSY:
        return PlatformError(
            f"The interface {name} is in use by another program.",
            hint="Is another hipgw running? Or choose another interface name.",
        )
    if error.errno in {errno.EPERM, errno.EACCES}:
        return PlatformError(
            f"The interface {name} may not be made.", hint="CAP_NET_ADMIN is needed: run as root."
        )
    return PlatformError(f"The interface {name} cannot be made: {error.strerror}.")
