//! Functions that ask for events, through the daemon's real HTTP, and events to functions that answer HTTP.

mod support;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_contract::{Config, ErrorKind, Payload, Qualifier, Routing, Traffic, Version};
use serde_json::{Value, json};

use support::http::{Answer, Connection, call, get};
use support::{Cloud, Function, image, order};

fn shop(provider: &dyn longshore_contract::Provider) -> Function<'_> {
    Function { provider, name: "shop".parse().expect("a name") }
}

fn raw(fields: Value) -> Config {
    Config { raw: serde_json::from_value(fields).expect("fields"), ..Config::default() }
}

/// A cloud whose function `shop` asks for events, under `live`.
async fn asking(config: Config) -> (Cloud, Version) {
    let cloud = Cloud::start();
    let provider = cloud.provider();
    let shop = shop(&*provider);
    let version = shop.version(&image::asking(cloud.registry()), config).await;
    shop.route(Routing::All(version.clone())).await;
    (cloud, version)
}

/// What was counted.
async fn traffic(cloud: &Cloud) -> Vec<Traffic> {
    let embedded = longshore_local::registration().embedded.expect("it is embedded");
    embedded.status(&cloud.settings()).await.expect("it runs").expect("it runs").traffic
}

fn invoke_with(cloud: &Cloud, name: &str, headers: &[(&str, &str)], event: &[u8]) -> Answer {
    call(cloud.functions(), "POST", &format!("/2015-03-31/functions/{name}"), headers, event)
}

fn invoke(cloud: &Cloud, event: &Value) -> Answer {
    invoke_with(cloud, "shop/invocations?Qualifier=live", &[], event.to_string().as_bytes())
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {}", answer.text()))
}

/// Somebody whom a function waits for.
struct Holder(TcpListener);

impl Holder {
    fn open() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    fn event(&self) -> Value {
        json!({ "do": "hold", "port": self.0.local_addr().expect("an address").port().to_string() })
    }

    /// Waits until a function came; it waits for as long as the stream is held.
    fn wait(&self) -> std::net::TcpStream {
        self.0.accept().expect("a function comes").0
    }
}

#[tokio::test]
async fn an_event_comes_with_what_a_runtime_asks_for_and_its_answer_goes_back() {
    let (cloud, version) = asking(Config::default()).await;
    let context = STANDARD.encode("{\"client\":1}");
    let headers = [
        ("x-amz-client-context", context.as_str()),
        ("x-amz-log-type", "Tail"),
        ("authorization", "AWS4-HMAC-SHA256 Credential=…"),
    ];
    let answer = invoke_with(&cloud, "shop/invocations?Qualifier=live", &headers, b"{\"a\": 1}");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-amz-executed-version"), Some(version.as_str()));
    assert_eq!(answer.header("x-amz-function-error"), None);
    let id = answer.header("x-amzn-requestid").expect("an id").to_owned();
    let told = json_of(&answer);
    assert_eq!(told["event"], json!({ "a": 1 }));
    assert_eq!(told["arn"], "arn:aws:lambda:us-east-1:012345678912:function:shop:live");
    assert_eq!(told["context"], "{'client':1}");
    assert!(told["trace"].as_str().expect("a trace").starts_with("Root=1-"), "{told}");
    let now = jiff::Timestamp::now().as_millisecond();
    let left = told["deadline"].as_i64().expect("a deadline") - now;
    assert!((20_000..=30_000).contains(&left), "the deadline is {left} ms away");
    let log = STANDARD.decode(answer.header("x-amz-log-result").expect("a log")).expect("Base64");
    let log = String::from_utf8(log).expect("text");
    assert!(log.starts_with(&format!("START RequestId: {id} Version: {version}\n")), "{log}");
    assert!(log.contains(&format!("\nEND RequestId: {id}\nREPORT RequestId: {id}\tDuration: ")), "{log}");
    // The same process takes the next one.
    assert_eq!(json_of(&invoke(&cloud, &json!({})))["pid"], told["pid"]);
}

