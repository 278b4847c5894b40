//! The bodies of the administration: what is sent, and what is answered.

use super::shape::{Form, Member, Shape, may, must};

pub(super) mod api_key;
pub(super) mod bff;
pub(super) mod client;
pub(super) mod request;

/// An id, or another name.
pub(super) const NAME: Shape = Shape::Text { least: 1, most: 255 };
/// A user id.
pub(super) const USER_ID: Shape = Shape::Text { least: 5, most: 64 };
/// What people wrote, or are to read.
pub(super) const TEXT: Shape = Shape::Text { least: 0, most: 2048 };
const WORD: Shape = Shape::Text { least: 1, most: 64 };
const NAMES: Shape = Shape::List(&NAME, 100);
const ROLES: Shape = Shape::List(&WORD, 100);
const TOKEN: Shape = Shape::Text { least: 1, most: 16 * 1024 };
const ALGORITHM: Shape = Shape::Word(&["RS256", "PS256", "ES256", "EdDSA"]);

const fn asked(name: &'static str, says: &'static str, members: &'static [Member]) -> Form {
    Form { name, says, asked: true, members, more: &[], removes: false }
}

const fn answered(name: &'static str, says: &'static str, members: &'static [Member]) -> Form {
    Form { name, says, asked: false, members, more: &[], removes: false }
}

const EMAIL: Shape = Shape::Text { least: 3, most: 254 };
const LOCALE: Shape = Shape::Text { least: 1, most: 35 };
const PASSWORD: Shape = Shape::Text { least: 1, most: 1024 };
const HASH: Shape = Shape::Text { least: 1, most: 1024 };

const LINE: Shape = Shape::Text { least: 1, most: 256 };
const LINES: Shape = Shape::Text { least: 1, most: 1024 };
const ADDRESS: Shape = Shape::Text { least: 9, most: 2048 };

/// What is asked and what is answered of it has one form: an operator may set whatever is told.
pub(super) const CLAIMS: Form = answered(
    "Claims",
    "What clients may be told of a person beside the user name, mail and language (OpenID Connect Core §5.1).",
    &[
        may("name", LINE, "The whole name, as it is shown.").or_null(),
        may("given_name", LINE, "Given names.").or_null(),
        may("family_name", LINE, "Family names.").or_null(),
        may("middle_name", LINE, "Middle names.").or_null(),
        may("nickname", LINE, "What friends call the person.").or_null(),
        may("profile", ADDRESS, "The page about the person: `https` alone, like the next two.")
            .or_null(),
        may("picture", ADDRESS, "A picture of the person.").or_null(),
        may("website", ADDRESS, "The person's own page.").or_null(),
        may("gender", LINE, "`female`, `male`, or any other word.").or_null(),
        may("birthdate", LINE, "`YYYY-MM-DD`, `0000-MM-DD` without the year, or `YYYY`.").or_null(),
        may("zoneinfo", LINE, "The time zone: `Europe/Paris`.").or_null(),
        may("phone_number", LINE, "As in E.164: `+14255550100`.").or_null(),
        may(
            "phone_number_verified",
            Shape::Flag,
            "Whether somebody has made sure of it. `true` stands beside `phone_number`.",
        )
        .or_null(),
        may("address", Shape::Object(&POSTAL), "Where the person lives; replaced as a whole.")
            .or_null(),
    ],
);

const POSTAL: Form = answered(
    "PostalAddress",
    "A postal address (OpenID Connect Core §5.1.1).",
    &[
        may("formatted", LINES, "All of it, as it stands on a letter."),
        may("street_address", LINES, "The street, with the number."),
        may("locality", LINE, "The city."),
        may("region", LINE, "The state or province."),
        may("postal_code", LINE, "The postal code."),
        may("country", LINE, "The country."),
    ],
);

pub(super) const USER: Form = answered(
    "User",
    "A person. Passwords and their hashes are never told.",
    &[
        must("id", USER_ID, "For ever the same, and never another's: the claim `sub`."),
        must("username", NAME, "The name to sign in with, in its one form."),
        must("email", EMAIL, "Where mail reaches the person.").or_null(),
        must("email_verified", Shape::Flag, "Whether the person has answered mail there."),
        must("roles", ROLES, "What the person may do."),
        must("disabled", Shape::Flag, "Whether the person may not sign in."),
        must("created", Shape::Moment, "Since when the user exists."),
        must("locale", LOCALE, "The language the person reads.").or_null(),
        must("claims", Shape::Object(&CLAIMS), "What else is known of the person."),
        must("updated", Shape::Moment, "When something that clients are told was changed last.")
            .or_null(),
    ],
);

