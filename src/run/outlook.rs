//! How far a run is and how long it will take, worked out from what its workers have received.

use crate::pg::board::UnitFigures;
use std::collections::VecDeque;
use std::time::Duration;

/// The present rate is that of these last seconds.
const WINDOW: Duration = Duration::from_secs(5);
/// Share of a unit that counts as copied before it is committed: sizes are estimates, and its end takes time too.
const NEARLY: f64 = 0.98;

/// What is known of a run's course. Times are since copying began.
#[derive(Debug)]
pub struct Outlook {
    /// estimated bytes on the source for each unit to copy; None for one that is skipped
    sizes: Vec<Option<f64>>,
    /// no size is known: nothing can be said of a unit before one is done
    blind: bool,
    /// bytes received at points of time in the window
    samples: VecDeque<(Duration, u64)>,
}

/// What a board publishes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Now {
    /// 0 to 100
    pub percent: f64,
    /// bytes per second in the last few seconds
    pub rate: f64,
    /// seconds left
    pub left: Option<f64>,
}

impl Outlook {
    /// `units`: whether each is to be copied, and its size on the source if known. One of unknown size counts as an average one.
    pub fn new(units: impl Iterator<Item = (bool, Option<i64>)>) -> Outlook {
        let units: Vec<_> = units.collect();
        let known = |(copied, bytes): &(bool, Option<i64>)| bytes.filter(|b| *copied && *b >= 0).map(|b| b as f64);
        let sizes: Vec<f64> = units.iter().filter_map(known).collect();
        let average = match sizes.len() {
            0 => 1.0,
            n => sizes.iter().sum::<f64>() / n as f64,
        };
        // An empty unit is work too: a commit.
        let size = |unit: &(bool, Option<i64>)| unit.0.then(|| known(unit).unwrap_or(average).max(1.0));
        Outlook {
            sizes: units.iter().map(size).collect(),
            blind: sizes.is_empty(),
            samples: VecDeque::new(),
        }
    }

    /// The course at `time`, with the units' figures in their order.
    pub fn at(&mut self, time: Duration, units: &[UnitFigures]) -> Now {
        let bytes: u64 = units.iter().map(|unit| unit.bytes).sum();
        while self.samples.len() > 1
            && self
                .samples
                .front()
                .is_some_and(|(at, _)| time.saturating_sub(*at) > WINDOW)
        {
            self.samples.pop_front();
        }
        self.samples.push_back((time, bytes));
        let rate = self.samples.front().map_or(0.0, |(at, before)| {
            let seconds = time.saturating_sub(*at).as_secs_f64();
            if seconds > 0.0 {
                bytes.saturating_sub(*before) as f64 / seconds
            } else {
                0.0
            }
        });
        let share = self.share(units);
        let elapsed = time.as_secs_f64();
        Now {
            percent: share * 100.0,
            rate,
            left: (share > 0.0 && elapsed > 0.0).then(|| elapsed * (1.0 - share) / share),
        }
    }

    /// Copied part of the work, by size. How many COPY bytes a byte on the source's disk becomes (rows are packed, compressed or wider
    /// there) is learned from the units that are done.
    fn share(&self, units: &[UnitFigures]) -> f64 {
        let work = || {
            self.sizes
                .iter()
                .zip(units)
                .filter_map(|(size, unit)| Some(((*size)?, unit)))
        };
        let total: f64 = work().map(|(size, _)| size).sum();
        if total == 0.0 {
            return 1.0;
        }
        let (size, bytes) = work()
            .filter(|(_, unit)| unit.done)
            .fold((0.0, 0.0), |sum, (size, unit)| {
                (sum.0 + size, sum.1 + unit.bytes as f64)
            });
        let ratio = if size > 0.0 && bytes > 0.0 { bytes / size } else { 1.0 };
        let copied = work().map(|(size, unit)| match unit.done {
            true => size,
            false if self.blind && bytes == 0.0 => 0.0,
            false => (unit.bytes as f64 / ratio).min(size * NEARLY),
        });
        copied.sum::<f64>() / total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(bytes: u64, done: bool) -> UnitFigures {
        UnitFigures { rows: 0, bytes, done }
    }

    #[test]
    fn the_share_is_by_size_and_learns_how_bytes_compare() {
        let mut outlook = Outlook::new([(true, Some(1000)), (true, Some(3000)), (false, Some(9999))].into_iter());
        let begun = outlook.at(Duration::from_secs(1), &[unit(0, false), unit(0, false), unit(0, true)]);
        assert_eq!((begun.percent, begun.left), (0.0, None));
        // Half the COPY bytes of what the disk says: the second unit is at 750 of the 1500 to come.
        let now = outlook.at(
            Duration::from_secs(2),
            &[unit(500, true), unit(750, false), unit(0, true)],
        );
        assert!((now.percent - 62.5).abs() < 1e-9, "{now:?}");
        assert_eq!(now.rate, 1250.0);
        assert!(now.left.is_some_and(|left| (left - 1.2).abs() < 1e-9), "{now:?}");
        let end = outlook.at(
            Duration::from_secs(3),
            &[unit(500, true), unit(1500, true), unit(0, true)],
        );
        assert_eq!((end.percent, end.left), (100.0, Some(0.0)));
    }

    #[test]
    fn a_unit_is_not_at_its_end_before_it_is_committed_and_sizes_may_be_unknown() {
        let mut outlook = Outlook::new([(true, Some(10)), (true, None)].into_iter());
        let now = outlook.at(Duration::from_secs(1), &[unit(5_000_000, false), unit(0, false)]);
        assert!((now.percent - 49.0).abs() < 1e-9, "{now:?}");
        let mut blind = Outlook::new([(true, None), (true, None)].into_iter());
        let now = blind.at(Duration::from_secs(1), &[unit(5_000_000, false), unit(0, false)]);
        assert_eq!((now.percent, now.left), (0.0, None));
        let now = blind.at(Duration::from_secs(2), &[unit(8_000_000, true), unit(2_000_000, false)]);
        assert!((now.percent - 62.5).abs() < 1e-9, "{now:?}");
        assert_eq!(Outlook::new(std::iter::empty()).at(Duration::ZERO, &[]).percent, 100.0);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut outlook = Outlook::new([(true, Some(1_000_000))].into_iter());
        for second in 1..=10 {
            outlook.at(Duration::from_secs(second), &[unit(second * 100, false)]);
        }
        let now = outlook.at(Duration::from_secs(20), &[unit(1000, false)]);
        assert_eq!(now.rate, 0.0, "nothing came for longer than the window");
    }
}
