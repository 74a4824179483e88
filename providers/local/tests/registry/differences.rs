//! Where Debian's docker-registry is known to do something else, and why that is no reason for us to.

use crate::{discovery, management, manifests, pull, push};

/// Cases that docker-registry 2.8 does not pass, each with the reason. One that it passes does not belong here, and its
/// test says so.
pub(crate) const DIFFERENCES: &[(&str, &str)] = &[];

#[test]
fn every_difference_is_about_a_case() {
    let names = [pull::NAMES, push::NAMES, manifests::NAMES, discovery::NAMES, management::NAMES].concat();
    for (name, why) in DIFFERENCES {
        assert!(names.contains(name), "there is no case {name}");
        assert!(!why.is_empty());
    }
}
