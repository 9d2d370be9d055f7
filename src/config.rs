//! The old command-line tool's config.json: what it says of the source, and what in it does not mean this database. No server calls.
//! A value never enters a message: the file holds passwords, and what stands in the wrong place may be one.

use crate::error::{Error, Result, sqlstate};
use crate::wire::endpoint::Secret;
use serde_json::Value;
use std::collections::BTreeMap;

/// Keys with a meaning here. The old tool read them whatever their case, and its own numbers as text or as numbers.
const KEYS: [&str; 10] = [
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "destination_host",
    "destination_port",
    "destination_dbname",
    "destination_user",
    "destination_password",
];
/// libpq's.
const DEFAULT_PORT: u16 = 5432;

/// Where a database is, and how to log in.
#[derive(Debug)]
pub struct Login {
    /// host name, address, or directory of the Unix socket
    pub host: String,
    /// TCP port
    pub port: u16,
    /// database
    pub dbname: String,
    /// user
    pub user: String,
    /// password
    pub password: Option<Secret>,
}

/// What the file says.
#[derive(Debug)]
pub struct Config {
    /// the database the old tool read
    pub source: Login,
    /// the database the old tool wrote into
    pub destination: Destination,
    /// keys without a meaning, as written
    pub unknown: Vec<String>,
}

/// Where the old tool wrote; None where the file is silent.
#[derive(Debug, Default)]
pub struct Destination {
    /// host name or address
    pub host: Option<String>,
    /// TCP port, as written
    pub port: Option<String>,
    /// database
    pub dbname: Option<String>,
    /// role
    pub user: Option<String>,
    /// of no use where that is this database, which needs none to write into itself
    pub password: Option<Secret>,
}

/// This database, to compare a destination with.
#[derive(Debug)]
pub struct Here {
    /// current_database()
    pub dbname: String,
    /// current_user
    pub user: String,
    /// setting port
    pub port: String,
}

/// Reads the text of a file. SQLSTATE 22P02 with the place when it is not JSON; PostgreSQL's own message would quote the line.
pub fn parse(text: &str) -> Result<Config> {
    let value = serde_json::from_str(text).map_err(|error| {
        Error::new(sqlstate::INVALID_TEXT_REPRESENTATION, "config is not valid JSON").detail(format!(
            "The first error is at line {}, column {}.",
            error.line(),
            error.column()
        ))
    })?;
    read(&value)
}

/// Takes the file's object apart. SQLSTATE 22023 names the key that is missing or can't be used.
pub fn read(value: &Value) -> Result<Config> {
    let Value::Object(object) = value else {
        return Err(Error::bad_parameter("config must be a JSON object")
            .hint("Pass the content of the old tool's config.json as it is."));
    };
    let mut known: BTreeMap<&str, String> = BTreeMap::new();
    let mut unknown = Vec::new();
    for (name, value) in object {
        let lower = name.to_ascii_lowercase();
        match KEYS.iter().find(|key| **key == lower) {
            Some(key) => {
                if let Some(text) = text(key, value)? {
                    known.insert(key, text);
                }
            }
            None => unknown.push(name.clone()),
        }
    }
    let mut take = |key| known.remove(key);
    let needed = |key: &str, value: Option<String>| {
        value.ok_or_else(|| {
            Error::bad_parameter(format!("config has no \"{key}\""))
                .hint("It needs host, dbname and user; port is 5432 unless it says otherwise.")
        })
    };
    Ok(Config {
        source: Login {
            host: needed("host", take("host"))?,
            port: take("port").map_or(Ok(DEFAULT_PORT), |text| port("port", &text))?,
            dbname: needed("dbname", take("dbname"))?,
            user: needed("user", take("user"))?,
            password: take("password").map(Secret::new),
        },
        destination: Destination {
            host: take("destination_host"),
            port: take("destination_port"),
            dbname: take("destination_dbname"),
            user: take("destination_user"),
            password: take("destination_password").map(Secret::new),
        },
        unknown,
    })
}

