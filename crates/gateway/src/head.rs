//! What the first four phases see of a request: its head, and who sent it. Reading it once finds
//! everything that they ask for, so no phase searches the fields again.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};
use tegata_token::ClientCertificate;

/// A request's head.
#[derive(Debug, Clone, Copy)]
pub struct Head<'r> {
    /// The method.
    pub method: &'r Method,
    /// The target as it was sent.
    pub uri: &'r Uri,
    /// The version of HTTP.
    pub version: Version,
    /// The header fields.
    pub headers: &'r HeaderMap,
    /// The address of the other end of the connection.
    pub peer: IpAddr,
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// The certificate that the client has shown on the connection.
    pub certificate: Option<&'r ClientCertificate>,
}

/// What stands in the header fields.
#[derive(Debug, Default)]
pub(crate) struct Fields<'r> {
    pub(crate) host: Once<'r>,
    pub(crate) authorization: Once<'r>,
    pub(crate) dpop: Once<'r>,
    pub(crate) api_key: Once<'r>,
    pub(crate) length: Once<'r>,
    pub(crate) traceparent: Once<'r>,
    pub(crate) upgrade: Once<'r>,
    /// Whether anything but `100-continue` is expected, in any line.
    pub(crate) expects_more: bool,
    pub(crate) origin: Option<&'r HeaderValue>,
    pub(crate) has_cookie: bool,
    pub(crate) has_coding: bool,
    /// Whether the client reads fields behind a body.
    pub(crate) takes_trailers: bool,
    /// How many fields there are.
    pub(crate) count: usize,
    /// How many bytes they have, as HTTP/1 would write them.
    pub(crate) bytes: usize,
    /// The longest value.
    pub(crate) longest: usize,
    /// What must not reach a service: hop-by-hop fields, what the client listed in `Connection`,
    /// and what only the gateway may say.
    pub(crate) strip: Vec<HeaderName>,
}

/// A field that may stand once.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) enum Once<'r> {
    #[default]
    Absent,
    One(&'r HeaderValue),
    Several,
}

impl<'r> Once<'r> {
    pub(crate) fn add(&mut self, value: &'r HeaderValue) {
        *self = match self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    pub(crate) const fn one(self) -> Option<&'r HeaderValue> {
        match self {
            Self::One(value) => Some(value),
            Self::Absent | Self::Several => None,
        }
    }
}

impl<'r> Fields<'r> {
    /// Reads all fields.
    pub(crate) fn read(headers: &'r HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            fields.count += 1;
            fields.bytes += name.as_str().len() + value.len() + 4;
            fields.longest = fields.longest.max(value.len());
            fields.note(name, value);
        }
        fields
    }

    fn note(&mut self, name: &'r HeaderName, value: &'r HeaderValue) {
        match *name {
            header::HOST => self.host.add(value),
            header::AUTHORIZATION => self.authorization.add(value),
            header::CONTENT_LENGTH => self.length.add(value),
            header::COOKIE => self.has_cookie = true,
            header::ORIGIN => self.origin = Some(value),
            header::CONNECTION => {
                self.strip.push(header::CONNECTION);
                self.strip_named(value);
            }
            header::UPGRADE => {
                self.upgrade.add(value);
                self.strip.push(header::UPGRADE);
            }
            header::EXPECT => {
                self.expects_more |= !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
                self.strip.push(header::EXPECT);
            }
            header::TRANSFER_ENCODING => {
                self.has_coding = true;
                self.strip.push(header::TRANSFER_ENCODING);
            }
            header::TE => {
                self.takes_trailers |= value.as_bytes().eq_ignore_ascii_case(b"trailers");
                self.strip.push(header::TE);
            }
            header::TRAILER | header::PROXY_AUTHENTICATE | header::PROXY_AUTHORIZATION => {
                self.strip.push(name.clone());
            }
            _ => match name.as_str() {
                "traceparent" => self.traceparent.add(value),
                "dpop" => self.dpop.add(value),
                "x-api-key" => self.api_key.add(value),
                other if is_ours(other) || is_hop(other) => self.strip.push(name.clone()),
                _ => {}
            },
        }
    }

    /// What `Connection` lists is for this hop alone (RFC 9110 §7.6.1), so a client can take fields
    /// away; those that frame or route the request it cannot.
    fn strip_named(&mut self, value: &HeaderValue) {
        let names = value.as_bytes().split(|byte| *byte == b',');
        for name in names.map(<[u8]>::trim_ascii) {
            if name.eq_ignore_ascii_case(b"close") || name.eq_ignore_ascii_case(b"keep-alive") {
                continue;
            }
            match HeaderName::from_bytes(name) {
                Ok(header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING) | Err(_) => {}
                Ok(name) => self.strip.push(name),
            }
        }
    }
}

