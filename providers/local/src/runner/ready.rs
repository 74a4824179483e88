//! Reaching a function on loopback.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

/// Connects to loopback's `port`, and says on which of its addresses: a program that listens on "localhost" may mean
/// either.
pub(super) async fn connect(port: u16) -> io::Result<(TcpStream, SocketAddr)> {
    let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpStream::connect(four).await {
        Ok(stream) => Ok((stream, four)),
        Err(refused) => {
            let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            TcpStream::connect(six).await.map(|stream| (stream, six)).map_err(|_| refused)
        }
    }
}
