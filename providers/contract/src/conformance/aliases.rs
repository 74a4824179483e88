//! Laws about aliases.

use crate::capabilities::{AliasWrites, Split};
use crate::conformance::Fixture;
use crate::conformance::care::{Ready, live, persist, read, ready, route, until_sent, write};
use crate::error::ErrorKind;
use crate::functions::{AliasWrite, Expect};
use crate::intent::RunId;
use crate::note::{Breadcrumb, Note, Progress};
use crate::routing::{Routing, Share};

/// The smallest share the cloud can split off; `None` where it cannot split.
fn granularity(fixture: &dyn Fixture) -> Option<Share> {
    match fixture.provider().capabilities().split {
        Split::None => None,
        Split::TwoWay { granularity } => Some(granularity),
    }
}

pub(super) async fn creating_an_alias_twice_conflicts(fixture: &dyn Fixture) {
    let Ready { at, second, alias, .. } = ready(fixture).await;
    let again = write(Routing::All(second), Expect::Absent);
    let error = route(fixture, &at, &again).await.expect_err("an alias is made once");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(read(fixture, &at).await, Some(alias), "a refused write changed the alias");
}

pub(super) async fn a_stale_revision_is_refused_or_noticed(fixture: &dyn Fixture) {
    let Ready { at, first, second, alias } = ready(fixture).await;
    let moved = write(Routing::All(second), Expect::Revision(alias.revision.clone()));
    let moved = route(fixture, &at, &moved).await.expect("a fresh revision is taken");
    assert_ne!(moved.revision, alias.revision, "a write that changed the alias left its revision");
    let stale = write(Routing::All(first), Expect::Revision(alias.revision));
    let error = route(fixture, &at, &stale).await.expect_err("a stale revision is not taken");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(read(fixture, &at).await, Some(moved), "a refused write changed the alias");
}

pub(super) async fn after_all_no_weight_survives(fixture: &dyn Fixture) {
    let Some(granularity) = granularity(fixture) else { return };
    let Ready { at, first, second, mut alias } = ready(fixture).await;
    for to in [first.clone(), second.clone()] {
        let split = Routing::split(first.clone(), second.clone(), granularity);
        let wanted = write(split.clone(), Expect::Revision(alias.revision));
        alias = route(fixture, &at, &wanted).await.expect("traffic can be split");
        assert_eq!(alias.routing, split);
        let wanted = write(Routing::All(to), Expect::Revision(alias.revision));
        alias = route(fixture, &at, &wanted).await.expect("all traffic can go to one version");
        assert_eq!(alias.routing, wanted.routing);
        let found = read(fixture, &at).await.expect("the alias is there");
        assert_eq!(found.routing, wanted.routing, "something of the split survived");
    }
}

pub(super) async fn a_share_comes_back_as_it_went_in_to_the_granularity(fixture: &dyn Fixture) {
    let Some(granularity) = granularity(fixture) else { return };
    let Ready { at, first, second, mut alias } = ready(fixture).await;
    let step = granularity.points();
    let steps = Share::ALL.points() / step;
    let mut shares: Vec<u16> =
        [1, steps / 20, steps / 4, steps / 3, steps / 2, steps - 1].map(|n| n * step).into();
    shares.retain(|points| (1..Share::ALL.points()).contains(points));
    for points in shares {
        let share = Share::basis_points(points).expect("less than everything");
        let split = Routing::split(first.clone(), second.clone(), share);
        let wanted = write(split.clone(), Expect::Revision(alias.revision));
        alias = route(fixture, &at, &wanted).await.expect("traffic can be split");
        let found = read(fixture, &at).await.expect("the alias is there");
        assert_eq!((&alias.routing, &found.routing), (&split, &split), "{share} did not come back");
    }
}

