//! A session on another server: asks, in transactions whose settings are known, and can be stopped.

use super::cancel::{CANCEL_TIMEOUT, Canceller};
use super::connect::connect;
use super::endpoint::Endpoint;
use super::frames::{Copy, Data};
use super::link::Link;
use super::pins::{self, BACKEND, Pins};
use super::query::Running;
use super::refusals::{listens_alike, no_transaction, other_server};
use super::stream::Stream;
use crate::catalog::Database;
use crate::catalog::server::Server;
use crate::error::{Error, Result, Side, tame};
use crate::pg::{report, wait};
use crate::plan::copy_sql::quote_literal;
use crate::row::Row;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Most pieces of a COPY that are let in to see whether it has ended.
const MOST_LEFT: usize = 200;

/// Ends a question.
const UNDO: &str = "ROLLBACK TO SAVEPOINT question; RELEASE SAVEPOINT question";

/// A session on another server.
pub struct Session {
    pub(super) link: Link,
    /// which server this is
    pub(super) described: Server,
    /// what its settings are within a transaction
    pub(super) pins: Pins,
    /// the process over there that the transaction was begun in
    pub(super) backend: Option<String>,
    /// the server that it must be; from the first transaction on the one that it was
    expected: Option<String>,
    /// the statement under way that `poll` asks for
    running: Option<Running>,
    /// its settings, those of transactions that write among them, are the session's own
    pub(super) keeps_settings: bool,
    /// names of the statements that it has planned, by ours
    pub(super) prepared: HashMap<&'static str, String>,
}

impl Database for Session {
    fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.link.ask(sql, None)
    }

    fn server(&self) -> &Server {
        &self.described
    }
}

impl Session {
    /// Connects and finds out which server this is. `name` becomes application_name. Transactions are pinned to text in `encoding` and
    /// times of `timezone` ([`begin`](Self::begin)). Nothing is set outside of them, as the connection may be a pooler's.
    pub fn open(endpoint: &Endpoint, name: &str, encoding: &str, timezone: &str) -> Result<Session> {
        let session = Session {
            link: connect(endpoint, name)?,
            described: Server::default(),
            pins: Pins::default(),
            backend: None,
            expected: None,
            running: None,
            keeps_settings: false,
            prepared: HashMap::new(),
        };
        let (session, ()) = session.and_then(|session| {
            session.find_out()?;
            session.described.shared_snapshot = endpoint.shared_snapshot;
            session.link.has_segments = session.described.has_segments();
            session.link.may_queue = session.link.has_segments;
            session.pins = Pins::new(
                session.described.version,
                |name| session.described.has_setting(name),
                session.described.identity_sql(),
                encoding,
                timezone,
            );
            Ok(())
        })?;
        Ok(session)
    }

    /// The same in the caller's own backend, which is told what there is to tell.
    pub fn open_here(endpoint: &Endpoint, name: &str, encoding: &str, timezone: &str) -> Result<Session> {
        let session = Session::open(endpoint, name, encoding, timezone)?;
        if let Some(warning) = session.warning() {
            report::warning(warning);
        }
        Ok(session)
    }

    /// Begins a transaction that changes nothing, with settings of its own ([`pins`]): what it reads does not change while it is open. With
    /// `snapshot` it sees what the exporting one sees.
    pub fn begin(&mut self, snapshot: Option<&str>) -> Result<()> {
        // Before 9.1 SERIALIZABLE is what REPEATABLE READ is since; Greenplum 5 refuses the newer name (variable.c).
        let level = match self.described.version {
            90_100.. => "REPEATABLE READ",
            _ => "SERIALIZABLE",
        };
        self.query_in_turn(&format!("BEGIN ISOLATION LEVEL {level} READ ONLY"))
            .map_err(no_transaction)?;
        if let Some(snapshot) = snapshot {
            self.take_over(snapshot)?;
        }
        self.pin(snapshot.is_some())
    }

    /// Sets the transaction's settings and looks at them, and at who answers.
    pub(super) fn pin(&mut self, is_in_snapshot: bool) -> Result<()> {
        if !self.keeps_settings {
            self.query_promptly(&self.pins.sql("SET LOCAL"))?;
        }
        // In a message of its own, which something that shares out statements would send elsewhere.
        let rows = self.query_in_turn(&self.pins.question())?;
        let answer = rows.first().ok_or_else(|| Error::protocol("no answer"))?;
        let (backend, identity) = self.pins.check(answer.texts(), self.name())?;
        self.backend = Some(backend);
        match (identity, &self.expected) {
            (Some(identity), None) => self.expected = Some(identity),
            (Some(identity), Some(expected)) if identity != *expected => {
                // Without a snapshot to be in, a server that was restarted is as good as before.
                if is_in_snapshot || !listens_alike(expected, &identity) {
                    return Err(other_server(self.name(), expected, &identity));
                }
                self.expected = Some(identity);
            }
            _ => {}
        }
        Ok(())
    }

