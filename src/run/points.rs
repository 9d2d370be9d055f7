//! What end_tm, since and the remembered end_tm mean for a table's key, and which point a run leaves.

use super::WARNING;
use super::request::Request;
use super::state::rows::{LeftBy, Watermark};
use crate::error::{Error, Result, tame};
use crate::plan::end::{KeyKind, Moment, Written, is_word, remembered, stored, written};
use crate::plan::key::KeyColumn;
use crate::source::clock::Clock;
use crate::targets::Target;

/// What is compared with the points of a run, and how they are read.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// who reads its values
    pub at: &'a Target,
    /// the RANGE key
    pub column: &'a KeyColumn,
    /// how its values are written
    pub kind: KeyKind,
}

impl Key<'_> {
    /// What `text` means as a value of the key; `what` names it in the error.
    pub fn literal(&self, what: &str, text: &str) -> Result<String> {
        self.read(what, text, written(what, text, self.kind)?)
    }

    fn read(&self, what: &str, text: &str, written: Written) -> Result<String> {
        let column = self.column;
        let fail = |reason: &str, hint: Option<String>| {
            let error = Error::bad_parameter(format!("{what} \"{text}\" cannot be read as {}", column.type_name));
            error
                .detail(format!("Partition key \"{}\": {reason}.", column.name))
                .hint(match hint {
                    Some(hint) if !self.kind.takes_days() => hint,
                    _ => self.how_to_write().to_owned(),
                })
        };
        let value = match written {
            Written::Value(value) => self.at.read_value(&value, column),
            Written::Day(day) => match self.at.day(&day) {
                Ok(Some(day)) => self.at.read_value(&day, column),
                Ok(None) => return Err(fail("its bounds are days, and this is none", None)),
                Err(error) => Err(error),
            },
        };
        value.map_err(|error| match is_about_text(&error) {
            true => fail(&error.message, error.hint),
            false => error,
        })
    }

    fn how_to_write(&self) -> &'static str {
        match self.kind.takes_days() {
            true => {
                "Write it as the bounds of the partitions are written: a date as 20170201 or 2017-02-01, a month as 201702."
            }
            false => "Write it as the bounds of the partitions are written.",
        }
    }

    /// What the remembered point means: no later than when it was, as far as that is known, or `now` where nobody knows. None when it
    /// has no meaning.
    pub fn remembered(&self, point: &Watermark, now: Option<&Moment>) -> Result<Option<String>> {
        let value = self.meant(&point.text, point.latest(now))?;
        match (value, &point.left_by) {
            (Some(value), LeftBy::Run { first, at_most })
                if self.kind.is_by_bounds() && self.earlier(&value, at_most)? != value =>
            {
                self.earlier(&value, first).map(Some)
            }
            (value, _) => Ok(value),
        }
    }

    /// What a point means that a run has left at `set_at`, if that is known.
    pub fn meant(&self, point: &str, set_at: Option<&Moment>) -> Result<Option<String>> {
        let what = "the remembered end_tm";
        let read = |written| self.read(what, point, written).map_err(edit_it);
        let value = match remembered(what, point, self.kind).map_err(edit_it)? {
            Some(written) => Some(read(written)?),
            None if !self.kind.takes_days() => None,
            None => match set_at.map(|moment| moment.value(self.kind)).transpose()?.flatten() {
                // The day before: `yesterday` was the earliest of the words.
                Some(value) => self.at.day_before(&value, self.column)?,
                None => None,
            },
        };
        match (value, set_at) {
            (Some(value), Some(moment)) => self.earlier(&value, moment).map(Some),
            (value, _) => Ok(value),
        }
    }

    /// The earlier of a value and a moment; the value where the key is no time.
    fn earlier(&self, value: &str, moment: &Moment) -> Result<String> {
        match moment.value(self.kind)? {
            Some(moment) => self.at.least(value, &moment, self.column),
            None => Ok(value.to_owned()),
        }
    }

    /// A value in the form in which it is remembered.
    fn stored(&self, value: &str) -> Result<String> {
        match self.kind {
            KeyKind::Zoned => self.at.instant(value),
            kind => Ok(stored(value, kind)),
        }
    }
}

