//! The remote cluster, over the wire. tokio-postgres connects, authenticates and talks SQL; its futures are polled by hand
//! and every wait is the server's latch (tablesync.c's way), so a cancel or termination ends any of them at once.

mod connect;
pub mod copy_out;
pub mod dialect;
mod query;
mod socket;
pub mod tls;
pub mod wire;

use crate::connection::Target;
use crate::error::{Error, Result, is_error_code, sqlstate, tame};
use crate::pg::{report, wait};
use crate::plan::copy_sql::quote_literal;
use dialect::pins::Pins;
use dialect::server::Server;
use socket2::SockAddr;
use std::future::Future;
use std::os::fd::RawFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use tls::Connector;
use tokio_postgres::{AsyncMessage, CancelToken, Client, SimpleQueryMessage};
use wire::{Data, Stream};

/// Both kinds of stream are ours: what is under the frame reader is settled before the crate comes in.
type Connection = tokio_postgres::Connection<Stream, Stream>;

/// Longest sleep between two looks at anything that is not announced by latch or socket.
const TICK: Duration = Duration::from_secs(1);
/// Most pieces of a COPY that are let in to see whether it has ended.
const MOST_LEFT: usize = 200;
/// How long a cancel request may take: the processes of a cancelled run have to be gone within two seconds.
const CANCEL_TIMEOUT: Duration = Duration::from_millis(700);

/// A session on the source.
pub struct Session {
    /// shared with the statement under way only
    client: Rc<Client>,
    connection: Pin<Box<Connection>>,
    stream: Stream,
    fd: RawFd,
    /// where it is connected, for the cancel request: resolving the name again could take longer than cancelling may
    address: SockAddr,
    /// how it is encrypted; None: it is not
    connector: Option<Connector>,
    target: Target,
    /// which server this is
    described: Server,
    /// what its settings are within a transaction
    pins: Pins,
    /// the process over there that the transaction was begun in
    backend: Option<String>,
    /// the statement under way that `poll` asks for
    running: Option<query::Running>,
    /// what the caller should know of the connection
    warning: Option<String>,
}

/// What it takes to stop a session's statement from outside of it.
#[derive(Clone)]
struct Canceller {
    token: CancelToken,
    address: SockAddr,
    connector: Option<Connector>,
    target: Target,
}

/// One row of text columns.
pub type TextRow = Vec<Option<String>>;

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls `future`, and `background` beside it, until the future is done or nothing moves any more.
fn step<F: Future + ?Sized>(
    background: &mut impl FnMut(&mut Context<'_>) -> Result<()>,
    mut future: Pin<&mut F>,
) -> Result<Poll<F::Output>> {
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        woken.0.store(false, Ordering::Relaxed);
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Ok(Poll::Ready(value));
        }
        if let Err(error) = background(&mut context) {
            // A last message (FATAL: terminating connection …) may have reached the future before the end did.
            return match future.as_mut().poll(&mut context) {
                Poll::Ready(value) => Ok(Poll::Ready(value)),
                Poll::Pending => Err(error),
            };
        }
        if !woken.0.load(Ordering::Relaxed) {
            return Ok(Poll::Pending);
        }
        // A source that sends without a pause must not keep a cancel waiting.
        wait::check_interrupts();
    }
}

/// Steps until the future is done; sleeps on socket and latch in between.
fn block_on<F: Future>(
    fd: RawFd,
    stream: &Stream,
    deadline: Option<Instant>,
    mut background: impl FnMut(&mut Context<'_>) -> Result<()>,
    future: F,
) -> Result<F::Output> {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = step(&mut background, future.as_mut())? {
            return Ok(value);
        }
        let left = deadline.map_or(TICK, |d| d.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(Error::new(sqlstate::CANNOT_CONNECT, "timeout expired"));
        }
        wait::wait(Some(stream.to_wait_for(fd)), left.min(TICK));
    }
}

/// The error of a server or connection, led by what was being done. SQLSTATE is the remote's, if it is one; DETAIL keeps it in any case.
fn remote_error(error: &tokio_postgres::Error, what: &str) -> Error {
    if let Some(db) = error.as_db_error() {
        let code = db.code().code();
        let mut detail = format!("Remote SQLSTATE {}.", tame(code));
        for more in [db.detail(), db.where_()].into_iter().flatten() {
            detail.push(' ');
            detail.push_str(&tame(more));
        }
        let code = if is_error_code(code) {
            code
        } else {
            sqlstate::PROTOCOL_VIOLATION
        };
        return Error {
            sqlstate: code.to_owned(),
            message: format!("{what}: {}", tame(db.message())),
            detail: Some(detail),
            hint: db.hint().map(tame),
            remote: true,
            is_final: false,
        };
    }
    let cause = std::error::Error::source(error);
    let io = cause.and_then(|c| c.downcast_ref::<std::io::Error>());
    // What the crate calls an error while it was "parsing", and an "unexpected message", was no accident of the network.
    let is_wrong = matches!(error.to_string().split(' ').nth(1), Some("parsing" | "message"));
    if let Some(io) = io.filter(|_| !is_wrong) {
        return io_error(io, what);
    }
    let code = match error.is_closed() {
        true => sqlstate::CONNECTION_FAILURE,
        false if is_wrong => sqlstate::PROTOCOL_VIOLATION,
        false => sqlstate::CANNOT_CONNECT,
    };
    let text = cause.map_or_else(|| error.to_string(), ToString::to_string);
    Error::new(code, format!("{what}: {}", tame(&text)))
}

