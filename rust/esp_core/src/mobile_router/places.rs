//! What is this host's own, and what leads outside.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, Mutex, PoisonError,
    },
};

use crate::beet::Hit;

/// As the control plane has told it last.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub hits: HashSet<Hit>,
    pub addresses: HashSet<IpAddr>,
    /// Indices of the interfaces that lead outside; few.
    pub outside: Vec<u32>,
}

/// Written by the control plane, read by the thread without waiting.
#[derive(Debug, Default)]
pub struct SharedPlaces {
    version: AtomicU64,
    places: Mutex<Arc<Places>>,
}

impl SharedPlaces {
    pub fn change(&self, change: impl FnOnce(&mut Places)) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut places));
        self.version.fetch_add(1, Ordering::Release);
    }

    #[must_use]
    pub fn now(&self) -> Arc<Places> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.clone()
    }
}

/// The thread's view of them.
pub struct View {
    shared: Arc<SharedPlaces>,
    version: u64,
    places: Arc<Places>,
}

impl View {
    #[must_use]
    pub fn new(shared: Arc<SharedPlaces>) -> Self {
        let version = shared.version.load(Ordering::Acquire);
        let places = shared.now();
        Self {
            shared,
            version,
            places,
        }
    }

    /// As they are now.
    pub fn now(&mut self) -> &Places {
        let version = self.shared.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.places = self.shared.now();
        }
        &self.places
    }
}
