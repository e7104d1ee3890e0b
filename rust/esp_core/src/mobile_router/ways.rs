//! The table of ways, and which way a packet that was sent had come.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    ops::Bound,
};

use crate::spinat::{Counts, Flow, Passage, Refused, Spinat, Target, WayId};

/// Ways of one correspondent and SPI that are looked at, when one is sought by what was sent.
const MOST_ALIKE: usize = 64;

/// Where packets of a client go, in the order in which ways are sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    destination: SocketAddr,
    spi: u32,
    id: WayId,
}

impl Sent {
    const FIRST: WayId = WayId {
        place: 0,
        generation: 0,
    };
    const LAST: WayId = WayId {
        place: u32::MAX,
        generation: u32::MAX,
    };

    fn new(target: &Target, id: WayId) -> Self {
        Self {
            destination: target.destination,
            spi: target.spi,
            id,
        }
    }
}

/// Whose packets go to a client, in the order in which they are sought.
type Received = (IpAddr, IpAddr, WayId);

fn received(target: &Target, id: WayId) -> Received {
    (target.destination.ip(), target.source.ip(), id)
}

/// The ways of a router.
pub struct Ways {
    pub spinat: Spinat,
    /// Of ways outward: so that the client can be told of what happened to its packets further on.
    sent: BTreeSet<Sent>,
    /// Of ways inward: they tell the ports that a client uses, wherever its packets pass.
    received: BTreeSet<Received>,
}

impl Ways {
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            spinat: Spinat::new(capacity),
            sent: BTreeSet::new(),
            received: BTreeSet::new(),
        }
    }

    /// Enter a way.
    pub fn insert(&mut self, flow: Flow, target: &Target, now_s: u32) -> Result<WayId, Refused> {
        let id = self.spinat.insert(flow, target, now_s)?;
        if matches!(flow, Flow::Client { .. }) {
            self.sent.insert(Sent::new(target, id));
        } else {
            self.received.insert(received(target, id));
        }
        Ok(id)
    }

    /// Change what packets become; false if there is no such way.
    pub fn aim(&mut self, id: WayId, target: &Target) -> Result<bool, Refused> {
        let Some(before) = self.spinat.passage(id) else {
            return Ok(false);
        };
        self.spinat.aim(id, target)?;
        if self.sent.remove(&Sent::new(&before.target, id)) {
            self.sent.insert(Sent::new(target, id));
        } else {
            self.received.remove(&received(&before.target, id));
            self.received.insert(received(target, id));
        }
        Ok(true)
    }

    /// Forget a way; what it carried.
    pub fn remove(&mut self, id: WayId) -> Option<Counts> {
        let before = self.spinat.passage(id)?;
        self.sent.remove(&Sent::new(&before.target, id));
        self.received.remove(&received(&before.target, id));
        self.spinat.remove(id)
    }

    /// The way of a packet that was sent outward; ports are 0 if it was not in UDP. Of several that
    /// it may have come, the one that was used last.
    #[must_use]
    pub fn of_sent(
        &self,
        source: SocketAddr,
        destination: SocketAddr,
        spi: u32,
    ) -> Option<Passage> {
        let place = |id| Sent {
            destination: plain(destination),
            spi,
            id,
        };
        let range = (
            Bound::Included(place(Sent::FIRST)),
            Bound::Included(place(Sent::LAST)),
        );
        let alike = self.sent.range(range).take(MOST_ALIKE);
        let candidates = alike.filter_map(|sent| {
            let passage = self.spinat.passage(sent.id)?;
            let used = self.spinat.counts(sent.id)?;
            (passage.target.source == plain(source)).then_some((used.used_s, passage))
        });
        let (_, mut passage) = candidates.max_by_key(|(used_s, _)| *used_s)?;
        passage.came_ports = passage.came_ports.or_else(|| self.ports_of(&passage.flow));
        Some(passage)
    }

    /// Whether packets of clients go to an address.
    #[must_use]
    pub fn leads_to(&self, address: IpAddr) -> bool {
        let place = |port, id| Sent {
            destination: SocketAddr::new(address, port),
            spi: if port == 0 { 0 } else { u32::MAX },
            id,
        };
        let range = place(0, Sent::FIRST)..=place(u16::MAX, Sent::LAST);
        self.sent.range(range).next().is_some()
    }

    /// What ports a client uses with a correspondent, by what is sent to it: none if that is plain.
    fn ports_of(&self, flow: &Flow) -> Option<(u16, u16)> {
        let Flow::Client {
            client,
            correspondent,
            ..
        } = *flow
        else {
            return None;
        };
        let range = (client, correspondent, Sent::FIRST)..=(client, correspondent, Sent::LAST);
        let (_, _, id) = self.received.range(range).next()?;
        let target = self.spinat.passage(*id)?.target;
        let ports = (target.destination.port(), target.source.port());
        (ports.0 != 0).then_some(ports)
    }
}