/// False where it is the connection, the server or somebody's cancel that has kept a text from being read.
fn is_about_text(error: &Error) -> bool {
    !["08", "53", "57"].iter().any(|class| error.sqlstate.starts_with(class))
}

/// What helps where the remembered point itself cannot be read.
fn edit_it(error: Error) -> Error {
    if !is_about_text(&error) {
        return error;
    }
    error.hint(
        "Correct the table's row in sync_table, or DELETE FROM sync_table WHERE table_name = '...', as a superuser or the extension's owner: \
         the table is then synced from its beginning.",
    )
}

/// The points in time of a run, as values of the key.
#[derive(Debug, Default)]
pub struct Points {
    /// end_tm in the form in which it would be remembered
    pub end_tm: Option<String>,
    /// the same as it is compared; None without a key
    pub end: Option<String>,
    /// since
    pub since: Option<String>,
    /// the remembered end_tm
    pub watermark: Option<String>,
    /// what is remembered if every unit is done, in that form; None: nothing can be
    pub point: Option<String>,
    /// the same as it is compared
    pub reached: Option<String>,
}

impl Points {
    /// Reads them. `key` is what they are compared with, `clock` that of the source.
    pub fn read(
        request: &Request,
        at: &Target,
        key: Option<Key<'_>>,
        watermark: Option<&Watermark>,
        clock: &Clock,
    ) -> Result<Points> {
        let Some(key) = key else {
            return label(request, at);
        };
        let since = request.since.as_deref();
        let since = since.map(|since| key.literal("since", since)).transpose()?;
        let watermark = match watermark.filter(|point| point.has_meaning()) {
            Some(point) => key.remembered(point, clock.now.as_ref())?,
            None => None,
        };
        let end = match &request.end_tm {
            Some(text) => key.literal("end_tm", text)?,
            None if key.kind.takes_days() => {
                let today = key.literal("end_tm", &at.today()?)?;
                // Where the table is synced beyond the beginning of this day, that is no step back.
                match watermark.as_deref().filter(|_| since.is_none()) {
                    Some(watermark) => at.greatest(&today, watermark, key.column)?,
                    None => today,
                }
            }
            None => {
                return Err(Error::bad_parameter(format!(
                    "end_tm is needed for a partition key of type {}",
                    key.column.type_name
                ))
                .detail("It can be left out, meaning today, where the key is a date or its bounds read as YYYYMMDD.")
                .hint("Pass the point up to which the table is to be synced."));
            }
        };
        let reached = match (&clock.now, key.kind.is_time()) {
            (_, false) => Some(end.clone()),
            (Some(now), true) => Some(key.earlier(&end, now)?),
            (None, true) => None,
        };
        Ok(Points {
            end_tm: Some(key.stored(&end)?),
            point: reached.as_deref().map(|point| key.stored(point)).transpose()?,
            reached,
            end: Some(end),
            since,
            watermark,
        })
    }

    /// What the user should know. `moves`: the run leaves a point.
    pub fn remarks(&self, clock: &Clock, moves: bool) -> Vec<String> {
        let lag = clock.lag.as_ref();
        let lag = lag.map(|lag| format!("{WARNING}the source is a standby that lags: it {lag}"));
        let end_tm = self.end_tm.as_deref().unwrap_or("");
        let present = match clock.lag {
            None => "the source's present",
            Some(_) => "what the source has replayed",
        };
        let point = match &self.point {
            Some(point) if moves && self.reached != self.end => {
                Some(format!("end_tm {end_tm} lies after {present}: {point} is remembered"))
            }
            None => Some("end_tm will not be remembered: the source does not tell how far it has replayed".to_owned()),
            _ => None,
        };
        lag.into_iter().chain(point).collect()
    }

    /// The values to be compared.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        [&self.end, &self.since, &self.watermark, &self.reached]
            .into_iter()
            .filter_map(|p| p.as_deref())
    }
}

/// Without a key there is nothing to compare: end_tm is a label for sync_table, and a word the day that it means.
fn label(request: &Request, at: &Target) -> Result<Points> {
    let label = match &request.end_tm {
        Some(text) if is_word(text) => at.day(text.trim())?.unwrap_or_default(),
        Some(text) => tame(text).trim().to_owned(),
        None => at.today()?,
    };
    Ok(Points {
        end_tm: Some(label.clone()),
        point: Some(label),
        ..Points::default()
    })
}
