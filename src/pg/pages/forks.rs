//! Pages into the files of a relation, and into the log.

use crate::error::{Error, Result, sqlstate};
use crate::page::block::Page;
use pgrx::pg_sys;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// Blocks of a segment: the files of a fork, but for the last, are as long as this (md.c).
const SEGMENT: u32 = pg_sys::RELSEG_SIZE;

unsafe extern "C" {
    // common/file_perm.h, which the bindings leave out: what initdb has allowed.
    static pg_file_create_mode: core::ffi::c_int;
}

/// A fork that is written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// the rows
    Main,
    /// what is known of their pages
    VisibilityMap,
}

#[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
type Locator = pg_sys::RelFileNode;
#[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
type Locator = pg_sys::RelFileLocator;

/// The files of a fork, written from outside of shared buffers.
pub struct Storage {
    locator: Locator,
    fork: Fork,
    /// path of the first segment
    path: String,
    /// what is written is logged: at wal_level = minimal the commit syncs the files instead (storage.c, smgrDoPendingSyncs)
    is_logged: bool,
    open: Option<(u32, File)>,
    /// segments that are known to have their full length, from the first
    full: u32,
}

impl Storage {
    /// Of `relation`, which is open, permanent and has storage that is new in this transaction; `path`: its main fork's, from the data directory,
    /// where every process of the server is at home.
    pub fn new(relation: pg_sys::Relation, path: &str, fork: Fork) -> Storage {
        // SAFETY: per the contract of `relation`; wal_level is a plain variable.
        unsafe {
            Storage {
                #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
                locator: (*relation).rd_node,
                #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
                locator: (*relation).rd_locator,
                fork,
                path: match fork {
                    Fork::Main => path.to_owned(),
                    Fork::VisibilityMap => format!("{path}_vm"),
                },
                is_logged: pg_sys::wal_level > pg_sys::WalLevel::WAL_LEVEL_MINIMAL as i32,
                open: None,
                full: 0,
            }
        }
    }

    /// Writes pages, at most a batch, to the blocks from `first` on.
    ///
    /// After a crash the log must begin before the pages' records or the files must have them. A checkpoint that begins after the record finds
    /// the files in its list of what to sync, if it begins after the write as well. One that may have begun in between has moved the point
    /// where the log begins: then the files are synced here (the reasoning of bulk_write.c, smgr_bulk_finish, for each batch).
    pub fn write(&mut self, pages: &mut [Page], first: u32) -> Result<()> {
        // SAFETY: reads shared memory under its lock.
        let begin = unsafe { pg_sys::GetRedoRecPtr() };
        self.fill_up((first + pages.len() as u32 - 1) / SEGMENT, begin)?;
        if self.is_logged {
            self.log(pages, first);
        }
        for (page, block) in pages.iter_mut().zip(first..) {
            // SAFETY: a page in private memory, aligned as the server's are. It does nothing in a cluster without checksums (bufpage.c).
            unsafe { pg_sys::PageSetChecksumInplace(page.0.as_mut_ptr().cast(), block) };
        }
        let in_first = ((SEGMENT - first % SEGMENT) as usize).min(pages.len());
        let (here, beyond) = pages.split_at(in_first);
        self.write_segment(here, first, begin)?;
        if !beyond.is_empty() {
            self.write_segment(beyond, (first / SEGMENT + 1) * SEGMENT, begin)?;
        }
        Ok(())
    }

    /// Gives the segments before `segment` their full length, before anything is logged of it. Another process may be about to write the end of one.
    /// Recovery takes a segment that is shorter for the last one (md.c, mdnblocks), and extends the relation with zeroes from there: over pages that
    /// are in the files and, if a checkpoint came between, in the log no more.
    fn fill_up(&mut self, segment: u32, begin: pg_sys::XLogRecPtr) -> Result<()> {
        while self.full < segment {
            let path = self.path_of(self.full);
            let filled = open(&path).and_then(|file| {
                file.set_len(u64::from(SEGMENT) * u64::from(pg_sys::BLCKSZ))?;
                match self.is_logged {
                    true => self.sync(&file, self.full, begin),
                    false => Ok(()),
                }
            });
            filled.map_err(|error| failed("extend", &path, &error))?;
            self.full += 1;
        }
        Ok(())
    }

    fn path_of(&self, segment: u32) -> String {
        match segment {
            0 => self.path.clone(),
            _ => format!("{}.{segment}", self.path),
        }
    }