#[tokio::test]
async fn an_invocations_log_has_the_line_that_was_written_just_before_the_answer() {
    let (cloud, _) = asking(Config::default()).await;
    for number in 0..20 {
        let event = json!({ "do": "say", "text": format!("line {number}") }).to_string();
        let tail = [("x-amz-log-type", "Tail")];
        let answer = invoke_with(&cloud, "shop/invocations", &tail, event.as_bytes());
        let log = STANDARD.decode(answer.header("x-amz-log-result").expect("a log")).expect("Base64");
        let log = String::from_utf8(log).expect("text");
        let lines: Vec<&str> = log.lines().filter(|line| line.starts_with("line ")).collect();
        assert_eq!(lines, [format!("line {number}")], "{log}");
    }
}

#[tokio::test]
async fn every_form_of_a_functions_name_is_answered() {
    let (cloud, _) = asking(Config::default()).await;
    for (name, executed) in [
        ("shop/invocations", "$LATEST"),
        ("shop:live/invocations", "1"),
        ("shop/invocations?Qualifier=1", "1"),
        ("shop/invocations?Qualifier=%24LATEST", "$LATEST"),
        ("arn%3Aaws%3Alambda%3Aus-east-1%3A012345678912%3Afunction%3Ashop/invocations?Qualifier=live", "1"),
    ] {
        let answer = invoke_with(&cloud, name, &[], b"{}");
        assert_eq!((answer.status, answer.header("x-amz-executed-version")), (200, Some(executed)), "{name}");
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_carried_out_is_refused_in_awss_words() {
    let (cloud, _) = asking(Config::default()).await;
    let kind = |answer: &Answer| answer.header("x-amzn-errortype").map(str::to_owned);
    let nobody = invoke_with(&cloud, "nobody/invocations", &[], b"{}");
    assert_eq!((nobody.status, kind(&nobody).as_deref()), (404, Some("ResourceNotFoundException")));
    assert_eq!(
        json_of(&nobody)["Message"],
        "Function not found: arn:aws:lambda:us-east-1:012345678912:function:nobody"
    );
    for name in ["shop/invocations?Qualifier=nobody", "shop/invocations?Qualifier=7"] {
        assert_eq!(invoke_with(&cloud, name, &[], b"{}").status, 404, "{name}");
    }
    let unread = invoke_with(&cloud, "shop/invocations", &[], b"{nonsense");
    assert_eq!((unread.status, kind(&unread).as_deref()), (400, Some("InvalidRequestContentException")));
    let two = invoke_with(&cloud, "shop:live/invocations?Qualifier=1", &[], b"{}");
    assert_eq!((two.status, kind(&two).as_deref()), (400, Some("InvalidParameterValueException")));
    let large = vec![b' '; 6 * 1024 * 1024 + 101];
    let large = invoke_with(&cloud, "shop/invocations", &[], &large);
    assert_eq!((large.status, kind(&large).as_deref()), (413, Some("RequestTooLargeException")));
    let dry = invoke_with(&cloud, "shop/invocations", &[("x-amz-invocation-type", "DryRun")], b"{}");
    assert_eq!(dry.status, 204);
}

#[tokio::test]
async fn an_event_that_nobody_waits_for_is_delivered() {
    let (cloud, _) = asking(Config::default()).await;
    let holder = Holder::open();
    let event = holder.event().to_string();
    let kind = [("x-amz-invocation-type", "Event")];
    let answer = invoke_with(&cloud, "shop/invocations", &kind, event.as_bytes());
    assert_eq!((answer.status, answer.text().as_str()), (202, ""));
    drop(holder.wait());
}

#[tokio::test]
async fn failures_of_the_functions_own_are_told_apart() {
    let (cloud, version) =
        asking(Config { timeout: Some(Duration::from_secs(1)), ..Config::default() }).await;
    let mut before = json_of(&invoke(&cloud, &json!({})))["pid"].clone();
    for (event, kind, message, word, survives) in [
        (json!({ "do": "error" }), "Shop.OutOfStock", "no more of them", "FunctionError", true),
        (
            json!({ "do": "exit", "code": "9" }),
            "Runtime.ExitError",
            "Error: Runtime exited with error: exit status 9",
            "NoAnswer",
            false,
        ),
        (
            json!({ "do": "never" }),
            "Sandbox.Timedout",
            "Error: Task timed out after 1.00 seconds",
            "Timeout",
            false,
        ),
        (
            json!({ "do": "large" }),
            "Function.ResponseSizeTooLarge",
            "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
            "ResponseTooLarge",
            true,
        ),
    ] {
        let answer = invoke(&cloud, &event);
        assert_eq!(
            (answer.status, answer.header("x-amz-function-error"), answer.header("x-longshore-error")),
            (200, Some("Unhandled"), Some(word)),
            "{event}"
        );
        assert_eq!(answer.header("x-amz-executed-version"), Some(version.as_str()));
        let told = json_of(&answer);
        assert_eq!(told["errorType"], kind);
        assert!(told["errorMessage"].as_str().expect("a message").ends_with(message), "{told}");
        let after = json_of(&invoke(&cloud, &json!({})))["pid"].clone();
        assert_eq!(after == before, survives, "{event}: {before}, then {after}");
        before = after;
    }
    let traffic = traffic(&cloud).await;
    let [row] = traffic.as_slice() else { panic!("{:?}", traffic) };
    assert_eq!((row.invocations, row.errors, row.instances), (9, 4, 1), "{row:?}");
}

#[tokio::test]
async fn an_http_request_becomes_an_event_and_its_answer_an_answer() {
    let (cloud, version) = asking(Config::default()).await;
    let headers = [("content-type", "text/plain"), ("cookie", "a=1; b=2"), ("x-own", "1")];
    let answer = call(cloud.functions(), "POST", "/shop/live/my/path?q=1&q=2", &headers, b"Hello");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("x-longshore-version"), Some(version.as_str()));
    let event = &json_of(&answer)["event"];
    assert_eq!((&event["version"], &event["rawPath"]), (&json!("2.0"), &json!("/my/path")));
    assert_eq!(event["queryStringParameters"], json!({ "q": "1,2" }));
    assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("Hello"), &json!(false)));
    assert_eq!(event["headers"]["x-own"], "1");
    assert_eq!(event["headers"]["x-forwarded-prefix"], "/shop/live");
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
}

