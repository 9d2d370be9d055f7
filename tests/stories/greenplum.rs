//! Between two real Greenplum clusters, by way of a server that has the extension: `make test-greenplum`.

mod bad_rows;
mod bounds;
mod compared;
mod created_there;
mod crowd;
mod distribution;
mod killed;
mod levels;
mod months;
mod newer;
mod odd_tables;
mod other_ends;
mod queues;
mod quoted;
mod reasons;
mod second_run;
mod storage;
mod watchers;
