//! Which protocol a port speaks, where nobody said.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::address::{authority, is_loopback};
use crate::error::{Error, ErrorKind};
use crate::tls;

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TLS.
    Https,
    /// Not TLS.
    Http,
}

/// Says hello in TLS and looks at the first byte that comes back. Loads no certificate and ends the connection.
pub(crate) async fn speaks(url: &Url, limit: Duration, operation: &'static str) -> Result<Protocol, Error> {
    let failed = |kind, message: String| Error::new(kind, operation, authority(url), message);
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(failed(ErrorKind::Invalid, "no host".to_owned()));
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned())
        .map_err(|_| failed(ErrorKind::Invalid, format!("{host} is no host name")))?;
    let mut hello = Vec::new();
    rustls::ClientConnection::new(Arc::new(tls::trusting_nobody()), name)
        .and_then(|mut connection| {
            connection.write_tls(&mut hello).map_err(|error| rustls::Error::General(error.to_string()))
        })
        .map_err(|error| failed(ErrorKind::Tls, error.to_string()))?;

    let exchange = async {
        let mut stream = if is_loopback(url) && bare.parse::<std::net::IpAddr>().is_err() {
            TcpStream::connect(
                &[([127, 0, 0, 1], port).into(), (std::net::Ipv6Addr::LOCALHOST, port).into()][..],
            )
            .await?
        } else {
            TcpStream::connect((bare, port)).await?
        };
        // A peer that takes the hello for a request may hang up at once; what it said before is still there to read.
        let _ = stream.write_all(&hello).await;
        let _ = stream.shutdown().await;
        let mut first = [0; 1];
        let read = stream.read(&mut first).await;
        Ok::<_, std::io::Error>(matches!(read, Ok(1)) && is_record_type(first[0]))
    };
    match tokio::time::timeout(limit, exchange).await {
        Ok(Ok(true)) => Ok(Protocol::Https),
        Ok(Ok(false)) => Ok(Protocol::Http),
        Ok(Err(error)) => Err(failed(ErrorKind::Connect, error.to_string())),
        Err(_) => Err(Error::late(operation, authority(url), limit)),
    }
}

/// Change cipher spec, alert, handshake: what a TLS server may begin with. No HTTP answer begins like that.
fn is_record_type(byte: u8) -> bool {
    matches!(byte, 0x14..=0x16)
}
