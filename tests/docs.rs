//! The pages that are generated are up to date; `UPDATE_DOCS=1 cargo test --test docs` writes them anew.

use std::fmt::Write as _;

use longshore::providers;
use longshore::registry::{KnownRegistry, Mounts, PLAIN, PUBLIC_REGISTRIES};
use longshore::report::Outcome;
use longshore_contract::Taken;

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

/// The page with its generated part made anew.
fn with_part(file: &str, name: &str, part: &str) -> String {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (begin, end) = (format!("<!-- {name}: generated -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{file} has no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{file} has no {end}"));
    format!("{before}{begin}{part}{end}{after}")
}

#[test]
fn the_page_of_shapes_lists_the_profiles_as_they_are() {
    let list = |items: Vec<String>| items.join(", ");
    let takes = |taken: Taken| if taken == Taken::Yes { "yes" } else { "no" };
    let mut table = String::from(
        "| profile | for | manifests | index | layers | artifacts, foreign and empty layers | platforms |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut hosts = String::from("| host | profile |\n|---|---|\n");
    for profile in longshore::providers::profiles() {
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {} | {} | {} |",
            profile.name,
            profile.summary,
            list(profile.formats.iter().map(ToString::to_string).collect()),
            takes(profile.indexes),
            list(profile.layers.iter().map(ToString::to_string).collect()),
            takes(profile.others),
            if profile.platforms.is_empty() { "any".to_owned() } else { profile.platforms.join(", ") },
        );
        for host in profile.hosts {
            let _ = writeln!(hosts, "| `{host}` | `{}` |", profile.name);
        }
    }
    let page = with_part("docs/shaping.md", "profiles", &table);
    compare("docs/shaping.md", &page);
    let page = with_part("docs/shaping.md", "hosts", &hosts);
    compare("docs/shaping.md", &page);
}

#[test]
fn the_page_of_registries_is_what_the_code_says() {
    let mut page = String::from(
        "# Registries\n\n\
         <!-- generated from src/registry/public.rs and src/providers.rs: UPDATE_DOCS=1 cargo test --test docs -->\n\n\
         Any registry that keeps to the OCI distribution specification can be pushed to. What some do that the specification \
         leaves open is known by their host, or by what they call themselves when they ask for a token. A blob is always sent in \
         one request, and an upload that broke off is begun anew: no registry is sent chunks and none is asked to go on in the \
         middle. Plain http is spoken on loopback; elsewhere `--plain-http HOST` or `plain_http: true` allows it.\n\n\
         Logins are read from where docker, podman and skopeo keep them (`REGISTRY_AUTH_FILE`, `~/.docker/config.json` with its \
         helpers, `containers/auth.json`) and are never written.\n",
    );
    for known in PUBLIC_REGISTRIES.iter().chain(providers::REGISTRIES).chain([&PLAIN]) {
        let KnownRegistry { name, hosts, services, answers_at, login_keys, login, exchange, .. } = known;
        let KnownRegistry { uploads, mounts, fixed_tag_codes, repositories, limits, .. } = known;
        let _ = writeln!(page, "\n## {}{}\n", name[..1].to_uppercase(), &name[1..]);
        let code =
            |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let mut line = |what: &str, text: String| {
            if !text.is_empty() {
                let _ = writeln!(page, "- {what}: {text}");
            }
        };
        line("hosts", code(hosts));
        line("calls itself", code(services));
        line("answers at", code(answers_at.as_slice()));
        line("called in files of logins", code(login_keys));
        line("login", login.unwrap_or_default().to_owned());
        if let Some(exchange) = exchange {
            let text = format!(
                "the password of `{}` is a token; one that is not the registry's own is exchanged at `/{}`",
                exchange.user, exchange.path
            );
            line("exchange", text);
        }
        line("repositories", repositories.unwrap_or_default().to_owned());
        line("blobs at once", uploads.to_string());
        let mounts = match mounts {
            Mounts::Tried => "a blob that another repository is known to hold is taken over from there",
            Mounts::Never => "it takes no blob over from another repository, and is not asked to",
        };
        line("mounts", mounts.to_owned());
        line("a tag that may not move is told by", code(fixed_tag_codes));
        line("limits", limits.unwrap_or_default().to_owned());
    }
    compare("docs/registries.md", &page);
}