fn io_error(error: &std::io::Error, what: &str) -> Error {
    if let Some(failure) = error.get_ref().and_then(|e| e.downcast_ref::<tls::Failure>()) {
        let error = Error::new(sqlstate::CONNECTION_FAILURE, format!("{what}: {failure}"));
        return match tls::hint(failure.reason()) {
            Some(hint) => error.hint(hint),
            None => error,
        };
    }
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    // With words of its own it is no socket's but says what was wrong with a message.
    let is_told = error.get_ref().is_some();
    if error.kind() == InvalidData || (is_told && matches!(error.kind(), InvalidInput | UnexpectedEof)) {
        return Error::protocol(format!("{what}: {}", tame(&error.to_string())));
    }
    let text = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the source closed the connection".to_owned(),
        _ => tame(&error.to_string()),
    };
    Error::new(sqlstate::CONNECTION_FAILURE, format!("{what}: {text}"))
}

impl Session {
    /// Connects and finds out which server this is. `encoding` is the target's server_encoding, `timezone` the session's there: what its
    /// transactions are pinned to ([`dialect::begin`]). Nothing is set outside of them, as the connection may be a pooler's.
    pub fn open(target: &Target, name: &str, encoding: &str, timezone: &str) -> Result<Session> {
        let (session, ()) = connect::connect(target, name)?.and_then(|session| {
            session.described = dialect::server::identify(session)?;
            session.pins = session.described.pins(encoding, timezone);
            Ok(())
        })?;
        Ok(session)
    }

    /// `sql` with a question for the process that answers: what has begun the transaction may have been another. It stands at the end, so that
    /// who looks for a COPY in pg_stat_activity finds one.
    fn tied(&self, sql: &str) -> String {
        format!("{sql}; SELECT CAST(pg_catalog.pg_backend_pid() AS text)")
    }

    /// The rows of what was tied. An error if another process than that of the transaction has answered.
    pub fn untie(&self, mut rows: Vec<TextRow>) -> Result<Vec<TextRow>> {
        let backend = rows.pop().and_then(|row| row.into_iter().next().flatten());
        match backend.is_some() && backend == self.backend {
            true => Ok(rows),
            false => Err(dialect::pins::not_one_session(self.server())
                .detail("A statement of the transaction was answered by another process.")),
        }
    }

