//! Reads the documents that the gateway sends: one operation with its fragments, checked against the schema.
//! It is no more than that: what does not fit the schema never comes here, and what comes in another way is a
//! mistake and not understood.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// How deep things stand in each other. The gateway lets less pass.
const DEEPEST: usize = 64;

/// An operation.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) is_mutation: bool,
    /// The defaults of its variables.
    defaults: HashMap<String, Word>,
    pub(super) selections: Vec<Selection>,
    pub(super) fragments: HashMap<String, Part>,
}

/// Something that is asked for.
#[derive(Debug)]
pub(super) enum Selection {
    Field(Field),
    Spread(String, Vec<Condition>),
    Inline(Part, Vec<Condition>),
}

/// A field.
#[derive(Debug)]
pub(super) struct Field {
    /// Under which name it is answered.
    pub(super) key: String,
    pub(super) name: String,
    arguments: Vec<(String, Word)>,
    pub(super) conditions: Vec<Condition>,
    pub(super) selections: Vec<Selection>,
}

/// Selections on a type, or on whichever it is.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) on: Option<String>,
    pub(super) selections: Vec<Selection>,
}

/// `@include` where it is true, and `@skip` where it is not.
#[derive(Debug)]
pub(super) struct Condition {
    when: bool,
    word: Word,
}

/// A value, as it is written.
#[derive(Debug, Clone)]
enum Word {
    Plain(Value),
    Variable(String),
    List(Vec<Word>),
    Object(Vec<(String, Word)>),
}

/// Values of variables, with the defaults of the operation.
#[derive(Debug)]
pub(super) struct Variables(HashMap<String, Value>);

impl Document {
    /// Reads one.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut reader = Reader { tokens: tokens(text)?.into_iter().peekable(), depth: 0 };
        let mut document = Self::default();
        let mut operations = 0;
        while reader.tokens.peek().is_some() {
            if reader.takes("fragment") {
                let name = reader.name()?;
                reader.wants("on")?;
                let on = Some(reader.name()?);
                document.fragments.insert(name, Part { on, selections: reader.selections()? });
                continue;
            }
            operations += 1;
            document.is_mutation = reader.takes("mutation");
            if document.is_mutation || reader.takes("query") {
                document.defaults = reader.defaults()?;
            }
            document.selections = reader.selections()?;
        }
        if operations == 1 { Ok(document) } else { Err("there is not one operation".to_owned()) }
    }

    /// The values of its variables.
    pub(super) fn variables(&self, given: Map<String, Value>) -> Variables {
        let none = Variables(HashMap::new());
        let defaults = self.defaults.iter().map(|(name, word)| (name.clone(), none.of(word)));
        let mut all: HashMap<String, Value> = defaults.collect();
        all.extend(given);
        Variables(all)
    }
}

impl Variables {
    fn of(&self, word: &Word) -> Value {
        match word {
            Word::Plain(value) => value.clone(),
            Word::Variable(name) => self.0.get(name).cloned().unwrap_or_default(),
            Word::List(all) => all.iter().map(|word| self.of(word)).collect(),
            Word::Object(all) => {
                all.iter().map(|(name, word)| (name.clone(), self.of(word))).collect()
            }
        }
    }

    /// An argument; `null` where it is not given.
    pub(super) fn argument(&self, field: &Field, name: &str) -> Value {
        let given = field.arguments.iter().find(|(own, _)| own == name);
        given.map_or(Value::Null, |(_, word)| self.of(word))
    }

    /// Whether all of these hold.
    pub(super) fn hold(&self, conditions: &[Condition]) -> bool {
        conditions.iter().all(|it| self.of(&it.word) == Value::Bool(it.when))
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Mark(char),
    Spread,
    Name(String),
    Value(Value),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            ' ' | '\t' | '\n' | '\r' | ',' => (None, 1),
            '{' | '}' | '(' | ')' | '[' | ']' | ':' | '=' | '!' | '$' | '@' => {
                (Some(Token::Mark(first)), 1)
            }
            '.' if rest.starts_with("...") => (Some(Token::Spread), 3),
            '"' => {
                let length = end_of_text(rest)?;
                let text = rest.get(..length).unwrap_or_default();
                // Strings of GraphQL are written here as those of JSON are.
                let value = serde_json::from_str(text).map_err(|error| error.to_string())?;
                (Some(Token::Value(value)), length)
            }
            '-' | '0'..='9' => {
                let is_part =
                    |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
                let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let text = rest.get(..length).unwrap_or_default();
                let value = serde_json::from_str(text).map_err(|error| error.to_string())?;
                (Some(Token::Value(value)), length)
            }
            'A'..='Z' | 'a'..='z' | '_' => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let name = rest.get(..length).unwrap_or_default();
                (Some(Token::Name(name.to_owned())), length)
            }
            other => return Err(format!("`{}` is not understood", other.escape_debug())),
        };
        tokens.extend(token);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(tokens)
}

/// Where a string ends.
fn end_of_text(text: &str) -> Result<usize, String> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok(at + 1),
            _ => {}
        }
    }
    Err("a string does not end".to_owned())
}

struct Reader {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    depth: usize,
}

