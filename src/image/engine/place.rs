//! Where the container engine is: what docker's own client looks at, in its order. Reads files and the environment, asks
//! nobody.

use std::path::{Path, PathBuf};

use longshore_wire::Road;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use url::Url;

/// What the environment says, as far as it decides where the engine is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::image) struct Environment {
    host: Option<String>,
    context: Option<String>,
    config: Option<PathBuf>,
    certificates: Option<PathBuf>,
    tls: bool,
    podman_host: Option<String>,
    runtime: Option<PathBuf>,
}

/// Where an engine may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Somebody said where.
    Stated {
        /// Where.
        way: Way,
        /// Who said it, for messages.
        by: String,
    },
    /// Nobody said it: at the first of the usual sockets that answers.
    Usual(Vec<PathBuf>),
}

/// How an engine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// Through one road, whatever the URL.
    Road {
        /// What requests are sent to.
        url: Url,
        /// The road.
        road: Road,
    },
    /// Plain HTTP over TCP, as the user wrote it.
    Plain(Url),
}

/// Why it cannot be known where the engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unclear {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

fn unclear(message: impl Into<String>, hint: impl Into<String>) -> Unclear {
    Unclear { message: message.into(), hint: Some(hint.into()) }
}

const FILE_LIMIT: u64 = 1 << 20;

impl Environment {
    /// What the variables say that `get` reads.
    pub(in crate::image) fn read(get: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let stated = |name: &str| get(name).filter(|value| !value.is_empty());
        let text = |name: &str| stated(name).and_then(|value| value.into_string().ok());
        let home = stated("HOME").map(PathBuf::from);
        let config =
            stated("DOCKER_CONFIG").map(PathBuf::from).or_else(|| home.map(|home| home.join(".docker")));
        Self {
            host: text("DOCKER_HOST"),
            context: text("DOCKER_CONTEXT"),
            certificates: stated("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| config.clone()),
            config,
            tls: stated("DOCKER_TLS_VERIFY").is_some() || stated("DOCKER_TLS").is_some(),
            podman_host: text("CONTAINER_HOST"),
            runtime: stated("XDG_RUNTIME_DIR").map(PathBuf::from),
        }
    }

    /// Where the engine is: `DOCKER_HOST`, the context (`DOCKER_CONTEXT`, else docker's configuration), podman's
    /// `CONTAINER_HOST`, the usual sockets.
    pub(super) fn place(&self) -> Result<Place, Unclear> {
        if let Some(host) = &self.host {
            let certificates = self.certificates.as_deref().filter(|_| self.tls);
            return Ok(Place::Stated { way: way(host, certificates)?, by: format!("DOCKER_HOST={host}") });
        }
        let (context, by) = match (&self.context, self.current_context()?) {
            (Some(context), _) => (Some(context.clone()), "DOCKER_CONTEXT".to_owned()),
            (None, Some((context, file))) => (Some(context), file),
            (None, None) => (None, String::new()),
        };
        if let Some(context) = context.filter(|context| context != "default") {
            return Ok(Place::Stated {
                way: self.of_context(&context, &by)?,
                by: format!("the context {context}"),
            });
        }
        if let Some(host) = &self.podman_host {
            return Ok(Place::Stated { way: way(host, None)?, by: format!("CONTAINER_HOST={host}") });
        }
        let runtime = |name: &str| self.runtime.as_ref().map(|runtime| runtime.join(name));
        let usual = [
            Some("/var/run/docker.sock".into()),
            runtime("docker.sock"),
            runtime("podman/podman.sock"),
            Some("/run/podman/podman.sock".into()),
        ];
        Ok(Place::Usual(usual.into_iter().flatten().collect()))
    }

    /// The context that docker's configuration names, and the file that says so.
    fn current_context(&self) -> Result<Option<(String, String)>, Unclear> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Config {
            current_context: Option<String>,
        }
        let Some(file) = self.config.as_ref().map(|config| config.join("config.json")) else {
            return Ok(None);
        };
        let Some(text) = read(&file)? else { return Ok(None) };
        let config: Config = serde_json::from_slice(&text).map_err(|error| {
            unclear(format!("{}: {error}", file.display()), "mend the file, or set DOCKER_HOST")
        })?;
        let named = config.current_context.filter(|context| !context.is_empty());
        Ok(named.map(|context| (context, file.display().to_string())))
    }

