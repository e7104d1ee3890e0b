"""TUN and TAP interfaces: they live as long as their file descriptor."""

import errno
import fcntl
import os
import struct
from dataclasses import dataclass

from hipgw.errors import PlatformError

DEVICE = "/dev/net/tun"

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_IFF_TUN = 0x0001
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6, _TUN_F_TSO_ECN = 1, 2, 4, 8

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
    """Whether packets have a virtio header, and may be up to 64 KiB of TCP segments."""

    def close(self) -> None:
        """Close it; the interface goes unless somebody holds a copy."""
        os.close(self.fd)


def open_tun(name: str, *, vnet_hdr: bool = True) -> TunDevice:
    """Make a TUN (IP) interface. Raises PlatformError."""
    return _open(name, _IFF_TUN, vnet_hdr)


def open_tap(name: str, *, vnet_hdr: bool = True) -> TunDevice:
    """Make a TAP (Ethernet) interface. Raises PlatformError."""
    return _open(name, _IFF_TAP, vnet_hdr)


def _open(name: str, kind: int, vnet_hdr: bool) -> TunDevice:
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise PlatformError(
            f"There is no {DEVICE}.",
            hint="Load the kernel module: `modprobe tun`. A container needs the device passed in.",
        ) from None
    except PermissionError:
        raise PlatformError(f"{DEVICE} may not be opened.", hint="Run hipgw as root.") from None
    try:
        flags = kind | _IFF_NO_PI | (_IFF_VNET_HDR if vnet_hdr else 0)
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        except OSError as error:
            raise _refused(name, error) from error
        if vnet_hdr:
            fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER_OCTETS))
            fcntl.ioctl(fd, _TUNSETOFFLOAD, _TSO)
    except BaseException:
        os.close(fd)
        raise
    return TunDevice(fd, name, vnet_hdr)


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
