//! Types as people read them, for messages that have to tell two of one name apart.

use super::Type;
use std::fmt;

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::BuiltIn { oid, name, modifier } => write!(f, "{name}{}", modifier_text(*oid, *modifier)),
            Type::Array(inner) => write!(f, "{inner}[]"),
            Type::Range(inner, _) => write!(f, "range of {inner}"),
            Type::Multirange(inner, _) => write!(f, "multirange of {inner}"),
            Type::Enum(labels) => write!(f, "enum ({})", labels.join(", ")),
            Type::Composite(attributes) => {
                let attribute = |(name, kind): &(String, Type)| format!("{name} {kind}");
                let attributes: Vec<String> = attributes.iter().map(attribute).collect();
                write!(f, "({})", attributes.join(", "))
            }
            Type::Other { name, modifier: -1 } => write!(f, "{name}"),
            Type::Other { name, modifier } => write!(f, "{name} with modifier {modifier}"),
        }
    }
}

/// What format_type adds to a name for a modifier of the kinds that there are.
fn modifier_text(oid: u32, modifier: i32) -> String {
    match (oid, modifier) {
        (_, -1) => String::new(),
        (1700, _) => {
            let bits = modifier - 4;
            format!("({},{})", (bits >> 16) & 0xffff, ((bits & 0x7ff) ^ 1024) - 1024)
        }
        (1042 | 1043, _) => format!("({})", modifier - 4),
        (1083 | 1114 | 1184 | 1266 | 1560 | 1562, _) => format!("({modifier})"),
        // All digits are none to be named.
        (1186, _) if modifier & 0xffff != 0xffff => format!("({})", modifier & 0xffff),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Order;
    use super::Type;

    #[test]
    fn types_are_told_by_what_they_are_made_of() {
        let built_in = |oid, name: &str, modifier| Type::BuiltIn {
            oid,
            name: name.to_owned(),
            modifier,
        };
        let numeric = built_in(1700, "numeric", ((18 << 16) | 6) + 4);
        assert_eq!(numeric.to_string(), "numeric(18,6)");
        assert_eq!(Type::Array(Box::new(numeric.clone())).to_string(), "numeric(18,6)[]");
        assert_eq!(
            Type::Range(Box::new(numeric), Order::new(None, None)).to_string(),
            "range of numeric(18,6)"
        );
        assert_eq!(built_in(1043, "varchar", 12).to_string(), "varchar(8)");
        assert_eq!(built_in(1186, "interval", 0x7fff_0000).to_string(), "interval(0)");
        let point = Type::Composite(vec![
            ("x".to_owned(), built_in(701, "float8", -1)),
            ("at".to_owned(), built_in(1114, "timestamp", 0)),
        ]);
        assert_eq!(point.to_string(), "(x float8, at timestamp(0))");
    }
}
