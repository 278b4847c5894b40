use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, DnValue, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    SanType, date_time_ymd,
};

use super::*;
use crate::{Algorithm, SigningKey, VerifyingKey};

/// Halfway through 2026.
fn now() -> Timestamp {
    Timestamp::from_secs(1_782_000_000)
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn trusting(of: &CertifiedIssuer<'static, KeyPair>) -> Authorities {
    let authorities = Authorities::default();
    authorities.trust(of.pem().as_bytes()).unwrap();
    authorities
}

fn signed(
    params: &CertificateParams,
    by: &CertifiedIssuer<'static, KeyPair>,
    more: &[&CertifiedIssuer<'static, KeyPair>],
) -> ClientCertificate {
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), by).unwrap();
    let chain: Vec<_> = [certificate.der().clone()]
        .into_iter()
        .chain(more.iter().map(|it| it.der().clone()))
        .collect();
    ClientCertificate::read(&chain).unwrap()
}

fn self_signed(key: &KeyPair, name: &str) -> ClientCertificate {
    let certificate = named(name).self_signed(key).unwrap();
    ClientCertificate::read(&[certificate.der().clone()]).unwrap()
}

#[test]
fn an_authority_answers_for_what_it_signed_and_for_nothing_else() {
    let (ours, theirs) = (authority("ours"), authority("ours"));
    let authorities = trusting(&ours);
    assert_eq!(authorities.vouch(&signed(&named("a"), &ours, &[]), now()), Ok(()));
    // The same names, signed by another key.
    assert!(authorities.vouch(&signed(&named("a"), &theirs, &[]), now()).is_err());
    assert!(authorities.vouch(&signed(&named("a"), &theirs, &[&theirs]), now()).is_err());
    let own = self_signed(&KeyPair::generate().unwrap(), "a");
    assert!(authorities.vouch(&own, now()).is_err());
    assert!(Authorities::default().vouch(&signed(&named("a"), &ours, &[]), now()).is_err());
}

#[test]
fn a_chain_is_followed_through_who_may_sign() {
    let root = authority("root");
    let between = |is_ca| {
        let mut params = named("between");
        params.is_ca = is_ca;
        CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap()
    };
    let authorities = trusting(&root);
    let may = between(IsCa::Ca(BasicConstraints::Constrained(0)));
    assert_eq!(authorities.vouch(&signed(&named("a"), &may, &[&may]), now()), Ok(()));
    assert!(authorities.vouch(&signed(&named("a"), &may, &[]), now()).is_err());
    let may_not = between(IsCa::NoCa);
    assert!(authorities.vouch(&signed(&named("a"), &may_not, &[&may_not]), now()).is_err());
}

#[test]
fn a_chain_leads_over_keys_that_are_for_certificates() {
    let root = authority("root");
    let vouched = |usages: &[KeyUsagePurpose]| {
        let mut params = named("between");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = usages.to_vec();
        let between = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root);
        let between = between.unwrap();
        trusting(&root).vouch(&signed(&named("a"), &between, &[&between]), now())
    };
    assert_eq!(vouched(&[]), Ok(()));
    assert_eq!(vouched(&[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]), Ok(()));
    let why = vouched(&[KeyUsagePurpose::DigitalSignature]).unwrap_err().to_string();
    assert!(why.contains("keyCertSign"), "{why}");
}

#[test]
fn a_chain_shows_one_way_and_no_maze() {
    let root = authority("root");
    let between: Vec<_> = (0..LONGEST_CHAIN).map(|_| authority("between")).collect();
    let several: Vec<_> = between.iter().collect();
    // Whoever makes them up has each order of them tried, were they followed.
    let why = trusting(&root).vouch(&signed(&named("a"), &between[0], &several), now());
    let why = why.unwrap_err().to_string();
    assert!(why.contains("of one name"), "{why}");
    // What somebody wrote into a certificate does not fill the log.
    let mut params = named("a");
    let purposes = (0..500).map(|it| ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, it]));
    params.extended_key_usages = purposes.collect();
    let why = trusting(&root).vouch(&signed(&params, &root, &[]), now()).unwrap_err();
    assert!(why.to_string().len() < 300, "{why}");
}

