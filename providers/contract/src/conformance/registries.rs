//! Laws about registries.

use crate::conformance::Fixture;
use crate::conformance::care::persist;
use crate::registry::{Credential, Ensured};

pub(super) async fn a_repository_ensured_twice_is_one(fixture: &dyn Fixture) {
    let registry = fixture.provider().registry();
    let repository = registry.repository(fixture.fresh_name().as_str()).expect("a repository has a name");
    persist!(registry.ensure_repository(&repository)).expect("a repository can be made");
    let again =
        persist!(registry.ensure_repository(&repository)).expect("a repository that is there is fine");
    assert_eq!(again, Ensured::Existed, "{repository} was made twice");
}

pub(super) async fn a_login_tells_when_it_ends(fixture: &dyn Fixture) {
    let registry = fixture.provider().registry();
    let repository = registry.repository(fixture.fresh_name().as_str()).expect("a repository has a name");
    let login = persist!(registry.login(&repository)).expect("one can log in");
    match (login.credential, login.ends) {
        // Nothing has no end.
        (Credential::Anonymous, _) => {}
        (_, ends) => {
            let ends = ends.expect("a login that is something tells its end");
            assert!(ends > jiff::Timestamp::now(), "the login ended before it was handed out");
        }
    }
}
