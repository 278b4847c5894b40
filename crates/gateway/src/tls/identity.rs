//! The certificate that a listener shows, and its key: from files, and anew when the files change.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::{Digest, TlsRefused, certificates, not_pem, provider, read};
use crate::config::Tls;

/// A certificate and its key. Listeners that share it change it together; connections that are open
/// stay as they are.
pub struct Identity {
    files: Tls,
    shown: ArcSwap<CertifiedKey>,
    /// The digest of what the files held.
    held: Mutex<Digest>,
}

impl Identity {
    /// What the files hold.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn open(files: &Tls) -> Result<Arc<Self>, TlsRefused> {
        let (held, load) = look(files)?;
        let shown = ArcSwap::from_pointee(load()?);
        Ok(Arc::new(Self { files: files.clone(), shown, held: Mutex::new(held) }))
    }

    /// Takes over what the files hold now, and answers whether that is something else than before.
    /// Blocks.
    ///
    /// # Errors
    /// What is wrong with them: then the certificate from before stays. One of the two may just have
    /// been written, and the other not yet.
    pub fn renew(&self) -> Result<bool, TlsRefused> {
        let mut held = self.held.lock();
        let (found, load) = look(&self.files)?;
        if found == *held {
            return Ok(false);
        }
        self.shown.store(Arc::new(load()?));
        *held = found;
        Ok(true)
    }
}

/// Reads both files. Answers their digest, and what makes a certificate of them.
fn look(
    files: &Tls,
) -> Result<(Digest, impl FnOnce() -> Result<CertifiedKey, TlsRefused>), TlsRefused> {
    let certificate = read(&files.certificate_file)?;
    let key = Zeroizing::new(read(&files.key_file)?);
    let mut context = Context::new(&SHA256);
    // With its length, so that nothing can move from one to the other.
    context.update(&certificate.len().to_be_bytes());
    context.update(&certificate);
    context.update(&key);
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    let load = move || {
        let chain = certificates(&files.certificate_file, &certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| not_pem(&files.key_file, "private key"))?;
        Ok(CertifiedKey::from_der(chain, key, &provider())?)
    };
    Ok((digest, load))
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.load_full())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.files.certificate_file.display())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(files: &Tls, certificate: &str, key: &str) {
        fs::write(&files.certificate_file, certificate).unwrap();
        fs::write(&files.key_file, key).unwrap();
    }

    #[test]
    fn what_the_files_hold_is_taken_over_once_both_fit() {
        let place = tempfile::tempdir().unwrap();
        let at = |name| place.path().join(name);
        let files = Tls { certificate_file: at("certificate.pem"), key_file: at("key.pem") };
        let make = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (old, new) = (make(), make());
        let pem = |it: &rcgen::CertifiedKey<rcgen::KeyPair>| {
            (it.cert.pem(), it.signing_key.serialize_pem())
        };
        let ((old_cert, old_key), (new_cert, new_key)) = (pem(&old), pem(&new));
        write(&files, &old_cert, &old_key);
        let identity = Identity::open(&files).unwrap();
        let shows = |of: &rcgen::CertifiedKey<rcgen::KeyPair>| {
            identity.shown.load().cert.first() == Some(of.cert.der())
        };
        assert!(shows(&old) && !identity.renew().unwrap());
        // One of them is there, and the other not yet; or what is there is cut.
        for (certificate, key) in
            [(&new_cert, &old_key), (&old_cert, &new_key), (&String::new(), &new_key)]
        {
            write(&files, certificate, key);
            assert!(identity.renew().is_err() && shows(&old));
        }
        fs::remove_file(&files.key_file).unwrap();
        assert!(identity.renew().is_err() && shows(&old));
        write(&files, &new_cert, &new_key);
        assert!(identity.renew().unwrap() && shows(&new));
        assert!(!identity.renew().unwrap());
        // What nobody could be shown is refused at the start.
        write(&files, &new_cert, &old_key);
        assert!(Identity::open(&files).is_err());
    }
}
