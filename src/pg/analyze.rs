//! ANALYZE of a partitioned table alone: its statistics, from rows of all that is below it, without those of each table below.

use crate::error::Result;
use pgrx::PostgresGucEnum;

/// What cgpsync.analyze_partitions can be set to; as long as it was a boolean it took the last six as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum Choice {
    /// the same as `all`
    #[name = c"on"]
    On,
    /// what is replaced, and the partitioned tables above it
    #[name = c"all"]
    All,
    /// what is replaced
    #[name = c"leaves"]
    Leaves,
    /// nothing
    #[name = c"off"]
    Off,
    /// on
    #[name = c"true"]
    #[hidden = true]
    True,
    /// on
    #[name = c"yes"]
    #[hidden = true]
    Yes,
    /// on
    #[name = c"1"]
    #[hidden = true]
    One,
    /// off
    #[name = c"false"]
    #[hidden = true]
    False,
    /// off
    #[name = c"no"]
    #[hidden = true]
    No,
    /// off
    #[name = c"0"]
    #[hidden = true]
    Zero,
}

#[cfg(not(feature = "pg18"))]
mod before_18 {
    use pgrx::pg_sys;

    unsafe extern "C-unwind" {
        // commands/vacuum.h, which the bindings leave out; the same from 13 to 17.
        fn analyze_rel(
            relation: pg_sys::Oid,
            name: *mut pg_sys::RangeVar,
            params: *mut pg_sys::VacuumParams,
            columns: *mut pg_sys::List,
            in_outer_transaction: bool,
            strategy: pg_sys::BufferAccessStrategy,
        );
    }

    /// # Safety
    /// Inside a transaction.
    pub unsafe fn analyze(oid: pg_sys::Oid) {
        let mut params = pg_sys::VacuumParams {
            // VACOPT_ANALYZE and VACOPT_SKIP_LOCKED (vacuum.h).
            options: 0x22,
            log_min_duration: -1,
            ..Default::default()
        };
        // SAFETY: per the contract; without a name nothing is logged of a table that is gone or locked. Nothing is kept of the arguments. The
        // extern function is called at the boundary, without destructors in the closure.
        unsafe {
            let strategy = pg_sys::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_VACUUM);
            let (params, none) = (&raw mut params, std::ptr::null_mut());
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                analyze_rel(oid, std::ptr::null_mut(), params, none, true, strategy);
            });
        }
    }
}

/// Gathers the statistics of a partitioned table, called `name`, as ANALYZE ONLY has it since 18: before, the statement analyzes every table
/// below it too, and what it calls for each of them is called here for this one. It checks rights. The table is left out if somebody else has it
/// locked; what is below it the caller has locked. Inside a transaction.
#[cfg(not(feature = "pg18"))]
pub fn analyze_alone(oid: u32, _name: &str) -> Result<()> {
    // SAFETY: inside a transaction.
    unsafe { before_18::analyze(pgrx::pg_sys::Oid::from(oid)) };
    Ok(())
}

/// See above.
#[cfg(feature = "pg18")]
pub fn analyze_alone(_oid: u32, name: &str) -> Result<()> {
    super::spi::execute(&format!("ANALYZE (SKIP_LOCKED) ONLY {name}"), &[]).map(|_| ())
}
