//! What is wrong with a configuration although each value of it can be read.

use std::time::Duration;

use http::uri::Authority;
use tegata_core::{ClientCertificates, Secret, Timestamp};
use tegata_oauth::{Client, administer::is_administrative};
use tegata_session::{Environment, Origins};
use tegata_token::{Algorithm, SpiffePattern, revocation::LONGEST_ACCESS};
use tracing_subscriber::EnvFilter;

use super::{Config, Span, is_loopback};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// The longest chain of actors: their names and those of their tokens fit into a token.
const MOST_ACTORS: usize = 8;
const DAY: Duration = Duration::from_secs(86_400);

/// Spans that must be within bounds, which are inclusive.
type Bounds = [(&'static str, Span, Duration, Duration)];

impl Config {
    /// All of it, the most telling first.
    pub(crate) fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.of_listeners(&mut found);
        self.of_ext_authz(&mut found);
        self.of_issuer(&mut found);
        self.of_certificates(&mut found);
        self.of_other_issuers(&mut found);
        self.of_trust_domains(&mut found);
        self.of_gateway(&mut found);
        self.of_tokens(&mut found);
        self.of_clients(&mut found);
        self.of_sessions(&mut found);
        self.of_cookies(&mut found);
        self.of_keys(&mut found);
        self.of_log(&mut found);
        self.of_mail(&mut found);
        self.signals.contradictions(&mut found);
        self.of_sidecar(&mut found);
        self.policy.contradictions(&mut found);
        self.gateway.introspection.contradictions(&mut found);
        found
    }

    fn of_listeners(&self, found: &mut Vec<String>) {
        for (section, listen) in [
            ("public", &self.public.listen),
            ("gateway", &self.gateway.listen),
            ("operations", &self.operations.listen),
        ] {
            if listen.addresses().is_empty() {
                found.push(format!("[{section}] listen is empty: name at least one address"));
            }
        }
        for (section, key, listen, named) in [
            ("public", "issuer", &self.public.listen, &self.public.issuer),
            ("gateway", "audience", &self.gateway.listen, &self.gateway.audience),
        ] {
            if listen.port() == 0 && named.is_none() {
                found.push(format!(
                    "[{section}] listen leaves the port to the system, so `{key}` must be said"
                ));
            }
        }
    }

    fn of_issuer(&self, found: &mut Vec<String>) {
        let issuer = self.issuer();
        let loopback = is_loopback(&issuer);
        if !issuer.starts_with("https://") && !loopback {
            found.push(format!(
                "[public] issuer `{issuer}` must begin with `https://`; only loopback addresses may be `http://`"
            ));
        }
        if issuer.ends_with('/') || issuer.contains(['?', '#']) {
            found.push(format!(
                "[public] issuer `{issuer}` must not end with `/` and must have no query or fragment"
            ));
        }
        if let Err(error) = Origins::new(&issuer, &[]) {
            found.push(format!("[public] issuer: {error}"));
        }
        if let Err(error) = self.relying_party(&Secret::new([0; 32])) {
            found.push(format!("[public] rp_id: {error}"));
        }
        if self.public.environment != Environment::Development && loopback {
            found.push(
                "[public] environment is not `development`, but the issuer is a loopback address; \
                 set `issuer` to the address that browsers use"
                    .to_owned(),
            );
        }
    }

    /// Certificates of clients.
    fn of_certificates(&self, found: &mut Vec<String>) {
        let (public, gateway) = (&self.public, &self.gateway);
        for (section, set, has_tls, has_proxies) in [
            (
                "public",
                public.client_certificates,
                public.tls.is_some(),
                !public.trusted_proxies.is_empty(),
            ),
            (
                "gateway",
                gateway.client_certificates,
                // Envoy tells of them, too.
                gateway.tls.is_some() || self.ext_authz.listen.is_some(),
                !gateway.trusted_proxies.is_empty(),
            ),
        ] {
            match set {
                ClientCertificates::Tls if !has_tls => found.push(format!(
                    "[{section}] client_certificates is `tls`, and there is no `tls` that could ask for \
                     them: name its certificate"
                )),
                ClientCertificates::Header if !has_proxies => found.push(format!(
                    "[{section}] client_certificates is `header`, and `trusted_proxies` names nobody \
                     who is believed"
                )),
                _ => {}
            }
        }
        if let Some(listen) = &public.mtls_listen {
            if listen.addresses().is_empty() {
                found.push("[public] mtls_listen is empty: name at least one address".to_owned());
            }
            if public.tls.is_none() {
                found.push("[public] mtls_listen needs `tls`: name its certificate".to_owned());
            }
            if listen.port() == 0 && public.mtls_url.is_none() {
                found.push(
                    "[public] mtls_listen leaves the port to the system, so `mtls_url` must be said"
                        .to_owned(),
                );
            }
        }
        let mtls = self.mtls();
        if let Some(url) = &public.mtls_url {
            if mtls.is_none() {
                found.push(
                    "[public] mtls_url is said, and nothing asks for certificates there: say \
                     `mtls_listen` or `client_certificates`"
                        .to_owned(),
                );
            }
            if !url.starts_with("https://") || url.ends_with('/') || url.contains(['?', '#', '@']) {
                found.push(format!(
                    "[public] mtls_url `{url}` must begin with `https://`, must not end with `/`, and \
                     has no query or fragment"
                ));
            }
        }
        for client in &self.client {
            let Ok(client) = client.metadata.read(Timestamp::default()) else { continue };
            found.extend(self.missing_for(&client));
        }
    }

    /// What a client lacks here that is to show a certificate, or an SVID.
    pub(crate) fn missing_for(&self, client: &Client) -> Option<String> {
        let is_bound = client.certificate_bound || client.proves_by_certificate();
        if is_bound && self.mtls().is_none() {
            Some(format!(
                "client `{}` shows a certificate, and nothing asks for one: say `mtls_listen` or \
                 `client_certificates` in [public]",
                client.id
            ))
        } else if client.certificate_name.is_some() && self.public.client_ca_file.is_none() {
            Some(format!(
                "client `{}` shows a certificate that an authority signed, and nobody is trusted to \
                 sign one: say `client_ca_file` in [public]",
                client.id
            ))
        } else {
            let domain = client.spiffe_id.as_ref().map(SpiffePattern::domain);
            domain.filter(|name| !self.trusts(name)).map(|name| {
                format!(
                    "client `{}` is a workload of the trust domain `{name}`, whose keys nobody \
                     knows: say [[trust_domain]] with that name",
                    client.id
                )
            })
        }
    }

    fn of_gateway(&self, found: &mut Vec<String>) {
        let gateway = &self.gateway;
        if gateway.client_ca_file.is_some()
            && gateway.client_certificates == ClientCertificates::Off
        {
            found.push(
                "[gateway] client_ca_file: nobody is known by a certificate that nobody sees; say \
                 `client_certificates`, or leave it out"
                    .to_owned(),
            );
        }
        if let Err(error) = Origins::new(&self.audience(), &[]) {
            found.push(format!("[gateway] audience: {error}; it is the gateway's own address"));
        }
        for origin in &gateway.cors.origins {
            if let Err(error) = Origins::new(origin, &[]) {
                found.push(format!("[gateway.cors] origins: {error}"));
            }
        }
        for host in &gateway.hosts {
            let is_name = host.parse::<Authority>().is_ok_and(|it| it.host() == host);
            if !is_name {
                found.push(format!(
                    "[gateway] hosts: `{host}` is not a name alone; leave out port, path and user"
                ));
            }
        }
        let (limits, upstream) = (&gateway.limits, &gateway.upstream);
        for (name, is_nothing) in [
            ("limits] connections", limits.connections == 0),
            ("limits] connections_per_address", limits.connections_per_address == 0),
            ("limits] callers", limits.callers == 0),
            ("upstream] connections", upstream.connections == 0),
        ] {
            if is_nothing {
                found.push(format!("[gateway.{name} is 0: nothing would pass"));
            }
        }
        if self.store.connections == 0 {
            found.push("[store] connections must be at least 1".to_owned());
        }
        self.of_redis(found);
    }

    fn of_redis(&self, found: &mut Vec<String>) {
        let redis = &self.redis;
        if redis.connections == 0 || redis.connections > 100 {
            found.push("[redis] connections must be 1 to 100".to_owned());
        }
        if redis.timeout.get().is_zero() {
            found.push("[redis] timeout is 0: nothing would be answered in time".to_owned());
        }
        if redis.failures == 0 {
            found.push("[redis] failures must be at least 1".to_owned());
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if redis.prefix.is_empty() || !redis.prefix.bytes().all(is_name) {
            found.push(
                "[redis] prefix is made of letters, digits, `-`, `_`, `.` and `:`".to_owned(),
            );
        }
    }

    fn of_tokens(&self, found: &mut Vec<String>) {
        let tokens = &self.tokens;
        if tokens.access_lifetime.get() > LONGEST_ACCESS {
            found.push(
                "[tokens] access_lifetime is longer than an hour: what lives so long should be a \
                 refresh token"
                    .to_owned(),
            );
        }
        for (name, span) in [
            ("service_lifetime", tokens.service_lifetime),
            ("bound_service_lifetime", tokens.bound_service_lifetime),
            ("exchanged_lifetime", tokens.exchanged_lifetime),
        ] {
            if span.get() > tokens.access_lifetime.get() {
                found.push(format!("[tokens] {name} is longer than access_lifetime"));
            }
        }
        self.of_exchange(found);
        if tokens.refresh_lifetime.get() > tokens.refresh_absolute.get() {
            found.push(
                "[tokens] refresh_lifetime is longer than refresh_absolute; the shorter one would \
                 always end it"
                    .to_owned(),
            );
        }
        if tokens.reuse_window.get() > MINUTE {
            found.push(
                "[tokens] reuse_window is longer than a minute, which is how long a thief could use \
                 a stolen refresh token unseen"
                    .to_owned(),
            );
        }
        let long = Duration::MAX;
        check_bounds(
            "tokens",
            &[
                ("access_lifetime", tokens.access_lifetime, SECOND, long),
                ("service_lifetime", tokens.service_lifetime, SECOND, long),
                ("bound_service_lifetime", tokens.bound_service_lifetime, SECOND, long),
                ("exchanged_lifetime", tokens.exchanged_lifetime, SECOND, long),
                ("transaction_lifetime", tokens.transaction_lifetime, SECOND, long),
                ("refresh_lifetime", tokens.refresh_lifetime, SECOND, long),
                // RFC 6749 §4.1.2: ten minutes at most.
                ("code_lifetime", tokens.code_lifetime, SECOND, 10 * MINUTE),
                // RFC 9126 §2.2: short. FAPI 2.0 §5.3.2.2: less than ten minutes.
                ("pushed_lifetime", tokens.pushed_lifetime, 5 * SECOND, 9 * MINUTE),
            ],
            found,
        );
    }

    fn of_exchange(&self, found: &mut Vec<String>) {
        let tokens = &self.tokens;
        if !(1..=MOST_ACTORS).contains(&tokens.longest_chain) {
            found.push(format!(
                "[tokens] longest_chain must be 1 to {MOST_ACTORS}: each actor makes a token longer"
            ));
        }
        if tokens.transaction_lifetime.get() > 5 * MINUTE {
            found.push(
                "[tokens] transaction_lifetime is longer than five minutes: a transaction token is \
                 for the calls that one request causes"
                    .to_owned(),
            );
        }
        let domain = self.trust_domain();
        if !(1..=255).contains(&domain.len()) || !domain.bytes().all(|it| it.is_ascii_graphic()) {
            found.push("[tokens] trust_domain is 1 to 255 visible ASCII characters".to_owned());
        }
        if domain == self.issuer() {
            found.push(
                "[tokens] trust_domain is the issuer: a token for the domain must not be one for it"
                    .to_owned(),
            );
        }
        if domain == self.audience() {
            found.push(
                "[tokens] trust_domain is the gateway's audience: what is for one must not be for \
                 the other"
                    .to_owned(),
            );
        }
    }

    fn of_clients(&self, found: &mut Vec<String>) {
        if is_administrative(&self.clients.registration_scope) {
            found.push(
                "[clients] registration_scope holds a scope that begins with `admin.`: whoever \
                 registers a client must not make it one that administers; declare it"
                    .to_owned(),
            );
        }
        let clients = &self.clients;
        let anywhere = clients.metadata_documents && clients.metadata_document_hosts.is_empty();
        if anywhere && !clients.reach.is_empty() {
            found.push(
                "[clients] metadata_documents lets anybody have addresses in `reach` asked: name the \
                 hosts of such clients in `metadata_document_hosts`"
                    .to_owned(),
            );
        }
    }

    fn of_keys(&self, found: &mut Vec<String>) {
        let keys = &self.keys;
        keys.of_token(found);
        if !keys.algorithms.contains(&Algorithm::Es256) {
            found.push(
                "[keys] algorithms must include `ES256`, which internal tokens are signed with"
                    .to_owned(),
            );
        }
        // A key is published for as long before it signs.
        check_bounds(
            "keys",
            &[
                ("jwks_max_age", keys.jwks_max_age, Duration::ZERO, 7 * DAY),
                ("rotate_every", keys.rotate_every, Duration::ZERO, 10 * 366 * DAY),
            ],
            found,
        );
    }

    fn of_log(&self, found: &mut Vec<String>) {
        let level = &self.observability.level;
        let wrong = |why: &str| {
            format!(
                "[observability] level `{level}`: {why}; there are `error`, `warn`, `info`, `debug`, \
                 `trace` and `off`, and `TARGET=LEVEL` for a part, with commas between them"
            )
        };
        if let Err(error) = EnvFilter::try_new(level) {
            found.push(wrong(&error.to_string()));
        }
        // A word alone that is no level is taken for the name of a part, which hides a slip.
        let levels = ["error", "warn", "info", "debug", "trace", "off"];
        let is_level = |word: &str| levels.iter().any(|level| level.eq_ignore_ascii_case(word));
        let odd =
            level.split(',').map(str::trim).find(|it| !it.contains(['=', '[']) && !is_level(it));
        if let Some(odd) = odd {
            found.push(wrong(&format!("`{odd}` is no level")));
        }
    }
}

fn check_bounds(section: &str, bounds: &Bounds, found: &mut Vec<String>) {
    for (name, span, least, most) in bounds {
        if span.get() < *least {
            found.push(format!("[{section}] {name} must be at least {least:?}"));
        }
        if span.get() > *most {
            found.push(format!("[{section}] {name} must be at most {} s", most.as_secs()));
        }
    }
}
