//! For how long the certificates of a file count, for whoever looks after them.

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tegata_core::Timestamp;

use super::parsed;

/// When each certificate of a PEM text ceases to count, in the order in which they stand there. What
/// stands there besides is passed over.
///
/// # Errors
/// The number of the first, from 1, that is none.
pub fn ends(pem: &[u8]) -> Result<Vec<Timestamp>, usize> {
    let end = |(index, der): (usize, Result<CertificateDer<'_>, _>)| {
        let end = der.ok().and_then(|der| Some(parsed(&der)?.validity().not_after.timestamp()));
        // What ended before 1970 has ended.
        end.map(|end| Timestamp::from_secs(u64::try_from(end).unwrap_or_default())).ok_or(index + 1)
    };
    CertificateDer::pem_slice_iter(pem).enumerate().map(end).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn tells_the_end_of_each_and_which_is_none() {
        let key = KeyPair::generate().unwrap();
        let until = |year| {
            let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(year, 3, 1);
            params.self_signed(&key).unwrap().pem()
        };
        let text = format!("{}{}{}", until(2026), key.serialize_pem(), until(2031));
        let told = ends(text.as_bytes()).unwrap();
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["2026-03-01T00:00:00.000Z", "2031-03-01T00:00:00.000Z"]);
        assert_eq!(ends(b"no certificate"), Ok(vec![]));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(ends(format!("{}{broken}", until(2031)).as_bytes()), Err(2));
    }
}
