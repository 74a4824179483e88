//! What the tests of images and pushes share: layouts, a real registry, and one that lies.
#![allow(dead_code, reason = "every test file uses its own part of this")]
#![allow(clippy::allow_attributes, reason = "whether something is unused differs from file to file")]

pub(crate) mod double;
pub(crate) mod layout;
pub(crate) mod registry;
pub(crate) mod tokens;
pub(crate) mod weather;

use std::path::Path;

use longshore::image::{Context, Image, ImageError, ImageSource, World};
use longshore::push::Destination;
use longshore::registry::Credentials;
use longshore_contract::{Credential, PlainHttp};

/// Opens the layout in `directory`.
pub(crate) fn open(directory: &Path) -> Result<Image, ImageError> {
    open_source(&ImageSource::Layout { directory: directory.to_owned(), tag: None })
}

/// Opens `source`, relative to the root of the file system.
pub(crate) fn open_source(source: &ImageSource) -> Result<Image, ImageError> {
    longshore::image::open(
        source,
        &Context { directory: "/".into(), platform: None, world: World::default() },
    )
}

/// `reference` as a destination that nobody has to log in to.
pub(crate) fn anonymous(reference: &str) -> Destination {
    Destination {
        reference: reference.parse().unwrap(),
        endpoint: None,
        plain_http: PlainHttp::LoopbackOnly,
        credentials: Credentials::Given(Credential::Anonymous),
    }
}

/// The same with a name and a password.
pub(crate) fn basic(reference: &str, user: &str, password: &str) -> Destination {
    let credential = Credential::Basic { user: user.to_owned(), password: password.to_owned().into() };
    Destination { credentials: Credentials::Given(credential), ..anonymous(reference) }
}

/// Whether `program` is there. In CI it must be; elsewhere the test that needs it says that it is skipped.
pub(crate) fn have(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&paths).any(|directory| directory.join(program).is_file()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{program} is missing, and in CI no test is skipped");
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    {
        eprintln!("skipped: {program} is not installed");
    }
    false
}
