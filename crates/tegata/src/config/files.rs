//! The files that a configuration names.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, Hidden, read_secret};

impl Config {
    /// The files and directories that it names, by the settings that name them. What it declares names
    /// others, and the root key is beside the store.
    pub(crate) fn files(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        let mut named: Vec<(&'static str, &mut PathBuf)> = Vec::new();
        if let Some(tls) = &mut self.public.tls {
            named.push(("[public.tls] certificate_file", &mut tls.certificate_file));
            named.push(("[public.tls] key_file", &mut tls.key_file));
        }
        if let Some(tls) = &mut self.gateway.tls {
            named.push(("[gateway.tls] certificate_file", &mut tls.certificate_file));
            named.push(("[gateway.tls] key_file", &mut tls.key_file));
        }
        let pin = self.keys.pkcs11.as_mut().and_then(|pkcs11| pkcs11.pin_file.as_mut());
        let single = [
            ("[public] client_ca_file", self.public.client_ca_file.as_mut()),
            ("[public] theme_file", self.public.theme_file.as_mut()),
            ("[gateway] client_ca_file", self.gateway.client_ca_file.as_mut()),
            ("[gateway.upstream] ca_file", self.gateway.upstream.ca_file.as_mut()),
            ("[ext_authz] secret_file", self.ext_authz.secret_file.as_mut()),
            ("[store] url_file", self.store.url_file.as_mut()),
            ("[redis] url_file", self.redis.url_file.as_mut()),
            ("[events] url_file", self.events.url_file.as_mut()),
            ("[keys.pkcs11] pin_file", pin),
            ("[clients] ca_file", self.clients.ca_file.as_mut()),
            ("[mail] url_file", self.mail.url_file.as_mut()),
            ("[mail] password_file", self.mail.password_file.as_mut()),
            ("[mail] ca_file", self.mail.ca_file.as_mut()),
            ("[users] breached_passwords", self.users.breached_passwords.as_mut()),
            ("[sidecar] ca_file", self.sidecar.ca_file.as_mut()),
            ("[sidecar] client_secret_file", self.sidecar.client_secret_file.as_mut()),
        ];
        named.extend(single.into_iter().filter_map(|(name, file)| Some((name, file?))));
        named.extend(self.gateway.introspection.files());
        named.extend(self.signals.files());
        named.extend(self.policy.directories().map(|file| ("[policy] directory", file)));
        let issuers = self.issuer.iter_mut().filter_map(|issuer| issuer.ca_file.as_mut());
        named.extend(issuers.map(|file| ("[[issuer]] ca_file", file)));
        let domains = self.trust_domains.iter_mut().filter_map(|it| it.bundle_file.as_mut());
        named.extend(domains.map(|file| ("[[trust_domain]] bundle_file", file)));
        named
    }

    /// Makes the paths of files relative to where the configuration is, like all others.
    pub(super) fn resolve(&mut self, base: &Path) {
        for (_, file) in self.files() {
            *file = base.join(&file);
        }
    }

    /// Takes the addresses that are in files, since they can hold passwords, from there. `table` is what was
    /// set.
    pub(super) fn read_addresses(&mut self, table: &Table) -> Result<(), String> {
        let read = |section: &str, file: Option<&PathBuf>| {
            let Some(file) = file else { return Ok(None) };
            let set = table.get(section).and_then(Value::as_table);
            if set.is_some_and(|set| set.contains_key("url")) {
                return Err(format!("[{section}] url and url_file are both set: keep one of them"));
            }
            let url = read_secret(Path::new(""), file);
            let url = url.map_err(|why| format!("[{section}] url_file {why}"))?;
            if url.expose().trim().is_empty() {
                return Err(format!("[{section}] url_file `{}` is empty", file.display()));
            }
            Ok(Some(Hidden::new(url.expose().clone())))
        };
        if let Some(url) = read("store", self.store.url_file.as_ref())? {
            self.store.url = url;
        }
        if let Some(url) = read("redis", self.redis.url_file.as_ref())? {
            self.redis.url = Some(url);
        }
        if let Some(url) = read("events", self.events.url_file.as_ref())? {
            self.events.url = url;
        }
        if let Some(url) = read("mail", self.mail.url_file.as_ref())? {
            self.mail.url = Some(url);
        }
        Ok(())
    }
}
