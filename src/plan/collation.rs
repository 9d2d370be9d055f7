//! What collations do, as far as their server tells: names prove nothing about another one's.

/// How a column or key sorts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collation {
    /// what it is made of, for people
    pub locale: String,
    /// provider, locale, rules and version: the same implementation sorts alike. None where no version is told
    pub identity: Option<String>,
    /// by the bytes of UTF8, whatever is sorted
    pub bytes: bool,
    /// by bytes, of whatever encoding
    pub own_bytes: bool,
    /// strings that differ are never equal
    pub deterministic: bool,
}

impl Collation {
    /// From what [`sql`] gives.
    pub fn parse(text: &str) -> Option<Collation> {
        let (flags, rest) = text.split_at_checked(2)?;
        let (locale, identity) = rest.split_once('\n')?;
        Some(Collation {
            locale: locale.to_owned(),
            identity: (!identity.is_empty()).then(|| identity.to_owned()),
            bytes: flags.starts_with('b'),
            own_bytes: flags.starts_with(['b', 'o']),
            deterministic: flags.ends_with('d'),
        })
    }

    /// True when both surely sort all strings alike.
    pub fn sorts_as(&self, other: &Collation) -> bool {
        // Bytes of two encodings come in two orders, whichever implementation compares them.
        let is_same = self.identity.is_some() && self.identity == other.identity && self.bytes == other.bytes;
        (self.bytes && other.bytes) || (is_same && self.deterministic == other.deterministic)
    }
}

/// Encodings whose bytes sort as those of UTF8 do: those of SQL_ASCII must be UTF8 to be copied at all.
const SORT_AS_UTF8: &str = "('UTF8', 'LATIN1', 'SQL_ASCII')";

/// Locales of the C library that compare bytes: PostgreSQL itself takes them to have no versions.
fn is_bytes(locale: &str) -> String {
    format!("({locale} IN ('C', 'POSIX') OR {locale} LIKE 'C.%')")
}

/// Collation l of pg_collation as text for [`Collation::parse`], null without one. `version` is the server's number; before 9.1 there is one
/// locale for column a of pg_attribute, if that is text.
pub fn sql(version: u32) -> String {
    let bytes = |test: &str| {
        format!(
            "CASE WHEN NOT ({test}) THEN '-' WHEN current_setting('server_encoding') IN {SORT_AS_UTF8} THEN 'b' ELSE 'o' END"
        )
    };
    if version < 90_100 {
        let locale = "current_setting('lc_collate')";
        return format!(
            "CASE WHEN a.atttypid IN (SELECT y.oid FROM pg_type y WHERE y.typname IN ('text', 'varchar', 'bpchar'))
             THEN {} || 'd' || {locale} || chr(10) END",
            bytes(&is_bytes(locale))
        );
    }
    if version < 100_000 {
        let locale = "(SELECT CASE WHEN l.collname = 'default' THEN CAST(b.datcollate AS text) ELSE CAST(l.collcollate AS text) END
                       FROM pg_database b WHERE b.datname = current_database())";
        return format!(
            "CASE WHEN l.collname IS NOT NULL THEN {} || 'd' || COALESCE({locale}, '') || chr(10) END",
            bytes(&is_bytes(locale))
        );
    }
    // to_jsonb reads columns that only some versions have. Collations that came with the server are there while this is asked.
    format!(
        "CASE WHEN l.collname IS NOT NULL THEN
           (SELECT {} || CASE WHEN COALESCE(CAST(k.j ->> 'collisdeterministic' AS boolean), true) THEN 'd' ELSE 'n' END
                   || k.locale || chr(10)
                   || COALESCE(k.p || ' ' || lower(replace(k.locale, '-', '')) || ' ' || COALESCE(k.rules, '') || ' ' || k.version, '')
            FROM (SELECT s.p, s.j,
                         COALESCE(CASE WHEN s.p = 'c' THEN s.o ->> (s.prefix || 'collate')
                                       ELSE COALESCE(s.o ->> (s.prefix || 'locale'), s.o ->> (s.prefix || 'iculocale'),
                                                     s.o ->> (s.prefix || 'collate')) END, '') AS locale,
                         s.o ->> (s.prefix || 'icurules') AS rules,
                         COALESCE(pg_collation_actual_version(s.oid),
                                  CASE WHEN s.p = 'c' THEN
                                    (SELECT pg_collation_actual_version(x.oid) FROM pg_collation x
                                     WHERE x.collprovider = 'c' AND x.oid < 16384 AND pg_collation_actual_version(x.oid) IS NOT NULL LIMIT 1) END) AS version
                  FROM (SELECT q.*, CASE WHEN q.is_default THEN COALESCE(q.d ->> 'datlocprovider', 'c') ELSE q.j ->> 'collprovider' END AS p,
                               CASE WHEN q.is_default THEN q.d ELSE q.j END AS o,
                               CASE WHEN q.is_default THEN 'dat' ELSE 'coll' END AS prefix
                        FROM (SELECT l.oid, to_jsonb(l) AS j, to_jsonb(b) AS d, l.collprovider = 'd' AS is_default
                              FROM pg_database b WHERE b.datname = current_database()) q) s) k) END",
        bytes(&format!("(k.p = 'b' OR (k.p = 'c' AND {}))", is_bytes("k.locale")))
    )
}

#[cfg(test)]
mod tests {
    use super::{Collation, sql};

    #[test]
    fn bytes_sort_alike_and_others_if_they_are_the_same_implementation() {
        let read = |text: &str| Collation::parse(text).expect("a collation");
        let c = read("bdC\n");
        let posix = read("bdPOSIX\n");
        let english = read("-den_US.utf8\nc en_us.utf8  2.36");
        assert!(c.sorts_as(&posix) && !c.sorts_as(&english));
        assert!(english.sorts_as(&read("-den_US.UTF-8\nc en_us.utf8  2.36")));
        assert!(!english.sorts_as(&read("-den_US.UTF-8\nc en_us.utf8  2.28")));
        let (utf8, japanese) = (read("bdC\nb c  1"), read("odC\nb c  1"));
        assert!(utf8.sorts_as(&utf8.clone()) && !utf8.sorts_as(&japanese));
        let unknown = read("-den_US.utf8\n");
        assert!(!unknown.sorts_as(&unknown.clone()));
        assert!(!read("-nund\ni und  153.1").deterministic);
        assert_eq!(Collation::parse("b"), None);
        assert_eq!(Collation::parse("bdC"), None);
    }

    #[test]
    fn older_servers_are_asked_for_what_they_have() {
        assert!(!sql(90_400).contains("jsonb") && !sql(90_400).contains("collprovider"));
        assert!(!sql(80_300).contains("collname"));
        assert!(sql(130_000).contains("pg_collation_actual_version"));
    }
}
