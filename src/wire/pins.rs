//! The settings of sessions elsewhere, so that text means the same on both sides and nothing ends a transaction but us.
//!
//! They are set within each transaction, for it alone, and looked at before anything is read. A pooler gives a transaction a connection that
//! others have used and will use: what was set before the transaction may have met another one, and what stayed after it would be the next
//! client's.

use crate::error::{Error, Result, Side};
use crate::plan::copy_sql::quote_literal;

/// The process that answers, as an expression.
pub const BACKEND: &str = "CAST(pg_catalog.pg_backend_pid() AS text)";

/// How a setting's value is looked at once it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// it changes what is read: it must be shown as it was set
    Same,
    /// the same, and more may follow
    Begins,
    /// it only ends or hurries a session
    Never,
}

/// Name, value and look of each. On Greenplum 6 and later the first SET of a transaction may start the processes of the segments, and they
/// would keep for the session what its coordinator hands to new processes (gpdb, cdbgang.c, makeOptions): so extra_float_digits, which it
/// does not hand over, comes before all others.
pub const PINNED: &[(&str, &str, Look)] = &[
    ("extra_float_digits", "3", Look::Same),
    ("DateStyle", "ISO", Look::Begins),
    ("IntervalStyle", "postgres", Look::Same),
    ("standard_conforming_strings", "on", Look::Same),
    ("lc_monetary", "C", Look::Same),
    ("bytea_output", "hex", Look::Same),
    ("quote_all_identifiers", "off", Look::Same),
    ("statement_timeout", "0", Look::Never),
    ("lock_timeout", "0", Look::Never),
    ("idle_in_transaction_session_timeout", "0", Look::Never),
    ("transaction_timeout", "0", Look::Never),
    // openGauss: ends idle sessions, of which the one that holds the snapshot is one.
    ("session_timeout", "0", Look::Never),
    // Compiling a statement about catalogs takes longer than running it.
    ("jit", "off", Look::Never),
    // Off, a table has no rows of those that inherit, as partitions do before PostgreSQL 10.
    ("sql_inheritance", "on", Look::Same),
    // A policy that hides rows would make the copy silently partial: refuse instead, as pg_dump does.
    ("row_security", "off", Look::Same),
];

/// Settings of a session that holds something over there: keepalives of that end, in seconds, and no end for being idle.
pub const IN_TOUCH: &[(&str, &str)] = &[
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "30000"),
    ("idle_session_timeout", "0"),
];
/// The same while a statement is at work, which keepalives do not end: how often the server looks, since 14. Not every system lets it.
pub const LOOK_FOR_CLIENT: &[(&str, &str)] = &[("client_connection_check_interval", "10s")];

/// Settings of one server's sessions.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    settings: Vec<(&'static str, String, Look)>,
    /// which server answers, as an expression
    identity: String,
}

impl Pins {
    /// Those that `exists` tells of, on a server of `version`; for text in `encoding`, and times of `timezone`. `identity` is an expression
    /// for which server answers.
    pub fn new(
        version: u32,
        exists: impl Fn(&str) -> bool,
        identity: Option<String>,
        encoding: &str,
        timezone: &str,
    ) -> Pins {
        let identity = identity.unwrap_or_else(|| "CAST(NULL AS text)".to_owned());
        let there = PINNED.iter().filter(|(name, ..)| exists(name));
        let mut pins: Vec<(&str, String, Look)> = there
            .map(|&(name, value, look)| {
                // Before 9.0 the most digits there are is 2 (guc.c).
                let old_digits = name == "extra_float_digits" && version < 90_000;
                (name, if old_digits { "2" } else { value }.to_owned(), look)
            })
            .collect();
        pins.extend([
            ("client_encoding", encoding.to_owned(), Look::Same),
            ("TimeZone", timezone.to_owned(), Look::Same),
            ("search_path", "pg_catalog".to_owned(), Look::Same),
        ]);
        Pins {
            settings: pins,
            identity,
        }
    }

    /// Another value for one of them.
    pub fn set(&mut self, name: &str, value: &str) {
        for (_, pinned, _) in self.settings.iter_mut().filter(|(n, ..)| *n == name) {
            value.clone_into(pinned);
        }
    }

