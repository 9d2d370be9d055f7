//! What the code can that is tested, and the role that calls it: with a time zone of its own on either side.

use super::world::{HERE, SOURCE, TARGET, World};
use crate::support::dice::number;
use crate::support::needs::lacks_icu;
use crate::support::{Notices, Pair};
use postgres::{Client, NoTls};
use std::sync::Arc;

/// Time zones of roles.
pub const ZONES: [&str; 5] = [
    "UTC",
    "America/New_York",
    "Asia/Kolkata",
    "Pacific/Kiritimati",
    "Europe/Vienna",
];

/// What the code can that is tested.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// it is that of 0.2.0, or PROPERTY_OLD says so
    pub is_old: bool,
    /// it knows the argument strict
    pub has_strict: bool,
    /// both servers have ICU
    pub has_icu: bool,
}

impl Code {
    /// Asks the servers.
    pub fn of(pair: &Pair) -> Code {
        let strict = "SELECT count(*) FROM pg_proc WHERE proname = 'cgpsync_sync' AND 'strict' = ANY (proargnames)";
        Code {
            is_old: number("PROPERTY_OLD").is_some()
                || pair
                    .target
                    .text("SELECT extversion FROM pg_extension WHERE extname = 'cgpsync'")
                    == "0.2.0",
            has_strict: pair.target.text(strict) != "0",
            has_icu: !lacks_icu(&[&pair.source, &pair.target]),
        }
    }
}

impl World<'_> {
    /// Gives the role its time zone; it has a new session here.
    pub fn set_zone(&mut self, side: usize) {
        let (role, zone) = (self.case.role(), self.zones[side]);
        // On a target elsewhere it is the caller's zone that counts.
        let at = if side == TARGET { HERE } else { side };
        self.must(at, &format!("ALTER ROLE {role} SET timezone = '{zone}'"));
        if side == TARGET {
            for eye in &mut self.eyes {
                let sql = format!("SET timezone = '{zone}'; SET client_min_messages = warning");
                eye.batch_execute(&sql).expect("settings");
            }
            let (client, notices) = connect(self.pair, &role);
            *self.here() = client;
            self.notices = notices;
            self.log.push(format!("\\c - {role}"));
            self.must(HERE, "SET statement_timeout = '120s'");
        }
    }

    /// The role's time zone becomes another one, on either side, or only that of the session.
    pub fn change_zone(&mut self) {
        let zone = self.dice.pick(&ZONES);
        match self.dice.below(4) {
            0 => self.must(HERE, &format!("SET timezone = '{zone}'")),
            1 => {
                self.zones[SOURCE] = zone;
                self.set_zone(SOURCE);
            }
            _ => {
                self.zones[TARGET] = zone;
                self.set_zone(TARGET);
            }
        }
    }
}

/// A session of the role here.
pub fn connect(pair: &Pair, role: &str) -> (Client, Notices) {
    let notices: Notices = Arc::default();
    let sink = notices.clone();
    let mut config = pair.target.config();
    config.user(role);
    config.notice_callback(move |notice| sink.lock().expect("a lock").push(notice.message().to_owned()));
    (config.connect(NoTls).expect("a connection"), notices)
}