    /// Which server its transactions are on: where it listens, and since when. None before the first one, and where it does not tell.
    pub fn identity(&self) -> Option<&str> {
        self.expected.as_deref()
    }

    /// The process over there that its transaction is in.
    pub fn backend(&self) -> Option<&str> {
        self.backend.as_deref()
    }

    /// The transactions that begin from here on must be on the server of this [`identity`](Self::identity).
    pub fn expect(&mut self, identity: Option<String>) {
        self.expected = identity;
    }

    /// The address that it has reached; None for a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.link.address.as_socket()
    }

    /// Waits for a lock over there are limited to so many milliseconds, 0 for none, in the transactions that begin from here on. Servers before
    /// 9.3 have no such limit.
    pub fn limit_lock_waits(&mut self, milliseconds: i32) {
        self.pins.set("lock_timeout", &milliseconds.to_string());
    }

    /// Whether it answers within `limit`.
    pub fn answers(&mut self, limit: Duration) -> bool {
        self.link.ask("SELECT 1", Some(Instant::now() + limit)).is_ok()
    }

    /// Ends the transaction, and tells whether it has. A session that is at work, or does not answer at once, is of no use any more.
    pub fn roll_back(&mut self) -> bool {
        !self.is_at_work() && self.link.ask("ROLLBACK", Some(Instant::now() + CANCEL_TIMEOUT)).is_ok()
    }

    /// Runs `f`, which asks within the transaction, and leaves no lock of that behind. After an error the transaction is what the error has
    /// made of it.
    pub fn look<T>(&mut self, f: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
        self.batch("SAVEPOINT look")?;
        let value = f(self)?;
        self.batch("ROLLBACK TO SAVEPOINT look; RELEASE SAVEPOINT look")?;
        Ok(value)
    }

    /// `sql` with a question for the process that answers: what has begun the transaction may have been another. It stands at the end, so that
    /// who looks for a COPY in pg_stat_activity finds one.
    fn tied(&self, sql: &str) -> String {
        format!("{sql}; SELECT {BACKEND}")
    }

    /// The rows of what was tied. An error if another process than that of the transaction has answered.
    pub fn untie(&self, mut rows: Vec<Row>) -> Result<Vec<Row>> {
        let backend = rows.pop().and_then(|row| row.owned(0));
        match backend.is_some() && backend == self.backend {
            true => Ok(rows),
            false => Err(pins::not_one_session(self.name())
                .detail("A statement of the transaction was answered by another process.")),
        }
    }

    /// Runs a query in the transaction that [`begin`](Self::begin) has begun.
    pub fn query_in_transaction(&mut self, sql: &str) -> Result<Vec<Row>> {
        let rows = self.query(&self.tied(sql))?;
        self.untie(rows)
    }

    /// `sql` as a question that leaves nothing behind in the transaction, neither locks nor settings; after an error [`undo`](Self::undo) does.
    pub fn question(sql: &str) -> String {
        format!("SAVEPOINT question; {sql}; {UNDO}")
    }

    /// Undoes a question that the server has refused; the transaction goes on.
    pub fn undo(&mut self) -> Result<()> {
        self.batch(UNDO)
    }

    /// Runs `f` with the session and gives both. If that fails the session is abandoned: an interrupted query over there has to be stopped.
    pub fn and_then<T>(mut self, f: impl FnOnce(&mut Session) -> Result<T>) -> Result<(Session, T)> {
        match report::catch(|| f(&mut self)) {
            Ok(value) => Ok((self, value)),
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    /// A database of encoding SQL_ASCII holds bytes of no known encoding. Its server would refuse those that are invalid here without
    /// saying where they are; so it is made to send them as they are, and the COPY here, which checks as well, names line and column.
    /// For the transactions that begin from here on.
    pub fn send_unconverted(&mut self) {
        if self.link.parameter("server_encoding") == Some("SQL_ASCII") {
            self.pins.set("client_encoding", "SQL_ASCII");
        }
    }

    /// True when its database is in UTF8.
    pub fn is_in_utf8(&self) -> bool {
        self.link.parameter("server_encoding") == Some("UTF8")
    }

    /// True when the same characters are the same bytes there as in UTF8. SQL_ASCII holds what must be UTF8 to be copied.
    pub fn has_bytes_of_utf8(&self) -> bool {
        matches!(self.link.parameter("server_encoding"), Some("UTF8" | "SQL_ASCII"))
    }

    /// True when its COLLATE "C" sorts characters as UTF8's bytes do.
    pub fn sorts_bytes_as_utf8(&self) -> bool {
        self.has_bytes_of_utf8() || self.link.parameter("server_encoding") == Some("LATIN1")
    }

    /// True when binary timestamps are 64-bit integers there, as they are here.
    pub fn has_integer_datetimes(&self) -> bool {
        self.link.parameter("integer_datetimes") == Some("on")
    }

    /// The statement that sets what the administrator over there sees in pg_stat_activity, to the end of the transaction.
    pub fn application_name_sql(name: &str) -> String {
        format!("SET LOCAL application_name = {}", quote_literal(&tame(name)))
    }

    /// What the caller should know of the connection, once, however many there are.
    pub fn warning(&self) -> Option<&str> {
        self.link.warning.as_deref()
    }

    /// Name of the foreign server, for messages.
    pub fn name(&self) -> &str {
        &self.link.endpoint.server
    }

    /// As whom it has logged in.
    pub fn user(&self) -> &str {
        &self.link.endpoint.user
    }

    /// Which end of a copy it is.
    pub fn side(&self) -> Side {
        self.link.endpoint.side
    }

    /// Runs statements that give no rows.
    pub fn batch(&mut self, sql: &str) -> Result<()> {
        self.query(sql).map(|_| ())
    }

    /// Begins `sql`; nothing is sent before the first `poll`.
    fn start(&mut self, sql: String) {
        self.running = Some(Running::begin(&self.link, sql));
    }

    /// Begins `sql` in the transaction that [`begin`](Self::begin) has begun; [`untie`](Self::untie) tells whether it was answered there.
    pub fn start_in_transaction(&mut self, sql: &str) {
        self.start(self.tied(sql));
    }

    /// The same, a COPY TO STDOUT; gives the stream that its data comes by.
    pub(super) fn start_copy(&mut self, sql: &str) -> Stream {
        self.link.stream.expect_copy(Copy::Out);
        self.start(self.tied(sql));
        self.link.stream.clone()
    }

    /// The same, a COPY FROM STDIN; gives the stream that its data goes by.
    pub(super) fn start_copy_in(&mut self, sql: &str) -> Stream {
        self.link.stream.expect_copy(Copy::In);
        self.start(sql.to_owned());
        self.link.stream.clone()
    }

    /// The rows of the statement begun last, once they are there. None: wait for the socket.
    pub fn poll(&mut self) -> Result<Option<Vec<Row>>> {
        let Some(running) = &mut self.running else {
            return Err(Error::internal("no statement is under way over there"));
        };
        match running.poll(&mut self.link)? {
            Some(rows) => {
                self.running = None;
                rows.map(Some)
            }
            None => Ok(None),
        }
    }

    /// What to wait for before the next `poll`.
    pub fn socket(&self) -> wait::Socket {
        self.link.socket()
    }

    /// Lets in what has arrived, as far as it goes without waiting, and tells whether a statement is under way over there after all.
    pub fn is_at_work(&mut self) -> bool {
        let mut rest = vec![0; 64 * 1024];
        // A server that goes on sending is at work.
        for _ in 0..MOST_LEFT {
            if let Ok(Data::Bytes(_) | Data::Again) = self.link.stream.take_copy_data(&mut rest) {
                continue;
            }
            // Whatever is wrong with the connection, it is given up.
            let _ = self.check_alive();
            if !self.link.stream.has_copy_data() {
                break;
            }
        }
        self.link.stream.is_at_work()
    }

    /// An error if the connection is known to be lost. Takes no time.
    pub fn check_alive(&mut self) -> Result<()> {
        self.link.check_alive()
    }

    /// Stops whatever the session is doing there, within a short deadline, and closes it. Closing alone would leave the query running
    /// until it next writes. Where nothing is under way nothing is stopped: behind a pooler the request could meet another client's.
    pub fn abandon(self) {
        Session::abandon_all([self]);
    }

    /// The same for several, within one short deadline.
    pub fn abandon_all(sessions: impl IntoIterator<Item = Session>) {
        let deadline = Instant::now() + CANCEL_TIMEOUT;
        let mut sessions: Vec<Session> = sessions.into_iter().collect();
        // What cannot be looked at may be at work.
        let is_at_work = |session: &mut Session| report::catch(|| Ok(session.is_at_work())).unwrap_or(true);
        let to_cancel: Vec<Canceller> = wait::without_interrupts(|| {
            let at_work = sessions
                .iter_mut()
                .filter_map(|session| is_at_work(session).then(|| session.link.canceller()));
            at_work.collect()
        });
        Canceller::cancel_all(&to_cancel, deadline);
    }

    /// Ends the transaction and the session politely. Nothing was written there, so a failure to say goodbye changes nothing.
    pub fn close(mut self) {
        let _ = report::catch(|| {
            self.link.ask("COMMIT", Some(Instant::now() + CANCEL_TIMEOUT))?;
            self.link.say_goodbye()
        });
    }
}
