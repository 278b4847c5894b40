//! API keys.

use super::{LINE, NAME, NAMES, ROLES, SPAN, TEXT, WORD, answered, asked};
use crate::admin::shape::{Form, Member, Shape, may, must};

const ID: Shape = Shape::Text { least: 8, most: 8 };

const MEMBERS: &[Member] = &[
    must("id", ID, "What it is named by, which is no secret."),
    must("client", NAME, "The service or client that it stands for."),
    must("name", TEXT, "What people call it."),
    must(
        "standing",
        Shape::Word(&["active", "revoked", "expired", "before_restore"]),
        "Whether it counts, or why it does not.",
    ),
    must("scope", TEXT, "The scope that services are told."),
    must("roles", ROLES, "The roles that services are told."),
    must("services", NAMES, "The services that it may call; all, if none is named."),
    must("routes", NAMES, "The prefixes of routes that it may call; all, if none is named."),
    must("tokens", Shape::Flag, "Whether it may get tokens for those services."),
    must("created", Shape::Moment, "When it was made."),
    must("expires", Shape::Moment, "When it ends by itself."),
    must("last_used", Shape::Moment, "When it was last used, to about a minute.").or_null(),
    must("revoked", Shape::Moment, "When it was taken back.").or_null(),
    must("reason", TEXT, "Why.").or_null(),
    must("replaces", ID, "The key that it took the place of.").or_null(),
    must("replaced_by", ID, "The key that took its place.").or_null(),
];

pub(in crate::admin) const API_KEY: Form =
    answered("ApiKey", "A key that a service shows at the gateway, or at the token endpoint.", &[])
        .with(MEMBERS);

pub(in crate::admin) const API_KEY_MADE: Form = answered(
    "ApiKeyMade",
    "A key that was made. Nobody is told its secret again.",
    &[
        must("api_key", LINE, "All of it, as it is sent in `X-API-Key`."),
        may("overlap_end", Shape::Moment, "Until when the one before counts beside it.").or_null(),
    ],
)
.with(MEMBERS);

pub(in crate::admin) const NEW_API_KEY: Form = asked(
    "NewApiKey",
    "A key to make.",
    &[
        must("client", NAME, "The service or client that it stands for."),
        may("name", Shape::Text { least: 0, most: 200 }, "What people call it."),
        may("scope", TEXT, "The scope that services are told; none that begins with `admin.`."),
        may("roles", Shape::List(&WORD, 100), "The roles that services are told."),
        may("services", NAMES, "The services that it may call; all, if none is named."),
        may("routes", NAMES, "The prefixes of routes that it may call; all, if none is named."),
        may(
            "tokens",
            Shape::Flag,
            "Whether it may get tokens for those services at the token endpoint, in the place of the client's \
             secret. Not with `routes`.",
        ),
        may("lifetime", SPAN, "For how long it counts, such as `90d`; `365d` if it is missing."),
    ],
);

pub(in crate::admin) const API_KEY_ROTATION: Form = asked(
    "ApiKeyRotation",
    "How a key is replaced.",
    &[
        may(
            "grace",
            SPAN,
            "For how long both count: `1m`, or as long as a token of the key may live, to `30d`; `1d` if it is missing.",
        ),
        may("at_once", Shape::Flag, "`true`: the one before does not count any more."),
    ],
);
