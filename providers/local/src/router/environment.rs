//! The variables that images of each kind look for.

use std::collections::BTreeMap;

use longshore_contract::Secret;

use crate::control::raw::Kind;
use crate::control::wire::Settings;

/// Who a process is.
pub(crate) struct Identity<'a> {
    pub(crate) function: &'a str,
    pub(crate) version: &'a str,
}

/// The region that functions are told where nobody says otherwise. There is none here; programs for AWS insist on one.
pub(crate) const REGION: &str = "us-east-1";

/// The account in names of functions.
pub(crate) const ACCOUNT: &str = "012345678912";

/// The memory that a function is told where its settings do not say, in MiB: what AWS gives then.
const MEMORY: u64 = 128;

/// The memory that a function is told, in MiB, where its settings state so many bytes.
pub(crate) fn memory_mib(memory: Option<u64>) -> u64 {
    memory.map_or(MEMORY, |bytes| (bytes >> 20).max(1))
}

/// The environment of a process on top of its image's (`image`): the function's own, and what its kind wants to know. What
/// says who the function is cannot be overridden, as in the clouds; the rest gives way to the function's and the image's.
pub(crate) fn environment(
    settings: &Settings,
    identity: &Identity<'_>,
    image: &[(String, String)],
) -> BTreeMap<String, Secret> {
    let own = settings.environment.iter().flatten();
    let mut environment: BTreeMap<String, Secret> =
        own.map(|(key, value)| (key.clone(), Secret::new(value.clone()))).collect();
    for (key, value) in gives_way(settings.kind) {
        if !image.iter().any(|(stated, _)| stated == *key) {
            environment.entry((*key).to_owned()).or_insert_with(|| Secret::new(*value));
        }
    }
    for (key, value) in fixed(settings, identity) {
        environment.insert(key.to_owned(), value.into());
    }
    environment
}

/// The values that are nobody else's to see: those of the function's environment and of its image's. What any function is
/// told is no secret, also where somebody states it again, and an error that hides it says less.
pub(crate) fn secrets(settings: &Settings, image: &[(String, String)]) -> Vec<Secret> {
    let own = settings.environment.iter().flatten().map(|(_, value)| value);
    let values = own.chain(image.iter().map(|(_, value)| value));
    let known = gives_way(settings.kind);
    values
        .filter(|value| !known.iter().any(|(_, known)| known == value))
        .map(|value| Secret::new(value.clone()))
        .collect()
}

fn gives_way(kind: Option<Kind>) -> &'static [(&'static str, &'static str)] {
    match kind {
        None | Some(Kind::Lambda) => &[
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
            ("LANG", "en_US.UTF-8"),
            ("TZ", ":UTC"),
        ],
        Some(Kind::Http) => &[],
        Some(Kind::Scf) => &[("TENCENTCLOUD_REGION", "local"), ("TENCENTCLOUD_RUNENV", "SCF")],
        Some(Kind::Fc) => &[("FC_REGION", "local"), ("FC_ACCOUNT_ID", ACCOUNT)],
    }
}

