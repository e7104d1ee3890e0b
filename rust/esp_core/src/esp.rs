//! ESP packets sealed and opened in place (RFC 4303, RFC 7402 §3).
//!
//! ```text
//! | SPI 4 | sequence, low half 4 | IV | payload | 1 2 3 … | pad length 1 | next header 1 | ICV |
//! ```
//!
//! Sequence numbers have 64 bits (RFC 7402 §3.3.6); the high half does not travel but is covered by
//! the ICV. With peers that know no such thing (`Format::esn`) they end at 2^32 - 1.

use std::ops::Range;

use crate::{
    aead::Aead,
    cbc_hmac::{CbcHmac, IvGenerator},
    cbc_lanes::LANES,
    error::Error,
    layout::{Format, Layout, TRAILER_LEN},
    suite::Suite,
};

/// SPIs below are reserved (RFC 4303 §2.1).
const FIRST_SPI: u32 = 256;

/// The algorithms of a suite with their keys.
enum Transform {
    Combined(Aead),
    Separate(CbcHmac),
}

impl Transform {
    fn new(
        suite: Suite,
        format: &Format,
        spi: u32,
        enc_key: &[u8],
        auth_key: &[u8],
    ) -> Result<(Self, Layout), Error> {
        let layout = Layout::new(suite, format)?;
        if spi < FIRST_SPI {
            return Err(Error::ReservedSpi(spi));
        }
        for (key, expected) in [
            (enc_key, suite.encryption_key_len()),
            (auth_key, suite.authentication_key_len()),
        ] {
            if key.len() != expected {
                return Err(Error::KeyLength {
                    suite,
                    expected,
                    actual: key.len(),
                });
            }
        }
        let transform = if Aead::carries_out(suite) {
            Self::Combined(Aead::new(suite, enc_key)?)
        } else {
            let (icv_len, esn) = (layout.icv_len(), format.esn);
            Self::Separate(CbcHmac::new(suite, enc_key, auth_key, icv_len, esn)?)
        };
        Ok((transform, layout))
    }
}

/// Seals the packets of one outbound security association.
///
/// It holds no state but the keys: who calls it counts the sequence numbers, and never gives one
/// twice, as it is the nonce of the combined algorithms. The keys are wiped when it is dropped.
pub struct Sealer {
    suite: Suite,
    spi: u32,
    layout: Layout,
    esn: bool,
    transform: Transform,
    /// For suites whose IV has to be unpredictable.
    ivs: Option<IvGenerator>,
}

impl Sealer {
    /// Keys as drawn from KEYMAT: the encryption key ends with the salt, if the suite has one.
    pub fn new(suite: Suite, spi: u32, enc_key: &[u8], auth_key: &[u8]) -> Result<Self, Error> {
        Self::with_format(suite, &Format::default(), spi, enc_key, auth_key)
    }

