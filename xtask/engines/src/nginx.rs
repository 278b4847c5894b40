//! nginx, as a proxy before a service.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::process::{Process, Yard, program};

/// How long it may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One nginx, on a Unix socket. It is killed when this is dropped.
#[derive(Debug)]
pub struct NginxServer {
    socket: PathBuf,
    process: Process,
    _yard: Yard,
}

impl NginxServer {
    /// One whose only server has these directives.
    ///
    /// # Panics
    /// It does not start, and says why.
    #[must_use]
    pub fn serving(directives: &str) -> Self {
        let yard = Yard::new("nginx");
        let (place, socket) = (yard.path(), yard.path().join("nginx.sock"));
        // Debian's own places belong to root.
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {};\n", place.join(name).display()))
            .concat();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {};\nevents {{}}\nhttp {{\naccess_log off;\n\
             {temporary}server {{\nlisten unix:{};\n{directives}\n}}\n}}\n",
            place.join("nginx.pid").display(),
            socket.display(),
        );
        let configuration = place.join("nginx.conf");
        fs::write(&configuration, text).expect("a configuration");
        let shown = |path: &Path| path.display().to_string();
        let arguments = vec![
            "-p".to_owned(),
            shown(place),
            "-c".to_owned(),
            shown(&configuration),
            "-e".to_owned(),
            "stderr".to_owned(),
        ];
        let process = Process::new(&yard, "nginx", program("nginx", "nginx"), arguments);
        let ready = || UnixStream::connect(&socket).is_ok();
        assert!(process.start(&yard, PATIENCE, ready), "nginx does not start: {}", process.said());
        Self { socket, process, _yard: yard }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.process.said()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn answers_as_it_was_told() {
        let server = NginxServer::serving("location / { return 200 \"$http_x_name\"; }");
        let mut stream = UnixStream::connect(server.socket()).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\nX-Name: usr_1\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("\r\n\r\nusr_1"), "{said}");
    }
}