/// A value as text; None for null and for blanks. A password may begin or end with a blank, nothing else does.
fn text(key: &str, value: &Value) -> Result<Option<String>> {
    let kind = match value {
        Value::Null => return Ok(None),
        Value::String(text) if text.contains('\0') => {
            return Err(Error::bad_parameter(format!(
                "config key \"{key}\" must be text without a zero byte"
            )));
        }
        Value::String(text) if key.ends_with("password") => return Ok((!text.is_empty()).then(|| text.clone())),
        Value::String(text) => {
            let text = text.trim();
            return Ok((!text.is_empty()).then(|| text.to_owned()));
        }
        Value::Number(number) => return Ok(Some(number.to_string())),
        Value::Bool(_) => "a boolean",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Err(
        Error::bad_parameter(format!("config key \"{key}\" must be a string or a number"))
            .detail(format!("It is {kind}.")),
    )
}

fn port(key: &str, text: &str) -> Result<u16> {
    match text.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(Error::bad_parameter(format!(
            "config key \"{key}\" must be a port number from 1 to 65535"
        ))),
    }
}

impl Destination {
    /// The same, all of it there.
    pub fn login(self) -> Result<Login> {
        let needed = |key: &str, value: Option<String>| {
            value.ok_or_else(|| {
                Error::bad_parameter(format!("config has no \"destination_{key}\""))
                    .hint("Leave out target where the table that is written is of this database.")
            })
        };
        Ok(Login {
            host: needed("host", self.host)?,
            port: self
                .port
                .map_or(Ok(DEFAULT_PORT), |text| port("destination_port", &text))?,
            dbname: needed("dbname", self.dbname)?,
            user: needed("user", self.user)?,
            password: self.password,
        })
    }
}

impl Config {
    /// What the user should know of keys without a meaning.
    pub fn remarks(&self) -> Vec<String> {
        if self.unknown.is_empty() {
            return Vec::new();
        }
        let names: Vec<String> = self.unknown.iter().map(|name| format!("\"{name}\"")).collect();
        vec![format!(
            "config keys that mean nothing to cgpsync: {}",
            names.join(", ")
        )]
    }

