//! The one error type. Errors cross processes as rows of cgpsync_run and cgpsync_run_partition and come from the
//! source as well as from this server, so an error is what PostgreSQL says an error is: SQLSTATE, message, DETAIL, HINT.
//! Style: lower-case start, objects in double quotes, no full stop in the message; DETAIL and HINT are sentences.
//! Text of others' making, such as a name on the source, is made tame on its way into any of them, and wherever else it is shown.

use std::fmt;

/// SQLSTATEs the code raises or tests for, by the names of errcodes.txt.
pub mod sqlstate {
    #![allow(missing_docs)] // the names are errcodes.txt's
    pub const CONNECTION_FAILURE: &str = "08006";
    pub const CANNOT_CONNECT: &str = "08001";
    pub const OTHER_SERVER: &str = "08004";
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    pub const NO_PARTITION: &str = "29P04";
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    pub const DATETIME_FIELD_OVERFLOW: &str = "22008";
    pub const INVALID_PARAMETER_VALUE: &str = "22023";
    pub const INVALID_TEXT_REPRESENTATION: &str = "22P02";
    pub const INVALID_BINARY_REPRESENTATION: &str = "22P03";
    pub const BAD_COPY_FILE_FORMAT: &str = "22P04";
    pub const ACTIVE_SQL_TRANSACTION: &str = "25001";
    pub const IDLE_IN_TRANSACTION_TIMEOUT: &str = "25P03";
    pub const READ_ONLY_TRANSACTION: &str = "25006";
    pub const INVALID_SCHEMA_NAME: &str = "3F000";
    pub const INVALID_AUTHORIZATION: &str = "28000";
    pub const INVALID_PASSWORD: &str = "28P01";
    pub const PASSWORD_REQUIRED: &str = "2F003";
    pub const EXTERNAL_ROUTINE: &str = "38000";
    pub const SERIALIZATION_FAILURE: &str = "40001";
    pub const DEADLOCK_DETECTED: &str = "40P01";
    pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
    pub const DEPENDENT_OBJECTS: &str = "2BP01";
    pub const DUPLICATE_OBJECT: &str = "42710";
    pub const UNDEFINED_COLUMN: &str = "42703";
    pub const UNDEFINED_TABLE: &str = "42P01";
    pub const UNDEFINED_OBJECT: &str = "42704";
    pub const DUPLICATE_TABLE: &str = "42P07";
    pub const NOT_NULL_VIOLATION: &str = "23502";
    pub const FOREIGN_KEY_VIOLATION: &str = "23503";
    pub const UNIQUE_VIOLATION: &str = "23505";
    pub const CHECK_VIOLATION: &str = "23514";
    pub const INVALID_OBJECT_DEFINITION: &str = "42P17";
    pub const WRONG_OBJECT_TYPE: &str = "42809";
    pub const DATATYPE_MISMATCH: &str = "42804";
    pub const UNDEFINED_FUNCTION: &str = "42883";
    pub const IDLE_SESSION_TIMEOUT: &str = "57P05";
    pub const DISK_FULL: &str = "53100";
    pub const TOO_MANY_CONNECTIONS: &str = "53300";
    pub const OUT_OF_MEMORY: &str = "53200";
    pub const CONFIGURATION_LIMIT_EXCEEDED: &str = "53400";
    pub const PROGRAM_LIMIT_EXCEEDED: &str = "54000";
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: &str = "55000";
    pub const OBJECT_IN_USE: &str = "55006";
    pub const LOCK_NOT_AVAILABLE: &str = "55P03";
    pub const QUERY_CANCELED: &str = "57014";
    pub const ADMIN_SHUTDOWN: &str = "57P01";
    pub const CRASH_SHUTDOWN: &str = "57P02";
    pub const CANNOT_CONNECT_NOW: &str = "57P03";
    pub const IO_ERROR: &str = "58030";
    pub const SNAPSHOT_TOO_OLD: &str = "72000";
    pub const FDW_INVALID_OPTION_NAME: &str = "HV00D";
    pub const INTERNAL: &str = "XX000";
}

/// Who is at one end of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Side {
    /// the server that is read
    Source,
    /// the server that is written, where that is another one than this
    Target,
    /// this server, or what cgpsync itself has found, of whichever server
    #[default]
    Here,
}

impl Side {
    /// As messages name it.
    pub fn noun(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Target => "target",
            Side::Here => "server",
        }
    }
}

/// What went wrong, in the four fields a PostgreSQL client knows. Never holds a secret: option values don't enter it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub struct Error {
    /// five characters of errcodes.txt
    pub sqlstate: String,
    /// primary message
    pub message: String,
    /// facts
    pub detail: Option<String>,
    /// what to do
    pub hint: Option<String>,
    /// who has reported it: cancels and shutdowns of another server are failures to us
    pub side: Side,
    /// another attempt would go the same way, whatever the SQLSTATE
    pub is_final: bool,
}

/// Result of everything that can fail in the logic; raising happens in `api` and in the worker entry points only.
pub type Result<T> = std::result::Result<T, Error>;

/// Longest piece of the source's text that a message quotes, in bytes.
const LONGEST_QUOTE: usize = 1024;
/// Longest field of an error, in bytes: what a list of thousands of names comes to helps nobody.
const LONGEST_FIELD: usize = 16 * 1024;

/// Text as a message may quote it when somebody else has written it, such as the source: one line without control characters (those of
/// terminals, and those that turn the direction of writing), cut to a kilobyte.
pub fn tame(text: &str) -> String {
    bound(text, LONGEST_QUOTE, is_control)
}

/// A remark as it may be shown: as [`tame`], but with room for a list of names.
pub fn tame_remark(text: &str) -> String {
    bound(text, LONGEST_FIELD, is_control)
}

