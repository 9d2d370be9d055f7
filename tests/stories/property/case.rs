//! Random pairs of schemas. Whatever is a bound is one of [`CUTS`] values; a row's key is a bound,
//! the value right after it, or the one right before the next bound. So the points of this grid
//! (`family.rs`) stand for every value there is.

use super::column::Column;
pub use super::family::{CUTS, Family, POINTS};
use super::look::{Point, besides};
use crate::support::dice::Dice;

/// A column that a level is partitioned by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Key {
    /// RANGE on k
    Time,
    /// LIST on l
    Place,
    /// HASH on h
    Hash,
}

/// What a partition takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// from one cut to another; None is MINVALUE or MAXVALUE
    Range(Option<usize>, Option<usize>),
    List(Vec<Option<&'static str>>),
    Hash(u64, u64),
    Default,
}

impl Bound {
    /// As CREATE TABLE … PARTITION OF has it; `grid` has the values.
    pub fn sql(&self, grid: &[String]) -> String {
        let cut = |cut: &Option<usize>, open: &str| match cut {
            Some(cut) => format!("'{}'", grid[3 * cut]),
            None => open.to_owned(),
        };
        match self {
            Bound::Range(from, to) => {
                let (from, to) = (cut(from, "MINVALUE"), cut(to, "MAXVALUE"));
                format!("FOR VALUES FROM ({from}) TO ({to})")
            }
            Bound::List(values) => {
                let value = |v: &Option<&str>| v.map_or("NULL".to_owned(), |v| format!("'{v}'"));
                let values: Vec<String> = values.iter().map(value).collect();
                format!("FOR VALUES IN ({})", values.join(", "))
            }
            Bound::Hash(m, r) => format!("FOR VALUES WITH (MODULUS {m}, REMAINDER {r})"),
            Bound::Default => "DEFAULT".to_owned(),
        }
    }
}

/// A relation with what is below it.
#[derive(Clone, Debug)]
pub struct Tree {
    /// None: a leaf
    pub key: Option<Key>,
    pub parts: Vec<(Bound, Tree)>,
}

impl Tree {
    pub const LEAF: Tree = Tree {
        key: None,
        parts: Vec::new(),
    };

    /// True if some level of it has that key.
    pub fn has(&self, key: Key) -> bool {
        self.key == Some(key) || self.parts.iter().any(|(_, part)| part.has(key))
    }
}

type Window = (Option<usize>, Option<usize>);

