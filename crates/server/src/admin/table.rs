//! Every operation of the administration: what routes requests, and what the document renders.

use tegata_oauth::administer::Need;

use self::{
    Operation as O,
    Verb::{Delete, Get, Patch, Post, Put},
};
use super::{
    forms::{self, api_key, bff, client, request},
    shape::{Form, Member, may},
};

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "`TABLE` says what each is")]
pub enum Operation {
    Users,
    UserAdd,
    User,
    UserChange,
    UserPassword,
    UserFactors,
    UserFactorsReset,
    UserRevoke,
    Clients,
    ClientAdd,
    Client,
    ClientChange,
    ClientSecret,
    ClientRemove,
    ClientRefuse,
    Services,
    ServiceAdd,
    Service,
    ServiceChange,
    ServiceRemove,
    Bffs,
    Bff,
    BffPut,
    BffRemove,
    Sessions,
    Session,
    SessionEnd,
    Tokens,
    TokenInspect,
    TokenTrace,
    Request,
    Revoke,
    Keys,
    KeysRotate,
    KeyRetire,
    ApiKeys,
    ApiKeyAdd,
    ApiKey,
    ApiKeyRotate,
    ApiKeyRevoke,
    Consents,
    ConsentWithdraw,
}

/// The methods that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of HTTP")]
pub enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    /// As it stands in a request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// An operation: how it is asked for, and what is answered.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Which.
    pub operation: Operation,
    /// Its name in the document.
    pub id: &'static str,
    /// By which method.
    pub verb: Verb,
    /// Where, after `/admin/v1`; `{…}` stands for a name.
    pub path: &'static str,
    /// What a token must be for.
    pub need: Need,
    /// What it does.
    pub says: &'static str,
    /// What is sent.
    pub body: Option<&'static Form>,
    /// By what a list can be narrowed.
    pub filters: &'static [Member],
    /// Whether a list is answered, a piece at a time.
    pub lists: bool,
    /// Whether it can be waited for until it is confirmed.
    pub confirms: bool,
    /// Whether it can be made to depend on a version.
    pub is_conditional: bool,
    /// Whether the version is told.
    pub is_versioned: bool,
    /// The status of its answer.
    pub status: u16,
    /// What is answered; of a list, what each item is.
    pub answer: Option<&'static Form>,
}

impl Row {
    const fn new(operation: Operation, id: &'static str, verb: Verb, path: &'static str) -> Self {
        let need = match verb {
            Get => Need::Read,
            _ => Need::Write,
        };
        Self {
            operation,
            id,
            verb,
            path,
            need,
            says: "",
            body: None,
            filters: &[],
            lists: false,
            confirms: false,
            is_conditional: false,
            is_versioned: false,
            status: 200,
            answer: None,
        }
    }

    const fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    const fn reads(self, body: &'static Form) -> Self {
        Self { body: Some(body), ..self }
    }

    const fn answers(self, status: u16, answer: &'static Form) -> Self {
        Self { status, answer: Some(answer), ..self }
    }

    const fn versioned(self) -> Self {
        Self { is_versioned: true, ..self }
    }

    const fn conditional(self) -> Self {
        Self { is_conditional: true, is_versioned: true, ..self }
    }

    const fn lists(self, item: &'static Form, filters: &'static [Member]) -> Self {
        Self { lists: true, answer: Some(item), filters, ..self }
    }

    const fn with(self, filters: &'static [Member]) -> Self {
        Self { filters, ..self }
    }

    const fn confirms(self) -> Self {
        Self { confirms: true, ..self }
    }
}

const USER: Member = may("user", forms::USER_ID, "Those of this person.");
const CLIENT: Member = may("client", forms::NAME, "Those of this client.");
const SESSION: Member = may("session", forms::NAME, "Those of this session.");
const USERNAME: Member = may("username", forms::NAME, "The one of this name.");

