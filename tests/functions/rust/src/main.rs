//! Does what its event asks for, so that a test can see every way in which a function ends.

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (event, context) = event.into_parts();
    match event["do"].as_str() {
        Some("fail") => Err("as it was asked to".into()),
        Some("crash") => std::process::exit(3),
        Some("sleep") => {
            tokio::time::sleep(Duration::from_millis(event["ms"].as_u64().unwrap_or(0))).await;
            Ok(json!({ "slept": event["ms"] }))
        }
        Some("environment") => Ok(std::env::vars().map(|(key, value)| (key, json!(value))).collect()),
        Some("context") => Ok(json!({
            "function": context.env_config.function_name,
            "version": context.env_config.version,
            "memory": context.env_config.memory,
            "arn": context.invoked_function_arn,
            "milliseconds_left": context.deadline.saturating_sub(now()),
        })),
        _ => Ok(json!({ "you_sent": event })),
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(since.as_millis()).expect("a clock of this age")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}
