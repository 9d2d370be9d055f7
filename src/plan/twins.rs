//! Which source relation a unit is read from: the source's partition with exactly the same place, or the rows of the nearest relation that
//! surely has them all.

use super::tree::{Level, Node, Place, Ranks, alike, places, sort_alike};
use super::units::{Leaf, SourceRel, SourceTable, TargetRel};
use crate::error::{Error, Result, sqlstate};
use std::collections::HashMap;

/// Where a unit's rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadFrom {
    /// quoted, qualified
    pub relation: String,
    /// all of its rows; otherwise those that satisfy the unit's partition constraint
    pub whole: bool,
    /// size of what is read, if known
    pub bytes: Option<i64>,
}

/// What the source has for one leaf of the target.
struct Match<'a> {
    /// the nearest relation that may be read and holds the leaf's rows
    readable: &'a Node<SourceRel>,
    /// the relation that holds exactly the leaf's rows
    twin: Option<&'a Node<SourceRel>>,
}

/// How each leaf of the target finds its rows.
pub struct Twins<'a> {
    by_leaf: HashMap<u32, Match<'a>>,
}

impl<'a> Twins<'a> {
    /// Walks both trees side by side, as long as their levels are alike.
    pub fn new(target: &Node<TargetRel>, source: &'a SourceTable, ranks: &Ranks) -> Result<Self> {
        let mut twins = Twins {
            by_leaf: HashMap::new(),
        };
        twins.pair(target, &source.root, &source.root, ranks)?;
        Ok(twins)
    }

    /// `there` holds exactly the rows of `here`; `readable` is it, or what is above it.
    fn pair(
        &mut self,
        here: &Node<TargetRel>,
        there: &'a Node<SourceRel>,
        readable: &'a Node<SourceRel>,
        ranks: &Ranks,
    ) -> Result<()> {
        // Without SELECT on a partition itself its parent gives the same rows.
        let readable = if there.table.readable { there } else { readable };
        let Some(level) = &here.level else {
            let twin = Some(there);
            self.by_leaf.insert(here.table.oid, Match { readable, twin });
            return Ok(());
        };
        let other = match &there.level {
            Some(other) if alike(level, other) => other,
            _ => {
                self.without_twin(level, readable);
                return Ok(());
            }
        };
        let theirs: HashMap<Place, &'a Node<SourceRel>> = places(other, &level.columns, ranks)?
            .into_iter()
            .zip(&other.children)
            .collect();
        for (child, place) in level.children.iter().zip(places(level, &level.columns, ranks)?) {
            match (theirs.get(&place), &child.level) {
                (Some(twin), _) => self.pair(child, twin, readable, ranks)?,
                (None, Some(below)) => self.without_twin(below, readable),
                (None, None) => {
                    let twin = None;
                    self.by_leaf.insert(child.table.oid, Match { readable, twin });
                }
            }
        }
        Ok(())
    }

    fn without_twin(&mut self, level: &Level<TargetRel>, readable: &'a Node<SourceRel>) {
        for child in &level.children {
            match &child.level {
                Some(below) => self.without_twin(below, readable),
                None => {
                    let twin = None;
                    self.by_leaf.insert(child.table.oid, Match { readable, twin });
                }
            }
        }
    }

    /// Where `leaf` is read from.
    pub fn source_of(&self, leaf: &Leaf<'_>, source: &SourceTable) -> Result<ReadFrom> {
        let found = self
            .by_leaf
            .get(&leaf.table.oid)
            .ok_or_else(|| Error::internal(format!("no source for {}", leaf.table.name)))?;
        let bytes = found.twin.and_then(Node::bytes);
        if let Some(twin) = found.twin
            && std::ptr::eq(twin, found.readable)
        {
            return Ok(ReadFrom {
                relation: twin.table.relation.clone(),
                whole: true,
                bytes,
            });
        }
        check_order(leaf, source)?;
        Ok(ReadFrom {
            relation: found.readable.table.relation.clone(),
            whole: false,
            bytes,
        })
    }
}

/// A predicate on text is evaluated by the source in the order of its column there.
fn check_order(leaf: &Leaf<'_>, source: &SourceTable) -> Result<()> {
    for key in &leaf.text_keys {
        // A column that is not text over there has no collation, and text made of it does not sort as its values do.
        let there = source.collations.get(&key.name).map(String::as_str);
        if there.is_some() && sort_alike(key.collation.as_deref(), there) {
            continue;
        }
        return Err(Error::new(
            sqlstate::DATATYPE_MISMATCH,
            format!("partition key \"{}\" sorts differently on the source", key.name),
        )
        .detail(format!(
            "Its collation sorts as \"{}\" here and as \"{}\" there, so a range does not hold the same rows.",
            key.collation.as_deref().unwrap_or(""),
            there.unwrap_or("something that is not text"),
        ))
        .hint("Give the key the same type and COLLATE on both sides, for example text COLLATE \"C\"."));
    }
    Ok(())
}