    /// The same of each `destination_*` that does not mean `here`. `is_here` tells whether a host is this machine.
    pub fn remarks_on_destination(&self, here: &Here, is_here: impl Fn(&str) -> bool) -> Vec<String> {
        let mut remarks = Vec::new();
        let mut differs = |key: &str, this: String| {
            remarks.push(format!("config key \"destination_{key}\" does not mean {this}"));
        };
        let destination = &self.destination;
        if destination.host.as_deref().is_some_and(|host| !is_here(host)) {
            differs("host", "this server".to_owned());
        }
        // Numbers, as the old tool read them: 05432 is 5432.
        let number = |text: &str| text.parse::<u16>().ok();
        if destination
            .port
            .as_deref()
            .is_some_and(|port| number(port).is_none() || number(port) != number(&here.port))
        {
            differs("port", format!("this server, whose port is {}", here.port));
        }
        if destination.dbname.as_ref().is_some_and(|name| *name != here.dbname) {
            differs("dbname", format!("this database, which is \"{}\"", here.dbname));
        }
        if destination.user.as_ref().is_some_and(|name| *name != here.user) {
            differs("user", format!("the calling role, which is \"{}\"", here.user));
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "host": "10.0.0.1", "user": "gpadmin", "port": 2345, "password": "hun\"ter\\2", "dbname": "dw",
        "destination_host": "10.0.0.2", "destination_user": "loader", "destination_port": "5433",
        "destination_password": "hunter3", "destination_dbname": "copy"
    }"#;

    fn here() -> Here {
        Here {
            dbname: "copy".to_owned(),
            user: "loader".to_owned(),
            port: "5433".to_owned(),
        }
    }

    #[test]
    fn the_old_file_is_read_as_it_is() {
        let config = parse(FILE).expect("a config");
        assert_eq!(
            (
                config.source.host.as_str(),
                config.source.port,
                config.source.dbname.as_str()
            ),
            ("10.0.0.1", 2345, "dw")
        );
        assert_eq!(config.source.user, "gpadmin");
        assert_eq!(config.source.password.as_ref().map(Secret::reveal), Some("hun\"ter\\2"));
        assert_eq!(config.remarks_on_destination(&here(), |_| true), Vec::<String>::new());
    }

    #[test]
    fn keys_in_any_case_and_numbers_as_text_were_fine_for_the_old_tool() {
        let config = parse(r#"{"Host": " h ", "USER": 7, "port": "05432", "dbname": "d", "password": 123456}"#)
            .expect("a config");
        assert_eq!(
            (
                config.source.host.as_str(),
                config.source.user.as_str(),
                config.source.port
            ),
            ("h", "7", 5432)
        );
        assert_eq!(config.source.password.as_ref().map(Secret::reveal), Some("123456"));
    }

    #[test]
    fn a_blank_belongs_to_a_password_and_an_empty_one_is_none() {
        let read = |password: &str| {
            parse(&format!(
                r#"{{"host": "h", "user": "u", "dbname": "d", "password": {password}}}"#
            ))
        };
        let config = read("\" p \"").expect("a config");
        assert_eq!(config.source.password.as_ref().map(Secret::reveal), Some(" p "));
        for none in ["\"\"", "null"] {
            let config = read(none).expect("a config");
            assert!(config.source.password.is_none() && config.source.port == 5432, "{none}");
        }
    }

    #[test]
    fn what_is_missing_or_cannot_be_used_is_named_and_no_value_is_shown() {
        for (json, key) in [
            (r#"{"user": "hunter2", "dbname": "hunter2"}"#, "\"host\""),
            (r#"{"host": "", "user": "hunter2", "dbname": "hunter2"}"#, "\"host\""),
            (r#"{"host": "hunter2", "user": "hunter2"}"#, "\"dbname\""),
            (r#"{"host": "hunter2", "dbname": "hunter2"}"#, "\"user\""),
            (r#"{"password": ["hunter2"]}"#, "\"password\""),
            (r#"{"host": true}"#, "\"host\""),
            (r#"{"destination_host": {"hunter2": 1}}"#, "\"destination_host\""),
            (r#"{"password": "hunter2\u0000"}"#, "\"password\""),
            (
                r#"{"host": "h", "user": "u", "dbname": "d", "port": "hunter2"}"#,
                "\"port\"",
            ),
            (
                r#"{"host": "h", "user": "u", "dbname": "d", "port": 65536}"#,
                "\"port\"",
            ),
            (r#"["hunter2"]"#, "object"),
            (r#""hunter2""#, "object"),
        ] {
            let error = parse(json).expect_err(json);
            assert_eq!(error.sqlstate, sqlstate::INVALID_PARAMETER_VALUE, "{json}");
            assert!(error.message.contains(key), "{json}: {error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn broken_json_is_located_and_not_quoted() {
        let error = parse("{\"password\": \"hunter2\",\n}").expect_err("a trailing comma");
        assert_eq!(error.sqlstate, sqlstate::INVALID_TEXT_REPRESENTATION);
        assert!(
            error.detail.as_deref().is_some_and(|d| d.contains("line 2")),
            "{error:?}"
        );
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn a_destination_elsewhere_is_remarked_key_by_key() {
        let config = parse(FILE).expect("a config");
        let elsewhere = Here {
            dbname: "x".to_owned(),
            user: "y".to_owned(),
            port: "1".to_owned(),
        };
        let remarks = config.remarks_on_destination(&elsewhere, |_| false);
        let keys = ["host", "port", "dbname", "user"];
        assert_eq!(remarks.len(), keys.len());
        for (remark, key) in remarks.iter().zip(keys) {
            assert!(remark.contains(&format!("\"destination_{key}\"")), "{remark}");
            assert!(!remark.contains("hunter"), "{remark}");
        }
    }

    #[test]
    fn nothing_shows_the_password() {
        let config = parse(FILE).expect("a config");
        assert!(!format!("{config:?}").contains("ter"), "{config:?}");
    }

    #[test]
    fn unknown_keys_are_named_once() {
        let config = parse(r#"{"host": "h", "user": "u", "dbname": "d", "jobs": 4, "Dir": "/tmp"}"#).expect("a config");
        let remarks = config.remarks();
        assert_eq!(remarks.len(), 1);
        assert!(
            remarks[0].contains("\"jobs\"") && remarks[0].contains("\"Dir\""),
            "{remarks:?}"
        );
    }
}