pub(super) const NEW_USER: Form = asked(
    "NewUser",
    "A person to register. Without a password, nobody can sign in by one.",
    &[
        must("username", Shape::Text { least: 1, most: 512 }, "The name to sign in with."),
        may("email", EMAIL, "Where mail reaches the person.").or_null(),
        may("roles", ROLES, "What the person may do; nothing if it is missing."),
        may("locale", LOCALE, "The language the person reads, as in BCP 47.").or_null(),
        may("claims", Shape::Object(&CLAIMS), "What else is known of the person.").or_null(),
        may("password", PASSWORD, "The password."),
        may("password_hash", HASH, "In its place, its hash in the PHC form."),
    ],
);

pub(super) const USER_CHANGE: Form = asked(
    "UserChange",
    "What of a person is to be different (RFC 7396): what is not named stays, `null` takes away.",
    &[
        may("email", EMAIL, "Where mail reaches the person.").or_null(),
        may("roles", ROLES, "All roles: those that are not named are withdrawn."),
        may("disabled", Shape::Flag, "`true` also ends all that the person has."),
        may("locale", LOCALE, "The language the person reads.").or_null(),
        may(
            "claims",
            Shape::Object(&CLAIMS),
            "What else is known of the person; `null` takes one, or all, away.",
        )
        .or_null(),
    ],
);

pub(super) const NEW_PASSWORD: Form = asked(
    "NewPassword",
    "A password in place of the one before: one of the two.",
    &[
        may("password", PASSWORD, "The password."),
        may("password_hash", HASH, "Its hash in the PHC form."),
    ],
);

pub(super) const FACTORS: Form = answered(
    "SecondFactors",
    "What a person has beside a password.",
    &[
        must("passkeys", Shape::Count, "How many passkeys there are."),
        must("totp_since", Shape::Moment, "Since when an authenticator app is enrolled.").or_null(),
        must("recovery_codes", Shape::Count, "How many recovery codes are left."),
    ],
);

pub(super) const FACTORS_RESET: Form = answered(
    "SecondFactorsReset",
    "What became of a person's second factors.",
    &[
        must("username", NAME, "Whose they were."),
        must("second_factors", TEXT, "`removed`, or `there were none`."),
    ],
);

pub(super) const REASON: Form = asked(
    "Reason",
    "Why something is taken back.",
    &[must("reason", Shape::Text { least: 1, most: 200 }, "In a word, for the journal.")],
);

const SPAN: Shape = Shape::Text { least: 2, most: 16 };
const FILE: Shape = Shape::Text { least: 1, most: 4096 };

const HEALTH: Form = answered(
    "ServiceHealth",
    "How the addresses of a service are asked whether they are well.",
    &[
        must("path", LINES, "What is asked for; an answer from 200 to 299 is a good one."),
        may("interval", SPAN, "How often, such as `5s`."),
        may("timeout", SPAN, "How long an answer may take."),
        may(
            "healthy",
            Shape::Count,
            "After so many good answers in a row an address is used again.",
        ),
        may("unhealthy", Shape::Count, "After so many without one it is not."),
    ],
);

const RETRY: Form = answered(
    "ServiceRetry",
    "When a request is sent again that can be without harm.",
    &[
        may("attempts", Shape::Count, "How often it is sent at most, the first time included."),
        may("budget", Shape::Count, "How many of a hundred requests may be sent again."),
        may(
            "statuses",
            Shape::List(&Shape::Count, 100),
            "Answers after which another address is asked.",
        ),
    ],
);

const BREAKER: Form = answered(
    "ServiceBreaker",
    "When a service is left alone.",
    &[
        may("failures", Shape::Count, "After so many failures in a row."),
        may("open_for", SPAN, "For how long, before one request finds out."),
        may(
            "answer",
            Shape::Object(&ANSWER),
            "What is answered meanwhile; a problem document if it is missing.",
        ),
    ],
);

const ANSWER: Form = answered(
    "ServiceAnswer",
    "An answer in place of a service's.",
    &[
        may("status", Shape::Count, "The status."),
        may("content_type", LINE, "What the body is."),
        may("body", Shape::Text { least: 0, most: 64 * 1024 }, "The body."),
    ],
);

