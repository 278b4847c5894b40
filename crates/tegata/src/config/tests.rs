use std::fs;

use super::*;

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("tegata.toml");
    fs::write(&path, text).unwrap();
    let environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    match load::read(Some(&path), environment) {
        Ok((config, ..)) => Ok(config),
        Err(error) => Err(error.to_string().replace(&path.display().to_string(), "tegata.toml")),
    }
}

#[test]
fn an_empty_file_is_a_good_one() {
    let config = read("", &[]).unwrap();
    assert_eq!(config.issuer(), "http://localhost:8000");
    assert_eq!(config.audience(), "http://localhost:8080");
    assert!(config.contradictions().is_empty());
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    let error = read("[tokens]\n\nacess_lifetime = \"15m\"\n", &[]).unwrap_err();
    assert_eq!(
        error,
        "`tegata.toml`, line 3: unknown key `acess_lifetime`; did you mean `access_lifetime`?"
    );
    let error = read("[token]\n", &[]).unwrap_err();
    assert!(error.contains("did you mean `tokens`?"), "{error}");
    let error = read("[zzzzzzzzzz]\n", &[]).unwrap_err();
    assert!(error.contains("there are `public`"), "{error}");
    let error = read("[[client]]\nclient_id = \"a\"\nredirect_uri = [\"x\"]\n", &[]).unwrap_err();
    assert!(error.contains("`redirect_uri`; did you mean `redirect_uris`?"), "{error}");
}

#[test]
fn the_environment_stands_over_the_file() {
    let file = "[tokens]\naccess_lifetime = \"10m\"\n[sessions]\nmost = 2\n";
    let over =
        [("TEGATA_TOKENS__ACCESS_LIFETIME", "5m"), ("TEGATA_SESSIONS__MOST", "7"), ("PATH", "x")];
    let config = read(file, &over).unwrap();
    assert_eq!(config.tokens.access_lifetime, Span::secs(300));
    assert_eq!(config.sessions.most, 7);
    let error = read("", &[("TEGATA_TOKENS__ACCES_LIFETIME", "5m")]).unwrap_err();
    assert!(error.contains("environment") && error.contains("`access_lifetime`?"), "{error}");
}

#[test]
fn what_cannot_be_a_value_says_what_could() {
    let error = read("[tokens]\naccess_lifetime = \"15 minutes\"\n", &[]).unwrap_err();
    assert!(error.contains("line 2") && error.contains("`15m`"), "{error}");
    let error = read("[keys]\nalgorithms = [\"HS256\"]\n", &[]).unwrap_err();
    assert!(error.contains("RS256"), "{error}");
    let error = read("[tokens\n", &[]).unwrap_err();
    assert!(error.contains("line 1"), "{error}");
}

