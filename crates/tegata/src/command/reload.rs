//! `tegata reload`.

use super::{Context, Failed};
use crate::{admin, compose, operate::Order};

/// Has the running server read its configuration anew.
pub(crate) async fn run(context: &Context) -> Result<(), Failed> {
    // What is wrong with the file is said here already; the server is left alone, and goes on.
    let (config, source) = context.load().map_err(|failed| Failed::Operation(failed.why()))?;
    let data = compose::data_dir(&config, &source);
    let answered = admin::order(&data, &Order::Reload, None).await.map_err(|error| {
        let socket = admin::socket(&data);
        Failed::Operation(format!("`{}` does not answer: {error}", socket.display()))
    })?;
    let Some(done) = answered else {
        return Err(Failed::Operation(format!(
            "no server runs on `{}`; it reads its configuration when it is started",
            data.display()
        )));
    };
    context.show(&done?)
}