const OUTSIDE: Form = answered(
    "ServiceOutside",
    "What remains of callers' rights outside of networks and hours.",
    &[
        may("methods", NAMES, "Methods that pass; all of the route's if none."),
        may("roles", ROLES, "Roles that count; all if it is missing."),
        may("scope", LINE, "Scopes that count, separated by spaces; all if it is missing."),
    ],
);

const SEES: Form = answered(
    "ServiceSees",
    "What of a caller's rights a service is told: what they have, as far as it is named here.",
    &[
        may("roles", ROLES, "The roles that it knows; all if it is missing."),
        may(
            "scope",
            Shape::Text { least: 0, most: 1024 },
            "The scopes that it knows, separated by spaces; all if it is missing.",
        ),
    ],
);

/// How a service is reached, and by whom.
const REACH: &[Member] = &[
    may("protocol", Shape::Word(&["http1", "h2", "h2c"]), "Which version of HTTP it speaks."),
    may("health", Shape::Object(&HEALTH), "Whether and how its addresses are asked how they are."),
    may("max_requests", Shape::Count, "How many requests it has at a time at most, on each node."),
    may("max_waiting", Shape::Count, "How many more wait for one of those to end."),
    may("retry", Shape::Object(&RETRY), "When a request is sent again."),
    may(
        "breaker",
        Shape::ObjectOrFalse(&BREAKER),
        "When it is left alone, and what is answered meanwhile; `false`: never. After five failures, for a minute, \
         if it is missing.",
    ),
    may("ca_file", FILE, "Certificates that sign its own, in PEM: a full path on each node."),
    may("client_certificate_file", FILE, "The certificate that it is shown, in PEM."),
    may("client_key_file", FILE, "The key of that, in PEM."),
    may("server_name", NAME, "The name that its certificate has, in place of its address."),
    may("spiffe_id", LINES, "The SPIFFE ID that its certificate has, in place of a name."),
    may(
        "identity",
        Shape::Word(&["token", "headers"]),
        "How it is told who calls: with a signed token beside what headers say, or with headers alone.",
    ),
    may(
        "sees",
        Shape::Object(&SEES),
        "What of a caller's rights it is told; all of them if it is missing.",
    ),
    may("rate_limit", SPAN, "How many requests pass to it in all, such as `6000/m`."),
    may("rate_limits", LIMITS, "How many pass to it of each of those who are counted."),
    may("networks", NAMES, "From where callers have all of their rights."),
    may("hours", NAMES, "When they have them, such as `Mon-Fri 08:00-18:00 +01:00`."),
    may("outside", Shape::Object(&OUTSIDE), "What remains elsewhere; nothing if it is missing."),
];

const LIMITS: Shape = Shape::List(&Shape::Object(&LIMIT), 8);

const LIMIT: Form = answered(
    "RateLimitRule",
    "Whose requests are counted together, and how many of them pass.",
    &[
        must("by", NAME, "`address`, `user`, `key`, `claim:NAME` or `service`."),
        must("limit", SPAN, "How many, such as `100/m`."),
        may("burst", Shape::Count, "How many at once; as many as `limit` has if it is missing."),
    ],
);

pub(super) const SERVICE: Form = answered(
    "Service",
    "A service behind the gateway.",
    &[
        must("name", NAME, "Its name."),
        must("upstreams", NAMES, "Where it lives: `http://host:port`. Several are balanced."),
        must("callers", NAMES, "Which clients may get a token for it."),
        must("roles", ROLES, "Who may call it through the gateway: whoever has one of these."),
        may(
            "delegation",
            Shape::Word(&["callers", "declared"]),
            "Who decides about tokens for it that speak for somebody else: its callers may act for \
             anybody, or declared delegations alone say who may.",
        ),
    ],
)
.with(REACH);

pub(super) const NEW_SERVICE: Form = asked(
    "NewService",
    "A service to register.",
    &[
        must("name", NAME, "Its name."),
        must("upstreams", NAMES, "Where it lives: `http://host:port`. Several are balanced."),
        may("callers", NAMES, "Which clients may get a token for it; none if it is missing."),
        may("roles", ROLES, "Who may call it through the gateway; all who are signed in if none."),
        may(
            "delegation",
            Shape::Word(&["callers", "declared"]),
            "Who decides about tokens for it that speak for somebody else: its callers may act for \
             anybody, or declared delegations alone say who may.",
        ),
    ],
)
.with(REACH);

