//! The address of Redis, as operators write it.

use std::fmt;

use super::RedisRefused;
use crate::url::decoded;

/// What an address names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// A server.
    Alone,
    /// The primary that Sentinels call by this name.
    Sentinels { name: String },
    /// A cluster.
    Cluster,
}

/// Where Redis is, and who we are there.
#[derive(Clone)]
pub struct Address {
    pub(super) shape: Shape,
    pub(super) tls: bool,
    /// Servers, Sentinels, or some nodes of the cluster.
    pub(super) places: Vec<Place>,
    /// The file of those who vouch for the servers, where it is not those whom this machine trusts.
    pub(super) roots: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
}

/// A host and a port.
pub(super) type Place = (String, u16);

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// [`RedisRefused::Address`].
    pub fn read(url: &str) -> Result<Self, RedisRefused> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refused("it has no scheme"))?;
        let (kind, tls) = match scheme.strip_prefix("rediss") {
            Some(kind) => (kind, true),
            None => (scheme.strip_prefix("redis").unwrap_or(scheme), false),
        };
        if rest.rsplit('@').next().is_some_and(|rest| rest.contains('#')) {
            return Err(refused(
                "it ends in a fragment (`#…`): servers are trusted by certificates",
            ));
        }
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, _)) if login.contains("?sslrootcert=") => {
                return Err(refused("write `%40` for an `@` in what follows `sslrootcert=`"));
            }
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let (rest, roots) = match rest.split_once('?') {
            None => (rest, None),
            Some((rest, query)) => (rest, Some(roots(query, tls)?)),
        };
        let (places, path) = rest.split_once('/').unwrap_or((rest, ""));
        let usual = if kind == "-sentinel" { 26379 } else { 6379 };
        let places: Result<Vec<_>, _> = places.split(',').map(|it| place(it, usual)).collect();
        let (name, database) = match kind {
            "-sentinel" => path.split_once('/').unwrap_or((path, "")),
            _ => ("", path),
        };
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| {
                refused("what follows the last `/` is not the number of a database")
            })?,
        };
        let shape = match kind {
            "" => Shape::Alone,
            "-sentinel" if name.is_empty() => {
                return Err(refused(
                    "it does not say what the Sentinels call the primary: end it with `/NAME`",
                ));
            }
            "-sentinel" => Shape::Sentinels { name: decoded(name).map_err(refused)? },
            "-cluster" => Shape::Cluster,
            _ => {
                return Err(refused(
                    "it begins with none of `redis://`, `redis-sentinel://`, `redis-cluster://` \
                     and the same with `rediss`",
                ));
            }
        };
        let places = places?;
        if shape == Shape::Alone && places.len() > 1 {
            return Err(refused(
                "it names several servers: write `redis-cluster://` or `redis-sentinel://`",
            ));
        }
        if shape == Shape::Cluster && database != 0 {
            return Err(refused("a cluster has one database, 0"));
        }
        let (user, password) = login.map_or(Ok((None, None)), credentials)?;
        Ok(Self { shape, tls, places, roots, user, password, database })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, place) in self.places.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}", shown(place))?;
        }
        match &self.shape {
            Shape::Sentinels { name } => write!(f, "/{name}"),
            Shape::Alone | Shape::Cluster => Ok(()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({:?}, {:?})", self.shape, self.places)
    }
}

/// A place as it is written.
pub(super) fn shown((host, port): &Place) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What follows the `?`: the file of those who vouch for the servers.
fn roots(query: &str, tls: bool) -> Result<String, RedisRefused> {
    match query.split_once('=') {
        Some(("sslrootcert", file)) if tls => decoded(file).map_err(refused),
        Some(("sslrootcert", _)) => Err(refused("`sslrootcert` is for addresses with `rediss`")),
        _ => Err(refused("after `?` it may say `sslrootcert=FILE`, and nothing else")),
    }
}

/// `host:port`, `host`, `[::1]:port`.
fn place(text: &str, usual: u16) -> Result<Place, RedisRefused> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(refused("it names no host"));
    }
    let port = match port {
        None => usual,
        Some(port) => port
            .parse()
            .map_err(|_| refused(&format!("the port of `{host}` is not a number up to 65535")))?,
    };
    Ok((host.to_owned(), port))
}

fn credentials(login: &str) -> Result<(Option<String>, Option<String>), RedisRefused> {
    let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
    let some = |text: &str| {
        let text = decoded(text).map_err(refused)?;
        Ok::<_, RedisRefused>(Some(text).filter(|text| !text.is_empty()))
    };
    Ok((some(user)?, password.map_or(Ok(None), some)?))
}

pub(super) fn refused(detail: &str) -> RedisRefused {
    RedisRefused::Address { detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_operators_write() {
        let alone = Address::read("redis://127.0.0.1").unwrap();
        assert_eq!(alone.shape, Shape::Alone);
        assert_eq!(alone.places, [("127.0.0.1".to_owned(), 6379)]);
        let tls = Address::read("rediss://me:p%40ss@[::1]:7000/3").unwrap();
        assert!(tls.tls);
        assert_eq!((tls.user.as_deref(), tls.password.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!((tls.places[0].0.as_str(), tls.places[0].1, tls.database), ("::1", 7000, 3));
        let watched = Address::read("redis-sentinel://:secret@a,b:1/main/2").unwrap();
        assert_eq!(watched.shape, Shape::Sentinels { name: "main".to_owned() });
        assert_eq!((watched.user.as_deref(), watched.password.as_deref()), (None, Some("secret")));
        assert_eq!(watched.places, [("a".to_owned(), 26379), ("b".to_owned(), 1)]);
        assert_eq!(watched.to_string(), "a:26379,b:1/main");
        assert_eq!(Address::read("redis-cluster://a,b:7001").unwrap().shape, Shape::Cluster);
        let own = Address::read("rediss-sentinel://u:p@a,[::1]:7/main?sslrootcert=/a%20b").unwrap();
        assert_eq!((own.roots.as_deref(), own.tls), (Some("/a b"), true));
        assert_eq!(own.to_string(), "a:26379,[::1]:7/main");
    }

    #[test]
    fn says_what_is_wrong_and_not_the_password() {
        for (url, part) in [
            ("localhost:6379", "no scheme"),
            ("http://secret@a", "begins with none"),
            ("redis://u:secret@", "names no host"),
            ("redis://u:secret@a:99999", "port of `a`"),
            ("redis://u:secret@a/x", "number of a database"),
            ("redis://u:secret@a,b", "several servers"),
            ("redis-sentinel://u:secret@a", "end it with `/NAME`"),
            ("redis-cluster://u:secret@a/1", "one database"),
            ("redis://u:secret%zz@a", "hexadecimal"),
            ("redis://u:secret@a?sslrootcert=secret", "is for addresses with `rediss`"),
            ("rediss://u:secret@a?secret=secret", "nothing else"),
            ("rediss://u:secret@a/#insecure", "fragment"),
        ] {
            let said = Address::read(url).unwrap_err().to_string();
            assert!(said.contains(part) && !said.contains("secret"), "{said}");
        }
        let address = Address::read("redis://u:secret@a").unwrap();
        assert!(!format!("{address:?}").contains("secret"));
    }
}
