//! Values as the target's server reads, orders and prints them, always under a search_path of pg_catalog. The types' own input and output
//! functions do it, and no cast between a type that is not built in and text: its owner may have made one.

use super::Target;
use crate::error::{Error, Result};
use crate::plan::copy_sql::quote_literal;
use crate::plan::key::{KeyColumn, by_oid};
use crate::plan::select::ranking_query;
use crate::plan::translate::{Conversion, Converted, Translated};
use crate::plan::tree::{Ranks, UNREADABLE};
use crate::row::Row;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Values of which each is tried by itself once they were refused together: halving on would cost more where most are to blame.
const FEW: usize = 8;

impl Target {
    /// Ranks the values of each ordering. Those that the type does not have get ranks beyond all others.
    pub fn rank(
        &self,
        values: &HashMap<&str, BTreeSet<&str>>,
        unreadable: &BTreeSet<(String, String)>,
    ) -> Result<Ranks> {
        let mut ranks = Ranks::default();
        for (ordering, values) in values {
            let is_unreadable = |value: &str| unreadable.contains(&((*ordering).to_owned(), value.to_owned()));
            let (beyond, values): (Vec<&str>, Vec<&str>) = values.iter().partition(|value| is_unreadable(value));
            for (value, rank) in values.iter().zip(self.ranks_of(&values, ordering)?) {
                ranks.insert(ordering, (*value).to_owned(), rank);
            }
            for (value, rank) in beyond.into_iter().zip(UNREADABLE..) {
                ranks.insert(ordering, value.to_owned(), rank);
            }
        }
        Ok(ranks)
    }

    /// The rank of each value.
    fn ranks_of(&self, values: &[&str], ordering: &str) -> Result<Vec<i64>> {
        if let Some((type_oid, collation)) = by_oid(ordering) {
            return self.rank_by_oid(type_oid, collation, values);
        }
        let rows = self.query(&ranking_query(values, ordering))?;
        let mut ranks = vec![0; values.len()];
        for row in &rows {
            let at: usize = row.need(0)?;
            let rank = at.checked_sub(1).and_then(|at| ranks.get_mut(at));
            *rank.ok_or_else(|| Error::protocol("an unexpected row"))? = row.need(1)?;
        }
        Ok(ranks)
    }

    /// Turns values of the source into those of the target's types. One that a type cannot read, or that comes back as another one, is None.
    pub fn convert(&self, wanted: BTreeMap<(String, Conversion), BTreeSet<String>>) -> Result<Converted> {
        let mut converted = Converted::new();
        // No values are no SQL.
        for ((type_sql, conversion), values) in wanted.into_iter().filter(|(_, values)| !values.is_empty()) {
            let values: Vec<String> = values.into_iter().collect();
            let mut all = Vec::with_capacity(values.len());
            self.read_what_can_be(&type_sql, &conversion, &values, &mut all)?;
            for (value, read) in values.into_iter().zip(all) {
                converted.insert((type_sql.clone(), conversion.clone(), value), read);
            }
        }
        Ok(converted)
    }

    /// Each of `values`, None where the type refuses it. Where some value is to blame, each half is tried by itself, and each of a few.
    fn read_what_can_be(
        &self,
        type_sql: &str,
        conversion: &Conversion,
        values: &[String],
        all: &mut Vec<Option<Translated>>,
    ) -> Result<()> {
        match self.read_values(type_sql, conversion, values)? {
            Some(read) => all.extend(read),
            None if values.len() <= 1 => all.extend(values.iter().map(|_| None)),
            None => {
                let part = if values.len() > FEW { values.len() / 2 } else { 1 };
                for part in values.chunks(part) {
                    self.read_what_can_be(type_sql, conversion, part, all)?;
                }
            }
        }
        Ok(())
    }

    /// All of `values` at once; None when the type refuses any.
    fn read_values(
        &self,
        type_sql: &str,
        conversion: &Conversion,
        values: &[String],
    ) -> Result<Option<Vec<Option<Translated>>>> {
        if let Some((type_oid, _)) = by_oid(type_sql) {
            let printed = self.print_by_oid(type_oid, values)?;
            let translated = |text: String| Translated {
                text,
                is_near_change: false,
            };
            return Ok(printed.map(|texts| texts.into_iter().map(|text| Some(translated(text))).collect()));
        }
        let read = |row: &Row| {
            Some(Translated {
                text: row.owned(0)?,
                is_near_change: row.is(1),
            })
        };
        let rows = self.query_unless_refused(&reading_sql(type_sql, conversion, values))?;
        Ok(rows.map(|rows| rows.iter().map(read).collect()))
    }

    /// `value` as the key's type reads and prints it; the server's own words otherwise.
    pub fn read_value(&self, value: &str, key: &KeyColumn) -> Result<String> {
        if let Some((type_oid, _)) = by_oid(&key.type_sql) {
            return self.print_one_by_oid(type_oid, value);
        }
        let literal = format!("{}::{}", quote_literal(value), key.type_sql);
        self.value_of(&format!("format('%s', {literal})"))?
            .ok_or_else(|| Error::internal("no value"))
    }

