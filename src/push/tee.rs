//! One reading of a blob for every destination that needs it at the same time.
//!
//! Each destination of a [`Tees`] says of every blob whether it joins; once all have, or the first has waited for
//! [`GATHERING`], the blob is read once and each piece is handed to all. Whoever keeps the others waiting for longer than
//! [`HELD_BACK`] altogether is let go and reads the rest by itself, as does whoever comes late and whoever tries again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use longshore_contract::Digest;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::reading::{Piece, Pieces, Reading};

/// How long the first to join waits for the others.
const GATHERING: Duration = Duration::from_secs(2);
/// How long one destination may keep the others waiting for one blob, altogether.
const HELD_BACK: Duration = Duration::from_secs(5);

/// The readings that several destinations of one image share.
#[derive(Debug, Default)]
pub(super) struct Tees(Mutex<HashMap<Digest, Arc<Gathering>>>);

#[derive(Debug, Default)]
struct Gathering {
    state: Mutex<State>,
    all_decided: Notify,
}

#[derive(Debug, Default)]
struct State {
    tickets: usize,
    undecided: usize,
    started: bool,
    members: Vec<mpsc::Sender<Piece>>,
}

impl Tees {
    /// One more destination's say in how `digest` is read. All are asked for before the first is used.
    pub(super) fn ticket(&self, digest: &Digest) -> Ticket {
        let mut gatherings = self.0.lock().expect("nothing panics while it holds this");
        let gathering = Arc::clone(gatherings.entry(digest.clone()).or_default());
        drop(gatherings);
        let mut state = gathering.state();
        state.tickets += 1;
        state.undecided += 1;
        drop(state);
        Ticket(Some(gathering))
    }
}

/// A destination's say: it joins, or dropping it says that it does not.
#[derive(Debug)]
pub(super) struct Ticket(Option<Arc<Gathering>>);

impl Ticket {
    /// Joins, and the pieces come once everybody has decided; `None` where there is nobody to read with.
    pub(super) fn join(mut self, reading: &Reading) -> Option<Pieces> {
        let gathering = self.0.take()?;
        let (sender, receiver) = mpsc::channel(1);
        let first = {
            let mut state = gathering.state();
            state.undecided -= 1;
            if state.started || state.tickets == 1 {
                return None;
            }
            state.members.push(sender);
            if state.undecided == 0 {
                gathering.all_decided.notify_one();
            }
            state.members.len() == 1
        };
        if first {
            let reading = reading.clone();
            tokio::spawn(async move {
                // Whoever has not decided by then is not waited for.
                let _ = tokio::time::timeout(GATHERING, gathering.all_decided.notified()).await;
                let members = {
                    let mut state = gathering.state();
                    state.started = true;
                    std::mem::take(&mut state.members)
                };
                hand_out(reading.pieces(0), members, HELD_BACK).await;
            });
        }
        Some(receiver)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(gathering) = self.0.take() {
            let mut state = gathering.state();
            state.undecided -= 1;
            if state.undecided == 0 {
                gathering.all_decided.notify_one();
            }
        }
    }
}

impl Gathering {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this")
    }
}

struct Member {
    sender: mpsc::Sender<Piece>,
    /// How long it has kept the others waiting.
    held_back: Duration,
}

