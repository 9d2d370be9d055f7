use super::*;

const INT4: u32 = 23;
const TEXT: u32 = 25;

fn kind(oid: u32) -> Type {
    Type::BuiltIn {
        oid,
        name: format!("type {oid}"),
        modifier: -1,
    }
}

fn here(name: &str, type_oid: u32) -> Column {
    Column {
        read: None,
        name: name.into(),
        type_oid,
        type_name: format!("type {type_oid}"),
        kind: kind(type_oid),
        collation: None,
        number: 1,
        has_default: false,
        generated: false,
        needed: false,
        not_null: false,
        binary_safe: true,
    }
}

fn there(name: &str, type_oid: u32) -> Column {
    here(name, type_oid)
}

#[test]
fn order_does_not_matter_and_equal_types_go_binary() {
    let mapping = match_columns(
        &[here("a", INT4), here("b", TEXT)],
        &[there("b", TEXT), there("a", INT4)],
        None,
    )
    .expect("a mapping");
    assert_eq!(mapping.columns, ["a", "b"]);
    assert!(mapping.binary);
    assert!(mapping.differences.is_empty());
}

#[test]
fn a_type_that_differs_or_has_no_portable_binary_form_goes_as_text() {
    let mapping = match_columns(&[here("a", INT4)], &[there("a", TEXT)], None).expect("a mapping");
    assert!(!mapping.binary);
    assert_eq!((mapping.differences.len(), mapping.changes.len()), (0, 1));
    let mut regclass = here("a", 2205);
    regclass.binary_safe = false;
    let mapping = match_columns(&[regclass], &[there("a", 2205)], None).expect("a mapping");
    assert!(!mapping.binary);
}

#[test]
fn values_that_may_change_are_told_apart_and_types_that_mean_something_else_are_refused() {
    let mapping = match_columns(
        &[here("a", TEXT), here("b", INT4)],
        &[there("a", INT4), there("b", TEXT)],
        None,
    )
    .expect("a mapping");
    assert_eq!(
        (mapping.differences.len(), mapping.changing),
        (1, vec!["\"b\"".to_owned()])
    );
    let composite = |names: [&str; 2]| Type::Composite(names.map(|name| (name.to_owned(), kind(INT4))).into());
    let point = Column {
        kind: composite(["x", "y"]),
        ..here("p", 20_000)
    };
    let other = Column {
        kind: composite(["y", "x"]),
        ..there("p", 30_000)
    };
    let error = match_columns(&[point], &[other], None).expect_err("another order");
    assert_eq!(error.sqlstate, sqlstate::DATATYPE_MISMATCH);
    assert!(
        error
            .detail
            .is_some_and(|detail| detail.contains("(x, y) here and (y, x)"))
    );
}

#[test]
fn defaults_and_generated_columns_need_no_source() {
    let mut with_default = here("d", INT4);
    with_default.has_default = true;
    let mut generated = here("g", INT4);
    generated.generated = true;
    let mapping = match_columns(
        &[here("a", INT4), with_default, generated],
        &[there("a", INT4), there("g", INT4)],
        None,
    )
    .expect("a mapping");
    assert_eq!(mapping.columns, ["a"]);
}

#[test]
fn every_difference_is_listed_at_once() {
    let error = match_columns(
        &[here("a", INT4), here("only_here", INT4)],
        &[there("a", INT4), there("only_there", INT4)],
        None,
    )
    .expect_err("two differences");
    let detail = error.detail.expect("a detail");
    assert!(
        detail.contains("only_here") && detail.contains("only_there"),
        "{detail}"
    );
}

#[test]
fn intervals_that_may_be_infinite_do_not_go_to_older_servers_in_binary() {
    let source = [there("a", INT4), there("b", 1186), there("c", 1187)];
    let newer = |columns: &[&str], from, to| has_newer_values(&names(columns), &source, from, to);
    assert!(newer(&["a", "b"], 170_002, 150_010) && newer(&["c"], 180_000, 160_000));
    assert!(!newer(&["a"], 170_002, 150_010));
    assert!(!newer(&["b"], 160_004, 150_010) && !newer(&["b"], 180_000, 170_000));
}

fn names(wanted: &[&str]) -> Vec<String> {
    wanted.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn wanted_columns_alone_are_copied_in_the_targets_order() {
    let target = [here("a", INT4), here("b", TEXT), here("c", INT4)];
    let source = [there("d", TEXT), there("c", INT4), there("a", INT4), there("b", INT4)];
    let mapping = match_columns(&target, &source, Some(&names(&["c", "a"]))).expect("a mapping");
    assert_eq!(mapping.columns, ["a", "c"]);
    assert!(mapping.binary, "the column that differs is not copied");
    assert!(mapping.differences.is_empty());
}

#[test]
fn wanted_columns_must_be_on_both_sides() {
    let wanted = names(&["a", "x", "b", "c"]);
    let error = match_columns(
        &[here("a", INT4), here("b", TEXT)],
        &[there("a", INT4), there("c", INT4)],
        Some(&wanted),
    )
    .expect_err("three are missing");
    assert_eq!(error.sqlstate, sqlstate::UNDEFINED_COLUMN);
    assert_eq!(
        error.detail.expect("a detail"),
        "Column \"x\" is missing here and on the source; column \"b\" is missing on the source; column \"c\" is missing here."
    );
}

#[test]
fn what_is_computed_here_alone_may_be_another_value() {
    let target = [
        here("a", INT4),
        Column {
            generated: true,
            ..here("g", INT4)
        },
    ];
    let changes = |generated: bool| {
        let column = Column {
            generated,
            ..there("g", INT4)
        };
        match_columns(&target, &[there("a", INT4), column], None)
            .expect("a mapping")
            .changes
    };
    assert_eq!(
        changes(false),
        ["column \"g\" is generated here and written on the source"]
    );
    assert!(changes(true).is_empty());
}

#[test]
fn columns_left_out_must_do_without_a_value_and_generated_ones_cannot_be_wanted() {
    let needed = |name| Column {
        needed: true,
        ..here(name, INT4)
    };
    let with_default = Column {
        has_default: true,
        ..needed("d")
    };
    let generated = Column {
        generated: true,
        ..needed("g")
    };
    let target = [here("a", INT4), here("b", INT4), with_default, generated, needed("n")];
    let source: Vec<Column> = target.iter().map(|c| there(&c.name, INT4)).collect();
    let mapping = match_columns(&target, &source, Some(&names(&["a", "n"]))).expect("the rest can be left out");
    assert!(mapping.changes.is_empty());
    let error = match_columns(&target, &source, Some(&names(&["a", "g"]))).expect_err("both at once");
    assert_eq!(error.sqlstate, sqlstate::INVALID_PARAMETER_VALUE);
    let detail = error.detail.expect("a detail");
    assert!(
        detail.contains("\"g\" is generated") && detail.contains("\"n\" is left out"),
        "{detail}"
    );
}
