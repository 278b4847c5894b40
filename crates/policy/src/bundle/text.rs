//! The texts of policies and schemas, before Cedar reads them: how deep they nest, and where one policy
//! ends.
//!
//! Cedar's parser, its types and its evaluator follow an expression by recursion, so the depth of what
//! they are given is bounded here, by a bound that is never below the depth which they reach. Strings
//! and comments end here where they end for Cedar. Should that ever differ, then a policy is cut in the
//! wrong place and does not parse: every piece has to be exactly one policy.

use std::ops::Range;

/// What the nesting of brackets, and of everything that stands in a row of operators, may reach.
pub(super) const DEPTH: usize = 128;

/// What is wrong with a text, and where, in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) at: usize,
    pub(super) what: String,
    pub(super) mend: Option<&'static str>,
}

/// Which of the two languages a text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Policies,
    Schema,
}

/// Cuts a text at every `;` that ends a statement. What follows the last one is a statement, too,
/// unless there is nothing but space and comments.
pub(super) fn statements(text: &str, language: Language) -> Result<Vec<Range<usize>>, Problem> {
    check_characters(text)?;
    let mut scan = Scan { text, at: 0, language, levels: vec![Level::opened_by(b' ', 0)] };
    let mut statements = Vec::new();
    let mut begin = None;
    while let Some((at, token)) = scan.next()? {
        let begun = *begin.get_or_insert(at);
        scan.take(at, token)?;
        if token == Token::Mark(b';') && scan.levels.len() == 1 {
            statements.push(begun..scan.at);
            begin = None;
        }
    }
    if let Some(open) = scan.levels.get(1) {
        let what = format!("`{}` is never closed", char::from(open.by));
        return Err(Problem { at: open.at, what, mend: None });
    }
    statements.extend(begin.map(|begin| begin..text.len()));
    Ok(statements)
}

/// The line and the column, in characters, of a place; both begin at 1.
pub(super) fn place(text: &str, at: usize) -> (u32, u32) {
    let before = text.get(..text.floor_char_boundary(at.min(text.len()))).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    (number(line), number(column))
}

/// What makes a text look other than it is has no place in it, be it in a comment.
fn check_characters(text: &str) -> Result<(), Problem> {
    let misleads = |c: char| {
        let turns = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
    };
    let Some((at, found)) = text.char_indices().find(|(_, c)| misleads(*c)) else { return Ok(()) };
    let code = u32::from(found);
    let what =
        format!("there is the character U+{code:04X}, which shows nothing or turns text around");
    Err(Problem { at, what, mend: Some("write it as an escape, `\\u{…}`, or leave it out") })
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
    language: Language,
    /// The brackets that are open, and the text around them.
    levels: Vec<Level>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Text,
    /// A single character, or the first of `&&`, `||` and `::`.
    Mark(u8),
    Double(u8),
}

/// What stands in one pair of brackets, between two commas.
#[derive(Debug)]
struct Level {
    by: u8,
    at: usize,
    /// `&&`, `||`, `if`: each may hold all others within it.
    joints: usize,
    /// Other operators since the last joint, and the most that there were between two.
    operators: usize,
    most: usize,
    /// The deepest bracket between these commas.
    inner: usize,
    /// The deepest between others.
    before: usize,
}

impl Level {
    const fn opened_by(by: u8, at: usize) -> Self {
        Self { by, at, joints: 0, operators: 0, most: 0, inner: 0, before: 0 }
    }

    /// An upper bound of the depth of everything in these brackets.
    fn depth(&self) -> usize {
        self.before.max(self.joints + self.most.max(self.operators) + self.inner)
    }

    fn next(&mut self) {
        *self = Self { before: self.depth(), ..Self::opened_by(self.by, self.at) };
    }
}

