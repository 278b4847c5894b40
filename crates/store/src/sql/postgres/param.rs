//! Values for statements.

use std::fmt;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// A value for a statement, with the type that the statement has for it.
pub(super) type Param<'a> = (Box<dyn ToSql + Sync + Send + 'a>, Type);

/// A value that is sent and never shown: the driver would log the values of every statement.
struct Unseen<T>(T);

impl<T> fmt::Debug for Unseen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl<T: ToSql> ToSql for Unseen<T> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.to_sql(kind, out)
    }

    fn accepts(kind: &Type) -> bool {
        T::accepts(kind)
    }

    to_sql_checked!();
}

/// A text.
pub(super) fn text(value: &str) -> Param<'_> {
    (Box::new(Unseen(value)), Type::TEXT)
}

/// A text or NULL.
pub(super) fn maybe_text(value: Option<&str>) -> Param<'_> {
    (Box::new(Unseen(value)), Type::TEXT)
}

/// Bytes.
pub(super) fn bytes(value: &[u8]) -> Param<'_> {
    (Box::new(Unseen(value)), Type::BYTEA)
}

/// A number, or NULL.
pub(super) fn number<'a>(value: impl Into<Option<i64>>) -> Param<'a> {
    (Box::new(Unseen(value.into())), Type::INT8)
}

/// A small number, such as a day, or NULL.
pub(super) fn small<'a>(value: impl Into<Option<i32>>) -> Param<'a> {
    (Box::new(Unseen(value.into())), Type::INT4)
}

/// Yes or no.
pub(super) fn flag<'a>(value: bool) -> Param<'a> {
    (Box::new(Unseen(value)), Type::BOOL)
}

/// Many byte strings.
pub(super) fn many_bytes(values: Vec<&[u8]>) -> Param<'_> {
    (Box::new(Unseen(values)), Type::BYTEA_ARRAY)
}

/// Many texts.
pub(super) fn many_texts<'a>(values: Vec<String>) -> Param<'a> {
    (Box::new(Unseen(values)), Type::TEXT_ARRAY)
}
