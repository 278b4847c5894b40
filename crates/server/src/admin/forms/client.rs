//! Clients: the names of RFC 7591, and ours.

use super::{ALGORITHM, NAME, NAMES, TEXT, answered, asked};
use crate::admin::shape::{Form, Member, Shape, may, must};

const URI: Shape = Shape::Text { least: 1, most: 2048 };
const SECRET: Shape = Shape::Text { least: 16, most: 1024 };
const URIS: Shape = Shape::List(&URI, 100);
const GRANTS: Shape = Shape::List(
    &Shape::Word(&[
        "authorization_code",
        "refresh_token",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    ]),
    5,
);
const METHODS: Shape = Shape::Word(&[
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "spiffe_jwt",
    "spiffe_x509",
]);
const SUBJECTS: Shape = Shape::Word(&["public", "pairwise"]);

/// What a client is, beside its name.
const MEMBERS: &[Member] = &[
    may("client_name", NAME, "What people are shown."),
    may("token_endpoint_auth_method", METHODS, "How it proves itself."),
    may("tls_client_auth_subject_dn", TEXT, "The subject of its certificate (RFC 8705 §2.1.2)."),
    may("tls_client_auth_san_dns", NAME, "In its place, a DNS name of its certificate."),
    may("tls_client_auth_san_uri", URI, "In its place, a URI."),
    may("tls_client_auth_san_ip", NAME, "In its place, an address."),
    may("tls_client_auth_san_email", NAME, "In its place, an e-mail address."),
    may(
        "spiffe_id",
        URI,
        "The SPIFFE ID of its workload, or of all beneath a path: `spiffe://example.org/batch/*`.",
    ),
    may("jwks", Shape::Open, "Its public keys."),
    may("jwks_uri", URI, "Where it publishes its public keys."),
    may("grant_types", GRANTS, "What it may ask for tokens with."),
    may("redirect_uris", URIS, "Where its answers may be sent."),
    may("post_logout_redirect_uris", URIS, "Where a browser may be sent after signing out."),
    may("subject_type", SUBJECTS, "What it calls people by: their ids, or names of its sector."),
    may("sector", NAME, "The host that names its sector; that of its redirect URIs if missing."),
    may("scope", TEXT, "The scope it may ask for. None of administration is given here."),
    may("audiences", NAMES, "Whom its tokens may be for, beside the gateway."),
    may("may_introspect", Shape::Flag, "Whether it may ask about tokens of others."),
    may(
        "disabled",
        Shape::Flag,
        "Whether nobody is taken for it; `true` also takes back what it has.",
    ),
    may("require_pkce", Shape::Flag, "Whether its authorization requests need a code challenge."),
    may("asks_consent", Shape::Flag, "Whether people are asked before it gets anything."),
    may("access_token_signed_response_alg", ALGORITHM, "What its access tokens are signed with."),
    may("id_token_signed_response_alg", ALGORITHM, "What its ID tokens are signed with."),
    may("backchannel_logout_uri", URI, "Where it is told that a session has ended."),
    may(
        "backchannel_logout_session_required",
        Shape::Flag,
        "Whether it is told which: it always is.",
    ),
    may("authorization_signed_response_alg", ALGORITHM, "What signed answers are signed with."),
    may(
        "introspection_signed_response_alg",
        ALGORITHM,
        "What introspection answers are signed with.",
    ),
    may("userinfo_signed_response_alg", ALGORITHM, "What userinfo is signed with."),
    may(
        "token_format",
        Shape::Word(&["jwt", "reference"]),
        "What its access tokens look like: JWTs, or references that say nothing.",
    ),
    may("require_pushed_authorization_requests", Shape::Flag, "Whether it must push its requests."),
    may("require_signed_request_object", Shape::Flag, "Whether it must sign its requests."),
    may("request_object_signing_alg", ALGORITHM, "What it signs its requests with."),
    may("token_endpoint_auth_signing_alg", ALGORITHM, "What it signs its assertions with."),
    may("default_max_age", Shape::Count, "For how many seconds a sign-in counts, if not asked."),
    may("default_acr_values", NAMES, "How strongly people are authenticated, if not asked."),
    may("authorization_details_types", NAMES, "The types of authorization details it may ask for."),
    may("profile", Shape::Word(&["fapi2"]), "The security profile that it keeps."),
    may("may_act", NAME, "Who alone may act on behalf of whom its tokens speak for: a client."),
    may(
        "tls_client_certificate_bound_access_tokens",
        Shape::Flag,
        "Whether its tokens are bound to the certificate that it shows.",
    ),
    may("dpop_bound_access_tokens", Shape::Flag, "Whether its token requests need a DPoP proof."),
    may("dpop_nonce", Shape::Word(&["offered", "required"]), "Whether its proofs need a nonce."),
    may("logo_uri", URI, "Its logo."),
    may("policy_uri", URI, "Its privacy policy."),
    may("tos_uri", URI, "Its terms of service."),
];

pub(in crate::admin) const CLIENT: Form = Form {
    more: MEMBERS,
    ..answered(
        "Client",
        "A registered client. Its secrets are told when they are made, and never again.",
        &[
            must("client_id", NAME, "Its name."),
            must("created", Shape::Moment, "When it was registered."),
            may("client_secret", TEXT, "Its secret, where one was made just now."),
            may(
                "described",
                Shape::Word(&["taken", "refused"]),
                "That it describes itself at its address, where what it is is read anew; and whether it \
                 is taken.",
            ),
        ],
    )
};

pub(in crate::admin) const NEW_CLIENT: Form = Form {
    more: MEMBERS,
    ..asked(
        "NewClient",
        "A client to register. One that needs a secret and brings none is given one.",
        &[
            must("client_id", NAME, "Its name."),
            may("client_secret", SECRET, "Its secret, of at least 16 characters."),
            may("public", Shape::Flag, "Short for the authentication method `none`."),
        ],
    )
};

pub(in crate::admin) const CLIENT_CHANGE: Form = Form {
    more: MEMBERS,
    removes: true,
    ..asked(
        "ClientChange",
        "What of a client is to be different (RFC 7396): what is not named stays, `null` takes away.",
        &[],
    )
};

pub(in crate::admin) const CLIENT_SECRET: Form = answered(
    "ClientSecret",
    "A new secret of a client, told this once.",
    &[
        must("client_id", NAME, "Whose it is."),
        must("client_secret", TEXT, "The secret."),
        must("note", TEXT, "For how long the one before works."),
    ],
);

pub(in crate::admin) const CLIENT_REFUSED: Form = answered(
    "ClientRefused",
    "A client that is refused from now on, and what it had.",
    &[
        must("refused", NAME, "Its name."),
        must("families", Shape::Count, "How many sign-ins' tokens were taken back."),
        must("revoked", Shape::Moment, "Up to when everything that it was issued is refused."),
        may("delegations", NAMES, "Delegations by which it acted, which ended with it."),
    ],
);

pub(in crate::admin) const CLIENT_REMOVED: Form = answered(
    "ClientRemoved",
    "A client that is not there any more, and what it had.",
    &[
        must("removed", NAME, "Its name."),
        must("families", Shape::Count, "How many sign-ins' tokens were taken back."),
        must("revoked", Shape::Moment, "Up to when everything that it was issued is refused."),
        may("delegations", NAMES, "Delegations by which it acted, which ended with it."),
    ],
);
