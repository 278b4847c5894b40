//! The policy of cookies as a matrix: a line for each cookie, in several forms.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};
use tegata_session::{Category, CookiePolicy, Setter, Words, cookie::SameSite, policy::Row};

use crate::plan::tell::{Lang, escaped};

/// The matrix of a policy, in one language.
pub(super) struct Matrix<'p> {
    policy: &'p CookiePolicy,
    lang: Lang,
}

/// What stands above the columns, and what they say of every cookie alike.
struct Labels {
    columns: [&'static str; 7],
    needed: &'static str,
    not_needed: &'static str,
    session: &'static str,
    /// What follows a longer life than browsers give.
    capped: &'static str,
    setters: [&'static str; 3],
}

const ENGLISH: Labels = Labels {
    columns: ["category", "cookie", "consent", "retention", "set by", "flags", "purpose"],
    needed: "needed",
    not_needed: "not needed",
    session: "until the browser closes",
    capped: " (browsers keep 400)",
    setters: ["Tegata", "a service", "a script"],
};

const JAPANESE: Labels = Labels {
    columns: ["分類", "Cookie", "同意", "保存期間", "設定元", "属性", "目的"],
    needed: "必要",
    not_needed: "不要",
    session: "ブラウザーを閉じるまで",
    capped: "（ブラウザーの上限は 400 日）",
    setters: ["Tegata", "サービス", "スクリプト"],
};

impl<'p> Matrix<'p> {
    pub(super) const fn of(policy: &'p CookiePolicy, lang: Lang) -> Self {
        Self { policy, lang }
    }

    /// For people at a terminal.
    pub(super) fn text(&self) -> String {
        let heads = self.labels().columns.map(str::to_uppercase);
        let lines: Vec<[String; 7]> = std::iter::once(heads).chain(self.lines()).collect();
        let widest = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| width(cell)).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..7).map(widest).collect();
        let mut text = String::new();
        for line in &lines {
            let padded = line.iter().zip(&widths).map(|(cell, widest)| {
                format!("{cell}{}", " ".repeat(widest.saturating_sub(width(cell))))
            });
            let padded: Vec<String> = padded.collect();
            text.push_str(padded.join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    /// For machines: names of categories and of who sets a cookie are the same in every language.
    pub(super) fn json(&self) -> Value {
        let row = |row: &Row| {
            let attributes = &row.attributes;
            json!({
                "category": row.category.name(),
                "cookie": row.name.as_str(),
                "consent_needed": self.policy.needs_consent(row.category),
                "retention_seconds": row.life.map(|life| life.as_secs()),
                "set_by": row.set_by.name(),
                "purpose": self.word(&row.purpose),
                "http_only": attributes.http_only,
                "secure": attributes.secure,
                "same_site": same_site(attributes.same_site),
                "domain": attributes.domain,
                "path": attributes.path,
            })
        };
        self.policy.rows().iter().map(row).collect()
    }

    /// For a privacy notice in Markdown: a heading and a table for each category.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        for category in self.categories() {
            let [_, columns @ ..] = self.labels().columns;
            let title = self.word(&category.title()).to_owned();
            let meaning = self.word(&category.meaning()).to_owned();
            let _ = write!(text, "### {title}\n\n{meaning}\n\n| {} |\n", columns.join(" | "));
            let _ = writeln!(text, "|{}", " --- |".repeat(columns.len()));
            for row in self.policy.of(category) {
                let [_, cells @ ..] = self.line(row);
                let cells: Vec<String> = cells.iter().map(|cell| escaped_markdown(cell)).collect();
                let _ = writeln!(text, "| {} |", cells.join(" | "));
            }
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    /// The same in HTML.
    pub(super) fn html(&self) -> String {
        let mut text = String::new();
        for category in self.categories() {
            let [_, columns @ ..] = self.labels().columns;
            let title = escaped(self.word(&category.title()));
            let meaning = escaped(self.word(&category.meaning()));
            let heads: String =
                columns.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
            let _ = write!(
                text,
                "<h3>{title}</h3>\n<p>{meaning}</p>\n<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
            );
            for row in self.policy.of(category) {
                let [_, cells @ ..] = self.line(row);
                let cells: String =
                    cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
                let _ = writeln!(text, "<tr>{cells}</tr>");
            }
            text.push_str("</tbody>\n</table>\n");
        }
        text
    }

    /// The categories that have cookies.
    fn categories(&self) -> impl Iterator<Item = Category> {
        let has_some = |category: &Category| self.policy.of(*category).next().is_some();
        Category::ALL.into_iter().filter(has_some)
    }

    fn lines(&self) -> impl Iterator<Item = [String; 7]> {
        self.policy.rows().iter().map(|row| self.line(row))
    }

    fn line(&self, row: &Row) -> [String; 7] {
        let labels = self.labels();
        let [tegata, service, script] = labels.setters;
        let needed =
            if self.policy.needs_consent(row.category) { labels.needed } else { labels.not_needed };
        let set_by = match row.set_by {
            Setter::Tegata => tegata,
            Setter::Service => service,
            Setter::Script => script,
        };
        [
            self.word(&row.category.title()).to_owned(),
            row.name.as_str().to_owned(),
            needed.to_owned(),
            row.life.map_or_else(|| labels.session.to_owned(), |life| self.span(life, row)),
            set_by.to_owned(),
            flags(row),
            self.word(&row.purpose).to_owned(),
        ]
    }

    fn span(&self, life: Duration, row: &Row) -> String {
        let secs = life.as_secs();
        let (number, [one, many, japanese]) = match secs {
            secs if secs % 86_400 == 0 => (secs / 86_400, ["day", "days", "日"]),
            secs if secs % 3600 == 0 => (secs / 3600, ["hour", "hours", "時間"]),
            secs if secs % 60 == 0 => (secs / 60, ["minute", "minutes", "分"]),
            secs => (secs, ["second", "seconds", "秒"]),
        };
        let capped = if row.attributes.max_age < row.life { self.labels().capped } else { "" };
        match self.lang {
            Lang::En => format!("{number} {}{capped}", if number == 1 { one } else { many }),
            Lang::Ja => format!("{number} {japanese}{capped}"),
        }
    }

    const fn labels(&self) -> &'static Labels {
        match self.lang {
            Lang::En => &ENGLISH,
            Lang::Ja => &JAPANESE,
        }
    }

    fn word<'w>(&self, words: &'w Words) -> &'w str {
        match self.lang {
            Lang::En => &words.en,
            Lang::Ja => &words.ja,
        }
    }
}

