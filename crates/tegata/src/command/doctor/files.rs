//! The files that a configuration names: whether they can be read, and for how long certificates count.

use std::{fs, io, path::Path, time::Duration};

use tegata_core::Timestamp;

use super::Findings;
use crate::config::Config;

/// How soon a certificate ends that somebody should look after.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// What has a check of its own, which says more.
const ELSEWHERE: [&str; 9] = [
    "[public.tls]",
    "[gateway.tls]",
    "[public] client_ca_file",
    "[public] theme_file",
    "[gateway] client_ca_file",
    "[gateway.upstream] ca_file",
    "[mail]",
    "[policy]",
    "[[trust_domain]]",
];

/// Looks at all of them.
pub(super) fn check(config: &Config, now: Timestamp, findings: &mut Findings) {
    let mut named = config.clone();
    for (setting, file) in named.files() {
        check_one(setting, file, now, findings);
    }
    for service in &config.service {
        let files = [
            ("ca_file", &service.ca_file),
            ("client_certificate_file", &service.client_certificate_file),
            ("client_key_file", &service.client_key_file),
        ];
        for (key, file) in files.into_iter().filter_map(|(key, file)| Some((key, file.as_ref()?))) {
            check_one(&format!("[[service]] `{}` {key}", service.name), file, now, findings);
        }
    }
}

fn check_one(setting: &str, file: &Path, now: Timestamp, findings: &mut Findings) {
    let shown = file.display();
    match readable(file) {
        Ok(()) if setting.ends_with("certificate_file") || setting.ends_with("ca_file") => {
            match fs::read(file).map(|pem| judge(&pem, setting.ends_with("ca_file"), now)) {
                Ok(Lasts::Long) | Err(_) => {}
                Ok(Lasts::Briefly(what)) => {
                    findings.note(setting, Ok::<_, &str>(format!("warning: `{shown}`: {what}")));
                }
                Ok(Lasts::Not(what)) => {
                    findings.note(setting, Err::<&str, _>(format!("`{shown}`: {what}")));
                }
            }
        }
        Ok(()) => {}
        Err(_) if ELSEWHERE.iter().any(|it| setting.starts_with(it)) => {}
        Err(error) => {
            findings.note(setting, Err::<&str, _>(format!("`{shown}` cannot be read: {error}")));
        }
    }
}

fn readable(file: &Path) -> io::Result<()> {
    if fs::metadata(file)?.is_dir() {
        fs::read_dir(file).map(drop)
    } else {
        fs::File::open(file).map(drop)
    }
}

/// For how long the certificates of a file count.
enum Lasts {
    Long,
    Briefly(String),
    Not(String),
}

/// `vouch`: whether they vouch for others. Of those one that still counts is enough; of its own chain, a
/// server needs all.
fn judge(pem: &[u8], vouch: bool, now: Timestamp) -> Lasts {
    let ends = match tegata_token::certificate::ends(pem) {
        Ok(ends) => ends,
        Err(number) => return Lasts::Not(format!("certificate {number} of it cannot be read")),
    };
    let is_over = |end: &&Timestamp| **end <= now;
    let of = |index: usize| {
        if ends.len() > 1 { format!("certificate {index} of it ") } else { String::new() }
    };
    let numbered = || ends.iter().enumerate().map(|(index, end)| (index + 1, end));
    let over = numbered().find(|(_, end)| is_over(end));
    if let Some((index, end)) = over {
        let said = format!("{}has expired at {end}", of(index));
        return if vouch && ends.iter().any(|end| !is_over(&end)) {
            Lasts::Briefly(said)
        } else {
            Lasts::Not(format!("{said}: replace it"))
        };
    }
    match numbered().find(|(_, end)| **end <= now + SOON) {
        Some((index, end)) => Lasts::Briefly(format!("{}expires at {end}", of(index))),
        None => Lasts::Long,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate that ends in a year of the third millennium.
    fn until(year: i32) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn ends_are_told_with_their_date_to_the_second() {
        // 2026-01-01T00:00:00Z
        let end = Timestamp::from_secs(1_767_225_600);
        let pem = until(2026);
        let at = |before: u64, vouch| {
            judge(pem.as_bytes(), vouch, Timestamp::from_secs(end.secs() - before))
        };
        for vouch in [false, true] {
            assert!(matches!(at(SOON.as_secs() + 1, vouch), Lasts::Long));
            for before in [SOON.as_secs(), 1] {
                let Lasts::Briefly(said) = at(before, vouch) else { panic!("{before}") };
                assert_eq!(said, "expires at 2026-01-01T00:00:00.000Z");
            }
            let Lasts::Not(said) = at(0, vouch) else { panic!("it has ended") };
            assert_eq!(said, "has expired at 2026-01-01T00:00:00.000Z: replace it");
        }
        let both = format!("{}{pem}", until(2035));
        assert!(matches!(judge(both.as_bytes(), false, end), Lasts::Not(_)));
        let Lasts::Briefly(said) = judge(both.as_bytes(), true, end) else { panic!("one counts") };
        assert!(said.starts_with("certificate 2 of it has expired"), "{said}");
    }
}
