//! A client of the simplest kind, so that the tests do not trust what they test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What came of a request on a connection that may have come to its end.
pub(crate) enum Attempt {
    /// It was answered.
    Answered(Answer),
    /// The connection ended before an answer began.
    NoAnswer,
}

/// A connection that is kept.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::try_open(address).expect("it accepts connections")
    }

    pub(crate) fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Sends a request without a body and reads its answer. An answer that began has to come to its end.
    pub(crate) fn attempt(&mut self, method: &str, path: &str) -> Attempt {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        let sent = self.reader.get_mut().write_all(head.as_bytes());
        match sent.and_then(|()| self.reader.fill_buf().map(<[u8]>::is_empty)) {
            Ok(false) => Attempt::Answered(self.answer(method)),
            Ok(true) | Err(_) => Attempt::NoAnswer,
        }
    }

    /// Sends what is given, and nothing else.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("it can be sent");
    }

    /// Sends a request and reads its answer.
    pub(crate) fn call(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method != "GET" {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.send(head.as_bytes());
        self.send(body);
        self.answer(method)
    }

    /// Reads one answer to a request of `method`.
    pub(crate) fn answer(&mut self, method: &str) -> Answer {
        let (status, headers) = self.head();
        let mut answer = Answer { status, headers, body: Vec::new() };
        if method == "HEAD" || status == 204 {
            return answer;
        }
        if let Some(length) = answer.header("content-length").map(|length| length.parse().expect("a number"))
        {
            answer.body = vec![0; length];
            self.reader.read_exact(&mut answer.body).expect("the body comes");
        } else {
            assert_eq!(answer.header("transfer-encoding"), Some("chunked"), "{answer:?}");
            while let Some(piece) = self.piece() {
                answer.body.extend(piece);
            }
        }
        answer
    }

    /// Reads a status and headers.
    pub(crate) fn head(&mut self) -> (u16, Vec<(String, String)>) {
        let status = self.line();
        let status = status.split(' ').nth(1).unwrap_or_else(|| panic!("no status: {status:?}"));
        let status = status.parse().expect("a status");
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { return (status, headers) };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads one piece of a chunked body; `None` at its end.
    pub(crate) fn piece(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line(), 16).expect("a piece's length");
        let mut piece = vec![0; length];
        self.reader.read_exact(&mut piece).expect("the piece comes");
        self.line();
        (length > 0).then_some(piece)
    }

    /// Whether the connection ends here, in the middle of an answer.
    pub(crate) fn ends_early(&mut self) -> bool {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let read = self.reader.read_to_end(&mut rest);
        read.is_err() || rest.is_empty()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let count = self.reader.read_line(&mut line).expect("an answer comes");
        assert!(count > 0, "the connection ended before the answer did");
        line.trim_end().to_owned()
    }
}

/// One request on a connection of its own.
pub(crate) fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    Connection::open(address).call(method, path, headers, body)
}

/// The answer to a GET.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    call(address, "GET", path, &[], &[])
}
