//! What came of one event, and how a failure is told.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use crate::runner::Exit;
use crate::runtime_api::{Broken, PAYLOAD_LIMIT, RequestId, Streamed};

/// What came of one event.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The function's answer.
    Answered(Bytes),
    /// The function's answer, in pieces.
    Streamed(Streamed),
    /// The function failed, and this is how it is told, in JSON.
    Failed(Fault, Bytes),
}

/// The ways to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The function said so itself.
    Function,
    /// Its process ended before it answered.
    Crash,
    /// It did not answer in its time, and its process was killed.
    Timeout,
    /// It answered with more than an answer may have.
    TooLarge,
    /// Its answer broke off.
    Truncated,
}

impl Fault {
    /// The word for it in our own header.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Function => "FunctionError",
            Self::Crash => "NoAnswer",
            Self::Timeout => "Timeout",
            Self::TooLarge => "ResponseTooLarge",
            Self::Truncated => "ResponseBrokeOff",
        }
    }
}

#[derive(Serialize)]
struct Told {
    #[serde(rename = "errorType")]
    kind: &'static str,
    #[serde(rename = "errorMessage")]
    message: String,
}

fn failed(fault: Fault, kind: &'static str, message: String) -> Outcome {
    let told = serde_json::to_vec(&Told { kind, message }).unwrap_or_default();
    Outcome::Failed(fault, told.into())
}

/// The process ended.
pub(crate) fn crashed(id: &RequestId, exit: Exit) -> Outcome {
    let how = match exit {
        Exit::Status(0) => "Runtime exited without providing a reason".to_owned(),
        Exit::Status(status) => format!("Runtime exited with error: exit status {status}"),
        Exit::Memory(_) => "Runtime exited with error: signal: killed".to_owned(),
        Exit::Signal(signal) => format!("Runtime exited with error: signal: {}", signal_name(signal)),
    };
    failed(Fault::Crash, "Runtime.ExitError", format!("RequestId: {id} Error: {how}"))
}

/// The process does not come up.
pub(crate) fn does_not_start(id: &RequestId, why: &str) -> Outcome {
    failed(Fault::Crash, "Runtime.ExitError", format!("RequestId: {id} Error: {why}"))
}

/// The time was over.
pub(crate) fn timed_out(id: &RequestId, timeout: Duration) -> Outcome {
    let message = format!("RequestId: {id} Error: Task timed out after {:.2} seconds", timeout.as_secs_f64());
    failed(Fault::Timeout, "Sandbox.Timedout", message)
}

/// The answer was too large.
pub(crate) fn too_large() -> Outcome {
    let message =
        format!("Response payload size exceeded maximum allowed payload size ({PAYLOAD_LIMIT} bytes).");
    failed(Fault::TooLarge, "Function.ResponseSizeTooLarge", message)
}

/// The answer broke off, and the process lives.
pub(crate) fn truncated(id: &RequestId) -> Outcome {
    failed(
        Fault::Truncated,
        "Runtime.TruncatedResponse",
        format!("RequestId: {id} Error: the answer broke off"),
    )
}

/// A streamed answer ended before its end.
pub(crate) fn broken(broken: &Broken) -> Outcome {
    let (fault, kind) = match broken {
        Broken::Failed(_) => (Fault::Function, "Function.StreamError"),
        Broken::BrokeOff => (Fault::Truncated, "Runtime.TruncatedResponse"),
        Broken::TimedOut => (Fault::Timeout, "Sandbox.Timedout"),
    };
    failed(fault, kind, broken.to_string())
}

/// The words that AWS has for a signal.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        4 => "illegal instruction",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        11 => "segmentation fault",
        15 => "terminated",
        other => return other.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(outcome: Outcome) -> (Fault, serde_json::Value) {
        let Outcome::Failed(fault, told) = outcome else { panic!("{outcome:?}") };
        (fault, serde_json::from_slice(&told).unwrap())
    }

    #[test]
    fn failures_are_told_as_aws_tells_them() {
        let id = RequestId::generate();
        for (outcome, fault, kind, message) in [
            (
                crashed(&id, Exit::Status(9)),
                Fault::Crash,
                "Runtime.ExitError",
                format!("RequestId: {id} Error: Runtime exited with error: exit status 9"),
            ),
            (
                crashed(&id, Exit::Status(0)),
                Fault::Crash,
                "Runtime.ExitError",
                format!("RequestId: {id} Error: Runtime exited without providing a reason"),
            ),
            (
                crashed(&id, Exit::Signal(9)),
                Fault::Crash,
                "Runtime.ExitError",
                format!("RequestId: {id} Error: Runtime exited with error: signal: killed"),
            ),
            (
                timed_out(&id, Duration::from_secs(3)),
                Fault::Timeout,
                "Sandbox.Timedout",
                format!("RequestId: {id} Error: Task timed out after 3.00 seconds"),
            ),
            (
                too_large(),
                Fault::TooLarge,
                "Function.ResponseSizeTooLarge",
                "Response payload size exceeded maximum allowed payload size (6291556 bytes).".to_owned(),
            ),
        ] {
            let (was, value) = told(outcome);
            assert_eq!(was, fault);
            assert_eq!(value, serde_json::json!({ "errorType": kind, "errorMessage": message }));
        }
    }
}