/// All of them.
pub const TABLE: &[Row] = &[
    Row::new(O::Users, "listUsers", Get, "/users")
        .says("People, in the order of their ids.")
        .lists(&forms::USER, &[USERNAME]),
    Row::new(O::UserAdd, "addUser", Post, "/users")
        .says("Registers a person.")
        .reads(&forms::NEW_USER)
        .answers(201, &forms::USER)
        .versioned(),
    Row::new(O::User, "showUser", Get, "/users/{id}")
        .says("One person.")
        .answers(200, &forms::USER)
        .versioned(),
    Row::new(O::UserChange, "changeUser", Patch, "/users/{id}")
        .says(
            "Changes a person. Nobody takes the role `admin` from themselves or disables themselves \
             here: somebody else does. Whoever is disabled loses at once what they have.",
        )
        .reads(&forms::USER_CHANGE)
        .answers(200, &forms::USER)
        .conditional(),
    Row { status: 204, ..Row::new(O::UserPassword, "setPassword", Put, "/users/{id}/password") }
        .says("Sets a person's password. Whoever is signed in by the one before is not any more.")
        .reads(&forms::NEW_PASSWORD),
    Row::new(O::UserFactors, "showSecondFactors", Get, "/users/{id}/second-factors")
        .says("What a person has beside a password.")
        .answers(200, &forms::FACTORS),
    Row::new(O::UserFactorsReset, "resetSecondFactors", Delete, "/users/{id}/second-factors")
        .says("Takes a person's second factors away: for whoever has lost them all.")
        .answers(200, &forms::FACTORS_RESET),
    Row::new(O::UserRevoke, "revokeUser", Post, "/users/{id}/revoke")
        .says("Takes back everything that a person has, of every kind, and proves it.")
        .reads(&forms::REASON)
        .answers(200, &forms::REVOKED)
        .confirms(),
    Row::new(O::Clients, "listClients", Get, "/clients")
        .says("Clients, in the order of their names.")
        .lists(&client::CLIENT, &[]),
    Row::new(O::ClientAdd, "addClient", Post, "/clients")
        .says("Registers a client. No scope that begins with `admin.` is given here.")
        .reads(&client::NEW_CLIENT)
        .answers(201, &client::CLIENT)
        .versioned(),
    Row::new(O::Client, "showClient", Get, "/clients/{id}")
        .says("One client.")
        .answers(200, &client::CLIENT)
        .versioned(),
    Row::new(O::ClientChange, "changeClient", Patch, "/clients/{id}")
        .says(
            "Changes a client. One that may administer is changed by declaration alone, and none is \
             made one that may.",
        )
        .reads(&client::CLIENT_CHANGE)
        .answers(200, &client::CLIENT)
        .conditional(),
    Row::new(O::ClientSecret, "rotateClientSecret", Post, "/clients/{id}/rotate-secret")
        .says("Gives a client a new secret. The one before works until the next rotation.")
        .answers(200, &client::CLIENT_SECRET)
        .conditional(),
    Row::new(O::ClientRemove, "removeClient", Delete, "/clients/{id}")
        .says("Removes a client, and takes back what it has.")
        .answers(200, &client::CLIENT_REMOVED),
    Row::new(O::ClientRefuse, "refuseClient", Post, "/clients/{id}/refuse")
        .says(
            "Refuses a client that describes itself at its address, and takes back what it has. \
             Removing it takes the refusal back.",
        )
        .reads(&forms::REASON)
        .answers(200, &client::CLIENT_REFUSED),
    Row::new(O::Services, "listServices", Get, "/services")
        .says("Services, in the order of their names.")
        .lists(&forms::SERVICE, &[]),
    Row::new(O::ServiceAdd, "addService", Post, "/services")
        .says("Registers a service. It is answered when the gateway serves it.")
        .reads(&forms::NEW_SERVICE)
        .answers(201, &forms::SERVICE)
        .versioned(),
    Row::new(O::Service, "showService", Get, "/services/{name}")
        .says("One service.")
        .answers(200, &forms::SERVICE)
        .versioned(),
    Row::new(O::ServiceChange, "changeService", Patch, "/services/{name}")
        .says("Changes a service. It is answered when the gateway serves it so.")
        .reads(&forms::SERVICE_CHANGE)
        .answers(200, &forms::SERVICE)
        .conditional(),
    Row::new(O::ServiceRemove, "removeService", Delete, "/services/{name}")
        .says("Removes a service and its routes.")
        .answers(200, &forms::REMOVED),
    Row::new(O::Bffs, "listAggregations", Get, "/bffs")
        .says("Answers that are put together of several, in the order of their names.")
        .lists(&bff::BFF, &[]),
    Row::new(O::Bff, "showAggregation", Get, "/bffs/{name}")
        .says("One of them.")
        .answers(200, &bff::BFF)
        .versioned(),
    Row::new(O::BffPut, "putAggregation", Put, "/bffs/{name}")
        .says(
            "Declares one, or puts it in the place of the one of its name. It is answered when the gateway \
             serves it.",
        )
        .reads(&bff::BFF_PUT)
        .answers(200, &bff::BFF)
        .conditional(),
    Row::new(O::BffRemove, "removeAggregation", Delete, "/bffs/{name}")
        .says("Removes one. What it was put together of stays.")
        .answers(200, &forms::REMOVED),
    Row::new(O::Sessions, "listSessions", Get, "/sessions")
        .says("Sessions that have not ended, in the order of their handles.")
        .lists(&forms::SESSION, &[USER]),
    Row::new(O::Session, "showSession", Get, "/sessions/{sid}")
        .says("One session.")
        .answers(200, &forms::SESSION),
    Row::new(O::SessionEnd, "endSession", Delete, "/sessions/{sid}")
        .says("Ends a session, and takes back the tokens of its sign-in.")
        .answers(200, &forms::REVOKED)
        .confirms(),
    Row::new(O::Tokens, "listTokens", Get, "/tokens")
        .says("The tokens of sign-ins, by at most one of the filters.")
        .lists(&forms::FAMILY, &[USER, CLIENT, SESSION]),
    Row { need: Need::Read, ..Row::new(O::TokenInspect, "inspectToken", Post, "/tokens/inspect") }
        .says("What a token says, and whether it counts.")
        .reads(&forms::TOKEN_ASKED)
        .answers(200, &forms::INSPECTED),
    Row::new(O::TokenTrace, "traceToken", Get, "/tokens/{jti}/trace")
        .says("The life of a token: issued to whom, used where, made into what, taken back why.")
        .answers(200, &forms::TRACED),
    Row::new(O::Request, "explainRequest", Get, "/requests/{id}")
        .says(
            "Why a request passed or was refused, by its `X-Request-ID` or the id of its trace, as the log of \
             decisions of the node says that is asked.",
        )
        .with(&request::PLACE)
        .answers(200, &request::EXPLAINED),
    Row::new(O::Revoke, "revoke", Post, "/tokens/revoke")
        .says("Takes something back: a token, or all of a sign-in, session, person, client or key.")
        .reads(&forms::REVOCATION)
        .answers(200, &forms::REVOKED)
        .confirms(),
    Row::new(O::Keys, "listKeys", Get, "/keys")
        .says("The signing keys, also those that were retired.")
        .answers(200, &forms::KEYS),
    Row::new(O::KeysRotate, "rotateKeys", Post, "/keys/rotate")
        .says("Makes the next keys sign.")
        .reads(&forms::ROTATION)
        .answers(200, &forms::ROTATED),
    Row::new(O::KeyRetire, "retireKey", Post, "/keys/{kid}/retire")
        .says("Retires a key whose tokens have died.")
        .answers(200, &forms::RETIRED),
    Row::new(O::ApiKeys, "listApiKeys", Get, "/api-keys")
        .says("API keys, in the order of their ids. Their secrets are never told.")
        .lists(&api_key::API_KEY, &[CLIENT]),
    Row::new(O::ApiKeyAdd, "createApiKey", Post, "/api-keys")
        .says("Makes an API key for a service or client, and tells it once.")
        .reads(&api_key::NEW_API_KEY)
        .answers(201, &api_key::API_KEY_MADE),
    Row::new(O::ApiKey, "showApiKey", Get, "/api-keys/{id}")
        .says("One API key.")
        .answers(200, &api_key::API_KEY),
    Row::new(O::ApiKeyRotate, "rotateApiKey", Post, "/api-keys/{id}/rotate")
        .says("Makes a key in the place of another, which counts beside it for a while, and tells it once.")
        .reads(&api_key::API_KEY_ROTATION)
        .answers(200, &api_key::API_KEY_MADE),
    Row::new(O::ApiKeyRevoke, "revokeApiKey", Delete, "/api-keys/{id}")
        .says("Takes an API key back.")
        .answers(200, &forms::REVOKED)
        .confirms(),
    Row::new(O::Consents, "listConsents", Get, "/consents")
        .says("What people have agreed to, in a stable order.")
        .lists(&forms::CONSENT, &[USER, CLIENT]),
    Row::new(O::ConsentWithdraw, "withdrawConsent", Delete, "/consents/{user}/{client}")
        .says("Forgets that a person agreed, and takes back what the client had by it.")
        .answers(200, &forms::WITHDRAWN),
];