    /// Logs whole pages, which sets their LSN. A heap's have a hole that need not be logged; what a map has is where others have the hole.
    fn log(&mut self, pages: &mut [Page], first: u32) {
        let is_standard = self.fork == Fork::Main;
        let fork = match self.fork {
            Fork::Main => pg_sys::ForkNumber::MAIN_FORKNUM,
            Fork::VisibilityMap => pg_sys::ForkNumber::VISIBILITYMAP_FORKNUM,
        };
        #[cfg(feature = "pg13")]
        for (page, block) in pages.iter_mut().zip(first..) {
            // SAFETY: as below.
            unsafe { pg_sys::log_newpage(&mut self.locator, fork, block, page.0.as_mut_ptr().cast(), is_standard) };
        }
        // SAFETY: the pages are initialized and nobody else's, and there are at most as many as a record takes. Outside of a critical section, as
        // in bulk_write.c: they are in no shared buffer.
        #[cfg(not(feature = "pg13"))]
        unsafe {
            let (mut blocks, mut places): (Vec<u32>, Vec<pg_sys::Page>) = (first..)
                .zip(pages.iter_mut().map(|page| page.0.as_mut_ptr().cast()))
                .unzip();
            let (count, blocks, places) = (blocks.len() as i32, blocks.as_mut_ptr(), places.as_mut_ptr());
            pg_sys::log_newpages(&mut self.locator, fork, count, blocks, places, is_standard);
        }
    }

    fn write_segment(&mut self, pages: &[Page], first: u32, begin: pg_sys::XLogRecPtr) -> Result<()> {
        // SAFETY: a page is its bytes and nothing else, and the next one follows at once.
        let bytes = unsafe { std::slice::from_raw_parts(pages.as_ptr().cast::<u8>(), size_of_val(pages)) };
        let number = first / SEGMENT;
        let path = self.path_of(number);
        let file = match self.open.take() {
            Some((open, file)) if open == number => Ok(file),
            _ => open(&path),
        };
        let file = file.map_err(|error| failed("open", &path, &error))?;
        let offset = u64::from(first % SEGMENT) * pg_sys::BLCKSZ as u64;
        file.write_all_at(bytes, offset)
            .map_err(|error| failed("extend", &path, &error))?;
        if self.is_logged {
            self.sync(&file, number, begin)
                .map_err(|error| failed("fsync", &path, &error))?;
        }
        self.open = Some((number, file));
        Ok(())
    }

    /// Has the next checkpoint sync the segment, and does so itself where one may have begun since `begin` was read, or where its list is full
    /// (md.c, register_dirty_segment).
    fn sync(&self, file: &File, segment: u32, begin: pg_sys::XLogRecPtr) -> io::Result<()> {
        let mut tag = pg_sys::FileTag {
            handler: pg_sys::SyncRequestHandler::SYNC_HANDLER_MD as i16,
            forknum: match self.fork {
                Fork::Main => pg_sys::ForkNumber::MAIN_FORKNUM as i16,
                Fork::VisibilityMap => pg_sys::ForkNumber::VISIBILITYMAP_FORKNUM as i16,
            },
            segno: segment as _,
            ..Default::default()
        };
        #[cfg(any(feature = "pg13", feature = "pg14", feature = "pg15"))]
        {
            tag.rnode = self.locator;
        }
        #[cfg(not(any(feature = "pg13", feature = "pg14", feature = "pg15")))]
        {
            tag.rlocator = self.locator;
        }
        // SAFETY: the tag is complete, and copied; fsync's variable is a plain one. The order matters: the request is there before the point
        // is read again.
        unsafe {
            let is_listed = pg_sys::RegisterSyncRequest(&tag, pg_sys::SyncRequestType::SYNC_REQUEST, false);
            let has_moved = pg_sys::GetRedoRecPtr() != begin;
            if (has_moved || !is_listed) && pg_sys::enableFsync {
                return file.sync_all();
            }
        }
        Ok(())
    }
}

fn open(path: &str) -> io::Result<File> {
    // SAFETY: a variable that is set when the server starts.
    let mode = unsafe { pg_file_create_mode } as u32;
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(mode)
        .open(path)
}

/// What the server says of a file (md.c, mdextend), with its SQLSTATE (elog.c, errcode_for_file_access).
fn failed(what: &str, path: &str, error: &io::Error) -> Error {
    // Without the number that Rust adds.
    let reason = error.to_string();
    let reason = reason.split(" (os error").next().unwrap_or_default();
    let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let message = format!("could not {what} file \"{path}\": {reason}");
    match is_full {
        true => Error::new(sqlstate::DISK_FULL, message).hint("Check free disk space."),
        false => Error::new(sqlstate::IO_ERROR, message),
    }
}

/// Has this process look at the files again, of whose sizes it may keep a note (smgr.c, smgr_cached_nblocks).
pub fn forget_sizes(relation: pg_sys::Relation) {
    // SAFETY: open; closing the files of a relation that is open is allowed at any time, and they are opened again when needed.
    unsafe {
        let files = (*relation).rd_smgr;
        if !files.is_null() {
            pg_sys::smgrclose(files);
        }
    }
}
