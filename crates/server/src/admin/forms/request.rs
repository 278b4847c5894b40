//! What is said of a request.

use super::{NAME, answered};
use crate::admin::shape::{Form, Member, Shape, may, must};

pub(in crate::admin) const EXPLAINED: Form = answered(
    "ExplainedRequest",
    "Why a request passed or was refused.",
    &[
        must("request", NAME, "The name that was asked for, in lower case."),
        must("node", NAME, "The node whose log it is."),
        must(
            "records",
            Shape::List(&Shape::Open, 200),
            "Its records, each with its place (`segment`, `line`), whether the line is what was written (`sound`), \
             the `record` with the phases and what was known, and `explained`: the reason, what it means, and what \
             has to change. What another node said has its `node`.",
        ),
        must("more", Shape::Flag, "Whether there are more records of this name."),
        must("segments", Shape::Count, "How many segments were looked through."),
        must("of", Shape::Count, "How many segments there are."),
        may("since", Shape::Moment, "When the segment that was looked through last was begun."),
        may(
            "next",
            Shape::Count,
            "The next older segment, where enough was looked through before it: `from` goes on there.",
        ),
        may(
            "onwards",
            Shape::Moment,
            "When the next newer segment was begun, in the same way: `at` goes on there.",
        ),
        must("lost", Shape::List(&Shape::Open, 10), "When the log lost records, and how many."),
        must(
            "revoked",
            Shape::List(&Shape::Open, 10_000),
            "What took back what was shown, when, why and who, where that is why it was refused.",
        ),
        must(
            "not_asked",
            Shape::List(&NAME, 1_000),
            "The other nodes that did not answer, or, where this one knows of the request, were not asked.",
        ),
        may(
            "asked",
            Shape::List(&Shape::Open, 1_000),
            "The other nodes that were asked, because this one has no record of its own of it, and how far each looked.",
        ),
    ],
);

/// Where the log is looked through, and for which kind of name.
pub(in crate::admin) const PLACE: [Member; 3] = [
    may(
        "named",
        Shape::Word(&["true"]),
        "Whether it is the name that an application gave a request for decisions (AuthZEN).",
    ),
    may("at", Shape::Moment, "When the request came: the log is looked through from then on."),
    may(
        "from",
        Shape::Text { least: 1, most: 20 },
        "The number of the segment that is looked through first, on the way back.",
    ),
];
