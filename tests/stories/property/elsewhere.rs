//! A target on another server, which a foreign table here stands for.

use super::calls::Story;
use super::case::{Case, Extra};
use super::model::Violation;
use super::roles::ZONES;
use super::world::{HERE, TARGET, World};
use crate::support::dice::number;

/// Whether the target of the case of a seed is elsewhere: PROPERTY_REMOTE=1 has all there, 0 none.
pub fn is_chosen(seed: u64) -> bool {
    match number("PROPERTY_REMOTE") {
        Some(all) => all != 0,
        None => seed.is_multiple_of(3),
    }
}

/// A foreign table for the target, and how the caller gets there: as itself, in a time zone that must not matter, or as somebody
/// who does not own the table.
pub fn attach(world: &mut World) {
    let (schema, role) = (world.case.schema.clone(), world.case.role());
    let zone = world.dice.pick(&ZONES);
    world.must(TARGET, &format!("ALTER ROLE {role} SET timezone = '{zone}'"));
    let other = world.dice.pick(&[&role, "postgres"]).to_owned();
    world.must(
        HERE,
        &format!(
            "CREATE USER MAPPING FOR {role} SERVER dr OPTIONS (user '{other}', password 'secret'); CREATE SCHEMA {schema};
             SELECT cgpsync_attach('{schema}.t', 'dr')"
        ),
    );
}

/// Takes that away.
pub fn detach(world: &mut World) {
    let (schema, role) = (world.case.schema.clone(), world.case.role());
    world.must(
        HERE,
        &format!("DROP SCHEMA {schema} CASCADE; DROP USER MAPPING FOR {role} SERVER dr"),
    );
}

/// Whether that error says that the table cannot be a target elsewhere.
pub fn is_refusal(code: &str, text: &str) -> bool {
    let whys = [
        "is partitioned by more than columns of built-in types and enums",
        "is not copied and an identity of one table only",
    ];
    code == "0A000" && whys.iter().any(|why| text.contains(why))
}

/// A table is refused that need not be.
pub fn refused(world: &World, story: &mut Story, text: &str) {
    story.is_refused = true;
    if world.there.is_none() || is_plain(&world.case) {
        story.violations.push(Violation {
            kind: "elsewhere: a table is refused that need not be",
            text: text.to_owned(),
        });
    }
}

/// True if nothing of the target keeps it from being elsewhere.
fn is_plain(case: &Case) -> bool {
    !case.lower[TARGET] && case.extra != Extra::Identity
}
