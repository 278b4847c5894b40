//! Wrong usage, said as everything else that goes wrong: in one line.

use std::process::ExitCode;

use clap::error::ErrorKind;

/// Says what is wrong with a command line, or what was asked to be shown.
pub(crate) fn tell(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Whoever asked may have gone away.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    warn_line!("tegata: {}", line(error.kind(), &error.render().to_string()));
    ExitCode::from(2)
}

/// What clap says on many lines, without the usage, which `--help` shows.
fn line(kind: ErrorKind, rendered: &str) -> String {
    let lines = rendered.lines().map(str::trim).filter(|line| !line.is_empty());
    let what: Vec<_> = lines.clone().take_while(|line| !line.starts_with("Usage:")).collect();
    let what = if kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "a command is missing".to_owned()
    } else {
        what.join("; ").replace(":; ", ": ").replace('\'', "`")
    };
    let usage = lines.clone().find_map(|line| line.strip_prefix("Usage:")).unwrap_or("tegata");
    let is_word = |word: &&str| !word.starts_with(['-', '<', '[']);
    let command: Vec<_> = usage.split_whitespace().take_while(is_word).collect();
    format!("{}; see `{} --help`", what.trim_start_matches("error: "), command.join(" "))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::command::Cli;

    fn said(args: &str) -> String {
        let error = Cli::try_parse_from(args.split(' ')).err().unwrap();
        super::line(error.kind(), &error.render().to_string())
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
        assert!(said("tegata key rotate --algorithm HS256").contains("HS256"));
        for args in ["tegata", "tegata fly", "tegata serve --fast", "tegata user show"] {
            let said = said(args);
            assert!(!said.contains('\n') && said.contains("--help`"), "{said}");
        }
    }
}