    /// How the engine of a context is reached.
    fn of_context(&self, context: &str, by: &str) -> Result<Way, Unclear> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Meta {
            endpoints: Endpoints,
        }
        #[derive(Deserialize)]
        struct Endpoints {
            docker: Option<Endpoint>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Endpoint {
            host: Option<String>,
            #[serde(rename = "SkipTLSVerify", default)]
            skip_tls_verify: bool,
        }
        let hint = "`docker context ls` lists what there is; DOCKER_HOST wins over every context";
        let unknown =
            || unclear(format!("{by} names the docker context {context:?}, which is not there"), hint);
        let id = hex::encode(Sha256::digest(context.as_bytes()));
        let contexts = self.config.as_ref().map(|config| config.join("contexts")).ok_or_else(unknown)?;
        let file = contexts.join("meta").join(&id).join("meta.json");
        let text = read(&file)?.ok_or_else(unknown)?;
        let meta: Meta = serde_json::from_slice(&text)
            .map_err(|error| unclear(format!("{}: {error}", file.display()), hint))?;
        let endpoint = meta.endpoints.docker.filter(|endpoint| endpoint.host.is_some());
        let Some(Endpoint { host: Some(host), skip_tls_verify }) = endpoint else {
            return Err(unclear(format!("the docker context {context:?} names no docker host"), hint));
        };
        if skip_tls_verify {
            let message =
                format!("the docker context {context:?} asks not to verify the engine's certificate");
            return Err(unclear(message, "give the context its ca, or set DOCKER_HOST and DOCKER_CERT_PATH"));
        }
        let certificates = contexts.join("tls").join(&id).join("docker");
        way(&host, certificates.is_dir().then_some(&*certificates))
    }
}

/// How `host` is reached; by TLS where there are certificates for it.
fn way(host: &str, certificates: Option<&Path>) -> Result<Way, Unclear> {
    let hint = "unix:///PATH and tcp://HOST:PORT are read";
    match host.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(through(path)),
        Some(("tcp" | "http" | "https", authority)) => {
            let tls = certificates.is_some() || host.starts_with("https:");
            let scheme = if tls { "https" } else { "http" };
            let mut url: Url = format!("{scheme}://{}", authority.trim_end_matches('/'))
                .parse()
                .map_err(|_| unclear(format!("{host:?} names no engine"), hint))?;
            if url.port().is_none() {
                let _ = url.set_port(Some(if tls { 2376 } else { 2375 }));
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err(unclear("the engine's address holds a name or a password", hint));
            }
            Ok(match certificates {
                Some(folder) => Way::Road {
                    url,
                    road: Road::Mutual {
                        ca: folder.join("ca.pem"),
                        certificate: folder.join("cert.pem"),
                        key: folder.join("key.pem"),
                    },
                },
                None => Way::Plain(url),
            })
        }
        Some(("ssh", rest)) => {
            let hint = format!(
                "forward its socket: ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock {rest} & export \
                 DOCKER_HOST=unix:///tmp/docker.sock"
            );
            Err(unclear("an engine behind ssh is not spoken to", hint))
        }
        Some(("npipe", _)) => Err(unclear("an engine behind a named pipe is not spoken to", hint)),
        None if host.starts_with('/') => Ok(through(host)),
        _ => Err(unclear(format!("{host:?} names no engine"), hint)),
    }
}

/// Through a socket. The host in the URL is nobody's: it only has to be one that plain http may be spoken to.
pub(super) fn through(socket: impl Into<PathBuf>) -> Way {
    let url = "http://localhost/".parse().expect("this is a URL");
    Way::Road { url, road: Road::Socket(socket.into()) }
}

