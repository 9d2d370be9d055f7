//! Partition descriptors.

use pgrx::pg_sys;

/// Direct partitions of `parent` in the order of their bounds (partdesc.c sorts them by the key's own operator class); the default
/// partition is last. Empty for anything that is not partitioned.
pub fn children_in_bound_order(parent: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: the relation is open and locked while its descriptor is read; the OIDs are copied before it is closed. The
    // array is in canonical bound order (RelationBuildPartitionDesc).
    unsafe {
        let relation = pg_sys::try_relation_open(parent, pg_sys::AccessShareLock as i32);
        if relation.is_null() {
            return Vec::new();
        }
        let mut children = Vec::new();
        if (*(*relation).rd_rel).relkind == pg_sys::RELKIND_PARTITIONED_TABLE as core::ffi::c_char {
            #[cfg(feature = "pg13")]
            let descriptor = pg_sys::RelationGetPartitionDesc(relation);
            #[cfg(not(feature = "pg13"))]
            let descriptor = pg_sys::RelationGetPartitionDesc(relation, true);
            let count = (*descriptor).nparts as usize;
            if count > 0 {
                children = std::slice::from_raw_parts((*descriptor).oids, count).to_vec();
            }
        }
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
        children
    }
}
