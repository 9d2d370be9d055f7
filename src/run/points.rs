//! What end_tm, since and the remembered end_tm mean for a table's key.

use super::Request;
use crate::error::{Error, Result};
use crate::plan::end::{KeyKind, end_literal};
use crate::plan::tree::KeyColumn;
use crate::target::catalog;

/// What `text` means as a value of the key; `what` names it in the error.
pub fn literal(what: &str, text: &str, key: &KeyColumn, kind: KeyKind) -> Result<String> {
    catalog::read_value(&end_literal(text, kind)?, key).map_err(|e| {
        let error = Error::bad_parameter(format!("{what} \"{text}\" cannot be read as {}", key.type_name));
        error.detail(format!("Partition key \"{}\": {}.", key.name, e.message))
    })
}

/// The points in time of a run, as literals of the key's type.
#[derive(Debug, Default)]
pub struct Points {
    /// end_tm as sync_table will hold it
    pub end_tm: Option<String>,
    /// what it is compared as; None without a key
    pub end: Option<String>,
    /// since
    pub since: Option<String>,
    /// the remembered end_tm
    pub watermark: Option<String>,
}

impl Points {
    /// Reads them. `key` is what they are compared with, and how.
    pub fn read(request: &Request, key: Option<(&KeyColumn, KeyKind)>, watermark: Option<&str>) -> Result<Points> {
        let Some((key, kind)) = key else {
            // Nothing to compare: end_tm is a label for sync_table.
            return Ok(Points {
                end_tm: Some(request.end_tm.clone().unwrap_or_else(|| request.today.clone())),
                ..Points::default()
            });
        };
        let end_tm = match &request.end_tm {
            Some(text) => text.trim().to_owned(),
            None if kind.has_today() => request.today.clone(),
            None => {
                return Err(Error::bad_parameter(format!(
                    "end_tm is needed for a partition key of type {}",
                    key.type_name
                ))
                .detail("It can be left out, meaning today, where the key is a date or its bounds read as YYYYMMDD.")
                .hint("Pass the point up to which the table is to be synced."));
            }
        };
        let literal = |what: &str, text: &str| literal(what, text, key, kind);
        let end = literal("end_tm", &end_tm)?;
        // What is remembered must mean the same tomorrow and elsewhere, which `yesterday` and 03/04/2017 don't.
        let is_plain = matches!(end_tm.len(), 4 | 6 | 8) && end_tm.bytes().all(|b| b.is_ascii_digit());
        Ok(Points {
            end_tm: Some(if is_plain { end_tm } else { end.clone() }),
            end: Some(end),
            since: request.since.as_deref().map(|s| literal("since", s)).transpose()?,
            watermark: watermark.map(|w| literal("the remembered end_tm", w)).transpose()?,
        })
    }

    /// The values to be compared.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        [&self.end, &self.since, &self.watermark]
            .into_iter()
            .filter_map(|p| p.as_deref())
    }
}
