//! From files to a bundle: every step refuses with places.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use aws_lc_rs::digest;
use cedar_policy::{
    Policy as CedarPolicy, PolicyId as CedarId, PolicySet as CedarSet, Schema, SchemaFragment,
    ValidationMode, ValidationWarning, Validator, ffi::DetailedError,
    schema_str_to_json_with_resolved_types,
};

use super::{
    Bundle, Effect, Fault, Policy, PolicyId,
    index::{Entry, Index},
    named::Named,
    schema::{Shapes, Words},
    text::{Language, Problem, place, statements},
    uses::Uses,
};

/// Cedar follows what it reads by recursion, so it reads on a stack of its own, which is deeper than any
/// that a worker has. Memory is taken for as much of it as is used.
const STACK: usize = 64 << 20;

/// How many combinations of a principal's type, an action and a resource's type there may be, each of which
/// every policy is checked for.
const COMBINATIONS: usize = 5_000;

/// The same, times the policies.
const CHECKS: usize = 4_000_000;

/// The longest name of a policy, in bytes.
const NAME: usize = 256;

/// A file.
#[derive(Clone, Copy)]
pub(super) struct Source<'s> {
    pub(super) name: &'s str,
    pub(super) text: &'s str,
}

/// One policy, cut out of its file.
struct Piece<'s> {
    source: Source<'s>,
    range: Range<usize>,
    parsed: CedarPolicy,
    policy: Policy,
}

/// Reads files on a stack that is deep enough for whatever is in them.
pub(super) fn read(schema: &[Source<'_>], policies: &[Source<'_>]) -> Result<Bundle, Vec<Fault>> {
    let whole = |what: String, mend: Option<&str>| {
        let source = policies.first().or(schema.first());
        let name = source.map_or("policies", |source| source.name);
        vec![Source { name, text: "" }.fault(0, what, mend.map(str::to_owned))]
    };
    let bytes = schema.iter().chain(policies).map(|source| source.text.len()).sum::<usize>();
    if bytes > Bundle::BYTES {
        let what = format!("all files together have {bytes} bytes, more than {}", Bundle::BYTES);
        return Err(whole(what, Some("leave out what no longer applies")));
    }
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("policies".to_owned()).stack_size(STACK);
        let reading = builder.spawn_scoped(scope, || read_here(schema, policies));
        let reading = reading.map_err(|error| {
            whole(format!("there is no thread to read policies on: {error}"), None)
        })?;
        let stopped = |_| whole("the reader of policies has stopped at them".to_owned(), None);
        reading.join().map_err(stopped)?
    })
}

fn read_here(schema: &[Source<'_>], policies: &[Source<'_>]) -> Result<Bundle, Vec<Fault>> {
    let (schema, policies) = (sorted(schema)?, sorted(policies)?);
    let words = read_schema(&schema)?;
    let pieces = parse(&policies)?;
    let set = CedarSet::from_policies(pieces.iter().map(|piece| piece.parsed.clone()));
    let set = set.map_err(|error| vec![first(&policies).fault(0, error.to_string(), None)])?;
    validate(&words, &set, &pieces)?;

    let (mut entries, mut known) = (Vec::new(), Vec::new());
    for piece in &pieces {
        let policy = piece.parsed.clone();
        let json =
            policy.to_json().map_err(|error| vec![piece.fault(0, error.to_string(), None)])?;
        let uses = Uses::of(&json);
        known.push((uses, Named::of(&json)));
        entries.push(Entry { policy, uses });
    }
    let of = |effect| {
        let entries = entries.iter().filter(|entry: &&Entry| entry.policy.effect() == effect);
        let indexed = Index::of(entries, &words);
        indexed.map_err(|error| vec![first(&policies).fault(0, error, None)])
    };
    let (permits, forbids) = (of(cedar_policy::Effect::Permit)?, of(cedar_policy::Effect::Forbid)?);
    let digest = digest_of(&schema, &policies);
    let policies: Vec<Policy> = pieces.into_iter().map(|piece| piece.policy).collect();
    let numbered = policies.iter().enumerate();
    let numbers = numbered.map(|(number, policy)| (policy.id.clone(), number)).collect();
    Ok(Bundle { policies, known, numbers, words, permits, forbids, digest })
}

/// Files in the order of their names.
fn sorted<'s>(sources: &[Source<'s>]) -> Result<Vec<Source<'s>>, Vec<Fault>> {
    let mut sorted = sources.to_vec();
    sorted.sort_by_key(|source| source.name);
    let twice = sorted.iter().zip(sorted.iter().skip(1)).find(|(one, next)| one.name == next.name);
    match twice {
        None => Ok(sorted),
        Some((one, _)) => {
            let what = format!("two files are named `{}`", one.name);
            Err(vec![one.fault(0, what, Some("rename one".to_owned()))])
        }
    }
}

