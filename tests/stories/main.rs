//! Stories: two real clusters each, told from the user's side. `make test` starts them; see tests/README.md.

// The pure part of the extension, compiled a second time here: the library itself needs a server around it.
#[allow(dead_code)]
#[path = "../../src/error.rs"]
mod error;
#[allow(dead_code)]
#[path = "../../src/plan/mod.rs"]
mod plan;

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod beside;
mod borrowed;
mod caller_settings;
mod cancel;
mod caps;
mod changes;
mod changing;
mod columns;
mod config;
mod conversions;
mod coverage;
mod create_table;
mod creation;
mod cron;
mod defaults;
mod elsewhere;
mod elsewhere_cancel;
mod elsewhere_hostile;
mod elsewhere_kinds;
mod elsewhere_made;
mod elsewhere_obstacles;
mod elsewhere_readers;
mod elsewhere_runs;
mod elsewhere_session;
mod encodings;
mod faults;
mod faults_beside;
mod faults_elsewhere;
mod faults_kill;
mod faults_locks;
mod faults_network;
mod faults_source;
mod faults_target;
mod files;
mod first_sync;
mod fixtures;
mod hostile_catalogs;
mod hostile_endless;
mod hostile_names;
mod hostile_owners;
mod hostile_protocol;
mod keys;
mod light;
mod locks;
mod looks_back;
mod may_pass;
mod memory;
mod missing;
mod one_server;
mod orders;
mod partitioning;
mod plan_preview;
mod points;
mod pooler;
mod prepared;
mod privileges;
mod procedure;
mod progress;
mod property;
mod psql;
mod readme;
mod resolver;
mod resume;
mod retries;
mod roles;
mod routing;
mod runs;
mod seam;
mod secrets;
mod selection;
mod silence;
mod sources;
mod state;
mod statistics;
mod swap_after;
mod swap_crash;
mod swap_kinds;
mod swap_locks;
mod swap_obstacles;
mod swap_readers;
mod swap_standbys;
mod swap_unchanged;
mod team;
mod terminals;
mod tls;
mod tls_login;
mod types;
mod upgrade;
mod vanished;
mod verify;
mod verify_apart;
mod verify_changes;
mod verify_types;
mod waiting;
