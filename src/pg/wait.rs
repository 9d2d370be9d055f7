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
    /// something to read has been taken from it already (TLS does that): don't wait at all
    pub has_input: bool,
}

/// Waits until the socket is ready, the latch is set or `timeout` is over, then serves interrupts: a cancel request or a
/// termination leaves from here as an error. Ends the process if the postmaster is gone.
pub fn wait(socket: Option<Socket>, timeout: Duration) {
    let timeout = match socket {
        Some(socket) if socket.has_input => Duration::ZERO,
        _ => timeout,
    };
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

/// The same for several sockets at once: until any of them is ready.
pub fn wait_any(sockets: &[Socket], timeout: Duration) {
    let timeout = match sockets.iter().any(|socket| socket.has_input) {
        true => Duration::ZERO,
        false => timeout,
    };
    // SAFETY: as above; the set lives as long as this call, and nothing in it outlives the callers' sockets.
    unsafe {
        let size = sockets.len() as i32 + 2;
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        let set = pg_sys::CreateWaitEventSet(std::ptr::null_mut(), size);
        #[cfg(not(any(feature = "pg17", feature = "pg18")))]
        let set = pg_sys::CreateWaitEventSet(pg_sys::CurrentMemoryContext, size);
        let add = |events, fd, latch| pg_sys::AddWaitEventToSet(set, events, fd, latch, std::ptr::null_mut());
        let (no_socket, no_latch) = (pg_sys::PGINVALID_SOCKET, std::ptr::null_mut());
        add(pg_sys::WL_LATCH_SET, no_socket, pg_sys::MyLatch);
        add(pg_sys::WL_EXIT_ON_PM_DEATH, no_socket, no_latch);
        for socket in sockets {
            let writable = if socket.writable {
                pg_sys::WL_SOCKET_WRITEABLE
            } else {
                0
            };
            add(pg_sys::WL_SOCKET_READABLE | writable, socket.fd, no_latch);
        }
        let mut event = pg_sys::WaitEvent::default();
        let timeout = timeout.as_millis() as core::ffi::c_long;
        pg_sys::WaitEventSetWait(set, timeout, &mut event, 1, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::FreeWaitEventSet(set);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    check_interrupts();
}

/// Runs `work` with interrupts held: a cancel or termination does not leave it in the middle. It has to end by itself. What came
/// meanwhile is served at the next occasion after it.
pub fn without_interrupts<R>(work: impl FnOnce() -> R) -> R {
    struct Held {
        before: u32,
    }
    impl Drop for Held {
        fn drop(&mut self) {
            // An error in between has set it to zero (elog.c, errfinish), so counting down would be wrong.
            // SAFETY: plain variables of this process, which only this thread touches; MyLatch is its own.
            unsafe {
                pg_sys::InterruptHoldoffCount = self.before;
                if pg_sys::InterruptPending != 0 {
                    // Somebody may have reset it in between: what is pending must not wait for the next timeout.
                    pg_sys::SetLatch(pg_sys::MyLatch);
                }
            }
        }
    }
    // SAFETY: as above.
    let _held = unsafe {
        let before = pg_sys::InterruptHoldoffCount;
        pg_sys::InterruptHoldoffCount = before + 1;
        Held { before }
    };
    work()
}

/// Serves pending interrupts; leaves with an error if there is a cancel or termination among them.
pub fn check_interrupts() {
    pgrx::check_for_interrupts!();
}
