//! Where the packets of an inbound security association come from, and when that is news: a peer
//! behind a NAT is not told when its address changes there, so it cannot tell.

use std::net::{IpAddr, SocketAddr};

use super::SaPath;

/// The shortest time between two pieces of news about one security association.
const NEWS_MS: u64 = 250;

/// The outer addresses of a packet that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Port 0 without UDP.
    pub remote: SocketAddr,
    /// The own address it came to, if the system told.
    pub local: Option<IpAddr>,
    pub udp: bool,
}

impl Source {
    /// Where packets along a path come from.
    #[must_use]
    pub(super) fn of(path: &SaPath) -> Self {
        let port = if path.udp { path.remote_port } else { 0 };
        Self {
            remote: (path.remote, port).into(),
            local: path.local,
            udp: path.udp,
        }
    }
}

/// Remembers where packets came from last.
#[derive(Debug)]
pub(super) struct SourceWatch {
    last: Source,
    /// No news before.
    quiet_until_ms: u64,
}

impl SourceWatch {
    #[must_use]
    pub(super) fn new(expected: Source) -> Self {
        Self {
            last: expected,
            quiet_until_ms: 0,
        }
    }

    /// A packet came in that is newer than all before. If it came from elsewhere than the last one,
    /// `tell` is called, which says whether it could; only then is this where they come from.
    pub(super) fn came_from(&mut self, source: Source, now_ms: u64, tell: impl FnOnce() -> bool) {
        if source == self.last || !self.is_news(source) || now_ms < self.quiet_until_ms {
            return;
        }
        self.quiet_until_ms = now_ms + NEWS_MS;
        if tell() {
            self.last = source;
        }
    }

    fn is_news(&mut self, source: Source) -> bool {
        // What nobody knew of the own address is learned.
        self.last.local = self.last.local.or(source.local);
        let here = source
            .local
            .is_none_or(|local| self.last.local == Some(local));
        !here || (source.remote, source.udp) != (self.last.remote, self.last.udp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(remote: &str, local: Option<&str>) -> Source {
        Source {
            remote: remote.parse().unwrap(),
            local: local.map(|local| local.parse().unwrap()),
            udp: true,
        }
    }

    fn is_told(watch: &mut SourceWatch, source: Source, now_ms: u64) -> bool {
        let mut told = false;
        watch.came_from(source, now_ms, || {
            told = true;
            true
        });
        told
    }

    #[test]
    fn what_is_expected_is_no_news() {
        let expected = source("192.0.2.1:10500", None);
        let mut watch = SourceWatch::new(expected);
        assert!(!is_told(&mut watch, expected, 0));
        let here = source("192.0.2.1:10500", Some("192.0.2.9"));
        assert!(!is_told(&mut watch, here, 0), "nobody knew it before");
        assert!(!is_told(&mut watch, expected, 0), "not told this time");
        let elsewhere = source("192.0.2.1:10500", Some("192.0.2.8"));
        assert!(is_told(&mut watch, elsewhere, 0));
        assert!(is_told(&mut watch, here, 1000));
    }

    #[test]
    fn address_port_and_encapsulation_matter() {
        let mut now_ms = 0;
        let mut watch = SourceWatch::new(source("192.0.2.1:10500", None));
        let raw = Source {
            udp: false,
            ..source("192.0.2.2:0", None)
        };
        for source in [
            source("192.0.2.1:10501", None),
            source("192.0.2.2:10501", None),
            source("[2001:db8::2]:10501", None),
            raw,
        ] {
            now_ms += NEWS_MS;
            assert!(is_told(&mut watch, source, now_ms), "{source:?}");
            assert!(!is_told(&mut watch, source, now_ms + NEWS_MS));
        }
    }

    #[test]
    fn a_few_times_a_second_at_most() {
        let mut watch = SourceWatch::new(source("192.0.2.1:1", None));
        let told = (0..10_000u64)
            .filter(|n| {
                is_told(
                    &mut watch,
                    source(&format!("192.0.2.1:{}", n % 60_000 + 2), None),
                    n / 10,
                )
            })
            .count();
        assert_eq!(told, 4);
    }

    #[test]
    fn news_that_nobody_took_is_told_again() {
        let mut watch = SourceWatch::new(source("192.0.2.1:1", None));
        let elsewhere = source("192.0.2.1:2", None);
        watch.came_from(elsewhere, 0, || false);
        assert!(!is_told(&mut watch, elsewhere, NEWS_MS - 1));
        assert!(is_told(&mut watch, elsewhere, NEWS_MS));
    }
}
