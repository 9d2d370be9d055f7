//! Several servers for one: lists in host, hostaddr and port, which of them a session may be on, and in which order they are tried. As in libpq.

use super::Side;
use crate::error::{Error, Result};

/// One server of the list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// host name, address, or directory of the Unix socket (leading slash)
    pub host: String,
    /// what the server's certificate must be for: the host as it was named, whatever hostaddr says; None: only an address is known
    pub name: Option<String>,
    /// TCP port, or the number in the socket's name
    pub port: u16,
}

impl Host {
    /// True for a Unix socket.
    pub fn is_local(&self) -> bool {
        self.host.starts_with('/')
    }
}

/// What a session must be like: target_session_attrs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attributes {
    /// whatever it is
    #[default]
    Any,
    /// it may write
    ReadWrite,
    /// it may not
    ReadOnly,
    /// not of a standby
    Primary,
    /// of a standby
    Standby,
    /// of a standby if one can be reached, else whatever it is
    PreferStandby,
}

const ATTRIBUTES: [(&str, Attributes); 6] = [
    ("any", Attributes::Any),
    ("read-write", Attributes::ReadWrite),
    ("read-only", Attributes::ReadOnly),
    ("primary", Attributes::Primary),
    ("standby", Attributes::Standby),
    ("prefer-standby", Attributes::PreferStandby),
];

impl Attributes {
    /// Those of that name.
    pub fn parse(value: &str) -> Option<Attributes> {
        ATTRIBUTES
            .iter()
            .find(|(name, _)| *name == value)
            .map(|(_, attributes)| *attributes)
    }

    /// Their name.
    pub fn name(self) -> &'static str {
        ATTRIBUTES
            .iter()
            .find(|(_, attributes)| *attributes == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether a session that `is_read_only`, on a server that `is_standby`, has them. A preference is none that can be missed.
    pub fn accept(self, is_read_only: bool, is_standby: bool) -> bool {
        match self {
            Attributes::Any | Attributes::PreferStandby => true,
            Attributes::ReadWrite => !is_read_only && !is_standby,
            Attributes::ReadOnly => is_read_only || is_standby,
            Attributes::Primary => !is_standby,
            Attributes::Standby => is_standby,
        }
    }

    /// What is asked for, one round after the other.
    pub fn rounds(self) -> &'static [Attributes] {
        match self {
            Attributes::Any => &[Attributes::Any],
            Attributes::ReadWrite => &[Attributes::ReadWrite],
            Attributes::ReadOnly => &[Attributes::ReadOnly],
            Attributes::Primary => &[Attributes::Primary],
            Attributes::Standby => &[Attributes::Standby],
            Attributes::PreferStandby => &[Attributes::Standby, Attributes::Any],
        }
    }
}

/// The ports of a list, each a number or, left out, 5432. None if it is no such list.
pub fn ports(value: &str) -> Option<Vec<u16>> {
    let port = |port: &str| match port.trim() {
        "" => Some(DEFAULT_PORT),
        port => port.parse().ok().filter(|port| *port > 0),
    };
    value.split(',').map(port).collect()
}

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_HOST: &str = "localhost";

/// The servers that the options name, as they were given. SQLSTATE 22023 where their numbers do not agree.
pub fn list(host: Option<&str>, hostaddr: Option<&str>, port: Option<&str>) -> Result<Vec<Host>> {
    let split =
        |list: Option<&str>| list.map(|list| list.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>());
    let (names, addresses) = (split(host), split(hostaddr));
    if let (Some(names), Some(addresses)) = (&names, &addresses)
        && names.len() != addresses.len()
    {
        return Err(disagree("hosts", names.len(), "values of hostaddr", addresses.len()));
    }
    let number = names.as_ref().or(addresses.as_ref()).map_or(1, Vec::len);
    let ports = port.and_then(ports).unwrap_or_else(|| vec![DEFAULT_PORT]);
    if ports.len() != 1 && ports.len() != number {
        return Err(disagree("ports", ports.len(), "hosts", number));
    }
    let host = |at: usize| {
        let item = |list: &Option<Vec<String>>| {
            list.as_ref()
                .and_then(|list| list.get(at))
                .filter(|item| !item.is_empty())
                .cloned()
        };
        let (name, address) = (item(&names), item(&addresses));
        let name = match (name, &address) {
            (None, None) => Some(DEFAULT_HOST.to_owned()),
            (name, _) => name,
        };
        Host {
            host: address.or_else(|| name.clone()).unwrap_or_default(),
            name,
            port: ports.get(at).or(ports.first()).copied().unwrap_or(DEFAULT_PORT),
        }
    };
    Ok((0..number).map(host).collect())
}

fn disagree(some: &str, number: usize, others: &str, other: usize) -> Error {
    Error::bad_parameter(format!("{number} {some} do not go with {other} {others}"))
        .hint("Give as many of each, separated by commas, or a single port for all.")
}

/// The error of a server that was reached, and is not what is asked for.
pub fn other_attributes(wanted: Attributes, is_read_only: bool, is_standby: bool, side: Side) -> String {
    let is = match (is_standby, is_read_only) {
        (true, _) => "is a standby",
        (false, true) => "lets its sessions read only",
        (false, false) => "is a primary that can be written",
    };
    format!(
        "the {} {is}, and target_session_attrs is \"{}\".",
        side.noun(),
        wanted.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hosts: &[Host]) -> Vec<String> {
        hosts
            .iter()
            .map(|one| format!("{}:{}:{}", one.host, one.name.as_deref().unwrap_or("-"), one.port))
            .collect()
    }

    #[test]
    fn lists_go_together_as_in_libpq() {
        let all = |host, address, port| list(host, address, port).map(|hosts| shown(&hosts));
        assert_eq!(all(None, None, None).expect("hosts"), ["localhost:localhost:5432"]);
        assert_eq!(all(Some("a,b"), None, Some("1,2")).expect("hosts"), ["a:a:1", "b:b:2"]);
        assert_eq!(all(Some("a,b"), None, Some("7")).expect("hosts"), ["a:a:7", "b:b:7"]);
        assert_eq!(
            all(Some("a,b"), Some("10.0.0.1,"), Some(",9")).expect("hosts"),
            ["10.0.0.1:a:5432", "b:b:9"]
        );
        assert_eq!(all(None, Some("10.0.0.1"), None).expect("hosts"), ["10.0.0.1:-:5432"]);
        assert!(all(Some("a,b"), None, Some("1,2,3")).is_err_and(|e| e.message == "3 ports do not go with 2 hosts"));
        assert!(all(Some("a,b"), Some("10.0.0.1"), None).is_err());
        assert_eq!(ports("1,x"), None);
        assert_eq!(ports("0"), None);
    }

    #[test]
    fn a_session_is_what_is_asked_for() {
        for (name, attributes) in ATTRIBUTES {
            assert_eq!(Attributes::parse(name), Some(attributes));
            assert_eq!(attributes.name(), name);
        }
        assert_eq!(Attributes::parse("master"), None);
        assert!(Attributes::ReadWrite.accept(false, false) && !Attributes::ReadWrite.accept(true, false));
        assert!(Attributes::Primary.accept(true, false) && !Attributes::Primary.accept(true, true));
        assert!(Attributes::Standby.accept(true, true) && !Attributes::Standby.accept(false, false));
        assert_eq!(
            Attributes::PreferStandby.rounds(),
            [Attributes::Standby, Attributes::Any]
        );
    }
}
