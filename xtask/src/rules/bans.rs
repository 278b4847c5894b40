//! Which of our crates may use what of others, and what nobody may use.

use super::Violation;
use crate::workspace::{Built, Member};

/// A crate of others, or a family of crates whose name ends in `*`, and why it is kept out.
struct Ban {
    names: &'static [&'static str],
    /// Who may use it nevertheless.
    except: &'static [&'static str],
    why: &'static str,
}

/// What only some of our crates may name in their manifests. Their tests may use anything.
const DIRECT: &[Ban] = &[
    Ban {
        names: &[
            "rusqlite",
            "libsqlite3-sys",
            "tokio-postgres",
            "tokio-postgres-rustls",
            "redis",
            "async-nats",
            "aws-config",
            "aws-sdk-*",
            "cryptoki",
        ],
        except: &["store"],
        why: "only adapters talk to a backend: ask for a port of `core`",
    },
    Ban {
        names: &["lettre"],
        except: &["tegata"],
        why: "only what is wired sends mail: ask for a `Post` of `identity`",
    },
    Ban {
        names: &["axum", "axum-extra"],
        except: &["server", "gateway", "sdk", "shop"],
        why: "only what serves HTTP knows its types: answer with a type of the domain",
    },
    Ban {
        names: &["cedar-policy", "cedar-policy-core"],
        except: &["policy"],
        why: "policies are asked in our own words: `PolicySet` of `policy`",
    },
    Ban {
        names: &["apollo-compiler", "envoy-types"],
        except: &["gateway"],
        why: "only the data plane reads what other programs send through it",
    },
];

/// What must not be linked beneath a crate of the domain, not even indirectly.
const BENEATH: &[Ban] = &[
    Ban {
        names: &["hyper", "hyper-util", "axum", "reqwest"],
        except: &[],
        why: "the domain knows no HTTP",
    },
    Ban {
        names: &["tokio"],
        except: &[],
        why: "the domain knows no runtime: `futures-util` has what needs none",
    },
    Ban {
        names: &["rusqlite", "tokio-postgres", "redis", "async-nats", "aws-sdk-*"],
        except: &[],
        why: "the domain knows no database: ask for a port of `core`",
    },
];

/// What must not take part in a build of the program.
const ANYWHERE: &[Ban] = &[
    Ban {
        names: &["ring"],
        except: &[],
        why: "there is one crypto stack, aws-lc-rs: choose its feature instead",
    },
    Ban {
        names: &["openssl", "openssl-sys", "native-tls"],
        except: &[],
        why: "there is one TLS stack, rustls: choose its feature instead",
    },
    Ban { names: &["serde_yaml", "serde_yml"], except: &[], why: "it is no longer maintained" },
    Ban {
        names: &["sqlx-macros", "sqlx-macros-core"],
        except: &[],
        why: "it compiles the SQL drivers a second time: turn off `macros` and `derive`",
    },
];

impl Ban {
    fn names(&self, package: &str) -> bool {
        self.names.iter().any(|name| match name.strip_suffix('*') {
            Some(prefix) => package.starts_with(prefix),
            None => package == *name,
        })
    }
}

/// What the manifests name that they may not.
pub fn direct(members: &[Member]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for member in members {
        for dependency in member.dependencies.iter().filter(|dependency| !dependency.dev) {
            let banned = DIRECT.iter().filter(|ban| !ban.except.contains(&member.name.as_str()));
            for ban in banned.filter(|ban| ban.names(&dependency.package)) {
                let what = format!("`{}` may not use `{}`", member.name, dependency.package);
                violations.push(Violation::in_file(&member.manifest, what, ban.why));
            }
        }
    }
    violations
}

/// What is linked beneath a crate of the domain and should not be.
pub fn beneath(member: &Member, linked: &[Built]) -> Vec<Violation> {
    found(BENEATH, linked)
        .map(|(ban, package)| {
            let what = format!("`{}` links `{}`", member.name, package.name);
            let mend = format!(
                "{}; `cargo tree -p {} -e normal -i {}` shows the way there",
                ban.why, member.package, package.name
            );
            Violation::in_file(&member.manifest, what, mend)
        })
        .collect()
}

/// What is built and should not be.
pub fn anywhere(built: &[Built]) -> Vec<Violation> {
    found(ANYWHERE, built)
        .map(|(ban, package)| {
            let what = format!("`{}` {} is in the build", package.name, package.version);
            let mend = format!(
                "{}; `cargo tree -e normal,build -i {}` shows the way there",
                ban.why, package.name
            );
            Violation::new("Cargo.lock", what, mend)
        })
        .collect()
}

fn found<'a>(bans: &'a [Ban], built: &'a [Built]) -> impl Iterator<Item = (&'a Ban, &'a Built)> {
    let of = |package: &'a Built| {
        bans.iter().filter(|ban| ban.names(&package.name)).map(move |ban| (ban, package))
    };
    built.iter().flat_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn member(name: &str, dependencies: &[(&str, bool)]) -> Member {
        Member {
            name: name.to_owned(),
            package: format!("tegata-{name}"),
            description: String::new(),
            manifest: format!("crates/{name}/Cargo.toml").into(),
            dependencies: dependencies
                .iter()
                .map(|(package, dev)| Dependency { package: (*package).to_owned(), dev: *dev })
                .collect(),
            features: vec![],
            benches: vec![],
        }
    }

    fn built(name: &str) -> Built {
        Built { name: name.to_owned(), version: "1.0.0".into(), licence: "MIT".into(), ours: false }
    }

    #[test]
    fn drivers_are_for_the_store_and_http_for_the_edges() {
        for (name, package) in [
            ("token", "rusqlite"),
            ("server", "tokio-postgres"),
            ("tegata", "aws-sdk-dynamodb"),
            ("oauth", "axum"),
            ("store", "axum"),
            ("server", "cedar-policy"),
            ("server", "apollo-compiler"),
        ] {
            let violations = direct(&[member(name, &[(package, false)])]);
            assert_eq!(violations.len(), 1, "{name} {package}");
            assert_eq!(violations[0].place, format!("crates/{name}/Cargo.toml"));
        }
        let sound = [
            member("store", &[("rusqlite", false), ("aws-sdk-dynamodb", false)]),
            member("gateway", &[("axum", false)]),
            member("tegata", &[("tokio-postgres", true)]),
        ];
        assert_eq!(direct(&sound), []);
    }

    #[test]
    fn the_domain_links_no_http_no_runtime_and_no_database() {
        for package in ["hyper", "tokio", "rusqlite"] {
            let violations = beneath(&member("token", &[]), &[built("serde"), built(package)]);
            assert_eq!(violations.len(), 1, "{package}");
            assert!(violations[0].mend.contains(&format!("-i {package}")), "{violations:?}");
        }
        assert_eq!(beneath(&member("token", &[]), &[built("tokio-util-of-others")]), []);
    }

    #[test]
    fn a_second_crypto_stack_is_refused_wherever_it_comes_from() {
        for package in ["ring", "openssl-sys", "serde_yaml", "sqlx-macros"] {
            assert_eq!(anywhere(&[built(package), built("rustls")]).len(), 1, "{package}");
        }
        assert_eq!(anywhere(&[built("aws-lc-rs"), built("stringify")]), []);
    }
}
