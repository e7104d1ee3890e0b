//! Why packets are dropped: one list for the engine, Python and the documentation.

use crate::error::Error;

macro_rules! named {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name that statistics and documentation use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}
pub(crate) use named;

named! {
    /// A reason for dropping a packet.
    DropReason {
        // From the TUN and the TAPs.
        /// A frame without a whole Ethernet header.
        FrameTooShort = "frame_too_short",
        /// To 01-80-C2-00-00-0x: never bridged (spanning tree, PAUSE, LACP, 802.1X, LLDP).
        LinkLocalFrame = "link_local_frame",
        /// A frame whose source is a group address.
        GroupSource = "group_source",
        /// A frame for a segment or peer without a security association.
        NoPeer = "no_peer",
        /// For an endbox with configured addresses, and neither untagged IPv4 nor ARP.
        NotIpv4OrArp = "not_ipv4_or_arp",
        /// From an IPv4 address that is not configured for the endbox it comes from.
        SourceNotOwned = "source_not_owned",
        /// To an IPv4 address that is not configured for another endbox.
        TargetNotOwned = "target_not_owned",
        /// Another endbox of this LAN was elected to carry the frame.
        ElectionLost = "election_lost",
        /// From or to an endbox of the same LAN: the frame would go round in circles.
        SameLan = "same_lan",
        /// A hello that is none, that comes out of a tunnel, or one of too many.
        BadHello = "bad_hello",
        /// A frame longer than any path can carry, even in fragments.
        FrameTooLong = "frame_too_long",
        /// An offload header that does not fit its packet, or of a kind that was not offered.
        BadOffload = "bad_offload",
        /// Not a whole IP packet.
        BadInnerPacket = "bad_inner_packet",
        /// To an address that is neither a peer's HIT nor an LSI.
        NotAPeerAddress = "not_a_peer_address",
        /// From an address that is not this host's HIT or LSI.
        WrongSource = "wrong_source",
        /// An IPv4 fragment from the TUN while those of too many packets wait for their rest.
        InnerFragment = "inner_fragment",
        /// A protocol that means something else inside ESP (dummy, EtherIP, …).
        InnerProtocol = "inner_protocol",
        /// Larger than the path; the sender was told by ICMP.
        PacketTooBig = "packet_too_big",
        /// Too much is held already for this destination or for all.
        HeldOverflow = "held_overflow",
        /// Held until its time was over.
        HeldExpired = "held_expired",
        /// Held, then discarded by request.
        HeldDiscarded = "held_discarded",
        /// For an address that is not verified yet, and the peer has not enough credit (RFC 8046 §5.6).
        NoCredit = "no_credit",
        /// The security association has used its last sequence number.
        SequenceExhausted = "sequence_exhausted",
        /// The cipher refused to seal.
        SealFailed = "seal_failed",
        /// The system refused to send.
        SendFailed = "send_failed",
        /// The socket's queue stayed full.
        SendQueueFull = "send_queue_full",
        // From the network.
        /// Too short for an SPI and sequence number.
        Runt = "runt",
        /// Longer than any packet expected.
        Truncated = "truncated",
        /// A HIP packet longer than HIP allows.
        ControlTooLong = "control_too_long",
        /// A HIP packet while too many wait for the control plane.
        ControlQueueFull = "control_queue_full",
        /// ESP for a security association that is not installed.
        UnknownSpi = "unknown_spi",
        /// Seen before, or left of the replay window.
        Replayed = "replayed",
        /// The integrity check failed.
        AuthFailed = "auth_failed",
        /// ESP of impossible length.
        EspMalformed = "esp_malformed",
        /// Authentic, but with wrong padding.
        EspPadding = "esp_padding",
        /// Ethernet on a security association that carries none.
        NoSegment = "no_segment",
        /// Host traffic, but there is no TUN.
        NoTun = "no_tun",
        /// Not EtherIP version 3 (RFC 3378 §3).
        BadEtherIp = "bad_etherip",
        /// Not what BEET mode makes (RFC 7402 appendix B).
        BadBeet = "bad_beet",
        /// IPv4 traffic from a peer that has no LSI here.
        NoLsi = "no_lsi",
        /// A router marked the outer header with congestion, and the inner one cannot tell (RFC 6040).
        EcnNotCapable = "ecn_not_capable",
        /// A fragment that RFC 8200 §4.5 does not allow.
        FragmentMalformed = "fragment_malformed",
        /// Fragments that overlap: all of the packet is refused (RFC 5722).
        FragmentOverlap = "fragment_overlap",
        /// A fragment whose rest did not come in time.
        FragmentTimeout = "fragment_timeout",
        /// Too many fragments wait for their rest.
        FragmentLimit = "fragment_limit",
        /// The kernel refused a frame or packet on the TAP or TUN.
        DeviceRefused = "device_refused",
        /// To a port of the data relay, from somebody that its client has not permitted.
        NotPermitted = "relay_not_permitted",
        /// More than the data relay carries for one client.
        RelayQuota = "relay_quota",
        /// For a client of the rendezvous server: more than are passed on for one source or client.
        RendezvousLimit = "rendezvous_limit",
    }
}

impl DropReason {
    /// The reason that stands for an error of opening a packet.
    #[must_use]
    pub fn of_opening(error: Error) -> Self {
        match error {
            Error::Authentication => Self::AuthFailed,
            Error::TooOld | Error::Duplicate => Self::Replayed,
            Error::Padding => Self::EspPadding,
            _ => Self::EspMalformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_in_order() {
        let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
