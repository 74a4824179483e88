//! The same program under AWS's runtime interface emulator and under our runtime API: the same answers, but for what is
//! listed and justified here.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Answer, Scratch, http, until};
use crate::{Runtime, Shop, functions, tools};

/// The emulator with the Rust function, ended with the value.
struct Emulator {
    child: Child,
    url: String,
    _scratch: Scratch,
}

impl Emulator {
    fn start() -> Option<Self> {
        let (program, function) = (tools()?.join("aws-lambda-rie"), functions()?.join("bootstrap"));
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (outer, inner) = (free(), free());
        let scratch = Scratch::empty();
        let child = Command::new(program)
            .args(["--runtime-interface-emulator-address", &outer, "--runtime-api-address", &inner])
            .arg(function)
            .current_dir(scratch.path())
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "2")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the emulator starts");
        let url = format!("http://{outer}/2015-03-31/functions/function/invocations");
        until("the emulator", || http("GET", &url, "").ok());
        Some(Self { child, url, _scratch: scratch })
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an answer says, without what differs from one request to the next.
fn told(answer: &Answer) -> Value {
    let hidden = |text: &str| -> String {
        let words = text.split(' ').map(|word| {
            let is_id = word.len() == 36 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
            if is_id { "ID" } else { word }
        });
        words.collect::<Vec<_>>().join(" ")
    };
    match serde_json::from_str(&answer.body) {
        Ok(Value::Object(mut fields)) => {
            if let Some(Value::String(message)) = fields.get_mut("errorMessage") {
                *message = hidden(message);
            }
            Value::Object(fields)
        }
        Ok(other) => other,
        Err(_) => Value::String(hidden(&answer.body)),
    }
}

/// An event, and how our answer may differ from the emulator's.
struct Case {
    event: &'static str,
    /// What the function does with it, and for what reason our answer is another one where it is.
    why: &'static str,
    /// The emulator's status, and ours.
    status: [u16; 2],
    /// Our body where it is not the emulator's.
    ours: Option<fn(&Value) -> Value>,
    /// Our `X-Amz-Function-Error`; the emulator never sends that header.
    function_error: Option<&'static str>,
}

const CASES: &[Case] = &[
    Case { event: r#"{"a":1}"#, why: "it answers", status: [200, 200], ours: None, function_error: None },
    Case {
        event: r#"{"do":"fail"}"#,
        why: "it reports an error; the cloud marks that in a header which the emulator leaves out",
        status: [200, 200],
        ours: None,
        function_error: Some("Unhandled"),
    },
    Case {
        event: r#"{"do":"crash"}"#,
        why: "it ends; the emulator answers 502, and the cloud 200 with the header, as we do",
        status: [502, 200],
        ours: None,
        function_error: Some("Unhandled"),
    },
    Case {
        event: r#"{"a":2}"#,
        why: "another process answers",
        status: [200, 200],
        ours: None,
        function_error: None,
    },
    Case {
        event: r#"{"do":"sleep","ms":20000}"#,
        why: "it takes too long; the emulator answers with bare text, and the cloud with an error document, as we do",
        status: [200, 200],
        ours: Some(|emulator| {
            assert_eq!(emulator, "Task timed out after 2.00 seconds");
            json!({ "errorType": "Sandbox.Timedout", "errorMessage": "RequestId: ID Error: Task timed out after 2.00 seconds" })
        }),
        function_error: Some("Unhandled"),
    },
    Case {
        event: r#"{"a":3}"#,
        why: "another process answers",
        status: [200, 200],
        ours: None,
        function_error: None,
    },
];

#[test]
fn the_emulator_and_our_runtime_api_give_the_same_answers() {
    let Some(emulator) = Emulator::start() else { return };
    let Some(shop) = Shop::deployed(Runtime::Own) else { return };
    let ours = format!("{}/2015-03-31/functions/shop-rust/invocations?Qualifier=live", shop.endpoint());
    for case in CASES {
        let theirs = http("POST", &emulator.url, case.event).expect("the emulator answers");
        let answer = http("POST", &ours, case.event).expect("we answer");
        let what = format!("{} ({}): {} / {}", case.event, case.why, theirs.body, answer.body);
        assert_eq!([theirs.status, answer.status], case.status, "{what}");
        let expected = told(&theirs);
        let expected = case.ours.map_or_else(|| expected.clone(), |ours| ours(&expected));
        assert_eq!(told(&answer), expected, "{what}");
        assert_eq!(answer.header("x-amz-function-error"), case.function_error, "{what}");
        assert_eq!(theirs.header("x-amz-function-error"), None, "{what}");
        assert_eq!(answer.header("x-amz-executed-version"), Some("1"), "{what}");
    }
}