#[test]
fn a_certificate_counts_in_its_time_and_for_clients() {
    let ours = authority("ours");
    let authorities = trusting(&ours);
    let from_to = |from, until| {
        let mut params = named("a");
        (params.not_before, params.not_after) =
            (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        signed(&params, &ours, &[])
    };
    for (shown, counts) in
        [(from_to(2020, 2030), true), (from_to(2020, 2026), false), (from_to(2027, 2030), false)]
    {
        assert_eq!(authorities.vouch(&shown, now()).is_ok(), counts);
        assert_eq!(shown.counts_at(now()), counts);
        let bound = Confirmation::of_certificate(shown.thumbprint());
        assert_eq!(shown.confirms(&bound, now()), counts);
    }
    let use_of = |purpose| {
        let mut params = named("a");
        params.extended_key_usages = vec![purpose];
        authorities.vouch(&signed(&params, &ours, &[]), now()).is_ok()
    };
    assert!(use_of(ExtendedKeyUsagePurpose::ClientAuth));
    assert!(!use_of(ExtendedKeyUsagePurpose::ServerAuth));
}

#[test]
fn an_authority_that_has_expired_answers_for_nobody() {
    let until = |year| {
        let mut params = named("ours");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(year, 1, 1));
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    for (year, answers) in [(2026, false), (2027, true)] {
        let authority = until(year);
        let shown = signed(&named("a"), &authority, &[]);
        assert_eq!(trusting(&authority).vouch(&shown, now()).is_ok(), answers, "{year}");
    }
}

#[test]
fn who_is_known_by_a_certificate_alone_is_named_once_and_a_client() {
    let ours = authority("ours");
    let of = |uris: &[&str], purposes: &[ExtendedKeyUsagePurpose]| {
        let mut params = named("billing");
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        params.subject_alt_names.push(SanType::DnsName("a.example".try_into().unwrap()));
        params.extended_key_usages = purposes.to_vec();
        params.not_before = date_time_ymd(2026, 1, 1);
        signed(&params, &ours, &[]).caller()
    };
    const ONE: &str = "spiffe://example/billing";
    let client = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let caller = of(&[ONE], &client).unwrap();
    assert_eq!((caller.uris, caller.from), (vec![ONE.to_owned()], 1_767_225_600));
    assert!(of(&[], &client).unwrap().uris.is_empty());
    let two = of(&[ONE, "spiffe://example/other"], &client);
    assert_eq!(two, Err(NobodysCertificate::SeveralUris));
    assert_eq!(of(&[ONE, ONE], &client), Err(NobodysCertificate::SeveralUris));
    for purposes in
        [&[][..], &[ExtendedKeyUsagePurpose::ServerAuth], &[ExtendedKeyUsagePurpose::Any]]
    {
        assert_eq!(of(&[ONE], purposes), Err(NobodysCertificate::Purpose));
    }
}

#[test]
fn what_is_bound_to_a_certificate_is_confirmed_by_it_alone() {
    let key = KeyPair::generate().unwrap();
    let (shown, renewed) = (self_signed(&key, "a"), self_signed(&key, "b"));
    assert_eq!(shown.key(), renewed.key());
    let bound = Confirmation::of_certificate(shown.thumbprint());
    assert!(shown.confirms(&bound, now()) && !renewed.confirms(&bound, now()));
    assert!(!shown.confirms(&Confirmation::default(), now()));
    let both = Confirmation { jkt: Some("x".to_owned()), ..bound };
    assert!(!shown.confirms(&both, now()));
}

#[test]
fn subjects_are_told_by_each_kind_of_name() {
    let mut params = named("billing");
    params
        .distinguished_name
        .push(DnType::OrganizationName, DnValue::BmpString("Lučić".try_into().unwrap()));
    params.subject_alt_names = vec![
        SanType::DnsName("a.example".try_into().unwrap()),
        SanType::DnsName("*.b.example".try_into().unwrap()),
        SanType::URI("spiffe://example/billing".try_into().unwrap()),
        SanType::Rfc822Name("a@example".try_into().unwrap()),
        SanType::IpAddress("192.0.2.1".parse().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
    ];
    let shown = signed(&params, &authority("ours"), &[]);
    let dn = |text: &str| SubjectName::Dn(DistinguishedName::parse(text).unwrap());
    let [dns, uri, email] = [SubjectName::Dns, SubjectName::Uri, SubjectName::Email];
    let ip = |text: &str| SubjectName::Ip(text.parse().unwrap());
    for own in [
        dn("O=Lučić,CN=billing"),
        dns("a.example".into()),
        dns("*.b.example".into()),
        uri("spiffe://example/billing".into()),
        email("a@example".into()),
        ip("192.0.2.1"),
        ip("2001:db8:0::1"),
    ] {
        assert!(shown.is_of(&own), "{own:?}");
    }
    for other in [
        dn("CN=billing"),
        dn("CN=billing,O=Lučić"),
        dns("b.b.example".into()),
        dns("spiffe://example/billing".into()),
        dns("192.0.2.1".into()),
        uri("spiffe://example/billing/".into()),
        email("A@example".into()),
        ip("192.0.2.2"),
        ip("::ffff:192.0.2.1"),
    ] {
        assert!(!shown.is_of(&other), "{other:?}");
    }
}

#[test]
fn a_certificate_is_found_by_its_key_or_by_itself() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let (shown, other) = (self_signed(&key, "a"), self_signed(&key, "b"));
        let signing = SigningKey::from_pkcs8(&key.serialize_der(), None, None).unwrap();
        let by_key = VerifyingKey::from_jwk(signing.jwk()).unwrap();
        assert!(by_key.is_of(&shown) && by_key.is_of(&other));
        let of = |der: &[u8]| {
            let jwk = Jwk { x5c: vec![STANDARD.encode(der)], ..signing.jwk().clone() };
            VerifyingKey::from_jwk(&jwk).unwrap()
        };
        assert!(of(shown.der()).is_of(&shown) && !of(shown.der()).is_of(&other));
        assert!(!of(b"none").is_of(&shown));
        let unreadable = Jwk { x5c: vec!["*".to_owned()], ..signing.jwk().clone() };
        assert!(!VerifyingKey::from_jwk(&unreadable).unwrap().is_of(&shown));
        let stranger = self_signed(&KeyPair::generate_for(algorithm).unwrap(), "a");
        assert!(!by_key.is_of(&stranger) && !of(stranger.der()).is_of(&stranger));
    }
    let signing = SigningKey::generate(Algorithm::Rs256).unwrap();
    let pkcs8 = signing.to_pkcs8().unwrap();
    let key = KeyPair::try_from(pkcs8.expose().as_slice()).unwrap();
    assert!(VerifyingKey::from_jwk(signing.jwk()).unwrap().is_of(&self_signed(&key, "a")));
    let large = self_signed(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), "a");
    assert_eq!(large.key(), None);
}

