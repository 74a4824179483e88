//! A token service for Debian's `docker-registry`.

use std::time::Duration;

use serde_json::json;

use super::double::{Act, Double, reply};
use super::registry::certificate;

/// How long after its end docker-registry still takes a token, in seconds.
const LEEWAY: i64 = 60;

/// How much longer than it says a token is taken: whoever asks for it may have to wait for a processor.
const GRACE: Duration = Duration::from_secs(2);

/// Somebody whose tokens live for minutes, however short everybody else's are: skopeo keeps a token for a minute at least,
/// whatever it is told.
pub(crate) const READER: &str = "ben:q";

/// Hands out tokens that live for `life` to ann, whose password is p, and long ones to [`READER`].
pub(crate) async fn token_service(life: Duration) -> Double {
    Double::start(move |seen, _| {
        let life = match seen.authorization.as_deref() {
            Some("Basic YW5uOnA=") => life,
            Some("Basic YmVuOnE=") => Duration::from_secs(300),
            _ => return Act::Answer(reply(401, &[], "")),
        };
        let answer = json!({"token": jwt(&seen.query, life + GRACE), "expires_in": life.as_secs()});
        Act::Answer(reply(200, &[], answer.to_string()))
    })
    .await
}

/// A token as the distribution project's registry reads it: ES256, signed by the test certificate, for what `query` asks.
/// It ends after `life`, which is what the registry's leeway of a minute leaves of it.
fn jwt(query: &str, life: Duration) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let pem = |name: &str| -> String {
        let text = std::fs::read_to_string(certificate(name)).unwrap();
        text.lines().filter(|line| !line.starts_with("-----")).collect()
    };
    let asked = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "scope");
    let access: Vec<_> = asked
        .map(|(_, scope)| {
            let (kind, rest) = scope.split_once(':').unwrap();
            let (name, actions) = rest.rsplit_once(':').unwrap();
            json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()})
        })
        .collect();
    let life = i64::try_from(life.as_secs()).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [pem("server.pem")]});
    let claims = json!({"iss": "test-issuer", "sub": "ann", "aud": "test", "iat": now - LEEWAY, "nbf": now - 2 * LEEWAY,
        "exp": now + life - LEEWAY, "jti": "1", "access": access});
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let random = ring::rand::SystemRandom::new();
    let key = STANDARD.decode(pem("server.key")).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random).unwrap();
    let signature = key.sign(&random, signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
