//! An installation for whoever wants to try it: what there is, and a few words by which it is broken and
//! mended.

use std::{
    fmt::Write as _,
    io::{BufRead, Write},
    time::Duration,
};

use anyhow::Result;
use tegata_engines::{Mode, Plan};

use crate::stage::{PERSON, ROBOT, Stage, WEB};

/// What can be said to it.
const WORDS: &str = "\
  status           which nodes are ready
  kill N           kills node N (SIGKILL)           start N    starts it again
  stop N           asks node N to end (SIGTERM)
  pause N          node N stands still (SIGSTOP)    resume N   goes on
  cut N            node N reaches nothing           mend N     reaches everything
  postgres kill    kills PostgreSQL                 postgres start
  help, quit       or the end of the input, or Ctrl-C
";

/// Starts an installation, says what there is, and does what it is told until there is no more input.
///
/// # Errors
/// The installation does not start, or nobody listens any more.
pub fn play(plan: &Plan, input: impl BufRead, mut output: impl Write) -> Result<()> {
    let stage = Stage::set(plan)?;
    write!(output, "{}", page(&stage))?;
    output.flush()?;
    for line in input.lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        if matches!(words[..], ["quit" | "exit"]) {
            break;
        }
        let said = done(&stage, &words);
        write!(output, "{said}")?;
        output.flush()?;
    }
    writeln!(output, "stopping")?;
    for member in stage.cluster().members() {
        member.node.process().go_on();
        member.node.stop();
    }
    Ok(())
}

/// Does what it is told; answers what it says to that.
fn done(stage: &Stage, words: &[&str]) -> String {
    let member = |number: &str| {
        let number = number.parse::<usize>().ok()?;
        stage.cluster().members().get(number)
    };
    let postgres = stage.cluster().postgres();
    match *words {
        [] => return String::new(),
        ["help"] => return WORDS.to_owned(),
        ["status"] => return status(stage),
        ["postgres", "kill"] => postgres.kill(),
        ["postgres", "start"] => postgres.launch(),
        [verb, number] => {
            let Some(member) = member(number) else {
                return format!("there is no node `{number}`\n");
            };
            let runs = member.node.process().id().is_some();
            match (verb, runs) {
                ("start", false) => member.node.launch(),
                ("start", true) => return format!("node {number} runs\n"),
                ("kill" | "stop" | "pause" | "resume", false) => {
                    return format!("node {number} does not run: `start {number}`\n");
                }
                ("kill", true) => member.node.kill(),
                ("stop", true) => member.node.stop(),
                ("pause", true) => member.node.process().hold(),
                ("resume", true) => member.node.process().go_on(),
                ("cut", _) => member.set_all(Mode::BlackHole),
                ("mend", _) => member.set_all(Mode::Sound),
                _ => return format!("what is `{verb}`? `help` says what can be said\n"),
            }
        }
        _ => return "`help` says what can be said\n".to_owned(),
    }
    "done\n".to_owned()
}

fn status(stage: &Stage) -> String {
    let mut text = String::new();
    for (number, member) in stage.cluster().members().iter().enumerate() {
        let ports = member.node.ports();
        let mut client = crate::http::Client::new(ports.operations).waiting(Duration::from_secs(2));
        let said = match client.ask(&crate::http::Ask::get("/health/ready")) {
            Ok(answer) => answer.text().trim().to_owned(),
            Err(error) => error.to_string(),
        };
        let _ = writeln!(text, "node {number}  {said}");
    }
    text
}

/// What there is, and what to try.
fn page(stage: &Stage) -> String {
    let cluster = stage.cluster();
    let (issuer, gateway) = (cluster.issuer(), cluster.audience());
    let mut text = format!(
        "\nThe installation stands: {} nodes on PostgreSQL{}{}{}.\n\n\
         any node    {issuer}   gateway {gateway}\n",
        cluster.members().len(),
        if cluster.redis().is_some() { ", with Redis" } else { "" },
        if cluster.nats().is_some() { ", with NATS" } else { "" },
        if cluster.dynamodb().is_some() { ", with DynamoDB" } else { "" },
    );
    for (number, member) in cluster.members().iter().enumerate() {
        let ports = member.node.ports();
        let id = member.node.process().id().unwrap_or_default();
        let _ = writeln!(
            text,
            "node {number}      public 127.0.0.1:{}   gateway 127.0.0.1:{}   operations \
             127.0.0.1:{}   process {id}\n            {}",
            ports.public,
            ports.gateway,
            ports.operations,
            member.node.directory().display()
        );
    }
    let _ = write!(
        text,
        "\nperson      {} / {}   (sign in at {issuer}/login)\n\
         clients     {} / {}   (people sign in to it)\n            {} / {}   (in its own name)\n\
         service     echo, at /bounded, /strict and /available of every gateway\n\n\
         TOKEN=$(curl -s -u '{}:{}' -d grant_type=client_credentials {issuer}/oauth2/token | \
         sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n\
         curl -s -H \"Authorization: Bearer $TOKEN\" {gateway}/bounded/hello\n\
         curl -s -u '{}:{}' -d token=$TOKEN {issuer}/oauth2/revoke\n\
         curl -s -H \"Authorization: Bearer $TOKEN\" {gateway}/bounded/hello\n\n{WORDS}\n",
        PERSON.0, PERSON.1, WEB.0, WEB.1, ROBOT.0, ROBOT.1, ROBOT.0, ROBOT.1, ROBOT.0, ROBOT.1
    );
    text
}
