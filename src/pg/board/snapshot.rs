//! What a run's processes tell each other of the snapshot that they share, and of the server that it is of.

use super::Board;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::Ordering;

/// What has become of the snapshot that a run's sessions share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshot {
    /// whoever comes can be in it
    Kept,
    /// all is being read, so it was let go
    LetGo,
    /// somebody waits for another one
    Wanted,
    /// there will be no other one
    Lost,
}

impl Board {
    /// The run's snapshot.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.header().snapshot.load(Ordering::Acquire);
        let all = [Snapshot::Kept, Snapshot::LetGo, Snapshot::Wanted, Snapshot::Lost];
        all.into_iter().find(|one| *one as u32 == now).unwrap_or(Snapshot::Lost)
    }

    /// The coordinator's word on it.
    pub fn set_snapshot(&self, now: Snapshot) {
        self.header().snapshot.store(now as u32, Ordering::Release);
    }

    /// A worker can do nothing in `present`, and wants another one.
    pub fn want_snapshot(&self, present: Snapshot) {
        let (present, wanted) = (present as u32, Snapshot::Wanted as u32);
        // Whoever was first is enough.
        let _ = self
            .header()
            .snapshot
            .compare_exchange(present, wanted, Ordering::AcqRel, Ordering::Acquire);
    }

    /// A session was to reach `server` and has reached another one.
    pub fn note_strayed(&self, server: &str) {
        self.header().strayed.store(number_of(server), Ordering::Release);
    }

    /// Whether one has missed `server` since this was last asked.
    pub fn take_strayed(&self, server: &str) -> bool {
        self.header().strayed.swap(0, Ordering::AcqRel) == number_of(server)
    }

    /// True when all of every unit is being read, or was.
    pub fn is_all_begun(&self) -> bool {
        let has_begun = |unit: &super::Unit| unit.done.load(Ordering::Acquire) != 0 || unit.has_all_taken();
        self.units().iter().all(has_begun)
    }
}

/// The same in every process, and not 0.
fn number_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish() | 1
}
