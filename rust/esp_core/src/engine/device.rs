//! A TUN or TAP with or without offload headers.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    os::fd::{AsFd, BorrowedFd, RawFd},
};

use super::error::EngineError;
use crate::{
    drops::DropReason,
    offload::{coalesce::MAX_PACKETS, VnetHeader, VNET_HEADER_LEN},
    sys::{fd, tun},
};

/// Octets of room that a read needs: the largest super-packet with its Ethernet header.
pub(super) const READ_ROOM: usize = 65_535 + 64;

/// Pieces of one write: offload header, headers, and a payload for each packet.
const MAX_PIECES: usize = 2 + MAX_PACKETS;

/// An open device; any thread may read or write.
#[derive(Debug)]
pub(super) struct Device {
    file: File,
    vnet_hdr: bool,
    /// It takes super-packets of UDP as well.
    pub udp_offload: bool,
}

/// What a read brought.
pub(super) enum ReadResult {
    Packet {
        len: usize,
        vnet: VnetHeader,
    },
    /// Something that cannot be used came.
    Bad(DropReason),
    Nothing,
}

impl Device {
    /// Duplicate a descriptor and set it up.
    pub(super) fn open(raw: RawFd, vnet_hdr: bool) -> Result<Self, EngineError> {
        let failed = |error| EngineError::System("use the TUN or TAP", error);
        let fd = fd::duplicate(raw).map_err(failed)?;
        fd::set_nonblocking(fd.as_fd()).map_err(failed)?;
        let udp_offload = if vnet_hdr {
            tun::enable_offload(fd.as_fd(), VNET_HEADER_LEN).map_err(failed)?
        } else {
            false
        };
        Ok(Self {
            file: File::from(fd),
            vnet_hdr,
            udp_offload,
        })
    }

    /// Whether it takes super-packets of TCP.
    #[must_use]
    pub(super) fn offload(&self) -> bool {
        self.vnet_hdr
    }

    /// Read one packet to the start of `out`.
    pub(super) fn read(&self, out: &mut [u8]) -> io::Result<ReadResult> {
        let mut vnet = [0; VNET_HEADER_LEN];
        let result = if self.vnet_hdr {
            let mut pieces = [IoSliceMut::new(&mut vnet), IoSliceMut::new(out)];
            (&self.file).read_vectored(&mut pieces)
        } else {
            (&self.file).read(out).map(|len| len + VNET_HEADER_LEN)
        };
        match result {
            Ok(len) => Ok(match VnetHeader::parse(&vnet) {
                Ok(vnet) => ReadResult::Packet {
                    len: len.saturating_sub(VNET_HEADER_LEN),
                    vnet,
                },
                Err(reason) => ReadResult::Bad(reason),
            }),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(ReadResult::Nothing),
                _ => Err(error),
            },
        }
    }

    /// Write one packet given in pieces; at most `MAX_PACKETS` and one in front.
    pub(super) fn write<'a>(
        &self,
        vnet: &VnetHeader,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        let vnet = vnet.emit();
        let mut slices = [IoSlice::new(&[]); MAX_PIECES];
        let mut count = 0;
        if self.vnet_hdr {
            slices[0] = IoSlice::new(&vnet);
            count = 1;
        }
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            slices[count] = IoSlice::new(piece);
            count += 1;
        }
        (&self.file).write_vectored(&slices[..count]).map(|_| ())
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
