//! What the HINT of an error says helps: each case leads to an error, does what its hint says, and calls again. Of servers, rights, and what is in the way
//! of a partition here and elsewhere.

use crate::support::cluster::{Cluster, Side, listener};
use crate::support::pki::{Authority, Issued};
use crate::support::pooler::{self, Pooler};
use crate::support::secured::{GOOD, configure, options, present, rules};
use crate::support::trio::Trio;
use crate::support::{Pair, SOON, needs, poll, swapped};
use Where::{Here, Himself, Holds, Lets, Source, There, Who};
use postgres::Client;

/// Where a statement is run.
#[derive(Clone, Copy)]
enum Where {
    /// on the server with the extension, by a superuser
    Here,
    /// there, by the role that calls
    Himself,
    /// there, in a transaction that stays open
    Holds,
    /// such transactions end
    Lets,
    /// no statement: a role, which calls from now on
    Who,
    Source,
    /// on the target elsewhere
    There,
}

type Step = (Where, &'static str);

/// An error, and the way out of it.
#[derive(Clone, Copy)]
struct Case {
    /// what leads to it
    lead: &'static [Step],
    /// role, and what it calls
    who: &'static str,
    call: &'static str,
    code: &'static str,
    /// a piece of the message
    message: &'static str,
    /// a piece of the hint
    hint: &'static str,
    /// what the hint says
    way: &'static [Step],
    /// the call as the hint has it; empty: the same one
    again: &'static str,
}

/// The servers of a story.
struct Scene<'a> {
    pair: &'a Pair,
    there: Option<&'a Cluster>,
    holders: Vec<Client>,
}

