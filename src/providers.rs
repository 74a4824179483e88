//! Every cloud this program was built with: the one place in `src/` that may name one.

use std::sync::LazyLock;

use longshore_contract::Registration;

/// The clouds, in the order they are listed to people.
pub fn registrations() -> &'static [Registration] {
    static REGISTRATIONS: LazyLock<Vec<Registration>> = LazyLock::new(|| {
        vec![
            #[cfg(feature = "local")]
            longshore_local::registration(),
        ]
    });
    &REGISTRATIONS
}

/// The cloud that is called `name`.
pub fn find(name: &str) -> Option<&'static Registration> {
    registrations().iter().find(|registration| registration.name == name)
}