    /// Statements that set them: `set` is SET or SET LOCAL.
    pub fn sql(&self, set: &str) -> String {
        set_all(
            set,
            self.settings.iter().map(|(name, value, _)| (*name, value.as_str())),
        )
    }

    fn looked_at(&self) -> impl Iterator<Item = &(&'static str, String, Look)> {
        self.settings.iter().filter(|(.., look)| *look != Look::Never)
    }

    /// A query for the process and the settings that [`check`](Self::check) looks at.
    pub fn question(&self) -> String {
        let shown: Vec<String> = self
            .looked_at()
            .map(|(name, ..)| format!(", CAST(pg_catalog.current_setting('{name}') AS text)"))
            .collect();
        let identity = &self.identity;
        format!("SELECT {BACKEND}, {identity}{}", shown.concat())
    }

    /// The process that has answered, and its server. An error unless the settings are what they were set to.
    pub fn check(&self, answer: &[Option<String>], server: &str) -> Result<(String, Option<String>)> {
        let [Some(backend), identity, shown @ ..] = answer else {
            return Err(Error::protocol("no answer"));
        };
        for ((name, value, look), shown) in self.looked_at().zip(shown) {
            let shown = shown.as_deref().unwrap_or_default().replace('"', "");
            let is_so = match look {
                Look::Begins => shown.starts_with(value.as_str()),
                _ => shown.eq_ignore_ascii_case(value),
            };
            if !is_so {
                let detail =
                    format!("Setting {name} was set to \"{value}\" for the transaction, and then was another one.");
                return Err(not_one_session(server).detail(detail));
            }
        }
        Ok((backend.clone(), identity.clone()))
    }
}

/// Statements that set `settings`: `set` is SET or SET LOCAL.
pub fn set_all<'a>(set: &str, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let one = |(name, value)| format!("{set} {name} = {}", quote_literal(value));
    let sql: Vec<String> = settings.into_iter().map(one).collect();
    sql.join("; ")
}

/// What answers is not one session for as long as a transaction lasts.
pub fn not_one_session(server: &str) -> Error {
    Error::unsupported(format!("server \"{server}\" does not keep a transaction in one session"))
        .hint("Connect to the server itself, or through a pooler that gives a transaction one connection, as PgBouncer with pool_mode = transaction or session.")
}

/// The same where it says so itself.
pub fn no_transactions(refusal: Error) -> Error {
    let pooler = not_one_session("");
    Error {
        sqlstate: pooler.sqlstate,
        hint: pooler.hint,
        side: Side::Here,
        ..refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(pins: &Pins) -> Vec<Option<String>> {
        let shown = pins.looked_at().map(|(name, value, _)| match *name {
            "DateStyle" => "ISO, DMY".to_owned(),
            "search_path" => "\"pg_catalog\"".to_owned(),
            _ => value.clone(),
        });
        let who = [Some("42".to_owned()), None];
        who.into_iter().chain(shown.map(Some)).collect()
    }

    #[test]
    fn everything_is_local_and_what_new_segments_do_not_inherit_is_first() {
        let pins = Pins::new(90_426, |name| name != "jit", None, "UTF8", "UTC");
        let sql = pins.sql("SET LOCAL");
        assert!(sql.starts_with("SET LOCAL extra_float_digits = '3'; "));
        assert!(sql.split("; ").all(|statement| statement.starts_with("SET LOCAL ")));
        assert!(!sql.contains("jit"));
        assert!(
            Pins::new(80_323, |_| true, None, "UTF8", "UTC")
                .sql("SET LOCAL")
                .contains("extra_float_digits = '2'")
        );
    }

    #[test]
    fn a_setting_that_did_not_hold_is_an_error_that_names_it() {
        let mut pins = Pins::new(150_000, |_| true, None, "UTF8", "UTC");
        pins.set("client_encoding", "SQL_ASCII");
        let right = answer(&pins);
        assert_eq!(pins.check(&right, "s").expect("the process").0, "42");
        for (at, (name, ..)) in pins.looked_at().enumerate() {
            let mut wrong = right.clone();
            wrong[at + 2] = Some("SQL, DMY".to_owned());
            let error = pins.check(&wrong, "s").expect_err("another value");
            assert_eq!(error.sqlstate, crate::error::sqlstate::FEATURE_NOT_SUPPORTED);
            assert!(error.detail.is_some_and(|detail| detail.contains(name)), "{name}");
        }
    }
}