    /// The date of the target's session, as YYYYMMDD.
    pub fn today(&self) -> Result<String> {
        self.value_of("to_char(now(), 'YYYYMMDD')")?
            .ok_or_else(|| Error::internal("no date"))
    }

    /// The day that the input function of date makes of `text`, as YYYYMMDD; None for one that has no such form.
    pub fn day(&self, text: &str) -> Result<Option<String>> {
        let day = format!("{}::date", quote_literal(text));
        self.value_of(&format!(
            "CASE WHEN isfinite({day}) AND {day} BETWEEN '0001-01-01' AND '9999-12-31' THEN to_char({day}, 'YYYYMMDD') END"
        ))
    }

    /// The day before `value`, a day or a time that begins with one, as a value of `key`.
    pub fn day_before(&self, value: &str, key: &KeyColumn) -> Result<Option<String>> {
        let value = quote_literal(value);
        match key.type_name.as_str() {
            "timestamp" | "timestamptz" => {
                self.value_of(&format!("({value}::{0} - interval '1 day')::{0}::text", key.type_sql))
            }
            "date" => self.value_of(&format!("({value}::date - 1)::text")),
            _ => self.value_of(&format!("to_char({value}::date - 1, 'YYYYMMDD')")),
        }
    }

    /// An instant in the form that means the same in every time zone.
    pub fn instant(&self, value: &str) -> Result<String> {
        let value = format!("{}::timestamptz", quote_literal(value));
        let text = self.value_of(&format!(
            "CASE WHEN isfinite({value})
               THEN regexp_replace(({value} AT TIME ZONE 'UTC')::text, '( BC)?$', '+00\\1') ELSE {value}::text END"
        ))?;
        text.ok_or_else(|| Error::internal("no instant"))
    }

    /// The lesser of two values of `key`, in its own order.
    pub fn least(&self, one: &str, other: &str, key: &KeyColumn) -> Result<String> {
        self.extreme(Ordering::Less, one, other, key)
    }

    /// The greater of them.
    pub fn greatest(&self, one: &str, other: &str, key: &KeyColumn) -> Result<String> {
        self.extreme(Ordering::Greater, one, other, key)
    }

    fn extreme(&self, wanted: Ordering, one: &str, other: &str, key: &KeyColumn) -> Result<String> {
        let ranks = self.ranks_of(&[one, other], &key.ordering)?;
        let is_other = ranks[0].cmp(&ranks[1]) == wanted.reverse();
        self.read_value(if is_other { other } else { one }, key)
    }

    /// The value of an expression; the server's own words in the error of one that cannot be computed.
    fn value_of(&self, expression: &str) -> Result<Option<String>> {
        let rows = self.query(&format!("SELECT {expression}"))?;
        Ok(rows.first().and_then(|row| row.owned(0)))
    }
}

/// The query that reads values as `type_sql`: of each its text, or null where it comes back as another one, and whether it is near a change of clocks.
fn reading_sql(type_sql: &str, conversion: &Conversion, values: &[String]) -> String {
    let (read_as, value, is_same) = match conversion {
        Conversion::Cast(from) | Conversion::Zoned(from) => {
            let there_and_back = format!("u.v::{type_sql}::{from} = u.v");
            (from.as_str(), format!("u.v::{type_sql}"), there_and_back)
        }
        _ => (type_sql, "u.v".to_owned(), "true".to_owned()),
    };
    let is_near_change = match conversion {
        Conversion::Zoned(from) => near_change("u.v", from),
        _ => "false".to_owned(),
    };
    let rows = values.iter().enumerate();
    let rows: Vec<String> = rows
        .map(|(at, value)| format!("({at}, {}::{read_as})", quote_literal(value)))
        .collect();
    format!(
        "SELECT CASE WHEN {is_same} THEN format('%s', {value}) END, {is_near_change}
         FROM (VALUES {}) AS u(i, v) ORDER BY u.i",
        rows.join(", ")
    )
}

/// True for a time, with a zone or without, beside which the other kind comes in another order: clocks skip an hour or two less than
/// two hours before it, or come upon one again less than an hour before or after it.
fn near_change(value: &str, type_sql: &str) -> String {
    let other = match type_sql.ends_with("timestamptz") {
        true => "timestamp",
        false => "timestamptz",
    };
    let moved = |step: &str, back: &str| {
        format!("({value} {step})::pg_catalog.{other} {back} IS DISTINCT FROM {value}::pg_catalog.{other}")
    };
    format!(
        "({} OR {})",
        moved("- interval '2 hours'", "+ interval '2 hours'"),
        moved("+ interval '1 hour'", "- interval '1 hour'")
    )
}
