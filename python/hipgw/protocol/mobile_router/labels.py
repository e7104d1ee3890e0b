"""The SPI to put on the wire, where a mobile router has lent one."""

from hipgw.wire.packet import HipPacket
from hipgw.wire.parameters import EspInfoNoSig

_SPI_MIN = 256


def wire_spi(packet: HipPacket, spi: int) -> int:
    """What to put on the wire instead of *spi*, which the same packet bears."""
    lent = packet.all(EspInfoNoSig)
    if not lent or lent[-1].new_spi < _SPI_MIN:
        return spi
    return lent[-1].new_spi