impl Reader {
    fn takes(&mut self, word: &str) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Name(name) if name == word)).is_some()
    }

    fn takes_mark(&mut self, mark: char) -> bool {
        self.tokens.next_if_eq(&Token::Mark(mark)).is_some()
    }

    fn wants(&mut self, word: &str) -> Result<(), String> {
        if self.takes(word) { Ok(()) } else { Err(format!("`{word}` is missing")) }
    }

    fn wants_mark(&mut self, mark: char) -> Result<(), String> {
        if self.takes_mark(mark) { Ok(()) } else { Err(format!("`{mark}` is missing")) }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.tokens.next() {
            Some(Token::Name(name)) => Ok(name),
            _ => Err("a name is missing".to_owned()),
        }
    }

    /// Goes one deeper for as long as something is read.
    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("it is too deep".to_owned());
        }
        let read = read(self);
        self.depth -= 1;
        read
    }

    /// The name of an operation, and the defaults of its variables.
    fn defaults(&mut self) -> Result<HashMap<String, Word>, String> {
        let _ = self.tokens.next_if(|token| matches!(token, Token::Name(_)));
        let mut defaults = HashMap::new();
        if self.takes_mark('(') {
            while !self.takes_mark(')') {
                self.wants_mark('$')?;
                let name = self.name()?;
                self.wants_mark(':')?;
                // The type, which the gateway has held the value against.
                while self.tokens.next_if(is_of_type).is_some() {}
                if self.takes_mark('=') {
                    defaults.insert(name, self.word()?);
                }
            }
        }
        Ok(defaults)
    }

    fn selections(&mut self) -> Result<Vec<Selection>, String> {
        self.wants_mark('{')?;
        let mut all = Vec::new();
        self.deeper(|reader| {
            while !reader.takes_mark('}') {
                all.push(reader.selection()?);
            }
            Ok(())
        })?;
        Ok(all)
    }

    fn selection(&mut self) -> Result<Selection, String> {
        if self.tokens.next_if_eq(&Token::Spread).is_some() {
            let on = if self.takes("on") { Some(self.name()?) } else { None };
            let is_name = |token: &Token| matches!(token, Token::Name(_));
            if on.is_none()
                && let Some(Token::Name(name)) = self.tokens.next_if(is_name)
            {
                return Ok(Selection::Spread(name, self.conditions()?));
            }
            let conditions = self.conditions()?;
            return Ok(Selection::Inline(Part { on, selections: self.selections()? }, conditions));
        }
        let mut name = self.name()?;
        let key = name.clone();
        if self.takes_mark(':') {
            name = self.name()?;
        }
        let arguments = self.arguments()?;
        let conditions = self.conditions()?;
        let has_more = self.tokens.peek() == Some(&Token::Mark('{'));
        let selections = if has_more { self.selections()? } else { Vec::new() };
        Ok(Selection::Field(Field { key, name, arguments, conditions, selections }))
    }

    fn arguments(&mut self) -> Result<Vec<(String, Word)>, String> {
        let mut all = Vec::new();
        if self.takes_mark('(') {
            while !self.takes_mark(')') {
                let name = self.name()?;
                self.wants_mark(':')?;
                all.push((name, self.word()?));
            }
        }
        Ok(all)
    }

    fn conditions(&mut self) -> Result<Vec<Condition>, String> {
        let mut all = Vec::new();
        while self.takes_mark('@') {
            let name = self.name()?;
            let word = self.arguments()?.into_iter().find(|(name, _)| name == "if");
            let word = word.map(|(_, word)| word).ok_or("`if` is missing")?;
            all.push(Condition { when: name == "include", word });
        }
        Ok(all)
    }

    fn word(&mut self) -> Result<Word, String> {
        self.deeper(|reader| match reader.tokens.next() {
            Some(Token::Value(value)) => Ok(Word::Plain(value)),
            Some(Token::Name(name)) => Ok(Word::Plain(match name.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => Value::String(name),
            })),
            Some(Token::Mark('$')) => reader.name().map(Word::Variable),
            Some(Token::Mark('[')) => {
                let mut all = Vec::new();
                while !reader.takes_mark(']') {
                    all.push(reader.word()?);
                }
                Ok(Word::List(all))
            }
            Some(Token::Mark('{')) => {
                let mut all = Vec::new();
                while !reader.takes_mark('}') {
                    let name = reader.name()?;
                    reader.wants_mark(':')?;
                    all.push((name, reader.word()?));
                }
                Ok(Word::Object(all))
            }
            _ => Err("a value is missing".to_owned()),
        })
    }
}

fn is_of_type(token: &Token) -> bool {
    matches!(token, Token::Name(_) | Token::Mark('[' | ']' | '!'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_end_or_is_not_understood_is_a_mistake() {
        for bad in [
            "",
            "{",
            "{ a",
            "{ a(b: }",
            "{ a(b: \"x }",
            "{ a(b: 1-) }",
            "{ a @skip }",
            "{ a } { b }",
            "fragment A on B { c }",
            "query(",
            "query($a",
            "{ a ~ }",
            "{ a(b: \"\\q\") }",
        ] {
            assert!(Document::read(bad).is_err(), "{bad}");
        }
        for deep in ["{a".repeat(100_000), format!("{{ a(b: {}", "[".repeat(100_000))] {
            assert!(Document::read(&deep).is_err());
        }
    }
}