/// The attributes, as `Set-Cookie` writes them.
fn flags(row: &Row) -> String {
    let attributes = &row.attributes;
    let mut flags = vec![format!("SameSite={}", same_site(attributes.same_site))];
    flags.extend(attributes.secure.then(|| "Secure".to_owned()));
    flags.extend(attributes.http_only.then(|| "HttpOnly".to_owned()));
    flags.extend(attributes.domain.as_ref().map(|domain| format!("Domain={domain}")));
    flags.extend((attributes.path != "/").then(|| format!("Path={}", attributes.path)));
    flags.join(" ")
}

const fn same_site(same_site: SameSite) -> &'static str {
    match same_site {
        SameSite::Strict => "Strict",
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    }
}

/// How many columns of a terminal a text takes: letters of East Asia take two.
fn width(text: &str) -> usize {
    let is_wide = |c: char| matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ff60}');
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

/// A cell of a Markdown table: nothing in it ends the cell or begins markup.
fn escaped_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => escaped.push(' '),
            '|' | '*' | '_' | '`' | '<' | '[' | '\\' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use tegata_session::{CookieTable, Declared, Environment, PolicyRules};

    use super::*;

    fn policy(environment: Environment) -> CookiePolicy {
        let table = CookieTable::new(environment, None).unwrap();
        let odd = Declared {
            name: "a_b".to_owned(),
            category: Category::Marketing,
            purpose: ("Counts | <script>\nand \"more\"".to_owned(), Some("数えます。".to_owned())),
            set_by: Setter::Service,
            life: Some(Duration::from_secs(90 * 60)),
            http_only: true,
            same_site: SameSite::Strict,
            secure: None,
            path: "/shop".to_owned(),
            domain: None,
            environments: vec![environment],
        };
        let rules = PolicyRules { declared: vec![odd], ..PolicyRules::of(environment) };
        CookiePolicy::new(&table, &rules).unwrap()
    }

    #[test]
    fn the_table_says_what_a_privacy_notice_must() {
        let policy = policy(Environment::Production);
        let text = Matrix::of(&policy, Lang::En).text();
        let line = |start: &str| text.lines().find(|line| line.contains(start)).unwrap().to_owned();
        assert!(text.starts_with("CATEGORY    COOKIE"), "{text}");
        for said in
            ["Essential", "not needed", "until the browser closes", "SameSite=Lax Secure HttpOnly"]
        {
            assert!(line("__Host-session_id").contains(said), "{text}");
        }
        for said in [
            "Analytics",
            " needed",
            "730 days (browsers keep 400)",
            "SameSite=None Secure",
            "a script",
        ] {
            assert!(line(" _ga ").contains(said), "{text}");
        }
        assert!(line(" a_b ").contains("90 minutes") && line(" a_b ").contains("Path=/shop"));
        assert_eq!(line("_gid").matches("1 day ").count(), 1);
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn columns_stand_below_each_other_in_japanese_too() {
        let policy = policy(Environment::Development);
        let text = Matrix::of(&policy, Lang::Ja).text();
        let at = |line: &str, what: &str| line.find(what).map(|at| width(&line[..at]));
        let heads = at(text.lines().next().unwrap(), "COOKIE");
        for name in ["session_id", "user_prefs", "_gid", "ads_*"] {
            let line = text.lines().find(|line| line.contains(&format!(" {name} "))).unwrap();
            assert_eq!(at(line, name), heads, "{text}");
        }
        assert!(text.contains("730 日（ブラウザーの上限は 400 日）") && !text.contains("Secure "));
    }

    #[test]
    fn json_has_every_attribute_and_the_same_names_in_every_language() {
        let policy = policy(Environment::Production);
        let rows = Matrix::of(&policy, Lang::Ja).json();
        let ga = rows.as_array().unwrap().iter().find(|row| row["cookie"] == "_ga").unwrap();
        assert_eq!((&ga["category"], &ga["consent_needed"]), (&"analytics".into(), &true.into()));
        assert_eq!((&ga["same_site"], &ga["secure"]), (&"None".into(), &true.into()));
        assert_eq!(
            (&ga["retention_seconds"], &ga["domain"]),
            (&(730 * 86_400).into(), &Value::Null)
        );
        assert!(ga["purpose"].as_str().unwrap().contains("訪問者"));
    }

    #[test]
    fn nothing_that_is_declared_breaks_out_of_a_notice() {
        let policy = policy(Environment::Production);
        let matrix = Matrix::of(&policy, Lang::En);
        let html = matrix.html();
        assert!(html.contains("Counts | &lt;script&gt;\nand &quot;more&quot;"), "{html}");
        assert!(!html.contains("<script"));
        let markdown = matrix.markdown();
        assert!(markdown.contains("Counts \\| \\<script> and \"more\""), "{markdown}");
        assert!(markdown.contains("| a\\_b | needed |") && markdown.contains("### Marketing\n"));
        for line in markdown.lines().filter(|line| line.starts_with('|')) {
            let cells = line.replace("\\|", "").matches('|').count();
            assert_eq!(cells, 7, "{line}");
        }
    }
}
