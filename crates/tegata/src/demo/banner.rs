//! What the demo says when it serves: addresses, a person, a token, and what to do with it.

use std::path::Path;

use tegata_core::{Batch, Timestamp};
use tegata_oauth::{ClientMetadata, administer::ROLE};
use tegata_shop::Registry;
use tegata_token::{Beginning, Binding, Scope, family::Granted};

use super::{
    Ports,
    household::Household,
    partner::{self, Partner},
};
use crate::{command::Failed, compose::Composed};

/// Prints it.
pub(crate) async fn print(
    composed: &Composed,
    ports: &Ports,
    (household, partner): (&Household, &Partner),
    data: &Path,
) -> Result<(), Failed> {
    let token = a_token(composed, household).await?;
    // As it was called, so that the command below can be pasted.
    let program = std::env::args().next().unwrap_or_else(|| "tegata".to_owned());
    let (gateway, path) = (ports.gateway_url(), Registry::PROTECTED_PATH);
    say_line!("tegata demo\n");
    say_line!("  sign in      {}/login", ports.issuer());
    let administrators =
        household.people.iter().filter(|it| it.roles.iter().any(|own| own == ROLE));
    let names: Vec<_> = administrators.map(|it| it.username.as_str()).collect();
    say_line!("  console      {}/console (for {})", ports.issuer(), names.join(", "));
    say_line!("  shop         {gateway}{}", Registry::FRONT_PATH);
    say_line!("  gateway      {gateway}");
    say_line!("  partner      {}", ports.partner_url());
    say_line!(
        "  operations   {}/health/ready  {}/metrics",
        ports.operations_url(),
        ports.operations_url()
    );
    say_line!("  data         {}\n", data.display());
    for person in &household.people {
        say_line!(
            "  {:<12} password {}   role {}{}",
            person.username,
            person.password,
            person.roles.join(", "),
            person.totp_secret.as_ref().map(|it| format!("   totp {it}")).unwrap_or_default()
        );
    }
    say_line!("\nCall a service through the gateway, as alice:\n");
    say_line!("  TOKEN={token}");
    say_line!("  curl -i -H \"Authorization: Bearer $TOKEN\" {gateway}{path}\n");
    say_line!("Take the token back, and call again:\n");
    say_line!(
        "  {program} revoke --data-dir {} --token $TOKEN --reason demo --wait\n",
        data.display()
    );
    say_line!("Or call with a token of another issuer, which the partner hands out:\n");
    // The token is the first member of the answer.
    say_line!(
        "  TOKEN=$(curl -s -u {}:{} -d grant_type=client_credentials {} | cut -d'\"' -f4)",
        partner::CLIENT,
        partner.secret(),
        Partner::token_endpoint(ports)
    );
    say_line!("  curl -i -H \"Authorization: Bearer $TOKEN\" {gateway}/echo/hello\n");
    say_line!("What happens (Ctrl-C stops):\n");
    Ok(())
}

/// A token of alice, as a sign-in would give it.
async fn a_token(composed: &Composed, household: &Household) -> Result<String, Failed> {
    let failed =
        |error: &dyn std::fmt::Display| Failed::Operation(format!("the demo's token: {error}"));
    let person = household.person("customer").ok_or_else(|| failed(&"nobody is a customer"))?;
    let name = tegata_identity::Username::new(&person.username).map_err(|error| failed(&error))?;
    let user = composed.users.by_username(&composed.realm, &name).await;
    let user =
        user.map_err(|error| failed(&error))?.ok_or_else(|| failed(&"alice is not there"))?;
    let now: Timestamp = composed.node.now();
    let client = ClientMetadata {
        client_id: "demo-spa".to_owned(),
        public: true,
        redirect_uris: vec![super::household::CALLBACK.to_owned()],
        ..ClientMetadata::default()
    };
    let client = client.read(now).map_err(|error| failed(&error))?;
    let scope = Scope::new("openid profile").map_err(|error| failed(&error))?;
    let beginning = Beginning {
        client: client.id.clone(),
        user: user.id.clone(),
        session: None,
        began_in: None,
        ends: None,
        grant: Granted {
            scope,
            audience: vec![composed.config.audience()],
            acr: Some("aal1".to_owned()),
            amr: vec!["pwd".to_owned()],
            auth_time: now.secs(),
            ..Granted::default()
        },
        binding: Binding::Client,
        authority: user.authority,
        authorized: now,
        as_of: None,
        kid: composed.provider.signer(client.access_token_alg),
    };
    let begun = composed.families.begin(&composed.realm, beginning).await;
    let (issue, change) = begun.map_err(|error| failed(&error))?;
    let batch = Batch::new(composed.realm.clone()).with(change);
    composed.records.commit(batch).await.map_err(|error| failed(&error))?;
    composed.provider.access_token(&issue, &user, &client).await.map_err(|error| failed(&error))
}
