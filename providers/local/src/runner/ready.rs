//! Waiting for somebody to listen.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;

/// Waits until somebody accepts connections on loopback's `port`, and says on which of its addresses: a program that
/// listens on "localhost" may mean either.
pub(super) async fn accepts(port: u16) -> SocketAddr {
    let mut pause = Duration::from_millis(1);
    loop {
        for address in
            [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))]
        {
            if TcpStream::connect(address).await.is_ok() {
                return address;
            }
        }
        // There is nothing to wait on until somebody listens; the pause grows so that a slow start costs little.
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(50));
    }
}