/// As [`tame`], at any length: of a condition no part may be missing.
pub fn tame_whole(text: &str) -> String {
    bound(text, usize::MAX, is_control)
}

fn bound(text: &str, limit: usize, odd: impl Fn(char) -> bool) -> String {
    let ellipsis = if text.len() > limit { "..." } else { "" };
    let short = text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= limit);
    short.map(|(_, c)| if odd(c) { ' ' } else { c }).collect::<String>() + ellipsis
}

fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// True for what an error's SQLSTATE can be: five digits and capitals, and not of the classes that mean success, warning and no data.
pub fn is_error_code(code: &str) -> bool {
    code.len() == 5
        && code.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        && !["00", "01", "02"].contains(&&code[..2])
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error {
    /// An error with SQLSTATE and message.
    pub fn new(sqlstate: &str, message: impl Into<String>) -> Self {
        Error {
            sqlstate: sqlstate.to_owned(),
            message: tame_remark(&message.into()),
            detail: None,
            hint: None,
            side: Side::Here,
            is_final: false,
        }
    }

    /// The same with DETAIL.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(tame_remark(&detail.into()));
        self
    }

    /// The same with a line more of DETAIL.
    pub fn more_detail(mut self, text: &str) -> Self {
        let text = tame_remark(text);
        self.detail = Some(match self.detail {
            Some(detail) => format!("{detail}\n{text}"),
            None => text,
        });
        self
    }

    /// The same with a line of DETAIL before what is there, at whose end stands the server's CONTEXT.
    pub fn detail_first(mut self, text: &str) -> Self {
        let rest = self.detail.take();
        let first = self.detail(text);
        match rest {
            Some(rest) => Error {
                detail: first.detail.map(|text| format!("{text}\n{rest}")),
                ..first
            },
            None => first,
        }
    }

    /// The same, and not to be tried again.
    pub fn final_one(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// The same with HINT.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(tame_remark(&hint.into()));
        self
    }

    /// The same, its message led by what was being done: `partition "x": …`.
    pub fn within(mut self, what: &str) -> Self {
        self.message = tame_remark(&format!("{what}: {}", self.message));
        self
    }

    /// The same as it may be shown and kept: however much of the source's text has got into it, no field is longer than some pages, and none
    /// has control characters but the line ends of a DETAIL, which are ours or this server's.
    pub fn bounded(mut self) -> Self {
        let lines = |text: String| bound(&text, LONGEST_FIELD, |c| is_control(c) && c != '\n');
        self.detail = self.detail.map(lines);
        self.hint = self.hint.as_deref().map(tame_remark);
        self.message = tame_remark(&self.message);
        self
    }

    /// True when another server has reported it.
    pub fn is_remote(&self) -> bool {
        self.side != Side::Here
    }

    /// True when the user, a timeout or a shutdown here ended the work, as opposed to the work failing.
    pub fn is_cancel(&self) -> bool {
        !self.is_remote()
            && matches!(
                self.sqlstate.as_str(),
                sqlstate::QUERY_CANCELED | sqlstate::ADMIN_SHUTDOWN
            )
    }

    /// True for something that is called by a name which leads nowhere, as where search_path does not have its schema.
    pub fn is_about_a_name(&self) -> bool {
        matches!(
            self.sqlstate.as_str(),
            sqlstate::UNDEFINED_FUNCTION
                | sqlstate::UNDEFINED_TABLE
                | sqlstate::UNDEFINED_OBJECT
                | sqlstate::INVALID_SCHEMA_NAME
        )
    }

    /// A parameter of a call that can't be used.
    pub fn bad_parameter(message: impl Into<String>) -> Self {
        Self::new(sqlstate::INVALID_PARAMETER_VALUE, message)
    }

    /// Something PostgreSQL allows and cgpsync does not do.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
    }

    /// Another server broke the protocol or ended in the middle of it.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(sqlstate::PROTOCOL_VIOLATION, message)
    }

    /// A state the code holds impossible.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(sqlstate::INTERNAL, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_is_one_short_line_that_no_terminal_obeys() {
        assert_eq!(tame("it's \"so\" — ü"), "it's \"so\" — ü");
        assert_eq!(tame("a\x1b[2J\r\nb\u{202e}c\u{9b}d\0"), "a [2J  b c d ");
        let long = tame(&"ü".repeat(10_000));
        assert!(
            long.len() <= LONGEST_QUOTE + 3 && long.ends_with("ü..."),
            "{}",
            long.len()
        );
    }

    #[test]
    fn an_error_is_bounded_whatever_has_got_into_it() {
        let plain = Error::internal("a").detail("b").more_detail("c\nd").hint("e");
        assert_eq!(plain.clone().bounded(), plain);
        assert_eq!(plain.detail.as_deref(), Some("b\nc d"));
        let wild = Error {
            message: "x\x07".repeat(100_000),
            detail: Some("y\x1b".to_owned()),
            hint: Some("z".repeat(100_000)),
            ..Error::internal("")
        };
        let bounded = wild.bounded();
        assert!(bounded.message.len() <= LONGEST_FIELD + 3 && bounded.message.starts_with("x x "));
        assert_eq!(bounded.detail.as_deref(), Some("y "));
        assert!(bounded.hint.is_some_and(|hint| hint.len() <= LONGEST_FIELD + 3));
    }

    #[test]
    fn an_error_has_the_code_of_an_error() {
        for code in ["42P01", "XX000", "57014", "HV00D"] {
            assert!(is_error_code(code), "{code}");
        }
        for code in [
            "", "00000", "01000", "02000", "42p01", "42P0", "42P011", "42P0\n", "4ü01",
        ] {
            assert!(!is_error_code(code), "{code}");
        }
    }
}
