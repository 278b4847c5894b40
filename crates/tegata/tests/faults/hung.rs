//! A disk that does not answer, and one that is full from the start.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Shared, root_key},
};
use tegata_faults::{
    http::Client,
    stage::{self, PATIENCE},
    time::until,
};

use super::PROGRAM;

fn node(name: &str, environment: Vec<(String, String)>) -> TegataNode {
    let shared = Shared {
        root_key: root_key(Path::new(PROGRAM)),
        program: PROGRAM.into(),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let store = "sqlite://tegata.db".to_owned();
    TegataNode::start(name, &shared, &Own { store, environment, ..Own::default() })
}

/// Has what writes the log of decisions of a node hang in the system, as it would on a disk that does not answer:
/// it opens its segment again after it failed, and a pipe with nobody at its other end is not opened.
struct Hung {
    segment: PathBuf,
    away: PathBuf,
}

impl Hung {
    fn new(node: &TegataNode, public: &mut Client) -> Self {
        let refused = |public: &mut Client| {
            let answer = stage::issue(public).unwrap();
            (answer.status, answer.field("retry-after").map(str::to_owned))
        };
        node.limit_files(Some(0));
        let full = until(PATIENCE, || refused(public).0 == 503);
        assert!(full.is_some(), "{}", node.process().said());
        let all = fs::read_dir(node.directory().join("decisions")).unwrap();
        let segment = all.map(|file| file.unwrap().path()).max().unwrap();
        let (away, pipe) = (node.directory().join("away"), node.directory().join("pipe"));
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        fs::hard_link(&segment, &away).unwrap();
        fs::rename(&pipe, &segment).unwrap();
        // Whoever is refused now waited for an attempt that began after that.
        assert_eq!(refused(public), (503, Some("1".to_owned())));
        node.limit_files(None);
        Self { segment, away }
    }

    fn answers(self) {
        let pipe = fs::File::options().read(true).write(true).open(&self.segment).unwrap();
        fs::rename(self.away, self.segment).unwrap();
        drop(pipe);
    }
}

#[test]
fn while_the_disk_of_the_audit_log_does_not_answer_nothing_is_issued_and_everything_is_verified() {
    let (node, echo) = (node("hung", Vec::new()), EchoServer::start());
    stage::declare(&node, echo.port()).unwrap();
    let port = node.ports().public;
    let mut public = Client::new(port).waiting(PATIENCE);
    let living = stage::issued(&mut public).unwrap();
    let hung = Hung::new(&node, &mut public);
    let said = || node.process().said();
    // There is room in every file but that one, so that nothing else is what refuses.
    for turn in 0..20 {
        let answer = stage::issue(&mut public).unwrap();
        assert_eq!(answer.status, 503, "{turn}: {}", said());
        assert_eq!(answer.field("retry-after"), Some("1"));
        assert!(!answer.text().contains("access_token"), "{turn}");
        assert_eq!(stage::revoke(&mut public, &living.token).unwrap().status, 503, "{turn}");
        let mut gateway = Client::new(node.ports().gateway).waiting(PATIENCE);
        assert_eq!(stage::call(&mut gateway, "/bounded", &living.token).unwrap().status, 200);
        assert!(stage::introspect(&mut public, &living.token).unwrap());
    }
    hung.answers();
    let again = until(PATIENCE, || stage::issue(&mut public).unwrap().status == 200);
    assert!(again.is_some(), "{}", said());
    assert!(said().contains("over: the disk of the decision log answers"), "{}", said());
    let verified = node.run(&["audit-log", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn a_node_is_stopped_though_the_disk_of_the_audit_log_does_not_answer() {
    let (node, echo) = (node("hung-stop", Vec::new()), EchoServer::start());
    stage::declare(&node, echo.port()).unwrap();
    let mut public = Client::new(node.ports().public).waiting(PATIENCE);
    let _hung = Hung::new(&node, &mut public);
    drop(public);
    node.stop();
    assert!(node.process().said().contains("is left as it is"), "{}", node.process().said());
}
