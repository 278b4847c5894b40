//! `tegata revoke`.

use clap::Args;

use super::{Context, Failed, read_secret};
use crate::operate::{Foreigner, Order, What};

#[derive(Args)]
#[group(id = "what", required = true, multiple = false)]
struct Chosen {
    /// An access, transaction or refresh token; `-` reads it from standard input.
    #[arg(long)]
    token: Option<String>,
    /// An access token, by its name.
    #[arg(long)]
    jti: Option<String>,
    /// A sign-in's tokens.
    #[arg(long)]
    family: Option<String>,
    /// A browser session.
    #[arg(long)]
    session: Option<String>,
    /// Everything that a person has.
    #[arg(long, value_name = "USERNAME")]
    user: Option<String>,
    /// Everything that a client has.
    #[arg(long)]
    client: Option<String>,
    /// Everything that a service has.
    #[arg(long)]
    service: Option<String>,
    /// Everything that a key signed.
    // Key ids are thumbprints, some of which begin with a hyphen.
    #[arg(long, value_name = "KID", allow_hyphen_values = true)]
    key: Option<String>,
}

#[derive(Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    chosen: Chosen,
    /// Another issuer, which is configured, that issued it: `--jti`, `--session`, `--user`, `--client` (or
    /// `--service`) and `--key` are then what it says in `jti`, `sid`, `sub`, `client_id` or `azp`, and `kid`.
    #[arg(long, value_name = "URL", conflicts_with_all = ["token", "family"])]
    issuer: Option<String>,
    /// Why, in a word: kept in the journal.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    /// Waits until every node refuses it, and says which do, and after how long: milliseconds where
    /// they hear each other. After 5 s, whoever has not said so serves nothing that it would have to
    /// know it for.
    #[arg(long)]
    wait: bool,
}

impl Revoke {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let mut chosen = self.chosen;
        if chosen.token.as_deref() == Some("-") {
            chosen.token = Some(read_secret(None, "the token")?);
        }
        let what = [
            chosen.token.map(What::Token),
            chosen.jti.map(What::Jti),
            chosen.family.map(What::Family),
            chosen.session.map(What::Session),
            chosen.user.map(What::User),
            chosen.client.map(What::Client),
            chosen.service.map(What::Service),
            chosen.key.map(What::Key),
        ];
        let what = what.into_iter().flatten().next();
        let what = match (what, self.issuer) {
            (Some(what), None) => what,
            (Some(What::Jti(jti)), Some(issuer)) => foreign(issuer, Foreigner::Jti(jti)),
            (Some(What::Session(sid)), Some(issuer)) => foreign(issuer, Foreigner::Session(sid)),
            (Some(What::User(sub)), Some(issuer)) => foreign(issuer, Foreigner::User(sub)),
            (Some(What::Client(client) | What::Service(client)), Some(issuer)) => {
                foreign(issuer, Foreigner::Client(client))
            }
            (Some(What::Key(kid)), Some(issuer)) => foreign(issuer, Foreigner::Key(kid)),
            _ => return Err(Failed::Usage("say what is to be revoked".to_owned())),
        };
        let order = Order::Revoke { what, reason: self.reason, wait: self.wait };
        let mut answer = context.order(order).await?;
        let unconfirmed = self.wait && answer.get("confirmed").is_none();
        if let Some(members) = answer.as_object_mut().filter(|_| unconfirmed) {
            let note = "no server runs here that could confirm it; one that starts knows it";
            members.insert("unconfirmed".to_owned(), note.into());
        }
        context.show(&answer)
    }
}

const fn foreign(issuer: String, named: Foreigner) -> What {
    What::Foreign { issuer, named }
}