/// Hop-by-hop fields that have no constant of their own.
pub(crate) fn is_hop(name: &str) -> bool {
    matches!(name, "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Whether only the gateway, or a proxy that it trusts, may say this to a service.
///
/// A name with anything but letters, digits and hyphens is among them: servers that put fields into
/// variables take `_` (and some `.`) for `-`, so that `X_User_ID` would pass for `X-User-ID`.
pub(crate) fn is_ours(name: &str) -> bool {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return true;
    }
    const FAMILIES: [&str; 9] = [
        "x-user-",
        "x-forwarded-",
        "x-internal-",
        "x-original-",
        "x-auth-request-",
        "x-client-",
        "x-ssl-",
        "x-envoy-",
        "client-cert",
    ];
    match name.as_bytes().first() {
        Some(b'x') => {
            matches!(
                name,
                "x-request-id"
                    | "x-service-name"
                    | "x-trace-id"
                    | "x-rewrite-url"
                    | "x-http-method"
                    | "x-http-method-override"
                    | "x-method-override"
                    | "x-real-ip"
                    | "x-host"
                    | "x-remote-user"
                    | "x-cluster-client-ip"
                    | "x-middleware-subrequest"
            ) || FAMILIES.iter().any(|family| name.starts_with(family))
        }
        Some(b'c') => name.starts_with("client-cert") || name == "cf-connecting-ip",
        Some(b'f') => name == "forwarded" || name == "front-end-https",
        Some(b'r') => name == "remote-user" || name == "remote-addr",
        Some(b't') => name == "txn-token" || name == "true-client-ip",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(fields: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let mut names: Vec<_> =
            Fields::read(&headers).strip.iter().map(ToString::to_string).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    #[test]
    fn what_only_the_gateway_may_say_is_recognised_in_every_spelling() {
        for name in [
            "X-User-ID",
            "x-user-id",
            "X_User_ID",
            "X.User.ID",
            "X-User_ID",
            "x_user-id",
            "X-User-Roles",
            "X-USER-ROLES",
            "X-User-Context",
            "X-Request-ID",
            "X_Request_Id",
            "X-Internal-Token",
            "X_INTERNAL_TOKEN",
            "X.Internal.Token",
            "X-Service-Name",
            "Txn-Token",
            "Txn_Token",
            "txn.token",
            "X-Trace-ID",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "X-Method-Override",
            "X_HTTP_Method_Override",
            "X-Forwarded-For",
            "X_Forwarded_For",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "X-Forwarded-Uri",
            "X-Forwarded-Prefix",
            "Forwarded",
            "X-Real-IP",
            "Client-Cert",
            "Client_Cert",
            "Client-Cert-Chain",
            "X-Client-Cert",
            "X-SSL-Client-Verify",
            "X-Middleware-Subrequest",
            "X-Auth-Request-User",
            "Remote-User",
            "Content_Length",
            "Transfer_Encoding",
            "Authorization_",
        ] {
            assert_eq!(strip(&[(name, "x")]).len(), 1, "{name}");
        }
    }

    #[test]
    fn ordinary_fields_stay() {
        for name in [
            "Accept",
            "Content-Type",
            "Cookie",
            "Traceparent",
            "Tracestate",
            "Baggage",
            "X-CSRF-Token",
            "X-Requested-With",
            "Range",
            "If-None-Match",
            "X-Userland",
            "Client-Hint",
        ] {
            assert_eq!(strip(&[(name, "x")]), [""; 0], "{name}");
        }
    }

    #[test]
    fn what_connection_lists_is_taken_away_but_not_the_framing() {
        let listed =
            "close, X-Fine, host, Content-Length, ,transfer-encoding, keep-alive, TE, cookie";
        assert_eq!(strip(&[("Connection", listed)]), ["connection", "cookie", "te", "x-fine"]);
        assert_eq!(
            strip(&[("Connection", "close"), ("Keep-Alive", "5")]),
            ["connection", "keep-alive"]
        );
    }
}