/// The answer to an HTTP request whose event has these fields.
fn request(cloud: &Cloud, fields: &[(&str, &str)]) -> Answer {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    get(cloud.functions(), &format!("/shop/live?{query}"))
}

#[tokio::test]
async fn an_answer_with_a_status_is_taken_at_its_word_and_one_that_is_none_is_a_502() {
    let (cloud, _) = asking(Config { timeout: Some(Duration::from_secs(1)), ..Config::default() }).await;
    let answer = r#"{"statusCode": 201, "headers": {"X-Own": "yes"}, "cookies": ["a=1", "b=2"], "body": "aGk=", "isBase64Encoded": true}"#;
    let shaped = request(&cloud, &[("do", "raw"), ("answer", answer)]);
    assert_eq!((shaped.status, shaped.text().as_str(), shaped.header("x-own")), (201, "hi", Some("yes")));
    let cookies: Vec<&str> = shaped
        .headers
        .iter()
        .filter(|(name, _)| name == "set-cookie")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    for (fields, word) in [
        (&[("do", "raw"), ("answer", "nonsense")][..], "MalformedResponse"),
        (&[("do", "raw"), ("answer", r#"{"statusCode": 9}"#)], "MalformedResponse"),
        (&[("do", "error")], "FunctionError"),
        (&[("do", "exit"), ("code", "0")], "NoAnswer"),
        (&[("do", "never")], "Timeout"),
    ] {
        let failed = request(&cloud, fields);
        assert_eq!((failed.status, failed.text().as_str()), (502, "Internal Server Error"), "{fields:?}");
        assert_eq!(failed.header("x-longshore-error"), Some(word));
        assert_eq!(failed.header("x-longshore-version"), Some("1"));
    }
    let traffic = traffic(&cloud).await;
    assert_eq!((traffic[0].invocations, traffic[0].errors), (6, 5), "{:?}", traffic);
}

#[tokio::test]
async fn an_answer_may_come_in_pieces_and_break_off() {
    let (cloud, _) = asking(Config::default()).await;
    let streamed = request(&cloud, &[("do", "stream")]);
    assert_eq!((streamed.status, streamed.header("content-type")), (201, Some("text/plain")));
    assert_eq!(streamed.text(), "onetwo");
    for what in ["break", "half"] {
        let mut connection = Connection::open(cloud.functions());
        connection.send(format!("GET /shop/live?do={what} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes());
        assert_eq!(connection.head().0, 201, "{what}");
        assert_eq!(connection.piece().as_deref(), Some(&b"one"[..]), "{what}");
        assert!(connection.ends_early(), "{what} has no end");
    }
    let whole = invoke(&cloud, &json!({ "do": "stream" }));
    assert_eq!(whole.status, 200);
    assert!(whole.text().ends_with("\0\0\0\0\0\0\0\0onetwo"), "{}", whole.text());
    let broken = invoke(&cloud, &json!({ "do": "break" }));
    assert_eq!(broken.header("x-amz-function-error"), Some("Unhandled"));
    assert!(broken.text().contains("Shop.Broke"), "{}", broken.text());
}

#[tokio::test]
async fn a_request_that_is_too_large_for_an_event_is_refused() {
    let (cloud, _) = asking(Config::default()).await;
    let body = vec![b'x'; 6 * 1024 * 1024 + 101];
    let answer = call(cloud.functions(), "POST", "/shop/live", &[("content-type", "text/plain")], &body);
    assert_eq!((answer.status, answer.header("x-longshore-error")), (413, Some("TooLarge")));
}

#[tokio::test]
async fn the_runtime_api_says_no_as_awss_does() {
    let (cloud, _) = asking(Config::default()).await;
    let told = json_of(&invoke(&cloud, &json!({ "do": "wrong-id" })));
    let body = json!({ "errorMessage": "Invalid request ID", "errorType": "InvalidRequestID" });
    assert_eq!(told, json!({ "status": 400, "body": body }));
    let told = json_of(&invoke(&cloud, &json!({ "do": "extension" })));
    assert_eq!((&told["status"], &told["body"]["errorType"]), (&json!(404), &json!("Extension.NotOffered")));
}

#[tokio::test]
async fn a_runtime_finds_its_variables() {
    let config =
        Config { handler: Some("app.main".to_owned()), memory: Some(256 << 20), ..Config::default() };
    let (cloud, version) = asking(config).await;
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_NAME", "shop"),
        ("AWS_LAMBDA_FUNCTION_VERSION", version.as_str()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("_HANDLER", "app.main"),
        ("AWS_REGION", "us-east-1"),
    ] {
        assert_eq!(json_of(&invoke(&cloud, &json!({ "do": "env", "name": name }))), value, "{name}");
    }
}

#[tokio::test]
async fn an_image_that_cannot_start_says_why_in_its_own_words() {
    let cloud = Cloud::start();
    let provider = cloud.provider();
    for (argument, kind, told) in [
        ("init-error", None, "could not start it: Runtime.NoSuchHandler: there is no app.main"),
        ("exit", None, "exited with status 3 before it listened on port"),
        (
            "exit",
            Some("lambda"),
            "exited with status 3 before it asked for an event; its last lines: | cannot find",
        ),
        ("silent", None, "neither listened on port"),
    ] {
        let image = image::push(cloud.registry(), &["/lambda", argument], &[]);
        let config = kind.map_or_else(Config::default, |kind| raw(json!({ "kind": kind })));
        let name = format!("shop-{argument}{}", kind.unwrap_or_default()).parse().expect("a name");
        let error = provider.functions().release(&order(&name, &image, config)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Failed, "{error}");
        assert!(error.message.contains(told), "{argument}: {error}");
    }
}

#[tokio::test]
async fn a_field_that_this_cloud_does_not_have_is_refused() {
    let cloud = Cloud::start();
    let provider = cloud.provider();
    let image = image::asking(cloud.registry());
    let name = "shop".parse().expect("a name");
    let error = provider.functions().release(&order(&name, &image, raw(json!({ "kind": "zip" })))).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("config.raw.kind: it has to be http, lambda, scf or fc"), "{error}");
}

#[tokio::test]
async fn instances_come_with_the_requests_up_to_the_limit_and_the_next_is_turned_away() {
    let (cloud, version) = asking(raw(json!({ "instances": 2 }))).await;
    let address = cloud.functions();
    let holders = [Holder::open(), Holder::open()];
    let asked: Vec<_> = holders
        .iter()
        .map(|holder| {
            let event = holder.event().to_string();
            std::thread::spawn(move || {
                let path = "/2015-03-31/functions/shop/invocations?Qualifier=live";
                call(address, "POST", path, &[], event.as_bytes())
            })
        })
        .collect();
    let held = holders.each_ref().map(Holder::wait);
    let third = invoke(&cloud, &json!({}));
    assert_eq!((third.status, third.header("x-amzn-errortype")), (429, Some("TooManyRequestsException")));
    assert_eq!(json_of(&third)["Reason"], "ReservedFunctionConcurrentInvocationLimitExceeded");
    let over_http = get(address, "/shop/live");
    assert_eq!((over_http.status, over_http.header("x-longshore-error")), (429, Some("Throttled")));
    // One that waits gets the instance that comes free.
    let waits = std::thread::spawn(move || get(address, "/shop/live").status);
    drop(held);
    assert_eq!(waits.join().expect("it ends"), 200);
    let pids: Vec<Value> =
        asked.into_iter().map(|asked| json_of(&asked.join().expect("it ends"))["pid"].clone()).collect();
    assert_ne!(pids[0], pids[1], "one event at a time");
    let traffic = traffic(&cloud).await;
    let row = &traffic[0];
    assert_eq!((&row.version, row.invocations, row.errors, row.instances), (&version, 3, 0, 2), "{row:?}");
}

#[tokio::test]
async fn a_request_under_way_comes_to_its_end_when_the_alias_moves_on() {
    let (cloud, _) = asking(Config::default()).await;
    let provider = cloud.provider();
    let shop = shop(&*provider);
    let (address, holder) = (cloud.functions(), Holder::open());
    let port = holder.0.local_addr().expect("an address").port();
    let asked = std::thread::spawn(move || get(address, &format!("/shop/live?do=hold&port={port}")));
    let held = holder.wait();
    let second = shop.version(&image::answering(cloud.registry(), "two"), Config::default()).await;
    shop.route(Routing::All(second)).await;
    assert_eq!(get(address, "/shop/live").text(), "two", "the kind is each version's own");
    drop(held);
    let answer = asked.join().expect("it ends");
    assert_eq!((answer.status, answer.header("x-longshore-version")), (200, Some("1")));
}

#[tokio::test]
async fn a_cold_start_is_paid_once_by_all_who_wait_for_it() {
    let mut cloud = Cloud::start();
    let provider = cloud.provider();
    let shop = shop(&*provider);
    let image = image::push(cloud.registry(), &["/function", "late"], &["ANSWER=one"]);
    let version = shop.version(&image, Config::default()).await;
    shop.route(Routing::All(version)).await;
    cloud.kill_and_start_again();
    let address: SocketAddr = cloud.functions();
    let asked: Vec<_> = (0..8).map(|_| std::thread::spawn(move || get(address, "/shop/live/pid"))).collect();
    let mut pids: Vec<String> =
        asked.into_iter().map(|asked| asked.join().expect("it ends").text()).collect();
    pids.dedup();
    assert_eq!(pids.len(), 1, "{pids:?}");
}

#[tokio::test]
async fn an_image_made_for_scf_gets_events_where_it_expects_them() {
    let cloud = Cloud::start();
    let provider = cloud.provider();
    let shop = shop(&*provider);
    let image = image::push(cloud.registry(), &["/function"], &["EVENTS=/event-invoke"]);
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let stated = Config { port: Some(free), memory: Some(64 << 20), ..raw(json!({ "kind": "scf" })) };
    // Told so, and found out.
    for config in [stated, raw(json!({ "instances": 1 }))] {
        let version = shop.version(&image, config).await;
        shop.route(Routing::All(version.clone())).await;
        for _ in 0..2 {
            let answer = invoke(&cloud, &json!({ "a": 1 }));
            assert_eq!((answer.status, answer.header("x-longshore-status")), (200, Some("200")));
            let head = answer.text().to_lowercase();
            assert!(head.starts_with("post /event-invoke http/1.1\r\n"), "{head}");
            for expected in ["x-scf-request-id: ", "x-scf-name: shop\r\n", "x-scf-timeout: 30\r\n"] {
                assert!(head.contains(expected), "{expected} in {head}");
            }
        }
    }
}

#[tokio::test]
async fn an_image_made_for_fc_is_told_in_fcs_headers_once_it_is_well() {
    let cloud = Cloud::start();
    let provider = cloud.provider();
    let shop = shop(&*provider);
    let image = image::push(cloud.registry(), &["/function"], &["EVENTS=/invoke", "ANSWER=one"]);
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let config = Config {
        port: Some(free),
        handler: Some("app.main".to_owned()),
        ..raw(json!({ "kind": "fc", "health": "/health" }))
    };
    let version = shop.version(&image, config).await;
    shop.route(Routing::All(version)).await;
    assert_eq!(get(cloud.functions(), "/shop/live/health").status, 200, "it was asked before");
    let head = invoke(&cloud, &json!({})).text().to_lowercase();
    assert!(head.starts_with("post /invoke http/1.1\r\n"), "{head}");
    for expected in
        ["x-fc-request-id: ", "x-fc-function-name: shop\r\n", "x-fc-function-handler: app.main\r\n"]
    {
        assert!(head.contains(expected), "{expected} in {head}");
    }
    let head = get(cloud.functions(), "/shop/live/request").text().to_lowercase();
    assert!(head.contains("x-fc-control-path: /http-invoke\r\n"), "{head}");
}

#[tokio::test]
async fn an_invocation_of_the_command_lines_is_the_functions_own_answer() {
    let (cloud, version) = asking(Config::default()).await;
    let provider = cloud.provider();
    let (name, at) = ("shop".parse().expect("a name"), Qualifier::Alias("live".parse().expect("a name")));
    let invoke = async |event: Value| provider.functions().invoke(&name, &at, &Payload::Event(event)).await;
    let fine = invoke(json!({ "a": 1 })).await.expect("it answers");
    assert_eq!((fine.status, fine.version, fine.function_error), (200, Some(version), None));
    assert_eq!(serde_json::from_slice::<Value>(&fine.payload).expect("JSON")["event"], json!({ "a": 1 }));
    assert!(fine.log.expect("a log").contains("END RequestId: "));
    let failed = invoke(json!({ "do": "error" })).await.expect("that is an answer");
    assert_eq!((failed.status, failed.function_error.as_deref()), (200, Some("FunctionError")));
    let nobody = "nobody".parse().expect("a name");
    let error = provider.functions().invoke(&nobody, &at, &Payload::Event(json!({}))).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::NotFound, Some("ResourceNotFoundException")));
}
