//! Whatever the bytes are: an answer, soon, and no panic.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::{World, read_text};

/// Far more than any of these needs, far less than anybody would wait.
const SOON: Duration = Duration::from_secs(20);

fn read_soon(text: &[u8]) {
    let start = Instant::now();
    let told = read_text(text, &World::default()).err().map(|mistakes| mistakes.to_string());
    let took = start.elapsed();
    assert!(took < SOON, "{took:?} for {} bytes", text.len());
    assert!(told.is_none_or(|told| !told.is_empty() && told.len() < 300_000));
}

/// Texts made of the pieces that manifests are made of.
fn manifest_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "version",
        "name",
        "targets",
        "functions",
        "checkout",
        "image",
        "shift",
        "environments",
        "vars",
        ": ",
        ":",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "oci:image",
        "${vars.x}",
        "${env.X:-",
        "${",
        "}",
        "$${",
        "&a ",
        "*a",
        "<<",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "# c\n",
        "---\n",
        "!!str ",
        "5%",
        "30s",
        "1",
        "null",
        "~",
        "\t",
        "é",
        "\u{feff}",
        "\r\n",
        "? ",
        "%YAML 1.2\n",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

const WHOLE: &str = include_str!("../../deploy.yaml.example");

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_soon(&bytes);
    }

    #[test]
    fn arbitrary_pieces_of_manifests_never_panic(text in manifest_like()) {
        read_soon(text.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_manifest_with_something_cut_out_or_put_in_never_panics(
        at in 0..WHOLE.len(), cut in 0..40_usize, put in "[-:{}\\[\\],&*!|>'\"%@`#?$ \n\ta0é]{0,6}",
    ) {
        let mut bytes = WHOLE.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, put.bytes());
        read_soon(&bytes);
    }
}

#[test]
fn hostile_texts_are_refused_soon() {
    let laughs = {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..40 {
            let before = level - 1;
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 9].join(", ")));
        }
        text
    };
    let merges = {
        let mut text = String::from("a0: &a0 {k0: 1}\n");
        for level in 1..2000 {
            text.push_str(&format!("a{level}: &a{level} {{<<: *a{}, k{level}: 1}}\n", level - 1));
        }
        text
    };
    let variables = {
        let mut text = String::from("version: 1\nname: shop\nvars:\n  v0: \"0123456789\"\n");
        for level in 1..31 {
            let before = level - 1;
            text.push_str(&format!("  v{level}: \"{}\"\n", format!("${{vars.v{before}}}").repeat(10)));
        }
        text.push_str("targets: {here: {provider: local}}\nfunctions: {a: {image: \"oci:${vars.v30}\"}}\n");
        text
    };
    let chain = {
        let mut text = String::from("version: 1\nname: shop\nvars:\n  v0: x\n");
        for level in 1..900 {
            text.push_str(&format!("  v{level}: \"${{vars.v{}}}\"\n", level - 1));
        }
        text
    };
    for (name, text) in [
        ("nested brackets", "[".repeat(500_000)),
        ("nested maps", "{a: ".repeat(200_000)),
        ("nested items", "- ".repeat(500_000)),
        ("nested keys", "? ".repeat(500_000)),
        ("billion laughs", laughs),
        ("merges of merges", merges),
        ("variables of variables", variables),
        ("a chain of variables", chain),
        ("many unknown keys", (0..19_000).map(|key| format!("key{key}: 1\n")).collect()),
        ("many equal keys", "key: 1\n".repeat(19_000)),
        ("one long word", "x".repeat(1_000_000)),
        ("one long quoted text", format!("name: \"{}\"\n", "\\u0041".repeat(170_000))),
        ("many slots", format!("version: 1\nname: \"{}\"\n", "${".repeat(400_000))),
        ("many anchors", (0..19_000).map(|key| format!("- &a{key} x\n")).collect()),
        ("an alias in itself", "a: &a [*a]\n".to_owned()),
        ("many documents", "---\na: 1\n".repeat(100_000)),
        ("only comments", "#\n".repeat(500_000)),
    ] {
        let start = Instant::now();
        let told = read_text(text.as_bytes(), &World::default());
        assert!(told.is_err(), "{name} was read");
        let took = start.elapsed();
        assert!(took < SOON, "{name} took {took:?}");
    }
}

#[test]
fn a_manifest_at_the_bounds_is_read_soon() {
    let mut text = String::from("version: 1\nname: shop\ntargets:\n");
    for target in 0..100 {
        text.push_str(&format!("  t{target}: {{ provider: local }}\n"));
    }
    let all: Vec<String> = (0..100).map(|target| format!("t{target}")).collect();
    text.push_str("functions:\n");
    for function in 0..60 {
        text.push_str(&format!("  f{function}: {{ image: oci:image, targets: [{}] }}\n", all.join(", ")));
    }
    let start = Instant::now();
    let deployment = read_text(text.as_bytes(), &World::default()).expect("a valid manifest");
    assert_eq!(deployment.units.len(), 6000);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}
