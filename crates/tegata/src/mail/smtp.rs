//! Handing mail over to a mail server (RFC 6409).

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        PoolConfig,
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};
use tegata_core::{BoxFuture, Node};
use tegata_identity::letters::{Carried, Post, Written};

use super::address::{self, Protection, Server};
use crate::{
    command::Failed,
    config::{Config, MAIL_TIMEOUT, read_secret},
};

/// How many connections are kept.
const CONNECTIONS: u32 = 4;

/// For how long, without a mail.
const IDLE: Duration = Duration::from_secs(30);

/// A mail server.
pub(super) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    node: Node,
}

impl Smtp {
    /// The mail server of a configuration.
    pub(super) fn open(config: &Config, node: &Node) -> Result<Self, Failed> {
        let wrong = |what: &str| Failed::Usage(format!("[mail] {what}"));
        let mail = &config.mail;
        let url = mail.url.as_ref().ok_or_else(|| wrong("url is missing"))?;
        let mut server: Server =
            url.expose().parse().map_err(|why| wrong(&format!("url {why}")))?;
        if let Some(file) = &mail.password_file {
            let read = read_secret(Path::new(""), file)
                .map_err(|why| wrong(&format!("password_file {why}")));
            server.password = Some(read?);
        }
        let from = mail.from.as_deref().ok_or_else(|| wrong("from is missing"))?;
        let (name, from) = address::sender(from).map_err(|why| wrong(&format!("from {why}")))?;
        let from: Address =
            from.as_str().parse().map_err(|_| wrong("from is no address that mail comes from"))?;
        let tls = match server.protection {
            Protection::None => Tls::None,
            Protection::StartTls => Tls::Required(tls(&server.host, mail.ca_file.as_deref())?),
            Protection::Tls => Tls::Wrapper(tls(&server.host, mail.ca_file.as_deref())?),
        };
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host.as_str())
                .port(server.port)
                .tls(tls)
                .timeout(Some(MAIL_TIMEOUT))
                .pool_config(PoolConfig::new().max_size(CONNECTIONS).idle_timeout(IDLE));
        if let Some(user) = server.user {
            let password = server.password.map(|it| it.expose().clone()).unwrap_or_default();
            builder = builder.credentials(Credentials::new(user, password));
        }
        let transport = builder.build();
        Ok(Self { transport, from: Mailbox::new(name, from), node: node.clone() })
    }

    fn message(&self, written: &Written) -> Result<Message, String> {
        let to: Address =
            written.to.as_str().parse().map_err(|_| "it is no address of mail".to_owned())?;
        let mut random = [0_u8; 16];
        self.node.entropy().fill(&mut random);
        let id = format!("<{}@{}>", URL_SAFE_NO_PAD.encode(random), self.from.email.domain());
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(written.subject.as_str())
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN)
            .body(written.text.expose().clone());
        let mut message = message.map_err(|error| error.to_string())?;
        // Nobody's holiday answers it (RFC 3834 §5).
        let name = HeaderName::new_from_ascii_str("Auto-Submitted");
        message.headers_mut().insert_raw(HeaderValue::new(name, "auto-generated".to_owned()));
        Ok(message)
    }
}

impl Post for Smtp {
    fn carry<'a>(&'a self, written: &'a Written) -> BoxFuture<'a, Carried> {
        Box::pin(async move {
            let message = match self.message(written) {
                Ok(message) => message,
                Err(why) => return Carried::Refused(why),
            };
            // A server that answers slowly, step by step, is not waited for either.
            let sent = tokio::time::timeout(MAIL_TIMEOUT, self.transport.send(message)).await;
            match sent {
                Ok(Ok(_)) => Carried::Taken,
                Ok(Err(error)) if is_final(&error) => Carried::Refused(told(&error)),
                Ok(Err(error)) => Carried::Failed(told(&error)),
                Err(_) => Carried::Failed("the mail server does not answer in time".to_owned()),
            }
        })
    }
}

/// Whether a mail is refused for good: its address, or what it says. That we may not send at all is for
/// operators to mend, and the mail waits.
fn is_final(error: &lettre::transport::smtp::Error) -> bool {
    error.status().is_some_and(|code| (550..=556).contains(&u16::from(code)))
}

fn told(error: &lettre::transport::smtp::Error) -> String {
    // What servers say may repeat the address.
    match error.status() {
        Some(code) => format!("the mail server answers {code}"),
        None if error.is_timeout() => "the mail server does not answer in time".to_owned(),
        None if error.is_tls() => format!("TLS with the mail server: {error}"),
        None => format!("the mail server cannot be used: {error}"),
    }
}

fn tls(host: &str, named: Option<&Path>) -> Result<TlsParameters, Failed> {
    let usage = |what: String| Failed::Usage(format!("[mail] {what}"));
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(file) = named {
        let wrong =
            |error: &dyn std::fmt::Display| usage(format!("ca_file `{}`: {error}", file.display()));
        let pem = std::fs::read(file).map_err(|error| wrong(&error))?;
        builder = builder.certificate_store(CertificateStore::None);
        for one in certificates(&pem) {
            let read = Certificate::from_pem(one.as_bytes()).map_err(|error| wrong(&error))?;
            builder = builder.add_root_certificate(read);
        }
    }
    builder.build_rustls().map_err(|error| usage(format!("TLS: {error}")))
}

/// The certificates of a PEM file, one by one.
fn certificates(pem: &[u8]) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = String::from_utf8_lossy(pem);
    let parts = text.split_inclusive(END).filter(|part| part.contains("-----BEGIN CERTIFICATE"));
    parts.map(|part| format!("{}\n", part.trim_start())).collect()
}
