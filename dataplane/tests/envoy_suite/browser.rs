//! A browser, as far as logins need one: it keeps cookies as RFC 6265bis wants, and follows nothing by itself.

use std::collections::BTreeMap;

use crate::client::{Answer, send};

pub(crate) struct Browser {
    port: u16,
    host: String,
    pub(crate) cookies: BTreeMap<String, String>,
    /// The attributes that each cookie was set with.
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) fn new(port: u16, host: &str) -> Self {
        let (cookies, attributes) = (BTreeMap::new(), BTreeMap::new());
        Self { port, host: host.to_owned(), cookies, attributes }
    }

    /// The same one, of another node.
    pub(crate) fn moved(&self, port: u16) -> Self {
        let (cookies, attributes) = (self.cookies.clone(), self.attributes.clone());
        Self { port, host: self.host.clone(), cookies, attributes }
    }

    pub(crate) async fn get(&mut self, target: &str) -> Answer {
        self.send("GET", target, &[]).await
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let pairs = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        let cookie = pairs.collect::<Vec<_>>().join("; ");
        let mut all = headers.to_vec();
        if !cookie.is_empty() {
            all.push(("cookie", cookie.as_str()));
        }
        let answer = send(self.port, method, &self.host, target, &all).await;
        for line in answer.headers.get_all("set-cookie") {
            self.take(line.to_str().unwrap());
        }
        answer
    }

    fn take(&mut self, line: &str) {
        let (pair, attributes) = line.split_once(';').unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        let attributes = attributes.to_ascii_lowercase();
        let ends = ["max-age=0", "expires=thu, 01 jan 1970"];
        if ends.iter().any(|end| attributes.contains(end)) {
            self.cookies.remove(name);
            return;
        }
        if name.starts_with("__Host-") {
            let fits = attributes.contains("secure") && attributes.contains("path=/;");
            assert!(fits && !attributes.contains("domain"), "no browser takes {line}");
        }
        self.cookies.insert(name.to_owned(), value.to_owned());
        self.attributes.insert(name.to_owned(), attributes);
    }
}