impl<'a> Scene<'a> {
    fn of(pair: &'a Pair) -> Scene<'a> {
        Scene {
            pair,
            there: None,
            holders: Vec::new(),
        }
    }

    fn of_three(trio: &'a Trio) -> Scene<'a> {
        Scene {
            there: Some(&trio.there),
            ..Scene::of(&trio.pair)
        }
    }

    fn follow(&mut self, cases: &[Case]) {
        for case in cases {
            self.follow_one(case);
        }
    }

    fn follow_one(&mut self, case: &Case) {
        let mut who = case.who;
        self.take(case.lead, &mut who);
        let told = refused(self.pair, who, case.call);
        told.is(case.call, case.code, case.message, case.hint);
        self.take(case.way, &mut who);
        let again = if case.again.is_empty() { case.call } else { case.again };
        let mut client = self.pair.target.connect_as(who);
        if let Err(error) = client.simple_query(again) {
            panic!("{again} by {who}, after {told:?}: {error:?}");
        }
        self.holders.clear();
    }

    fn take(&mut self, steps: &[Step], who: &mut &'static str) {
        let target = &self.pair.target;
        for &(place, text) in steps {
            // Of the source, at which `src` points.
            let sql = &text.replace("{port}", &self.pair.source.port.to_string());
            match place {
                Here => target.sql(sql),
                Source => self.pair.source.sql(sql),
                There => self.there.expect("a target elsewhere").sql(sql),
                Himself => {
                    let done = target.connect_as(who).batch_execute(sql);
                    done.unwrap_or_else(|error| panic!("{error:?} in: {sql}"));
                }
                Holds => {
                    let mut holder = target.connect();
                    holder.batch_execute(&format!("BEGIN; {sql}")).expect("a lock");
                    self.holders.push(holder);
                }
                Lets => self.holders.drain(..).for_each(|mut holder| {
                    holder.batch_execute("ROLLBACK").expect("the end");
                }),
                Who => *who = text,
            }
        }
    }
}

/// An error as the user gets it. Partitions have theirs in DETAIL, with code and hint.
#[derive(Debug)]
struct Told {
    code: String,
    words: String,
    hints: String,
}

impl Told {
    fn is(&self, call: &str, code: &str, message: &str, hint: &str) {
        assert!(
            self.code == code && self.words.contains(message) && self.hints.contains(hint),
            "{call}: {self:?} instead of {code}, {message:?}, {hint:?}"
        );
    }
}

/// The error of a call that must fail.
fn refused(pair: &Pair, who: &str, call: &str) -> Told {
    let error = match pair.target.connect_as(who).simple_query(call) {
        Ok(_) => panic!("{call} by {who} succeeds"),
        Err(error) => error.as_db_error().unwrap_or_else(|| panic!("{error:?}")).clone(),
    };
    let detail = error.detail().unwrap_or_default();
    let words = format!("{}\n{detail}", error.message());
    let of_partitions = words.split_once(" Hint: ").map_or("", |(_, hint)| hint);
    Told {
        code: error.code().code().to_owned(),
        hints: format!("{}\n{of_partitions}", error.hint().unwrap_or_default()),
        words,
    }
}

/// A plain role on either side.
fn plain_roles(pair: &Pair) {
    pair.source
        .sql("CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader");
    pair.target.sql(
        "CREATE ROLE loader LOGIN; GRANT USAGE ON FOREIGN SERVER src TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'reader', password 'r')",
    );
}

const SYNC_T: &str = "SELECT * FROM cgpsync_sync('t', '1')";

/// Of servers and mappings. Each leaves them as it has found them.
const LOGINS: &[Case] = &[
    Case {
        lead: &[(Here, "ALTER SERVER src OPTIONS (SET port '1')")],
        who: "postgres",
        call: SYNC_T,
        code: "08001",
        message: "could not connect to server \"src\"",
        hint: "Check the host and port of the server's options and that the source accepts connections there.",
        way: &[(Here, "ALTER SERVER src OPTIONS (SET port '{port}')")],
        again: "",
    },
    Case {
        lead: &[(Here, "ALTER SERVER src OPTIONS (SET host 'no.such.host.invalid')")],
        who: "postgres",
        call: SYNC_T,
        code: "08001",
        message: "host no.such.host.invalid",
        hint: "Check the host and port of the server's options",
        way: &[(Here, "ALTER SERVER src OPTIONS (SET host '127.0.0.1')")],
        again: "",
    },
    Case {
        lead: &[],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('t', '1', source => 'warehouse')",
        code: "42704",
        message: "server \"warehouse\" does not exist",
        hint: "CREATE SERVER",
        way: &[(
            Here,
            "CREATE SERVER warehouse FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '{port}', dbname 'postgres');
             CREATE USER MAPPING FOR postgres SERVER warehouse OPTIONS (user 'postgres', password 'secret')",
        )],
        again: "",
    },
    Case {
        lead: &[
            (Here, "DROP SERVER warehouse CASCADE; DELETE FROM sync_table"),
            (Here, "ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET password 'wrong')"),
        ],
        who: "postgres",
        call: SYNC_T,
        code: "28P01",
        message: "password authentication failed",
        hint: "ALTER USER MAPPING FOR CURRENT_USER SERVER \"src\" OPTIONS (SET password",
        way: &[(Himself, "ALTER USER MAPPING FOR CURRENT_USER SERVER src OPTIONS (SET password 'secret')")],
        again: "",
    },
    Case {
        lead: &[(Here, "ALTER USER MAPPING FOR postgres SERVER src OPTIONS (DROP password)")],
        who: "postgres",
        call: SYNC_T,
        code: "08001",
        message: "password missing",
        hint: "ALTER USER MAPPING FOR CURRENT_USER SERVER \"src\" OPTIONS (ADD password",
        way: &[(Himself, "ALTER USER MAPPING FOR CURRENT_USER SERVER src OPTIONS (ADD password 'secret')")],
        again: "",
    },
    Case {
        lead: &[(Here, "REVOKE USAGE ON FOREIGN SERVER src FROM loader")],
        who: "loader",
        call: SYNC_T,
        code: "42501",
        message: "permission denied for foreign server src",
        hint: "GRANT USAGE ON FOREIGN SERVER",
        way: &[(Here, "GRANT USAGE ON FOREIGN SERVER src TO loader")],
        again: "",
    },
    Case {
        lead: &[(Here, "DROP USER MAPPING FOR loader SERVER src")],
        who: "loader",
        call: SYNC_T,
        code: "42704",
        message: "server \"src\" has no user mapping for the calling role",
        hint: "Use CREATE USER MAPPING FOR CURRENT_USER SERVER \"src\" OPTIONS (user '...', password '...').",
        way: &[(Himself, "CREATE USER MAPPING FOR CURRENT_USER SERVER src OPTIONS (user 'reader', password 'r')")],
        again: "",
    },
    Case {
        lead: &[(Here, "ALTER USER MAPPING FOR loader SERVER src OPTIONS (DROP password)")],
        who: "loader",
        call: SYNC_T,
        code: "2F003",
        message: "password is required",
        hint: "Use ALTER USER MAPPING FOR CURRENT_USER SERVER \"src\" OPTIONS (ADD password '...').",
        way: &[(Himself, "ALTER USER MAPPING FOR CURRENT_USER SERVER src OPTIONS (ADD password 'r')")],
        again: "",
    },
    Case {
        lead: &[(
            Here,
            "DROP USER MAPPING FOR loader SERVER src; CREATE USER MAPPING FOR PUBLIC SERVER src OPTIONS (user 'reader')",
        )],
        who: "loader",
        call: SYNC_T,
        code: "2F003",
        message: "password is required",
        hint: "Use CREATE USER MAPPING FOR CURRENT_USER SERVER \"src\" OPTIONS (user '...', password '...').",
        way: &[(Himself, "CREATE USER MAPPING FOR CURRENT_USER SERVER src OPTIONS (user 'reader', password 'r')")],
        again: "",
    },
    Case {
        lead: &[],
        who: "postgres",
        call: "CREATE SERVER named FOREIGN DATA WRAPPER cgpsync OPTIONS (hostname '127.0.0.1')",
        code: "HV00D",
        message: "invalid option \"hostname\"",
        hint: "Valid options in this context are: ",
        way: &[],
        again: "CREATE SERVER named FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1')",
    },
    Case {
        lead: &[(Here, "DROP SERVER named; ALTER SERVER src OPTIONS (ADD target_session_attrs 'standby')")],
        who: "postgres",
        call: SYNC_T,
        code: "08001",
        message: "could not connect to server \"src\"",
        hint: "or change target_session_attrs.",
        way: &[(Here, "ALTER SERVER src OPTIONS (SET target_session_attrs 'primary')")],
        again: "",
    },
    Case {
        lead: &[(Here, "ALTER USER MAPPING FOR postgres SERVER src OPTIONS (ADD password_command 'echo secret')")],
        who: "postgres",
        call: SYNC_T,
        code: "22023",
        message: "has both password and password_command",
        hint: "Drop one of them: ALTER USER MAPPING ... OPTIONS (DROP password).",
        way: &[(Himself, "ALTER USER MAPPING FOR CURRENT_USER SERVER src OPTIONS (DROP password)")],
        again: "",
    },
    Case {
        lead: &[(Here, "ALTER SERVER src OWNER TO loader")],
        who: "postgres",
        call: SYNC_T,
        code: "42501",
        message: "password_command is not run for server \"src\"",
        hint: "OWNER TO a superuser, or drop the option.",
        way: &[(Here, "ALTER SERVER src OWNER TO postgres; GRANT USAGE ON FOREIGN SERVER src TO loader")],
        again: "",
    },
    Case {
        lead: &[(Here, "ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET password_command 'echo wrong')")],
        who: "postgres",
        call: SYNC_T,
        code: "28P01",
        message: "password authentication failed",
        hint: "What password_command prints must be the password of that user over there.",
        way: &[(Here, "ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET password_command 'echo secret')")],
        again: "",
    },
];

#[test]
fn how_a_server_is_reached_and_who_logs_in() {
    let pair = Pair::new();
    pair.both("CREATE TABLE t (i int)");
    plain_roles(&pair);
    pair.target.sql("GRANT INSERT, TRUNCATE ON t TO loader");
    Scene::of(&pair).follow(LOGINS);

    // It takes connections and says nothing, with TLS asked for or not.
    let silent = listener();
    let elsewhere = silent.local_addr().expect("an address").port();
    for mode in ["prefer", "disable"] {
        pair.target.sql(&format!(
            "ALTER SERVER src OPTIONS (SET port '{elsewhere}', ADD connect_timeout '1', ADD sslmode '{mode}')"
        ));
        let told = refused(&pair, "postgres", SYNC_T);
        told.is(
            mode,
            "08001",
            "timeout expired",
            "Check host and port of the server's options",
        );
        pair.target.sql(&format!(
            "ALTER SERVER src OPTIONS (SET port '{}', DROP connect_timeout, DROP sslmode)",
            pair.source.port
        ));
        pair.copied("'t', '1'");
    }

    // Who is let in without being asked for anything.
    reload(&pair, "host all all all trust");
    let told = refused(&pair, "loader", SYNC_T);
    told.is(
        SYNC_T,
        "2F003",
        "password is required",
        "authentication method for this connection (pg_hba.conf)",
    );
    reload(&pair, "host all all all scram-sha-256");
    let mut loader = pair.target.connect_as("loader");
    pair.sync_as(&mut loader, "'t', '1'").expect("it is asked now");

    // What is asked for is not spoken. Not every server knows this method.
    reload(&pair, "host all all all gss");
    if pair
        .source
        .text("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL")
        == "0"
    {
        let hint = "Have pg_hba.conf over there ask for scram-sha-256";
        refused(&pair, "postgres", SYNC_T).is("gss", "08001", "unsupported authentication method", hint);
    }
    reload(&pair, "host all all all scram-sha-256");
    pair.copied("'t', '1'");

    other_ways_there(&pair);
}

/// A pooler between, and a server of another wrapper.
fn other_ways_there(pair: &Pair) {
    if !pooler::lacks_pooler() {
        let [statement, transaction] = ["statement", "transaction"].map(|mode| Pooler::start(&pair.source, mode, ""));
        pair.create_server("pooled", statement.port);
        let call = "SELECT * FROM cgpsync_sync('t', '1', source => 'pooled', since => '0')";
        let hint = "as PgBouncer with pool_mode = transaction or session.";
        refused(pair, "postgres", call).is(call, "0A000", "statement pooling mode", hint);
        pair.target.sql(&format!(
            "ALTER SERVER pooled OPTIONS (SET port '{}')",
            transaction.port
        ));
        pair.copied("'t', '1', source => 'pooled', since => '0'");
    }
    if needs::lacks_module("postgres_fdw") {
        return;
    }
    pair.target.sql(&format!(
        "CREATE EXTENSION postgres_fdw; CREATE SERVER fdw FOREIGN DATA WRAPPER postgres_fdw
             OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres', gssencmode 'require');
         CREATE USER MAPPING FOR postgres SERVER fdw OPTIONS (user 'postgres', password 'secret')",
        pair.source.port
    ));
    let told = refused(
        pair,
        "postgres",
        "SELECT * FROM cgpsync_sync('t', '1', source => 'fdw')",
    );
    let hint = "Create a server of FOREIGN DATA WRAPPER cgpsync for it.";
    told.is(
        "fdw",
        "0A000",
        "option \"gssencmode\" of server \"fdw\" is not supported",
        hint,
    );
    pair.create_server("instead", pair.source.port);
    pair.copied("'t', '1', source => 'instead', since => '0'");
}

/// The source's rules for connections from outside, in force.
fn reload(pair: &Pair, lines: &str) {
    let loaded = || pair.source.text("SELECT pg_conf_load_time()");
    let before = loaded();
    rules(pair, lines);
    poll("the rules are in force", SOON, || loaded() != before);
}

/// A source whose certificate a system's authority has signed: here, `sslrootcert 'system'` stands for this one.
fn trusted_by_the_system(authority: &Authority) -> Pair {
    let issued = authority.issue("source", GOOD);
    let source = Cluster::source(&format!(
        "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\nssl_ca_file = '{}'",
        issued.certificate,
        issued.key,
        authority.root()
    ));
    let environment = vec![("SSL_CERT_FILE".to_owned(), authority.root())];
    let target = Cluster::start_in(Side::Target, "", environment);
    let pair = Pair { source, target };
    pair.target
        .sql("CREATE EXTENSION cgpsync; CREATE SERVER src FOREIGN DATA WRAPPER cgpsync");
    pair.both("CREATE TABLE t (i int)");
    pair
}

const PLAN_T: &str = "SELECT * FROM cgpsync_plan('t', '1')";

/// With these options it fails so, and with others it does not.
fn changed(pair: &Pair, before: &str, (code, message, hint): (&str, &str, &str), after: &[&str]) {
    options(pair, before);
    refused(pair, "postgres", PLAN_T).is(before, code, message, hint);
    for after in after {
        options(pair, after);
        succeeds(pair, after);
    }
}

fn succeeds(pair: &Pair, why: &str) {
    if let Err(error) = pair.target.connect().simple_query(PLAN_T) {
        panic!("{why}: {error:?}");
    }
}

#[test]
fn certificates_keys_and_versions() {
    if needs::lacks_tls() {
        return;
    }
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pair = trusted_by_the_system(&authority);
    let root = format!(", sslrootcert '{}'", authority.root());
    let full = format!(", sslmode 'verify-full'{root}");
    let cannot = "could not connect to server \"src\"";

    let needs_root = "sslmode \"verify-full\" needs option sslrootcert";
    let set_root = "Set sslrootcert to a file with the certificate of the authority that signed the server's";
    changed(
        &pair,
        ", sslmode 'verify-full'",
        ("22023", needs_root, set_root),
        &[&full, ", sslmode 'verify-full', sslrootcert 'system'"],
    );
    changed(
        &pair,
        ", sslmode 'require', sslrootcert 'system'",
        ("22023", "weak sslmode \"require\"", "Use sslmode \"verify-full\"."),
        &[", sslmode 'verify-full', sslrootcert 'system'"],
    );
    let other = format!(", sslmode 'verify-ca', sslrootcert '{}'", stranger.root());
    changed(
        &pair,
        &other,
        (
            "08001",
            cannot,
            "Set option sslrootcert of the server to a file with the certificate of the authority",
        ),
        &[&full],
    );
    for (missing, what) in [
        ("/nowhere/root.crt", "could not read"),
        ("/tmp", "is not a regular file"),
    ] {
        let named = format!(", sslmode 'verify-full', sslrootcert '{missing}'");
        changed(&pair, &named, ("22023", what, "It is read on this server"), &[&full]);
    }

    // A list of another authority's, and then the right one.
    let unlike = format!("{full}, sslcrl '{}'", stranger.revoke(&[]));
    let revoked = authority.issue("source", GOOD);
    let lists = format!("{full}, sslcrl '{}'", authority.revoke(&[&revoked]));
    changed(
        &pair,
        &unlike,
        (
            "08001",
            cannot,
            "Option sslcrl of the server needs a valid list of every authority",
        ),
        &[&lists],
    );
    for (bad, hint) in [
        (&revoked, "The server needs a new certificate."),
        (
            &authority.issue_expired("source", GOOD),
            "The server needs a certificate that is valid today.",
        ),
    ] {
        present(&pair, bad);
        refused(&pair, "postgres", PLAN_T).is(hint, "08001", cannot, hint);
        present(&pair, &authority.issue("source", GOOD));
        succeeds(&pair, hint);
    }

    // Names.
    present(&pair, &authority.issue("db", "DNS:db.example"));
    options(&pair, &full);
    let hint = "Set option host of the server to a name in the server's certificate (and hostaddr to its address)";
    refused(&pair, "postgres", PLAN_T).is(&full, "08001", cannot, hint);
    pair.target
        .sql("ALTER SERVER src OPTIONS (SET host 'db.example', ADD hostaddr '127.0.0.1')");
    succeeds(&pair, hint);
    pair.target.sql("ALTER SERVER src OPTIONS (DROP host)");
    let hint = "Set host to the name in the server's certificate; hostaddr stays the address.";
    refused(&pair, "postgres", PLAN_T).is(&full, "22023", "sslmode \"verify-full\" needs option host", hint);
    pair.target.sql("ALTER SERVER src OPTIONS (ADD host 'db.example')");
    succeeds(&pair, hint);
    options(&pair, &format!(", sslmode 'verify-ca'{root}"));
    succeeds(&pair, "the other way out");

    // A Unix socket.
    for (before, drop) in [
        (", sslmode 'require'", "DROP sslmode"),
        (", sslrootcert 'system'", "DROP sslrootcert"),
    ] {
        options(&pair, before);
        let dir = pair.source.dir.display();
        pair.target.sql(&format!("ALTER SERVER src OPTIONS (SET host '{dir}')"));
        let told = refused(&pair, "postgres", PLAN_T);
        told.is(
            before,
            "22023",
            "cannot be had on a Unix socket",
            "or set host to a name or address.",
        );
        pair.target.sql(&format!("ALTER SERVER src OPTIONS ({drop})"));
        succeeds(&pair, drop);
    }

    clients(&pair, &authority, &stranger);
    versions_and_bindings(&pair);
}

/// What the mapping says of the client.
fn clients(pair: &Pair, authority: &Authority, stranger: &Authority) {
    pair.source.sql("CREATE ROLE reader LOGIN; GRANT SELECT ON t TO reader");
    reload(pair, "hostssl all reader all cert\nhost all all all scram-sha-256");
    options(pair, ", sslmode 'require', connect_timeout '1'");
    let map = |certificate: &str, key: &str| {
        pair.target.sql(&format!(
            "DROP USER MAPPING FOR postgres SERVER src;
             CREATE USER MAPPING FOR postgres SERVER src OPTIONS (user 'reader', sslcert '{certificate}', sslkey '{key}')"
        ));
    };
    let good = authority.issue("reader", "");
    for version in ["TLSv1.2", "TLSv1.3"] {
        configure(pair, &[("ssl_max_protocol_version", version)]);
        let Issued { certificate, key } = stranger.issue("reader", "");
        map(&certificate, &key);
        let told = refused(pair, "postgres", PLAN_T);
        let hint = "The server does not accept the client certificate that option sslcert names.";
        told.is(version, "08001", "could not connect to server \"src\"", hint);
        map(&good.certificate, &good.key);
        succeeds(pair, version);
    }
    map(&good.certificate, "/nowhere/client.key");
    refused(pair, "postgres", PLAN_T).is(
        "no key",
        "22023",
        "could not read private key file",
        "It is read on this server",
    );
    // One that takes too long to decrypt, and the same with the number of iterations that is usual.
    map(&good.certificate, &authority.laborious(&good.key));
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (ADD sslpassword 'x')");
    let told = refused(pair, "postgres", PLAN_T);
    told.is(
        "laborious",
        "22023",
        "could not load private key file",
        "with fewer iterations",
    );
    map(&good.certificate, &authority.encrypted(&good.key, "x"));
    let told = refused(pair, "postgres", PLAN_T);
    told.is(
        "no password",
        "22023",
        "could not load private key file",
        "option sslpassword of the user mapping",
    );
    pair.target
        .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (ADD sslpassword 'x')");
    succeeds(pair, "the password");
}

fn versions_and_bindings(pair: &Pair) {
    let cannot = "could not connect to server \"src\"";
    let hint = "ssl_min_protocol_version (TLSv1.2 if left out)";
    configure(pair, &[("ssl_max_protocol_version", "TLSv1.2")]);
    changed(
        pair,
        ", sslmode 'require', ssl_min_protocol_version 'TLSv1.3'",
        ("08001", cannot, hint),
        &[", sslmode 'require', ssl_min_protocol_version 'TLSv1.2'"],
    );
    configure(
        pair,
        &[
            ("ssl_max_protocol_version", ""),
            ("ssl_min_protocol_version", "TLSv1.3"),
        ],
    );
    changed(
        pair,
        ", sslmode 'require', ssl_max_protocol_version 'TLSv1.2'",
        ("08001", cannot, "ssl_max_protocol_version"),
        &[", sslmode 'require', ssl_max_protocol_version 'TLSv1.3'"],
    );
    pair.source
        .sql("SET password_encryption = 'md5'; CREATE ROLE five LOGIN PASSWORD 'secret'; GRANT SELECT ON t TO five");
    reload(pair, "host all five all md5\nhost all all all scram-sha-256");
    let as_five = |more: &str| {
        options(pair, &format!(", sslmode 'require'{more}"));
        pair.target
            .sql("ALTER USER MAPPING FOR postgres SERVER src OPTIONS (SET user 'five')");
    };
    let bound = ", channel_binding 'require'";
    as_five(bound);
    let told = refused(pair, "postgres", PLAN_T);
    told.is(bound, "08001", "channel binding", "channel_binding");
    as_five(", channel_binding 'prefer'");
    succeeds(pair, "prefer");
    pair.source
        .sql("SET password_encryption = 'scram-sha-256'; ALTER ROLE five PASSWORD 'secret'");
    as_five(bound);
    succeeds(pair, "a password of scram-sha-256");
}

/// What a column of cgpsync_verify says, as an error.
const VERIFY: &str = "DO $$ DECLARE said text; BEGIN
    SELECT string_agg(error, ' ') INTO said FROM cgpsync_verify('months', '20170131');
    IF said <> '' THEN RAISE insufficient_privilege USING MESSAGE = said; END IF; END $$";

/// What it takes to compare. Before 16 the server itself says so, when the table is to be locked, and knows no hint.
const MAY_NOT_READ: Case = Case {
    lead: &[(Here, "GRANT INSERT, TRUNCATE ON months_1 TO loader")],
    who: "loader",
    call: VERIFY,
    code: "42501",
    message: "permission denied for table months_1",
    hint: "GRANT SELECT ON public.months_1 TO loader.",
    way: &[(Here, "GRANT SELECT ON public.months_1 TO loader")],
    again: "",
};

/// Of rights, and of whose code runs.
const RIGHTS: &[Case] = &[
    Case {
        lead: &[],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('months', '20170131')",
        code: "42501",
        message: "permission denied for table \"public\".\"months_1\"",
        hint: "GRANT INSERT, TRUNCATE ON \"public\".\"months_1\" TO",
        way: &[(Here, "GRANT INSERT, TRUNCATE ON \"public\".\"months_1\" TO loader")],
        again: "",
    },
    Case {
        lead: &[(
            Here,
            "ALTER TABLE months_1 ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON months_1 USING (true)",
        )],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('months', '20170131', since => '20170101')",
        code: "0A000",
        message: "row-level security is active on \"public\".\"months_1\"",
        hint: "Call as the table's owner or a role with BYPASSRLS.",
        way: &[(Here, "ALTER ROLE loader BYPASSRLS")],
        again: "",
    },
    Case {
        lead: &[(Here, "ALTER ROLE loader NOBYPASSRLS")],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('months', '20170131', since => '20170101')",
        code: "0A000",
        message: "row-level security is active on \"public\".\"months_1\"",
        hint: "Call as the table's owner or a role with BYPASSRLS.",
        way: &[(Who, "owner")],
        again: "",
    },
    Case {
        lead: &[(Here, "ALTER TABLE months_1 ENABLE ROW LEVEL SECURITY")],
        who: "loader",
        call: VERIFY,
        code: "42501",
        message: "query would be affected by row-level security policy for table \"months_1\"",
        hint: "Call as the table's owner or as a role with BYPASSRLS.",
        way: &[(Who, "owner")],
        again: "",
    },
    Case {
        lead: &[],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('months', '20170228')",
        code: "42501",
        message: "cannot create partition \"public\".\"months_2\"",
        hint: "Call as the owner of the table, with CREATE on its schema, or let the owner create the partition; \
               or pass create_missing => false to leave it out.",
        way: &[(Here, "ALTER TABLE months_1 DISABLE ROW LEVEL SECURITY")],
        again: "SELECT * FROM cgpsync_sync('months', '20170228', create_missing => false)",
    },
    Case {
        lead: &[(Here, "DELETE FROM sync_table")],
        who: "owner",
        call: "SELECT * FROM cgpsync_sync('months', '20170228')",
        code: "42501",
        message: "cannot create partition \"public\".\"months_2\"",
        hint: "with CREATE on its schema",
        way: &[(Here, "GRANT CREATE ON SCHEMA public TO owner")],
        again: "",
    },
    Case {
        lead: &[
            (Here, "GRANT INSERT, TRUNCATE ON months_2 TO loader"),
            (Source, "DROP TABLE months_1"),
        ],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('months', '20170228', since => '20170101', vanished => 'drop')",
        code: "42501",
        message: "cannot drop partition \"public\".\"months_1\", which the source has no more",
        hint: "Call as its owner, or pass vanished => 'keep'.",
        way: &[],
        again: "SELECT * FROM cgpsync_sync('months', '20170228', since => '20170101', vanished => 'keep')",
    },
    Case {
        lead: &[],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('months', '20170228', since => '20170101', vanished => 'drop')",
        code: "42501",
        message: "cannot drop partition \"public\".\"months_1\"",
        hint: "Call as its owner",
        way: &[(Who, "owner")],
        again: "",
    },
    Case {
        lead: &[],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('marked', '1')",
        code: "42501",
        message: "and reading it could run that role's code",
        hint: "Call as that role, or, if you trust it, create the partition by hand; or pass create_missing => false",
        way: &[(Here, "CREATE TABLE marked_1 PARTITION OF marked FOR VALUES IN (1)")],
        again: "",
    },
    Case {
        lead: &[(Source, "CREATE TABLE marked_2 PARTITION OF marked FOR VALUES IN (2)")],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('marked', '1')",
        code: "42501",
        message: "and reading it could run that role's code",
        hint: "pass create_missing => false to leave it out.",
        way: &[],
        again: "SELECT * FROM cgpsync_sync('marked', '1', create_missing => false)",
    },
    Case {
        lead: &[(Here, "ALTER TABLE marked_1 OWNER TO maker")],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('marked', '1')",
        code: "42501",
        message: "and reading it could run that role's code",
        hint: "Call as that role",
        way: &[(Who, "maker")],
        again: "",
    },
    Case {
        lead: &[],
        who: "postgres",
        call: "SELECT cgpsync_create_table('paired')",
        code: "42501",
        message: "column \"p\" cannot be of type m.pair",
        hint: "Call as the owner of the type; or, if you trust that role, create the table by hand.",
        way: &[(Here, "GRANT CREATE ON SCHEMA public TO maker"), (Who, "maker")],
        again: "",
    },
];

#[test]
fn rights_here_and_whose_code_runs() {
    let pair = Pair::new();
    pair.both(
        "CREATE TABLE months (day date, v int) PARTITION BY RANGE (day);
         CREATE TABLE months_1 PARTITION OF months FOR VALUES FROM ('2017-01-01') TO ('2017-02-01')",
    );
    pair.source.sql(
        "CREATE TABLE months_2 PARTITION OF months FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
         INSERT INTO months VALUES ('2017-01-05', 1), ('2017-02-05', 2);
         CREATE SCHEMA m; CREATE DOMAIN m.mark AS int; CREATE TYPE m.pair AS (a int, b m.mark);
         CREATE TABLE marked (k m.mark) PARTITION BY LIST (k); CREATE TABLE marked_1 PARTITION OF marked FOR VALUES IN (1);
         CREATE TABLE paired (p m.pair)",
    );
    plain_roles(&pair);
    pair.target.sql(
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE owner LOGIN; CREATE ROLE maker LOGIN; GRANT USAGE ON FOREIGN SERVER src TO owner, maker;
         CREATE USER MAPPING FOR owner SERVER src OPTIONS (user 'postgres', password 'secret');
         CREATE USER MAPPING FOR maker SERVER src OPTIONS (user 'postgres', password 'secret');
         ALTER TABLE months OWNER TO owner; ALTER TABLE months_1 OWNER TO owner;
         CREATE SCHEMA m AUTHORIZATION maker; SET ROLE maker;
         CREATE FUNCTION m.is_mark(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN $1 > 0; END';
         CREATE DOMAIN m.mark AS int CHECK (m.is_mark(VALUE)); CREATE TYPE m.pair AS (a int, b m.mark); RESET ROLE;
         CREATE TABLE marked (k m.mark) PARTITION BY LIST (k); ALTER TABLE marked OWNER TO maker; GRANT CREATE ON SCHEMA public TO maker",
    );
    let mut scene = Scene::of(&pair);
    let knows = swapped::major(&pair.target) >= 16;
    scene.follow_one(&Case {
        hint: if knows { MAY_NOT_READ.hint } else { "" },
        ..MAY_NOT_READ
    });
    pair.target.sql("REVOKE INSERT, TRUNCATE ON months_1 FROM loader");
    scene.follow(RIGHTS);
}

/// Of what a partition's rows set off.
const SET_OFF: &[Case] = &[
    Case {
        lead: &[(
            Here,
            "CREATE TABLE known (i int PRIMARY KEY); CREATE TABLE refers (i int); ALTER TABLE refers OWNER TO owner;
             GRANT INSERT, TRUNCATE ON refers TO loader; ALTER TABLE refers ADD CONSTRAINT late FOREIGN KEY (i) REFERENCES known NOT VALID;
             GRANT SELECT ON known TO owner",
        )],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('refers', '1', source_table => 't')",
        code: "23503",
        message: "is NOT VALID here",
        hint: "Call as a role that has the rights of the table's owner, or correct the rows on the source.",
        way: &[(Here, "GRANT owner TO loader")],
        again: "",
    },
    Case {
        lead: &[(
            Here,
            "REVOKE owner FROM loader; CREATE TABLE checked (i int CONSTRAINT small CHECK (i < 5)); ALTER TABLE checked OWNER TO owner;
             ALTER TABLE checked DROP CONSTRAINT small, ADD CONSTRAINT small CHECK (i < 5) NOT VALID; GRANT INSERT, TRUNCATE ON checked TO loader",
        )],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('checked', '1', source_table => 't')",
        code: "23514",
        message: "Constraint \"small\" is NOT VALID here",
        hint: "Call as a role that has the rights of the table's owner",
        way: &[(Who, "owner")],
        again: "",
    },
    Case {
        lead: &[(
            Here,
            "CREATE DOMAIN little AS int; CREATE TABLE domains (i little); ALTER DOMAIN little ADD CONSTRAINT few CHECK (VALUE < 5) NOT VALID",
        )],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('domains', '1', source_table => 't')",
        code: "23514",
        message: "Constraint \"few\" of domain public.little is NOT VALID",
        hint: "ALTER DOMAIN public.little DROP CONSTRAINT \"few\", call again, and add it again with NOT VALID",
        way: &[(Himself, "ALTER DOMAIN public.little DROP CONSTRAINT \"few\"")],
        again: "",
    },
    // Names that search_path does not lead to: of a relation, a type, and a place for a new one.
    Case {
        lead: &[(
            Here,
            "CREATE SCHEMA far; CREATE TABLE far.tallies (i int); CREATE TYPE far.kind AS ENUM ('1', '9'); CREATE TABLE tallied (i int);
             CREATE FUNCTION tally() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO tallies VALUES (NEW.i); RETURN NEW; END';
             CREATE TRIGGER tally BEFORE INSERT ON tallied FOR EACH ROW EXECUTE FUNCTION tally()",
        )],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('tallied', '1', source_table => 't')",
        code: "42P01",
        message: "relation \"tallies\" does not exist",
        hint: "ALTER FUNCTION public.tally() SET search_path = \"far\"; with the schemas of all that it names",
        way: &[(Himself, "ALTER FUNCTION public.tally() SET search_path = \"far\"")],
        again: "",
    },
    Case {
        lead: &[(
            Here,
            "CREATE FUNCTION is_kind(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN $1::text::kind IS NOT NULL; END';
             CREATE TABLE kinds (i int CHECK (is_kind(i)))",
        )],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('kinds', '1', source_table => 't')",
        code: "42704",
        message: "type \"kind\" does not exist",
        hint: "ALTER FUNCTION public.is_kind(integer) SET search_path = \"far\"",
        way: &[(Himself, "ALTER FUNCTION public.is_kind(integer) SET search_path = \"far\"")],
        again: "",
    },
    Case {
        lead: &[(
            Here,
            "CREATE ROLE bare SUPERUSER LOGIN; ALTER ROLE bare SET search_path = '';
             CREATE USER MAPPING FOR bare SERVER src OPTIONS (user 'postgres', password 'secret'); CREATE TABLE places (i int);
             CREATE FUNCTION place() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN CREATE TABLE IF NOT EXISTS placed (i int); RETURN NEW; END';
             CREATE TRIGGER place BEFORE INSERT ON places FOR EACH ROW EXECUTE FUNCTION place()",
        )],
        who: "bare",
        call: "SELECT * FROM public.cgpsync_sync('public.places', '1', source_table => 't')",
        code: "3F000",
        message: "no schema has been selected to create in",
        hint: "ALTER FUNCTION public.place() SET search_path = \"public\"",
        way: &[(Himself, "ALTER FUNCTION public.place() SET search_path = \"public\"")],
        again: "",
    },
    // Triggers that skip rows: alone, beside rows that are left out, and where these cannot be counted.
    Case {
        lead: &[(
            Here,
            "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN CASE NEW.i WHEN 9 THEN NULL ELSE NEW END; END';
             CREATE TABLE skipped (i int); CREATE TRIGGER skip BEFORE INSERT ON skipped FOR EACH ROW EXECUTE FUNCTION skip()",
        )],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('skipped', '1', source_table => 't')",
        code: "08P01",
        message: "2 rows were sent and 1 loaded",
        hint: "Disable the trigger on this partition for the sync, or let it raise an error.",
        way: &[(Himself, "ALTER TABLE skipped DISABLE TRIGGER skip")],
        again: "",
    },
    Case {
        lead: &[(
            Here,
            "CREATE TABLE hashed (i int) PARTITION BY HASH (i); CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
             CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER skip BEFORE INSERT ON hashed_0 FOR EACH ROW EXECUTE FUNCTION nothing();
             CREATE TRIGGER skip BEFORE INSERT ON hashed_1 FOR EACH ROW EXECUTE FUNCTION nothing()",
        )],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('hashed', '1', source_table => 'many')",
        code: "08P01",
        message: "of other partitions, and 0 loaded",
        hint: "Disable the trigger on this partition",
        way: &[(Himself, "ALTER TABLE hashed_0 DISABLE TRIGGER skip; ALTER TABLE hashed_1 DISABLE TRIGGER skip")],
        again: "",
    },
    Case {
        lead: &[(
            Here,
            "CREATE TABLE other (i int);
             CREATE FUNCTION shows() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN ANALYZE public.other; RETURN NEW; END';
             CREATE TRIGGER shows BEFORE INSERT ON hashed_0 FOR EACH ROW EXECUTE FUNCTION shows();
             CREATE TRIGGER shows BEFORE INSERT ON hashed_1 FOR EACH ROW EXECUTE FUNCTION shows()",
        )],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('hashed', '1', source_table => 'many')",
        code: "08P01",
        message: "how many are of other partitions is not known",
        hint: "Disable the trigger on this partition",
        way: &[(Himself, "ALTER TABLE hashed_0 DISABLE TRIGGER shows; ALTER TABLE hashed_1 DISABLE TRIGGER shows")],
        again: "",
    },
];

/// A constraint of a kind that came with PostgreSQL 18.
const LATE_NOT_NULL: Case = Case {
    lead: &[(
        Here,
        "CREATE TABLE full_ones (i int); ALTER TABLE full_ones OWNER TO owner; GRANT INSERT, TRUNCATE ON full_ones TO loader;
         ALTER TABLE full_ones ADD CONSTRAINT late NOT NULL i NOT VALID",
    )],
    who: "loader",
    call: "SELECT * FROM cgpsync_sync('full_ones', '1', source_table => 'nulls')",
    code: "23502",
    message: "is NOT VALID here",
    hint: "Call as a role that has the rights of the table's owner",
    way: &[(Who, "owner")],
    again: "",
};

#[test]
fn constraints_functions_and_triggers_that_rows_set_off() {
    let pair = Pair::new();
    pair.source.sql(
        "CREATE TABLE t (i int); INSERT INTO t VALUES (1), (9); CREATE TABLE many AS SELECT generate_series(1, 50) AS i;
         CREATE TABLE nulls (i int); INSERT INTO nulls VALUES (NULL)",
    );
    plain_roles(&pair);
    pair.target.sql(
        "CREATE ROLE owner LOGIN; GRANT USAGE ON FOREIGN SERVER src TO owner;
         CREATE USER MAPPING FOR owner SERVER src OPTIONS (user 'reader', password 'r')",
    );
    let mut scene = Scene::of(&pair);
    scene.follow(SET_OFF);
    if swapped::major(&pair.target) >= 18 {
        scene.follow_one(&LATE_NOT_NULL);
    }
}

/// Of what is in the way of a partition.
const OBSTACLES: &[Case] = &[
    Case {
        lead: &[(
            Here,
            "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER noted AFTER TRUNCATE ON t_1 EXECUTE FUNCTION noted()",
        )],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('t', '5', replace => 'swap')",
        code: "0A000",
        message: "cannot be swapped: it has a TRUNCATE trigger",
        hint: "Leave out replace, or pass replace => 'truncate'",
        way: &[],
        again: "SELECT * FROM cgpsync_sync('t', '5')",
    },
    // A table that leads back to itself by way of a view, where it has to be truncated.
    Case {
        lead: &[(Here, "CREATE VIEW back AS SELECT i FROM t")],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('t', '5', source => 'me', source_table => 'back', since => '0')",
        code: "55006",
        message: "cannot be truncated: what is read has it locked",
        hint: "it has a TRUNCATE trigger",
        way: &[(Here, "DROP TRIGGER noted ON t_1")],
        again: "",
    },
    Case {
        lead: &[(
            Here,
            "CREATE TABLE t_rest PARTITION OF t DEFAULT; INSERT INTO t VALUES (15)",
        )],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('t', '15', since => '0')",
        code: "23514",
        message: "cannot create partition \"public\".\"t_2\"",
        hint: "or pass create_missing => false to leave it out.",
        way: &[],
        again: "SELECT * FROM cgpsync_sync('t', '15', since => '0', create_missing => false)",
    },
    Case {
        lead: &[(Here, "TRUNCATE t_rest; INSERT INTO t VALUES (15)")],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('t', '15', since => '0')",
        code: "23514",
        message: "cannot create partition \"public\".\"t_2\"",
        hint: "Rows of the new partition are in the default partition: delete them there (the run copies them again)",
        way: &[(Here, "DELETE FROM t_rest WHERE i >= 10 AND i < 20")],
        again: "",
    },
    Case {
        lead: &[],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('moods', '1')",
        code: "22P02",
        message: "invalid input value for enum public.mood: \"good\"",
        hint: "A bound of the source's partition is no value of the key here: add it to the type (ALTER TYPE ... ADD VALUE)",
        way: &[(Here, "ALTER TYPE mood ADD VALUE 'good'")],
        again: "",
    },
    // What others have locked.
    Case {
        lead: &[(Holds, "LOCK TABLE ONLY busy IN ACCESS SHARE MODE")],
        who: "postgres",
        call: "SET cgpsync.lock_timeout = '50ms'; SET cgpsync.max_retries = 0; SELECT * FROM cgpsync_sync('busy', '15')",
        code: "55P03",
        message: "cannot create partition \"public\".\"busy_2\"",
        hint: "Raise cgpsync.lock_timeout, or sync when it is not in use",
        way: &[],
        again: "SET cgpsync.lock_timeout = '50ms'; SET cgpsync.max_retries = 0; SELECT * FROM cgpsync_sync('busy', '15', create_missing => false)",
    },
    Case {
        lead: &[(Holds, "LOCK TABLE ONLY busy IN ACCESS SHARE MODE")],
        who: "postgres",
        call: "SET cgpsync.lock_timeout = '50ms'; SET cgpsync.max_retries = 0; SELECT * FROM cgpsync_sync('busy', '15', since => '0')",
        code: "55P03",
        message: "cannot create partition \"public\".\"busy_2\"",
        hint: "Raise cgpsync.lock_timeout, or sync when it is not in use",
        way: &[(Lets, "")],
        again: "",
    },
    Case {
        lead: &[(Holds, "LOCK TABLE ONLY busy_1 IN ACCESS SHARE MODE")],
        who: "postgres",
        call: "SET cgpsync.lock_timeout = '50ms'; SET cgpsync.max_retries = 0;
               SELECT * FROM cgpsync_sync('busy', '5', since => '0', replace => 'truncate')",
        code: "55P03",
        message: "canceling statement due to lock timeout",
        hint: "Raise cgpsync.lock_timeout, or sync when it is not in use.",
        way: &[(Lets, "")],
        again: "",
    },
    Case {
        lead: &[
            (Source, "DROP TABLE busy_1"),
            (Holds, "LOCK TABLE ONLY busy_1 IN ACCESS SHARE MODE"),
        ],
        who: "postgres",
        call: "SET cgpsync.lock_timeout = '50ms'; SET cgpsync.max_retries = 0;
               SELECT * FROM cgpsync_sync('busy', '15', since => '0', vanished => 'drop')",
        code: "55P03",
        message: "cannot drop partition \"public\".\"busy_1\"",
        hint: "Raise cgpsync.lock_timeout, or sync when it is not in use",
        way: &[(Lets, "")],
        again: "",
    },
];

/// Of tables that are no targets, and of those that are to be made.
const TABLES: &[Case] = &[
    Case {
        lead: &[(Here, "CREATE VIEW seen AS SELECT i FROM t")],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('seen', '5', source_table => 't')",
        code: "42809",
        message: "\"public\".\"seen\" is a view",
        hint: "Name the table that it is of: a sync writes to an ordinary or a partitioned table.",
        way: &[],
        again: "SELECT * FROM cgpsync_sync('t', '5', since => '0')",
    },
    Case {
        lead: &[(
            Here,
            "CREATE TABLE parents (i int); CREATE TABLE heirs () INHERITS (parents)",
        )],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('parents', '5', source_table => 't')",
        code: "42809",
        message: "a parent of inheriting tables",
        hint: "Sync the tables that inherit from it one by one",
        way: &[],
        again: "SELECT * FROM cgpsync_sync('heirs', '5', source_table => 't')",
    },
    Case {
        lead: &[],
        who: "postgres",
        call: "CREATE TEMP TABLE here (i int); SELECT * FROM cgpsync_sync('here', '5', source_table => 't')",
        code: "42809",
        message: "a temporary table",
        hint: "Name an ordinary or a partitioned table: a sync writes to no other.",
        way: &[(Here, "CREATE TABLE here (i int)")],
        again: "SELECT * FROM cgpsync_sync('here', '5', source_table => 't')",
    },
    Case {
        lead: &[],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync(4000000000::oid::regclass, '5')",
        code: "42P01",
        message: "relation with OID 4000000000 does not exist",
        hint: "Pass the name of a table",
        way: &[],
        again: "SELECT * FROM cgpsync_sync('public.t', '5', since => '0')",
    },
    Case {
        lead: &[],
        who: "postgres",
        call: "CREATE TABLE fresh (i int); SELECT * FROM cgpsync_sync('fresh', '5', source_table => 't')",
        code: "42P01",
        message: "is not visible to the processes of the run",
        hint: "Commit the transaction that created it first.",
        way: &[(Himself, "CREATE TABLE fresh (i int)")],
        again: "SELECT * FROM cgpsync_sync('fresh', '5', source_table => 't')",
    },
    Case {
        lead: &[(
            Here,
            "CREATE TABLE made_i (x int); CREATE TABLE made (x int); CREATE SCHEMA stage",
        )],
        who: "postgres",
        call: "SELECT cgpsync_create_table('made')",
        code: "42P07",
        message: "relation \"public\".\"made\" already exists",
        hint: "Drop or rename it, or pass target_table => 'schema.name'.",
        way: &[],
        again: "SELECT cgpsync_create_table('made', target_table => 'stage.made')",
    },
    Case {
        lead: &[(Here, "DROP TABLE stage.made")],
        who: "postgres",
        call: "SELECT cgpsync_create_table('made')",
        code: "42P07",
        message: "relation \"public\".\"made\" already exists",
        hint: "Drop or rename it",
        way: &[(
            Here,
            "ALTER TABLE made RENAME TO made_before; ALTER TABLE made_i RENAME TO i_made",
        )],
        again: "",
    },
    Case {
        lead: &[(Here, "DROP TABLE made; CREATE TABLE made_i (x int)")],
        who: "postgres",
        call: "SELECT cgpsync_create_table('made')",
        code: "42P07",
        message: "cannot create index \"made_i\"",
        hint: "Rename the relation that has this name, or choose another schema with target_table.",
        way: &[],
        again: "SELECT cgpsync_create_table('made', target_table => 'stage.made')",
    },
    Case {
        lead: &[],
        who: "postgres",
        call: "SELECT cgpsync_create_table('made')",
        code: "42P07",
        message: "cannot create index \"made_i\"",
        hint: "Rename the relation that has this name",
        way: &[(Here, "ALTER TABLE made_i RENAME TO i_made_too")],
        again: "",
    },
    Case {
        lead: &[],
        who: "postgres",
        call: "SELECT cgpsync_create_table('colours')",
        code: "42704",
        message: "types of the source table do not exist here",
        hint: "Create the types or their extension first, or create the table by hand with others.",
        way: &[(Here, "CREATE TYPE colour AS ENUM ('red', 'blue')")],
        again: "",
    },
];

/// Bounds that are in order only by a collation of the source's own.
const SORTED: Case = Case {
    lead: &[(
        Source,
        "CREATE COLLATION numbers (provider = icu, locale = 'und-u-kn-true'); CREATE TABLE sorted (s text COLLATE numbers) PARTITION BY RANGE (s);
         CREATE TABLE sorted_1 PARTITION OF sorted FOR VALUES FROM ('9') TO ('10'); INSERT INTO sorted VALUES ('9')",
    )],
    who: "postgres",
    call: "SELECT cgpsync_create_table('sorted')",
    code: "42P17",
    message: "cannot create partition \"public\".\"sorted_1\"",
    hint: "Values may sort differently here; create the table by hand with other bounds.",
    way: &[(
        Himself,
        "CREATE TABLE sorted (s text) PARTITION BY RANGE (s); CREATE TABLE sorted_1 PARTITION OF sorted FOR VALUES FROM ('10') TO ('99')",
    )],
    again: "SELECT * FROM cgpsync_sync('sorted', '9')",
};

#[test]
fn what_is_in_the_way_of_a_partition_and_of_a_new_table() {
    let pair = Pair::new();
    pair.create_server("me", pair.target.port);
    pair.target.sql("ALTER ROLE postgres SET cgpsync.source = 'src'");
    pair.both(
        "CREATE TABLE t (i int) PARTITION BY RANGE (i); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
         CREATE TABLE busy (i int) PARTITION BY RANGE (i); CREATE TABLE busy_1 PARTITION OF busy FOR VALUES FROM (0) TO (10)",
    );
    pair.source.sql(
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20); INSERT INTO t VALUES (5), (15);
         CREATE TABLE busy_2 PARTITION OF busy FOR VALUES FROM (10) TO (20); INSERT INTO busy VALUES (5), (15);
         CREATE TYPE mood AS ENUM ('bad', 'good'); CREATE TABLE moods (m mood) PARTITION BY LIST (m);
         CREATE TABLE moods_good PARTITION OF moods FOR VALUES IN ('good');
         CREATE TABLE made (i int); CREATE INDEX made_i ON made (i);
         CREATE TYPE colour AS ENUM ('red', 'blue'); CREATE TABLE colours (c colour)",
    );
    pair.target
        .sql("CREATE TYPE mood AS ENUM ('bad'); CREATE TABLE moods (m mood) PARTITION BY LIST (m)");
    let mut scene = Scene::of(&pair);
    scene.follow(OBSTACLES);
    scene.follow(TABLES);
    if !needs::lacks_icu(&[&pair.source]) {
        scene.follow_one(&SORTED);
    }
}

/// Of a target on a third server, which `dr` leads to.
const ELSEWHERE: &[Case] = &[
    Case {
        lead: &[],
        who: "postgres",
        call: "SELECT cgpsync_attach('orders', 'dr')",
        code: "42P01",
        message: "there is no table \"public\".\"orders\" on server \"dr\"",
        hint: "Name it with its schema, as that server has it",
        way: &[(Here, "CREATE SCHEMA app")],
        again: "SELECT cgpsync_attach('app.orders', 'dr')",
    },
    Case {
        lead: &[],
        who: "postgres",
        call: "SELECT cgpsync_attach('invoices', 'dr')",
        code: "42P01",
        message: "there is no table \"public\".\"invoices\" on server \"dr\"",
        hint: "cgpsync_create_table",
        way: &[],
        again: "SELECT cgpsync_create_table('invoices', source => 'src', target => 'dr')",
    },
    Case {
        lead: &[(Here, "CREATE FOREIGN TABLE far (i int) SERVER dr")],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('far', '5', source_table => 't')",
        code: "42P01",
        message: "there is no table \"public\".\"far\" on server \"dr\"",
        hint: "A foreign table stands for the table of its own schema and name, or of its options schema_name and table_name.",
        way: &[(Himself, "ALTER FOREIGN TABLE far OPTIONS (ADD schema_name 'app', ADD table_name 'orders')")],
        again: "",
    },
    Case {
        lead: &[(
            Here,
            "CREATE FOREIGN DATA WRAPPER other; CREATE SERVER other FOREIGN DATA WRAPPER other; CREATE FOREIGN TABLE odd (i int) SERVER other",
        )],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('odd', '5', source_table => 't')",
        code: "42809",
        message: "\"public\".\"odd\" is a foreign table",
        hint: "SELECT cgpsync_attach('schema.table', 'server') makes one.",
        way: &[(Himself, "DROP FOREIGN TABLE odd; SELECT cgpsync_attach('t', 'dr', 'odd')")],
        again: "",
    },
    Case {
        lead: &[],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('t', '5', since => '0')",
        code: "42501",
        message: "permission denied for foreign table \"public\".\"t\"",
        hint: "GRANT INSERT, TRUNCATE ON \"public\".\"t\" TO",
        way: &[(Here, "GRANT INSERT, TRUNCATE ON \"public\".\"t\" TO loader")],
        again: "",
    },
    // The mapping's role over there, which owns nothing.
    Case {
        lead: &[(Here, "ALTER USER MAPPING FOR loader SERVER dr OPTIONS (SET user 'writer')")],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('t', '5', since => '0')",
        code: "42501",
        message: "permission denied for table \"public\".\"t_1\" on server \"dr\"",
        hint: "GRANT INSERT, TRUNCATE ON \"public\".\"t_1\" TO \"writer\" there, or map the calling role to the table's owner.",
        way: &[(There, "GRANT INSERT, TRUNCATE ON \"public\".\"t_1\" TO \"writer\"")],
        again: "",
    },
    Case {
        lead: &[(There, "ALTER TABLE t_1 ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t_1 USING (true)")],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('t', '5', since => '0')",
        code: "0A000",
        message: "row-level security is active on \"public\".\"t_1\" for role \"writer\" on server \"dr\"",
        hint: "Map the calling role to the table's owner there, or to a role with BYPASSRLS.",
        way: &[(There, "ALTER ROLE writer BYPASSRLS")],
        again: "",
    },
    Case {
        lead: &[(There, "ALTER ROLE writer NOBYPASSRLS")],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('t', '5', since => '0')",
        code: "0A000",
        message: "row-level security is active",
        hint: "Map the calling role to the table's owner there",
        way: &[(Here, "ALTER USER MAPPING FOR loader SERVER dr OPTIONS (SET user 'postgres')")],
        again: "",
    },
    Case {
        lead: &[
            (There, "ALTER TABLE t_1 DISABLE ROW LEVEL SECURITY"),
            (Here, "ALTER USER MAPPING FOR loader SERVER dr OPTIONS (SET user 'writer')"),
        ],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('t', '15', since => '0')",
        code: "42501",
        message: "cannot create partition \"public\".\"t_2\"",
        hint: "Call as the owner of the table, with CREATE on its schema, or let the owner create the partition",
        way: &[(Who, "postgres")],
        again: "",
    },
    Case {
        lead: &[
            (Source, "DROP TABLE t_1"),
            (There, "GRANT INSERT, TRUNCATE ON t_2 TO writer"),
        ],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('t', '15', since => '0', vanished => 'drop')",
        code: "42501",
        message: "cannot drop partition \"public\".\"t_1\"",
        hint: "Call as its owner, or pass vanished => 'keep'.",
        way: &[],
        again: "SELECT * FROM cgpsync_sync('t', '15', since => '0', vanished => 'keep')",
    },
    Case {
        lead: &[(There, "CREATE VIEW january AS SELECT i FROM t_1")],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('t', '15', since => '0', vanished => 'drop')",
        code: "2BP01",
        message: "cannot drop partition \"public\".\"t_1\"",
        hint: "Drop what depends on it first, or pass vanished => 'keep'.",
        way: &[(There, "DROP VIEW january")],
        again: "",
    },
    // Whether rows are in the way there has to be asked.
    Case {
        lead: &[(There, "GRANT INSERT, TRUNCATE ON coarse_1 TO writer"), (Here, "GRANT INSERT, TRUNCATE ON coarse TO loader")],
        who: "loader",
        call: "SELECT * FROM cgpsync_sync('coarse', '15')",
        code: "42501",
        message: "permission denied for table coarse_1",
        hint: "GRANT SELECT ON \"public\".\"coarse_1\"",
        way: &[(There, "GRANT SELECT ON \"public\".\"coarse_1\" TO writer")],
        again: "",
    },
    Case {
        lead: &[(
            There,
            "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN CASE NEW.i WHEN 15 THEN NULL ELSE NEW END; END';
             CREATE TRIGGER skip BEFORE INSERT ON t_2 FOR EACH ROW EXECUTE FUNCTION skip()",
        )],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('t', '15', since => '10')",
        code: "08P01",
        message: "1 rows were sent and 0 loaded",
        hint: "Disable the trigger on this partition for the sync, or let it raise an error.",
        way: &[(There, "ALTER TABLE t_2 DISABLE TRIGGER skip")],
        again: "",
    },
    Case {
        lead: &[(There, "ALTER TABLE t_2 RENAME TO U&\"t\\00092\"")],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('t', '15', since => '10')",
        code: "0A000",
        message: "has control characters in its name",
        hint: "Rename it there",
        way: &[(There, "ALTER TABLE U&\"t\\00092\" RENAME TO t_2")],
        again: "",
    },
    Case {
        lead: &[(Here, "SELECT cgpsync_attach('halves', 'dr')")],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('halves', '5', source_table => 't')",
        code: "0A000",
        message: "is partitioned by more than columns of built-in types and enums",
        hint: "or partition it by columns of built-in types",
        way: &[(There, "DROP TABLE halves; CREATE TABLE halves (i int) PARTITION BY LIST (i); CREATE TABLE halves_1 PARTITION OF halves DEFAULT")],
        again: "",
    },
    Case {
        lead: &[(Here, "ALTER SERVER dr OPTIONS (SET dbname 'latin')")],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('t', '15', since => '10')",
        code: "0A000",
        message: "has a database in another encoding than UTF8",
        hint: "Name a database with encoding UTF8: ALTER SERVER \"dr\" OPTIONS (SET dbname '...').",
        way: &[(Here, "ALTER SERVER dr OPTIONS (SET dbname 'postgres')")],
        again: "",
    },
];

/// Of identity columns that a partition has not got, as before PostgreSQL 17.
const IDENTITIES: &[Case] = &[
    Case {
        lead: &[],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('numbered', '5', columns => ARRAY['i'])",
        code: "0A000",
        message: "is not copied and an identity of one table only",
        hint: "Name it in columns as well",
        way: &[],
        again: "SELECT * FROM cgpsync_sync('numbered', '5', columns => ARRAY['i', 'n'])",
    },
    Case {
        lead: &[],
        who: "postgres",
        call: "SELECT * FROM cgpsync_sync('numbered', '5', columns => ARRAY['i'], since => '0')",
        code: "0A000",
        message: "is not copied and an identity of one table only",
        hint: "or give it a default instead.",
        way: &[(
            There,
            "ALTER TABLE numbered ALTER n DROP IDENTITY, ALTER n SET DEFAULT 7",
        )],
        again: "",
    },
];

#[test]
fn what_a_target_elsewhere_wants() {
    let trio = Trio::new();
    let pair = &trio.pair;
    plain_roles(pair);
    trio.both(
        "CREATE TABLE t (i int) PARTITION BY RANGE (i); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);
         CREATE TABLE coarse (i int) PARTITION BY RANGE (i); CREATE TABLE numbered (i int, n int NOT NULL) PARTITION BY RANGE (i);
         CREATE TABLE numbered_1 PARTITION OF numbered FOR VALUES FROM (0) TO (10)",
    );
    pair.source.sql(
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20); INSERT INTO t VALUES (5), (15); CREATE TABLE invoices (i int);
         CREATE TABLE coarse_2 PARTITION OF coarse FOR VALUES FROM (10) TO (20); INSERT INTO numbered VALUES (5, 5);
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    );
    trio.there.sql(
        "CREATE SCHEMA app; CREATE TABLE app.orders (i int); CREATE ROLE writer LOGIN PASSWORD 'secret';
         CREATE TABLE coarse_1 PARTITION OF coarse FOR VALUES FROM (0) TO (20);
         CREATE TABLE halves (i int) PARTITION BY LIST ((i / 2)); CREATE TABLE halves_1 PARTITION OF halves DEFAULT;
         ALTER TABLE numbered ALTER n ADD GENERATED BY DEFAULT AS IDENTITY",
    );
    trio.there
        .sql("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    ["t", "coarse", "numbered"].iter().for_each(|table| trio.attach(table));
    pair.target.sql(
        "ALTER ROLE ALL SET cgpsync.source = 'src'; GRANT USAGE ON FOREIGN SERVER dr TO loader;
         CREATE USER MAPPING FOR loader SERVER dr OPTIONS (user 'postgres', password 'secret')",
    );
    let mut scene = Scene::of_three(&trio);
    scene.follow(ELSEWHERE);
    if swapped::major(&trio.there) < 17 {
        scene.follow(IDENTITIES);
    }
}
