//! The images of one run: a source that several targets take in the same shape is opened and shaped once.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use longshore_contract::Platform;
use tokio::sync::OnceCell;

use crate::image::{Image, ImageError, ImageSource};

/// What was opened in one run, as long as the run lasts. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Images(Arc<Mutex<Vec<Arc<Opened>>>>);

/// An image as targets take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    /// Where it comes from.
    pub(super) source: ImageSource,
    /// What relative paths in `source` are relative to.
    pub(super) directory: PathBuf,
    /// What it is to run on.
    pub(super) platform: Option<Platform>,
    /// The name of the shape it is brought into.
    pub(super) profile: &'static str,
}

#[derive(Debug)]
struct Opened {
    taken: Taken,
    image: OnceCell<Result<Image, ImageError>>,
}

impl Images {
    /// The image, by `open` where nobody has opened it yet. Whoever else wants it meanwhile waits for that one, and opens it
    /// himself where that one is dropped.
    pub(super) async fn opened(
        &self,
        taken: Taken,
        open: impl Future<Output = Result<Image, ImageError>>,
    ) -> Result<Image, ImageError> {
        let opened = {
            let mut all = self.0.lock().expect("nothing panics while it holds this");
            match all.iter().find(|opened| opened.taken == taken) {
                Some(opened) => Arc::clone(opened),
                None => {
                    let opened = Arc::new(Opened { taken, image: OnceCell::new() });
                    all.push(Arc::clone(&opened));
                    opened
                }
            }
        };
        opened.image.get_or_init(|| open).await.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::image::ImageErrorKind;

    fn taken(profile: &'static str) -> Taken {
        Taken {
            source: "docker-daemon:shop:1".parse().unwrap(),
            directory: "/".into(),
            platform: Some("linux/amd64".parse().unwrap()),
            profile,
        }
    }

    #[tokio::test]
    async fn what_several_targets_take_in_one_shape_is_opened_once() {
        let (images, opened) = (Images::default(), Cell::new(0));
        let open = async || {
            opened.set(opened.get() + 1);
            tokio::task::yield_now().await;
            Err(ImageError::new(ImageErrorKind::Missing, "docker-daemon:shop:1", "it is not there"))
        };
        let (one, other) =
            tokio::join!(images.opened(taken("oci"), open()), images.opened(taken("oci"), open()));
        assert_eq!((one.unwrap_err(), opened.get()), (other.unwrap_err(), 1));
        images.opened(taken("docker"), open()).await.unwrap_err();
        assert_eq!(opened.get(), 2);
    }

    #[tokio::test]
    async fn who_waits_for_somebody_who_was_dropped_opens_it_himself() {
        let images = Images::default();
        let never = images.opened(taken("oci"), std::future::pending());
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), never).await.is_err());
        let missing = || ImageError::new(ImageErrorKind::Missing, "docker-daemon:shop:1", "it is not there");
        let found = images.opened(taken("oci"), async { Err(missing()) }).await;
        assert_eq!(found.unwrap_err(), missing());
    }
}
