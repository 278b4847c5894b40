//! Wrong usage, said as everything else that goes wrong: in one line.

use std::process::ExitCode;

use clap::{CommandFactory as _, error::ErrorKind};

use crate::command::Cli;

/// Says what is wrong with a command line, or what was asked to be shown.
pub(crate) fn tell(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Whoever asked may have gone away.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let words = std::env::args().skip(1);
    warn_line!("tegata: {}", line(error.kind(), &error.render().to_string(), words));
    ExitCode::from(2)
}

/// What clap says on many lines about these words, without the usage, which `--help` shows.
fn line(kind: ErrorKind, rendered: &str, words: impl Iterator<Item = String>) -> String {
    let lines = rendered.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with("For more information"));
    let what: Vec<_> = lines.clone().take_while(|line| !line.starts_with("Usage:")).collect();
    let what = if kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "a command is missing".to_owned()
    } else {
        what.join("; ").replace(":; ", ": ").replace('\'', "`")
    };
    let usage = lines.clone().find_map(|line| line.strip_prefix("Usage:"));
    let is_word = |word: &&str| !word.starts_with(['-', '<', '[']);
    let command = match usage {
        Some(usage) => usage.split_whitespace().take_while(is_word).collect::<Vec<_>>().join(" "),
        None => named(words),
    };
    format!("{}; see `{command} --help`", what.trim_start_matches("error: "))
}

/// The command that these words name.
fn named(words: impl Iterator<Item = String>) -> String {
    let all = Cli::command();
    let (mut name, mut within) = ("tegata".to_owned(), &all);
    for word in words {
        if let Some(command) = within.find_subcommand(&word) {
            within = command;
            name = format!("{name} {word}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::command::Cli;

    fn said(args: &str) -> String {
        let error = Cli::try_parse_from(args.split(' ')).err().unwrap();
        let words = args.split(' ').skip(1).map(str::to_owned);
        super::line(error.kind(), &error.render().to_string(), words)
    }

    #[test]
    fn is_one_line_that_says_what_and_where_to_look() {
        assert_eq!(
            said("tegata revoke --user a"),
            "the following required arguments were not provided: --reason <REASON>; see `tegata \
             revoke --help`"
        );
        assert!(said("tegata user lst").contains("`lst`"));
        assert_eq!(said("tegata user"), "a command is missing; see `tegata user --help`");
        let said_of_value = said("tegata key rotate --algorithm HS256");
        assert!(said_of_value.contains("HS256"), "{said_of_value}");
        assert!(said_of_value.ends_with("; see `tegata key rotate --help`"), "{said_of_value}");
        for args in ["tegata", "tegata fly", "tegata serve --fast", "tegata user show"] {
            let said = said(args);
            assert!(!said.contains('\n') && said.contains("--help`"), "{said}");
        }
    }
}