pub(super) async fn a_note_comes_back_as_it_went_in(fixture: &dyn Fixture) {
    let Ready { at, first, second, alias } = ready(fixture).await;
    let breadcrumb = Breadcrumb {
        run: RunId::generate(),
        progress: Progress::Open,
        prev: vec![first],
        digest: "3f9a61c0b2de".to_owned(),
    };
    let note = Note { text: "owned by ann".to_owned(), breadcrumb: Some(breadcrumb) };
    let expect = Expect::Revision(alias.revision);
    let wanted = AliasWrite { routing: Routing::All(second), expect, note: note.clone() };
    let written = route(fixture, &at, &wanted).await.expect("an alias can be moved");
    assert_eq!(written.note, note);
    assert_eq!(read(fixture, &at).await, Some(written));
}

pub(super) async fn an_alias_names_only_versions_that_exist(fixture: &dyn Fixture) {
    let Ready { at, alias, .. } = ready(fixture).await;
    let nowhere = Routing::All("99999".parse().expect("a version"));
    let wanted = write(nowhere, Expect::Revision(alias.revision.clone()));
    let error = route(fixture, &at, &wanted).await.expect_err("there is no such version");
    assert!(matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid), "{error}");
    assert_eq!(read(fixture, &at).await, Some(alias), "a refused write changed the alias");
}

pub(super) async fn a_lost_answer_leaves_at_most_one_write(fixture: &dyn Fixture) {
    let Ready { at, second, alias, .. } = ready(fixture).await;
    let wanted = write(Routing::All(second), Expect::Revision(alias.revision.clone()));
    fixture.lose_next_write();
    let error = until_sent(fixture, &at, &wanted).await;
    let error = error.expect_err("a write whose answer was lost is no success");
    assert_eq!(error.kind, ErrorKind::Indeterminate, "{error}");
    let found = read(fixture, &at).await.expect("the alias is there");
    assert_eq!(found.routing, wanted.routing, "the write was carried out");
    // Sent again it is refused: the revision it names is not there any more.
    let again = persist!(fixture.provider().functions().route(&at, &wanted));
    assert_eq!(again.expect_err("the same write is not made twice").kind, ErrorKind::Conflict);
    assert_eq!(read(fixture, &at).await, Some(found), "a repeated write changed the alias");
}

pub(super) async fn of_two_writers_on_one_revision_one_is_told(fixture: &dyn Fixture) {
    if fixture.provider().capabilities().alias_writes != AliasWrites::Atomic {
        // A cloud without a guard narrows this race and cannot close it.
        return;
    }
    let Ready { at, first, second, alias } = ready(fixture).await;
    let expect = || Expect::Revision(alias.revision.clone());
    let note = |text: &str| Note { text: text.to_owned(), breadcrumb: None };
    let one = AliasWrite { routing: Routing::All(first), expect: expect(), note: note("one") };
    let two = AliasWrite { routing: Routing::All(second), expect: expect(), note: note("two") };
    let (one, two) = both(route(fixture, &at, &one), route(fixture, &at, &two)).await;
    let (won, lost) = match (one, two) {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
        (Ok(_), Ok(_)) => panic!("two writers on one revision both won"),
        (Err(one), Err(two)) => panic!("two writers on one revision both lost: {one}; {two}"),
    };
    assert!(matches!(lost.kind, ErrorKind::Conflict | ErrorKind::Indeterminate), "{lost}");
    assert_eq!(read(fixture, &live(&at.function)).await, Some(won));
}

/// Both results of two futures that run side by side in one task.
async fn both<A, B>(one: impl Future<Output = A>, two: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut two) = (Box::pin(one), Box::pin(two));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|context| {
        use std::task::Poll;
        if first.is_none()
            && let Poll::Ready(result) = one.as_mut().poll(context)
        {
            first = Some(result);
        }
        if second.is_none()
            && let Poll::Ready(result) = two.as_mut().poll(context)
        {
            second = Some(result);
        }
        match (first.take(), second.take()) {
            (Some(one), Some(two)) => Poll::Ready((one, two)),
            (one, two) => {
                (first, second) = (one, two);
                Poll::Pending
            }
        }
    })
    .await
}
