//! `tegata user`.

use std::{
    fs::{self, File},
    io::{self, BufWriter, IsTerminal as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use serde_json::{Map, Value};

use super::{Context, Failed, read_secret};
use crate::operate::{DeclaredUser, Order};

mod import;

#[derive(Subcommand)]
pub(crate) enum User {
    /// Registers a person. The password is read from standard input or a file.
    Add {
        username: String,
        #[arg(long)]
        email: Option<String>,
        /// May be given several times, or as a list with commas.
        #[arg(long = "role", value_delimiter = ',')]
        roles: Vec<String>,
        /// The file of a JSON object: what else is known of the person (`name`, `birthdate`, …).
        #[arg(long, value_name = "FILE")]
        claims_file: Option<PathBuf>,
        /// The file that the password is in.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// The file of a hash that another system made: Argon2, bcrypt, scrypt or PBKDF2.
        #[arg(long, value_name = "FILE", conflicts_with = "password_file")]
        password_hash_file: Option<PathBuf>,
        /// Without a password: nobody can sign in by one.
        #[arg(long, conflicts_with_all = ["password_file", "password_hash_file"])]
        no_password: bool,
    },
    /// Lists people.
    List,
    /// Shows one.
    Show { username: String },
    /// Keeps a person from signing in and from refreshing tokens.
    Disable {
        username: String,
        /// Takes that back.
        #[arg(long)]
        undo: bool,
    },
    /// Sets a password, read from standard input or a file.
    Passwd {
        username: String,
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Takes a person's second factors away, with the recovery codes: for whoever has lost them all.
    ResetFactors { username: String },
    /// Sets what clients are told of a person, as a JSON object says: `{"name": "Maria", "nickname": null}`
    /// sets the one and takes the other away.
    Claims {
        username: String,
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Writes everybody, a JSON object on each line.
    Export {
        /// With the hashes of their passwords. Whoever reads those can guess the passwords.
        #[arg(long)]
        hashes: bool,
        /// Into this file, which must not be there; standard output without it.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Registers people whom another system hands over, a JSON object on each line, as `export` writes them.
    /// Whose user name is known stays as they are.
    Import {
        /// Standard input without it.
        file: Option<PathBuf>,
        /// Says what would be done, and does nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

impl User {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::Add {
                username,
                email,
                roles,
                claims_file,
                password_file,
                password_hash_file,
                no_password,
            } => {
                let claims = claims_file.as_deref().map(claims).transpose()?.unwrap_or_default();
                let file = password_hash_file.as_ref();
                let password_hash =
                    file.map(|file| read_secret(Some(file), "the password hash")).transpose()?;
                let password = if no_password || password_hash.is_some() {
                    None
                } else {
                    Some(read_secret(password_file.as_ref(), "the password")?)
                };
                let declared = DeclaredUser {
                    username,
                    email,
                    roles,
                    claims,
                    password,
                    password_hash,
                    ..DeclaredUser::default()
                };
                Order::UserAdd(Box::new(declared))
            }
            Self::List => Order::UserList,
            Self::Show { username } => Order::UserShow { username },
            Self::Disable { username, undo } => Order::UserDisable { username, enable: undo },
            Self::Passwd { username, password_file } => {
                let password = read_secret(password_file.as_ref(), "the password")?;
                Order::UserPasswd { username, password }
            }
            Self::ResetFactors { username } => Order::UserResetFactors { username },
            Self::Claims { username, file } => {
                Order::UserClaims { username, claims: claims(&file)? }
            }
            Self::Export { hashes, output } => return export(context, hashes, output).await,
            Self::Import { file, dry_run } => {
                return import::import(context, file.as_deref(), dry_run).await;
            }
        };
        context.order_and_show(order).await
    }
}

/// A JSON object in a file.
fn claims(file: &Path) -> Result<Map<String, Value>, Failed> {
    let wrong = |why: String| Failed::Usage(format!("`{}`: {why}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| {
        // What is wrong is said, and not what stands there.
        wrong(format!("it is no JSON object (line {}, column {})", error.line(), error.column()))
    })
}

async fn export(context: &Context, hashes: bool, output: Option<PathBuf>) -> Result<(), Failed> {
    if hashes && output.is_none() && io::stdout().is_terminal() {
        return Err(Failed::Usage(
            "hashes of passwords are not shown on a terminal: name a file with --output, or send them \
             to a program"
                .to_owned(),
        ));
    }
    let Some(path) = output else {
        let out = BufWriter::new(io::stdout());
        return write_people(context, hashes, "standard output", out).await;
    };
    let place = format!("`{}`", path.display());
    let failed = |error: io::Error| Failed::Operation(format!("{place}: {error}"));
    let is_free = || match path.try_exists() {
        Ok(true) => Err(failed(io::ErrorKind::AlreadyExists.into())),
        Ok(false) => Ok(()),
        Err(error) => Err(failed(error)),
    };
    is_free()?;
    // Under its name is the whole, or nothing. Where it cannot be written, nothing is asked for, and nobody is
    // on record for it.
    let mut part = path.clone().into_os_string();
    part.push(".part");
    let file = File::options().write(true).create_new(true).mode(0o600).open(&part);
    let file = file
        .map_err(|error| Failed::Operation(format!("`{}`: {error}", Path::new(&part).display())))?;
    let written = write_people(context, hashes, &place, BufWriter::new(&file)).await;
    let whole = written.and_then(|()| {
        file.sync_all().map_err(failed)?;
        is_free()?;
        fs::rename(&part, &path).map_err(failed)
    });
    if whole.is_err() {
        // What is wrong is said already.
        let _left = fs::remove_file(&part);
    }
    whole
}

/// Writes everybody, part by part: there may be more than one order has time for.
async fn write_people(
    context: &Context,
    hashes: bool,
    place: &str,
    mut out: impl Write,
) -> Result<(), Failed> {
    let failed = |error: io::Error| Failed::Operation(format!("{place}: {error}"));
    let mut after = None;
    loop {
        let is_first = after.is_none();
        let mut part = context.order(Order::UserExport { hashes, after }).await?;
        if hashes && is_first {
            let warning = "warning: this holds hashes of passwords. Whoever reads them can guess the passwords as \
                           fast as their machines are; keep it encrypted, and delete it when it was taken over.";
            let unsaid = |error| Failed::Operation(format!("standard error: {error}"));
            writeln!(io::stderr(), "{warning}").map_err(unsaid)?;
        }
        for person in part.get("people").and_then(Value::as_array).into_iter().flatten() {
            writeln!(out, "{person}").map_err(failed)?;
        }
        let next = part.get_mut("next").map(Value::take).unwrap_or_default();
        match serde_json::from_value(next) {
            Ok(Some(next)) => after = Some(next),
            _ => return out.flush().map_err(failed),
        }
    }
}
