//! What a case says of the token that it shows.
//!
//! | key | |
//! |---|---|
//! | `typ` | what it says that it is, in place of `at+jwt`; empty: nothing |
//! | `header`, `claims` | members in JSON, which stand in place of those of the same names, letter for letter: a name may stand twice. After `=`, the whole part, which need not be JSON |
//! | `header-without`, `claims-without` | names of members that are not there |
//! | `signature` | what signs it, see [`Signature`] |
//! | `shape` | how it is written, see [`Shape`] |
//!
//! In the first four, `{now+5}` and `{now-5}` stand for so many seconds from now, `{issuer}`, `{audience}` and `{kid}`
//! for what a good token says, `{issuer/a/b}` for the same with `b` in place of each `a`, `{canary}` for an address
//! that nobody may fetch from, and `{[*9}` for nine brackets.

use anyhow::{Result, bail};

/// The token that a case shows: a good one, but for what is said here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Token {
    /// What it says that it is; empty: nothing.
    pub typ: Option<String>,
    /// What its header says otherwise.
    pub header: Part,
    /// What its claims say otherwise.
    pub claims: Part,
    /// What signs it.
    pub signature: Signature,
    /// How it is written.
    pub shape: Shape,
}

/// What a part says otherwise than that of a good token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Members in JSON; after `=`, all of it.
    pub text: Option<String>,
    /// Members that are not there.
    pub without: Vec<String>,
}

/// What signs a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Signature {
    /// The issuer.
    #[default]
    Right,
    /// Nothing, and there is no third part: `none`.
    None,
    /// Nothing, and the third part is empty: `empty`.
    Empty,
    /// Two numbers that are zero: `zero`.
    Zero,
    /// The issuer, in DER: `der` (RFC 7518 §3.4 has two numbers and nothing else).
    Der,
    /// The issuer; of the two numbers that can be the second, the greater: `high-s`.
    HighS,
    /// The same with the smaller: `low-s`.
    LowS,
    /// The issuer, without the last byte: `truncated`.
    Truncated,
    /// The issuer, with one bit otherwise: `flipped`.
    Flipped,
    /// HMAC with SHA-256, under this text: `hmac TEXT`.
    Hmac(String),
    /// The same under the issuer's public key: `hmac-pem`, `hmac-der`, `hmac-jwk`.
    HmacPublic(PublicForm),
    /// Another key of the same algorithm: `other`.
    Other,
    /// Another key, which stands in the header: `embedded-jwk`.
    EmbeddedJwk,
    /// Another key, whose certificate stands in the header: `x5c`.
    X5c,
}

/// A form of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicForm {
    /// PEM, with a line break at its end.
    Pem,
    /// DER.
    Der,
    /// A JWK of the members that must be there, in the order of their names.
    Jwk,
}

impl Signature {
    pub(super) fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "none" => Self::None,
            "empty" => Self::Empty,
            "zero" => Self::Zero,
            "der" => Self::Der,
            "high-s" => Self::HighS,
            "low-s" => Self::LowS,
            "truncated" => Self::Truncated,
            "flipped" => Self::Flipped,
            "hmac-pem" => Self::HmacPublic(PublicForm::Pem),
            "hmac-der" => Self::HmacPublic(PublicForm::Der),
            "hmac-jwk" => Self::HmacPublic(PublicForm::Jwk),
            "other" => Self::Other,
            "embedded-jwk" => Self::EmbeddedJwk,
            "x5c" => Self::X5c,
            _ => match text.strip_prefix("hmac") {
                Some("") => Self::Hmac(String::new()),
                Some(key) if key.starts_with(' ') => Self::Hmac(key.trim().to_owned()),
                _ => bail!("`{text}` signs nothing"),
            },
        })
    }
}

/// How a token is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shape {
    /// Three parts between two dots.
    #[default]
    Compact,
    /// The same, one part of which is written otherwise, and signed as it is written: `padded claims`.
    Written(How, Which),
    /// Two more parts: `five`.
    Five,
    /// Thousands of dots more: `dots`.
    Dots,
    /// The five parts of a token that is encrypted: `encrypted`.
    Encrypted,
    /// The flattened JSON of RFC 7515 §7.2.2: `flattened`.
    Flattened,
    /// The general JSON of RFC 7515 §7.2.1: `general`.
    General,
    /// Flattened JSON of the good token, which cut at its dots has the parts of the other: `polyglot`.
    Polyglot,
}

/// How a part is written that is not written as it must be (RFC 7515 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// With padding: `padded`.
    Padded,
    /// In the alphabet with `+` and `/`: `alphabet`.
    Alphabet,
    /// With a space in it: `spaced`.
    Spaced,
    /// With bits at its end that say nothing and are not zero: `loose`.
    Loose,
    /// Not at all: `empty`.
    Empty,
}

/// A part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The first.
    Header,
    /// The second.
    Claims,
    /// The third.
    Signature,
}

impl Shape {
    pub(super) fn parse(text: &str) -> Result<Self> {
        if let Some((how, which)) = text.split_once(' ') {
            let how = match how {
                "padded" => How::Padded,
                "alphabet" => How::Alphabet,
                "spaced" => How::Spaced,
                "loose" => How::Loose,
                "empty" => How::Empty,
                _ => bail!("nothing is written `{how}`"),
            };
            let which = match which {
                "header" => Which::Header,
                "claims" => Which::Claims,
                "signature" => Which::Signature,
                _ => bail!("`{which}` is no part"),
            };
            return Ok(Self::Written(how, which));
        }
        Ok(match text {
            "five" => Self::Five,
            "dots" => Self::Dots,
            "encrypted" => Self::Encrypted,
            "flattened" => Self::Flattened,
            "general" => Self::General,
            "polyglot" => Self::Polyglot,
            _ => bail!("`{text}` is no shape"),
        })
    }
}

/// The keys of a file that are about the token.
#[derive(Debug, Default)]
pub(super) struct Keys(Option<Token>);

impl Keys {
    /// Takes a key. `false`: it is about something else.
    pub(super) fn take(&mut self, key: &str, value: &str) -> Result<bool> {
        let token = match key {
            "typ" | "header" | "header-without" | "claims" | "claims-without" | "signature"
            | "shape" => self.0.get_or_insert_default(),
            _ => return Ok(false),
        };
        let names = || value.split_whitespace().map(str::to_owned).collect();
        match key {
            "typ" => token.typ = Some(value.trim().to_owned()),
            "header" => token.header.text = Some(value.trim().to_owned()),
            "header-without" => token.header.without = names(),
            "claims" => token.claims.text = Some(value.trim().to_owned()),
            "claims-without" => token.claims.without = names(),
            "signature" => token.signature = Signature::parse(value.trim())?,
            _ => token.shape = Shape::parse(value.trim())?,
        }
        Ok(true)
    }

    /// The token, where there is one: also a good one, where something is said to show it.
    pub(super) fn token(self, is_shown: bool) -> Option<Token> {
        self.0.or_else(|| is_shown.then(Token::default))
    }
}