fn fixed(settings: &Settings, identity: &Identity<'_>) -> Vec<(&'static str, String)> {
    let (function, version) = (identity.function.to_owned(), identity.version.to_owned());
    let handler = settings.handler.clone();
    let memory = memory_mib(settings.memory).to_string();
    match settings.kind {
        None | Some(Kind::Lambda) => {
            let mut fixed = vec![
                ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{function}")),
                ("AWS_LAMBDA_LOG_STREAM_NAME", format!("{function}/{version}")),
                ("AWS_LAMBDA_FUNCTION_NAME", function),
                ("AWS_LAMBDA_FUNCTION_VERSION", version),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory),
                ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
            ];
            // An image without a handler in its settings may have one of its own.
            fixed.extend(handler.map(|handler| ("_HANDLER", handler)));
            fixed
        }
        Some(Kind::Http) => Vec::new(),
        Some(Kind::Scf) => vec![
            ("SCF_FUNCTIONNAME", function),
            ("SCF_FUNCTIONVERSION", version),
            ("SCF_NAMESPACE", "default".to_owned()),
        ],
        Some(Kind::Fc) => {
            let port = settings.port.or(Kind::Fc.port()).unwrap_or_default().to_string();
            vec![
                ("FC_FUNCTION_NAME", function),
                ("FC_VERSION_ID", version),
                ("FC_FUNCTION_HANDLER", handler.unwrap_or_default()),
                ("FC_FUNCTION_MEMORY_SIZE", memory),
                ("FC_SERVER_PORT", port.clone()),
                ("FC_CUSTOM_LISTEN_PORT", port),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity<'static> = Identity { function: "shop", version: "7" };

    fn told(settings: &Settings, image: &[(&str, &str)]) -> BTreeMap<String, String> {
        let image: Vec<(String, String)> =
            image.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let environment = environment(settings, &IDENTITY, &image);
        environment.into_iter().map(|(key, value)| (key, value.expose().to_owned())).collect()
    }

    fn settings(kind: Option<Kind>, environment: &[(&str, &str)]) -> Settings {
        let environment =
            environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let handler = Some("app.main".to_owned());
        Settings {
            kind,
            memory: Some(512 << 20),
            handler,
            environment: Some(environment),
            ..Settings::default()
        }
    }

    #[test]
    fn a_runtime_finds_what_it_insists_on() {
        let told = told(&settings(None, &[]), &[]);
        for (key, value) in [
            ("AWS_LAMBDA_FUNCTION_NAME", "shop"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "7"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/shop"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "shop/7"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("_HANDLER", "app.main"),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("TZ", ":UTC"),
        ] {
            assert_eq!(told.get(key).map(String::as_str), Some(value), "{key}");
        }
    }

    #[test]
    fn what_a_function_states_stays_except_who_it_is() {
        let own =
            [("AWS_REGION", "eu-west-1"), ("TZ", "Asia/Shanghai"), ("AWS_LAMBDA_FUNCTION_NAME", "forged")];
        let told = told(&settings(None, &own), &[("LAMBDA_TASK_ROOT", "/app"), ("TZ", "UTC")]);
        assert_eq!((told["AWS_REGION"].as_str(), told["TZ"].as_str()), ("eu-west-1", "Asia/Shanghai"));
        assert_eq!(told["AWS_LAMBDA_FUNCTION_NAME"], "shop");
        assert!(!told.contains_key("LAMBDA_TASK_ROOT"), "the image's own stays");
    }

    #[test]
    fn each_kind_is_told_in_its_own_words() {
        let plain = told(&settings(Some(Kind::Http), &[("A", "1")]), &[]);
        assert_eq!(plain, [("A".to_owned(), "1".to_owned())].into());
        let fc = told(&settings(Some(Kind::Fc), &[]), &[]);
        assert_eq!((fc["FC_FUNCTION_NAME"].as_str(), fc["FC_SERVER_PORT"].as_str()), ("shop", "9000"));
        assert_eq!(fc["FC_FUNCTION_HANDLER"], "app.main");
        let scf = told(&settings(Some(Kind::Scf), &[]), &[]);
        assert_eq!((scf["SCF_FUNCTIONNAME"].as_str(), scf["SCF_FUNCTIONVERSION"].as_str()), ("shop", "7"));
        assert!(!scf.keys().any(|key| key.starts_with("AWS_")), "{scf:?}");
    }

    #[test]
    fn what_any_function_is_told_is_no_secret() {
        let image = [("LAMBDA_TASK_ROOT", "/var/task"), ("LICENCE", "of the image")];
        let image = image.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let secrets = secrets(&settings(None, &[("TOKEN", "hunter2"), ("HOME_REGION", "us-east-1")]), &image);
        let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
        assert_eq!(secrets, ["hunter2", "of the image"]);
    }

    #[test]
    fn memory_is_told_in_mebibytes() {
        assert_eq!((memory_mib(None), memory_mib(Some(1)), memory_mib(Some(512 << 20))), (128, 1, 512));
    }
}
