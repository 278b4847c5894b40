//! The bodies about answers that are put together of several.

use super::{NAME, ROLES, SPAN, answered, asked};
use crate::admin::shape::{Form, Member, Shape, may, must};

const PATH: Shape = Shape::Text { least: 1, most: 2048 };
const CHOSEN: Shape = Shape::List(&Shape::Text { least: 1, most: 600 }, 64);
const AUTH: Shape = Shape::Word(&["required", "optional", "none"]);

const PART: Form = answered(
    "AggregationPart",
    "A part: a `GET` at the gateway, judged as one of its own.",
    &[
        must("name", NAME, "Under which name it stands in the answer."),
        must(
            "path",
            PATH,
            "What is asked for; whole segments may be `{sub}`, `{client_id}` or `{query.NAME}`.",
        ),
        must("select", CHOSEN, "The members that are told, such as `name` or `address.city`."),
        may("required", Shape::Flag, "Whether there is no answer without it."),
        may("deadline", SPAN, "How long it may take, where that is less than all of it may."),
        may("default", Shape::Any, "What stands in its place where there is none of it."),
    ],
);

const PARTS: Shape = Shape::List(&Shape::Object(&PART), 16);

/// What it is put together of, and how long it may take.
const REST: &[Member] = &[
    may("deadline", SPAN, "How long all of it may take; `2s` if it is missing."),
    must("part", PARTS, "What it is put together of."),
];

pub(in crate::admin) const BFF: Form = answered(
    "Aggregation",
    "One answer that is put together of several, at `/bff/{name}`.",
    &[
        must("name", NAME, "Its name."),
        must("auth", AUTH, "Whether the caller must be known."),
        must("roles", ROLES, "Who may ask for it: whoever has one of these."),
    ],
)
.with(REST);

pub(in crate::admin) const BFF_PUT: Form = asked(
    "AggregationToPut",
    "What is to be put together.",
    &[
        may("auth", AUTH, "Whether the caller must be known; `required` if it is missing."),
        may("roles", ROLES, "Who may ask for it; whoever `auth` lets pass if none."),
    ],
)
.with(REST);
