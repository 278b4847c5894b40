//! AES-GCM in a token (PKCS#11 v3.0 §2.12.3).

use cryptoki::{
    error::Error,
    mechanism::{Mechanism, aead::GcmParams},
    object::ObjectHandle,
    session::Session,
};
use tegata_core::Node;
use zeroize::Zeroizing;

use super::NONCE;

/// The tag, in bits: as long as GCM has it.
const TAG_BITS: u64 = 128;

/// Encrypts under a nonce that nobody used before; answers that, too.
pub(super) fn seal(
    session: &Session,
    key: ObjectHandle,
    node: &Node,
    plain: &[u8],
    aad: &[u8],
) -> Result<([u8; NONCE], Vec<u8>), Error> {
    let mut nonce = [0; NONCE];
    node.entropy().fill(&mut nonce);
    let gcm = Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, TAG_BITS.into())?);
    let sealed = session.encrypt(&gcm, key, plain)?;
    // Read only now: a token that insists on a nonce of its own has written it here.
    drop(gcm);
    Ok((nonce, sealed))
}

/// Decrypts.
pub(super) fn unseal(
    session: &Session,
    key: ObjectHandle,
    mut nonce: [u8; NONCE],
    sealed: &[u8],
    aad: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let gcm = Mechanism::AesGcm(GcmParams::new(&mut nonce, aad, TAG_BITS.into())?);
    session.decrypt(&gcm, key, sealed).map(Zeroizing::new)
}

/// Sees that the token opens what it seals, and not what was altered.
pub(super) fn probe(session: &Session, key: ObjectHandle, node: &Node) -> Result<(), Error> {
    let (plain, aad) = ([0; 32], b"tegata probe");
    let (nonce, sealed) = seal(session, key, node, &plain, aad)?;
    let opened = unseal(session, key, nonce, &sealed, aad)?;
    if opened.as_slice() == plain { Ok(()) } else { Err(Error::InvalidValue) }
}
