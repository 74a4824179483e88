//! Keeping what blocks away from what must not wait.

/// Runs `work`, which waits for a disk, a lock or a process, where it holds nobody up. It comes to its end whether or not
/// anybody waits for it; a panic in it goes on here.
pub(crate) async fn off_the_reactor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