fn read(file: &Path) -> Result<Option<Vec<u8>>, Unclear> {
    use std::io::Read as _;
    let shown = file.display();
    let mut text = Vec::new();
    match std::fs::File::open(file).and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut text)) {
        Ok(length) if length as u64 > FILE_LIMIT => {
            Err(unclear(format!("{shown}: larger than {FILE_LIMIT} bytes"), "set DOCKER_HOST"))
        }
        // Empty, as some tools leave it: it says nothing.
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(text)),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(unclear(format!("{shown}: {error}"), "make it readable, or set DOCKER_HOST")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into())
        })
    }

    fn stated(environment: &Environment) -> Way {
        match environment.place().unwrap() {
            Place::Stated { way, .. } => way,
            Place::Usual(paths) => panic!("nobody said where: {paths:?}"),
        }
    }

    #[test]
    fn docker_host_says_it_first() {
        let place = environment(&[("DOCKER_HOST", "unix:///d.sock"), ("DOCKER_CONTEXT", "other")]);
        assert_eq!(stated(&place), through("/d.sock"));
        let place = environment(&[("DOCKER_HOST", "tcp://h:2375")]);
        assert_eq!(stated(&place), Way::Plain("http://h:2375/".parse().unwrap()));
    }

    #[test]
    fn certificates_turn_tcp_into_tls() {
        let place = environment(&[
            ("DOCKER_HOST", "tcp://h"),
            ("DOCKER_TLS_VERIFY", "1"),
            ("DOCKER_CERT_PATH", "/c"),
        ]);
        let road = Road::Mutual {
            ca: "/c/ca.pem".into(),
            certificate: "/c/cert.pem".into(),
            key: "/c/key.pem".into(),
        };
        assert_eq!(stated(&place), Way::Road { url: "https://h:2376/".parse().unwrap(), road });
    }

    #[test]
    fn what_is_not_spoken_to_is_refused_with_a_way_around() {
        for (host, hint) in [
            ("ssh://ann@h", "ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock ann@h"),
            ("npipe:////./pipe/docker_engine", "unix:///PATH"),
            ("h:2375", "tcp://HOST:PORT"),
            ("unix://relative", "unix:///PATH"),
        ] {
            let error = environment(&[("DOCKER_HOST", host)]).place().unwrap_err();
            assert!(error.hint.unwrap().contains(hint), "{host}");
        }
    }

    #[test]
    fn a_context_is_found_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().to_str().unwrap().to_owned();
        let id = hex::encode(Sha256::digest(b"far"));
        let meta = directory.path().join("contexts/meta").join(&id);
        std::fs::create_dir_all(&meta).unwrap();
        let write = |text: &str| std::fs::write(meta.join("meta.json"), text).unwrap();
        write(
            r#"{"Name": "far", "Endpoints": {"docker": {"Host": "unix:///far.sock", "SkipTLSVerify": false}}}"#,
        );
        std::fs::write(directory.path().join("config.json"), r#"{"currentContext": "far"}"#).unwrap();
        let by_file = environment(&[("DOCKER_CONFIG", &config)]);
        assert_eq!(stated(&by_file), through("/far.sock"));
        let default = environment(&[("DOCKER_CONFIG", &config), ("DOCKER_CONTEXT", "default")]);
        assert!(matches!(default.place().unwrap(), Place::Usual(_)));
        let gone = environment(&[("DOCKER_CONFIG", &config), ("DOCKER_CONTEXT", "gone")]);
        assert!(gone.place().unwrap_err().message.contains("\"gone\", which is not there"));
        write(r#"{"Endpoints": {"docker": {"Host": "tcp://h:1", "SkipTLSVerify": true}}}"#);
        assert!(by_file.place().unwrap_err().message.contains("not to verify"));
    }

    #[test]
    fn where_nobody_says_it_the_usual_sockets_are_looked_at() {
        let place = environment(&[("XDG_RUNTIME_DIR", "/run/user/1")]).place().unwrap();
        let paths = [
            "/var/run/docker.sock",
            "/run/user/1/docker.sock",
            "/run/user/1/podman/podman.sock",
            "/run/podman/podman.sock",
        ];
        assert_eq!(place, Place::Usual(paths.iter().map(PathBuf::from).collect()));
    }
}
