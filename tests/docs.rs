//! The pages that are generated are up to date; `UPDATE_DOCS=1 cargo test --test docs` writes them anew.

use std::fmt::Write as _;

use longshore::report::Outcome;

fn compare(file: &str, wanted: &str) {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{file} is not what the code says: run UPDATE_DOCS=1 cargo test --test docs");
}

#[test]
fn the_page_of_exit_codes_is_what_the_code_says() {
    let mut page = String::from(
        "# Exit codes\n\n\
         <!-- generated from src/report/outcome.rs: UPDATE_DOCS=1 cargo test --test docs -->\n\n\
         A code is public and is never given another meaning. The word is `outcome` in the JSON document; a row of \
         `functions` or `images` has an outcome of its own.\n\n\
         | code | outcome | when |\n|---|---|---|\n",
    );
    for outcome in Outcome::ALL {
        let _ = writeln!(page, "| {} | `{}` | {} |", outcome.exit_code(), outcome.word(), outcome.meaning());
    }
    compare("docs/exit-codes.md", &page);
}