/// Without scope and flow label.
fn plain(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(IpAddr::to_canonical(&end.ip()), end.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(source: &str, destination: &str, spi: u32) -> Target {
        Target {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            spi,
        }
    }

    fn flow(client: &str, correspondent: &str) -> Flow {
        Flow::Client {
            spi: 7,
            client: client.parse().unwrap(),
            correspondent: correspondent.parse().unwrap(),
        }
    }

    #[test]
    fn a_sent_packet_leads_back_wherever_its_way_was_aimed() {
        let mut ways = Ways::new(10);
        let old = target("192.0.2.1:0", "198.51.100.7:0", 7);
        let one = flow("10.0.0.10", "198.51.100.7");
        let id = ways.insert(one, &old, 1).unwrap();
        ways.insert(
            Flow::Public { spi: 9 },
            &target("198.51.100.7:0", "10.0.0.10:0", 3),
            1,
        )
        .unwrap();
        let found = |ways: &Ways, target: &Target| {
            ways.of_sent(target.source, target.destination, target.spi)
                .map(|passage| passage.flow)
        };
        assert_eq!(found(&ways, &old), Some(one));
        assert_eq!(
            found(&ways, &target("192.0.2.2:0", "198.51.100.7:0", 7)),
            None
        );
        assert_eq!(
            found(&ways, &target("192.0.2.1:0", "198.51.100.7:0", 8)),
            None
        );

        let new = target("[2001:db8::1]:10500", "[2001:db8::7]:10500", 7);
        assert_eq!(ways.aim(id, &new), Ok(true));
        assert_eq!((found(&ways, &old), found(&ways, &new)), (None, Some(one)));

        assert!(ways.leads_to(new.destination.ip()));
        assert!(!ways.leads_to(new.source.ip()) && !ways.leads_to(old.destination.ip()));
        assert!(ways.remove(id).is_some());
        assert!(!ways.leads_to(new.destination.ip()));
        assert_eq!((found(&ways, &new), ways.sent.len()), (None, 0));
        assert_eq!(ways.aim(id, &old), Ok(false));
    }

    #[test]
    fn the_ports_of_a_client_are_known_by_its_other_direction() {
        let mut ways = Ways::new(10);
        let out = target("[2001:db8::1]:0", "[2001:db8::7]:0", 7);
        ways.insert(flow("10.0.0.10", "198.51.100.7"), &out, 1)
            .unwrap();
        let ports = |ways: &Ways| {
            let found = ways.of_sent(out.source, out.destination, out.spi);
            found.unwrap().came_ports
        };
        assert_eq!(ports(&ways), None);
        let mut inward = target("198.51.100.7:10500", "10.0.0.10:10501", 3);
        let id = ways.insert(Flow::Public { spi: 9 }, &inward, 1).unwrap();
        assert_eq!(ports(&ways), Some((10501, 10500)));
        inward.destination.set_port(10777);
        ways.aim(id, &inward).unwrap();
        assert_eq!(ports(&ways), Some((10777, 10500)));
        ways.remove(id);
        assert_eq!((ports(&ways), ways.received.len()), (None, 0));
    }

    #[test]
    fn a_refused_aim_changes_nothing() {
        let mut ways = Ways::new(10);
        let old = target("192.0.2.1:0", "198.51.100.7:0", 7);
        let one = flow("10.0.0.10", "198.51.100.7");
        let id = ways.insert(one, &old, 1).unwrap();
        let wrong = target("192.0.2.1:0", "[2001:db8::7]:0", 7);
        assert_eq!(ways.aim(id, &wrong), Err(Refused::Invalid));
        let found = ways.of_sent(old.source, old.destination, 7);
        assert_eq!(found.map(|passage| passage.flow), Some(one));
    }
}
