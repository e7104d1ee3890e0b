//! A second table of the ways, nearer to the network devices, for what can be done there.
//!
//! Whoever owns the `Spinat` tells this of each change after it was made there. What is not done
//! here comes to the general path as if there was no fast one, so that nothing here ever fails for
//! the caller: a way that does not fit in is only slower.

use crate::spinat::{Counts, Flow, Target, WayId};

/// Where the packets of a way leave the router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// The device; 0 if that is not known, and then the way is left to the general path.
    pub ifindex: u32,
    /// The longest IP packet that is sent here, in octets; 0 for what the device takes.
    pub mtu: u32,
}

/// Rewrites packets of ways before the general path sees them.
pub trait FastPath: Send {
    /// Take in a way that the table has just taken.
    fn insert(&mut self, id: WayId, flow: Flow, target: &Target, exit: Exit);

    /// A way has a new target, or leaves elsewhere.
    fn aim(&mut self, id: WayId, target: &Target, exit: Exit);

    /// Forget a way; what it carried here.
    fn remove(&mut self, id: WayId) -> Counts;

    /// What a way has carried here; `used_s` is of CLOCK_MONOTONIC, 0 if nothing came.
    fn counts(&self, id: WayId) -> Counts;

    /// From now on these devices lead outside, and no others. Those that lead inside are where
    /// inward ways leave.
    fn outside(&mut self, ifindexes: &[u32]);

    /// Why some device has no fast path, if so: one sentence about the first such.
    fn trouble(&self) -> Option<String>;

    /// Name and count, for the router's statistics.
    fn statistics(&self) -> Vec<(&'static str, u64)>;
}
