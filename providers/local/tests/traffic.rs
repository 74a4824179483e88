//! What happens to requests on their way to functions and back.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use longshore_contract::{AliasRef, Config, Embedded, Payload, Qualifier, Routing, Share, Version};

use support::http::{Connection, call, get};
use support::{Cloud, Function, image};

const CLIENTS: usize = 8;
const REQUESTS: usize = 4000;

fn quarter() -> Share {
    "25%".parse().expect("a share")
}

fn function<'a>(provider: &'a dyn longshore_contract::Provider, name: &str) -> Function<'a> {
    Function { provider, name: name.parse().expect("a name") }
}

/// A cloud with the function `shop` at version 1 under `live`.
async fn shop(cloud: &Cloud, config: Config) -> Version {
    let provider = cloud.provider();
    let shop = function(&*provider, "shop");
    let version = shop.version(&image::answering(cloud.registry(), "one"), config).await;
    shop.route(Routing::All(version.clone())).await;
    version
}

fn embedded() -> &'static dyn Embedded {
    longshore_local::registration().embedded.expect("the local cloud is embedded")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarter_goes_to_the_canary_while_the_alias_moves_and_nothing_is_lost() {
    let cloud = Cloud::start();
    let provider = cloud.provider();
    let shop = function(&*provider, "shop");
    let mut versions = Vec::new();
    for answer in ["one", "two", "three"] {
        let image = image::answering(cloud.registry(), answer);
        versions.push(shop.version(&image, Config::default()).await);
    }
    let [one, two, three] = [0, 1, 2].map(|index| versions[index].clone());
    let canaries = [two, three];
    shop.route(Routing::split(one.clone(), canaries[0].clone(), quarter())).await;

    let (address, sent, over) = (cloud.functions(), AtomicU32::new(0), AtomicBool::new(false));
    let (counts, moves) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(address);
                    let mut counts = BTreeMap::<String, usize>::new();
                    while sent.fetch_add(1, Ordering::SeqCst) < REQUESTS as u32 {
                        let answer = connection.call("POST", "/shop/live/order", &[], b"x");
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        let version = answer.header("x-longshore-version").expect("a version").to_owned();
                        let spoken = ["one", "two", "three"][version.parse::<usize>().expect("a number") - 1];
                        assert_eq!(answer.text(), spoken, "version {version} answered");
                        *counts.entry(version).or_default() += 1;
                    }
                    counts
                })
            })
            .collect();
        let moves = {
            let (over, provider, one, canaries) = (&over, cloud.provider(), one.clone(), &canaries);
            scope.spawn(move || {
                let runtime = tokio::runtime::Runtime::new().expect("a runtime");
                runtime.block_on(async {
                    let shop = function(&*provider, "shop");
                    let mut moves = 0;
                    while !over.load(Ordering::SeqCst) {
                        moves += 1;
                        let canary = canaries[moves % 2].clone();
                        shop.route(Routing::split(one.clone(), canary, quarter())).await;
                    }
                    moves
                })
            })
        };
        let mut counts = BTreeMap::<String, usize>::new();
        for client in clients {
            for (version, count) in client.join().expect("a client ended well") {
                *counts.entry(version).or_default() += count;
            }
        }
        over.store(true, Ordering::SeqCst);
        (counts, moves.join().expect("the mover ended well"))
    });
    assert!(moves >= 2, "the alias moved {moves} times: nothing was tried");
    assert_eq!(counts.values().sum::<usize>(), REQUESTS, "{counts:?}");
    let to_canaries = REQUESTS - counts["1"];
    assert!(to_canaries.abs_diff(REQUESTS / 4) <= 1, "{to_canaries} of {REQUESTS}: {counts:?}");

    let status = embedded().status(&cloud.settings()).await.expect("it runs").expect("it runs");
    let counted: u64 = status.traffic.iter().map(|row| row.invocations).sum();
    assert_eq!(counted, REQUESTS as u64, "{:?}", status.traffic);
    assert!(status.traffic.iter().all(|row| row.errors == 0 && row.instances == 1), "{:?}", status.traffic);
    assert!(status.traffic[0].p50_ms.is_some_and(|median| median > 0.0), "{:?}", status.traffic);
}

