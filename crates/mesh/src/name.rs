//! Names: of services, of roles, of scopes. Each is checked where it enters.

use tegata_core::name;

name! {
    /// A service. Also the first segment of its paths, and a label in the names of meshes.
    ServiceName, "a service name",
    "1 to 63 of `a-z`, `0-9` and `-`, beginning and ending with a letter or digit",
    |text| (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-') && !text.ends_with('-')
}

name! {
    /// A role. Role names travel in a header, joined by commas, so they hold none.
    RoleName, "a role name", "1 to 64 of `a-z`, `0-9`, `_`, `.`, `:` and `-`",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()
            || matches!(b, b'_' | b'.' | b':' | b'-'))
}

name! {
    /// A scope (RFC 6749 §3.3).
    Scope, "a scope", "1 to 128 visible ASCII characters other than `\"` and `\\`",
    |text| (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_could_leave_their_place() {
        for bad in ["", "..", "a/b", "A", "-a", "a-", "a b", "é", ".well-known", &"a".repeat(64)] {
            assert!(ServiceName::new(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a,b", "A", "a b", "a\r\nX: y", "é", &"a".repeat(65)] {
            assert!(RoleName::new(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a b", "a\"b", "a\\b", "é"] {
            assert!(Scope::new(bad).is_err(), "{bad:?}");
        }
        assert!(RoleName::new("billing:read_only.v2-x").is_ok());
        assert!(Scope::new("https://api.example/orders.read").is_ok());
    }

    #[test]
    fn an_error_bounds_and_escapes_what_it_echoes() {
        let error = RoleName::new(&"\n".repeat(500)).unwrap_err().to_string();
        assert!(error.len() < 400 && !error.contains('\n'), "{error}");
    }
}