fn read_schema(files: &[Source<'_>]) -> Result<Words, Vec<Fault>> {
    let mut faults = Vec::new();
    for file in files {
        if let Err(problem) = statements(file.text, Language::Schema) {
            faults.push(file.problem(problem));
            continue;
        }
        match SchemaFragment::from_cedarschema_str(file.text) {
            Err(error) => faults.extend(file.faults(0, &DetailedError::from(&error))),
            Ok((fragment, _)) => {
                let ours = |name: &str| name == "Tegata" || name.starts_with("Tegata::");
                let spaces = fragment.namespaces().flatten();
                for name in spaces.map(|name| name.to_string()).filter(|name| ours(name)) {
                    let what = format!("the namespace `{name}` is not yours to declare");
                    let mend = "the words of `Tegata` are always there: declare others in a namespace of \
                                your own";
                    faults.push(file.fault(0, what, Some(mend.to_owned())));
                }
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    // One text, so that what one file declares can be used in another. None is left open: each was read.
    let mut whole = Bundle::WORDS.to_owned();
    let mut begins = Vec::new();
    for file in files {
        whole.push('\n');
        begins.push((whole.len(), *file));
        whole.push_str(file.text);
    }
    let words = Source { name: "tegata.cedarschema", text: Bundle::WORDS };
    let file_of = |at: usize| {
        let of = begins.iter().rev().find(|(begin, _)| *begin <= at);
        of.map_or((0, first_or(files, words)), |(begin, file)| (*begin, *file))
    };
    let located = |error: &DetailedError| {
        let at = error.source_locations.first().map_or(0, |label| label.loc.start);
        let (begin, file) = file_of(at);
        let (what, mut mend) = said(error);
        if what.contains("illegally shadows") {
            mend = Some("declare it in a namespace of your own, `namespace Shop { … }`".to_owned());
        }
        vec![file.fault(at.saturating_sub(begin), what, mend)]
    };
    let somewhere = |what: String| vec![first_or(files, words).fault(0, what, None)];

    let (resolved, _) = schema_str_to_json_with_resolved_types(&whole)
        .map_err(|error| located(&DetailedError::from(&error)))?;
    // INVARIANT: before Cedar replaces names by what they stand for, the size of that is known.
    let shapes = Shapes::of(&resolved).map_err(somewhere)?;
    let (schema, _) = Schema::from_cedarschema_str(&whole)
        .map_err(|error| located(&DetailedError::from(&error)))?;
    if !schema.is_complete() {
        return Err(somewhere(
            "`external` leaves open what nothing here could complete".to_owned(),
        ));
    }
    let combinations = schema.request_envs().take(COMBINATIONS + 1).count();
    if combinations > COMBINATIONS {
        return Err(somewhere(format!(
            "there are more than {COMBINATIONS} combinations of principal, action and resource"
        )));
    }
    Words::of(schema, shapes).map_err(somewhere)
}

fn parse<'s>(files: &[Source<'s>]) -> Result<Vec<Piece<'s>>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut pieces: Vec<Piece<'s>> = Vec::new();
    let mut named: HashMap<PolicyId, usize> = HashMap::new();
    for file in files {
        let ranges = match statements(file.text, Language::Policies) {
            Ok(ranges) => ranges,
            Err(problem) => {
                faults.push(file.problem(problem));
                continue;
            }
        };
        let name: Arc<str> = file.name.into();
        let (mut counted, mut line) = (0, 1);
        for range in ranges {
            // Counted on from policy to policy: from the beginning each time would be their square.
            let between = file.text.get(counted..range.start).unwrap_or_default();
            let lines = between.bytes().filter(|byte| *byte == b'\n').count();
            (counted, line) = (range.start, line + u32::try_from(lines).unwrap_or_default());
            if pieces.len() >= Bundle::POLICIES {
                let what = format!("there are more than {} policies", Bundle::POLICIES);
                return Err(vec![file.fault(range.start, what, None)]);
            }
            match Piece::read(*file, (&name, line), range) {
                Err(mut found) => faults.append(&mut found),
                Ok(piece) => {
                    let other = named.insert(piece.policy.id.clone(), pieces.len());
                    if let Some(other) = other.and_then(|other| pieces.get(other)) {
                        let Policy { id, file, line, .. } = &other.policy;
                        let what = format!("another policy is named `{id}`: that in {file}:{line}");
                        let mend = "give each its own `@id(\"…\")`".to_owned();
                        faults.push(piece.fault(0, what, Some(mend)));
                    }
                    pieces.push(piece);
                }
            }
            if faults.len() > super::InvalidBundle::SHOWN {
                return Err(faults);
            }
        }
    }
    if faults.is_empty() { Ok(pieces) } else { Err(faults) }
}

fn validate(words: &Words, set: &CedarSet, pieces: &[Piece<'_>]) -> Result<(), Vec<Fault>> {
    let checks = words.schema.request_envs().count().saturating_mul(pieces.len());
    if let Some(piece) = pieces.first().filter(|_| checks > CHECKS) {
        let what = format!("{checks} checks of policies against the schema are more than {CHECKS}");
        let mend = "let actions apply to fewer types, or leave out policies".to_owned();
        return Err(vec![piece.fault(0, what, Some(mend))]);
    }
    let result = Validator::new(words.schema.clone()).validate(set, ValidationMode::Strict);
    let by_id: HashMap<&str, &Piece<'_>> =
        pieces.iter().map(|piece| (piece.policy.id.as_str(), piece)).collect();
    let mut faults = Vec::new();
    let mut take = |id: &CedarId, error: &DetailedError, mend: Option<&str>| {
        if faults.len() > super::InvalidBundle::SHOWN {
            return;
        }
        let Some(piece) = by_id.get(<CedarId as AsRef<str>>::as_ref(id)) else { return };
        let at = error.source_locations.first().map_or(0, |label| label.loc.start);
        let (what, help) = said(error);
        let prefix = format!("for policy `{}`, ", piece.policy.id);
        faults.push(piece.fault(at, what.replace(&prefix, ""), mend.map(str::to_owned).or(help)));
    };
    for error in result.validation_errors() {
        take(error.policy_id(), &DetailedError::from(error), None);
    }
    // What follows from an error would be told twice.
    let mut told: HashSet<_> = result.validation_errors().map(|error| error.policy_id()).collect();
    for warning in result.validation_warnings() {
        // Whoever writes a policy that can never match believes that it protects something.
        let never = matches!(
            warning,
            ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_)
        );
        if never && told.insert(warning.policy_id()) {
            let mend = "it would never match: mend its head or its conditions, or leave it out";
            take(warning.policy_id(), &DetailedError::from(warning), Some(mend));
        }
    }
    if faults.is_empty() && !result.validation_passed() {
        let piece = pieces.first().map(|piece| piece.fault(0, result.to_string(), None));
        faults.extend(piece);
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

impl<'s> Piece<'s> {
    fn read(
        source: Source<'s>,
        (file, line): (&Arc<str>, u32),
        range: Range<usize>,
    ) -> Result<Self, Vec<Fault>> {
        let begin = range.start;
        let text = source.text.get(range.clone()).unwrap_or_default();
        let parsed = CedarPolicy::parse(None, text)
            .map_err(|error| source.faults(begin, &DetailedError::from(&error)))?;
        let id = match parsed.annotation("id") {
            None => format!("{file}:{line}"),
            Some(id) if id.is_empty() || id.len() > NAME || id.chars().any(char::is_control) => {
                let what = "the name of a policy is empty, longer than 256 bytes, or has control characters";
                return Err(vec![source.fault(begin, what.to_owned(), None)]);
            }
            Some(id) => id.to_owned(),
        };
        let effect = match parsed.effect() {
            cedar_policy::Effect::Permit => Effect::Permit,
            cedar_policy::Effect::Forbid => Effect::Forbid,
        };
        let annotations = parsed.annotations().filter(|(name, _)| *name != "id");
        let annotations: BTreeMap<String, String> =
            annotations.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let parsed = parsed.new_id(CedarId::new(&id));
        let (file, text) = (Arc::clone(file), text.into());
        let id = PolicyId(id.into());
        let policy = Policy { id, effect, file, line, annotations, text };
        Ok(Self { source, range, parsed, policy })
    }

    /// A fault at a place within this policy.
    fn fault(&self, at: usize, what: String, mend: Option<String>) -> Fault {
        self.source.fault(self.range.start.saturating_add(at), what, mend)
    }
}

impl Source<'_> {
    fn fault(&self, at: usize, what: String, mend: Option<String>) -> Fault {
        let (line, column) = place(self.text, at);
        Fault { file: self.name.to_owned(), line, column, what, mend }
    }

    fn problem(&self, problem: Problem) -> Fault {
        self.fault(problem.at, problem.what, problem.mend.map(str::to_owned))
    }

    /// What Cedar says of a text that begins at `begin`.
    fn faults(&self, begin: usize, error: &DetailedError) -> Vec<Fault> {
        let mut faults = Vec::new();
        for error in std::iter::once(error).chain(&error.related) {
            let at = error.source_locations.first().map_or(0, |label| label.loc.start);
            let (what, mend) = said(error);
            faults.push(self.fault(begin.saturating_add(at), what, mend));
        }
        faults
    }
}

/// What Cedar says, in one line, and what it advises.
fn said(error: &DetailedError) -> (String, Option<String>) {
    let label = error.source_locations.first().and_then(|label| label.label.as_deref());
    let label = label.filter(|label| !error.message.contains(label));
    let what = match label {
        Some(label) => format!("{}: {label}", error.message),
        None => error.message.clone(),
    };
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    (one_line(&what), error.help.as_deref().map(one_line))
}

fn first<'s>(files: &[Source<'s>]) -> Source<'s> {
    first_or(files, Source { name: "policies", text: "" })
}

fn first_or<'s>(files: &[Source<'s>], other: Source<'s>) -> Source<'s> {
    files.first().copied().unwrap_or(other)
}

/// Over the words that are always there, too: what they mean is part of what a bundle means.
fn digest_of(schema: &[Source<'_>], policies: &[Source<'_>]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut take = |bytes: &[u8]| {
        // Lengths keep what ends one text from beginning the next.
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    take(Bundle::WORDS.as_bytes());
    for files in [schema, policies] {
        take(&(files.len() as u64).to_be_bytes());
        for file in files {
            take(file.name.as_bytes());
            take(file.text.as_bytes());
        }
    }
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    digest
}