    /// The same for packets that look otherwise than the RFCs say.
    pub fn with_format(
        suite: Suite,
        format: &Format,
        spi: u32,
        enc_key: &[u8],
        auth_key: &[u8],
    ) -> Result<Self, Error> {
        let (transform, layout) = Transform::new(suite, format, spi, enc_key, auth_key)?;
        let ivs = match transform {
            Transform::Separate(_) if layout.iv_len() > 0 => Some(IvGenerator::new()?),
            _ => None,
        };
        Ok(Self {
            suite,
            spi,
            layout,
            esn: format.esn,
            transform,
            ivs,
        })
    }

    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    #[must_use]
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// Octets before the payload.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.layout.header_len()
    }

    /// Octets of the whole packet for a payload of this length.
    #[must_use]
    pub fn sealed_len(&self, payload_len: usize) -> usize {
        self.layout.sealed_len(payload_len)
    }

    /// The longest payload whose packet fits into `budget` octets.
    #[must_use]
    pub fn max_payload(&self, budget: usize) -> usize {
        self.layout.max_payload(budget)
    }

    /// Seal the payload at `buf[header_len()..][..payload_len]`; returns the packet's length,
    /// `sealed_len(payload_len)`. Nothing of `buf` behind the packet is touched.
    pub fn seal(
        &self,
        seq: u64,
        next_header: u8,
        buf: &mut [u8],
        payload_len: usize,
    ) -> Result<usize, Error> {
        let packet = self.frame(seq, next_header, buf, payload_len)?;
        self.seal_framed(seq, packet)
    }

    /// The same with an initialisation vector from elsewhere, so that the tests can compare with
    /// packets that others made; an error if it has not the suite's length or is not for CBC.
    #[doc(hidden)]
    pub fn seal_with_iv(
        &self,
        seq: u64,
        next_header: u8,
        buf: &mut [u8],
        payload_len: usize,
        iv: &[u8],
    ) -> Result<usize, Error> {
        let packet = self.frame(seq, next_header, buf, payload_len)?;
        if iv.len() != self.layout.iv_len() || matches!(self.transform, Transform::Combined(_)) {
            return Err(Error::Format(
                "this is no initialisation vector for the suite",
            ));
        }
        packet[8..8 + iv.len()].copy_from_slice(iv);
        self.seal_framed(seq, packet)
    }

    fn seal_framed(&self, seq: u64, packet: &mut [u8]) -> Result<usize, Error> {
        let packet_len = packet.len();
        match &self.transform {
            Transform::Combined(aead) => self.seal_combined(aead, seq, packet)?,
            Transform::Separate(cbc_hmac) => {
                cbc_hmac.seal(&mut [(seq, packet)], self.layout.header_len())?;
            }
        }
        Ok(packet_len)
    }

    /// Seal several packets, each as `seal` does, and with AES-CBC in little more than half the time.
    ///
    /// If one of them cannot be sealed, none is: nothing is encrypted and no number is used up.
    pub fn seal_batch(&self, packets: &mut [Unsealed<'_>]) -> Result<(), Error> {
        for Unsealed {
            seq,
            next_header,
            buf,
            payload_len,
        } in &mut *packets
        {
            self.frame(*seq, *next_header, buf, *payload_len)?;
        }
        match &self.transform {
            Transform::Combined(aead) => {
                for Unsealed {
                    seq,
                    buf,
                    payload_len,
                    ..
                } in packets
                {
                    self.seal_combined(aead, *seq, &mut buf[..self.sealed_len(*payload_len)])?;
                }
            }
            Transform::Separate(cbc_hmac) => {
                for few in packets.chunks_mut(LANES) {
                    let mut framed: [(u64, &mut [u8]); LANES] = Default::default();
                    let count = few.len();
                    for (
                        slot,
                        Unsealed {
                            seq,
                            buf,
                            payload_len,
                            ..
                        },
                    ) in framed.iter_mut().zip(few)
                    {
                        *slot = (*seq, &mut buf[..self.sealed_len(*payload_len)]);
                    }
                    cbc_hmac.seal(&mut framed[..count], self.layout.header_len())?;
                }
            }
        }
        Ok(())
    }

    /// Write everything but cipher text and ICV: header, IV, padding, trailer. Returns the packet.
    fn frame<'b>(
        &self,
        seq: u64,
        next_header: u8,
        buf: &'b mut [u8],
        payload_len: usize,
    ) -> Result<&'b mut [u8], Error> {
        if seq == 0 {
            return Err(Error::SequenceZero);
        }
        if !self.esn && seq > u64::from(u32::MAX) {
            return Err(Error::SequenceTooHigh);
        }
        if payload_len > buf.len() {
            return Err(Error::BufferTooSmall);
        }
        let packet_len = self.layout.sealed_len(payload_len);
        let packet = buf.get_mut(..packet_len).ok_or(Error::BufferTooSmall)?;
        let (header_len, icv_len) = (self.layout.header_len(), self.layout.icv_len());

        packet[..4].copy_from_slice(&self.spi.to_be_bytes());
        packet[4..8].copy_from_slice(&(seq as u32).to_be_bytes());
        if let Some(ivs) = &self.ivs {
            packet[8..header_len].copy_from_slice(&ivs.generate(seq)[..header_len - 8]);
        } else if let Transform::Combined(_) = self.transform {
            // The sequence number serves as IV: unique, which is all that these ask for.
            packet[8..header_len].copy_from_slice(&seq.to_be_bytes());
        }
        // Octet by octet: it is three at most, or fifteen with AES-CBC, and a call costs more.
        let trailer = &mut packet[header_len + payload_len..packet_len - icv_len];
        let padding_len = trailer.len() - TRAILER_LEN;
        for (octet, value) in trailer.iter_mut().zip(1..=padding_len as u8) {
            *octet = value;
        }
        trailer[padding_len] = padding_len as u8;
        trailer[padding_len + 1] = next_header;
        Ok(packet)
    }

    fn seal_combined(&self, aead: &Aead, seq: u64, packet: &mut [u8]) -> Result<(), Error> {
        let body = &mut packet[self.layout.header_len()..];
        let (aad, len) = associated_data(self.spi, seq, self.esn);
        aead.seal(seq.to_be_bytes(), &aad[..len], body, self.layout.icv_len())
    }
}

