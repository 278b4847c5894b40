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
    let failed = |place: &str, error: io::Error| Failed::Operation(format!("{place}: {error}"));
    // Where it cannot be written, nothing is asked for, and nobody is on record for it.
    let mut out: (String, Box<dyn Write>) = match output {
        Some(path) => {
            let place = format!("`{}`", path.display());
            let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
            let file = file.map_err(|error| failed(&place, error))?;
            (place, Box::new(BufWriter::new(file)))
        }
        None => ("standard output".to_owned(), Box::new(BufWriter::new(io::stdout()))),
    };
    let people = context.order(Order::UserExport { hashes }).await?;
    if hashes {
        let warning = "warning: this holds hashes of passwords. Whoever reads them can guess the passwords as \
                       fast as their machines are; keep it encrypted, and delete it when it was taken over.";
        writeln!(io::stderr(), "{warning}").map_err(|error| failed("standard error", error))?;
    }
    for person in people.as_array().into_iter().flatten() {
        writeln!(out.1, "{person}").map_err(|error| failed(&out.0, error))?;
    }
    out.1.flush().map_err(|error| failed(&out.0, error))
}
