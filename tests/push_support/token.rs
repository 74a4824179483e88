//! A token service that docker-registry trusts.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;

use super::double::{Act, Double, reply};
use super::registry::certificate;

/// Who may have tokens, in the clear and as an `Authorization` header.
pub(crate) const WHO: &str = "ann:p";
const SHOWN: &str = "Basic YW5uOnA=";
/// Somebody whose tokens last for minutes, however short everybody else's are: skopeo keeps one for a minute at least,
/// whatever it is told.
pub(crate) const READER: &str = "ben:q";
const READER_SHOWN: &str = "Basic YmVuOnE=";

/// The registry takes a token for so long after its end.
const LEEWAY: i64 = 60;
/// How much longer than it says a token is taken: whoever asks for it may have to wait for a processor.
const GRACE: i64 = 2;

/// Starts a token service whose tokens the registry takes for `seconds` and little longer. It ends with the test's runtime.
pub(crate) async fn service(seconds: i64) -> Double {
    Double::start(move |seen, _| {
        let (life, stated) = match seen.authorization.as_deref() {
            Some(SHOWN) => (seconds + GRACE - LEEWAY, seconds),
            Some(READER_SHOWN) => (300, 300),
            _ => return Act::Answer(reply(401, &[], "")),
        };
        let answer = json!({"token": jwt(&seen.query, life), "expires_in": stated});
        Act::Answer(reply(200, &[], answer.to_string()))
    })
    .await
}

/// A token as the distribution project's registry reads it: ES256, signed by the test certificate, for what `query` asks,
/// which ends in `life` seconds.
pub(crate) fn jwt(query: &str, life: i64) -> String {
    let pem = |name: &str| -> String {
        let text = std::fs::read_to_string(certificate(name)).unwrap();
        text.lines().filter(|line| !line.starts_with("-----")).collect()
    };
    let asked = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "scope");
    let access: Vec<_> = asked
        .flat_map(|(_, scopes)| {
            let entry = |scope: &str| {
                let (kind, rest) = scope.split_once(':').unwrap();
                let (name, actions) = rest.rsplit_once(':').unwrap();
                json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()})
            };
            scopes.split(' ').map(entry).collect::<Vec<_>>()
        })
        .collect();
    let now = jiff::Timestamp::now().as_second();
    let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [pem("server.pem")]});
    let claims = json!({"iss": "test-issuer", "sub": "ann", "aud": "test", "iat": now - 120, "nbf": now - 120,
        "exp": now + life, "jti": "1", "access": access});
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let random = ring::rand::SystemRandom::new();
    let key = STANDARD.decode(pem("server.key")).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random).unwrap();
    let signature = key.sign(&random, signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
