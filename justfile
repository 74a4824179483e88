# Thin: everything else is cargo.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    cargo clippy --workspace --all-targets --no-default-features -- -D warnings

test:
    cargo test --workspace

ci:
    .ci/run
