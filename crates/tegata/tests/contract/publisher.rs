//! A client's own server, which publishes one document, whatever is asked for.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex, MutexGuard, mpsc},
    thread,
};

use serde_json::Value;

/// Serves one document, which can be exchanged, and counts how often it was asked for.
pub(crate) struct Publisher {
    pub(crate) address: String,
    page: Arc<Mutex<Page>>,
    came: mpsc::Receiver<()>,
}

/// What is answered.
pub(crate) struct Page {
    pub(crate) status: &'static str,
    pub(crate) media_type: &'static str,
    pub(crate) body: String,
    asked: u32,
}

impl Publisher {
    pub(crate) fn of(status: &'static str, document: &str) -> Self {
        let publisher = Self::at("127.0.0.1");
        publisher.hold().status = status;
        publisher.becomes(document);
        publisher
    }

    /// On this machine, under this address; it publishes `{}`.
    pub(crate) fn at(host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = format!("http://{host}:{}/it", listener.local_addr().unwrap().port());
        let page = Page {
            status: "200 OK",
            media_type: "application/json",
            body: "{}".to_owned(),
            asked: 0,
        };
        let page = Arc::new(Mutex::new(page));
        let served = Arc::clone(&page);
        let (comes, came) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let _ = comes.send(());
                let mut page = served.lock().unwrap();
                page.asked += 1;
                let Page { status, media_type, body, .. } = &*page;
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nConnection: close\r\n\
                     Location: http://127.0.0.1:1/\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self { address, page, came }
    }

    /// A client that describes itself, with these changes.
    pub(crate) fn describing(host: &str, changes: &Value) -> Self {
        let publisher = Self::at(host);
        publisher.describes(changes);
        publisher
    }

    /// Publishes what a client says of itself, with these changes.
    pub(crate) fn describes(&self, changes: &Value) {
        let mut document = serde_json::json!({
            "client_id": self.address,
            "client_name": "The Bank",
            "redirect_uris": [super::browser::CALLBACK],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        });
        for (name, value) in changes.as_object().unwrap() {
            document[name] = value.clone();
        }
        self.becomes(&document.to_string());
    }

    pub(crate) fn becomes(&self, document: &str) {
        document.clone_into(&mut self.hold().body);
    }

    /// Keeps it from answering until this is dropped.
    pub(crate) fn hold(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap()
    }

    pub(crate) fn wait_for_somebody(&self) {
        self.came.recv().unwrap();
    }

    pub(crate) fn asked(&self) -> u32 {
        self.hold().asked
    }
}
