//! Who has locked what is wanted, as an error tells it.

use crate::error::{Error, tame};

/// One that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// a process
    Process(String),
    /// a transaction that was prepared: no process has it, and it lasts until somebody ends it by its name
    Prepared {
        /// its name
        gid: String,
        /// role that has prepared it
        owner: String,
        /// when
        since: String,
    },
}

impl Holder {
    /// Of the columns pid, gid, owner and time; a row with neither of the first two tells nothing.
    pub fn read(columns: [Option<&str>; 4]) -> Option<Holder> {
        let text = |text: Option<&str>| tame(text.unwrap_or("?"));
        match columns {
            [_, Some(gid), owner, since] => Some(Holder::Prepared {
                gid: tame(gid),
                owner: text(owner),
                since: text(since),
            }),
            [Some(pid), None, ..] => Some(Holder::Process(tame(pid))),
            _ => None,
        }
    }
}

/// `error`, which says that a lock on `what` was not to be had, with those who have it.
pub fn name_holders(error: Error, what: &str, holders: &[Holder]) -> Error {
    let process = |holder: &Holder| match holder {
        Holder::Process(pid) => Some(pid.clone()),
        Holder::Prepared { .. } => None,
    };
    let prepared = |holder: &Holder| match holder {
        Holder::Process(_) => None,
        Holder::Prepared { gid, owner, since } => Some(format!("\"{gid}\" of role {owner}, since {since}")),
    };
    let processes: Vec<String> = holders.iter().filter_map(process).collect();
    let prepared: Vec<String> = holders.iter().filter_map(prepared).collect();
    let error = match (processes.is_empty(), prepared.is_empty()) {
        (true, false) => error,
        (true, true) => error.more_detail(&format!("Processes that hold a lock on {what}: none any more.")),
        (false, _) => error.more_detail(&format!(
            "Processes that hold a lock on {what}: {}.",
            processes.join(", ")
        )),
    };
    if prepared.is_empty() {
        return error;
    }
    error
        .more_detail(&format!(
            "Prepared transactions that do, or that one of these waits for: {}.",
            prepared.join("; ")
        ))
        .hint("End it there with COMMIT PREPARED or ROLLBACK PREPARED, then run the same call again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_transaction_is_named_with_what_ends_it() {
        let error = || Error::new("55P03", "canceling statement due to lock timeout").hint("Wait.");
        let process = Holder::read([Some("7"), None, None, None]).expect("a process");
        let told = name_holders(error(), "it", std::slice::from_ref(&process));
        assert_eq!(told.detail.as_deref(), Some("Processes that hold a lock on it: 7."));
        assert_eq!(told.hint.as_deref(), Some("Wait."));
        let prepared = Holder::read([None, Some("x\ny"), Some("me"), Some("noon")]).expect("a transaction");
        let told = name_holders(error(), "it", std::slice::from_ref(&prepared));
        let detail = "Prepared transactions that do, or that one of these waits for: \"x y\" of role me, since noon.";
        assert_eq!(told.detail.as_deref(), Some(detail));
        assert!(told.hint.is_some_and(|hint| hint.contains("ROLLBACK PREPARED")));
        let told = name_holders(error(), "it", &[process, prepared]);
        assert!(
            told.detail
                .is_some_and(|detail| detail.starts_with("Processes") && detail.ends_with("noon."))
        );
        assert!(
            name_holders(error(), "it", &[])
                .detail
                .is_some_and(|detail| detail.contains("none any more"))
        );
        assert_eq!(Holder::read([None, None, None, None]), None);
    }
}