    /// Runs a query in the transaction that [`dialect::begin`] has begun.
    pub fn query_in_transaction(&mut self, sql: &str) -> Result<Vec<TextRow>> {
        let rows = self.query(&self.tied(sql))?;
        self.untie(rows)
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

    /// What is known of the server.
    pub fn described(&self) -> &Server {
        &self.described
    }

    /// A database of encoding SQL_ASCII holds bytes of no known encoding. Its server would refuse those that are invalid here without
    /// saying where they are; so it is made to send them as they are, and the COPY here, which checks as well, names line and column.
    /// For the transactions that begin from here on.
    pub fn send_unconverted(&mut self) {
        if self.connection.parameter("server_encoding") == Some("SQL_ASCII") {
            self.pins.set("client_encoding", "SQL_ASCII");
        }
    }

    /// True when the same characters are the same bytes there as in UTF8. SQL_ASCII holds what must be UTF8 to be copied.
    pub fn has_bytes_of_utf8(&self) -> bool {
        matches!(self.connection.parameter("server_encoding"), Some("UTF8" | "SQL_ASCII"))
    }

    /// True when its COLLATE "C" sorts characters as UTF8's bytes do.
    pub fn sorts_bytes_as_utf8(&self) -> bool {
        self.has_bytes_of_utf8() || self.connection.parameter("server_encoding") == Some("LATIN1")
    }

    /// server_version_num: 150020 for 15.20, 90426 for Greenplum 6.
    pub fn version(&self) -> u32 {
        self.described.version
    }

    /// True when binary timestamps are 64-bit integers there, as they are here.
    pub fn has_integer_datetimes(&self) -> bool {
        self.connection.parameter("integer_datetimes") == Some("on")
    }

    /// The statement that does what [`set_application_name`](Self::set_application_name) does.
    pub fn application_name_sql(name: &str) -> String {
        format!("SET LOCAL application_name = {}", quote_literal(&tame(name)))
    }

    /// What the source's administrator sees in pg_stat_activity, to the end of the transaction.
    pub fn set_application_name(&mut self, name: &str) -> Result<()> {
        self.batch(&Session::application_name_sql(name))
    }

    /// What the caller should know of the connection, once, however many there are.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Name of the server, for messages.
    pub fn server(&self) -> &str {
        &self.target.server
    }

    /// Runs statements that give no rows.
    pub fn batch(&mut self, sql: &str) -> Result<()> {
        self.query(sql).map(|_| ())
    }

    /// Runs statements and gives the rows of all of them, as text.
    pub fn query(&mut self, sql: &str) -> Result<Vec<TextRow>> {
        self.query_within(sql, None)
    }

    /// The same, which the server answers at once, unless a pooler has no server for it and keeps it waiting. It has longer than a connection, as
    /// the first statements have Greenplum start processes on all of its segments, and may wait in a queue.
    pub fn query_promptly(&mut self, sql: &str) -> Result<Vec<TextRow>> {
        let limit = self.target.connect_timeout.saturating_mul(6);
        let deadline = Instant::now().checked_add(limit);
        let result = self.query_within(sql, deadline);
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        result.map_err(|error| match error.sqlstate.as_str() {
            sqlstate::CANNOT_CONNECT if is_late && !error.remote => Error {
                remote: true,
                ..self.kept_waiting(limit)
            },
            _ => error,
        })
    }

    fn kept_waiting(&self, limit: Duration) -> Error {
        let server = &self.target.server;
        Error::new(
            sqlstate::TOO_MANY_CONNECTIONS,
            format!("server \"{server}\" does not answer within {} s", limit.as_secs()),
        )
        .detail("It lets statements wait, as a pooler does whose connections are all taken, or a queue that is full.")
        .hint("Make room there, or raise connect_timeout: sync with parallelism n takes up to n + 1 connections, verify up to n.")
    }

    fn query_within(&mut self, sql: &str, deadline: Option<Instant>) -> Result<Vec<TextRow>> {
        let client = &self.client;
        let connection = &mut self.connection;
        let server = &self.target.server;
        let messages = block_on(
            self.fd,
            &self.stream,
            deadline,
            |cx| poll_connection(connection, server, cx),
            client.simple_query(sql),
        )?
        .map_err(|e| remote_error(&e, &format!("server \"{server}\"")))?;
        rows_of(messages)
    }

    /// Lets in what has arrived, as far as it goes without waiting, and tells whether a statement is under way over there after all.
    fn is_at_work(&mut self) -> bool {
        let mut rest = vec![0; 64 * 1024];
        // A source that goes on sending is at work.
        for _ in 0..MOST_LEFT {
            if let Ok(Data::Bytes(_) | Data::Again) = self.stream.take_copy_data(&mut rest) {
                continue;
            }
            // Whatever is wrong with the connection, it is given up.
            let _ = self.check_alive();
            if !self.stream.has_copy_data() {
                break;
            }
        }
        self.stream.is_at_work()
    }

    /// An error if the connection is known to be lost. Takes no time.
    pub fn check_alive(&mut self) -> Result<()> {
        let mut context = Context::from_waker(Waker::noop());
        poll_connection(&mut self.connection, &self.target.server, &mut context)
    }

    fn canceller(&self) -> Canceller {
        Canceller {
            token: self.client.cancel_token(),
            address: self.address.clone(),
            connector: self.connector.clone(),
            target: self.target.clone(),
        }
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
                .filter_map(|session| is_at_work(session).then(|| session.canceller()));
            at_work.collect()
        });
        Canceller::cancel_all(&to_cancel, deadline);
    }

    /// Ends the transaction and the session politely. Nothing was written there, so a failure to say goodbye changes nothing.
    pub fn close(mut self) {
        let _ = report::catch(|| {
            self.query_within("COMMIT", Some(Instant::now() + CANCEL_TIMEOUT))?;
            drop(self.client);
            // With its client gone the connection sends Terminate.
            let mut context = Context::from_waker(Waker::noop());
            poll_connection(&mut self.connection, &self.target.server, &mut context)
        });
    }
}

/// The rows of an answer. Text is what it says it is, UTF8, and has no zero byte, as no text of a server has.
fn rows_of(messages: Vec<SimpleQueryMessage>) -> Result<Vec<TextRow>> {
    let mut rows = Vec::new();
    for message in messages {
        let SimpleQueryMessage::Row(row) = message else {
            continue;
        };
        let mut values = Vec::with_capacity(row.len());
        for at in 0..row.len() {
            match row.try_get(at) {
                Ok(value) if value.is_none_or(|text| !text.contains('\0')) => values.push(value.map(str::to_owned)),
                _ => return Err(Error::protocol("the source sent a value that is not text in UTF8")),
            }
        }
        rows.push(values);
    }
    Ok(rows)
}

/// Moves messages between the crate and the wire. Notices of the source go to the log at DEBUG1, never to the caller.
fn poll_connection(connection: &mut Pin<Box<Connection>>, server: &str, context: &mut Context<'_>) -> Result<()> {
    loop {
        wait::check_interrupts();
        match connection.poll_message(context) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Some(Ok(AsyncMessage::Notice(notice)))) => {
                pgrx::debug1!("server \"{server}\": {}", tame(notice.message()));
            }
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(error))) => {
                return Err(remote_error(
                    &error,
                    &format!("connection to server \"{server}\" was lost"),
                ));
            }
            Poll::Ready(None) => {
                return Err(Error::new(
                    sqlstate::CONNECTION_FAILURE,
                    format!("connection to server \"{server}\" was lost"),
                ));
            }
        }
    }
}
