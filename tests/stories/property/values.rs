//! What the model says of columns whose values may change: they are named, or refused.

use super::case::Case;
use super::column::Change;
use super::look::{Leaf, Row, time};
use super::model::{Scene, Violation};

impl Scene<'_> {
    /// Values were changed, and no NOTICE names the column.
    pub fn unnamed(&self) -> Option<Violation> {
        let leaves = self.after.shape.leaves.values().filter(|leaf| self.is_done(leaf));
        let mut rows = leaves.flat_map(|leaf| self.source.taken_by(leaf));
        let names = |column: &str| {
            let column = format!("\"{column}\"");
            let may = |notice: &&String| self.is_old || notice.contains("values may change");
            self.said
                .notices
                .iter()
                .filter(may)
                .any(|notice| notice.contains(&column))
        };
        let (m, k) = (names("m") || !self.case.column.may_change(), names("k"));
        let is_rounded = |row: &Row| time(row.point).is_some_and(|k| self.rounded.contains(&k));
        let is_unnamed = |row: &Row| match is_rounded(row) {
            true => !k,
            false => !m && self.source.inexact.contains(&row.id),
        };
        rows.find(is_unnamed).map(|row| Violation {
            kind: match is_rounded(&row) {
                true => "B1 key: values changed without a word",
                false => self.case.column.kinds().unnamed,
            },
            text: format!("the row {}", row.id),
        })
    }

    /// What has to be an error was none.
    pub fn not_refused(&self) -> Option<Violation> {
        let Case { column, .. } = self.case;
        let is_done = |leaf: &Leaf| self.is_done(leaf) && !self.source.taken_by(leaf).is_empty();
        let some_done = self.after.shape.leaves.values().any(is_done);
        let kind = if column.change == Change::Refused && some_done {
            "B2 attributes in another order are taken by their place"
        } else if self.asked.strict && (column.may_change() || !self.rounded.is_empty()) && some_done {
            "B1 strict: values may change, and it is no error"
        } else {
            return None;
        };
        Some(Violation {
            kind,
            text: column.types.join(" "),
        })
    }
}