pub(super) const SERVICE_CHANGE: Form = asked(
    "ServiceChange",
    "What of a service is to be different (RFC 7396): what is not named stays.",
    &[
        may("upstreams", NAMES, "Where it lives: `http://host:port`."),
        may("callers", NAMES, "Which clients may get a token for it."),
        may("roles", ROLES, "Who may call it through the gateway."),
        may(
            "delegation",
            Shape::Word(&["callers", "declared"]),
            "Who decides about tokens for it that speak for somebody else: its callers may act for \
             anybody, or declared delegations alone say who may.",
        ),
    ],
)
.with(REACH)
.removing();

pub(super) const SESSION: Form = answered(
    "Session",
    "A browser's sign-in that has not ended.",
    &[
        must("sid", NAME, "Its public handle: the claim `sid`. The cookie says something else."),
        must("user_id", USER_ID, "Whose it is."),
        must("started", Shape::Moment, "When it began."),
        must("ends", Shape::Moment, "When it ends, used or not."),
        must("last_access", Shape::Moment, "When it was last used, to about a minute."),
        must("accesses", Shape::Count, "How often it was used, as far as was counted."),
        must("acr", WORD, "How strongly the person was authenticated.").or_null(),
        must("amr", Shape::List(&WORD, 20), "By which means."),
    ],
);

pub(super) const FAMILY: Form = answered(
    "TokenFamily",
    "The tokens of one sign-in at one client. The tokens themselves are never told.",
    &[
        must("family", NAME, "Its name: the claim `fid`."),
        must("user_id", USER_ID, "Of whom its tokens speak."),
        must("client_id", NAME, "To which client they were issued."),
        must("session_id", NAME, "The session that it ends with.").or_null(),
        must("scope", TEXT, "The widest scope of its tokens."),
        must("audience", NAMES, "Whom its access tokens are for."),
        must("started", Shape::Moment, "When it began."),
        must("last_used", Shape::Moment, "When its refresh token was used last, or given out."),
        must("ends", Shape::Moment, "When it ends, used or not."),
        must("generation", Shape::Count, "How often it was refreshed."),
        must("jti", NAME, "The name of its newest access token."),
        must("ended", Shape::Moment, "When it was ended, if it was.").or_null(),
        must("reason", TEXT, "Why it was ended.").or_null(),
    ],
);

pub(super) const TOKEN_ASKED: Form = asked(
    "TokenToInspect",
    "A token that is asked about. It stands in a body, for addresses end up in logs.",
    &[must("token", TOKEN, "An access or refresh token.")],
);

pub(super) const INSPECTED: Form = answered(
    "InspectedToken",
    "What a token says, and whether it counts.",
    &[
        must("kind", TEXT, "What kind of token it is.").or_null(),
        must("standing", TEXT, "`valid`, or why it does not count."),
        may("header", Shape::Open, "Its header."),
        may("claims", Shape::Open, "Its claims, whoever signed them."),
        may("use", Shape::Open, "How it was used, as far as this node knows."),
        may("family", NAME, "The family of a refresh token."),
        may("client_id", NAME, "Its client."),
        may("sub", NAME, "Of whom it speaks."),
        may("generation", Shape::Count, "Which generation of its family it is."),
        may("current_generation", Shape::Count, "Which one counts."),
        may("ends", Shape::Moment, "When its family ends."),
        may("ended", Shape::Open, "When and why its family was ended.").or_null(),
    ],
);

pub(super) const TRACED: Form = answered(
    "TracedToken",
    "The life of a token, as far as it is known.",
    &[
        must("jti", NAME, "Its name."),
        must(
            "issued",
            Shape::Open,
            "By whom, when, to which client, of whom, and what it was made of.",
        )
        .or_null(),
        must(
            "used",
            Shape::Open,
            "How often, when last, and for which services: within an hour of use.",
        ),
        must("derived", Shape::List(&Shape::Open, 10_000), "What was made of it."),
        must("revoked", Shape::List(&Shape::Open, 10_000), "What took it back, when, why and who."),
        must("known", Shape::Open, "From where it is known, for how long, and what is not."),
    ],
);

