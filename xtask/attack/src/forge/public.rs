//! Public keys, in the forms in which somebody may take them for a secret.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

use crate::case::PublicForm;

/// How the SPKI of every key on P-256 begins; its point follows (RFC 5480 §2).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// How long a point is that is not compressed.
const POINT: usize = 65;

/// The SPKI in a file, in PEM.
///
/// # Errors
/// There is none in it.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    let key = SubjectPublicKeyInfoDer::from_pem_file(file)
        .map_err(|error| anyhow!("`{}` has no public key: {error}", file.display()))?;
    Ok(key.as_ref().to_vec())
}

/// The SPKI of a point on P-256 that is not compressed.
#[must_use]
pub fn of_point(point: &[u8]) -> Vec<u8> {
    [&P256, point].concat()
}

/// The first point on P-256 in a text of DER: of an SPKI, or of a certificate.
#[must_use]
pub fn point_in(der: &[u8]) -> Option<&[u8]> {
    let at = der.windows(P256.len()).position(|window| window == P256)? + P256.len();
    der.get(at..at + POINT)
}

/// A key in a form.
///
/// # Errors
/// It has no such form here.
pub fn in_form(spki: &[u8], form: PublicForm) -> Result<Vec<u8>> {
    Ok(match form {
        PublicForm::Der => spki.to_vec(),
        PublicForm::Pem => pem(spki).into_bytes(),
        PublicForm::Jwk => jwk(spki)?.into_bytes(),
    })
}

fn pem(spki: &[u8]) -> String {
    let encoded = STANDARD.encode(spki);
    let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem += line;
        pem.push('\n');
        rest = after;
    }
    pem + "-----END PUBLIC KEY-----\n"
}

/// A key as a JWK: the members of RFC 7638 §3.2, in the order of their names.
///
/// # Errors
/// It is none on P-256.
pub fn jwk(spki: &[u8]) -> Result<String> {
    let point = point_in(spki).context("an issuer's key on P-256")?;
    let (x, y) = point.get(1..).unwrap_or_default().split_at(POINT / 2);
    let [x, y] = [x, y].map(|it| URL_SAFE_NO_PAD.encode(it));
    Ok(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#))
}
