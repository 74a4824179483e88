//! The way out of a function's own network namespace: an HTTP proxy on a listener inside it, which we serve.
//!
//! `CONNECT` opens a tunnel to any host and port; a request for an `http://` URL is sent on. Names are looked up here.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long a host may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many connections one function may have open.
const CONNECTIONS: usize = 1024;

/// How long to wait when a connection cannot be accepted, as when descriptors run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Headers that are about one connection and not about the message.
const OF_ONE_CONNECTION: [&str; 6] =
    ["connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "upgrade"];

type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// Serves whoever connects to `listener`; for ever. What is under way ends when this is dropped.
pub(super) async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                connections.spawn(serve_one(stream));
            }
            Err(error) => {
                tracing::debug!("the way out of a function's network: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve_one(stream: TcpStream) {
    // Tunnels live in here, so that they end with the connection's task.
    let (sender, mut tunnels) = tokio::sync::mpsc::unbounded_channel();
    let service = service_fn(move |request| {
        let sender = sender.clone();
        async move {
            let answer = match *request.method() {
                Method::CONNECT => open_tunnel(request, &sender).await,
                _ => send_on(request).await,
            };
            Ok::<_, std::convert::Infallible>(answer.unwrap_or_else(|error| refusal(&error)))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!("a connection of a function to the way out: {error}");
    }
    if let Ok((upgrade, mut to)) = tunnels.try_recv() {
        let upgrade: hyper::upgrade::OnUpgrade = upgrade;
        if let Ok(upgraded) = upgrade.await {
            // An end of the tunnel that breaks off has nobody to be told but the other.
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut to).await;
        }
    }
}

type Tunnels = tokio::sync::mpsc::UnboundedSender<(hyper::upgrade::OnUpgrade, TcpStream)>;

async fn open_tunnel(request: Request<Incoming>, tunnels: &Tunnels) -> io::Result<Answer> {
    let to = connect(request.uri(), None).await?;
    // Where nobody receives, the connection is gone already.
    let _ = tunnels.send((hyper::upgrade::on(request), to));
    Ok(Response::new(Either::Right(Full::default())))
}

async fn send_on(mut request: Request<Incoming>) -> io::Result<Answer> {
    if request.uri().scheme_str() != Some("http") {
        let why = "this is a proxy: it takes CONNECT, and requests for http:// URLs";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let stream = connect(request.uri(), Some(80)).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Ends with the request or its answer's body, whichever is last.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    if let Some(host) = request.uri().authority() {
        let host = HeaderValue::from_str(host.as_str()).map_err(io::Error::other)?;
        request.headers_mut().insert(hyper::header::HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *request.uri_mut() = path.parse().map_err(io::Error::other)?;
    for name in OF_ONE_CONNECTION {
        request.headers_mut().remove(HeaderName::from_static(name));
    }
    let mut answer = sender.send_request(request).await.map_err(io::Error::other)?;
    for name in OF_ONE_CONNECTION {
        answer.headers_mut().remove(HeaderName::from_static(name));
    }
    Ok(answer.map(Either::Left))
}

async fn connect(to: &Uri, default: Option<u16>) -> io::Result<TcpStream> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "no host and port to connect to");
    let host = to.host().ok_or_else(invalid)?.trim_start_matches('[').trim_end_matches(']');
    let port = to.port_u16().or(default).ok_or_else(invalid)?;
    let connected = tokio::time::timeout(PATIENCE, TcpStream::connect((host, port))).await;
    let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut)).flatten();
    let stream =
        stream.map_err(|error| io::Error::new(error.kind(), format!("{host} port {port}: {error}")))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn refusal(error: &io::Error) -> Answer {
    let status = match error.kind() {
        io::ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
        io::ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let mut answer = Response::new(Either::Right(Full::from(format!("{error}\n"))));
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Sends `request` to a proxy and answers with all that comes back.
    async fn through(request: String) -> String {
        let (proxy, address) = listener().await;
        let proxy = tokio::spawn(serve(proxy));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        proxy.abort();
        answer
    }

    /// Accepts once, and answers with what was sent until an empty line, and `answer`.
    async fn peer(listener: TcpListener, answer: &'static str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    }

    #[tokio::test]
    async fn a_tunnel_carries_bytes_both_ways() {
        let (listener, address) = listener().await;
        let peer = tokio::spawn(peer(listener, "back"));
        let (proxy, at) = self::listener().await;
        let proxy = tokio::spawn(serve(proxy));
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream
            .write_all(format!("CONNECT {address} HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"));
        stream.write_all(b"over\r\n\r\n").await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "back");
        assert_eq!(peer.await.unwrap(), "over\r\n\r\n");
        proxy.abort();
    }

    #[tokio::test]
    async fn a_request_for_a_url_is_sent_on_without_what_is_for_the_proxy() {
        let (listener, address) = listener().await;
        let peer = tokio::spawn(peer(listener, "HTTP/1.1 201 Created\r\ncontent-length: 4\r\n\r\nmade"));
        let request = format!(
            "GET http://{address}/a?b=c HTTP/1.1\r\nhost: other\r\nproxy-authorization: x\r\nproxy-connection: close\r\nconnection: close\r\n\r\n"
        );
        let answer = through(request).await;
        assert!(answer.starts_with("HTTP/1.1 201") && answer.ends_with("made"), "{answer}");
        let sent = peer.await.unwrap();
        assert!(sent.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{sent}");
        assert!(sent.contains(&format!("host: {address}\r\n")) && !sent.contains("proxy-"), "{sent}");
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_said() {
        let (listener, address) = listener().await;
        drop(listener);
        let answer =
            through(format!("GET http://{address}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("refused"), "{answer}");
        let answer = through("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned()).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("this is a proxy"), "{answer}");
    }
}
