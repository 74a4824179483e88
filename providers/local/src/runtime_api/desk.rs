//! Where an event lies until its process takes it, and its answer until somebody fetches it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::answer::Reply;
use super::event::{Event, RequestId};

/// One process's desk. At most one event lies on it; whoever hands one in sees to that.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    sign: Option<Sign>,
    /// An event that the process did not take yet.
    waiting: Option<(Arc<Event>, oneshot::Sender<Reply>)>,
    turn: Turn,
}

/// What the process is at.
#[derive(Debug, Default)]
enum Turn {
    /// It was never given anything.
    #[default]
    Unused,
    /// It has this event and did not begin to answer it.
    Running(Arc<Event>, oneshot::Sender<Reply>),
    /// It answered this one, or is just doing it.
    Answered(RequestId),
}

/// The first that is heard of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It asked for an event: it can serve.
    Asked,
    /// It says that it cannot serve, in JSON.
    Failed(Bytes),
}

/// Why a request of the process's is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// It names an event that it does not have.
    WrongId,
    /// It is out of turn.
    OutOfTurn { from: &'static str, to: &'static str },
}

impl Desk {
    /// Waits for the first that is heard of the process.
    pub(crate) async fn sign(&self) -> Sign {
        loop {
            let changed = self.changed.notified();
            if let Some(sign) = self.state().sign.clone() {
                return sign;
            }
            changed.await;
        }
    }

    /// Lays an event on the desk. The reply comes once the process has answered; an error comes in its place when the
    /// process's answer broke off, or the desk went away.
    pub(crate) fn hand_in(&self, event: Event) -> oneshot::Receiver<Reply> {
        let (sender, reply) = oneshot::channel();
        self.state().waiting = Some((Arc::new(event), sender));
        self.changed.notify_waiters();
        reply
    }

    /// Takes back an event that the process did not take: nobody has seen it.
    pub(crate) fn take_back(&self) -> Option<Event> {
        let (event, _) = self.state().waiting.take()?;
        Some(Arc::unwrap_or_clone(event))
    }

    /// The process asks for an event: waits for the next one. While it has one that it did not answer, it gets the same
    /// again.
    pub(super) async fn next(&self) -> Arc<Event> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                if state.sign.is_none() {
                    state.sign = Some(Sign::Asked);
                    self.changed.notify_waiters();
                }
                if let Turn::Running(event, _) = &state.turn {
                    return Arc::clone(event);
                }
                if let Some((event, reply)) = state.waiting.take() {
                    state.turn = Turn::Running(Arc::clone(&event), reply);
                    return event;
                }
            }
            changed.await;
        }
    }

    /// The process begins to answer event `id`; `to` is the word for it.
    pub(super) fn answer(&self, id: &str, to: &'static str) -> Result<oneshot::Sender<Reply>, Refused> {
        let mut state = self.state();
        match std::mem::take(&mut state.turn) {
            Turn::Running(event, reply) if event.id.as_str() == id => {
                state.turn = Turn::Answered(event.id.clone());
                Ok(reply)
            }
            Turn::Answered(answered) if answered.as_str() == id => {
                state.turn = Turn::Answered(answered);
                let from = if to == RESPONSE { "RuntimeResponseSentState" } else { "InvocationResponse" };
                Err(Refused::OutOfTurn { from, to })
            }
            other => {
                state.turn = other;
                Err(Refused::WrongId)
            }
        }
    }

    /// The process says that it cannot serve.
    pub(super) fn fail(&self, why: Bytes) -> Result<(), Refused> {
        let mut state = self.state();
        if state.sign.is_some() {
            return Err(Refused::OutOfTurn { from: "Running", to: "InitError" });
        }
        state.sign = Some(Sign::Failed(why));
        self.changed.notify_waiters();
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The words for the two ways to answer.
pub(super) const RESPONSE: &str = "InvocationResponse";
pub(super) const ERROR: &str = "InvocationErrorResponse";

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use jiff::Timestamp;

    use super::*;

    fn event(payload: &'static str) -> Event {
        Event {
            id: RequestId::generate(),
            payload: Bytes::from_static(payload.as_bytes()),
            deadline: Timestamp::UNIX_EPOCH,
            arn: String::new(),
            trace: String::new(),
            client_context: None,
        }
    }

    #[tokio::test]
    async fn an_event_is_taken_answered_and_followed_by_the_next() {
        let desk = Desk::default();
        assert!(desk.next().now_or_never().is_none(), "there is nothing yet");
        assert_eq!(desk.sign().now_or_never(), Some(Sign::Asked));
        let mut reply = desk.hand_in(event("one"));
        let taken = desk.next().await;
        assert_eq!(desk.next().await.id, taken.id, "it is given the same again until it answers");
        assert!(reply.try_recv().is_err());
        desk.answer(taken.id.as_str(), RESPONSE).unwrap().send(Reply::TooLarge).unwrap();
        assert!(matches!(reply.await, Ok(Reply::TooLarge)));
        drop(desk.hand_in(event("two")));
        assert_eq!(&desk.next().await.payload[..], b"two");
    }

    #[tokio::test]
    async fn an_answer_to_nothing_is_refused() {
        let desk = Desk::default();
        assert_eq!(desk.answer("x", RESPONSE).err(), Some(Refused::WrongId));
        let _reply = desk.hand_in(event("one"));
        let taken = desk.next().await;
        assert_eq!(desk.answer("x", RESPONSE).err(), Some(Refused::WrongId));
        let _sender = desk.answer(taken.id.as_str(), ERROR).unwrap();
        let again = desk.answer(taken.id.as_str(), RESPONSE).err();
        assert_eq!(
            again,
            Some(Refused::OutOfTurn { from: "RuntimeResponseSentState", to: "InvocationResponse" })
        );
    }

    #[tokio::test]
    async fn an_event_that_nobody_took_can_be_had_back() {
        let desk = Desk::default();
        let reply = desk.hand_in(event("one"));
        assert_eq!(&desk.take_back().unwrap().payload[..], b"one");
        assert!(reply.await.is_err());
        let _reply = desk.hand_in(event("two"));
        desk.next().await;
        assert!(desk.take_back().is_none(), "the process has it");
    }

    #[tokio::test]
    async fn a_process_fails_at_its_start_once_and_never_after_it() {
        let desk = Desk::default();
        desk.fail(Bytes::from_static(b"{}")).unwrap();
        assert_eq!(desk.sign().await, Sign::Failed(Bytes::from_static(b"{}")));
        let desk = Desk::default();
        assert!(desk.next().now_or_never().is_none());
        assert!(desk.fail(Bytes::new()).is_err());
    }
}