impl<'t> Scan<'t> {
    fn rest(&self) -> &'t [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, while_it: impl Fn(u8) -> bool) {
        let rest = self.rest();
        self.at += rest.iter().position(|byte| !while_it(*byte)).unwrap_or(rest.len());
    }

    /// The next token, which is no space and no comment, and where it begins.
    fn next(&mut self) -> Result<Option<(usize, Token<'t>)>, Problem> {
        loop {
            let begin = self.at;
            let (first, second) = match *self.rest() {
                [] => return Ok(None),
                [first] => (first, None),
                [first, second, ..] => (first, Some(second)),
            };
            let token = match (first, second) {
                (b'/', Some(b'/')) => {
                    self.skip(|byte| byte != b'\n' && byte != b'\r');
                    continue;
                }
                (b'"', _) => {
                    self.skip_text(begin)?;
                    Token::Text
                }
                (b'&' | b'|' | b':', Some(second)) if first == second => {
                    self.at += 2;
                    Token::Double(first)
                }
                _ if is_word(first) => {
                    self.skip(is_word);
                    Token::Word(self.text.get(begin..self.at).unwrap_or_default())
                }
                _ if first.is_ascii() => {
                    self.at += 1;
                    if first.is_ascii_whitespace() || first == b'\x0b' {
                        continue;
                    }
                    Token::Mark(first)
                }
                _ => {
                    let found = self.text.get(begin..).and_then(|rest| rest.chars().next());
                    if let Some(found) = found.filter(|found| !found.is_whitespace()) {
                        let what = format!("there is `{found}` outside of a string");
                        return Err(Problem { at: begin, what, mend: None });
                    }
                    self.at += found.map_or(1, char::len_utf8);
                    continue;
                }
            };
            return Ok(Some((begin, token)));
        }
    }

    fn skip_text(&mut self, begin: usize) -> Result<(), Problem> {
        self.at += 1;
        loop {
            self.skip(|byte| byte != b'"' && byte != b'\\');
            match self.rest().first() {
                Some(b'\\') => self.at = (self.at + 2).min(self.text.len()),
                Some(_) => {
                    self.at += 1;
                    return Ok(());
                }
                None => {
                    let what = "a string is never closed".to_owned();
                    return Err(Problem { at: begin, what, mend: Some("end it with `\"`") });
                }
            }
        }
    }

    /// Takes note of what a token adds to the depth.
    fn take(&mut self, at: usize, token: Token<'_>) -> Result<(), Problem> {
        let is_schema = self.language == Language::Schema;
        let outermost = self.levels.len() == 1;
        let levels = self.levels.len();
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        match token {
            // What is opened may be asked of what stands before it: `a[b]`, `a(b)`.
            Token::Mark(by @ (b'(' | b'[' | b'{')) => {
                level.operators += 1;
                self.levels.push(Level::opened_by(by, at));
            }
            Token::Mark(b'<') if is_schema => self.levels.push(Level::opened_by(b'<', at)),
            Token::Mark(by @ (b')' | b']' | b'}')) => self.close(at, by)?,
            Token::Mark(b'>') if is_schema => self.close(at, b'>')?,
            Token::Mark(b',') => level.next(),
            // One statement does not stand within another.
            Token::Mark(b';') if outermost => *level = Level::opened_by(b' ', 0),
            Token::Mark(b';') => level.next(),
            Token::Double(b'&' | b'|')
            | Token::Word("if" | "then" | "else" | "when" | "unless") => {
                level.joints += 1;
                level.most = level.most.max(level.operators);
                level.operators = 0;
            }
            Token::Double(b':') | Token::Mark(b'@') | Token::Text => {}
            Token::Mark(_) | Token::Word("has" | "like" | "in" | "is") => level.operators += 1,
            Token::Double(_) | Token::Word(_) => {}
        }
        let reached = self.levels.iter().map(|level| level.depth() + 1).sum::<usize>();
        if reached > DEPTH || levels > DEPTH {
            let what = format!("this nests deeper than {DEPTH} levels");
            let mend = "ask whether a set contains something instead of naming each, or make several \
                        policies of it";
            return Err(Problem { at, what, mend: Some(mend) });
        }
        Ok(())
    }

    fn close(&mut self, at: usize, by: u8) -> Result<(), Problem> {
        let opens = match by {
            b')' => b'(',
            b']' => b'[',
            b'}' => b'{',
            _ => b'<',
        };
        let closed = self.levels.pop_if(|level| level.by == opens);
        let Some((closed, around)) = closed.zip(self.levels.last_mut()) else {
            let what = format!("`{}` closes nothing", char::from(by));
            return Err(Problem { at, what, mend: None });
        };
        around.inner = around.inner.max(closed.depth() + 1);
        Ok(())
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        let cut = statements(text, Language::Policies).unwrap();
        cut.into_iter().map(|range| &text[range]).collect()
    }

    fn problem(text: &str) -> Problem {
        statements(text, Language::Policies).unwrap_err()
    }

    #[test]
    fn cuts_where_a_statement_ends_and_nowhere_else() {
        let text = "// a; b\npermit(a) when { \"; \\\" ;\" == x }; \u{a0} forbid; // \"\n // ;\n";
        assert_eq!(cut(text), ["permit(a) when { \"; \\\" ;\" == x };", "forbid;"]);
        assert_eq!(cut("permit"), ["permit"]);
        assert_eq!(cut(" \n// nothing"), [""; 0]);
        assert_eq!(cut("a; b"), ["a;", "b"]);
        assert_eq!(cut("a // \r b; // c"), ["a // \r b;"]);
    }

    #[test]
    fn says_where_something_is_left_open_or_misleads() {
        for (text, at) in [
            ("permit(a", 6),
            ("a; \"b", 3),
            ("a; \"b\\\"", 3),
            ("a)", 1),
            ("(a]", 2),
            ("a\u{0}", 1),
            ("// \u{202e}", 3),
            ("\u{1b}[2J", 0),
        ] {
            assert_eq!(problem(text).at, at, "{text:?}");
        }
        assert_eq!(place("ab\nfö\"x", 7), (2, 4));
        assert_eq!(place("ab", 99), (1, 3));
    }

    #[test]
    fn bounds_every_way_to_nest() {
        let deep = 200;
        for text in [
            "(".repeat(10_000),
            format!("{}x{}", "(".repeat(deep), ")".repeat(deep)),
            format!("permit(p, a, r) when {{ {} }};", "!".repeat(deep)),
            format!("permit(p, a, r) when {{ {}true }};", "-".repeat(deep)),
            format!("permit(p, a, r) when {{ a{} }};", ".b".repeat(deep)),
            format!("permit(p, a, r) when {{ a{} }};", "[\"b\"]".repeat(deep * 2)),
            format!("permit(p, a, r) when {{ a{} }};", " || a".repeat(deep)),
            format!("permit(p, a, r) when {{ a{} }};", " + 1".repeat(deep)),
            format!("permit(p, a, r) when {{ {}a }};", "if a then b else ".repeat(deep)),
            format!("permit(p, a, r) {};", "when { true } ".repeat(deep)),
            format!("permit(p, a, r) when {{ {}a{} }};", "[[], ".repeat(deep), "]".repeat(deep)),
            format!(
                "permit(p, a, r) when {{ {}a{} }};",
                "{a: b, c: ".repeat(deep),
                "}".repeat(deep)
            ),
        ] {
            let found = statements(&text, Language::Policies);
            assert!(found.is_err(), "{text:.60}");
        }
        let sets = format!("type A = {}Long{};", "Set<".repeat(deep), ">".repeat(deep));
        assert!(statements(&sets, Language::Schema).is_err());
    }

    #[test]
    fn what_stands_side_by_side_does_not_nest() {
        let names: Vec<String> = (0..5_000).map(|n| format!("Tegata::User::\"u{n}\"")).collect();
        let list = format!("permit(p, a, r) when {{ [{}].contains(x) }};", names.join(", "));
        assert_eq!(cut(&list).len(), 1);
        assert_eq!(
            cut(&"forbid(p, a, r) when { (a || b) && (c.d == e) };\n".repeat(1_000)).len(),
            1_000
        );
    }
}
