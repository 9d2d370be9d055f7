//! Sleeping the way the server sleeps: on the latch, so that signals end it, with interrupts served in between.

use pgrx::pg_sys;
use std::os::fd::RawFd;
use std::time::Duration;

/// What else than the latch ends a wait.
#[derive(Debug, Clone, Copy)]
pub struct Socket {
    /// a non-blocking socket
    pub fd: RawFd,
    /// also wait until it takes output
    pub writable: bool,
}

/// Waits until the socket is ready, the latch is set or `timeout` is over, then serves interrupts: a cancel request or a
/// termination leaves from here as an error. Ends the process if the postmaster is gone.
pub fn wait(socket: Option<Socket>, timeout: Duration) {
    let mut events = (pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH) as i32;
    let mut fd = pg_sys::PGINVALID_SOCKET;
    if let Some(socket) = socket {
        events |= pg_sys::WL_SOCKET_READABLE as i32;
        if socket.writable {
            events |= pg_sys::WL_SOCKET_WRITEABLE as i32;
        }
        fd = socket.fd;
    }
    // SAFETY: MyLatch is this process's own latch; the descriptor is open for as long as the caller's socket lives.
    unsafe {
        pg_sys::WaitLatchOrSocket(
            pg_sys::MyLatch,
            events,
            fd,
            timeout.as_millis() as core::ffi::c_long,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    check_interrupts();
}

/// Serves pending interrupts; leaves with an error if there is a cancel or termination among them.
pub fn check_interrupts() {
    pgrx::check_for_interrupts!();
}
