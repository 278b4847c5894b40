//! Where the root key lives: `Custody` adapters.

use tegata_core::CustodyRefused;

pub mod file;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;

/// How the root key is kept that wrapped something: the first byte of what it wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    File,
    Token,
}

impl Form {
    const ALL: [Self; 2] = [Self::File, Self::Token];

    const fn byte(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Token => 2,
        }
    }

    const fn place(self) -> &'static str {
        match self {
            Self::File => "in a file or the environment",
            Self::Token => "in a PKCS#11 token",
        }
    }

    /// What follows the first byte of something that was wrapped in this form.
    fn strip(self, wrapped: &[u8]) -> Result<&[u8], CustodyRefused> {
        let (first, rest) = wrapped.split_first().ok_or(CustodyRefused::NotOurs)?;
        match Self::ALL.into_iter().find(|form| form.byte() == *first) {
            Some(form) if form == self => Ok(rest),
            Some(other) => {
                Err(CustodyRefused::KeptElsewhere { ours: self.place(), theirs: other.place() })
            }
            None => Err(CustodyRefused::NotOurs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_kind_of_root_key_wrapped_is_told_from_what_nobody_wrapped() {
        let refused = Form::Token.strip(&[1, 7]).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("in a PKCS#11 token, and"), "{said}");
        assert!(said.contains("by one in a file"), "{said}");
        assert!(matches!(Form::File.strip(&[2, 7]), Err(CustodyRefused::KeptElsewhere { .. })));
        for nobodys in [&[][..], &[0, 7], &[3, 7], &[255, 7]] {
            assert_eq!(Form::Token.strip(nobodys), Err(CustodyRefused::NotOurs));
            assert_eq!(Form::File.strip(nobodys), Err(CustodyRefused::NotOurs));
        }
        assert_eq!(Form::Token.strip(&[2, 7]), Ok(&[7][..]));
        assert_eq!(Form::File.strip(&[1]), Ok(&[][..]));
    }
}
