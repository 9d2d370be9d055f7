//! Bounds of a partition whose key's values are numbers.

/// What a column must be for a row to belong here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// the attribute, from 0
    pub attribute: usize,
    /// smallest value
    pub least: i64,
    /// largest
    pub most: i64,
}

/// How a column is compared with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// column >= constant
    AtLeast,
    /// column > constant
    Above,
    /// column <= constant
    AtMost,
    /// column < constant
    Below,
    /// column = constant
    Equal,
}

impl Range {
    /// All values.
    pub fn all(attribute: usize) -> Range {
        Range {
            attribute,
            least: i64::MIN,
            most: i64::MAX,
        }
    }

    /// Those of them for which a comparison holds as well; None where there is none.
    pub fn and(self, comparison: Comparison, value: i64) -> Option<Range> {
        let (least, most) = match comparison {
            Comparison::AtLeast => (value, i64::MAX),
            Comparison::Above => (value.checked_add(1)?, i64::MAX),
            Comparison::AtMost => (i64::MIN, value),
            Comparison::Below => (i64::MIN, value.checked_sub(1)?),
            Comparison::Equal => (value, value),
        };
        let both = Range {
            least: self.least.max(least),
            most: self.most.min(most),
            ..self
        };
        (both.least <= both.most).then_some(both)
    }

    /// True for a value in it.
    pub fn contains(&self, value: i64) -> bool {
        (self.least..=self.most).contains(&value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_narrow_a_range() {
        let range = Range::all(2)
            .and(Comparison::AtLeast, 10)
            .and_then(|range| range.and(Comparison::Below, 20));
        let range = range.expect("some values");
        assert!(range.contains(10) && range.contains(19) && !range.contains(20) && !range.contains(9));
        assert_eq!(range.and(Comparison::Above, 19), None);
        assert_eq!(
            range.and(Comparison::Equal, 12).map(|one| (one.least, one.most)),
            Some((12, 12))
        );
        assert_eq!(Range::all(0).and(Comparison::Below, i64::MIN), None);
    }
}
