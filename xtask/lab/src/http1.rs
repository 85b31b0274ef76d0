//! A small HTTP/1.1 client over any stream: one request at a time on a keep-alive connection,
//! bodies by length, by chunks or to the end. It follows no redirect and retries nothing, so that
//! every fault of the path shows.

use std::io::{self, BufRead, BufReader, Read, Write};

/// Longest status or header line taken.
const LINE_MAX: u64 = 16 * 1024;
/// Most headers of one answer.
const HEADERS_MAX: usize = 128;
/// Largest body that [`Connection::send`] collects: a listing of 10,000 objects is some megabytes.
const BODY_MAX: u64 = 256 * 1024 * 1024;

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Such as `GET`.
    pub method: &'a str,
    /// Value of the `host` header.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// Body, sent with its length unless it is empty.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A `GET` without further headers.
    #[must_use]
    pub fn get(host: &'a str, path: &'a str) -> Self {
        Self { method: "GET", host, path, headers: &[], body: &[] }
    }
}

/// Status and headers of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn length(&self) -> io::Result<Length> {
        if self.status < 200 || self.status == 204 || self.status == 304 {
            return Ok(Length::Exactly(0));
        }
        if self.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            return Ok(Length::Chunked);
        }
        match self.header("content-length") {
            Some(text) => {
                text.trim().parse().map(Length::Exactly).map_err(|_| bad("content-length"))
            }
            None => Ok(Length::ToTheEnd),
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status and headers.
    pub head: Head,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

enum Length {
    Exactly(u64),
    Chunked,
    ToTheEnd,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection<S> {
    stream: BufReader<S>,
    open: bool,
}

impl<S: Read + Write> Connection<S> {
    /// Takes over a connected stream.
    pub fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream), open: true }
    }

    /// Whether another request may be sent: the server has not announced its end.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The stream, for an upgraded protocol.
    pub fn stream(&mut self) -> &mut BufReader<S> {
        &mut self.stream
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// Of the stream; `InvalidData` for what is no HTTP/1.1; `UnexpectedEof` for a cut answer.
    pub fn send(&mut self, request: &Request<'_>) -> io::Result<Response> {
        let head = self.start(request)?;
        let mut body = Vec::new();
        self.read_body(&head, |bytes| {
            body.extend_from_slice(bytes);
            if body.len() as u64 > BODY_MAX {
                Err(bad("body larger than is taken"))
            } else {
                Ok(())
            }
        })?;
        Ok(Response { head, body })
    }

    /// Sends a request and reads the head of the answer.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn start(&mut self, request: &Request<'_>) -> io::Result<Head> {
        let mut text =
            format!("{} {} HTTP/1.1\r\nhost: {}\r\n", request.method, request.path, request.host);
        for (name, value) in request.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !request.body.is_empty() || matches!(request.method, "POST" | "PUT") {
            text += &format!("content-length: {}\r\n", request.body.len());
        }
        text += "\r\n";
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(request.body);
        let stream = self.stream.get_mut();
        // The server may answer and close before it has read a large body: its answer counts.
        let written = stream.write_all(&bytes).and_then(|()| stream.flush());
        let head = match (self.read_head(), written) {
            (Ok(head), _) => head,
            (Err(_), Err(error)) | (Err(error), Ok(())) => {
                self.open = false;
                return Err(error);
            }
        };
        if head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.open = false;
        }
        Ok(head)
    }

    /// Reads the body that follows a head, piece by piece.
    ///
    /// # Errors
    /// As [`Connection::send`], and those of `take`.
    pub fn read_body(
        &mut self,
        head: &Head,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let result = match head.length()? {
            Length::Exactly(length) => self.copy(length, &mut take),
            Length::Chunked => self.copy_chunks(&mut take),
            Length::ToTheEnd => {
                self.open = false;
                self.copy_to_end(&mut take)
            }
        };
        if result.is_err() {
            self.open = false;
        }
        result
    }

    fn copy_chunks(&mut self, take: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| bad("chunk size"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            self.copy(size, take)?;
            if !self.line()?.is_empty() {
                return Err(bad("chunk end"));
            }
        }
    }

    fn copy(
        &mut self,
        length: u64,
        take: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let bytes = self.stream.fill_buf()?;
            if bytes.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut"));
            }
            let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            take(&bytes[..count])?;
            self.stream.consume(count);
            left -= count as u64;
        }
        Ok(())
    }

    fn copy_to_end(&mut self, take: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        loop {
            let bytes = self.stream.fill_buf()?;
            if bytes.is_empty() {
                return Ok(());
            }
            let count = bytes.len();
            take(bytes)?;
            self.stream.consume(count);
        }
    }

    fn read_head(&mut self) -> io::Result<Head> {
        let line = self.line()?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| bad("status line"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Head { status, headers });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad("header"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            if headers.len() > HEADERS_MAX {
                return Err(bad("too many headers"));
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        read_line(&mut self.stream)
    }
}

/// Reads one line without its end.
pub(crate) fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    let count = stream.by_ref().take(LINE_MAX).read_line(&mut line)?;
    if count == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"));
    }
    if !line.ends_with('\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a line was cut"));
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP/1.1: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with fixed bytes and keeps what was written.
    struct Script {
        answer: io::Cursor<Vec<u8>>,
        written: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.answer.read(buffer)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn check(answer: &str, want: Result<(u16, &str, bool), io::ErrorKind>) {
        let script = Script { answer: io::Cursor::new(answer.into()), written: Vec::new() };
        let mut connection = Connection::new(script);
        let got = connection.send(&Request::get("h", "/"));
        match (got, want) {
            (Ok(response), Ok((status, body, open))) => {
                assert_eq!(
                    (response.head.status, response.text().as_str()),
                    (status, body),
                    "{answer:?}"
                );
                assert_eq!(connection.is_open(), open, "{answer:?}");
            }
            (Err(error), Err(kind)) => assert_eq!(error.kind(), kind, "{answer:?}"),
            (got, want) => panic!("{answer:?}: {got:?}, wanted {want:?}"),
        }
    }

    #[test]
    fn answers_of_every_framing() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Ok((200, "hi", true)));
        check(
            "HTTP/1.1 404 \r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            Ok((404, "", false)),
        );
        check("HTTP/1.1 204 No\r\n\r\n", Ok((204, "", true)));
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n",
            Ok((200, "abcd", true)),
        );
        check("HTTP/1.1 200 OK\r\n\r\nto the end", Ok((200, "to the end", false)));
    }

    #[test]
    fn cut_and_foreign_answers_are_errors() {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        check("", Err(UnexpectedEof));
        check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi", Err(UnexpectedEof));
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab", Err(UnexpectedEof));
        check("SSH-2.0-x\r\n", Err(InvalidData));
        check("HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n", Err(InvalidData));
    }

    #[test]
    fn a_request_carries_its_host_headers_and_body() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let script = Script { answer: io::Cursor::new(answer.into()), written: Vec::new() };
        let mut connection = Connection::new(script);
        let headers = [("authorization", "Bearer x")];
        let request = Request {
            method: "POST",
            host: "h",
            path: "/v1/apply",
            headers: &headers,
            body: b"{}",
        };
        connection.send(&request).unwrap();
        let text = String::from_utf8(connection.stream.get_ref().written.clone()).unwrap();
        assert_eq!(
            text,
            "POST /v1/apply HTTP/1.1\r\nhost: h\r\nauthorization: Bearer x\r\ncontent-length: 2\r\n\r\n{}"
        );
    }
}
