//! The laws every provider keeps, whatever its cloud is.
//!
//! A provider's tests bring a [`Fixture`] and run every law in [`LAWS`] over it, under each [`Weather`] they can make:
//!
//! ```text
//! for law in conformance::LAWS {
//!     law.hold(&fixture).await;
//! }
//! ```
//!
//! A law is a sentence and an `async fn` of the same name. It takes what is different between clouds from
//! [`Capabilities`](crate::Capabilities) and never from the provider's name, makes a function of its own through
//! [`Fixture::fresh_name`], so that laws can run side by side, and panics with the sentence's contrary when it is broken.

mod aliases;
mod care;
mod functions;
mod registries;
mod samples;
mod scans;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;

use crate::names::FunctionName;
use crate::provider::Provider;
use crate::registry::Reference;

/// What a provider's tests bring.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The provider, connected.
    fn provider(&self) -> &dyn Provider;

    /// A function's name that nothing else uses.
    fn fresh_name(&self) -> FunctionName;

    /// An image that is in the provider's registry, with its digest.
    async fn image(&self, sample: Sample) -> Reference;

    /// A text that no error may show, which the provider was given as a secret; `None` where it was given none.
    fn secret(&self) -> Option<String>;

    /// Makes the answer to the next writing request to the functions' service get lost after the service carried it out.
    fn lose_next_write(&self);

    /// An image in the provider's registry whose scan will end with at least one finding; `None` where the provider has no
    /// scanner.
    async fn scanned(&self) -> Option<Reference>;

    /// An image in the provider's registry that the scanner has no scan of and can make none; `None` where the provider has
    /// no scanner.
    async fn unscanned(&self) -> Option<Reference>;

    /// Lets time pass for a service that settles by itself.
    async fn pause(&self, length: Duration);
}

/// The images that laws are tried with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// An HTTP function that answers any request with `first`.
    First,
    /// Another one, which answers with `second`.
    Second,
    /// An image whose process ends at once with the status 3.
    DoesNotStart,
}

/// What befalls the requests while a law is tried. The laws hold in all of them for whoever follows
/// [`Disposition`](crate::Disposition).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Calm,
    /// Some requests are carried out and their answers are lost.
    AnswersLost,
    /// Some requests are refused because there are too many, or because something is under way.
    Throttled,
}

impl Weather {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Calm, Self::AnswersLost, Self::Throttled];
}

/// A law on trial.
pub type Trial<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// One law.
pub struct Law {
    /// The sentence, as a function's name.
    pub name: &'static str,
    trial: for<'a> fn(&'a dyn Fixture) -> Trial<'a>,
}

impl Law {
    /// Tries the law; panics when it is broken.
    pub fn hold<'a>(&self, fixture: &'a dyn Fixture) -> Trial<'a> {
        (self.trial)(fixture)
    }
}

macro_rules! laws {
    ($($module:ident::$name:ident),* $(,)?) => {
        /// Every law.
        pub const LAWS: &[Law] = &[
            $(Law { name: stringify!($name), trial: |fixture| Box::pin($module::$name(fixture)) }),*
        ];
    };
}

laws! {
    registries::a_repository_ensured_twice_is_one,
    registries::a_login_tells_when_it_ends,
    functions::what_does_not_exist_is_none_and_not_an_error,
    functions::an_update_that_failed_is_an_error,
    functions::a_publish_repeated_is_one_version,
    functions::the_published_digest_is_the_applied_digest,
    functions::settings_that_are_not_stated_stay,
    functions::versions_come_newest_first_and_no_more_than_asked_for,
    functions::a_request_reaches_the_version_that_was_asked_for,
    functions::a_lost_answer_leaves_at_most_one_version,
    functions::an_error_names_operation_and_subject_and_no_secret,
    aliases::creating_an_alias_twice_conflicts,
    aliases::a_stale_revision_is_refused_or_noticed,
    aliases::after_all_no_weight_survives,
    aliases::a_share_comes_back_as_it_went_in_to_the_granularity,
    aliases::a_note_comes_back_as_it_went_in,
    aliases::an_alias_names_only_versions_that_exist,
    aliases::a_lost_answer_leaves_at_most_one_write,
    aliases::of_two_writers_on_one_revision_one_is_told,
    scans::a_scan_started_twice_is_one_scan,
    scans::a_report_names_the_digest_it_is_about,
    scans::a_ticket_is_good_after_it_was_written_down,
    scans::an_image_without_a_scan_is_never_a_clean_one,
    samples::an_empty_window_is_silent,
    samples::a_sample_never_mixes_versions,
    samples::a_metric_that_is_not_there_is_an_error,
}
