//! `tegata cookies`.

use clap::{Args, Subcommand, ValueEnum};

use super::{Context, Failed};
use crate::{
    plan::tell::Lang,
    show::{self, Format},
};

mod matrix;

use matrix::Matrix;

#[derive(Subcommand)]
pub(crate) enum Cookies {
    /// The policy of cookies: what each is for, how long it is kept, and whether people must agree to it.
    Matrix(MatrixArgs),
}

#[derive(Args)]
pub(crate) struct MatrixArgs {
    /// Writes it for a privacy notice, in place of a table.
    #[arg(long, value_enum, value_name = "FORM")]
    notice: Option<Notice>,
    /// The language of what it says.
    #[arg(long, value_enum, default_value_t)]
    lang: Lang,
}

/// How a privacy notice is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Notice {
    Markdown,
    Html,
}

impl Cookies {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        let Self::Matrix(MatrixArgs { notice, lang }) = self;
        let (config, _) = context.load()?;
        let (_, policy) = config.cookies().map_err(Failed::Usage)?;
        let matrix = Matrix::of(&policy, lang);
        match (notice, context.format) {
            (Some(Notice::Markdown), _) => show::write(&matrix.markdown()),
            (Some(Notice::Html), _) => show::write(&matrix.html()),
            (None, Format::Text) => show::write(&matrix.text()),
            (None, format @ Format::Json) => show::show(&matrix.json(), format),
        }
        .map_err(|error| Failed::Operation(format!("standard output: {error}")))
    }
}