pub(super) const REVOCATION: Form = asked(
    "Revocation",
    "What is to be taken back: exactly one of its names, and why.",
    &[
        must("reason", Shape::Text { least: 1, most: 200 }, "In a word, for the journal."),
        may("token", TOKEN, "A token. A refresh token takes back its family."),
        may("jti", NAME, "A token by its name; status lists do not show it."),
        may("family", NAME, "A sign-in's tokens."),
        may("session", NAME, "A session, and its tokens."),
        may("user", USER_ID, "Everything of a person, up to now."),
        may("client", NAME, "Everything that was issued to a client, up to now."),
        may("service", NAME, "The same of a service."),
        may("api_key", NAME, "An API key, by its id."),
        may("key", NAME, "A signing key, and everything that it signed; another signs at once."),
    ],
);

pub(super) const REVOKED: Form = answered(
    "Revoked",
    "What was taken back. It is durable, and this node refuses it.",
    &[
        must("revoked", Shape::Open, "What it was."),
        may("up_to", Shape::Moment, "Up to when it was issued."),
        may("proof", Shape::Open, "How much of each kind there was."),
        may("note", TEXT, "What is to be known besides."),
        may("confirmed", Shape::Open, "Which nodes refuse it, and after how many milliseconds."),
    ],
);

const KEY: Form = answered(
    "Key",
    "A signing key.",
    &[
        must("kid", NAME, "Its name."),
        must("algorithm", ALGORITHM, "What it signs with."),
        must("state", WORD, "`next`, `current`, `previous` or `retired`."),
        must("at", Shape::Moment, "Since when."),
        must("in_token", Shape::Flag, "Whether it is in a PKCS#11 token, and never leaves it."),
        may("seen_by", Shape::Count, "Of a `next` key: how many have fetched it."),
        may("readers", Shape::Count, "How many fetched the key set within a day."),
        may("not_seen_by", Shape::List(&TEXT, 20), "Those of them who have not fetched it."),
    ],
);

pub(super) const KEYS: Form = answered(
    "Keys",
    "All signing keys.",
    &[must("items", Shape::List(&Shape::Object(&KEY), 1000), "The keys.")],
);

pub(super) const ROTATION: Form = asked(
    "Rotation",
    "Which keys are to be replaced by the next.",
    &[
        may("algorithm", ALGORITHM, "Of one algorithm; of all if it is missing."),
        may("force", Shape::Flag, "Also before all verifiers can know the next."),
    ],
);

pub(super) const ROTATED: Form = answered(
    "Rotated",
    "The keys that sign from now on.",
    &[must("items", Shape::List(&Shape::Object(&SIGNING), 16), "One for each algorithm.")],
);

const SIGNING: Form = answered(
    "SigningKey",
    "A key that signs.",
    &[
        must("algorithm", ALGORITHM, "What it signs with."),
        must("kid", NAME, "Its name.").or_null(),
    ],
);

pub(super) const RETIRED: Form =
    answered("Retired", "A key that was retired.", &[must("retired", NAME, "Its name.")]);

pub(super) const CONSENT: Form = answered(
    "Consent",
    "What a person has agreed that a client may have.",
    &[
        must("user_id", USER_ID, "Who agreed."),
        must("client_id", NAME, "To which client."),
        must("scope", TEXT, "To what."),
        must("at", Shape::Moment, "When last."),
    ],
);

pub(super) const WITHDRAWN: Form = answered(
    "ConsentWithdrawn",
    "What a client had by a consent, and has not any more.",
    &[
        must("user_id", USER_ID, "Who is asked again."),
        must("client_id", NAME, "By which client."),
        must("families", Shape::Count, "How many sign-ins' tokens were taken back."),
    ],
);

pub(super) const REMOVED: Form = answered(
    "Removed",
    "What is not there any more.",
    &[
        must("removed", NAME, "Its name."),
        may("api_keys", Shape::Count, "How many API keys of it were taken back."),
    ],
);

/// RFC 9457.
pub(super) const PROBLEM: Form = answered(
    "Problem",
    "Why something was not done (RFC 9457).",
    &[
        must("type", TEXT, "`about:blank`: the status and `error` say it all."),
        must("title", TEXT, "The status in words."),
        must("status", Shape::Count, "The status of the answer."),
        must("detail", TEXT, "What went wrong, and how to mend it."),
        may("error", WORD, "The kind in one word, for programs."),
        may("errors", Shape::List(&Shape::Object(&FAULT), 64), "What of the request is wrong."),
        must("trace_id", WORD, "Under which name the logs have more."),
    ],
);

const FAULT: Form = answered(
    "Fault",
    "Something that is not as it must be.",
    &[
        must("pointer", TEXT, "Where: a JSON pointer into the body, or `?name` of the query."),
        must("detail", TEXT, "What it must be."),
    ],
);
