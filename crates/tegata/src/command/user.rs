//! `tegata user`.

use std::path::PathBuf;

use clap::Subcommand;

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
}

impl User {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let order = match self {
            Self::Add {
                username,
                email,
                roles,
                password_file,
                password_hash_file,
                no_password,
            } => {
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
        };
        context.order_and_show(order).await
    }
}
