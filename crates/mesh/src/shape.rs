//! Paths that carry SQL. A second line of defence in front of services that build queries from
//! path segments; it replaces nobody's bound parameters.
//!
//! A shape is two keywords as whole words, in any case, with anything between them, where the first
//! is followed and the second preceded by what separates words in SQL: a space (`%20`, `+`, a
//! no-break space), a comment, a bracket, a quote or an operator. A hyphen or a slash separates
//! words in ordinary paths, not in SQL, so `/credit-union/select-plan` and `/delete/from` pass.

use crate::path::NormalPath;

/// What a path looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SqlShape {
    /// `UNION … SELECT`.
    UnionSelect,
    /// `DROP … TABLE`.
    DropTable,
    /// `INSERT … INTO`.
    InsertInto,
    /// `DELETE … FROM`.
    DeleteFrom,
}

impl SqlShape {
    const ALL: [Self; 4] = [Self::UnionSelect, Self::DropTable, Self::InsertInto, Self::DeleteFrom];

    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::UnionSelect => "sql_union_select",
            Self::DropTable => "sql_drop_table",
            Self::InsertInto => "sql_insert_into",
            Self::DeleteFrom => "sql_delete_from",
        }
    }

    const fn keywords(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::UnionSelect => (b"union", b"select"),
            Self::DropTable => (b"drop", b"table"),
            Self::InsertInto => (b"insert", b"into"),
            Self::DeleteFrom => (b"delete", b"from"),
        }
    }

    /// The first shape that `path` has. Allocates only where the path holds a separator of SQL,
    /// which ordinary paths do not.
    #[must_use]
    pub fn of(path: &NormalPath<'_>) -> Option<Self> {
        let text = path.as_str().as_bytes();
        if !text.iter().any(|byte| *byte == b'%' || separates(*byte)) {
            return None;
        }
        let text = decode(text);
        Self::ALL.into_iter().find(|shape| {
            let (first, second) = shape.keywords();
            opening(&text, first).is_some_and(|rest| closes(rest, second))
        })
    }
}

/// Whether this byte separates words in SQL. Bytes beyond ASCII do, because databases take several
/// of them for spaces.
const fn separates(byte: u8) -> bool {
    !(byte.is_ascii_alphanumeric()
        || matches!(byte, b'_' | b'-' | b'/' | b'.' | b'~' | b':' | b'@' | b'%'))
}

/// What follows the first keyword: it must not be the end of a longer word, and a separator (or the
/// start of a comment) must come next. A digit may stand before it: `1UNION` is two words to SQL.
fn opening<'t>(text: &'t [u8], keyword: &[u8]) -> Option<&'t [u8]> {
    occurrences(text, keyword).find_map(|(before, after)| {
        let begins = !before.last().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        let ends = match after {
            [b'/', b'*', ..] => true,
            [byte, ..] => separates(*byte),
            [] => false,
        };
        (begins && ends).then_some(after)
    })
}

/// Whether the second keyword stands in `text`, preceded by a separator (or the end of a comment)
/// and not continued as a longer word.
fn closes(text: &[u8], keyword: &[u8]) -> bool {
    occurrences(text, keyword).any(|(before, after)| {
        let begins = match before {
            [.., b'*', b'/'] => true,
            // `/*!50000SELECT*/` is executed by MySQL: digits after a comment's `!`.
            [.., byte] => separates(*byte) || in_version_comment(before),
            [] => false,
        };
        let ends = !after.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        begins && ends
    })
}

fn in_version_comment(before: &[u8]) -> bool {
    let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    before
        .len()
        .checked_sub(digits)
        .and_then(|end| before.get(..end))
        .is_some_and(|head| head.ends_with(b"/*!"))
}

/// Every place where `keyword` stands in lower-case `text`: what is before, and what is after.
fn occurrences<'t>(text: &'t [u8], keyword: &[u8]) -> impl Iterator<Item = (&'t [u8], &'t [u8])> {
    (0..text.len()).filter_map(move |start| {
        let (before, rest) = text.split_at_checked(start)?;
        Some((before, rest.strip_prefix(keyword)?))
    })
}

/// The path with its escapes decoded, `+` as it stands for a space, and in lower case. Escapes in a
/// normal path are well-formed.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
            let (high, low) = (digit().unwrap_or(0), digit().unwrap_or(0));
            u8::try_from(high * 16 + low).unwrap_or(0)
        } else {
            byte
        };
        decoded.push(byte.to_ascii_lowercase());
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::path::Target;

    fn shape(target: &str) -> Option<SqlShape> {
        SqlShape::of(Target::parse(target.as_bytes()).unwrap().path())
    }

    #[test]
    fn sees_sql_in_any_dress() {
        use SqlShape::*;
        for (path, expected) in [
            ("/orders/1%20UNION%20SELECT%20*", UnionSelect),
            ("/orders/1+union+select+1", UnionSelect),
            ("/orders/1+UnIoN+aLl+SeLeCt+1", UnionSelect),
            ("/orders/1'UNION(SELECT(1))", UnionSelect),
            ("/orders/-1%27%20union%20distinct%20select%201--", UnionSelect),
            ("/orders/1UNION%20SELECT", UnionSelect),
            ("/orders/1/**/UNION/**/SELECT/**/1", UnionSelect),
            ("/orders/1/*!50000UNION*/%20/*!50000SELECT*/", UnionSelect),
            ("/orders/1%C2%A0union%C2%A0select", UnionSelect),
            ("/orders/%55%4eION%20%53ELECT", UnionSelect),
            ("/reunion%20union%20select", UnionSelect),
            ("/x',1)%20union%20/*a*/%20select%20@@version", UnionSelect),
            ("/x/drop%20table%20users", DropTable),
            ("/x/DROP+TEMPORARY+TABLE+users", DropTable),
            ("/x/drop/**/table", DropTable),
            ("/x/insert%20into%20users", InsertInto),
            ("/x/INSERT+IGNORE+INTO+users", InsertInto),
            ("/x/delete%20from%20users", DeleteFrom),
            ("/x'||DELETE%20t%20FROM%20users", DeleteFrom),
        ] {
            assert_eq!(shape(path), Some(expected), "{path}");
        }
    }

    #[test]
    fn lets_ordinary_paths_pass() {
        for path in [
            "/",
            "/credit-union/select-plan",
            "/union/select",
            "/delete/from",
            "/reunions%20in%20selection",
            "/drop-off/table-7",
            "/drop%20tables",
            "/backdrop%20tablecloth",
            "/insert+coin",
            "/trade%20union",
            "/select%20a%20union",
            "/union%20station/selected%20works",
            "/from%20delete",
            "/files/deleted%20items%20from",
            "/wiki/Union_Select",
        ] {
            assert_eq!(shape(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn case_and_separator_do_not_matter(
            upper in proptest::collection::vec(any::<bool>(), 12),
            gap in prop_oneof![Just("%20"), Just("+"), Just("/**/"), Just("("), Just("%20all%20")],
        ) {
            let mixed: String = "unionselect".chars().zip(upper)
                .map(|(c, upper)| if upper { c.to_ascii_uppercase() } else { c }).collect();
            let (first, second) = mixed.split_at(5);
            prop_assert_eq!(shape(&format!("/1+{first}{gap}{second}+2")), Some(SqlShape::UnionSelect));
        }

        #[test]
        fn never_panics(path in "/[ -~]{0,40}") {
            if let Ok(target) = Target::parse(path.as_bytes()) {
                let _ = SqlShape::of(target.path());
            }
        }
    }
}