#[tokio::test]
async fn the_url_that_is_handed_out_takes_gets_and_posts_as_it_is() {
    let cloud = Cloud::start();
    shop(&cloud, Config::default()).await;
    let at = AliasRef { function: "shop".parse().expect("a name"), alias: "live".parse().expect("a name") };
    let url = cloud.provider().functions().url(&at).expect("a url");
    let path = url.strip_prefix(&format!("http://{}", cloud.functions())).expect("the functions' address");
    for method in ["GET", "POST"] {
        let answer = call(cloud.functions(), method, path, &[], b"");
        assert_eq!((answer.status, answer.text().as_str()), (200, "one"), "{method} {url}");
    }
}

#[tokio::test]
async fn a_function_sees_its_own_path_and_where_the_request_came_from() {
    let cloud = Cloud::start();
    shop(&cloud, Config::default()).await;
    let headers = [("connection", "x-mine"), ("x-mine", "1"), ("te", "trailers"), ("x-theirs", "2")];
    let answer = call(cloud.functions(), "GET", "/shop/live/request?a=%2F&b", &headers, b"");
    assert_eq!(answer.header("x-longshore-version"), Some("1"));
    assert_eq!(answer.header("x-own"), Some("yes"));
    let seen = answer.text();
    assert!(seen.starts_with("GET /request?a=%2F&b HTTP/1.1\r\n"), "{seen}");
    for expected in [
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-prefix: /shop/live\r\n",
        "x-theirs: 2\r\n",
        "host: test\r\n",
    ] {
        assert!(seen.contains(expected), "{expected:?} in {seen}");
    }
    assert!(!seen.contains("x-mine") && !seen.contains("trailers"), "{seen}");
    let root = call(cloud.functions(), "GET", "/shop/1", &[], b"");
    assert_eq!((root.status, root.text().as_str()), (200, "one"));
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let cloud = Cloud::start();
    shop(&cloud, Config::default()).await;
    // The first piece must come before the function has sent the second.
    let mut connection = Connection::open(cloud.functions());
    connection.send(b"GET /shop/live/stream HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(connection.head().0, 200);
    assert_eq!(connection.piece().as_deref(), Some(&b"one"[..]));
    assert_eq!(get(cloud.functions(), "/shop/live/seen").status, 200);
    assert_eq!(connection.piece().as_deref(), Some(&b"two"[..]));
    assert_eq!(connection.piece(), None);
    // A piece of a request must come back before the next is sent.
    let mut connection = Connection::open(cloud.functions());
    connection.send(
        b"POST /shop/live/echo HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n4\r\nping\r\n",
    );
    assert_eq!(connection.head().0, 200);
    assert_eq!(connection.piece().as_deref(), Some(&b"ping"[..]));
    connection.send(b"4\r\npong\r\n0\r\n\r\n");
    assert_eq!(connection.piece().as_deref(), Some(&b"pong"[..]));
    assert_eq!(connection.piece(), None);
}

#[tokio::test]
async fn a_large_body_goes_through_without_being_held() {
    let cloud = Cloud::start();
    shop(&cloud, Config::default()).await;
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", cloud.daemon.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let before = memory();
    let size = 64 << 20;
    let mut sender = std::net::TcpStream::connect(cloud.functions()).expect("it listens");
    let mut reader = sender.try_clone().expect("a socket");
    let sending = std::thread::spawn(move || {
        use std::io::Write as _;
        let head = format!(
            "POST /shop/live/echo HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n"
        );
        sender.write_all(head.as_bytes()).expect("it can be sent");
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..size >> 20 {
            sender.write_all(&piece).expect("it can be sent");
        }
    });
    let count = std::io::copy(&mut reader, &mut std::io::sink()).expect("it comes back");
    sending.join().expect("it was sent");
    assert!(count >= size, "{count} bytes came back");
    let grown = memory() - before;
    assert!(grown < 32 * 1024, "the daemon grew by {grown} KiB");
}

#[tokio::test]
async fn a_function_that_dies_is_an_error_that_says_where_to_look_and_is_started_again() {
    let cloud = Cloud::start();
    shop(&cloud, Config::default()).await;
    let first = get(cloud.functions(), "/shop/live/pid").text();
    let crashed = get(cloud.functions(), "/shop/live/crash");
    assert_eq!(crashed.status, 502);
    let body: serde_json::Value = serde_json::from_slice(&crashed.body).expect("JSON");
    assert_eq!((&body["code"], &body["version"]), (&"NoAnswer".into(), &"1".into()), "{body}");
    let log = body["log"].as_str().expect("a log");
    assert!(std::fs::read_to_string(log).expect("the log is there").contains("listening on"), "{log}");
    let again = get(cloud.functions(), "/shop/live/pid");
    assert_eq!(again.status, 200, "{}", again.text());
    assert_ne!(again.text(), first);
}

#[tokio::test]
async fn a_function_that_keeps_dying_is_left_alone_for_a_while() {
    let cloud = Cloud::start();
    shop(&cloud, Config::default()).await;
    let rested =
        (0..5).map(|_| get(cloud.functions(), "/shop/live/crash")).find(|answer| answer.status == 503);
    let rested = rested.expect("after a few times it is left alone");
    assert!(rested.header("retry-after").is_some());
    assert!(rested.text().contains("keeps ending: exited with status 9"), "{}", rested.text());
}

#[tokio::test]
async fn a_request_has_the_time_that_the_function_has() {
    let cloud = Cloud::start();
    let config = Config { timeout: Some(Duration::from_secs(1)), ..Config::default() };
    shop(&cloud, config).await;
    let late = get(cloud.functions(), "/shop/live/never");
    assert_eq!((late.status, late.header("x-longshore-error")), (504, Some("Timeout")), "{}", late.text());
    assert_eq!(get(cloud.functions(), "/shop/live").status, 200);
}

#[tokio::test]
async fn a_cold_start_is_not_taken_off_a_functions_time() {
    let mut cloud = Cloud::start();
    let provider = cloud.provider();
    let shop = function(&*provider, "shop");
    let image = image::push(cloud.registry(), &["/function", "late", "1500"], &[]);
    let config = Config { timeout: Some(Duration::from_secs(1)), ..Config::default() };
    let version = shop.version(&image, config).await;
    shop.route(Routing::All(version)).await;
    cloud.kill_and_start_again();
    // What is still to come when the head is there comes, although the start took longer than the function may.
    let mut connection = Connection::open(cloud.functions());
    connection.send(b"GET /shop/live/stream HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(connection.head().0, 200);
    assert_eq!(connection.piece().as_deref(), Some(&b"one"[..]));
    assert_eq!(get(cloud.functions(), "/shop/live/seen").status, 200);
    assert_eq!(connection.piece().as_deref(), Some(&b"two"[..]));
    assert_eq!(connection.piece(), None);
}

#[tokio::test]
async fn an_invocation_knows_how_long_each_version_may_take() {
    let cloud = Cloud::start();
    let one = shop(&cloud, Config { timeout: Some(Duration::from_secs(1)), ..Config::default() }).await;
    let provider = cloud.provider();
    let shop = function(&*provider, "shop");
    let config = Config { timeout: Some(Duration::from_secs(40)), ..Config::default() };
    let two = shop.version(&image::answering(cloud.registry(), "two"), config).await;
    shop.route(Routing::split(one, two, quarter())).await;
    let daemon = std::fs::read(cloud.directory.join("daemon.json")).expect("it runs");
    let daemon: serde_json::Value = serde_json::from_slice(&daemon).expect("JSON");
    let bearer = format!("Bearer {}", daemon["token"].as_str().expect("a token"));
    let timeouts = |at: &str| {
        let path = format!("/_longshore/1/functions/shop?at={at}");
        let answer = call(cloud.functions(), "GET", &path, &[("authorization", &bearer)], b"");
        let view: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        view["timeouts_ms"].clone()
    };
    assert_eq!(timeouts("live"), serde_json::json!([1000, 40_000]));
    assert_eq!(timeouts("2"), serde_json::json!([40_000]));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let cloud = Cloud::start();
    shop(&cloud, Config::default()).await;
    for path in ["/", "/shop", "/nobody/live", "/shop/nobody", "/shop/2", "/shop/01", "/favicon.ico"] {
        let answer = get(cloud.functions(), path);
        assert_eq!((answer.status, answer.header("x-longshore-error")), (404, Some("NotFound")), "{path}");
    }
}

#[tokio::test]
async fn a_status_of_500_is_an_error_that_is_counted() {
    let cloud = Cloud::start();
    let version = shop(&cloud, Config::default()).await;
    assert_eq!(get(cloud.functions(), "/shop/live/bad").status, 500);
    assert_eq!(get(cloud.functions(), "/shop/live/fine").status, 200);
    let status = embedded().status(&cloud.settings()).await.expect("it runs").expect("it runs");
    let [row] = status.traffic.as_slice() else { panic!("{:?}", status.traffic) };
    assert_eq!((&row.version, row.invocations, row.errors), (&version, 2, 1));
}

#[tokio::test]
async fn an_invocation_is_the_functions_own_answer() {
    let cloud = Cloud::start();
    let version = shop(&cloud, Config::default()).await;
    let provider = cloud.provider();
    let (name, at) = ("shop".parse().expect("a name"), Qualifier::Alias("live".parse().expect("a name")));
    let event = Payload::Event(serde_json::json!({ "ping": true }));
    let answer = provider.functions().invoke(&name, &at, &event).await.expect("it answers");
    assert_eq!((answer.status, answer.version, answer.function_error), (200, Some(version), None));
    assert!(answer.log.is_some_and(|log| log.contains("listening on")));
    let request = |path: &str| Payload::Http {
        method: "PUT".to_owned(),
        path: path.to_owned(),
        headers: vec![("x-theirs".to_owned(), "2".to_owned())],
        body: bytes::Bytes::from_static(b"body"),
    };
    let echoed = provider.functions().invoke(&name, &at, &request("/echo?x")).await.expect("it answers");
    assert_eq!(&echoed.payload[..], b"body");
    let seen = provider.functions().invoke(&name, &at, &request("/request?x")).await.expect("it answers");
    let seen = String::from_utf8_lossy(&seen.payload).into_owned();
    assert!(seen.starts_with("PUT /request?x HTTP/1.1") && seen.contains("x-theirs: 2"), "{seen}");
    let crashed =
        provider.functions().invoke(&name, &at, &request("/crash")).await.expect("that is an answer");
    assert_eq!((crashed.status, crashed.function_error.as_deref()), (502, Some("NoAnswer")));
}

#[tokio::test]
async fn a_new_version_of_an_image_with_a_port_of_its_own_runs_beside_the_old() {
    let cloud = Cloud::start();
    let free: SocketAddr = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    };
    let config = Config { port: Some(free.port()), ..Config::default() };
    shop(&cloud, config.clone()).await;
    let provider = cloud.provider();
    let second =
        function(&*provider, "shop").version(&image::answering(cloud.registry(), "two"), config).await;
    assert_eq!(get(cloud.functions(), "/shop/live").text(), "one");
    assert_eq!(get(cloud.functions(), &format!("/shop/{second}")).text(), "two");
}
