//! A clock for limits that are promises, such as the two seconds after a cancel: it stands still while the machine does.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const TICK: Duration = Duration::from_millis(10);
static TICKS: AtomicU64 = AtomicU64::new(0);

/// A moment. A thread that only sleeps counts: it gets its turn when our processes are slow, and does not when nobody gets one.
#[derive(Debug, Clone, Copy)]
pub struct Clock(u64);

impl Clock {
    /// Now.
    pub fn start() -> Clock {
        static COUNTING: Once = Once::new();
        COUNTING.call_once(|| {
            std::thread::spawn(|| {
                loop {
                    std::thread::sleep(TICK);
                    TICKS.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        Clock(TICKS.load(Ordering::Relaxed))
    }

    /// Time since then in which the machine ran.
    pub fn elapsed(self) -> Duration {
        TICK * u32::try_from(TICKS.load(Ordering::Relaxed) - self.0).expect("less than a year")
    }
}
