//! How the driver goes about what is uncertain.

use longshore_contract::failpoint;

/// How the driver goes about what is uncertain. Anything but the default is a fault, planted to show that it would be
/// caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Policy {
    /// Announce, send, and look where no clear answer came.
    #[default]
    Sound,
    /// Send first and announce then.
    EffectBeforeIntent,
    /// Take an unclear answer for a no, and send again.
    NoLook,
    /// Take an unclear answer for a yes.
    BlindFaith,
}

impl Policy {
    /// The fault that the environment plants; none in a release build.
    pub(super) fn planted() -> Self {
        let faults = [
            ("effect-before-intent", Self::EffectBeforeIntent),
            ("no-look", Self::NoLook),
            ("blind-faith", Self::BlindFaith),
        ];
        faults
            .into_iter()
            .find(|(name, _)| failpoint::planted(name))
            .map_or(Self::Sound, |(_, policy)| policy)
    }
}
