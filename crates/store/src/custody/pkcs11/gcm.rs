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

/// What is sealed to try a token, and what is authenticated with it.
const PLAIN: [u8; 32] = [0; 32];
const AAD: &[u8] = b"tegata probe";

/// Sees that the token opens what it seals.
pub(super) fn probe(session: &Session, key: ObjectHandle, node: &Node) -> Result<(), Error> {
    let (nonce, sealed) = seal(session, key, node, &PLAIN, AAD)?;
    check_opened(&unseal(session, key, nonce, &sealed, AAD)?)
}

/// Sees that the token opens what it seals; answers whether it refuses what was altered.
pub(super) fn refuses_altered(
    session: &Session,
    key: ObjectHandle,
    node: &Node,
) -> Result<bool, Error> {
    let (nonce, sealed) = seal(session, key, node, &PLAIN, AAD)?;
    let opens = |sealed: &[u8], aad: &[u8]| unseal(session, key, nonce, sealed, aad).is_ok();
    let refuses = !opens_altered(&sealed, AAD, opens);
    // Last, so that what refuses because it is broken is not taken for what refuses.
    check_opened(&unseal(session, key, nonce, &sealed, AAD)?)?;
    Ok(refuses)
}

fn check_opened(opened: &[u8]) -> Result<(), Error> {
    if opened == PLAIN { Ok(()) } else { Err(Error::InvalidValue) }
}

/// Whether something is opened that is not what was sealed: in its first byte or its last, which is
/// of the tag, or in what was authenticated with it.
fn opens_altered(sealed: &[u8], aad: &[u8], opens: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    let (mut first, mut last) = (sealed.to_vec(), sealed.to_vec());
    let bytes = [first.first_mut(), last.last_mut()];
    bytes.into_iter().flatten().for_each(|byte| *byte ^= 1);
    let other = [aad, b"!"].concat();
    [(first.as_slice(), aad), (&last, aad), (sealed, &other)]
        .into_iter()
        .any(|(sealed, aad)| opens(sealed, aad))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_anything_altered_is_found_out() {
        let sealed = [7_u8; 48];
        let finds = |opens: fn(&[u8], &[u8]) -> bool| opens_altered(&sealed, AAD, opens);
        assert!(!finds(|sealed, aad| sealed == [7; 48] && aad == AAD));
        // It looks at no tag, at nothing but the tag, or not at what is authenticated.
        assert!(finds(|sealed, aad| sealed[..32] == [7; 32] && aad == AAD));
        assert!(finds(|sealed, aad| sealed[32..] == [7; 16] && aad == AAD));
        assert!(finds(|sealed, _| sealed == [7; 48]));
    }
}