/// Hands every piece to every member, as fast as the slowest takes them, until a member has kept the others waiting for
/// `patience`: that one's pieces end early. As long as all are equally slow, nobody keeps anybody waiting.
async fn hand_out(mut pieces: Pieces, members: Vec<mpsc::Sender<Piece>>, patience: Duration) {
    let mut members: HashMap<usize, Member> =
        members.into_iter().map(|sender| Member { sender, held_back: Duration::ZERO }).enumerate().collect();
    while let Some(piece) = pieces.recv().await {
        let mut taking: FuturesUnordered<_> = members
            .iter()
            .map(|(&number, member)| {
                let room = member.sender.clone().reserve_owned();
                async move { (number, room.await) }
            })
            .collect();
        let mut pending: Vec<usize> = members.keys().copied().collect();
        let mut held: Option<Instant> = None;
        while !pending.is_empty() {
            let left = |number: &usize| patience.saturating_sub(members[number].held_back);
            let until = held.map(|since| since + pending.iter().map(left).min().unwrap_or_default());
            let next = match until {
                None => taking.next().await,
                Some(until) => tokio::time::timeout_at(until, taking.next()).await.unwrap_or_default(),
            };
            let waited = held.map_or(Duration::ZERO, |since| since.elapsed());
            match next {
                Some((number, Ok(room))) => {
                    room.send(piece.clone());
                    pending.retain(|other| *other != number);
                    members.entry(number).and_modify(|member| member.held_back += waited);
                    held.get_or_insert_with(Instant::now);
                }
                // Its request has ended.
                Some((number, Err(_))) => {
                    pending.retain(|other| *other != number);
                    members.remove(&number);
                }
                None => {
                    pending.retain(|number| {
                        let goes = members[number].held_back + waited >= patience;
                        if goes {
                            tracing::info!("a slow destination reads the rest of a blob by itself");
                            members.remove(number);
                        }
                        !goes
                    });
                }
            }
        }
        drop(taking);
        if members.is_empty() {
            return;
        }
    }
}

/// The pieces of `reading` as one destination takes them: with the others as far as that goes, then by itself.
pub(super) fn pieces_with(shared: Option<Pieces>, reading: Reading) -> impl futures::Stream<Item = Piece> {
    struct Taking {
        pieces: Pieces,
        taken: u64,
        reading: Reading,
    }
    let pieces = shared.unwrap_or_else(|| reading.pieces(0));
    futures::stream::unfold(Taking { pieces, taken: 0, reading }, async |mut taking| {
        loop {
            match taking.pieces.recv().await {
                Some(Ok(piece)) => {
                    taking.taken += piece.len() as u64;
                    return Some((Ok(piece), taking));
                }
                Some(Err(error)) => return Some((Err(error), taking)),
                None if taking.taken == taking.reading.size() => return None,
                None => taking.pieces = taking.reading.pieces(taking.taken),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    async fn take(mut pieces: Pieces, count: usize) -> Vec<Bytes> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(piece) = pieces.recv().await
        {
            taken.push(piece.unwrap());
        }
        taken
    }

    fn source(count: u8) -> Pieces {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            for number in 0..count {
                if sender.send(Ok(Bytes::from(vec![number]))).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_the_others_waiting_is_let_go_and_nobody_else() {
        let (fast, taken_fast) = mpsc::channel(1);
        let (slow, mut taken_slow) = mpsc::channel(1);
        let handing = tokio::spawn(hand_out(source(50), vec![fast, slow], Duration::from_secs(5)));
        let fast = tokio::spawn(take(taken_fast, 100));
        let slow = tokio::spawn(async move {
            let mut taken = 0;
            while let Some(piece) = taken_slow.recv().await {
                assert_eq!(piece.unwrap()[0], taken);
                taken += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            taken
        });
        handing.await.unwrap();
        assert_eq!(fast.await.unwrap().len(), 50);
        // Five seconds at a second a piece, and what lay in its channel.
        assert!((5..10).contains(&slow.await.unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn equally_slow_ones_stay_together() {
        let (one, mut taken_one) = mpsc::channel(1);
        let (other, mut taken_other) = mpsc::channel(1);
        tokio::spawn(hand_out(source(30), vec![one, other], Duration::from_secs(5)));
        for number in 0..30 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(taken_one.recv().await.unwrap().unwrap()[0], number);
            assert_eq!(taken_other.recv().await.unwrap().unwrap()[0], number);
        }
        assert!(taken_one.recv().await.is_none() && taken_other.recv().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_does_not_hold_the_others() {
        let (one, taken_one) = mpsc::channel(1);
        let (other, taken_other) = mpsc::channel(1);
        tokio::spawn(hand_out(source(30), vec![one, other], Duration::from_secs(5)));
        let (one, other) = tokio::join!(take(taken_one, 100), take(taken_other, 3));
        assert_eq!((one.len(), other.len()), (30, 3));
    }
}
