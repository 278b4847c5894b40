//! The key object in the token: how it is found, made and looked at.

use cryptoki::{
    error::Error,
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};

use super::Pkcs11Refused;

/// The keys with a label.
pub(super) fn find(session: &Session, label: &str) -> Result<Vec<ObjectHandle>, Error> {
    session.find_objects(&[
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
    ])
}

/// Makes an AES-256 key that encrypts and decrypts and does nothing else. That it neither wraps nor
/// unwraps matters: with a key that does both that and decrypt, whoever may use the token could take
/// other keys out of it.
pub(super) fn make(session: &Session, label: &str, id: &[u8]) -> Result<ObjectHandle, Error> {
    session.generate_key(
        &Mechanism::AesKeyGen,
        &[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen(32.into()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
        ],
    )
}

/// What is wrong with a key that is to be the root key. One that can be shown is refused as a file is
/// that others can read.
fn unfit(session: &Session, key: ObjectHandle) -> Result<Option<&'static str>, Error> {
    let told = session.get_attributes(
        key,
        &[
            AttributeType::KeyType,
            AttributeType::ValueLen,
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::Encrypt,
            AttributeType::Decrypt,
        ],
    )?;
    let has = |wanted: Attribute| told.contains(&wanted);
    let rules = [
        (has(Attribute::KeyType(KeyType::AES)), "it is not an AES key"),
        (has(Attribute::ValueLen(32.into())), "it does not have 256 bits"),
        (
            has(Attribute::Sensitive(true)) && has(Attribute::Extractable(false)),
            "it can be taken out of the token; a root key is `CKA_SENSITIVE` and not \
             `CKA_EXTRACTABLE`",
        ),
        (
            has(Attribute::Encrypt(true)) && has(Attribute::Decrypt(true)),
            "it may not encrypt and decrypt (`CKA_ENCRYPT`, `CKA_DECRYPT`)",
        ),
    ];
    Ok(rules.into_iter().find(|(is_so, _)| !is_so).map(|(_, why)| why))
}

/// The one key with a label, if it can be a root key.
pub(super) fn the_one(
    session: &Session,
    label: &str,
    token: &str,
) -> Result<Result<ObjectHandle, Pkcs11Refused>, Error> {
    let (key, token) = (label.to_owned(), token.to_owned());
    Ok(match find(session, label)?.as_slice() {
        [] => Err(Pkcs11Refused::NoKey { key, token }),
        [one] => match unfit(session, *one)? {
            None => Ok(*one),
            Some(detail) => Err(Pkcs11Refused::Unfit { key, token, detail }),
        },
        _ => Err(Pkcs11Refused::TwoKeys { key, token }),
    })
}