#[test]
fn listeners_can_speak_tls_and_stand_behind_proxies() {
    let text = "[public]\nlisten = [\"127.0.0.1:1\", \"[::1]:1\"]\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
                tls = { certificate_file = \"c.pem\", key_file = \"k.pem\" }\n\
                [gateway]\ntrusted_proxies = [\"10.0.0.0/8\"]\nforwarded_by = \"forwarded\"\n\
                tls = { certificate_file = \"c.pem\", key_file = \"k.pem\" }\n\
                decisions = \"required\"\nlimits = { per_address = \"10/s\" }\n\
                [gateway.deadlines]\nhead = \"5s\"\n";
    let config = read(text, &[]).unwrap();
    assert_eq!(config.public.listen.addresses().len(), 2);
    assert!(config.public.tls.is_some() && config.gateway.tls.is_some());
    let error = read("[gateway]\ntrusted_proxies = [\"10.0.0.0/33\"]\n", &[]).unwrap_err();
    assert!(error.contains("line 2"), "{error}");
    let error = read("[gateway.limits]\nper_adress = \"10/s\"\n", &[]).unwrap_err();
    assert!(error.contains("`per_address`?"), "{error}");
}

#[test]
fn contradictions_are_refused() {
    for (text, word) in [
        ("[public]\nissuer = \"http://auth.example\"", "https://"),
        ("[public]\nissuer = \"http://localhost.evil.example\"", "https://"),
        ("[public]\nissuer = \"https://auth.example/\"", "must not end"),
        ("[public]\nenvironment = \"production\"", "development"),
        ("[tokens]\naccess_lifetime = \"2h\"", "an hour"),
        ("[tokens]\nrefresh_lifetime = \"31d\"", "refresh_absolute"),
        ("[tokens]\nreuse_window = \"5m\"", "thief"),
        ("[sessions]\nidle = \"2d\"", "absolute"),
        ("[sessions]\nmost = 0", "at least 1"),
        ("[store]\nconnections = 0", "at least 1"),
        ("[keys]\nalgorithms = [\"RS256\"]", "ES256"),
        ("[keys]\njwks_max_age = \"365d\"", "jwks_max_age"),
        ("[public]\nlisten = []", "[public] listen"),
        ("[operations]\nlisten = []", "[operations] listen"),
        ("[public]\nlisten = \"127.0.0.1:0\"", "issuer"),
        ("[public]\nissuer = \"https://auth.example/path\"", "[public] issuer"),
        ("[public]\nrp_id = \"example.com\"", "[public] rp_id"),
        ("[public]\nrp_id = \"https://localhost\"", "[public] rp_id"),
        ("[public]\nissuer = \"https://10.0.0.1\"\nrp_id = \"10.0.0.1\"", "[public] rp_id"),
        ("[gateway]\naudience = \"my-api\"", "[gateway] audience"),
        ("[public]\nclient_certificates = \"tls\"", "[public] client_certificates"),
        ("[gateway]\nclient_certificates = \"header\"", "trusted_proxies"),
        ("[public]\nmtls_listen = \"127.0.0.1:8443\"", "`tls`"),
        ("[public]\nmtls_url = \"https://a.example\"", "mtls_listen"),
        (
            "[[client]]\nclient_id = \"a\"\ntls_client_auth_san_dns = \"a\"\n\
          grant_types = [\"client_credentials\"]",
            "nothing asks for one",
        ),
        (
            "[[client]]\nclient_id = \"a\"\nspiffe_id = \"spiffe://example.org/a\"\n\
          token_endpoint_auth_method = \"spiffe_jwt\"\ngrant_types = [\"client_credentials\"]",
            "whose keys nobody knows",
        ),
        ("[[trust_domain]]\nname = \"a\"", "say one of"),
        (
            "[[trust_domain]]\nname = \"a\"\nbundle_file = \"a\"\nbundle_endpoint = \"b\"",
            "say one of",
        ),
        ("[[trust_domain]]\nname = \"a\"\nbundle_endpoint = \"http://a.example\"", "https://"),
        (
            "[[trust_domain]]\nname = \"a\"\nbundle_endpoint = \"https://a\"\nbundle_max_age = \"59s\"",
            "bundle_max_age",
        ),
        (
            "[[trust_domain]]\nname = \"a\"\nbundle_file = \"a\"\n\
          [[trust_domain]]\nname = \"a\"\nbundle_file = \"b\"",
            "stands twice",
        ),
        ("[gateway]\nhosts = [\"api:443\"]", "[gateway] hosts"),
        ("[gateway]\nhosts = [\"a/b\"]", "[gateway] hosts"),
        ("[gateway.cors]\norigins = [\"https://a/\"]", "[gateway.cors] origins"),
        ("[gateway.limits]\nconnections = 0", "[gateway.limits] connections"),
        ("[gateway.upstream]\nconnections = 0", "[gateway.upstream] connections"),
        ("[sessions]\nidle = \"0s\"", "idle"),
        ("[cookies]\ndomain = \"example.com\"", "remove it"),
        ("[cookies]\nwithout = [\"session_id\"]", "`cart_id`"),
        ("[consent]\nversion = 0", "[consent] `version`"),
        ("[consent]\nnotice = \"javascript:x\"", "[consent] `notice`"),
        ("[consent]\nkept = \"1d\"", "[consent] kept"),
        ("[sessions]\nrotation = \"0s\"", "rotation"),
        ("[tokens]\naccess_lifetime = \"0s\"", "access_lifetime"),
        ("[tokens]\ncode_lifetime = \"0s\"", "code_lifetime"),
        ("[tokens]\ncode_lifetime = \"365d\"", "code_lifetime"),
        ("[tokens]\npushed_lifetime = \"1s\"", "pushed_lifetime"),
        ("[tokens]\npushed_lifetime = \"1h\"", "pushed_lifetime"),
        ("[tokens]\nservice_lifetime = \"0s\"", "service_lifetime"),
        ("[clients]\nregistration_scope = \"openid admin.read\"", "`admin.`"),
        ("[clients]\nregistration_scope = \"admin.anything\"", "`admin.`"),
        ("[clients]\nmetadata_document_hosts = [\"https://a.example\"]", "names no host"),
        (
            "[clients]\nmetadata_documents = true\nreach = [\"10.0.0.0/8\"]",
            "metadata_document_hosts",
        ),
        ("[observability]\nlevel = \"inof\"", "`inof`"),
        ("[observability]\nlevel = \"tegata=loud\"", "level"),
    ] {
        let error = read(text, &[]).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn what_is_right_is_not_refused() {
    for text in [
        "[gateway]\nhosts = [\"api.example\", \"[::1]\", \"127.0.0.1\"]",
        "[gateway.cors]\norigins = [\"https://shop.example:8443\"]",
        "[observability]\nlevel = \"info,tegata_oauth=debug\"",
        "[observability]\nlevel = \"OFF\"",
        "[keys]\nalgorithms = [\"ES256\"]",
        "[public]\nissuer = \"https://auth.example.com\"\nrp_id = \"example.com\"",
        "[public]\nissuer = \"https://10.0.0.1\"",
        "[tokens]\nreuse_window = \"0s\"",
        "[clients]\nmetadata_documents = true",
        "[clients]\nmetadata_documents = true\nreach = [\"10.0.0.0/8\"]\n\
         metadata_document_hosts = [\"*.intra.example\"]",
    ] {
        read(text, &[]).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn passkeys_are_of_the_issuers_host_unless_something_else_is_said() {
    let party = |text: &str| {
        let config = read(text, &[]).unwrap();
        let party = config.relying_party(&tegata_core::Secret::new([0; 32])).unwrap();
        party.map(|party| party.id().to_owned())
    };
    let auth = "[public]\nissuer = \"https://auth.example.com:8443\"";
    assert_eq!(party("").as_deref(), Some("localhost"));
    assert_eq!(party(auth).as_deref(), Some("auth.example.com"));
    assert_eq!(party(&format!("{auth}\nrp_id = \"example.com\"")).as_deref(), Some("example.com"));
    assert_eq!(party("[public]\nissuer = \"http://127.0.0.1:8000\""), None);
    assert_eq!(party("[public]\nissuer = \"http://[::1]:8000\""), None);
}

#[test]
fn another_issuer_is_one_that_can_be_told_from_us_and_asked_safely() {
    let with =
        |more: &str| read(&format!("[[issuer]]\nissuer = \"https://idp.example\"\n{more}"), &[]);
    let config = with("").unwrap();
    let [issuer] = config.issuer.as_slice() else { panic!("{:?}", config.issuer) };
    assert_eq!((issuer.tokens, issuer.typ.as_slice()), (1_000_000, &["at+jwt".to_owned()][..]));
    for good in [
        "jwks_uri = \"http://127.0.0.1:8080/keys\"",
        "[[issuer]]\nissuer = \"https://idp.example/\"",
        "[[issuer]]\nissuer = \"http://localhost:9999\"",
    ] {
        with(good).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for (bad, word) in [
        ("jwks_uri = \"http://idp.example/keys\"", "jwks_uri"),
        ("jwks_uri = \"file:///etc/passwd\"", "jwks_uri"),
        ("jwks_uri = \"https://user@idp.example/keys\"", "jwks_uri"),
        ("[[issuer]]\nissuer = \"https://idp.example\"", "twice"),
        ("[[issuer]]\nissuer = \"http://localhost:8000\"", "our own"),
        ("[[issuer]]\nissuer = \"http://other.example\"", "https://"),
        ("[[issuer]]\nissuer = \"https://other.example#x\"", "fragment"),
        ("[[issuer]]\nissuer = \"other\"", "https://"),
        ("algorithms = []", "algorithms"),
        ("algorithms = [\"HS256\"]", "RS256"),
        ("typ = []", "typ"),
        ("audience = [\"\"]", "audience"),
        ("tokens = 0", "tokens"),
        ("longest_life = \"30d\"", "longest_life"),
        ("longest_life = \"0s\"", "longest_life"),
        ("keys_max_age = \"5s\"", "keys_max_age"),
        ("role_claim = \"x\"", "did you mean `roles_claim`?"),
    ] {
        let error = with(bad).unwrap_err();
        assert!(error.contains(word), "{bad}: {error}");
    }
}

#[test]
fn tokens_are_signed_as_every_verifier_can_read_unless_there_is_no_such_key() {
    for (keys, usual) in [
        ("", Algorithm::Rs256),
        ("[keys]\nalgorithms = [\"ES256\", \"RS256\"]", Algorithm::Rs256),
        ("[keys]\nalgorithms = [\"EdDSA\", \"ES256\"]", Algorithm::EdDsa),
    ] {
        assert_eq!(read(keys, &[]).unwrap().keys.usual(false), usual);
    }
}

#[test]
fn a_text_from_the_environment_is_one_whatever_it_looks_like() {
    for text in ["[1]", "{a = 1}"] {
        let config = read("", &[("TEGATA_PUBLIC__BRAND", text)]).unwrap();
        assert_eq!(config.public.brand, text);
    }
    for text in ["1", "1.5", "true", "2026-01-01", "x"] {
        let names = ["TEGATA_CLUSTER__NAME", "TEGATA_REDIS__PREFIX", "TEGATA_PUBLIC__BRAND"];
        let environment = names.map(|name| (name, text));
        let config = read("", &environment).unwrap();
        assert_eq!((config.redis.prefix.as_str(), config.public.brand.as_str()), (text, text));
        assert_eq!(config.cluster.name.as_deref(), Some(text));
    }
    let quoted = read("", &[("TEGATA_REDIS__PREFIX", "\"1\"")]).unwrap();
    assert_eq!(quoted.redis.prefix, "1");
    let within = read("", &[("TEGATA_REDIS__ADDRESS_MAP__A", "1")]).unwrap();
    assert_eq!(within.redis.address_map["a"], "1");
    // What is no text stays what it is.
    let error = read("", &[("TEGATA_SESSIONS__MOST", "1.5")]).unwrap_err();
    assert!(error.contains("TEGATA_SESSIONS__MOST"), "{error}");
}

#[test]
fn lists_come_from_the_environment_as_toml_writes_them() {
    let user = [("TEGATA_USER", "[{username = \"alice\", roles = [\"customer\"]}]")];
    let file = "[[user]]\nusername = \"bob\"\n";
    let config = read(file, &user).unwrap();
    assert_eq!(config.user.len(), 1);
    assert_eq!(config.user[0].username, "alice");
    for (text, why) in [
        ("[{usrname = \"alice\"}]", "did you mean `username`?"),
        ("[1]", "TEGATA_USER"),
        ("[{", "TEGATA_USER"),
    ] {
        let error = read(file, &[("TEGATA_USER", text)]).unwrap_err();
        assert!(
            error.contains("`TEGATA_USER` in the environment") && error.contains(why),
            "{error}"
        );
    }
    // What stands there may be a secret.
    for text in [
        "[{username = \"alice\", password = \"hunter2\"",
        "[\"alice:hunter2\"]",
        "[{username = \"alice\", roles = \"hunter2\"}]",
        "[{username = \"alice\", password = [\"hunter2\"]}]",
    ] {
        let error = read(file, &[("TEGATA_USER", text)]).unwrap_err();
        assert!(error.contains("`TEGATA_USER` in the environment"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    // Whose user that is, is not for us to say.
    assert_eq!(read(file, &[("TEGATA_USER", "somebody")]).unwrap().user[0].username, "bob");
}

#[test]
fn what_looks_as_if_it_set_something_is_told_with_the_nearest_that_does() {
    let told =
        |names: &[&str]| unheeded(names.iter().map(|name| ((*name).to_owned(), "x".to_owned())));
    for (name, nearest) in [
        ("TEGATA_TOKENS_ACCESS_LIFETIME", "TEGATA_TOKENS__ACCESS_LIFETIME"),
        ("TEGATA_TOKENS_ACCES_LIFETIME", "TEGATA_TOKENS__ACCESS_LIFETIME"),
        ("TEGATA_GATEWAY_LIMITS_PER_ADDRESS", "TEGATA_GATEWAY__LIMITS__PER_ADDRESS"),
        ("TEGATA_KEYS_PKCS11_PIN_FILE", "TEGATA_KEYS__PKCS11__PIN_FILE"),
        ("TEGATA_REDIS_URL", "TEGATA_REDIS__URL"),
    ] {
        let found = told(&[name]);
        let [line] = found.as_slice() else { panic!("{name}: {found:?}") };
        assert!(line.contains(&format!("`{name}`")), "{line}");
        assert!(line.contains(&format!("did you mean `{nearest}`?")), "{line}");
    }
    let found = told(&["TEGATA_TOKENS_ZZZZZZZZZZZZZZ"]);
    assert!(found[0].contains("two underscores"), "{found:?}");
    // What others call so, and Kubernetes of a service `tegata` and one `tegata-public`.
    let others = [
        "TEGATA_LANGUAGE",
        "TEGATA_SERVICE_HOST",
        "TEGATA_SERVICE_PORT_HTTP",
        "TEGATA_PORT",
        "TEGATA_PORT_8000_TCP",
        "TEGATA_PORT_8000_TCP_ADDR",
        "TEGATA_PUBLIC_SERVICE_HOST",
        "TEGATA_PUBLIC_SERVICE_PORT",
        "TEGATA_PUBLIC_PORT",
        "TEGATA_PUBLIC_PORT_8000_TCP_PROTO",
        "TEGATA_TOKENS__ACCESS_LIFETIME",
        "PATH",
    ];
    assert_eq!(told(&others), Vec::<String>::new());
}

/// Addresses hold passwords, and a file is what secrets are given in.
#[test]
fn addresses_can_be_in_files_and_then_nowhere_else() {
    let place = tempfile::tempdir().unwrap();
    for (section, url) in [
        ("store", "postgres://a:hunter2@b/c"),
        ("redis", "redis://:hunter2@b"),
        ("events", "nats://a:hunter2@b"),
        ("mail", "smtp://a:hunter2@localhost:25"),
    ] {
        let at = |text: &str| {
            let path = place.path().join("tegata.toml");
            fs::write(&path, text).unwrap();
            let read = load::read(Some(&path), std::iter::empty());
            read.map(|(config, ..)| config).map_err(|error| error.to_string())
        };
        let from = if section == "mail" { "from = \"a@b.example\"\n" } else { "" };
        let named = format!("[{section}]\nurl_file = \"the.url\"\n{from}");
        fs::write(place.path().join("the.url"), format!("{url}\n")).unwrap();
        let config = at(&named).unwrap();
        let read = match section {
            "store" => Some(&config.store.url),
            "redis" => config.redis.url.as_ref(),
            "events" => Some(&config.events.url),
            _ => config.mail.url.as_ref(),
        };
        assert_eq!(read.unwrap().expose(), url, "{section}");
        assert!(!format!("{config:?}").contains("hunter2"));
        let both = at(&format!("{named}url = \"{url}\"\n")).unwrap_err();
        assert!(both.contains(&format!("[{section}] url and url_file")), "{both}");
        assert!(!both.contains("hunter2"));
        fs::write(place.path().join("the.url"), "\n").unwrap();
        assert!(at(&named).unwrap_err().contains("is empty"));
        fs::remove_file(place.path().join("the.url")).unwrap();
        let gone = at(&named).unwrap_err();
        assert!(
            gone.contains(&format!("[{section}] url_file")) && gone.contains("the.url"),
            "{gone}"
        );
    }
}

#[test]
fn an_error_from_the_environment_names_its_variable() {
    for (name, value) in [
        ("TEGATA_TOKENS__ACCESS_LIFETIME", "15 minutes"),
        ("TEGATA_TOKENS__ACCES_LIFETIME", "15m"),
        ("TEGATA_PUBLIC__LISTEN", "nowhere"),
        ("TEGATA_SESSIONS__MOST", "many"),
    ] {
        let error = read("", &[("TEGATA_SESSIONS__IDLE", "5m"), (name, value)]).unwrap_err();
        assert!(error.contains(name) && !error.contains("IDLE"), "{error}");
    }
}

#[test]
fn secrets_of_another_type_are_not_shown_either() {
    let config = read("", &[("TEGATA_KEYS__ROOT_KEY", "12345")]).unwrap();
    assert!(!format!("{config:?}").contains("12345"));
    let list = "[{username = \"a\", password = 12345}]";
    let error = read("", &[("TEGATA_USER", list)]).unwrap_err();
    assert!(error.contains("TEGATA_USER") && !error.contains("12345"), "{error}");
    for text in [
        "[[user]]\nusername = \"a\"\npassword = 12345",
        "[[user]]\nusername = \"a\"\npassword = [12345]",
        "[[client]]\nclient_id = \"a\"\nclient_secret = 12345",
        "[store]\nurl = 12345",
    ] {
        let error = read(text, &[]).unwrap_err();
        assert!(!error.contains("12345"), "{error}");
    }
    let shown = "[store]\nurl = \"postgres://a:hunter2@b/c\"\n[keys]\nroot_key = \"hunter2\"";
    assert!(!format!("{:?}", read(shown, &[]).unwrap()).contains("hunter2"));
}

#[test]
fn a_missing_file_says_how_to_make_one() {
    let error = load::read(Some("no-such.toml".as_ref()), std::iter::empty()).err().unwrap();
    assert!(error.to_string().contains("tegata init"));
}

#[test]
fn secrets_are_not_shown() {
    let text = "[[user]]\nusername = \"a\"\npassword = \"hunter2\"\n\
                [[client]]\nclient_id = \"c\"\nredirect_uris = []\nclient_secret = \"hunter2\"\n";
    assert!(!format!("{:?}", read(text, &[]).unwrap()).contains("hunter2"));
}

#[test]
fn a_token_stands_alone_and_is_named_in_full() {
    let token = "[keys.pkcs11]\nmodule = \"/lib/hsm.so\"\ntoken = \"t\"\npin_file = \"pin\"\n";
    let config = read(token, &[]).unwrap();
    let pkcs11 = config.keys.pkcs11.unwrap();
    assert!(pkcs11.pin_file.unwrap().is_absolute(), "it is relative to the configuration");
    assert_eq!(pkcs11.key, "tegata-root");
    for (text, why) in [
        (
            format!("[keys]\nroot_key_file = \"root.key\"\n{token}"),
            "root_key_file and [keys.pkcs11]",
        ),
        (format!("[keys]\nroot_key = \"AA==\"\n{token}"), "root_key and [keys.pkcs11]"),
        (token.replace("/lib/hsm.so", "hsm.so"), "full path"),
        (token.replace("module = \"/lib/hsm.so\"", ""), "full path"),
        (token.replace("token = \"t\"", ""), "token is missing"),
        (format!("{token}key = \"\"\n"), "key is missing"),
        (token.replace("pin_file = \"pin\"", ""), "TEGATA_KEYS__PKCS11__PIN"),
        (format!("{token}timeout = \"0s\"\n"), "timeout is 0"),
        (format!("{token}slot = 1\n"), "unknown key `slot`"),
    ] {
        let refused = read(&text, &[]).unwrap_err();
        assert!(refused.contains(why), "{text}: {refused}");
    }
    let both = [("TEGATA_KEYS__PKCS11__PIN", "31415926")];
    let refused = read(token, &both).unwrap_err();
    assert!(refused.contains("pin and pin_file") && !refused.contains("31415926"), "{refused}");
}

#[test]
fn a_pin_is_a_text_whatever_it_looks_like() {
    let token = "[keys.pkcs11]\nmodule = \"/lib/hsm.so\"\ntoken = \"t\"\n";
    for pin in ["1234", "0123", "1_000", "1e5", "true", "\"1\"", "[1]", "a = b"] {
        let config = read(token, &[("TEGATA_KEYS__PKCS11__PIN", pin)]).unwrap();
        let read = config.keys.pkcs11.unwrap().pin.unwrap();
        assert_eq!(read.expose(), pin);
        assert!(!format!("{read:?}").contains(pin));
    }
}

#[test]
fn declared_cookies_that_contradict_themselves_are_refused_with_how_to_mend_them() {
    let read_one = |more: &str| {
        let head =
            "[[cookies.declared]]\nname = \"x\"\ncategory = \"analytics\"\npurpose = \"Counts.\"\n";
        read(&format!("{head}{more}"), &[])
    };
    assert!(read_one("").is_ok());
    assert!(read_one("life = \"7d\"\nset_by = \"script\"\nsame_site = \"strict\"").is_ok());
    for (more, word) in [
        ("same_site = \"none\"\nsecure = false", "`secure = true`"),
        ("life = \"401d\"", "`400d`"),
        ("path = \"x\"", "begins with `/`"),
        ("environments = []", "`environments`"),
        ("purpose_ja = \"\"", "no purpose"),
        ("set_by = \"tegata\"", "`service` or `script`"),
        ("same_sight = \"lax\"", "did you mean `same_site`?"),
        (
            "[[cookies.declared]]\nname = \"__Host-y\"\ncategory = \"functional\"\npurpose = \"y\"\n\
          domain = \"example.com\"",
            "`__Host-y`",
        ),
        (
            "[[cookies.declared]]\nname = \"X\"\ncategory = \"marketing\"\npurpose = \"y\"",
            "at once",
        ),
        (
            "[[cookies.declared]]\nname = \"_ga\"\ncategory = \"marketing\"\npurpose = \"y\"",
            "at once",
        ),
        (
            "[[cookies.declared]]\nname = \"session_id\"\ncategory = \"essential\"\npurpose = \"y\"",
            "Tegata's own",
        ),
    ] {
        let error = read_one(more).unwrap_err();
        assert!(error.contains(word), "{more}: {error}");
    }
}

#[test]
fn the_pages_ask_where_there_is_something_that_somebody_declared() {
    let shows = |text: &str| {
        let config = read(text, &[]).unwrap();
        let (_, policy) = config.cookies().unwrap();
        config.shows_banner(&policy)
    };
    let declared =
        "[[cookies.declared]]\nname = \"x\"\ncategory = \"analytics\"\npurpose = \"y\"\n";
    let none = "[cookies]\nwithout = [\"_ga\", \"_gid\", \"utm_*\", \"_fbp\", \"ads_*\"]\n";
    assert!(!shows(""));
    assert!(shows(declared));
    assert!(shows("[consent]\nbanner = true\n"));
    assert!(!shows(&format!("[consent]\nbanner = false\n{declared}")));
    assert!(!shows(&format!("[consent]\nbanner = true\n{none}")), "there is nothing to ask");
}

#[test]
fn a_sidecar_goes_on_for_5_s_unless_somebody_says_that_longer_is_dangerous() {
    let with = |lines: &str| {
        let config = read(&format!("[sidecar]\n{lines}\n"), &[]);
        config.map(|config| config.sidecar.stale.get().as_secs())
    };
    assert_eq!(with(""), Ok(5));
    assert_eq!(with("stale = \"5s\""), Ok(5));
    let said = with("stale = \"6s\"").unwrap_err();
    assert!(said.contains("danger_long_stale"), "{said}");
    assert_eq!(with("stale = \"60s\"\ndanger_long_stale = true"), Ok(60));
    assert!(with("stale = \"61s\"\ndanger_long_stale = true").is_err());
}

#[test]
fn what_changed_is_named_and_taken_over_by_name() {
    let given_with = |text: &str, set: Option<(String, String)>| {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("tegata.toml");
        fs::write(&path, text).unwrap();
        load::read(Some(&path), set.into_iter()).unwrap().2
    };
    let given = |text: &str| given_with(text, None);
    let was = given(
        "[gateway.limits]\nbody = 10\n[gateway.limits.body_of]\n\"/a.b\" = 1\n[public]\nbrand = \"A\"\n",
    );
    let new = given(
        "[gateway]\nworkers = 2\n[gateway.limits]\nper_user = \"1/s\"\n[gateway.limits.body_of]\n\
         \"/a.b\" = 2\n[gateway.cors]\n[[service]]\nname = \"a\"\nupstreams = [\"http://a:1\"]\n",
    );
    let mut names = was.changes(&new);
    names.sort();
    assert_eq!(
        names,
        [
            "gateway.limits.body",
            "gateway.limits.body_of./a.b",
            "gateway.limits.per_user",
            "gateway.workers",
            "public.brand",
            "service"
        ]
    );
    assert!(new.changes(&new).is_empty());
    let taken = was.with(&new, |name| name.starts_with("gateway.limits"));
    let mut left = taken.changes(&new);
    left.sort();
    assert_eq!(left, ["gateway.workers", "public.brand", "service"]);
    let config = taken.config(Path::new(".")).unwrap();
    assert_eq!(config.gateway.limits.body, gateway::Limits::default().body);
    assert_eq!(config.gateway.limits.body_of.get("/a.b"), Some(&2));
    assert_eq!((config.gateway.workers, config.public.brand.as_str()), (0, "A"));
    // A number that lost its last digits, and a file that lost all of it.
    assert!(was.is_half_written(&given("[gateway.limits]\nbody = 1")));
    assert!(was.is_half_written(&given("")) && !was.is_half_written(&new));
    assert!(!given("[gateway.limits]\nbody = 1").is_half_written(&given("[gateway]\nworkers = 1")));
    // What the environment sets does not make up for it, whatever the file ended with.
    let set = ("TEGATA_PUBLIC__BRAND".to_owned(), "C".to_owned());
    let given = |text: &str| given_with(text, Some(set.clone()));
    for before in ["[gateway.limits]\nbody = 1\n", "[gateway.limits]\nbody = 1"] {
        assert!(given(before).is_half_written(&given("")), "{before:?}");
        assert!(given(before).is_half_written(&given("# nothing\n")), "{before:?}");
    }
    assert!(!given("").is_half_written(&given("")));
}

#[test]
fn what_is_issued_must_be_on_record_unless_it_is_said_that_it_need_not() {
    use Mode::{BestEffort, Required};
    for (text, issuance, verification) in [
        ("", Required, BestEffort),
        ("[audit_log]\nmode = \"required\"\n", Required, Required),
        ("[audit_log]\nmode = \"best_effort\"\n", BestEffort, BestEffort),
        // The older name is of the gateway alone.
        ("[gateway]\ndecisions = \"required\"\n", Required, Required),
        (
            "[gateway]\ndecisions = \"best_effort\"\n[audit_log]\nmode = \"required\"\n",
            Required,
            BestEffort,
        ),
    ] {
        let config = read(text, &[]).unwrap();
        let modes = (config.records_of_issuance(), config.records_of_verification());
        assert_eq!(modes, (issuance, verification), "{text}");
    }
    let config = read("", &[("TEGATA_AUDIT_LOG__MODE", "best_effort")]).unwrap();
    assert_eq!(config.records_of_issuance(), BestEffort);
    let error = read("[audit_log]\nmod = \"required\"\n", &[]).unwrap_err();
    assert!(error.contains("`mode`?"), "{error}");
}