/// A tree of these levels within `window`.
pub fn grow(dice: &mut Dice, keys: &[Key], window: Window, labels: &[&'static str]) -> Tree {
    let Some((&key, below)) = keys.split_first() else {
        return Tree::LEAF;
    };
    let bounds = match key {
        Key::Time => ranges(dice, window),
        Key::Place => lists(dice, labels),
        Key::Hash => {
            let modulus = 2 + dice.below(3);
            (0..modulus).map(|r| Bound::Hash(modulus, r)).collect()
        }
    };
    let part = |bound: Bound| {
        let window = match bound {
            Bound::Range(from, to) => (from, to),
            _ => window,
        };
        // A branch may be less deep than its siblings.
        let below = if dice.below(7) == 0 { &[] } else { below };
        let tree = grow(dice, below, window, labels);
        (bound, tree)
    };
    Tree {
        key: Some(key),
        parts: bounds.into_iter().map(part).collect(),
    }
}

fn ranges(dice: &mut Dice, (from, to): Window) -> Vec<Bound> {
    let mut bounds = Vec::new();
    let mut at = from.unwrap_or(dice.below(3) as usize);
    let end = to.unwrap_or(3 + dice.below(4) as usize);
    if from.is_none() && dice.below(8) == 0 {
        bounds.push(Bound::Range(None, Some(at)));
    }
    while at < end {
        let next = (at + [1, 1, 1, 2, 3][dice.below(5) as usize]).min(end);
        if dice.below(10) > 0 {
            bounds.push(Bound::Range(Some(at), Some(next)));
        }
        at = next;
    }
    if to.is_none() && dice.below(8) == 0 {
        bounds.push(Bound::Range(Some(at), None));
    }
    if dice.below(6) == 0 {
        bounds.push(Bound::Default);
    }
    bounds
}

fn lists(dice: &mut Dice, labels: &[&'static str]) -> Vec<Bound> {
    let mut groups: Vec<Vec<Option<&'static str>>> = Vec::new();
    for label in labels {
        match dice.below(10) {
            0 => {}
            1 | 2 if !groups.is_empty() => groups[0].push(Some(label)),
            _ => groups.push(vec![Some(label)]),
        }
    }
    if dice.below(5) == 0 {
        match groups.first_mut() {
            Some(group) if dice.below(2) == 0 => group.push(None),
            _ => groups.push(vec![None]),
        }
    }
    let mut bounds: Vec<Bound> = groups.into_iter().map(Bound::List).collect();
    if dice.below(6) == 0 {
        bounds.push(Bound::Default);
    }
    bounds
}

/// Another side's tree for the same rows: parts are missing, are one where there were two, or have
/// no levels of their own.
fn bend(dice: &mut Dice, tree: &Tree) -> Tree {
    let mut parts: Vec<(Bound, Tree)> = Vec::new();
    for (bound, below) in &tree.parts {
        if tree.key != Some(Key::Hash) && dice.below(5) == 0 {
            continue;
        }
        if let (Bound::Range(from, to), Some((Bound::Range(_, end), _))) = (bound, parts.last_mut())
            && *from == *end
            && from.is_some()
            && dice.below(8) == 0
        {
            *end = *to;
            continue;
        }
        let below = if dice.below(10) == 0 {
            Tree::LEAF
        } else {
            bend(dice, below)
        };
        parts.push((bound.clone(), below));
    }
    Tree { key: tree.key, parts }
}

/// A column that only the target has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extra {
    None,
    /// its default is 'root'; a leaf may have another one, or none
    Default,
    /// an identity of the root
    Identity,
}

/// What a case is made of.
pub struct Case {
    pub schema: String,
    pub family: Family,
    /// the values of the family, in the target's order
    pub grid: Vec<String>,
    /// the column m
    pub column: Column,
    /// definitions of the collation "words", on the source and here
    pub words: [&'static str; 2],
    /// the source has an order of its own: of labels, of words
    pub other_order: bool,
    /// the LIST key is alike on both sides, but what is equal is not
    pub other_equal: bool,
    /// types of k, on the source and here
    pub keys: [String; 2],
    /// types of l
    pub places: [String; 2],
    /// the LIST key is lower(l)
    pub lower: [bool; 2],
    pub trees: [Tree; 2],
    /// values of l that rows may have
    pub values: Vec<Option<&'static str>>,
    /// the target's enum lacks the last label
    pub lacks_label: bool,
    /// values of h
    pub hashes: usize,
    pub extra: Extra,
    /// the source has a column that is not copied
    pub more_there: bool,
    /// the table's name on the source
    pub name_there: &'static str,
    /// the target has another order of columns, and one that was dropped
    pub shuffled: bool,
}

const SHAPES: &[&[Key]] = &[
    &[Key::Time],
    &[Key::Time],
    &[Key::Time],
    &[Key::Place, Key::Time],
    &[Key::Place, Key::Time],
    &[Key::Time, Key::Place],
    &[Key::Place],
    &[Key::Time, Key::Time],
    &[Key::Time, Key::Hash],
    &[Key::Place, Key::Time, Key::Hash],
    &[Key::Hash, Key::Time],
    &[Key::Time, Key::Place, Key::Time],
    &[Key::Hash],
    &[],
];

impl Case {
    /// The case of a seed.
    pub fn new(seed: u64, dice: &mut Dice, has_icu: bool, is_elsewhere: bool) -> Case {
        let schema = format!("p{seed}");
        let family = Family::random(dice, has_icu);
        let keys = family.types(dice, has_icu).map(|t| t.replace('@', &schema));
        let words = [(); 2].map(|()| if has_icu { dice.pick(&WORDS) } else { WORDS[0] });
        let labels: &[&'static str] = &["eu", "us", "asia", "af"];
        let (places, mut lower, lacks_label) = place_types(dice, &schema, has_icu);
        // What a target elsewhere cannot have is tried now and then.
        let is_plain = is_elsewhere && dice.below(8) > 0;
        lower = lower.map(|lower| lower && !is_plain);
        let shape = dice.pick(SHAPES);
        let there = grow(dice, shape, (None, None), labels);
        let mut here = match dice.below(10) {
            0..=2 => there.clone(),
            3..=6 => bend(dice, &there),
            _ => {
                let shape = dice.pick(SHAPES);
                grow(dice, shape, (None, None), labels)
            }
        };
        if lacks_label {
            forget(&mut here, "af");
        }
        let trees = [there, here];
        let mut values = vec![Some("eu"), Some("us")];
        if trees.iter().any(|t| t.has(Key::Place)) {
            values.extend([Some("asia"), Some("af"), None]);
            if lower != [false; 2] || places.iter().any(|place| place.contains("blind")) {
                values.push(Some("EU"));
            }
        }
        let hashes = if trees.iter().any(|t| t.has(Key::Hash)) { 5 } else { 1 };
        let other_order = match family {
            Family::Label => dice.below(4) > 0,
            Family::Mixed => keys[0] != keys[1] || words[0] != words[1],
            _ => false,
        };
        let other_equal = places[0].contains("blind") != places[1].contains("blind");
        Case {
            column: Column::random(dice),
            grid: Vec::new(),
            words,
            other_order,
            other_equal,
            schema,
            family,
            keys,
            places,
            lower,
            trees,
            values,
            lacks_label,
            hashes,
            extra: match dice.pick(&[Extra::None, Extra::None, Extra::Default, Extra::Identity]) {
                Extra::Identity if is_plain => Extra::Default,
                extra => extra,
            },
            more_there: dice.below(6) == 0,
            name_there: dice.pick(&["t", "t", "t", "origin"]),
            shuffled: dice.below(3) == 0,
        }
    }

    /// True if the keys have the same types on both sides.
    pub fn is_alike(&self) -> bool {
        self.keys[0] == self.keys[1]
            && self.places[0] == self.places[1]
            && self.lower[0] == self.lower[1]
            && !self.lacks_label
            && !self.other_order
    }

    /// True if the label of a point is no label here.
    pub fn has_no_label(&self, point: Point) -> bool {
        self.lacks_label && self.values[besides(point) % self.values.len()] == Some("af")
    }

    /// The role that calls, and the one that it is on the source.
    pub fn role(&self) -> String {
        self.schema.replace('p', "r")
    }

    /// The value of a point of the grid.
    pub fn value(&self, point: usize) -> &str {
        &self.grid[point]
    }

    /// The key that a level of this tree on one side (0: source) is partitioned by.
    pub fn key_sql(&self, side: usize, key: Key) -> &'static str {
        match key {
            Key::Time => "RANGE (k)",
            Key::Place if self.lower[side] => "LIST (lower(l))",
            Key::Place => "LIST (l)",
            Key::Hash => "HASH (h)",
        }
    }
}

/// Definitions of a collation that sorts words its own way.
const WORDS: [&str; 3] = [
    "provider = libc, locale = 'C'",
    "provider = icu, locale = 'en-US'",
    "provider = icu, locale = 'en-US-u-kf-upper'",
];

/// Types of l on both sides, whether lower(l) is the key, and whether the target's enum lacks a
/// label.
fn place_types(dice: &mut Dice, schema: &str, has_icu: bool) -> ([String; 2], [bool; 2], bool) {
    let word = |dice: &mut Dice| dice.pick(&["text", "text", "varchar(10)", "@.a_word"]);
    let enumeration = "@.a_place";
    let blind = "text COLLATE @.blind";
    let (types, lower, lacks) = match dice.below(if has_icu { 8 } else { 6 }) {
        6 => (["text", blind], [false; 2], false),
        7 => ([blind, dice.pick(&["text", blind])], [false; 2], false),
        0 => ([enumeration; 2], [false; 2], false),
        1 => ([enumeration; 2], [false; 2], true),
        2 => ([word(dice), word(dice)], [true; 2], false),
        3 => (["text"; 2], [false; 2], false),
        _ => ([word(dice), word(dice)], [false; 2], false),
    };
    (types.map(|t| t.replace('@', schema)), lower, lacks)
}

/// Takes a label out of every LIST bound.
fn forget(tree: &mut Tree, label: &str) {
    tree.parts.retain_mut(|(bound, below)| {
        forget(below, label);
        match bound {
            Bound::List(values) => {
                values.retain(|v| *v != Some(label));
                !values.is_empty()
            }
            _ => true,
        }
    });
}