/// A payload to be sealed together with others; `Sealer::seal` tells what the fields mean.
pub struct Unsealed<'a> {
    pub seq: u64,
    pub next_header: u8,
    pub buf: &'a mut [u8],
    pub payload_len: usize,
}

/// Opens the packets of one inbound security association. Its keys are wiped when it is dropped.
pub struct Opener {
    suite: Suite,
    spi: u32,
    layout: Layout,
    esn: bool,
    transform: Transform,
}

impl Opener {
    /// Keys as drawn from KEYMAT: the encryption key ends with the salt, if the suite has one.
    pub fn new(suite: Suite, spi: u32, enc_key: &[u8], auth_key: &[u8]) -> Result<Self, Error> {
        Self::with_format(suite, &Format::default(), spi, enc_key, auth_key)
    }

    /// The same for packets that look otherwise than the RFCs say.
    pub fn with_format(
        suite: Suite,
        format: &Format,
        spi: u32,
        enc_key: &[u8],
        auth_key: &[u8],
    ) -> Result<Self, Error> {
        let (transform, layout) = Transform::new(suite, format, spi, enc_key, auth_key)?;
        Ok(Self {
            suite,
            spi,
            layout,
            esn: format.esn,
            transform,
        })
    }

    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    #[must_use]
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// Verify and decrypt the packet that `buf` is, from the SPI to the end of the ICV; returns
    /// where in `buf` the payload lies, and the Next Header.
    ///
    /// `seq` is the whole sequence number, as `ReplayWindow::infer` tells it. After an error the
    /// contents of `buf` are undefined. Never panics, whatever the octets.
    pub fn open(&self, seq: u64, buf: &mut [u8]) -> Result<(Range<usize>, u8), Error> {
        let header_len = self.layout.header_len();
        let body_end = buf
            .len()
            .checked_sub(self.layout.icv_len())
            .ok_or(Error::Malformed)?;
        if body_end < header_len + TRAILER_LEN {
            return Err(Error::Malformed);
        }
        // The combined algorithms never look at the header that came, but at what it should be.
        if buf[..4] != self.spi.to_be_bytes() || buf[4..8] != (seq as u32).to_be_bytes() {
            return Err(Error::HeaderMismatch);
        }

        match &self.transform {
            Transform::Combined(aead) => {
                let mut iv = [0; 8];
                iv.copy_from_slice(&buf[8..16]);
                let (aad, len) = associated_data(self.spi, seq, self.esn);
                aead.open(
                    iv,
                    &aad[..len],
                    &mut buf[header_len..],
                    self.layout.icv_len(),
                )?;
            }
            Transform::Separate(cbc_hmac) => cbc_hmac.open(seq, buf, header_len)?,
        }

        let [padding_len, next_header] = [buf[body_end - 2], buf[body_end - 1]];
        let padding_end = body_end - TRAILER_LEN;
        let payload_end = padding_end
            .checked_sub(usize::from(padding_len))
            .filter(|&end| end >= header_len)
            .ok_or(Error::Padding)?;
        // What padding looks like (RFC 4303 §2.4).
        if !buf[payload_end..padding_end]
            .iter()
            .zip(1..=u8::MAX)
            .all(|(octet, expected)| *octet == expected)
        {
            return Err(Error::Padding);
        }
        Ok((header_len..payload_end, next_header))
    }
}

/// SPI, then the sequence number in all the bits it has (RFC 4106 §5, RFC 4309 §5, RFC 7634 §2.1),
/// and the octets of both.
fn associated_data(spi: u32, seq: u64, esn: bool) -> ([u8; 12], usize) {
    let mut aad = [0; 12];
    aad[..4].copy_from_slice(&spi.to_be_bytes());
    if esn {
        aad[4..].copy_from_slice(&seq.to_be_bytes());
        (aad, 12)
    } else {
        aad[4..8].copy_from_slice(&(seq as u32).to_be_bytes());
        (aad, 8)
    }
}
