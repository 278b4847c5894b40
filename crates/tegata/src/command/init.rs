//! `tegata init`.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use tegata_core::Node;
use tegata_store::FileCustody;

use super::Failed;

/// The configuration that is written, with every default as a comment.
const TEMPLATE: &str = include_str!("init/tegata.toml");

#[derive(Args)]
pub(crate) struct Init {
    /// Where; here, if nothing is said.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Writes no root key: it is to be in a token, which `[keys.pkcs11]` names.
    #[arg(long)]
    pkcs11: bool,
}

impl Init {
    /// Writes both files, or neither where one is there already.
    pub(crate) fn run(self) -> Result<(), Failed> {
        let (config, key) = (self.dir.join("tegata.toml"), self.dir.join("root.key"));
        // What is in it is the server's alone.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|error| failed(&self.dir, &error))?;
        if config.exists() {
            return Err(Failed::Usage(format!(
                "`{}` is there already; remove it, or choose another directory",
                config.display()
            )));
        }
        if !self.pkcs11 {
            FileCustody::create(&key, &Node::start())
                .map_err(|error| Failed::Usage(error.to_string()))?;
        }
        let mut file = fs::File::create_new(&config).map_err(|error| failed(&config, &error))?;
        file.write_all(TEMPLATE.as_bytes()).map_err(|error| failed(&config, &error))?;
        if self.pkcs11 {
            let it = config.display();
            say_line!("wrote {it}");
            say_line!("keep a backup of the token: without the root key, the data cannot be read");
            say_line!(
                "next: set [keys.pkcs11] in it; tegata key make-root --config {it}; \
                 tegata serve --config {it}"
            );
            return Ok(());
        }
        say_line!("wrote {} and {}", config.display(), key.display());
        say_line!("keep a copy of the root key elsewhere: without it, the data cannot be read");
        say_line!("next: tegata serve --config {}", config.display());
        Ok(())
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failed {
    Failed::Usage(format!("`{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_template_is_a_configuration_with_and_without_its_comments() {
        let bare = toml::from_str::<crate::config::Config>(super::TEMPLATE);
        assert!(bare.is_ok(), "{bare:?}");
        let set: String = super::TEMPLATE
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.contains(" = ") && !rest.contains("  ") => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let read = toml::from_str::<crate::config::Config>(&set).unwrap();
        assert!(read.contradictions().is_empty());
    }

    #[test]
    fn the_template_names_every_setting() {
        // What is in these is declared, not set, or one of several.
        let lists = ["user", "client", "service", "route", "issuer"];
        let all: toml::Table = toml::from_str(
            &super::TEMPLATE
                .lines()
                .map(|line| match line.strip_prefix("# ").or_else(|| line.strip_prefix("#   ")) {
                    Some(rest) if rest.contains(" = ") => format!("{}\n", rest.trim_start()),
                    _ => format!("{line}\n"),
                })
                .collect::<String>(),
        )
        .unwrap();
        let named = |place: &[&str]| {
            let mut table = Some(&all);
            let (last, sections) = place.split_last().unwrap();
            for section in sections {
                table = table.and_then(|table| table.get(*section)?.as_table());
            }
            table.is_some_and(|table| table.contains_key(*last))
        };
        assert!(known(&["gateway", "limits", "nothing"]).contains(&"body_of".to_owned()));
        for section in known(&["nothing"]).iter().filter(|it| !lists.contains(&it.as_str())) {
            for key in known(&[section, "nothing"]) {
                let under = known(&[section, &key, "nothing"]);
                for under in &under {
                    assert!(named(&[section, &key, under]), "[{section}.{key}] {under}");
                }
                assert!(named(&[section, &key]), "[{section}] {key}");
            }
        }
        let of_issuers = known_in("[[issuer]]\nnothing = 0");
        assert!(of_issuers.contains(&"jwks_uri".to_owned()));
        for key in of_issuers {
            assert!(super::TEMPLATE.contains(&format!("\n#   {key} = ")), "[[issuer]] {key}");
        }
    }

    /// The keys that are known where one stands that is not.
    fn known(place: &[&str]) -> Vec<String> {
        known_in(&format!("{} = 0", place.join(".")))
    }

    fn known_in(text: &str) -> Vec<String> {
        let Err(error) = toml::from_str::<crate::config::Config>(text) else {
            return Vec::new();
        };
        let message = error.message();
        let Some((_, list)) = message.split_once("unknown field `nothing`, expected") else {
            return Vec::new();
        };
        list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }
}