#[test]
fn what_is_no_certificate_is_refused() {
    let own = self_signed(&KeyPair::generate().unwrap(), "a");
    let der = CertificateDer::from(own.der().to_vec());
    let read = |all: &[CertificateDer<'static>]| ClientCertificate::read(all).unwrap_err();
    assert_eq!(read(&[]), CertificateRefused::Malformed);
    assert_eq!(read(&[vec![].into()]), CertificateRefused::Malformed);
    assert_eq!(read(&[[own.der(), &[0]].concat().into()]), CertificateRefused::Malformed);
    assert_eq!(read(&[own.der()[1..].to_vec().into()]), CertificateRefused::Malformed);
    assert_eq!(read(&[vec![0x30; LARGEST + 1].into()]), CertificateRefused::TooLarge);
    assert_eq!(read(&vec![der; LONGEST_CHAIN + 2]), CertificateRefused::TooMany);
    assert_eq!(format!("{own:?}"), format!("ClientCertificate({})", own.thumbprint()));
}

#[test]
fn what_a_proxy_tells_is_read_as_it_was_told() {
    let (ours, key) = (authority("ours"), KeyPair::generate().unwrap());
    let own = self_signed(&key, "a");
    let with_chain = signed(&named("a"), &ours, &[&ours, &ours]);
    for certificate in [&own, &with_chain] {
        let (item, chain) = header::told(certificate);
        let lines = chain.iter().map(|line| line.as_bytes());
        let read = header::shown([item.as_bytes()].into_iter(), lines).unwrap();
        assert_eq!(read.as_ref(), Some(certificate));
    }
    // A list may be spread over lines.
    let (item, chain) = header::told(&with_chain);
    let lines: Vec<_> = chain.as_deref().unwrap().split(", ").map(str::as_bytes).collect();
    let read = header::shown([item.as_bytes()].into_iter(), lines.into_iter()).unwrap();
    assert_eq!(read, Some(with_chain));
    assert_eq!(header::shown([].into_iter(), [].into_iter()), Ok(None));
}

#[test]
fn headers_that_do_not_hold_one_certificate_are_refused() {
    use header::HeaderRefused as Broke;
    let own = self_signed(&KeyPair::generate().unwrap(), "a");
    let good = header::told(&own).0;
    let read = |own: &[&str], chain: &[&str]| {
        let bytes =
            |lines: &[&str]| lines.iter().map(|it| it.as_bytes().to_vec()).collect::<Vec<_>>();
        let (own, chain) = (bytes(own), bytes(chain));
        let lines = (own.iter().map(Vec::as_slice), chain.iter().map(Vec::as_slice));
        header::shown(lines.0, lines.1).map(|it| it.is_some())
    };
    assert_eq!(read(&[&format!("  {good} ")], &[]), Ok(true));
    assert_eq!(read(&[&good, &good], &[]), Err(Broke::Several));
    assert_eq!(read(&[&good, ""], &[]), Err(Broke::Several));
    assert_eq!(read(&[], &[&good]), Err(Broke::Alone));
    let padded = good.trim_end_matches([':', '=']);
    for bad in [
        "",
        ":",
        "::",
        ": :",
        good.trim_start_matches(':'),
        good.trim_end_matches(':'),
        &format!("{good}, {good}"),
        &format!("{good};a=1"),
        &format!("\"{good}\""),
        &good.replacen(':', ":-", 1),
        &good.replace(&good[9..10], " "),
        &format!("{padded}===:"),
    ] {
        assert_eq!(read(&[bad], &[]), Err(Broke::Malformed), "{bad}");
        if !bad.contains(", ") {
            assert_eq!(read(&[&good], &[bad]), Err(Broke::Malformed), "{bad}");
        }
    }
    let none = format!(":{}:", STANDARD.encode(b"none"));
    let certificate = |refused| Err(Broke::Certificate(refused));
    assert_eq!(read(&[&none], &[]), certificate(CertificateRefused::Malformed));
    let large = format!(":{}:", STANDARD.encode(vec![0; LARGEST + 1]));
    assert_eq!(read(&[&large], &[]), certificate(CertificateRefused::TooLarge));
    assert_eq!(read(&[&good], &[&large]), certificate(CertificateRefused::TooLarge));
    let long = [good.as_str(); LONGEST_CHAIN + 1].join(",");
    assert_eq!(read(&[&good], &[&long]), certificate(CertificateRefused::TooMany));
}
